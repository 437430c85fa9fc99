"""What drives a run: a program that plays and learns, or environments outside JAX around one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxtyping import PRNGKeyArray, PyTree

from lica_jax.training.evaluation import MODES, Tell, silent
from lica_jax.training.memory import Estimate
from lica_jax.types import TaskSpec

Stop = Callable[[], bool]  # whether to give up what is being played


def never() -> bool:
    """The `Stop` of whoever plays to the end."""
    return False


class Engine:
    """How runs are played and learned; every array has a leading axis of runs.

    What only environments outside JAX need has a default here.
    """

    @property
    def estimate(self) -> Estimate:
        """What runs on this engine need of memory, from shapes alone."""
        raise NotImplementedError

    @property
    def programs(self) -> tuple[str, ...]:
        """What a run compiles, in words; each program once."""
        raise NotImplementedError

    def init(self, keys: PRNGKeyArray) -> PyTree:
        """``keys [R] -> RunState``."""
        raise NotImplementedError

    def check_memory(self, states: PyTree, hps: PyTree, iterations: int) -> None:
        """Compiles what ``chunk`` runs with these arguments, which are not touched; raises
        ``MemoryError`` where that needs more memory than there is."""

    def chunk(
        self, states: PyTree, hps: PyTree, iterations: int, stop: Stop = never
    ) -> tuple[PyTree, PyTree]:
        """Plays and learns; metrics ``[R, iterations]``. ``states`` are donated.

        May give up when ``stop`` says so: metrics of fewer iterations, or `games.Stopped`.
        """
        raise NotImplementedError

    def evaluate(
        self, params: PyTree, keys: PRNGKeyArray, hp: PyTree, episodes: int,
        modes: tuple[str, ...] = MODES, stop: Stop = never, tell: Tell = silent,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Figures per run and mode (`evaluation.Evaluator`). May raise `games.Stopped`."""
        raise NotImplementedError

    def open(self) -> TaskSpec:
        """Starts what the environments need; the task's spec with the source of its figures.
        Raises ``UserError`` where that fails."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends what ``open`` started."""

    @property
    def genuine(self) -> bool:
        """Whether figures are results: False on a test double of the task."""
        return True

    def complaint(self) -> str | None:
        """What a person should know since the last call."""
        return None

    def stats(self) -> dict[str, int]:
        """Counters of the environments, for the logs."""
        return {}

    def losses(self) -> dict[str, Any]:
        """What an evaluation says of episodes that were lost and of doubles; {} where nothing."""
        return {}

    def save_replays(self, folder: Path) -> tuple[list[str], str]:
        """Writes what the game recorded; the files written, and why there are not more."""
        raise NotImplementedError(f"no game, nothing to write to {folder}")
