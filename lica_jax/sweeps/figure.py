"""``sweep.png``: a panel for every swept field, and of every task the learning curves of the best
settings."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax.reporting.picture import Style
from lica_jax.runs import directory
from lica_jax.runs.look import COLOURS, LOOK, unit_of
from lica_jax.runs.rows import read_rows
from lica_jax.sweeps.display import short
from lica_jax.sweeps.folder import Folder
from lica_jax.sweeps.table import eval_name, objective_of

BEST = 5  # settings whose learning curves are drawn
MOST_PANELS = 8
COLUMNS = 3
WIDE = 54  # letters of a legend that are as wide as a panel
POINTS, MEANS = list(COLOURS)[:2]  # of runs, and of values of a field
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
    import matplotlib

    from lica_jax.runs.figure import save_figure

    with matplotlib.rc_context(LOOK):
        figure = _drawn(folder, rows, summary)
        if path is not None:
            save_figure(figure, Path(path))
    return figure


def _drawn(folder: Folder, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from lica_jax.runs.figure import OwnFigure

    objective = eval_name(summary["objective"])
    names = list(summary["settings"][0]["values"]) if summary["settings"] else []
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
    ax.scatter(
        [places[x] for x, _ in points], [y for _, y in points], s=14, alpha=0.5, color=POINTS
    )
    few = len(values) <= max(2, len(points) // 2)
    if few:
        means = [np.mean([y for x, y in points if x == v]) for v in values]
        ax.plot([places[v] for v in values], means, color=MEANS, marker="o", label="mean")
    if numeric and values and values[0] > 0 and values[-1] / values[0] >= LOG_FROM:
        ax.set_xscale("log")
    if not numeric:
        ax.set_xticks(range(len(values)), [str(v) for v in values], rotation=20, ha="right")
    elif few and len(values) <= 8:
        texts = [short(v, values) for v in values]
        crowded = sum(map(len, texts)) > WIDE // 2
        turned = {"rotation": 30, "ha": "right"} if crowded else {}
        ax.set_xticks(values, texts, **turned)
        ax.minorticks_off()
    share = "" if importance is None else f" (explains {importance:.0%})"
    ax.set_title(f"{name}{share}")
    if few:
        _legend(ax)
    if factor == 100:
        ax.set_ylim(-3, 103)


def _intervals(ax, settings, name: str, factor: float) -> None:
    """The 95 % intervals of settings that differ in one number only."""
    known = [e for e in settings if e.get("interval") and type(e["values"][name]) in (int, float)]
    if known:
        low, high = factor * np.array([entry["interval"] for entry in known]).T
        at = [entry["values"][name] for entry in known]
        ax.vlines(at, low, high, color=MEANS, lw=6, alpha=0.5, label="its 95 % interval")
        _legend(ax)


def _curves(ax, folder: Folder, settings, objective: str, factor: float, title: str) -> None:
    """Mean learning curves of the best of a task's settings, with every seed as a thin line."""
    done = [entry for entry in settings if "mean" in entry and entry["finished"]]
    done.sort(key=lambda entry: (-entry["mean"], entry["setting"]))
    found = [
        [curve for run in entry["runs"] if (curve := _evaluated(folder, run, objective))]
        for entry in done[:BEST]
    ]
    ends = [max(curve.values())[0] for curves in found for curve in curves]
    unit, axis = unit_of("steps", max(ends, default=0))
    for i, (entry, curves) in enumerate(zip(done, found, strict=False)):
        if not curves:
            continue
        style = Style.number(i)
        if len(curves) > 1:
            for curve in curves:
                x, y = np.array(list(curve.values())).T
                ax.plot(x / unit, factor * y, color=style.colour, lw=0.6, alpha=0.35)
        # Where every seed was evaluated: one that failed must not change whose mean it is.
        steps = sorted(set.intersection(*map(set, curves)))
        x, y = np.mean([[curve[step] for step in steps] for curve in curves], axis=0).T
        values = ((k, v) for k, v in entry["values"].items() if k != "task")
        known = [e["values"] for e in done]
        name = ", ".join(
            f"{k.rpartition('.')[2]} {short(v, [o.get(k) for o in known])}" for k, v in values
        )
        label = name or "all runs"
        look = {"color": style.colour, "ls": style.dashes}
        ax.plot(x / unit, factor * y, lw=2, label=label, **look)
    ax.set(xlabel=axis, title=title + _which(min(BEST, len(done)), len(done)))
    if factor == 100:
        ax.set_ylim(-3, 103)
    if done:
        _legend(ax)


def _legend(ax) -> None:
    """Below the panel, where it lies over nothing, and no wider than that."""
    handles, labels = ax.get_legend_handles_labels()
    columns = 2 if max(map(len, labels)) <= WIDE // 2 - 4 else 1
    labels = [textwrap.fill(label, WIDE) for label in labels]
    turned = any(text.get_rotation() for text in ax.get_xticklabels())
    place = (0.5, -0.3 if turned else -0.2)
    ax.legend(handles, labels, fontsize=8, loc="upper center", bbox_to_anchor=place, ncols=columns)


def _evaluated(folder: Folder, run: int, objective: str) -> dict[int, tuple[float, float]]:
    """A run's env steps and scores by its nominal env steps."""
    rows = read_rows(folder.run(run) / directory.EVALS)
    return {
        row["step"]: (row["env_steps"], row[objective])
        for row in rows
        if row.get(objective) is not None
    }


def _which(shown: int, done: int) -> str:
    """``the best 5 settings``."""
    if done == 1:
        return "learning curve"
    return f"the best {shown} of {done} settings" if shown < done else f"all {done} settings"
