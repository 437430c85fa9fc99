"""Runs as tables (pandas), for statistics and plots."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas

from lica_jax.config import RESUMABLE, TrainConfig
from lica_jax.config.schema import settings
from lica_jax.errors import UserError
from lica_jax.files import as_paths
from lica_jax.runs import directory
from lica_jax.runs.names import run_dirs, runs_of_sweep, sweep_of
from lica_jax.runs.rows import completed, sound_rows

Rows = list[dict[str, Any]]
# Settings that are columns of their own, or change nothing of what is computed.
_APART = ("algorithm", "task", "seeds", "plugins", *RESUMABLE)


def load_runs(*paths: str | Path | Iterable[str | Path], metrics: bool = False) -> pandas.DataFrame:
    """Reads the evaluations of several runs into one table.

    For example ``seaborn.lineplot(load_runs(paths), x="step", y="eval/win_rate",
    hue="algorithm")``.

    Args:
      paths: run directories, finished or not, sweep directories, whose finished runs are read, and
        folders that contain some at any depth; or the results of `train` and `sweep`. Lists of
        these, too.
      metrics: read the rows of ``metrics.jsonl`` instead of those of ``eval.jsonl``.

    Returns:
      A row for every seed and evaluation, with the columns ``algorithm``, ``task``, the settings in
      which the runs differ (``hp.entropy_coef``, ``algo.hidden``, ...), the entries of the row
      (``seed``, ``step``, ``env_steps``, ``eval/win_rate``, ...) and ``run_dir``.

    Raises:
      UserError: some paths are not run directories or cannot be read; the message names all.
    """
    if not paths:
        raise UserError("load_runs needs at least one directory of runs")
    found, problems = [], []
    for path in _expanded(as_paths(paths)):
        try:
            found.append((path, directory.read_config(path), _read(path, metrics)))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    parts = as_rows([(config, rows) for _, config, rows in found])
    labelled = zip(found, parts, strict=True)
    return as_frame([row | {"run_dir": str(path)} for (path, *_), part in labelled for row in part])


def _expanded(paths: Iterable[Path]) -> list[Path]:
    """Sweeps by their runs, folders by the runs in them; everything else as it is."""
    out = []
    for path in paths:
        sweep = None if (path / directory.CONFIG).is_file() else sweep_of(path)
        out += (runs_of_sweep(sweep) if sweep else list(run_dirs(path))) or [path]
    return out


def _read(run_dir: Path, metrics: bool) -> Rows:
    path = run_dir / (directory.METRICS if metrics else directory.EVALS)
    try:
        rows, bad = sound_rows(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if bad:
        warnings.warn(f"{path}: {bad} damaged line(s) left out", stacklevel=3)
    return completed(rows, evaluations=not metrics)


def as_rows(runs: list[tuple[TrainConfig, Rows]]) -> list[Rows]:
    """The rows of runs with the algorithm, the task, and the settings in which the runs differ; one
    that some of them do not have at all counts where those that have it differ."""
    flat = [{s.name: s.value for s in settings(config)} for config, _ in runs]
    names = dict.fromkeys(name for values in flat for name in values)
    # Runs that were trained together may differ in numbers, which their rows have already.
    swept = {k for _, rows in runs for row in rows for k in row if k.startswith("hp.")}
    changed = [
        name
        for name in names
        if name.partition(".")[0] not in _APART
        and (name in swept or _differ([v[name] for v in flat if name in v]))
    ]
    return [
        [
            {"algorithm": config.algorithm, "task": config.task}
            | {name: values.get(name) for name in changed}
            | row
            for row in rows
        ]
        for (config, rows), values in zip(runs, flat, strict=True)
    ]


def _differ(values: list[Any]) -> bool:
    return any(value != values[0] for value in values)


def as_frame(rows: Rows) -> pandas.DataFrame:
    """Rows as a table, with a column for every entry that some row has."""
    return pandas.DataFrame(rows)
