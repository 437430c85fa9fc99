"""``sweep.png``: a panel for every swept field, and of every task the learning curves of the best
settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax.errors import UserError, first_line
from lica_jax.runs import directory
from lica_jax.runs.rows import read_rows
from lica_jax.sweeps.display import short
from lica_jax.sweeps.folder import Folder
from lica_jax.sweeps.table import eval_name, objective_of

BEST = 5  # settings whose learning curves are drawn
MOST_PANELS = 8
COLUMNS = 3
LOG_FROM = 10  # a field's highest over its lowest value


def draw_sweep(
    folder: Folder, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any],
    path: str | Path | None = None,
) -> Any:  # fmt: skip
    """Draws a sweep.

    Args:
      rows, summary: of its table.
      path: the PNG to write, if any.

    Returns: the matplotlib figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from lica_jax.runs.figure import OwnFigure

    objective = eval_name(summary["objective"])
    names = [n for n in summary["settings"][0]["values"]] if summary["settings"] else []
    names = sorted(names, key=lambda n: -summary["importance"].get(n, 0))[:MOST_PANELS]
    tasks = list(summary["best_by_task"])[:MOST_PANELS]
    panels = len(names) + len(tasks)
    columns = min(COLUMNS, panels)
    lines = math.ceil(panels / columns)
    figure = OwnFigure(figsize=(4.6 * columns, 3.6 * lines), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(np.ravel(figure.subplots(lines, columns, squeeze=False)))
    factor = 100.0 if objective.endswith("win_rate") else 1.0
    label = _label(objective)
    alone = len(names) == 1
    for ax, name in zip(axes, names, strict=False):
        # The one field that is swept explains whatever settings differ by.
        share = None if alone else summary["importance"].get(name)
        _field_panel(ax, rows, name, objective, factor, share)
        if alone:
            _intervals(ax, summary["settings"], name, factor)
        ax.set_ylabel(label)
    for ax, task in zip(axes[len(names) :], tasks, strict=False):
        own = [e for e in summary["settings"] if e["values"].get("task", task) == task]
        title = f"{task}: " if len(tasks) > 1 else ""
        _curves(ax, folder, own, objective, factor, title)
        ax.set_ylabel(label)
    for ax in axes[panels:]:
        ax.set_visible(False)
    if path is not None:
        try:
            figure.savefig(path)
        except ValueError as error:  # an ending that is no picture's
            raise UserError(f"{path} cannot be written: {first_line(error)}") from None
    return figure


def _label(objective: str) -> str:
    mode = "sampled" if "sampled/" in objective else "greedy"
    name = objective.rpartition("/")[2]
    return f"{mode} win rate (%)" if name == "win_rate" else f"{mode} {name.replace('_', ' ')}"


def _field_panel(ax, rows, name, objective, factor, importance) -> None:
    """Points of runs and means of values of one field."""
    scores = [(row[name], objective_of(row, objective)) for row in rows]
    points = [(x, factor * y) for x, y in scores if y is not None]
    values = list(dict.fromkeys(x for x, _ in points))
    numeric = bool(values) and all(type(v) in (int, float) for v in values)
    values = sorted(values) if numeric else values
    places = {v: v if numeric else i for i, v in enumerate(values)}
    ax.scatter([places[x] for x, _ in points], [y for _, y in points], s=14, alpha=0.5, color="C0")
    few = len(values) <= max(2, len(points) // 2)
    if few:
        means = [np.mean([y for x, y in points if x == v]) for v in values]
        ax.plot([places[v] for v in values], means, color="C1", marker="o", label="mean")
        ax.legend(fontsize=8)
    if numeric and values and values[0] > 0 and values[-1] / values[0] >= LOG_FROM:
        ax.set_xscale("log")
    if not numeric:
        ax.set_xticks(range(len(values)), [str(v) for v in values], rotation=20, ha="right")
    elif few and len(values) <= 8:
        ax.set_xticks(values, [f"{v:g}" for v in values])
        ax.minorticks_off()
    share = "" if importance is None else f" (explains {importance:.0%})"
    ax.set(xlabel=name, title=f"{name}{share}")
    if factor == 100:
        ax.set_ylim(-3, 103)
    ax.grid(alpha=0.3)


def _intervals(ax, settings, name: str, factor: float) -> None:
    """The 95 % intervals of settings that differ in one number only."""
    known = [e for e in settings if e.get("interval") and type(e["values"][name]) in (int, float)]
    if known:
        low, high = factor * np.array([entry["interval"] for entry in known]).T
        at = [entry["values"][name] for entry in known]
        ax.vlines(at, low, high, color="C1", lw=6, alpha=0.5, label="its 95 % interval")
        ax.legend(fontsize=8)


def _curves(ax, folder: Folder, settings, objective: str, factor: float, title: str) -> None:
    """Mean learning curves of the best of a task's settings, with every seed as a thin line."""
    done = [entry for entry in settings if "mean" in entry and entry["finished"]]
    done.sort(key=lambda entry: (-entry["mean"], entry["setting"]))
    for i, entry in enumerate(done[:BEST]):
        curves = []
        for run in entry["runs"]:
            evals = read_rows(folder.run(run) / directory.EVALS)
            own = [(r["env_steps"], r[objective]) for r in evals if r.get(objective) is not None]
            if own:
                curves.append(np.array(own, float))
        if not curves:
            continue
        if len(curves) > 1:
            for curve in curves:
                ax.plot(curve[:, 0] / 1e6, factor * curve[:, 1], color=f"C{i}", lw=0.6, alpha=0.35)
        length = min(map(len, curves))
        mean = np.mean([curve[:length] for curve in curves], axis=0)
        values = ((k, v) for k, v in entry["values"].items() if k != "task")
        name = ", ".join(f"{k.rpartition('.')[2]} {short(v)}" for k, v in values)
        label = name or "all runs"
        ax.plot(mean[:, 0] / 1e6, factor * mean[:, 1], color=f"C{i}", lw=2, label=label)
    ax.set(xlabel="env steps (millions)", title=f"{title}the best {min(BEST, len(done))} settings")
    if factor == 100:
        ax.set_ylim(-3, 103)
    ax.grid(alpha=0.3)
    if done:
        ax.legend(fontsize=7, loc="best")
