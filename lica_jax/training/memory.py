"""Refusing a run that cannot fit: by an estimate before anything is compiled or allocated, and by
the compiler's own figures before anything runs.

The estimate is made of shapes, and measured against real runs in `benchmarks/memory.py`. On a CPU
it counts all that a process needs beyond what it holds when the run is planned; on an accelerator
the device's memory alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from lica_jax.errors import TooLarge
from lica_jax.machine import available_memory
from lica_jax.training.evaluation import MAX_WAVE, MODES
from lica_jax.training.loop import bound_act
from lica_jax.training.rollout import start_stream, unroll
from lica_jax.types import Algorithm, Collect, Progress, Replay, Task

# What compiling leaves behind, libraries that are imported late included; measured on CPU.
COMPILER = 800 * 2**20
_COMPILER = "the compiler"
USABLE = 0.9  # of what is free that a run may take


@dataclass(frozen=True)
class Estimate:
    """What training needs, in bytes by name; all sizes are Python's integers.

    Attributes:
      fixed: however many runs there are.
      per_run: of each run that is trained side by side.
      per_save: of each run where checkpoints are written, which is done from copies.
    """

    fixed: dict[str, int] = field(default_factory=dict)
    per_run: dict[str, int] = field(default_factory=dict)
    per_save: dict[str, int] = field(default_factory=dict)

    def parts(self, n_runs: int, saves: bool = False) -> dict[str, int]:
        """Everything that ``n_runs`` runs side by side need, with or without checkpoints."""
        each = self.per_run | (self.per_save if saves else {})
        of = f"of {n_runs} runs," if n_runs > 1 else "of one run,"
        runs = {f"{name}, {of}": n_runs * size for name, size in each.items()}
        return self.fixed | runs

    def total(self, n_runs: int, saves: bool = False) -> int:
        return sum(self.parts(n_runs, saves).values())


def estimate(
    algo: Algorithm, task: Task, collect: Collect, init: Any, *, eval_episodes: int = MAX_WAVE
) -> Estimate:
    """What training an algorithm on a task needs, from shapes alone; compiles nothing.

    Args:
      collect: how experience is gathered.
      init: ``key -> RunState``, as of `loop.make_run`.
      eval_episodes: the usual size of an evaluation.
    """
    length = collect.length if collect.mode == "steps" else task.spec.episode_limit
    key, wave = jax.random.key(0), len(MODES) * min(eval_episodes, MAX_WAVE)
    state = jax.eval_shape(init, key)
    trajectory = jax.eval_shape(partial(_play, algo, task, collect, length), key)
    episodes = jax.eval_shape(partial(_streams, algo, task, wave), key)
    learner, played = tree_bytes(state.learner), tree_bytes((trajectory, state.stream))
    rows, replay = (length + 1) * collect.envs, {}
    if algo.replay:
        fresh = rows
        rows, replay = _replay_bytes(algo.replay, state.replay, length)
        if algo.replay.beside:
            replay["the draw beside the fresh batch"] = tree_bytes(trajectory) * (1 + rows // fresh)
            rows += fresh
    width = jnp.result_type(float).itemsize // 4  # of the temporaries, given in float32
    per_run = {
        # Before and behind an update both are alive; the gradients are a quarter of a learner
        # that is parameters, their two moments and a target.
        "the parameters and optimiser state": 2 * learner + learner // 4,
        # The pieces that a scan leaves are joined with the last slot.
        f"the trajectory of {length} steps x {collect.envs} environments": 2 * played,
        f"the evaluation in {wave} environments": 2 * tree_bytes(episodes),
        **replay,
        **{name: width * size for name, size in algo.scratch_bytes(rows).items()},
    }
    if jax.default_backend() != "cpu":
        return Estimate(per_run=per_run)
    # What is encoded waits in memory until all of it is written, beside the copy that it is of.
    largest = max(map(_leaf_bytes, jax.tree.leaves(state)))
    save = {"the copies that a checkpoint is written from": 2 * tree_bytes(state) + largest}
    return Estimate(fixed={_COMPILER: COMPILER}, per_run=per_run, per_save=save)


def _replay_bytes(replay: Replay, buffer: Any, length: int) -> tuple[int, dict[str, int]]:
    """The rows that an update learns from, and what the ring and a draw from it need."""
    batch = replay.draws * replay.batch
    rows = batch * (2 if replay.unit == "transition" else length + 1)
    items = tree_bytes(buffer.items)
    what = f"{replay.unit}s, {describe_largest(buffer.items)}"
    # The ring is written in place. Places are drawn with a few numbers of 4 bytes for each; what is
    # drawn is there before and behind transposing.
    draw = batch * (60 + 2 * (items // replay.capacity))
    return rows, {
        f"the replay of {replay.capacity} {what}": tree_bytes(buffer),
        f"a draw of {batch} {replay.unit}s": draw,
    }


def _streams(algo: Algorithm, task: Task, batch: int, key: Any) -> PyTree:
    return start_stream(task, algo.initial_carry(batch), key, batch)


def _play(algo: Algorithm, task: Task, collect: Collect, length: int, key: Any) -> PyTree:
    """A trajectory of a fresh learner."""
    init_key, stream_key, play_key = jax.random.split(key, 3)
    explore = jnp.ones(collect.envs, bool)
    params = algo.policy(algo.init(init_key))
    act = partial(bound_act, algo, params, algo.hparams, Progress.finished(), explore)
    stream = _streams(algo, task, collect.envs, stream_key)
    return unroll(task, act, stream, play_key, length, restart=True)[1]


def tree_bytes(tree: PyTree) -> int:
    """Bytes of a tree of arrays or of their shapes."""
    return sum(_leaf_bytes(x) for x in jax.tree.leaves(tree))


def _leaf_bytes(x: Any) -> int:
    # A typed key hides its data's shape; 8 bytes each (threefry).
    size = 8 if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else np.dtype(x.dtype).itemsize
    return math.prod(x.shape) * size  # Python's integers: numpy's wrap around


def describe_largest(tree: PyTree) -> str:
    """The largest leaf of a tree in words: ``mostly steps/obs float32[5000, 61, 3, 56]``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    path, leaf = max(leaves, key=lambda item: _leaf_bytes(item[1]))
    name = "/".join(str(getattr(k, "name", getattr(k, "key", k))) for k in path)
    return f"mostly {name} {np.dtype(leaf.dtype).name}{list(leaf.shape)}"


