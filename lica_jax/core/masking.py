"""Masked means and action masks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# The logit of an unavailable action, as in the official code (its `-1e10`).
MASKED_LOGIT = -1e10


def masked_mean(x: Float[Array, "..."], mask: Float[Array, "..."]) -> Float[Array, ""]:
    """Mean of ``x`` where ``mask`` is 1; 0 where nothing is selected.

    ``mask`` is broadcast against ``x`` from the left: a mask ``[T, B]`` weighs every entry of
    ``x[T, B, N]``.
    """
    mask = mask.astype(x.dtype).reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
    mask = jnp.broadcast_to(mask, x.shape)
    return jnp.sum(jnp.where(mask > 0, x, 0) * mask) / jnp.maximum(jnp.sum(mask), 1)


def explained(
    error: Float[Array, "..."], target: Float[Array, "..."], mask: Float[Array, "..."]
) -> Float[Array, ""]:
    """Share of the targets' variance that values knew which are off by ``error``: 1 all of it, 0 as
    much as a constant, below 0 less.

    Targets that hardly vary (a standard deviation below .001: nothing was earned yet) count as if
    theirs were .001. With rewards so small it says nothing: raise ``hp.reward_scale``.
    """
    spread = masked_mean(jnp.square(target - masked_mean(target, mask)), mask)
    return 1 - masked_mean(jnp.square(error), mask) / jnp.maximum(spread, 1e-6)


def mask_logits(
    logits: Float[Array, "... A"], avail: Bool[Array, "... A"]
) -> Float[Array, "... A"]:
    """Logits with unavailable actions at ``MASKED_LOGIT``."""
    logits = jnp.asarray(logits)  # numpy's are of a type that JAX may not have
    return jnp.where(avail, logits, jnp.asarray(MASKED_LOGIT, logits.dtype))


def masked_softmax(
    logits: Float[Array, "... A"], avail: Bool[Array, "... A"]
) -> Float[Array, "... A"]:
    """Probabilities over the available actions; exactly 0 for the others.

    A row with nothing available (padding) gives zeros with zero gradient: the denominator is
    replaced before the division, since a NaN behind a `where` still poisons the gradient.
    """
    probs = jnp.where(avail, jax.nn.softmax(mask_logits(logits, avail)), 0)
    total = jnp.sum(probs, axis=-1, keepdims=True)
    return probs / jnp.where(total > 0, total, 1)


def masked_max(x: Float[Array, "... A"], avail: Bool[Array, "... A"]) -> Float[Array, "..."]:
    """The largest available entry; 0 for a row without one (padding)."""
    return jnp.where(jnp.any(avail, axis=-1), jnp.max(mask_logits(x, avail), axis=-1), 0)


def take_action(x: Float[Array, "... A"], action: Int[Array, "..."]) -> Float[Array, "..."]:
    """``x[..., action]``, the entry of each row's action (-1, "no action", reads entry 0)."""
    index = jnp.maximum(action, 0)[..., None]
    return jnp.take_along_axis(x, index, axis=-1)[..., 0]
