"""How a run is played and learned: as one compiled program, or with environments outside JAX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from jaxtyping import PRNGKeyArray

from lica_jax.config.schema import TrainConfig
from lica_jax.engines.lockstep import HostRuns, is_host_task
from lica_jax.errors import UserError
from lica_jax.training.evaluation import MODES, Evaluator
from lica_jax.training.loop import batch_runs, make_run
from lica_jax.training.memory import training_bytes
from lica_jax.types import Algorithm, Task, TaskSpec

PyTree = Any


class Engine(Protocol):
    """What `Session` drives; every array has a leading axis of runs."""

    needs: dict[str, int]  # bytes of a run's large arrays by name
    genuine: bool  # whether figures are results: False on a test double of the task
    stop: Callable[[], bool]  # set by the session: whether the run is to stop

    def open(self) -> TaskSpec:
        """Starts what the environments need; the task's spec with the source of its figures.
        Raises ``UserError`` where that fails."""
        ...

    def init(self, keys: PRNGKeyArray) -> PyTree:
        """``keys [R] -> RunState``."""
        ...

    def chunk(self, states: PyTree, hps: PyTree, iterations: int) -> tuple[PyTree, PyTree]:
        """Plays and learns; metrics ``[R, iterations]``. May raise `host.Stopped`."""
        ...

    def evaluate(
        self, params: PyTree, keys: PRNGKeyArray, hp: PyTree, episodes: int,
        modes: tuple[str, ...] = MODES,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Figures per run and mode (`evaluation.Evaluator`)."""
        ...

    def complaint(self) -> str | None:
        """What a person should know since the last call."""
        ...

    def stats(self) -> dict[str, int]:
        """Counters of the environments, for the logs."""
        ...

    def save_replays(self, folder: Path) -> tuple[list[str], str]:
        """Writes what the game recorded; the files written, and why there are not more."""
        ...

    def close(self) -> None:
        """Ends what ``open`` started."""
        ...


class Compiled:
    """Everything in compiled programs, nothing to open."""

    genuine = True

    def __init__(self, algo: Algorithm, task: Task, config: TrainConfig):
        n, collect = len(config.seeds), config.collect
        init, chunk = make_run(algo, task, collect, config.timeout_is_terminal)
        self.needs = training_bytes(algo, task, collect, init, n)
        self.init, self.chunk = batch_runs(init, chunk, n)
        self.evaluate = Evaluator(algo, task, n, config.eval.episodes)
        self._spec = task.spec
        self.stop = lambda: False

    def open(self) -> TaskSpec:
        return self._spec

    def complaint(self) -> str | None:
        return None

    def stats(self) -> dict[str, int]:
        return {}

    def save_replays(self, folder: Path) -> tuple[list[str], str]:
        raise AssertionError(f"no game, nothing to write to {folder}: make_engine refuses")

    def close(self) -> None:
        pass


def make_engine(algo: Algorithm, task: Task, config: TrainConfig, salt: str = "") -> Engine:
    """The engine of a resolved configuration; ``salt`` sets a resumed run's games apart from those
    played before. Opens and compiles nothing; raises ``UserError`` for what cannot be played."""
    if not is_host_task(task):
        if config.eval.save_replay:
            raise UserError(f"eval.save_replay: only smac/ tasks have replays, not {config.task}")
        return Compiled(algo, task, config)
    collect, n = config.collect, len(config.seeds)
    if collect.mode != "episode":
        raise UserError(
            f"{config.task} is played in whole episodes, padded to the limit: use "
            "--collect.mode episode"
        )
    task.check()
    seed = f"{config.seeds}{salt}"
    return HostRuns(algo, task, collect.envs, n, config.timeout_is_terminal, seed)
