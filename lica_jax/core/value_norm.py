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
    """Averages of the targets and of their squared distance from the mean, debiased, and the weight
    that they have gathered since they began."""

    mean: Float[Array, ""]
    variance: Float[Array, ""]
    weight: Float[Array, ""]  # 1 - decay^updates


def new_value_norm() -> ValueNorm:
    """Statistics of nothing: mean 0 and standard deviation 1 until the first update."""
    return ValueNorm(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))


def update_value_norm(
    norm: ValueNorm, target: Float[Array, "..."], mask: Float[Array, "..."], decay: Float[Array, ""]
) -> ValueNorm:
    """What ``m <- decay m + (1 - decay) E[y]``, and likewise of ``y^2``, say of mean and variance
    over the targets where ``mask`` is 1.

    A batch without any leaves everything as it is. The variance is kept and not the mean square,
    from which it would be a small difference of large numbers, and both without their bias: with
    sums that rounding has moved apart from their weight nothing would be debiased.
    """
    decay = jnp.where(jnp.sum(mask) > 0, decay, 1.0).astype(target.dtype)
    weight = decay * norm.weight + (1 - decay)
    rate = (1 - decay) / jnp.where(weight > 0, weight, 1)
    mean = masked_mean(target, mask)
    moved = mean - norm.mean
    around = masked_mean(jnp.square(target - mean), mask) + (1 - rate) * jnp.square(moved)
    return ValueNorm(
        mean=norm.mean + rate * moved,
        variance=norm.variance + rate * (around - norm.variance),
        weight=weight,
    )


def statistics(norm: ValueNorm) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """``(mean, std)``."""
    std = jnp.sqrt(jnp.maximum(norm.variance, MIN_VARIANCE))
    return norm.mean, jnp.where(norm.weight > 0, std, 1)


def normalise(norm: ValueNorm, target: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns in the units in which the critic learns them."""
    mean, std = statistics(norm)
    return (target - mean) / std


def denormalise(norm: ValueNorm, value: Float[Array, "..."]) -> Float[Array, "..."]:
    """The critic's outputs in units of (scaled) return."""
    mean, std = statistics(norm)
    return value * std + mean
