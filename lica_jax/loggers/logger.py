"""From rows of runs to writers of one run each: the one callback behind all loggers."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lica_jax.config import to_dict
from lica_jax.errors import UserError, first_line, unknown
from lica_jax.files import leaves, plain
from lica_jax.runs.callbacks import Row, Started
from lica_jax.runs.names import LOGS, MODES

PROJECT = "lica_jax"  # what the runs of one user are together, where a tool asks for that
# Of each logger, the package that it needs; its module here and its extra have its name.
LOGGERS = {
    "tensorboard": "tensorboardX", "wandb": "wandb", "trackio": "trackio", "mlflow": "mlflow",
}  # fmt: skip


# Of a row, what is no figure: the step of every figure, and what another row says at the same one.
STEPS = ("step", "env_steps")
STAMP = (*STEPS, "update", "seconds", "eval_index")


@dataclass(frozen=True)
class Run:
    """What a writer is told of its run.

    Attributes:
      name: its own, unlike the others of its group: ``seed0``; of a sweep ``0003``.
      group: what it belongs to: the run directory's or the sweep's name.
      folder: where a tool may write; shared by the runs of a group.
      settings: by their names with dots, as ``hp.entropy_coef``.
      env_steps: that it had made before it was resumed; 0 of a new run.
    """

    name: str
    group: str
    folder: Path
    settings: dict[str, Any]
    env_steps: int = 0


class Writer(Protocol):
    """One run in one tool."""

    def write(self, values: dict[str, float], step: int) -> None:
        """Figures of a moment; ``step``: env steps of this run."""

    def close(self) -> None:
        """The run has ended, or was broken off."""


class Logger:
    """Hands the rows of every run to a writer of its own.

    A tool that fails is told of once and given up: the run goes on, and its own files have all.

    Args:
      kind: one of `LOGGERS`.
      folder: where its files go.
      group: as of `Run`.
      names: of the runs, in the order of their labels; by default those that they have.
    """

    def __init__(self, kind: str, folder: Path, group: str, names: Sequence[str] | None = None):
        self._kind, self._folder, self._group, self._names = kind, folder, group, names
        self._labels: list[dict[str, Any]] = []
        self._writers: list[Writer] = []
        self._warn: Callable[[str], None] = print
        self._given_up = False

    def on_start(self, started: Started) -> None:
        self._labels, self._warn = started.labels, started.warn
        self._try(self._open, started)

    def on_metrics(self, row: Row) -> None:
        self._try(self._write, row, STEPS)

    def on_evaluation(self, row: Row) -> None:
        self._try(self._write, row, STAMP)

    def on_end(self, result: Any) -> None:
        if "final" in result.summary:
            self._try(self._write_last, result.summary)

    def close(self) -> None:
        while self._writers:  # all of them, whatever has failed before
            try:
                self._writers.pop().close()
            except Exception as error:
                self._give_up(error)

    def _try(self, act: Callable[..., None], *arguments: Any) -> None:
        if self._given_up:
            return
        try:
            act(*arguments)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if not self._given_up:
            self._warn(
                f"  --log {self._kind} has failed and is left out from here on: "
                f"{type(error).__name__}: {first_line(error)}"
            )
        self._given_up = True

    def _open(self, started: Started) -> None:
        opened = importlib.import_module(f"lica_jax.loggers.{self._kind}").open_writer
        settings = settings_of(started)
        self._folder.mkdir(parents=True, exist_ok=True)
        for i, label in enumerate(started.labels):
            name = (self._names or started.names)[i]
            about = settings | {k: v for k, v in label.items() if k != "run"}
            steps = started.env_steps[i]
            self._writers.append(opened(Run(name, self._group, self._folder, about, steps)))

    def _write(self, row: Row, but: Sequence[str]) -> None:
        """The numbers of a row, beside whose it is and the entries in ``but``."""
        (i,) = (i for i, label in enumerate(self._labels) if label.items() <= row.items())
        self._writers[i].write(figures_of(row, (*self._labels[i], *but)), row["env_steps"])

    def _write_last(self, summary: Mapping[str, Any]) -> None:
        for i, writer in enumerate(self._writers):
            found = {k: v for which in ("final", "best") for k, v in _last(summary, which, i)}
            writer.write(found, int(summary["env_steps"][i]))


def _last(summary: Mapping[str, Any], which: str, i: int) -> list[tuple[str, float]]:
    figures = {mode: summary[which][i][mode] for mode in MODES}
    named = ((f"{which}/{name.replace('.', '/')}", value) for name, value in leaves(figures))
    return [(name, float(value)) for name, value in named if _is_number(value)]


def figures_of(row: Row, but: Sequence[str]) -> dict[str, float]:
    """The numbers of a row without some of its entries."""
    return {k: float(v) for k, v in row.items() if k not in but and _is_number(v)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def settings_of(started: Started) -> dict[str, Any]:
    """A run's settings by their names with dots; its seed is in its label."""
    values = {k: v for k, v in to_dict(started.config).items() if k != "seeds"}
    return dict(leaves(plain(values)))


def check_loggers(names: str | Sequence[str]) -> tuple[str, ...]:
    """The loggers of these names; raises ``UserError`` where one is none or not installed."""
    names = (names,) if isinstance(names, str) else names
    if not isinstance(names, Sequence):
        raise UserError(f"log must be a name or a list of names, got {names!r}")
    for name in names:
        if name not in LOGGERS:
            raise unknown("logger", name, LOGGERS, "")
        if importlib.util.find_spec(LOGGERS[name]) is None:
            raise UserError(f"--log {name} needs {LOGGERS[name]}: pip install 'lica_jax[{name}]'")
    return tuple(dict.fromkeys(names))


def make_loggers(names: str | Sequence[str], run_dir: Path | None) -> list[Logger]:
    """A callback for every logger that is asked for; raises ``UserError`` as `check_loggers`, and
    where there is no place for its files."""
    kinds = check_loggers(names)
    if kinds and run_dir is None:
        raise UserError(f"log={kinds[0]!r} needs a run_dir to write to")
    return [Logger(kind, run_dir / LOGS, run_dir.resolve().name) for kind in kinds]
