"""Playing a policy in many environments at once: one `lax.scan` for both collection modes."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from lica_jax.types import EnvStream, EpisodeStats, Task, TimeStep, Trajectory

# (carry, ts[B], key) -> (carry, action[B, N], extras): `Algorithm.act` with its parameters bound.
Act = Callable[[PyTree, TimeStep, PRNGKeyArray], tuple[PyTree, Array, dict[str, Array]]]


def reset_batch(task: Task, key: PRNGKeyArray, batch: int) -> tuple[PyTree, TimeStep]:
    """Resets ``batch`` environments; uses the task's own batched reset when it has one."""
    keys = jax.random.split(key, batch)
    batched = getattr(task, "reset_batch", None)
    return batched(keys) if batched else jax.vmap(task.reset)(keys)


def step_batch(
    task: Task, key: PRNGKeyArray, env: PyTree, action: Array
) -> tuple[PyTree, TimeStep]:
    """Steps B environments; uses the task's own batched step when it has one."""
    keys = jax.random.split(key, action.shape[0])
    batched = getattr(task, "step_batch", None)
    return batched(keys, env, action) if batched else jax.vmap(task.step)(keys, env, action)


def select(where: Bool[Array, " B"], x: PyTree, y: PyTree, axis: int = 0) -> PyTree:
    """``x`` where the environment's flag is True, else ``y``, leaf by leaf; B is ``axis``, 0 or
    -1, of every leaf."""

    def pick(a, b):
        return jnp.where(where if axis else where.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, x, y)


def select_env(
    task: Task, where: Bool[Array, " B"], x: tuple[PyTree, TimeStep], y: tuple[PyTree, TimeStep]
) -> tuple[PyTree, TimeStep]:
    """`select` of batches of (state, time step)."""
    axis = getattr(task, "batch_axis", 0)
    return select(where, x[0], y[0], axis), select(where, x[1], y[1])


def step_or_reset(
    task: Task, key: PRNGKeyArray, reset_key: PRNGKeyArray, over: Bool[Array, " B"],
    env: PyTree, action: Array,
) -> tuple[PyTree, TimeStep]:  # fmt: skip
    """Steps B environments; those which are ``over`` start a new episode instead."""
    batched = getattr(task, "step_or_reset_batch", None)
    if batched:
        keys = [jax.random.split(k, over.shape[0]) for k in (key, reset_key)]
        return batched(*keys, over, env, action)
    fresh = reset_batch(task, reset_key, over.shape[0])
    return select_env(task, over, fresh, step_batch(task, key, env, action))


def start_stream(task: Task, carry: PyTree, key: PRNGKeyArray, batch: int) -> EnvStream:
    """``batch`` environments at the start of their first episode."""
    env, ts = reset_batch(task, key, batch)
    return EnvStream(
        env=env,
        ts=ts,
        carry=carry,
        episode_return=jnp.zeros(batch),
        episode_length=jnp.zeros(batch, jnp.int32),
    )


def is_over(ts: TimeStep) -> Bool[Array, " B"]:
    return ts.terminated | ts.truncated


def unroll(
    task: Task, act: Act, stream: EnvStream, key: PRNGKeyArray, length: int, *, restart: bool
) -> tuple[EnvStream, Trajectory, EpisodeStats]:
    """Plays ``length`` transitions in every environment.

    A finished environment keeps its terminal observation for one slot. The transition behind that
    slot is not valid: with ``restart`` it is the reset of the next episode, without it the
    environment stays as it is. Slot ``length`` of the trajectory holds the observation and an
    action for the bootstrap; that action is not played.

    Returns:
      The stream after the last transition, the trajectory, and sums over finished episodes.
    """
    start_carry = stream.carry

    def transition(stream: EnvStream, key):
        # A scan of several runs transposes its keys, which JAX's checker of keys takes for a use.
        act_key, env_key, reset_key = jax.random.split(jax.random.clone(key), 3)
        over = is_over(stream.ts)
        carry, action, extras = act(stream.carry, stream.ts, act_key)
        if restart:
            env, ts = step_or_reset(task, env_key, reset_key, over, stream.env, action)
        else:
            after = step_batch(task, env_key, stream.env, action)
            env, ts = select_env(task, over, (stream.env, stream.ts), after)
        played = ~over
        total = jnp.where(played, stream.episode_return + ts.reward, 0)
        steps = jnp.where(played, stream.episode_length + 1, 0)
        ended = played & is_over(ts)
        stats = EpisodeStats(
            episodes=jnp.sum(ended, dtype=jnp.int32),
            return_sum=jnp.sum(jnp.where(ended, total, 0)),
            length_sum=jnp.sum(jnp.where(ended, steps, 0)).astype(total.dtype),
            info_sums={k: jnp.sum(jnp.where(ended, x, 0)).astype(total.dtype)
                       for k, x in ts.info.items()},
        )  # fmt: skip
        out = (stream.ts, action, played, extras, stats)
        return EnvStream(env, ts, carry, total, steps), out

    keys = jax.random.split(key, length + 1)
    stream, (steps, action, valid, extras, stats) = jax.lax.scan(transition, stream, keys[:-1])
    _, last_action, last_extras = act(stream.carry, stream.ts, keys[-1])

    def with_last(xs, x):
        return jnp.concatenate([xs, x[None]])

    trajectory = Trajectory(
        steps=jax.tree.map(with_last, steps, stream.ts),
        action=with_last(action, last_action),
        valid=valid,
        carry=start_carry,
        extras=jax.tree.map(with_last, extras, last_extras),
    )
    return stream, trajectory, jax.tree.map(lambda x: jnp.sum(x, axis=0, dtype=x.dtype), stats)


def learning_view(
    trajectory: Trajectory, reward_scale: Array, timeout_is_terminal: bool
) -> Trajectory:
    """The trajectory as algorithms see it: scaled rewards, and time-outs as the task defines them.

    With ``timeout_is_terminal`` (SMAC's convention) reaching the limit ends the episode in a state
    of value 0; otherwise it is bootstrapped from slot t+1.
    """
    steps = trajectory.steps
    if timeout_is_terminal:
        steps = steps.replace(
            terminated=steps.terminated | steps.truncated,
            truncated=jnp.zeros_like(steps.truncated),
        )
    return trajectory.replace(steps=steps.replace(reward=steps.reward * reward_scale))
