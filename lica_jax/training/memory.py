"""Refusing a run that cannot fit, before anything is allocated or compiled."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from lica_jax.errors import TooLarge
from lica_jax.machine import available_memory
from lica_jax.training.loop import bound_act
from lica_jax.training.rollout import start_stream, unroll
from lica_jax.types import Algorithm, Collect, Progress, Task


def tree_bytes(tree: PyTree) -> int:
    """Bytes of a tree of arrays or of their shapes."""
    return sum(_leaf_bytes(x) for x in jax.tree.leaves(tree))


def _leaf_bytes(x: Any) -> int:
    # A typed key hides its data's shape; 8 bytes each (threefry).
    size = 8 if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else np.dtype(x.dtype).itemsize
    return math.prod(x.shape) * size  # Python's integers: numpy's wrap around


def available_bytes() -> int | None:
    """Memory free on the default device, or None where nothing tells."""
    device = jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return available_memory()


def training_bytes(
    algo: Algorithm, task: Task, collect: Collect, init: Any, n_runs: int
) -> dict[str, int]:
    """Bytes of the large arrays of a training run, by name, from shapes alone."""
    length = collect.length if collect.mode == "steps" else task.spec.episode_limit
    key = jax.random.key(0)

    def play(keys):
        explore = jnp.ones(collect.envs, bool)
        params = algo.policy(algo.init(keys[0]))
        act = partial(bound_act, algo, params, algo.hparams, Progress.finished(), explore)
        stream = start_stream(task, algo.initial_carry(collect.envs), keys[1], collect.envs)
        return unroll(task, act, stream, keys[2], length, restart=True)[1]

    state = jax.eval_shape(init, key)
    memory = state.replay
    rows = (length + 1) * collect.envs
    if algo.replay:
        slots = 2 if algo.replay.unit == "transition" else length + 1
        rows = algo.replay.draws * algo.replay.batch * slots
    parts = {
        # Twice: the state before and after an update are both alive at its end.
        "the parameters and optimiser state": 2 * tree_bytes(state.replace(replay=())),
        f"the trajectory of {length} steps x {collect.envs} environments": tree_bytes(
            jax.eval_shape(play, jax.random.split(key, 3))
        ),
        **algo.scratch_bytes(rows),
    }
    if algo.replay:  # once: it is written in place
        what = f"{algo.replay.unit}s, {describe_largest(memory.items)}"
        parts[f"the replay of {algo.replay.capacity} {what}"] = tree_bytes(memory)
    return {f"{name}, of {n_runs} seed(s),": n_runs * size for name, size in parts.items()}


def describe_largest(tree: PyTree) -> str:
    """The largest leaf of a tree in words: ``mostly steps/obs float32[5000, 61, 3, 56]``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    path, leaf = max(leaves, key=lambda item: _leaf_bytes(item[1]))
    name = "/".join(str(getattr(k, "name", getattr(k, "key", k))) for k in path)
    return f"mostly {name} {np.dtype(leaf.dtype).name}{list(leaf.shape)}"


def free_on(devices: int) -> int | None:
    """Memory free on so many devices together: a CPU's share the machine's."""
    free = available_bytes()
    return free if free is None or jax.default_backend() == "cpu" else free * devices


def check_fits(parts: dict[str, int], available: int | None = None) -> None:
    """Raises ``TooLarge`` when the parts together need more than 90 % of what is free.

    Args:
      parts: bytes by name; the message names the largest.
      available: bytes free; asked of the device when None.
    """
    free = available_bytes() if available is None else available
    need = sum(parts.values())
    if free is None or need <= 0.9 * free:
        return
    largest = max(parts, key=parts.get)
    raise TooLarge(
        f"this run needs about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; the "
        f"largest part is {largest} with {parts[largest] / 2**30:.1f} GiB. Use fewer "
        f"seeds (--seeds), {_REMEDIES['the replay' in largest]} or a smaller network (--algo.*)"
    )


_REMEDIES = {
    True: "a smaller replay (--algo.replay-capacity)",
    False: "fewer environments (--collect.envs), shorter segments (--collect.length)",
}
