"""Multi-step returns over time-major batches with explicit episode boundaries."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lica_jax.core.masking import masked_mean


def lambda_returns(
    q: Float[Array, "T+1 *B"],
    reward: Float[Array, "T *B"],
    terminal: Bool[Array, "T *B"],
    cut: Bool[Array, "T *B"],
    valid: Bool[Array, "T *B"],
    gamma: Float[Array, ""],
    lam: Float[Array, ""],
) -> Float[Array, "T *B"]:
    """TD(lambda) targets (LICA paper, Eq. 2).

    ``G_t = r_t + gamma (1 - d_t) [(1 - lam) q_{t+1} + lam G_{t+1}]`` for valid t, else 0. Where
    step t was the last one of an episode without being terminal, or the last of the batch,
    ``G_{t+1}`` is the bootstrap ``q_{t+1}``. A terminal step is worth its reward alone.

    Args:
      q: values (target critic) at the stored state-action pairs; slot T is the bootstrap slot.
        Axes behind those of the other arguments broadcast them (values of every agent).
      reward: ``reward[t]`` is received on the transition from slot t to t+1.
      terminal: d_t, the transition ended the episode in a state of value 0.
      cut: the transition ended the episode, terminally or not.
      valid: the transition really happened; other targets are 0.
      gamma: discount.
      lam: lambda; 1 gives Monte-Carlo returns (bootstrapped at a cut), 0 one-step targets.

    Returns:
      Targets ``[T, *B]``; not differentiated.
    """
    targets = differentiable_lambda_returns(q, reward, terminal, cut, valid, gamma, lam)
    return jax.lax.stop_gradient(targets)


def differentiable_lambda_returns(q, reward, terminal, cut, valid, gamma, lam):
    """``lambda_returns`` with its gradient: where the rewards themselves are learned (LIIR)."""
    following = q[1:]

    def like_values(x):
        chex.assert_equal_shape_prefix([following, x], x.ndim)
        x = x.reshape(x.shape + (1,) * (q.ndim - x.ndim))
        return jnp.broadcast_to(x, following.shape)

    def step(g_next, x):
        q_next, r, d, c, v = x
        g_next = jnp.where(c, q_next, g_next)
        g = r + gamma * (1 - d.astype(r.dtype)) * ((1 - lam) * q_next + lam * g_next)
        g = jnp.where(v, g, 0)
        return g, g

    xs = (following, *map(like_values, (reward, terminal, cut, valid)))
    return jax.lax.scan(step, q[-1], xs, reverse=True)[1]


def corrected_lambda_returns(
    q: Float[Array, "T+1 B"],
    now: Float[Array, "T+1 B"],
    weight: Float[Array, "T+1 B"],
    reward: Float[Array, "T B"],
    terminal: Bool[Array, "T B"],
    cut: Bool[Array, "T B"],
    valid: Bool[Array, "T B"],
    gamma: Float[Array, ""],
    lam: Float[Array, ""],
) -> Float[Array, "T B"]:
    """TD(lambda) targets from what older policies did: `lambda_returns` where every weight is 1.

    ``G_t = r_t + gamma (1 - d_t) [v_{t+1} + lam c_{t+1} (G_{t+1} - q_{t+1})]`` with ``v = c q +
    (1 - c) now``: as far as today's policies would not do what was done, it looks up what they do,
    and follows the rest of the segment no further (Retrace, Munos et al., 2016, whose expectation
    over actions is ``now``). Arguments and result as of `lambda_returns`, and

    Args:
      now: values at today's policies.
      weight: c, the importance weight of the joint action of a slot, truncated at 1.
    """
    v = now + weight * (q - now)

    def step(g_next, x):
        q_next, v_next, c_next, r, d, c, ok = x
        g_next = jnp.where(c, q_next, g_next)
        follow = v_next + lam * c_next * (g_next - q_next)
        g = jnp.where(ok, r + gamma * (1 - d.astype(r.dtype)) * follow, 0)
        return g, g

    xs = q[1:], v[1:], weight[1:], reward, terminal, cut, valid
    return jax.lax.stop_gradient(jax.lax.scan(step, q[-1], xs, reverse=True)[1])


def pymarl_lambda_returns(
    q: Float[Array, "T+1 *B"],
    reward: Float[Array, "T *B"],
    terminal: Bool[Array, "T *B"],
    mask: Float[Array, "T *B"],
    gamma: Float[Array, ""],
    lam: Float[Array, ""],
) -> Float[Array, "T *B"]:
    """TD(lambda) targets exactly as the official code (and PyMARL's COMA) computes them.

    ``y_T = q_T (1 - sum_t d_t)``, then
    ``y_t = gamma lam y_{t+1} + mask_t [r_t + gamma (1 - lam) (1 - d_t) q_{t+1}]``.

    Equal to ``lambda_returns`` on batches of whole episodes that end in a terminal state or all at
    the same time limit. Elsewhere it leaks: the lambda term is not masked, so an episode that was
    cut earlier than the batch is bootstrapped from ``q_T`` of its padding, decayed by
    ``(gamma lam)^k``; and an episode of several in one stream would inherit the next one's return.

    Args:
      q: values (target critic) at the stored state-action pairs; slot T is the bootstrap slot.
        Trailing axes behind those of ``reward`` broadcast (per-agent values).
      reward: ``reward[t]`` is received on the transition from slot t to t+1.
      terminal: d_t; a length of T+1 is allowed (the official learner passes every slot).
      mask: the official mask of slot t: filled and not behind a terminal transition. It is 1 on the
        last slot of an episode that was cut.
      gamma: discount.
      lam: lambda.

    Returns:
      Targets ``[T, *B]``; not differentiated.
    """
    steps = q.shape[0] - 1
    terminal = terminal.astype(q.dtype)
    last = q[-1] * (1 - jnp.sum(terminal, axis=0))

    def step(y_next, x):
        q_next, r, d, m = x
        y = gamma * lam * y_next + m * (r + gamma * (1 - lam) * (1 - d) * q_next)
        return y, y

    xs = (q[1:], reward[:steps], terminal[:steps], mask[:steps])
    _, targets = jax.lax.scan(step, last, xs, reverse=True)
    return jax.lax.stop_gradient(targets)


def monte_carlo_returns(
    reward: Float[Array, "T *B"],
    cut: Bool[Array, "T *B"],
    valid: Bool[Array, "T *B"],
    gamma: Float[Array, ""],
) -> Float[Array, "T *B"]:
    """Discounted sums of the rewards to the end of each episode; no critic takes part.

    ``G_t = r_t + gamma G_{t+1}``, with ``G_{t+1} = 0`` behind the end of an episode: a time limit
    counts as an end, since nothing is bootstrapped. Shapes as in ``lambda_returns``.
    """
    nothing = jnp.zeros((reward.shape[0] + 1, *reward.shape[1:]), reward.dtype)
    return lambda_returns(nothing, reward, jnp.zeros_like(cut), cut, valid, gamma, 1.0)


def gae(
    value: Float[Array, "T+1 *B N"],
    reward: Float[Array, "T *B"],
    terminal: Bool[Array, "T *B"],
    cut: Bool[Array, "T *B"],
    valid: Bool[Array, "T *B"],
    gamma: Float[Array, ""],
    lam: Float[Array, ""],
) -> tuple[Float[Array, "T *B N"], Float[Array, "T *B N"]]:
    """Generalised advantage estimates (Schulman et al., ICLR 2016), and the values' targets.

    ``A_t = sum_k (gamma lam)^k delta_{t+k}`` to the end of the episode or of the batch, with
    ``delta_t = r_t + gamma (1 - d_t) V_{t+1} - V_t``. That sum is ``G_t - V_t`` with G the
    `lambda_returns` of V, which is how it is computed: a cut without a terminal state bootstraps, a
    terminal state is worth 0, nothing crosses from one episode of a stream into the next.

    Args:
      value: V of every agent; slot T is the bootstrap slot. The other arguments, and what they
        mean, are those of ``lambda_returns`` without the axis of agents.

    Returns:
      ``(advantage, target)``, both 0 where not valid and not differentiated.
    """
    target = lambda_returns(value, reward, terminal, cut, valid, gamma, lam)
    advantage = jnp.where(valid[..., None], target - value[:-1], 0)
    return jax.lax.stop_gradient(advantage), target


def truncated_gae(
    value: Float[Array, "T+1 *B K"],
    reward: Float[Array, "T *B"],
    terminal: Bool[Array, "T *B"],
    cut: Bool[Array, "T *B"],
    valid: Bool[Array, "T *B"],
    trace: Float[Array, "T *B K"],
    gamma: Float[Array, ""],
    lam: Float[Array, ""],
) -> tuple[Float[Array, "T *B K"], Float[Array, "T *B K"]]:
    """`gae` of policies that have moved on since they acted (as in GPAE, arXiv 2603.02654).

    ``A_t = delta_t + gamma lam c_{t+1} A_{t+1}``: what happened later counts as far as the current
    policies would have done the same. With a trace of ones it is ``gae``.

    Args:
      trace: c, see `truncated_ratios`. The other arguments are those of ``gae``.

    Returns:
      ``(advantage, target)`` with target ``A + V``, both 0 where not valid and not differentiated.
    """

    def step(later, x):
        v, v_next, r, d, c, ok, weight = x
        later = jnp.where(c[..., None], 0, later)
        delta = r[..., None] + gamma * jnp.where(d[..., None], 0, v_next) - v
        here = jnp.where(ok[..., None], delta + gamma * lam * later, 0)
        return weight * here, here

    xs = (value[:-1], value[1:], reward, terminal, cut, valid, trace)
    _, advantage = jax.lax.scan(step, jnp.zeros_like(value[-1]), xs, reverse=True)
    target = jnp.where(valid[..., None], advantage + value[:-1], 0)
    return jax.lax.stop_gradient(advantage), jax.lax.stop_gradient(target)


MOST_OF_OTHERS = 1.02  # GPAE's bound on the product of the other agents' ratios


def truncated_ratios(
    log_ratio: Float[Array, "*B N"], *, joint: bool = False
) -> Float[Array, "*B K"]:
    """Trace coefficients of ``truncated_gae`` from ``log pi(u) - log pi_old(u)`` of every agent.

    ``c_i = min(1, rho_i min(1.02, prod_{j != i} rho_j))`` (GPAE): an agent's own ratio, and the
    others' product, which may shrink it but hardly make up for it. For values of the whole team
    (``joint``, K = 1) ``c = min(1, prod_j rho_j)``.
    """
    total = jnp.sum(log_ratio, axis=-1, keepdims=True)
    if joint:
        return jnp.exp(jnp.minimum(total, 0))
    others = jnp.minimum(total - log_ratio, jnp.log(MOST_OF_OTHERS))
    return jnp.exp(jnp.minimum(log_ratio + others, 0))


def standardised(
    x: Float[Array, "..."], mask: Float[Array, "..."], eps: float = 1e-5, ddof: int = 0
) -> Float[Array, "..."]:
    """``(x - mean) / (std + eps)`` with mean and std over the entries where ``mask`` is 1.

    ``ddof`` 1 is the unbiased std (torch's default). ``mask`` is broadcast as in ``masked_mean``.
    """
    centred = x - masked_mean(x, mask)
    count = jnp.sum(mask) * (x.size // mask.size)
    variance = masked_mean(jnp.square(centred), mask) * count / jnp.maximum(count - ddof, 1)
    return centred / (jnp.sqrt(variance) + eps)
