"""The tables of a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from lica_jax import statistics
from lica_jax.reporting import compare
from lica_jax.reporting.compare import METRICS, SHARES, Comparison, Entry
from lica_jax.reporting.groups import Group
from lica_jax.reporting.reading import Run
from lica_jax.reporting.table import (
    Column,
    Table,
    estimate_text,
    figures,
    seconds_text,
    steps_text,
)
from lica_jax.runs.names import MODES
from lica_jax.statistics import Estimate

SINCE = "set-up and compilation left out"
IQM = "Interquartile mean over seeds with 95 % stratified bootstrap interval"


def make_tables(comparisons: Sequence[Comparison], groups: Sequence[Group]) -> list[Table]:
    """Every table of a report."""
    tables = [scores(comparisons), aggregate(comparisons), thresholds(comparisons)]
    tables += [improvement(comparisons), tasks(comparisons), runs(groups)]
    return [table for table in tables if table.rows]


def _is_rate(row: dict[str, Any]) -> bool:
    return row["metric"] == METRICS["win_rate"]


def _score(key: str, title: str) -> Column:
    return Column(key, title, lambda row: estimate_text(row.get(key), _is_rate(row)))


def _plain(key: str, title: str, text: Callable[[float], str]) -> Column:
    return Column(key, title, lambda row: text(row[key]) if row.get(key) is not None else "-")


# --- scores --------------------------------------------------------------------------------------


def scores(comparisons: Sequence[Comparison]) -> Table:
    """A row for every method and task, both modes in it."""
    rows = []
    for c in (c for c in comparisons if c.mode == "greedy"):
        other = next(o for o in comparisons if o.task == c.task and o.mode == "sampled")
        sampled = {entry.group.label: entry for entry in other.entries}
        rows += [_scores_row(c, entry, sampled[entry.group.label]) for entry in c.entries]
    columns = [
        Column("task", "task"), Column("method", "method"), _score("greedy", "greedy"),
        _score("sampled", "sampled"), Column("metric", "score", _metric_text),
        _score("best_greedy", "best policy, greedy"),
        _score("best_sampled", "best policy, sampled"),
        _score("efficiency", "mean of the greedy curve"),
        Column("seeds", "seeds"), Column("episodes", "episodes per seed", _episodes_text),
        _plain("env_steps", "env steps", steps_text), _plain("seconds", "time", seconds_text),
    ]  # fmt: skip
    about = (
        f"{IQM}. Greedy and sampled: the last policy on fresh episodes where all compared runs "
        "have ended and were given equal budgets ('fresh'), else the evaluations at the env steps "
        "given. Best policy: the one with the best periodic evaluation, on fresh episodes "
        f"(absolute metric). Time: median over seeds until those env steps, {SINCE}."
    )
    return Table("scores", "Scores", about, columns, rows)


def _metric_text(row: dict[str, Any]) -> str:
    return row["metric"] + (" (%)" if _is_rate(row) else "") + (", fresh" if row["fresh"] else "")


def _episodes_text(row: dict[str, Any]) -> str:
    low, high = row["episodes"], row["most_episodes"]
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _scores_row(c: Comparison, entry: Entry, sampled: Entry) -> dict[str, Any]:
    def estimate(values: np.ndarray | None) -> Estimate | None:
        return None if values is None else statistics.interval([values])

    seconds = [float(np.interp(entry.at, run.steps, run.seconds)) for run in entry.runs]
    return {
        "task": c.task, "method": entry.group.label, "metric": METRICS[c.metric],
        "greedy": estimate(entry.scores), "sampled": estimate(sampled.scores),
        "greedy_mean": float(np.mean(entry.scores)),
        "greedy_median": float(np.median(entry.scores)),
        "sampled_mean": float(np.mean(sampled.scores)),
        "sampled_median": float(np.median(sampled.scores)),
        "best_greedy": estimate(entry.best), "best_sampled": estimate(sampled.best),
        "efficiency": estimate(entry.areas), "sampled_efficiency": estimate(sampled.areas),
        "seeds": len(entry.runs), "episodes": entry.episodes[0],
        "most_episodes": entry.episodes[1], "fresh": c.fresh and entry.compared,
        "env_steps": entry.at, "seconds": float(np.median(seconds)), "compared": entry.compared,
    }  # fmt: skip


def aggregate(comparisons: Sequence[Comparison]) -> Table:
    """Normalised scores over all tasks, where there are two or more."""
    rows = []
    for mode in MODES:
        own = [c for c in comparisons if c.mode == mode]
        labels = compare.everywhere(own) if len(own) > 1 else []
        for label in labels:
            pooled = compare.strata(own, label)
            row: dict[str, Any] = {"method": label, "mode": mode, "metric": "normalised"}
            for name in ("iqm", "mean", "median", "optimality_gap"):
                row[name] = statistics.interval(pooled, getattr(statistics, name))
            row["efficiency"] = statistics.interval(compare.strata(own, label, "areas"))
            rows.append(row | {"tasks": len(own), "runs": row["iqm"].runs})
    columns = [
        Column("method", "method"), Column("mode", "mode"), _score("iqm", "IQM"),
        _score("mean", "mean"), _score("median", "median"),
        _score("optimality_gap", "optimality gap (lower is better)"),
        _score("efficiency", "sample efficiency"), Column("tasks", "tasks"), Column("runs", "runs"),
    ]  # fmt: skip
    about = (
        "Normalised scores of all runs, pooled over tasks, with 95 % stratified bootstrap "
        "intervals; methods that are compared on every task. The ranges are in the table of tasks."
    )
    return Table("all_tasks", "All tasks", about, columns, rows)


def improvement(comparisons: Sequence[Comparison]) -> Table:
    """The probability of improvement of every pair of methods."""
    rows = []
    for mode in MODES:
        own = [c for c in comparisons if c.mode == mode]
        labels = compare.methods_of(own)
        for x, y in combinations(labels, 2):
            if any({x, y} <= {e.group.label for e in c.compared} for c in own):
                estimate, shared = compare.improvement(own, x, y)
                rows.append({
                    "x": x, "y": y, "mode": mode, "probability": estimate, "tasks": shared,
                    "runs": estimate.runs, "metric": "probability",
                })  # fmt: skip
    columns = [
        Column("x", "X"), Column("y", "Y"), Column("mode", "mode"),
        _score("probability", "P(X > Y)"), Column("tasks", "tasks"), Column("runs", "runs"),
    ]  # fmt: skip
    about = (
        "How likely a run of X scores higher than one of Y on the same task, mean over the tasks "
        "that both are compared on; ties count half. An interval that holds 0.5 decides nothing."
    )
    return Table("probability_of_improvement", "Probability of improvement", about, columns, rows)


# --- thresholds ----------------------------------------------------------------------------------


def thresholds(comparisons: Sequence[Comparison]) -> Table:
    """When methods come to parts of the range of scores."""
    rows = [
        _threshold_row(c, entry, share)
        for c in comparisons
        for entry in c.entries
        for share in SHARES
    ]
    columns = [
        Column("task", "task"), Column("method", "method"), Column("mode", "mode"),
        Column("threshold", "threshold", _threshold_text),
        Column("reached", "seeds there", lambda row: f"{row['reached']} of {row['seeds']}"),
        Column("steps", "env steps", partial(_times_text, axis="steps", text=steps_text)),
        Column("seconds", "time", partial(_times_text, axis="seconds", text=seconds_text)),
        Column("episodes", "episodes per evaluation"),
    ]  # fmt: skip
    about = (
        "The first evaluation at or above 50, 80 and 95 % of the range: median over seeds (fastest "
        "to slowest of those that came there). A seed that did not counts as later than all; where "
        f"that is half of them or more, the median is beyond what was trained. Time: {SINCE}."
    )
    return Table("time_to_threshold", "Time to threshold", about, columns, rows)


def _threshold_row(c: Comparison, entry: Entry, share: float) -> dict[str, Any]:
    row = {
        "task": c.task, "method": entry.group.label, "mode": c.mode, "metric": METRICS[c.metric],
        "share": share, "threshold": c.range[0] + share * (c.range[1] - c.range[0]),
        "seeds": len(entry.runs), "reached": entry.reached[share, "steps"].count,
        "episodes": int(max(run.figures[c.mode]["episodes"][-1] for run in entry.runs)),
    }  # fmt: skip
    for axis in ("steps", "seconds"):
        reached = entry.reached[share, axis]
        seen = reached.times[np.isfinite(reached.times)]
        row |= {
            f"{axis}_median": reached.median,
            f"{axis}_first": float(seen.min()) if len(seen) else None,
            f"{axis}_last": float(seen.max()) if len(seen) else None,
            # How far half of the seeds went without coming there.
            f"{axis}_followed": float(
                np.median(np.where(np.isfinite(reached.times), reached.times, reached.ends))
            ),
        }
    return row


def _threshold_text(row: dict[str, Any]) -> str:
    value = figures(row["threshold"], _is_rate(row))
    return f"{value} %" if _is_rate(row) else f"{value} ({100 * row['share']:.0f} %)"


def _times_text(row: dict[str, Any], axis: str, text: Callable[[float], str]) -> str:
    middle, first, last = (row[f"{axis}_{name}"] for name in ("median", "first", "last"))
    shown = text(middle) if np.isfinite(middle) else f"> {text(row[f'{axis}_followed'])}"
    if first is None or text(first) == text(last):
        return shown
    return f"{shown} ({text(first)} to {text(last)})"


# --- what was compared ---------------------------------------------------------------------------


def tasks(comparisons: Sequence[Comparison]) -> Table:
    """Ranges and grids."""
    rows = [
        {
            "task": c.task, "metric": METRICS[c.metric], "low": c.range[0], "high": c.range[1],
            "random": c.random, "env_steps": c.horizon, "methods": len(c.compared),
            "runs": sum(len(entry.runs) for entry in c.compared),
            "points": max(len(entry.steps.grid) for entry in c.entries),
        }
        for c in comparisons if c.mode == "greedy"
    ]  # fmt: skip
    columns = [
        Column("task", "task"), Column("metric", "score"),
        _plain("low", "counts as 0", figures), _plain("high", "counts as 1", figures),
        _plain("random", "random policy", figures),
        _plain("env_steps", "compared up to env steps", steps_text),
        Column("points", "points of the grid"), Column("methods", "methods"),
        Column("runs", "runs"),
    ]  # fmt: skip
    about = (
        "Win rates are normalised scores as they are. Returns have the lowest evaluation of any "
        "run on the task at 0 and the highest at 1. Methods are compared up to where all of "
        "them have come; on grids in between evaluations are interpolated linearly."
    )
    return Table("tasks", "Tasks", about, columns, rows)


def runs(groups: Sequence[Group]) -> Table:
    """Every run and where its numbers come from."""
    rows = [_run_row(group, run) for group in groups for run in group.runs]
    columns = [
        Column("run_dir", "run"), Column("task", "task"), Column("method", "method"),
        Column("preset", "preset"), Column("seed", "seed"), Column("status", "status"),
        _plain("env_steps", "env steps", steps_text), _plain("seconds", "time", seconds_text),
        _plain("setup", "set-up", seconds_text),
        Column("evaluations", "evaluations"), Column("episodes", "episodes each"),
        Column("lica_jax", "lica_jax"), Column("commit", "commit"),
        Column("reward scale", "reward scale"), Column("machine", "machine"),
    ]  # fmt: skip
    about = (
        "Every run that was read. Time: since its first evaluation, before training, later "
        f"evaluations included; {SINCE} (they are in a column of their own)."
    )
    return Table("runs", "Runs", about, columns, rows)


def _run_row(group: Group, run: Run) -> dict[str, Any]:
    return {
        "run_dir": str(run.path), "task": run.task, "method": group.label, "preset": run.preset,
        "seed": run.seed, "status": run.status, "env_steps": float(run.steps[-1]),
        "seconds": float(run.seconds[-1]), "setup": run.setup, "evaluations": len(run.steps),
        "episodes": int(run.figures["greedy"]["episodes"][-1]), "together": run.together,
        "test_double": run.test_double, **run.origin,
        **{name: value for name, value in group.method.changed},
    }  # fmt: skip
