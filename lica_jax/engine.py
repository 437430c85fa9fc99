"""How a run is played and learned: as one compiled program, or with environments outside JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from lica_jax.config import TrainConfig
from lica_jax.errors import UserError
from lica_jax.evaluation import Evaluator
from lica_jax.host import HostRuns, is_host_task
from lica_jax.loop import batch_runs, make_run
from lica_jax.memory import training_bytes
from lica_jax.types import Algorithm, Task, TaskSpec

PyTree = Any


class Engine(NamedTuple):
    """What `Session` drives; every array has a leading axis of runs.

    Attributes:
      init: ``keys [R] -> RunState``.
      chunk: ``(state, hps, iterations) -> (state, metrics)`` with metrics ``[R, iterations]``.
      evaluate: ``(params, keys, hps, episodes) -> figures`` per run and mode.
      needs: bytes of a run's large arrays by name.
      open: starts what the environments need and returns the task's spec with the source of its
        figures; `UserError` where that fails.
      save_replays: writes what the game recorded into a folder; None where there is no such thing.
      genuine: whether figures are results (False on a test double of the task).
      close: ends what ``open`` started.
    """

    init: Callable[..., PyTree]
    chunk: Callable[..., tuple[PyTree, PyTree]]
    evaluate: Callable[..., list[dict[str, Any]]]
    needs: dict[str, int]
    open: Callable[[], TaskSpec]
    save_replays: Callable[[Any], list[Any]] | None
    genuine: Callable[[], bool]
    close: Callable[[], None]


def make_engine(algo: Algorithm, task: Task, config: TrainConfig, salt: str = "") -> Engine:
    """The engine of a resolved configuration; ``salt`` sets a resumed run's games apart from those
    played before. Opens and compiles nothing; raises ``UserError`` for what cannot be played."""
    n, collect, timeout = len(config.seeds), config.collect, config.timeout_is_terminal
    if config.eval.save_replay and not is_host_task(task):
        raise UserError(f"eval.save_replay: {config.task} has no replay files; smac/ tasks have")
    if is_host_task(task):
        if collect.mode != "episode":
            raise UserError(
                f"{config.task} is played in whole episodes, padded to the limit: use "
                "--collect.mode episode"
            )
        task.check(collect.envs)
        seed = f"{config.seeds}{salt}"
        runs = HostRuns(algo, task, collect.envs, n, timeout, seed)
        needs = training_bytes(algo, runs.blank, collect, runs.one_init, n)
        return host_engine(runs, task, needs)
    init, chunk = make_run(algo, task, collect, timeout)
    needs = training_bytes(algo, task, collect, init, n)
    evaluate = Evaluator(algo, task, n, config.eval.episodes)
    return Engine(
        *batch_runs(init, chunk, n), evaluate, needs, lambda: task.spec, None, lambda: True,
        lambda: None,
    )  # fmt: skip


def host_engine(runs: HostRuns, task: Any, needs: dict[str, int]) -> Engine:
    def start() -> TaskSpec:
        return dataclasses.replace(task.spec, source=runs.games.source)

    return Engine(
        runs.init, runs.chunk, runs.evaluate, needs, start,
        lambda folder: runs.games.save_replays(folder), lambda: runs.games.genuine, runs.close,
    )  # fmt: skip
