"""What a sweep came to: a row for every run, a summary for every setting."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax import statistics
from lica_jax.errors import UserError
from lica_jax.files import read_json, write_whole
from lica_jax.runs import directory
from lica_jax.runs.rows import read_rows
from lica_jax.sweeps.folder import Folder, Member, Progress
from lica_jax.sweeps.halving import HALVED, return_name

MODES = {"greedy": "", "sampled": "sampled/"}
GOING_ON = "going on"  # a run that came to its end with a smaller budget
Row = dict[str, Any]


def run_row(folder: Folder, member: Member, values: Row) -> Row:
    """The row of a run that has come to its end, with its setting's values: what ``results.csv``
    holds."""
    row = {"run": member.run, "setting": member.setting, "seed": member.seed}
    return row | values | _figures(folder.run(member.run))


def _figures(run_dir: Path) -> Row:
    """Counts and figures from a run's own files.

    Raises:
      UserError: they are damaged.
    """
    try:
        return _figures_of(read_json(run_dir / directory.RESULT), run_dir)
    except (KeyError, TypeError, IndexError, AttributeError):
        raise UserError(
            f"{run_dir / directory.RESULT} is damaged; without the folder {run_dir.name} --resume "
            "trains the run again"
        ) from None


def _figures_of(result: Any, run_dir: Path) -> Row:
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


def ended_where_it_was(run_dir: Path) -> bool:
    """Whether a stopped run was ended with a budget below what it had done already."""
    return bool(read_json(run_dir / directory.RESULT).get("ended_where_it_was"))


def objective_of(row: Mapping[str, Any], objective: str) -> float | None:
    """The objective of a run: of its last policy on fresh episodes where it was trained to the end,
    of the last evaluation where it was not; None where the run failed, or goes on."""
    if str(row["status"]).startswith("failed") or row["status"] == GOING_ON:
        return None
    final = row.get(final_name(objective))
    return row.get(objective) if final is None else final


def final_name(objective: str) -> str:
    """An objective's column of last policies on fresh episodes: ``final/win_rate``."""
    return objective.replace("eval/", "final/", 1)


def eval_name(objective: str) -> str:
    """An objective, by either of its columns, as rows of evaluations call it."""
    return objective.replace("final/", "eval/", 1)


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """``results.csv``: the columns of all rows, in the order in which they first appear."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns or ["run"])
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def setting_entry(number: int, values: Row, rows: Sequence[Row], objective: str) -> Row:
    """A setting over its ended runs: mean, IQM and the mean's 95 % bootstrap interval (from three
    seeds on), and as ``figure`` of which column. A run that goes on behind its end is not ended."""
    rows = [row for row in rows if row["status"] != GOING_ON]
    scores = [s for row in rows if (s := objective_of(row, objective)) is not None]
    entry: Row = {"setting": number, "values": values, "runs": [row["run"] for row in rows]}
    entry |= {"finished": sum(row["status"] == "finished" for row in rows)}
    entry |= {"halved": sum(row["status"].startswith(HALVED) for row in rows)}
    entry |= {"failed": sum(row["status"].startswith("failed") for row in rows)}
    entry["seeds"] = len(scores)
    if scores:
        mean = statistics.interval([np.array(scores)], statistics.mean)
        entry |= {"mean": float(mean.value), "iqm": float(statistics.iqm(np.array(scores)))}
        entry["figure"] = _figure(rows, objective)
        name = return_name(entry["figure"])
        sound = [row for row in rows if objective_of(row, objective) is not None]
        known = [row[name] for row in sound if row.get(name) is not None]
        entry["return_mean"] = float(np.mean(known)) if known else None
        entry["interval"] = None if math.isnan(mean.low) else [float(mean.low), float(mean.high)]
    return entry


def _figure(rows: Sequence[Mapping[str, Any]], objective: str) -> str:
    """The column that the scores of sound runs are from: of last policies where all have that."""
    sound = [row for row in rows if objective_of(row, objective) is not None]
    fresh = all(row.get(final_name(objective)) is not None for row in sound)
    return final_name(objective) if fresh else objective


def summarise(
    progress: Progress, settings: Sequence[Row], tasks: Sequence[str], objective: str,
    importance: Mapping[str, float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What ``summary.json`` holds: the settings over their seeds, the best of every task, and what
    mattered.

    Figures of different tasks say nothing of each other: of several tasks no setting is the best.

    Args:
      settings: of each what `setting_entry` says.
      objective: as it was asked; the summary has the column that the best one's figures are from.
      tasks: of each.
      importance: from a search; of a grid it is the share of the variance between the settings'
        means that a field's own means explain (the first-order Sobol index on the grid), means of
        a task being taken relative to all of that task.
    """
    by_task: dict[str, list[Row]] = {}
    for task, entry in zip(tasks, settings, strict=True):
        by_task.setdefault(task, []).append(entry)
    best = {task: best_setting(own) for task, own in by_task.items()}
    if importance is None:
        importance = explained(list(by_task.values()))
    found = (entry["figure"] for entry in best.values() if entry is not None)
    return {
        "objective": next(found, objective), "runs": len(progress.runs),
        "ended": sum(len(entry["runs"]) for entry in settings),
        "best": next(iter(best.values())) if len(best) == 1 else None, "best_by_task": best,
        "importance": dict(importance), "settings": list(settings), "told": progress.told,
    }  # fmt: skip


def _done(settings: Sequence[Row]) -> list[Row]:
    """Those trained to the end."""
    return [entry for entry in settings if entry["finished"] and "mean" in entry]


def best_setting(settings: Sequence[Row]) -> Row | None:
    """The setting with the highest mean among those trained to the end, of equal ones that with the
    highest return, which tells those apart that win nothing yet; with failed runs behind those
    without."""

    def rank(entry: Row) -> tuple[float, ...]:
        back = entry["return_mean"]
        return (
            -entry["failed"], entry["mean"], -math.inf if back is None else back, -entry["setting"],
        )  # fmt: skip

    return max(_done(settings), key=rank, default=None)


def explained(tasks: Sequence[Sequence[Row]]) -> dict[str, float]:
    """The share of the variance between the settings of a task that each field's marginal means
    explain; ``tasks``: the settings of each, whose own mean is taken off first."""
    done, parts = [], []
    for own in map(_done, tasks):
        means = np.array([entry["mean"] for entry in own])
        done += own
        parts.append(means - means.mean() if own else means)
    y = np.concatenate(parts) if parts else np.zeros(0)
    if len(y) < 2 or not math.isfinite(float(y.var())) or y.var() == 0:
        return {}
    out = {}
    for name in done[0]["values"]:
        if name == "task":
            continue
        levels = [json.dumps(entry["values"][name]) for entry in done]
        marginal = {level: y[[k == level for k in levels]].mean() for level in set(levels)}
        out[name] = float(np.var([marginal[level] for level in levels]) / y.var())
    return out
