"""What a sweep came to: a row for every run, a summary for every setting."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax import statistics
from lica_jax.runs import directory
from lica_jax.runs.rows import read_rows
from lica_jax.sweeps.folder import Folder, Member, Progress
from lica_jax.sweeps.halving import HALVED

MODES = {"greedy": "", "sampled": "sampled/"}
Row = dict[str, Any]


def run_row(folder: Folder, member: Member, values: Row) -> Row:
    """The row of a run that has come to its end, with its setting's values: what ``results.csv``
    holds."""
    row = {"run": member.run, "setting": member.setting, "seed": member.seed}
    return row | values | _figures(folder.run(member.run))


def _figures(run_dir: Path) -> Row:
    """Counts and figures from a run's own files."""
    result = json.loads((run_dir / directory.RESULT).read_text())
    row: Row = {"env_steps": result["env_steps"][0], "status": result["status"]}
    evals = read_rows(run_dir / directory.EVALS)
    for name, prefix in MODES.items():
        for which in ("final", "best"):
            figures = result[which][0][name] if which in result else {}
            for key in ("win_rate", "return_mean"):
                if key in figures:
                    row[f"{which}/{prefix}{key}"] = figures[key]
        last = evals[-1] if evals else {}
        for key in ("win_rate", "return_mean"):
            if f"eval/{prefix}{key}" in last:
                row[f"eval/{prefix}{key}"] = last[f"eval/{prefix}{key}"]
    share = result["seconds"] / result["side_by_side"] if "seconds" in result else None
    return row | {"seconds": None if share is None else round(share, 1)}


def objective_of(row: Mapping[str, Any], objective: str) -> float | None:
    """The objective of a run: of its last policy on fresh episodes where it was trained to the end,
    of the last evaluation where it was not; None where the run failed."""
    if str(row["status"]).startswith("failed"):
        return None
    final = row.get(objective.replace("eval/", "final/", 1))
    return row.get(objective) if final is None else final


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """``results.csv``: the columns of all rows, in the order in which they first appear."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    scratch = path.with_name(path.name + ".tmp")
    with scratch.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns or ["run"])
        writer.writeheader()
        writer.writerows(rows)
    scratch.replace(path)


def summarise(
    progress: Progress, rows: Sequence[Row], objective: str,
    importance: Mapping[str, float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What ``summary.json`` holds: per setting over its seeds mean, IQM and the mean's 95 %
    bootstrap interval (from three seeds on); the best setting; what mattered.

    ``importance``: from a search; of a grid it is the share of the variance between the settings'
    means that a field's own means explain (the first-order Sobol index on the grid).
    """
    settings = []
    for number, values in enumerate(progress.values):
        own = [row for row in rows if row["setting"] == number]
        scores = [s for row in own if (s := objective_of(row, objective)) is not None]
        entry: Row = {"setting": number, "values": values, "runs": [row["run"] for row in own]}
        entry |= {"finished": sum(row["status"] == "finished" for row in own)}
        entry |= {"halved": sum(row["status"].startswith(HALVED) for row in own)}
        entry |= {"failed": sum(row["status"].startswith("failed") for row in own)}
        entry["seeds"] = len(scores)
        if scores:
            mean = statistics.interval([np.array(scores)], statistics.mean)
            entry |= {"mean": float(mean.value), "iqm": float(statistics.iqm(np.array(scores)))}
            entry["interval"] = None if math.isnan(mean.low) else [mean.low, mean.high]
        settings.append(entry)
    tasks = {json.dumps(v.get("task")) for v in progress.values}
    # Figures of different tasks say nothing of each other: no setting is the best of all.
    best = best_setting(settings) if len(tasks) == 1 else None
    done = [entry for entry in settings if entry["finished"] and "mean" in entry]
    means = {entry["setting"]: entry["mean"] for entry in done}
    if importance is None:
        importance = explained(progress.values, means)
    return {
        "objective": objective, "runs": len(progress.runs), "ended": len(rows),
        "best": best, "importance": dict(importance), "settings": settings,
        "told": progress.told,
    }  # fmt: skip


def best_setting(settings: Sequence[Row]) -> Row | None:
    """The setting with the highest mean among those trained to the end; with failed runs behind
    those without."""
    done = [entry for entry in settings if entry["finished"] and "mean" in entry]
    return max(done, key=lambda e: (-e["failed"], e["mean"], -e["setting"]), default=None)


def explained(values: Sequence[Row], means: Mapping[int, float]) -> dict[str, float]:
    """The share of the variance between settings that each field's marginal means explain."""
    numbers = list(means)
    y = np.array([means[i] for i in numbers])
    if len(y) < 2 or not math.isfinite(float(y.var())) or y.var() == 0:
        return {}
    out = {}
    for name in values[0]:
        levels = [json.dumps(values[i][name]) for i in numbers]
        marginal = {level: y[[k == level for k in levels]].mean() for level in set(levels)}
        out[name] = float(np.var([marginal[level] for level in levels]) / y.var())
    return out
