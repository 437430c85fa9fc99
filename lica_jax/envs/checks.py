"""Whether a task's arrays are what its spec says, from shapes alone: nothing is compiled or run."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from lica_jax.core.masking import mask_logits
from lica_jax.envs.frames import Frame, Scene
from lica_jax.errors import failure
from lica_jax.types import Task, TaskSpec, TimeStep


def task_problems(task: Task) -> list[str]:
    """What is wrong with the shapes and types of a task in JAX, one line each."""
    if not isinstance(task.spec, TaskSpec):
        return [f"spec must be a lica_jax.types.TaskSpec, got {type(task.spec).__name__}"]
    for name in ("n_agents", "n_actions", "episode_limit"):
        size = getattr(task.spec, name)
        if not isinstance(size, int | np.integer) or size < 1:
            return [f"spec.{name} must be an integer of at least 1, got {size!r}"]
    if not isinstance(task.spec.name, str):
        return [f"spec.name must be a text, got {task.spec.name!r}"]
    key, spec, package = jax.random.key(0), task.spec, type(task).__module__.partition(".")[0]
    avail = jax.ShapeDtypeStruct((spec.n_agents, spec.n_actions), bool)
    action = jax.eval_shape(partial(random_actions, spec), avail, key)
    try:
        begun = jax.eval_shape(task.reset, key)
    except Exception as error:
        return [failure("reset(key)", error, package)]
    if not is_row(begun, 2):
        return [_no_pair("reset", begun)]
    state, start = begun
    out = _step_problems("reset", start, spec)
    try:
        stepped = jax.eval_shape(task.step, key, state, action)
    except Exception as error:
        return [*out, failure("step(key, state, action)", error, package)]
    if not is_row(stepped, 2):
        return [*out, _no_pair("step", stepped)]
    after, ts = stepped
    out += _step_problems("step", ts, spec)
    out += changes("step: state", state, after, ("after reset", "after a step"))
    infos = [getattr(x, "info", None) for x in (start, ts)]
    if all(isinstance(info, dict) for info in infos):
        # A number of Python's at reset takes the type that it has after a step.
        takes = {k for k, x in infos[0].items() if getattr(x, "weak_type", False) and k in infos[1]}
        kept = [{k: x for k, x in info.items() if k not in takes} for info in infos]
        out += changes("info", *kept, ("at reset", "after a step"))
    return out


def frame_problems(task: Task) -> list[str]:
    """What is wrong with how a task is drawn, one line each; none where it is not drawn at all."""
    parts = [hasattr(task, name) for name in ("scene", "frames")]
    if not all(parts):
        return ["scene and frames belong together: one is missing"] if any(parts) else []
    scene, key, package = task.scene, jax.random.key(0), type(task).__module__.partition(".")[0]
    if not isinstance(scene, Scene):
        return [f"scene must be a lica_jax.envs.frames.Scene, got {type(scene).__name__}"]
    avail = jax.ShapeDtypeStruct((task.spec.n_agents, task.spec.n_actions), bool)
    action = jax.eval_shape(partial(random_actions, task.spec), avail, key)
    try:
        shown = jax.eval_shape(task.frames, key, jax.eval_shape(task.reset, key)[0], action)
    except Exception as error:
        return [failure("frames(key, state, action)", error, package)]
    if not isinstance(shown, Frame):
        got = type(shown).__name__
        return [f"frames must return a lica_jax.envs.frames.Frame alone, got {got}"]
    things, moments = len(scene.team), np.shape(shown.alive)[:1]
    out = [] if len(scene.agent) == things else ["scene.team and scene.agent differ in length"]
    for name, value in vars(shown).items():
        wanted = (*moments, things, *((2,) if name == "position" else ()))
        if np.shape(value) != wanted or not moments or not moments[0]:
            out.append(
                f"frames: {name} must be [K, {things}{', 2' if name == 'position' else ''}], K "
                f"moments of the {things} things of scene.team, got {list(np.shape(value))}"
            )
    return out


def random_actions(
    spec: TaskSpec, avail: Bool[Array, "*B N A"], key: PRNGKeyArray
) -> Int[Array, "*B N"] | Float[Array, "*B N A"]:
    """Actions of every agent, drawn evenly from those available, as training hands them to tasks:
    indices of 32 bits, or numbers within (-1, 1) of JAX's default width."""
    if spec.continuous:
        return jax.random.uniform(key, avail.shape, minval=-1.0)
    even = mask_logits(jnp.zeros(avail.shape), avail)
    return jax.random.categorical(key, even).astype(jnp.int32)


def is_row(returned: Any, n: int) -> bool:
    """Whether a function has returned ``n`` things."""
    return isinstance(returned, tuple | list) and len(returned) == n


def described(returned: Any) -> str:
    """What was returned, in words: ``a tuple of 5``, ``float32[3]``, ``NoneType``."""
    if hasattr(returned, "shape") and hasattr(returned, "dtype"):
        return f"{returned.dtype}{list(returned.shape)}"
    if type(returned) in (tuple, list):
        return f"a {type(returned).__name__} of {len(returned)}"
    return type(returned).__name__


def _no_pair(where: str, returned: Any) -> str:
    return f"{where} must return (state, TimeStep), got {described(returned)}"


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


TOLD = 4  # leaves that are named where many change


def changes(
    what: str, before: Any, after: Any, when: tuple[str, str] = ("before", "after")
) -> list[str]:
    """How a tree's structure, shapes and types differ before and after; a scan cannot bear that.

    Args:
      what: the function and what it changes: ``"step: state"``.
      before, after: trees whose leaves have a shape and a type.
      when: what the two are called.
    """
    old, new = _leaves(before), _leaves(after)
    if jax.tree.structure(before) != jax.tree.structure(after):
        lost, gained = [k for k in old if k not in new], [k for k in new if k not in old]
        told = [f"lacks {_some(lost)}"] if lost else []
        told += [f"has {_some(gained)} more"] if gained else []
        if type(after) is not type(before) or not told:
            told = [f"is {described(after)}, not {described(before)}"]
        return [f"{what} must keep its structure; {when[1]} it {' and '.join(told)}"]
    out = [
        f"{what}{'.' if path else ''}{path} is {described(x)} {when[0]} and "
        f"{described(new[path])} {when[1]}"
        for path, x in old.items()
        if described(x) != described(new[path])
    ]
    more = [f"{what}: {len(out) - TOLD} more leaves change"] if len(out) > TOLD else []
    return out[:TOLD] + more


def _leaves(tree: Any) -> dict[str, Any]:
    """Leaves by their paths, ``params.kernel``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in leaves}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(name or "a leaf" for name in names[:TOLD]) + more
