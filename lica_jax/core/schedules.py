"""Schedules: a value as a function of how far training is; every number may be traced."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def linear(
    start: Float[Array, ""], finish: Float[Array, ""], length: Float[Array, ""], t: Float[Array, ""]
) -> Float[Array, ""]:
    """From ``start`` to ``finish`` in a straight line over ``length`` steps, then constant.

    PyMARL's ``DecayThenFlatSchedule``; it may rise as well as fall. A ``length`` of 0 is ``finish``
    from the beginning.
    """
    fraction = jnp.clip(t / jnp.maximum(length, 1e-12), 0, 1)
    return start + (finish - start) * jnp.where(length > 0, fraction, 1)


def annealed(
    start: Float[Array, ""],
    final: Float[Array, ""] | None,
    length: Float[Array, ""],
    t: Float[Array, ""],
) -> Float[Array, ""]:
    """``linear``, for a number that need not change: a ``length`` of 0, or no ``final``, is
    ``start`` for ever."""
    final = start if final is None else final
    return jnp.where(jnp.asarray(length) > 0, linear(start, final, length, t), start)
