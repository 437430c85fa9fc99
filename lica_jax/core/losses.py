"""Losses, each one equation of its paper."""

from __future__ import annotations

import chex
import jax.numpy as jnp
from jaxtyping import Array, Float

from lica_jax.core.masking import masked_mean


def critic_loss(
    q: Float[Array, "T B"], target: Float[Array, "T B"], mask: Float[Array, "T B"]
) -> Float[Array, ""]:
    """Mean squared TD error over valid transitions (LICA paper, Eq. 2)."""
    chex.assert_equal_shape([q, target, mask])
    return masked_mean(jnp.square(q - target), mask)


def policy_value_loss(
    q: Float[Array, "T B"], bonus: Float[Array, ""], mask: Float[Array, "T B"]
) -> Float[Array, ""]:
    """LICA's actor loss ``-(E[Q(s, pi^1..pi^n)] + entropy bonus)`` (paper, Eq. 3 and 4).

    ``q`` is the critic at the action *probabilities* of all agents, so its gradient reaches every
    policy at once. Every valid transition weighs the same, without gamma^t, as in the official
    code.
    """
    chex.assert_equal_shape([q, mask])
    return -masked_mean(q, mask) - bonus
