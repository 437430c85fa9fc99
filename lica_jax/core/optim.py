"""Optimiser steps with traced hyper-parameters, and target-network copies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

PyTree = Any

# Adam's moments only: the learning rate is applied outside, so that it can be traced and swept.
ADAM = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)


def clip_by_global_norm(
    grads: PyTree, max_norm: Float[Array, ""]
) -> tuple[PyTree, Float[Array, ""]]:
    """Scales ``grads`` by ``min(1, max_norm / (norm + 1e-6))``; also returns the norm before.

    The 1e-6 is PyTorch's ``clip_grad_norm_``, which the official code uses; optax has none.
    """
    norm = optax.tree.norm(grads)
    factor = jnp.minimum(1.0, max_norm / (norm + 1e-6))
    return jax.tree.map(lambda g: g * factor, grads), norm


def adam_step(
    params: PyTree,
    grads: PyTree,
    opt_state: PyTree,
    learning_rate: Float[Array, ""],
    max_norm: Float[Array, ""],
) -> tuple[PyTree, PyTree, Float[Array, ""]]:
    """One clipped Adam step. Returns ``(params, opt_state, gradient norm before clipping)``."""
    grads, norm = clip_by_global_norm(grads, max_norm)
    updates, opt_state = ADAM.update(grads, opt_state, params)
    params = jax.tree.map(lambda p, u: p - learning_rate * u, params, updates)
    return params, opt_state, norm


def periodic_copy(
    online: PyTree,
    target: PyTree,
    steps: Int[Array, ""],
    last_copy: Int[Array, ""],
    interval: Int[Array, ""],
) -> tuple[PyTree, Int[Array, ""], Bool[Array, ""]]:
    """Hard target copy once ``interval`` gradient steps have passed since the last one.

    Returns ``(target, last_copy, copied)``.
    """
    copied = steps - last_copy >= interval
    target = jax.tree.map(lambda o, t: jnp.where(copied, o, t), online, target)
    return target, jnp.where(copied, steps, last_copy), copied
