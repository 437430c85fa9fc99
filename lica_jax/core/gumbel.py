"""Sampling from categorical policies with gradients (Jang et al., ICLR 2017; paper section 3.2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lica_jax.core.masking import mask_logits

# As in the official selector: keeps the logarithms finite at u = 0 and u = 1.
_EPS = 1e-20


def gumbel_noise(uniform: Float[Array, "..."]) -> Float[Array, "..."]:
    """Standard Gumbel noise ``-log(-log u)`` from uniform draws."""
    return -jnp.log(-jnp.log(uniform + _EPS) + _EPS)


def gumbel_softmax(
    logits: Float[Array, "... A"],
    avail: Bool[Array, "... A"],
    uniform: Float[Array, "... A"],
    temperature: Float[Array, ""],
) -> Float[Array, "... A"]:
    """A relaxed one-hot sample ``softmax((log pi + g) / temperature)``; unavailable actions get 0.

    Its argmax is a sample of the policy at any temperature (Gumbel-max). A row without available
    actions (padding) is zeros with zero gradient.
    """
    scores = jax.nn.log_softmax(mask_logits(logits, avail)) + gumbel_noise(uniform)
    soft = jax.nn.softmax(mask_logits(scores, avail) / temperature)
    return jnp.where(avail, soft, 0)


def straight_through(soft: Float[Array, "... A"]) -> Float[Array, "... A"]:
    """The one-hot argmax of ``soft`` in value, ``soft`` itself in gradient."""
    index = jnp.argmax(soft, axis=-1)
    hard = jax.nn.one_hot(index, soft.shape[-1], dtype=soft.dtype)
    # A row of zeros has nothing to choose.
    hard = jnp.where(jnp.sum(soft, axis=-1, keepdims=True) > 0, hard, 0)
    return soft + jax.lax.stop_gradient(hard - soft)
