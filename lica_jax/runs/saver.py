"""When checkpoints are written, and what is in one."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from flax import struct
from jaxtyping import PyTree

from lica_jax.config import CheckpointConfig
from lica_jax.runs import directory
from lica_jax.runs.best import Best
from lica_jax.runs.checkpoint import Checkpointer
from lica_jax.runs.state import HostState


@struct.dataclass
class Arrays:
    """The arrays of a checkpoint."""

    state: PyTree  # `RunState` of all runs
    best: Best


class Saver:
    """Writes checkpoints, at most as often as is asked; none without a directory."""

    def __init__(self, run_dir: Path | None, config: CheckpointConfig):
        self._every = config.every_seconds
        self._files = None
        self._folder = run_dir and run_dir / directory.CHECKPOINTS
        self._known = set(directory.checkpoints(run_dir)) if run_dir else set()
        self._started: list[int] = []  # not known to be complete
        if run_dir is not None:
            self._files = Checkpointer(run_dir / directory.CHECKPOINTS, config.keep)
        self._last, self._took = time.monotonic(), 0.0

    def restore(self, like: Arrays) -> tuple[Arrays, HostState, str]:
        """The latest sound checkpoint, and what was wrong with later ones; ``like`` gives shapes.
        Raises ``UserError`` where there is none."""
        arrays, stored, problem = self._files.restore(like)
        return arrays, HostState.of(stored), problem

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        # A large replay takes seconds to write: a tenth of the time at most.
        shortest = max(self._every, 10 * self._took) if self._every else 0
        return self._files is not None and time.monotonic() - self._last >= shortest

    def save(self, update: int, arrays: Arrays, host: HostState, score: float | None) -> None:
        """Starts writing; ``score`` of an update that has just been evaluated."""
        if self._files is None:
            return
        started = time.monotonic()
        self._files.save(update, arrays, dataclasses.asdict(host), score)
        if update not in self._known:
            self._known.add(update)
            self._started.append(update)
        self._last = time.monotonic()
        self._took = self._last - started

    def completed(self) -> list[Path]:
        """Checkpoints that have become complete since this was last asked."""
        paths = {update: self._folder / str(update) for update in self._started}
        done = [update for update, path in paths.items() if path.is_dir()]
        # They are written in order: one that is not there before a complete one is gone again.
        self._started = [update for update in self._started if update > max(done, default=-1)]
        return [paths[update] for update in done]

    def close(self) -> None:
        """Waits for what is being written."""
        if self._files is not None:
            self._files.close()
