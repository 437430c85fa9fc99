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


def clipped_policy_loss(
    log_prob: Float[Array, "..."],
    old_log_prob: Float[Array, "..."],
    advantage: Float[Array, "..."],
    mask: Float[Array, "..."],
    clip: Float[Array, ""],
) -> Float[Array, ""]:
    """PPO's ``-E[min(rho A, clip(rho, 1 - c, 1 + c) A)]`` (Schulman et al., 2017, Eq. 7).

    ``rho = pi(u) / pi_old(u)``, by agent: each agent's own ratio, not the team's product.
    """
    chex.assert_equal_shape([log_prob, old_log_prob, advantage, mask])
    # Where masked the ratio is 1: an overflow there would reach the gradient through 0 * inf.
    ratio = jnp.exp(jnp.where(mask > 0, log_prob - old_log_prob, 0))
    clipped = jnp.clip(ratio, 1 - clip, 1 + clip)
    return -masked_mean(jnp.minimum(ratio * advantage, clipped * advantage), mask)


def clipped_value_loss(
    value: Float[Array, "..."],
    old_value: Float[Array, "..."],
    target: Float[Array, "..."],
    mask: Float[Array, "..."],
    clip: Float[Array, ""],
) -> Float[Array, ""]:
    """``E[max((V - y)^2, (V_old + clip(V - V_old, -c, c) - y)^2)]`` (MAPPO paper, appendix A).

    A value that has moved more than c towards its target gets no further gradient from this batch;
    one that has moved away from it does. ``critic_loss`` where nothing is clipped.
    """
    chex.assert_equal_shape([value, old_value, target, mask])
    near = old_value + jnp.clip(value - old_value, -clip, clip)
    return masked_mean(jnp.maximum(jnp.square(value - target), jnp.square(near - target)), mask)


def watched(loss: Float[Array, ""], *norms: Float[Array, ""]) -> Float[Array, ""]:
    """The loss that tells whether an update went wrong: NaN where a gradient norm is not finite.

    An infinite gradient may hide behind a finite loss, and may be cut to a finite one.
    """
    return jnp.where(jnp.isfinite(sum(norms)), loss, jnp.nan)


def watched_sum(metrics: dict[str, Float[Array, ""]]) -> Float[Array, ""]:
    """`watched` of everything that is minimised: entries ending in ``_loss``, with the gradient
    norms beside them (``_grad_norm``)."""
    losses = [value for name, value in metrics.items() if name.endswith("_loss")]
    norms = [value for name, value in metrics.items() if name.endswith("_grad_norm")]
    return watched(sum(losses), *norms)