# --- checks --------------------------------------------------------------------------------------


def available_bytes() -> int | None:
    """Memory free on the default device, or None where nothing tells."""
    device = jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return available_memory()


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
    if found := _shortage(parts, available):
        raise TooLarge(found)


def check_program(program: Any, available: int | None = None) -> None:
    """Raises ``MemoryError`` when a compiled program (`jax.stages.Compiled`) would allocate more
    beside its arguments than 90 % of what is free. Says nothing where the compiler does not."""
    told = program.memory_analysis()
    if told is None:
        return
    parts = {
        "the compiled program's temporaries": told.temp_size_in_bytes,
        "its results": told.output_size_in_bytes - told.alias_size_in_bytes,
    }
    if found := _shortage(parts, available):
        raise MemoryError(found)


def _shortage(parts: dict[str, int], available: int | None) -> str:
    """What is said where the parts do not fit; "" where they do, or nobody knows."""
    free = available_bytes() if available is None else available
    need = sum(parts.values())
    if free is None or need <= USABLE * free:
        return ""
    largest = max(parts, key=lambda name: (name != _COMPILER, parts[name]))  # what can be changed
    return (
        f"this run needs about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; the "
        f"largest part is {largest} with {parts[largest] / 2**30:.1f} GiB. Use fewer "
        f"seeds (--seeds), {_REMEDIES['the replay' in largest]} or a smaller network (--algo.*)"
    )


_REMEDIES = {
    True: "a smaller replay (--algo.replay-capacity)",
    False: "fewer environments (--collect.envs), shorter segments (--collect.length)",
}
