"""Where a session stands, on the host's side."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np


@dataclass
class Counters:
    """Where every run stands; arrays of shape [R]."""

    env_steps: np.ndarray
    updates: np.ndarray
    failed_at: np.ndarray

    @classmethod
    def of(cls, state: Any) -> Counters:
        """The counters in a `RunState` of all runs."""
        arrays = jax.device_get((state.env_steps, state.updates, state.failed_at))
        return cls(*(np.asarray(x).astype(np.int64) for x in arrays))

    @classmethod
    def after(cls, metrics: Any) -> Counters:
        """The counters behind a chunk, from its metrics ``[R, iterations]``."""
        counts = {k: np.asarray(v)[:, -1].astype(np.int64) for k, v in metrics["counts"].items()}
        return cls(**counts)

    @property
    def alive(self) -> np.ndarray:
        return self.failed_at < 0

    @property
    def slowest(self) -> int:
        """Env steps of the run that has the fewest, among those still running."""
        return int(self.env_steps[self.alive].min() if self.alive.any() else self.env_steps.max())

    @property
    def update(self) -> int:
        """The number of updates of the run that has the most."""
        return int(self.updates.max())


@dataclass
class HostState:
    """What a checkpoint keeps of the host beside arrays.

    Attributes:
      seconds: spent on the runs before this session.
      next_eval: env steps at which the next evaluation is due.
      random: the uniformly random policy's figures with every run's seed, once it has been played.
    """

    seconds: float = 0.0
    next_eval: int = 0
    random: list[dict[str, Any]] | None = None

    @classmethod
    def of(cls, stored: dict[str, Any]) -> HostState:
        """From a checkpoint's JSON, whatever else is in there."""
        names = {f.name for f in dataclasses.fields(cls)}
        host = cls(**{k: v for k, v in stored.items() if k in names})
        if isinstance(host.random, dict):  # of version 0.1.0: those of the first run only
            host.random = [host.random]
        return host
