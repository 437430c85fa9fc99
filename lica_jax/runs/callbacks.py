"""Callbacks of a run: called on the host, between two compiled calls.

A callback is any object with some of `HOOKS` as methods:

* ``on_start(run)``: before training begins, with a `Started`;
* ``on_metrics(row)``, ``on_evaluation(row)``: with a row of metrics.jsonl or eval.jsonl, for one
  run at a time;
* ``on_evaluations(rows)``: with the rows of all runs that were evaluated now, after
  ``on_evaluation`` was called with each of them;
* ``on_checkpoint(path)``: when a checkpoint is complete on disk;
* ``on_end(result)``: with the `Result`, once all files of a run that ended or was interrupted are
  written;
* ``close()``: last, however the run ended, even with an exception.

If ``on_evaluation`` or ``on_evaluations`` returns True, the run ends as it does at the end of its
budget: with a checkpoint, the final figures and all files. Rows are copies.

If a callback raises an exception, the run ends after the current compiled call: a checkpoint is
written, no callback is called any more except ``close``, and ``train`` raises the exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lica_jax.config import TrainConfig
from lica_jax.errors import UserError
from lica_jax.types import TaskSpec

HOOKS = (
    "on_start", "on_metrics", "on_evaluation", "on_evaluations", "on_checkpoint", "on_end", "close",
)  # fmt: skip
Row = dict[str, Any]


@dataclass(frozen=True)
class Started:
    """What ``on_start`` is called with.

    Attributes:
      config: configuration of all runs that are trained together.
      spec: spec of the task.
      labels: what tells the runs apart in rows: ``{"seed": 3}``.
      names: one name for each run: ``seed3``.
      run_dir: the run directory; None if nothing is written.
      update: number of updates made before this start; 0 for a new run.
      env_steps: env steps that each run had made before this start.
      warn: shows a line of text to the user.
    """

    config: TrainConfig
    spec: TaskSpec
    labels: list[dict[str, Any]]
    names: list[str]
    run_dir: Path | None
    update: int
    env_steps: list[int]
    warn: Callable[[str], None]


class Callbacks:
    """The callbacks of a run as one.

    Attributes:
      stopped: why one of them ended the run; "" while none did.
      error: what one of them raised.
    """

    def __init__(self, callbacks: Sequence[Any] = ()):
        self._all = check_callbacks(callbacks)
        self.stopped = ""
        self.error: Exception | None = None

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._all)

    @property
    def halt(self) -> bool:
        """Whether the run is to end."""
        return bool(self.stopped) or self.error is not None

    def start(self, started: Started) -> None:
        self._call("on_start", started)

    def metrics(self, row: Row) -> None:
        self._call("on_metrics", row)

    def evaluations(self, rows: Sequence[Row]) -> None:
        """Of all runs at one moment."""
        for row in rows:
            self._ask("on_evaluation", row, row)
        if rows:
            self._ask("on_evaluations", list(rows), rows[-1])

    def checkpoint(self, path: Path) -> None:
        self._call("on_checkpoint", path)

    def end(self, result: Any) -> None:
        """The last word; raises what a callback raises."""
        self._call("on_end", result)

    def close(self) -> None:
        """Once, however the run ended."""
        for callback in self._all:
            close = getattr(callback, "close", None)
            if close is not None:
                try:
                    close()
                except Exception as error:
                    self.error = self.error or error

    def raise_error(self, way_on: str) -> None:
        """Raises what a callback raised, with a word on how the run goes on."""
        if self.error is not None:
            if way_on:
                self.error.add_note(way_on)
            raise self.error

    def _ask(self, hook: str, argument: Any, row: Row) -> None:
        """Calls a hook that may end the run, with rows of the moment of ``row``."""

        def heard(callback: Any, answer: Any) -> None:
            if answer and not self.stopped:
                self.stopped = f"{_reason(callback)} at {row['env_steps']:,} env steps"

        self._call(hook, argument, heard)

    def _call(
        self, hook: str, argument: Any, heard: Callable[[Any, Any], None] = lambda *_: None
    ) -> None:
        for callback in self._all:
            if self.error is not None:
                return
            method = getattr(callback, hook, None)
            if method is None:
                continue
            try:
                heard(callback, method(_copy(argument)))
            except Exception as error:  # the run ends where its state is whole
                self.error = error


def _copy(argument: Any) -> Any:
    """Rows of one's own: what is written does not change with them."""
    if isinstance(argument, dict):
        return dict(argument)
    return [dict(row) for row in argument] if isinstance(argument, list) else argument


def _reason(callback: Any) -> str:
    """What a callback calls its condition; its type where it has no words for it."""
    return str(getattr(callback, "reason", "") or type(callback).__name__)


def check_callbacks(callbacks: Any) -> tuple[Any, ...]:
    """The callbacks; raises ``UserError`` where one has no hook, or one that cannot be called."""
    if isinstance(callbacks, str | Mapping) or not isinstance(callbacks, Sequence):
        raise UserError(f"callbacks must be a list of objects, got {callbacks!r}")
    for callback in callbacks:
        hooks = [name for name in HOOKS if hasattr(callback, name)]
        if isinstance(callback, type) or not any(name != "close" for name in hooks):
            raise UserError(
                f"a callback is an object with some of the methods {', '.join(HOOKS)}; got "
                f"{callback!r}"
            )
        if odd := [name for name in hooks if not callable(getattr(callback, name))]:
            raise UserError(f"callback {callback!r}: {odd[0]} cannot be called")
    return tuple(callbacks)


class StopAt:
    """Ends a run once all its seeds reach a value in the same evaluation.

    Args:
      condition: ``eval/win_rate=0.95``: an entry of eval.jsonl and its minimum value.

    Raises:
      UserError: the condition cannot be read.
    """

    def __init__(self, condition: str):
        name, _, value = str(condition).partition("=")
        try:
            self.least = float(value)
        except ValueError:
            self.least = math.nan
        if math.isnan(self.least) or not name.startswith("eval/"):
            raise UserError(
                "--stop-at must read NAME=VALUE with an entry of eval.jsonl, for example "
                f"eval/win_rate=0.95, got {condition!r}"
            )
        if name.endswith("win_rate") and self.least > 1:
            raise UserError(
                f"--stop-at {name}: a win rate is at most 1, got {value}; did you mean "
                f"{self.least / 100:g}?"
            )
        self.name = name
        self.reason = f"{name} >= {self.least:g}"

    def check(self, known: Sequence[str]) -> None:
        """Raises ``UserError`` where evaluations have no such entry."""
        if self.name not in known:
            raise UserError(
                f"--stop-at {self.name}: evaluations of this task have {', '.join(known)}"
            )

    def on_evaluations(self, rows: list[Row]) -> bool:
        values = [row.get(self.name) for row in rows]
        return all(value is not None and value >= self.least for value in values)
