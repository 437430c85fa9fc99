"""What a session tells: rows on disk, and lines to a person."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import PyTree

from lica_jax.config import steps_per_iteration
from lica_jax.engines.base import Engine
from lica_jax.runs import directory, messages
from lica_jax.runs.callbacks import Callbacks
from lica_jax.runs.display import Display
from lica_jax.runs.plan import Plan
from lica_jax.runs.rows import RowFile, chunk_row, completed, eval_row
from lica_jax.runs.state import Counters
from lica_jax.runs.summary import Summary
from lica_jax.types import TaskSpec

COMPLAINTS = 60  # seconds between two


class Logs:
    """The rows of all runs, by their labels, and the display beside them.

    Attributes:
      metrics, evals: the rows of ``metrics.jsonl`` and ``eval.jsonl``.
    """

    def __init__(
        self, plan: Plan, display: Display, engine: Engine, seconds: Callable[[], float],
        upto: int | None, callbacks: Callbacks | None = None,
    ):  # fmt: skip
        """``seconds``: how long the runs have taken; ``upto``: rows behind this update are dropped,
        None where a run begins; ``callbacks`` are told of rows."""
        self._plan, self._display, self._engine, self._seconds = plan, display, engine, seconds
        self._callbacks = callbacks or Callbacks()
        self.metrics = RowFile(self._file(directory.METRICS), upto)
        self.evals = RowFile(self._file(directory.EVALS), upto)
        self.metrics.rows = completed(self.metrics.rows)
        self.evals.rows = completed(self.evals.rows, evaluations=True)
        self._update_steps = steps_per_iteration(plan.config.collect, plan.task.spec)
        self._complained = -1e9
        for rows in (self.metrics, self.evals):
            if rows.problem:
                display.warn(f"  {rows.problem}")

    def _file(self, name: str) -> Path | None:
        return None if self._plan.run_dir is None else self._plan.run_dir / name

    def _stamp(self, i: int, now: Counters, step: int) -> dict[str, Any]:
        """The first entries of every row of run ``i``; ``step``: the nominal env steps, which are
        the same for all seeds and for separate runs with the same settings."""
        return self._plan.labels[i] | {
            "step": step,
            "env_steps": int(now.env_steps[i]),
            "update": int(now.updates[i]),
            "seconds": round(self._seconds(), 3),
        }

    def chunk(self, metrics: PyTree, before: Counters, names: tuple[str, ...]) -> Counters:
        """A row for every run of what a chunk was; returns the counters behind it.

        ``metrics`` are on the host, leaves ``[R, iterations]``; ``names``: those worth a look.
        """
        self.complain(every=COMPLAINTS)
        now, rows = Counters.after(metrics), []
        rate = self._display.tick(now.slowest)
        for i in np.flatnonzero(before.alive):
            if not now.alive[i]:
                self._display.warn(messages.failed(self._plan, now, i))
                continue
            rows.append(chunk_row(metrics, i))
            # Episodes of unlike lengths: nothing but updates are equal in all runs.
            stamp = self._stamp(i, now, int(now.updates[i]) * self._update_steps)
            row = self.metrics.append(stamp | {"env_steps_per_second": rate} | rows[-1])
            self._callbacks.metrics(row)
        self._display.show(now.slowest, rows, names)
        return now

    def evaluation(
        self, figures: Sequence[Summary], now: Counters, spec: TaskSpec, step: int
    ) -> None:
        """A row of every run's evaluation, which was due at ``step``, and a line of their means."""
        self.complain(every=COMPLAINTS)
        stats = {f"games/{name}": count for name, count in self._engine.stats().items()}
        index, rows = 1 + max((row["eval_index"] for row in self.evals.rows), default=-1), []
        for i in np.flatnonzero(now.alive):
            stamp = self._stamp(i, now, step) | {"eval_index": index}
            row = eval_row(stamp, figures[i], self._engine.genuine)
            rows.append(self.evals.append(row | stats))
        self._display.say(messages.evaluated(now.slowest, figures, spec))
        self._callbacks.evaluations(rows)

    def complain(self, every: float) -> None:
        """Tells of lost episodes, at most once in ``every`` seconds."""
        now = time.monotonic()
        if now - self._complained >= every and (text := self._engine.complaint()):
            self._complained = now
            self._display.warn(f"  {text}")
