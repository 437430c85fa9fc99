"""Whether a task's arrays are what its spec says, from shapes alone: nothing is compiled or run."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lica_jax.types import Task, TaskSpec, TimeStep


def task_problems(task: Task) -> list[str]:
    """What is wrong with the shapes and types of a task in JAX, one line each."""
    if not isinstance(task.spec, TaskSpec):
        return [f"spec must be a lica_jax.types.TaskSpec, got {type(task.spec).__name__}"]
    limit = task.spec.episode_limit
    if not isinstance(limit, int) or limit < 1:
        return [f"spec.episode_limit must be an integer of at least 1, got {limit!r}"]
    if not isinstance(task.spec.name, str):
        return [f"spec.name must be a text, got {task.spec.name!r}"]
    key, spec = jax.random.key(0), task.spec
    shape, dtype = ((spec.n_actions,), jnp.float32) if spec.continuous else ((), jnp.int32)
    action = jax.ShapeDtypeStruct((spec.n_agents, *shape), dtype)
    try:
        state, start = jax.eval_shape(task.reset, key)
    except Exception as error:
        return [f"reset(key) fails: {_first_line(error)}"]
    out = _step_problems("reset", start, spec)
    try:
        after, ts = jax.eval_shape(task.step, key, state, action)
    except Exception as error:
        return [*out, f"step(key, state, action) fails: {_first_line(error)}"]
    out += _step_problems("step", ts, spec)
    out += _changes(state, after)
    infos = [getattr(x, "info", None) for x in (start, ts)]
    if all(isinstance(info, dict) for info in infos) and set(infos[0]) != set(infos[1]):
        out.append(f"info has the keys {sorted(start.info)} at reset and {sorted(ts.info)} later")
    return out


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def expected_arrays(spec: TaskSpec) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shapes and types of the entries of a `TimeStep`."""
    return {
        "obs": ((spec.n_agents, spec.obs_size), jnp.float32),
        "state": ((spec.state_size,), jnp.float32),
        "avail": ((spec.n_agents, spec.n_actions), jnp.bool_),
        "reward": ((), jnp.float32),
        "terminated": ((), jnp.bool_),
        "truncated": ((), jnp.bool_),
        "first": ((), jnp.bool_),
        "alive": ((spec.n_agents,), jnp.bool_),
    }


COUNTED = ("return", "episode_length")  # of every task: their metrics' names are taken
_SIZES = {"obs": "n_agents, obs_size", "state": "state_size", "avail": "n_agents, n_actions",
          "alive": "n_agents"}  # fmt: skip


def _step_problems(where: str, ts: Any, spec: TaskSpec) -> list[str]:
    if not isinstance(ts, TimeStep):
        return [f"{where} must return (state, lica_jax.types.TimeStep), got {type(ts).__name__}"]
    out = []
    for name, (shape, dtype) in expected_arrays(spec).items():
        x = getattr(ts, name)
        # In 64-bit mode a task may leave its floats to JAX's default.
        types = {np.dtype(dtype)} | ({jnp.result_type(float)} if dtype == jnp.float32 else set())
        if not hasattr(x, "shape") or x.shape != shape or x.dtype not in types:
            got = f"{x.dtype}{list(x.shape)}" if hasattr(x, "shape") else type(x).__name__
            of = f" (spec: {_SIZES[name]})" if name in _SIZES else ""
            wanted = f"{np.dtype(dtype).name}{list(shape)}"
            out.append(f"{where}: {name} must be {wanted}{of}, got {got}")
    if not isinstance(ts.info, dict):
        return [*out, f"{where}: info must be a dictionary, got {type(ts.info).__name__}"]
    if spec.has_win and "won" not in ts.info:
        out.append(f'{where}: info must have "won", since spec.has_win says so')
    for key, x in ts.info.items():
        if getattr(x, "shape", None) != ():
            out.append(f"{where}: info[{key!r}] must be a scalar, got {x}")
        if key in COUNTED:
            out.append(f"{where}: info[{key!r}] needs another name: every episode's is measured")
    return out


def _changes(before: Any, after: Any) -> list[str]:
    """What a step changes of a state's structure, shapes and types, which a scan cannot bear."""
    if jax.tree.structure(before) != jax.tree.structure(after):
        return ["step must return a state of the same structure as reset"]
    leaves = zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True)
    return [
        f"step: state{jax.tree_util.keystr(path)} is {x.dtype}{list(x.shape)} after reset and "
        f"{y.dtype}{list(y.shape)} after a step"
        for (path, x), y in leaves
        if (x.shape, x.dtype) != (y.shape, y.dtype)
    ]
