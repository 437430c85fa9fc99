"""Multi-step returns over time-major batches with explicit episode boundaries."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def lambda_returns(
    q: Float[Array, T + 1 * B],
    reward: Float[Array, T * B],
    terminal: Bool[Array, T * B],
    cut: Bool[Array, T * B],
    valid: Bool[Array, T * B],
    gamma: Float[Array, ""],
    lam: Float[Array, ""],
) -> Float[Array, T * B]:
    """TD(lambda) targets (LICA paper, Eq. 2).

    ``G_t = r_t + gamma (1 - d_t) [(1 - lam) q_{t+1} + lam G_{t+1}]`` for valid t, else 0. Where
    step t was the last one of an episode without being terminal, or the last of the batch,
    ``G_{t+1}`` is the bootstrap ``q_{t+1}``. A terminal step is worth its reward alone.

    Args:
      q: values (target critic) at the stored state-action pairs; slot T is the bootstrap slot.
      reward: ``reward[t]`` is received on the transition from slot t to t+1.
      terminal: d_t, the transition ended the episode in a state of value 0.
      cut: the transition ended the episode, terminally or not.
      valid: the transition really happened; other targets are 0.
      gamma: discount.
      lam: lambda; 1 gives Monte-Carlo returns (bootstrapped at a cut), 0 one-step targets.

    Returns:
      Targets ``[T, *B]``; not differentiated.
    """

    chex.assert_equal_shape([q[1:], reward, terminal, cut, valid])

    def step(g_next, x):
        q_next, r, d, c, v = x
        g_next = jnp.where(c, q_next, g_next)
        g = r + gamma * (1 - d.astype(r.dtype)) * ((1 - lam) * q_next + lam * g_next)
        g = jnp.where(v, g, 0)
        return g, g

    xs = (q[1:], reward, terminal, cut, valid)
    _, targets = jax.lax.scan(step, q[-1], xs, reverse=True)
    return jax.lax.stop_gradient(targets)
