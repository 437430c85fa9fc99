"""Value normalisation (MAPPO: Yu et al., NeurIPS 2022, section 5.1).

The critic learns targets of mean 0 and variance 1. The statistics are exponential averages over all
targets so far, debiased as Adam's moments are. Unlike PopArt (van Hasselt et al., NeurIPS 2016) the
critic's last layer is not rescaled when they move, as in MAPPO's official code.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from lica_jax.core.masking import masked_mean

MIN_VARIANCE = 1e-2  # the official code's; targets that are all alike have none


class ValueNorm(NamedTuple):
    """Exponential averages that began at 0, and the weight that they have gathered since."""

    mean: Float[Array, ""]
    square: Float[Array, ""]
    weight: Float[Array, ""]  # 1 - decay^updates


def new_value_norm() -> ValueNorm:
    """Statistics of nothing: mean 0 and standard deviation 1 until the first update."""
    return ValueNorm(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))


def update_value_norm(
    norm: ValueNorm, target: Float[Array, "..."], mask: Float[Array, "..."], decay: Float[Array, ""]
) -> ValueNorm:
    """``m <- decay m + (1 - decay) E[y]``, likewise E[y^2], over the targets where ``mask`` is 1.

    A batch without any leaves everything as it is.
    """
    decay = jnp.where(jnp.sum(mask) > 0, decay, 1.0).astype(target.dtype)
    return ValueNorm(
        mean=decay * norm.mean + (1 - decay) * masked_mean(target, mask),
        square=decay * norm.square + (1 - decay) * masked_mean(jnp.square(target), mask),
        weight=decay * norm.weight + (1 - decay),
    )


def statistics(norm: ValueNorm) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """``(mean, std)``, debiased: ``m / (1 - decay^updates)``."""
    started = norm.weight > 0
    weight = jnp.where(started, norm.weight, 1)
    mean = norm.mean / weight
    variance = jnp.maximum(norm.square / weight - jnp.square(mean), MIN_VARIANCE)
    return mean, jnp.where(started, jnp.sqrt(variance), 1)


def normalise(norm: ValueNorm, target: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns in the units in which the critic learns them."""
    mean, std = statistics(norm)
    return (target - mean) / std


def denormalise(norm: ValueNorm, value: Float[Array, "..."]) -> Float[Array, "..."]:
    """The critic's outputs in units of (scaled) return."""
    mean, std = statistics(norm)
    return value * std + mean
