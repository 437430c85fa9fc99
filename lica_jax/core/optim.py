"""Optimiser steps with traced hyper-parameters, and target-network copies."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from lica_jax.core.parts import optimising

# Adam's moments only: the learning rate is applied outside, so that it can be traced and swept.
ADAM = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)


class RMSProp(NamedTuple):
    """The numbers of PyTorch's RMSprop; they may be traced."""

    decay: Float[Array, ""] = 0.99  # torch's alpha
    eps: Float[Array, ""] = 1e-5


PYMARL_RMS = RMSProp()


def init_optimiser(kind: str, params: PyTree) -> PyTree:
    """The state of an "adam" or "rmsprop" optimiser before its first step."""
    return ADAM.init(params) if kind == "adam" else _rms(PYMARL_RMS).init(params)


def _rms(numbers: RMSProp) -> optax.GradientTransformation:
    # torch adds eps to the root, optax's default adds it under the root.
    return optax.scale_by_rms(numbers.decay, numbers.eps, initial_scale=0.0, eps_in_sqrt=False)


def optimiser_step(
    kind: str,
    params: PyTree,
    grads: PyTree,
    opt_state: PyTree,
    learning_rate: Float[Array, ""],
    rms: RMSProp = PYMARL_RMS,
) -> tuple[PyTree, PyTree]:
    """One step of "adam" or "rmsprop" without clipping. Returns ``(params, opt_state)``."""
    transform = ADAM if kind == "adam" else _rms(rms)
    updates, opt_state = transform.update(grads, opt_state, params)

    def moved(p, u):
        # Parameters keep their precision, whatever that of the step size.
        return (p - learning_rate * u).astype(p.dtype)

    return jax.tree.map(moved, params, updates), opt_state


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
    return clipped_step("adam", params, grads, opt_state, learning_rate, max_norm)


@optimising()
def clipped_step(
    kind: str,
    params: PyTree,
    grads: PyTree,
    opt_state: PyTree,
    learning_rate: Float[Array, ""],
    max_norm: Float[Array, ""],
    rms: RMSProp = PYMARL_RMS,
) -> tuple[PyTree, PyTree, Float[Array, ""]]:
    """One step of "adam" or "rmsprop", clipped. Returns as ``adam_step``."""
    grads, norm = clip_by_global_norm(grads, max_norm)
    params, opt_state = optimiser_step(kind, params, grads, opt_state, learning_rate, rms)
    return params, opt_state, norm


@optimising()
def periodic_copy(
    online: PyTree,
    target: PyTree,
    steps: Int[Array, ""],
    last_copy: Int[Array, ""],
    interval: Int[Array, ""],
) -> tuple[PyTree, Int[Array, ""]]:
    """Takes ``online`` as the target once ``steps``, whatever a caller counts by it, has gone on by
    ``interval`` since the last time.

    Returns ``(target, last_copy)``.
    """
    copied = steps - last_copy >= interval
    target = jax.tree.map(lambda o, t: jnp.where(copied, o, t), online, target)
    return target, jnp.where(copied, steps, last_copy)
