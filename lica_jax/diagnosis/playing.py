"""Episodes with what the critic made of every moment, and what would have come of other actions.

Tasks are pure functions of their state: a moment is played again from there with one agent's action
changed, and on by the same policies. What that returns on average is the truth about the action.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from lica_jax.algorithms.actors import ActorCarry
from lica_jax.core.returns import lambda_returns
from lica_jax.training.loop import bound_act
from lica_jax.training.rollout import is_over, reset_batch, select, select_env, step_batch
from lica_jax.types import Algorithm, Outlook, Progress, Task, TimeStep


class Player(NamedTuple):
    """A policy with its critic, and the terms on which it learned.

    Attributes:
      algo, task: what it is and where it plays.
      scale: factor on rewards.
      timeout_is_terminal: whether the time limit ends an episode in a state of value 0.
    """

    algo: Algorithm
    task: Task
    scale: float
    timeout_is_terminal: bool


class Mind(NamedTuple):
    """The numbers behind a `Player`: policy, critic, hyper-parameters."""

    params: PyTree
    critic: PyTree
    hp: PyTree


@struct.dataclass
class Moments:
    """Decisions, leaves ``[T, B, ...]``."""

    env: PyTree  # before the decision; B is the task's batch axis, counted from T on
    carry: PyTree  # the policies' memory behind it
    action: Int[Array, "T B N"]
    avail: Bool[Array, "T B N A"]
    playing: Bool[Array, "T B"]
    outlook: Outlook
    worth: Float[Array, "T B N A"]  # `Insight.deviations`


@struct.dataclass
class Returns:
    """What the decisions returned, leaves ``[T, B]``, in units of scaled reward."""

    value: Float[Array, "T B"]  # the critic's
    full: Float[Array, "T B"]  # discounted to the episode's end
    traced: Float[Array, "T B"]  # the TD(lambda) return


def episodes(
    player: Player, batch: int, mind: Mind, lam: Float[Array, ""], key: PRNGKeyArray
) -> tuple[Moments, Returns]:
    """The first episode of ``batch`` environments, with sampled actions."""
    algo, task, hp = player.algo, player.task, mind.hp
    reset_key, key = jax.random.split(key)
    env, ts = reset_batch(task, reset_key, batch)
    act = sampling(player, mind, batch)

    def step(loop, t):
        env, ts, carry = loop
        act_key, env_key = jax.random.split(jax.random.fold_in(key, t))
        after, action, _ = act(carry, ts, act_key)
        view = mind.params, mind.critic, carry, ts, action, hp
        outlook, worth = algo.insight.look(*view), algo.insight.deviations(*view)
        over = is_over(ts)
        seen = Moments(env, after, action, ts.avail, ~over, outlook, worth)
        env, ts_next = select_env(task, over, (env, ts), step_batch(task, env_key, env, action))
        return (env, ts_next, after), (seen, ts.reward, ts.terminated, ts.truncated)

    start = (env, ts, algo.initial_carry(batch))
    slots = jnp.arange(task.spec.episode_limit + 1)  # one more, of which only the value counts
    _, (seen, reward, terminated, truncated) = jax.lax.scan(step, start, slots)
    value = team_value(seen.outlook)
    terminal, cut = ended(player, terminated, truncated)
    parts = player.scale * reward[1:], terminal[1:], cut[1:], seen.playing[:-1], hp.gamma
    full, traced = (lambda_returns(value, *parts, x) for x in (1.0, lam))
    return jax.tree.map(lambda x: x[:-1], seen), Returns(value[:-1], full, traced)


def sampling(player: Player, mind: Mind, batch: int):
    """``(carry, ts, key) -> (carry, action, extras)`` with sampled actions."""
    explore = jnp.ones(batch, bool)
    return partial(bound_act, player.algo, mind.params, mind.hp, Progress.finished(), explore)


def team_value(outlook: Outlook) -> Float[Array, "*B"]:
    """What the critic expects for the team; the agents' mean where each has a value."""
    return jnp.mean(outlook.value, axis=-1)


def ended(player: Player, terminated: Array, truncated: Array) -> tuple[Array, Array]:
    """``(terminal, cut)`` as learning sees them."""
    cut = terminated | truncated
    return (cut if player.timeout_is_terminal else terminated), cut


# --- other actions -------------------------------------------------------------------------------


def at(moments: Moments, task: Task, t: Int[Array, " S"], b: Int[Array, " S"]) -> Moments:
    """Some moments, leaves ``[S, ...]``; of the environments the last axis where the task's are
    there."""
    env = moments.env
    if getattr(task, "batch_axis", 0) == 0:
        env = jax.tree.map(lambda x: x[t, b], env)
    else:
        env = jax.tree.map(lambda x: jnp.moveaxis(x[t, ..., b], 0, -1), env)
    rest = jax.tree.map(lambda x: x[t, b], moments.replace(env=()))
    return rest.replace(env=env)


def rollouts(
    player: Player, n_rollouts: int, mind: Mind, moments: Moments, which: Int[Array, " P"],
    action: Int[Array, "P N"], key: PRNGKeyArray,
) -> Float[Array, "P n_rollouts"]:  # fmt: skip
    """Discounted returns of joint actions at moments ``which``, followed by the policies' own.

    Args:
      moments: leaves ``[S, ...]``, see `at`.
    """
    task, gamma = player.task, mind.hp.gamma
    rows = jnp.repeat(which, n_rollouts)
    axis = getattr(task, "batch_axis", 0)
    env = jax.tree.map(lambda x: x[..., rows] if axis else x[rows], moments.env)
    action = jnp.repeat(action, n_rollouts, axis=0)
    carry = remembering(jax.tree.map(lambda x: x[rows], moments.carry), action)
    first, key = jax.random.split(key)
    env, ts = step_batch(task, first, env, action)
    act = sampling(player, mind, rows.size)

    def going(loop):
        t, _, ts, _, _, _ = loop
        return (t < task.spec.episode_limit) & ~jnp.all(is_over(ts))

    def step(loop):
        t, env, ts, carry, total, weight = loop
        act_key, env_key = jax.random.split(jax.random.fold_in(key, t))
        over = is_over(ts)
        after, action, _ = act(carry, ts, act_key)
        env, ts_next = select_env(task, over, (env, ts), step_batch(task, env_key, env, action))
        carry = select(over, carry, after)
        weight = jnp.where(over, weight, gamma * weight)
        total = total + jnp.where(over, 0, weight * ts_next.reward)
        return t + 1, env, ts_next, carry, total, weight

    start = (0, env, ts, carry, ts.reward, jnp.ones_like(ts.reward))
    *_, ts, carry, total, weight = jax.lax.while_loop(going, step, start)
    total = player.scale * total
    if not player.timeout_is_terminal:
        total = total + gamma * weight * left(player, mind, carry, ts, act, key)
    return total.reshape(-1, n_rollouts)


def left(player: Player, mind: Mind, carry: PyTree, ts: TimeStep, act, key) -> Float[Array, " R"]:
    """What the critic expects behind a time limit; 0 where an episode ended otherwise."""
    _, action, _ = act(carry, ts, key)
    outlook = player.algo.insight.look(mind.params, mind.critic, carry, ts, action, mind.hp)
    terminal, cut = ended(player, ts.terminated, ts.truncated)
    return jnp.where(cut & ~terminal, team_value(outlook), 0)


def remembering(carry: PyTree, action: Int[Array, "R N"]) -> PyTree:
    """A memory in which ``action`` was the last."""
    return carry.replace(last_action=action) if isinstance(carry, ActorCarry) else carry
