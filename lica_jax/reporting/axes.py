"""What all figures of a report draw alike: units, rows of methods, dots with intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from lica_jax.reporting.compare import METRICS, Comparison, Entry
from lica_jax.reporting.picture import Style, verbatim
from lica_jax.statistics import Estimate

WRAPPED = 26  # letters of a row's name in a line
BAND = (
    "interquartile mean over seeds, with its 95 % stratified bootstrap interval (of three seeds: "
    "from the lowest to the highest)"
)
Styles = dict[str, Style]


def drawn(c: Comparison, styles: Styles) -> list[tuple[Entry, Style]]:
    """The methods of a task that are shown, and how."""
    return [(e, styles[e.group.label]) for e in c.entries if e.group.label in styles]


def factor_of(c: Comparison) -> float:
    """What scores are multiplied by in a figure: win rates are per cent."""
    return 100.0 if c.metric == "win_rate" else 1.0


def metric_label(c: Comparison) -> str:
    """What a score is called along an axis."""
    return METRICS[c.metric] + (" (%)" if c.metric == "win_rate" else "")


def height_of(names: Sequence[str]) -> float:
    """Inches for rows of these names."""
    lines = sum(max(2, len(textwrap.wrap(name, WRAPPED))) for name in names)
    return 1.1 + 0.18 * max(lines, 4)


def dot(axes: Any, estimate: Estimate, y: float, style: Style, fill: str) -> None:
    """A value and its interval, if it has one, in row ``y``."""
    if np.isfinite(estimate.low):
        axes.plot([estimate.low, estimate.high], [y, y], color=style.colour, lw=2, alpha=0.7)
    axes.plot(
        estimate.value, y, ls="", marker=style.marker, ms=6, color=style.colour,
        markerfacecolor=fill,
    )  # fmt: skip


def name_rows(axes: Any, names: Sequence[str]) -> None:
    """Rows from the top, by name."""
    shown = [verbatim(textwrap.fill(name, WRAPPED)) for name in names]
    axes.set_yticks(range(len(names)), shown)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
