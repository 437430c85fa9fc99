"""What a task outside JAX offers: environments that are opened, and played in lock step."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from lica_jax.types import TaskSpec, task_in_words


class Moment(NamedTuple):
    """What B environments show after a start or a step; numpy arrays, a row per environment."""

    obs: np.ndarray  # [B, N, O] float32
    state: np.ndarray  # [B, S] float32
    avail: np.ndarray  # [B, N, A] bool
    alive: np.ndarray  # [B, N] bool
    reward: np.ndarray  # [B] float32, the task's own scale
    terminated: np.ndarray  # [B] bool
    truncated: np.ndarray  # [B] bool
    info: dict[str, np.ndarray]  # [B] each: `TimeStep.info`, such as {"won": bool}
    lost: np.ndarray  # [B] bool: the episode broke off; nothing else in the row means anything


class Games(Protocol):
    """B environments in lock step. Rows that are not asked for keep what they showed last.

    Attributes:
      n: B.
      source: what was really played; shown with results.
      genuine: False for a test double, whose figures are no results.
      reason: why the last episode was lost.
    """

    n: int
    source: str
    genuine: bool
    reason: str

    def start(self, which: np.ndarray) -> Moment: ...  # begins an episode in rows `which` [B]

    def step(self, action: np.ndarray, which: np.ndarray) -> Moment: ...  # action [B, N]

    # The files written, and why there are not more.
    def save_replays(self, folder: Path) -> tuple[list[str], str]: ...

    def stats(self) -> dict[str, int]: ...  # counters, for the logs

    def close(self) -> None: ...


class Stopped(Exception):
    """A batch was given up because the run is to stop; nothing was learned from it."""


class HostTask(Protocol):
    """A task whose environments are opened, not vmapped."""

    spec: TaskSpec

    def check(self) -> None: ...  # raises UserError where it cannot be played here

    def open(self, envs: int, seed: str) -> Games: ...  # any text is a seed

    def __repr__(self) -> str:
        return task_in_words(self)


def is_host_task(task: Any) -> bool:
    return hasattr(task, "open")
