"""Refusing a run that cannot fit, before anything is allocated or compiled."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lica_jax.errors import UserError
from lica_jax.rollout import start_stream, unroll
from lica_jax.types import Algorithm, Collect, Task, TaskSpec

PyTree = Any


def tree_bytes(tree: PyTree) -> int:
    """Bytes of a tree of arrays or of their shapes."""
    return sum(_leaf_bytes(x) for x in jax.tree.leaves(tree))


def _leaf_bytes(x: Any) -> int:
    # A typed key hides its data's shape; 8 bytes each (threefry).
    size = 8 if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else np.dtype(x.dtype).itemsize
    return int(np.prod(x.shape, dtype=np.int64)) * size


def available_bytes() -> int | None:
    """Memory free on the default device, or None where nothing tells."""
    device = jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def no_action(spec: TaskSpec, batch: int) -> Any:
    """A joint action of the right shape and type for every environment."""
    if spec.continuous:
        return jnp.zeros((batch, spec.n_agents, spec.n_actions))
    return jnp.zeros((batch, spec.n_agents), jnp.int32)


def training_bytes(
    algo: Algorithm, task: Task, collect: Collect, init: Any, n_runs: int
) -> dict[str, int]:
    """Bytes of the large arrays of a training run, by name, from shapes alone."""
    length = collect.length if collect.mode == "steps" else task.spec.episode_limit
    key = jax.random.key(0)

    def play(key):
        action = no_action(task.spec, collect.envs)
        stream = start_stream(task, algo.initial_carry(collect.envs), key, collect.envs)
        return unroll(task, lambda c, ts, k: (c, action, {}), stream, key, length, restart=True)[1]

    parts = {
        # Twice: the state before and after an update are both alive at its end.
        "the parameters and optimiser state": 2 * tree_bytes(jax.eval_shape(init, key)),
        f"the trajectory of {length} steps x {collect.envs} environments": tree_bytes(
            jax.eval_shape(play, key)
        ),
        **algo.scratch_bytes((length + 1) * collect.envs),
    }
    return {f"{name} of {n_runs} seed(s)": n_runs * size for name, size in parts.items()}


def check_fits(parts: dict[str, int], available: int | None = None) -> None:
    """Raises ``UserError`` when the parts together need more than 90 % of what is free.

    Args:
      parts: bytes by name; the message names the largest.
      available: bytes free; asked of the device when None.
    """
    free = available_bytes() if available is None else available
    need = sum(parts.values())
    if free is None or need <= 0.9 * free:
        return
    largest = max(parts, key=parts.get)
    raise UserError(
        f"this run needs about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; the "
        f"largest part is {largest} with {parts[largest] / 2**30:.1f} GiB. Use fewer "
        "seeds (--seeds), fewer environments (--collect.envs), shorter segments (--collect.length) "
        "or a smaller network (--algo.*)"
    )
