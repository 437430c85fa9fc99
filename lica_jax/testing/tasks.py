"""What every task in JAX must do, in words where it does not."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lica_jax.envs.checks import frame_problems, random_actions, task_problems
from lica_jax.envs.names import is_import_path, plain_name
from lica_jax.envs.registry import is_task, make_task
from lica_jax.errors import UserError
from lica_jax.training.rollout import reset_batch, step_batch
from lica_jax.types import Task, TimeStep

ENVS = 3


def check_task(task: Task | str, seed: int = 0) -> None:
    """Checks that a task behaves as training requires, by playing a few random episodes.

    Shapes and types must be those of the spec; the same keys must give the same episodes; an
    environment must do alone what it does in a batch; episodes must start and end as the spec says;
    every agent must always have an available action; rewards must be finite, and returns within the
    spec's bound.

    Args:
      task: the task, or its name.
      seed: seed of the episodes.

    Raises:
      UserError: something is wrong; the message has one line for each problem.
    """
    asked, task = task, make_task(task) if isinstance(task, str) else task
    if not is_task(task):
        raise UserError(f"a task has spec, reset and step; {task!r} does not")
    if hasattr(task, "open"):
        raise UserError(f"{task.spec.name} is played outside JAX: train it on a few episodes")
    found = task_problems(task) or frame_problems(task)
    if not found:
        key = partial(jax.random.key, seed)
        run = play_out(task)
        played = jax.tree.map(np.asarray, run(key()))
        found = _value_problems(task, *played)
        again = jax.tree.map(np.asarray, run(key()))
        if not _equal(played, again):
            found.append("the same keys must give the same episodes")
        found += _batch_problems(task, key(), *played)
    named = isinstance(asked, str) and not is_import_path(asked) and not found
    if named and plain_name(task.spec.name) != plain_name(asked):
        found.append(f"spec.name must be {plain_name(asked)!r}, got {task.spec.name!r}")
    if found:
        lines = "\n".join(f"  - {line}" for line in found)
        name = getattr(task.spec, "name", type(task).__name__)
        raise UserError(f"task {name} does not conform:\n{lines}")


def play_out(task: Task):
    """Legal random play of ENVS episodes to their limit, through the functions training uses:
    ``key -> (start, actions, steps)`` with leaves [ENVS, ...] and [T, ENVS, ...]."""

    def step(carry, key):
        env, ts = carry
        act_key, step_key = jax.random.split(key)
        action = random_actions(task.spec, ts.avail, act_key)
        env, ts = step_batch(task, step_key, env, action)
        return (env, ts), (action, ts)

    def run(key):
        reset_key, key = jax.random.split(key)
        env, ts = reset_batch(task, reset_key, ENVS)
        keys = jax.random.split(key, task.spec.episode_limit)
        _, (actions, steps) = jax.lax.scan(step, (env, ts), keys)
        return ts, actions, steps

    return jax.jit(run)


def _value_problems(task: Task, start: TimeStep, actions: Any, steps: TimeStep) -> list[str]:
    """What is wrong with the values of played episodes, numpy arrays."""
    del actions
    spec, out = task.spec, []

    def expect(true: bool, text: str) -> None:
        if not true:
            out.append(text)

    over = steps.terminated | steps.truncated
    for name in ("obs", "state", "reward"):
        every = np.concatenate([getattr(start, name)[None], getattr(steps, name)])
        odd = every[~np.isfinite(every)]
        expect(not odd.size, f"{name} must be finite, got {odd[:1].sum()}")
    both = np.concatenate([start.avail[None], steps.avail])
    expect(np.all(np.any(both, axis=-1)), "every agent must have an available action, always")
    expect(
        spec.masks_actions or np.all(both[: over.argmax(0).min() + 1]) or spec.continuous,
        "some actions are unavailable: spec.masks_actions must be True",
    )
    expect(np.all(start.first), "first must be True at reset")
    expect(not np.any(steps.first), "first must be False after a step: a task never resets itself")
    sound = start.reward[np.isfinite(start.reward)]
    expect(not np.any(sound), "reward must be 0 at reset")
    expect(not np.any(start.terminated | start.truncated), "an episode must not be over at reset")
    expect(
        not np.any(steps.terminated & steps.truncated),
        "a step must not be terminated and truncated at once",
    )
    limit = spec.episode_limit
    expect(np.all(over.any(0)), f"an episode outlived spec.episode_limit, {limit} steps")
    early = np.argmax(np.any(steps.truncated, axis=1)) + 1
    expect(
        not np.any(steps.truncated[: limit - 1]),
        f"truncated is for spec.episode_limit, {limit} steps; it came after {early}",
    )
    if spec.max_return is not None:
        best = max(
            float(steps.reward[: over[:, env].argmax() + 1, env].sum()) for env in range(ENVS)
        )
        expect(
            best <= spec.max_return + 1e-4 or not np.all(np.isfinite(steps.reward)),
            f"an episode returned {best:g}, more than spec.max_return {spec.max_return:g}",
        )
    return out


def _batch_problems(
    task: Task, key: Any, start: TimeStep, actions: Any, steps: TimeStep
) -> list[str]:
    """Whether an environment alone does what it does in a batch; its first two time steps."""
    reset_key, key = jax.random.split(key)
    step_key = jax.random.split(jax.random.split(key, task.spec.episode_limit)[0])[1]
    state, alone = task.reset(jax.random.split(reset_key, ENVS)[1])
    _, after = task.step(jax.random.split(step_key, ENVS)[1], state, jnp.asarray(actions[0, 1]))
    pairs = (
        (alone, jax.tree.map(lambda x: x[1], start)),
        (after, jax.tree.map(lambda x: x[0, 1], steps)),
    )
    same = all(
        np.allclose(x, y, atol=1e-5, equal_nan=True)  # which `_value_problems` tells of
        for one, batch in pairs
        for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(batch), strict=True)
    )
    out = [] if same else ["an environment alone must do what it does in a batch"]
    if np.ptp(start.obs, axis=0).max() > 0 and np.array_equal(steps.state[0, 0], steps.state[0, 1]):
        out.append("each environment must have an episode of its own")
    return out


def _equal(a: Any, b: Any) -> bool:
    same = partial(np.array_equal, equal_nan=True)  # NaN is told of by `_value_problems`
    return all(map(same, jax.tree.leaves(a), jax.tree.leaves(b)))
