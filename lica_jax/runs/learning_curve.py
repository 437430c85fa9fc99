"""The learning curve of a run: evaluations over env steps."""

from __future__ import annotations

import io
import textwrap
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lica_jax.config import TrainConfig
from lica_jax.runs.figure import OwnFigure
from lica_jax.runs.look import COLOURS, FAINT, LOOK, unit_of
from lica_jax.runs.names import MODES
from lica_jax.statistics import LEAST_RUNS, interval, mean
from lica_jax.types import TaskSpec

Curve = dict[int, tuple[float, float]]  # env steps and value, by nominal env steps


def run_curve(
    config: TrainConfig, spec: TaskSpec, rows: list[dict[str, Any]], random: dict[str, Any] | None
) -> bytes:
    """`run_figure` as PNG."""
    png = io.BytesIO()
    run_figure(config, spec, rows, random).savefig(png, format="png")
    return png.getvalue()


def run_figure(
    config: TrainConfig, spec: TaskSpec, rows: list[dict[str, Any]], random: dict[str, Any] | None,
    axes: Axes | None = None,
) -> Figure:  # fmt: skip
    """`learning_curve` of a run, with the uniformly random policy's figures where those are
    known."""
    source = f" ({spec.source})" if spec.source else ""
    title = textwrap.fill(f"{config.algorithm} on {config.task}{source}", 60)
    key = "win_rate" if spec.has_win else "return_mean"
    return learning_curve(rows, title, random[key] if random else None, axes)


@matplotlib.rc_context(LOOK)
def learning_curve(
    rows: list[dict[str, Any]], title: str, baseline: float | None = None, axes: Axes | None = None
) -> Figure:
    """Draws greedy and sampled evaluations over env steps.

    A thin line per seed, of several their mean at their mean env steps, and of three or more its
    95 % interval (`statistics.interval`; of three that is from the lowest to the highest). Runs
    that differ in hyper-parameters have no mean.

    Args:
      rows: rows of ``eval.jsonl``.
      title: title of the figure.
      baseline: the uniformly random policy's figure, drawn as a dotted line.
      axes: where to draw it; by default on a new figure.

    Returns:
      The figure that it is on.
    """
    if axes is None:
        axes = OwnFigure(figsize=(6.4, 4.0), dpi=110, layout="constrained").subplots()
    wins = bool(rows) and "eval/win_rate" in rows[0]
    key, label = ("win_rate", "win rate (%)") if wins else ("return_mean", "episode return")
    factor = 100.0 if wins else 1.0
    unit, name = unit_of("steps", max((row["env_steps"] for row in rows), default=0))
    said = None
    for (mode, prefix), colour in zip(MODES.items(), COLOURS, strict=False):
        if curves := _curves(rows, prefix + key, unit, factor):
            said = _draw(axes, curves, "run" in rows[0], mode, colour)
    if baseline is not None:
        axes.axhline(factor * baseline, color=FAINT, ls=":", label="random policy")
    if wins:
        axes.set_ylim(-3, 103)
    axes.set(xlabel=name, ylabel=label, title=title)
    axes.set_xlim(left=0)
    if rows or baseline is not None:
        axes.legend(loc="best", fontsize=8, title=said, title_fontsize=8)
    return axes.figure.figure  # of a part of a figure, the whole


def _curves(rows: list[dict[str, Any]], name: str, unit: float, factor: float) -> list[Curve]:
    """The values of an entry, of every run that has some."""
    out: dict[int, Curve] = {}
    for row in rows:
        if row.get(name) is not None:
            curve = out.setdefault(row.get("run", row["seed"]), {})
            curve[row["step"]] = row["env_steps"] / unit, factor * row[name]
    return list(out.values())


def _draw(axes: Axes, curves: list[Curve], swept: bool, mode: str, colour: str) -> str | None:
    """Draws one mode's curves; returns what there is to say about them in the legend."""
    n = len(curves)
    thin = {"color": colour, "lw": 0.7, "alpha": 0.45}
    if swept:
        for i, curve in enumerate(curves):
            axes.plot(*zip(*curve.values(), strict=True), label=None if i else mode, **thin)
        return f"{n} runs that differ in hyper-parameters"
    # Where every seed has been evaluated: one that failed must not change whose mean it is.
    steps = sorted(set.intersection(*map(set, curves)))
    x, values = np.moveaxis([[curve[step] for step in steps] for curve in curves], -1, 0)
    x = x.mean(axis=0)
    axes.plot(x, values.mean(axis=0), color=colour, lw=2, marker="o", ms=3, label=mode)
    if n < 2:
        return None
    for curve in curves:
        axes.plot(*zip(*curve.values(), strict=True), **thin)
    if n < LEAST_RUNS:
        return f"mean of {n} seeds: too few for an interval"
    about = interval([values.T], mean)
    axes.fill_between(x, about.low, about.high, color=colour, alpha=0.2, lw=0)
    band = "lowest to highest" if n == LEAST_RUNS else "its 95 % bootstrap interval"
    return f"mean of {n} seeds; band: {band}"
