"""Figures with a row for every method: scores, sample efficiency, times to thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from lica_jax import statistics
from lica_jax.reporting.axes import (
    BAND,
    Styles,
    dot,
    drawn,
    factor_of,
    height_of,
    metric_label,
    name_rows,
)
from lica_jax.reporting.compare import SHARES, Comparison
from lica_jax.reporting.picture import Panel, Picture
from lica_jax.runs.look import unit_of
from lica_jax.runs.names import MODES


def final_scores(tasks: Sequence[Sequence[Comparison]], styles: Styles) -> Picture:
    """Every method's score on every task."""
    caption = (
        f"Filled: greedy; hollow: sampled; large: {BAND}; small: each seed. Seeds, episodes and "
        "env steps of every number are in the table of scores."
    )
    panels = [_dots_of(modes, styles, "scores", metric_label(modes[0])) for modes in tasks]
    return Picture("final_scores", "Final scores", caption, panels)


def efficiency(tasks: Sequence[Sequence[Comparison]], styles: Styles) -> Picture:
    """The mean of every method's learning curves."""
    caption = (
        "Sample efficiency: the score averaged over training, up to the env steps at which methods "
        "are compared. "
        f"Filled: greedy; hollow: sampled; large: {BAND}; small: each seed."
    )
    panels = [
        _dots_of(modes, styles, "areas", f"mean {metric_label(modes[0])}")
        for modes in tasks
        if any(entry.areas is not None for c in modes for entry, _ in drawn(c, styles))
    ]
    return Picture("sample_efficiency", "Sample efficiency", caption, panels)


def _dots_of(modes: Sequence[Comparison], styles: Styles, what: str, label: str) -> Panel:
    rows = {}
    for c in modes:
        for entry, style in drawn(c, styles):
            values = getattr(entry, what)
            if values is not None:
                rows.setdefault(entry.group.label, []).append((factor_of(c) * values, style))
    draw = partial(_draw_dots, rows=rows, label=label, wins=modes[0].metric == "win_rate")
    return Panel(modes[0].task, draw, height_of(list(rows)))


def _draw_dots(axes: Any, rows: dict[str, list[Any]], label: str, wins: bool) -> None:
    for i, pairs in enumerate(rows.values()):
        for j, (values, style) in enumerate(pairs):
            y = i + (0.14 if j else -0.14)
            fill = "none" if j else style.colour
            estimate = statistics.interval([values])
            axes.plot(
                values, np.full(len(values), y), ls="", marker="|", ms=5, color=style.colour,
                alpha=0.6,
            )  # fmt: skip
            dot(axes, estimate, y, style, fill)
    name_rows(axes, list(rows))
    axes.set_xlabel(label)
    if wins:
        axes.set_xlim(-3, 103)


def thresholds(comparisons: Sequence[Comparison], styles: Styles) -> Iterator[Picture]:
    """When methods come to 50, 80 and 95 % of the range, by mode."""
    for mode in MODES:
        own = [c for c in comparisons if c.mode == mode]
        panels = [
            Panel(
                f"{c.task}, by {'env steps' if axis == 'steps' else 'wall-clock time'}",
                partial(_draw_thresholds, c=c, axis=axis, styles=styles),
                height_of([entry.group.label for entry, _ in drawn(c, styles)]),
            )
            for c in own
            for axis in ("steps", "seconds")
        ]
        caption = (
            "The first evaluation at or above 50 % (circle), 80 % (square) and 95 % (diamond) of "
            "the range; large: median over seeds, small: each seed. A hollow triangle at the edge: "
            "half of the seeds or more did not come there. How many did is in the table. "
            "Seconds: set-up and compilation left out."
        )
        title = f"Time to 50, 80 and 95 % of the range, {mode}"
        yield Picture(f"time_to_threshold_{mode}", title, caption, panels)


def _draw_thresholds(axes: Any, c: Comparison, axis: str, styles: Styles) -> None:
    names = list(styles)  # the same rows in both modes
    shown = sorted(drawn(c, styles), key=lambda pair: names.index(pair[0].group.label))
    ends = [e.reached[share, axis].ends.max() for e, _ in shown for share in SHARES]
    most = max(ends) or 1.0  # of runs that have only begun
    unit, name = unit_of(axis, most)
    edge = 1.04 * most / unit
    for i, (entry, style) in enumerate(shown):
        for j, share in enumerate(SHARES):
            reached, y = entry.reached[share, axis], i + 0.24 * (j - 1)
            mark = {"ls": "", "color": style.colour}
            seen = reached.times[np.isfinite(reached.times)] / unit
            axes.plot(seen, np.full(len(seen), y), marker="|", ms=4, alpha=0.6, **mark)
            if np.isfinite(reached.median):
                axes.plot(reached.median / unit, y, marker="osD"[j], ms=5, **mark)
            else:
                axes.plot(edge, y, marker=">", ms=5, markerfacecolor="none", **mark)
    name_rows(axes, [entry.group.label for entry, _ in shown])
    axes.set_xlabel(name)
    axes.set_xlim(-0.02 * most / unit, 1.08 * most / unit)  # so that all of a mark at 0 is seen
