"""Exploration: epsilon-greedy choices and policies with an epsilon floor."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lica_jax.core.masking import mask_logits, masked_softmax


def epsilon_greedy(
    q: Float[Array, "... A"],
    avail: Bool[Array, "... A"],
    epsilon: Float[Array, "..."],
    key: Array,
) -> Int[Array, "..."]:
    """The best available action; with probability ``epsilon`` a uniform draw among them.

    ``epsilon`` is broadcast against the choices ``[...]``, so it may differ between them. Every
    choice explores on its own (PyMARL's selector). Of equally good actions the first is taken.
    """
    explore_key, draw_key = jax.random.split(key)
    best = jnp.argmax(mask_logits(q, avail), axis=-1)
    # The k-th available action, k uniform: one random number per choice.
    count = jnp.sum(avail, axis=-1)
    u = jax.random.uniform(draw_key, best.shape, q.dtype)
    rank = jnp.minimum((u * count).astype(jnp.int32), count - 1)
    drawn = jnp.argmax(jnp.cumsum(avail, axis=-1) > rank[..., None], axis=-1)
    explores = jax.random.uniform(explore_key, best.shape, q.dtype) < epsilon
    return jnp.where(explores, drawn, best).astype(jnp.int32)


def epsilon_floor(
    logits: Float[Array, "... A"],
    avail: Bool[Array, "... A"],
    epsilon: Float[Array, ""],
    mask_before_softmax: bool,
) -> Float[Array, "... A"]:
    """COMA's policy ``(1 - epsilon) softmax(logits) + epsilon / A`` over the available actions.

    With ``mask_before_softmax`` A counts the available actions. Without it (PyMARL's setting)
    softmax and floor go over all actions; the unavailable ones are then struck out and the rest is
    renormalised. A row without available actions (padding) is zeros with zero gradient.
    """
    if mask_before_softmax:
        count = jnp.maximum(jnp.sum(avail, axis=-1, keepdims=True), 1)
        probs = (1 - epsilon) * masked_softmax(logits, avail) + epsilon / count
    else:
        probs = (1 - epsilon) * jax.nn.softmax(logits) + epsilon / logits.shape[-1]
    probs = jnp.where(avail, probs, 0)
    total = jnp.sum(probs, axis=-1, keepdims=True)
    return probs / jnp.where(total > 0, total, 1)
