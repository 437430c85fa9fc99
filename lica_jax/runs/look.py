"""How all figures look: colours, matplotlib's settings, units of axes."""

from __future__ import annotations

from typing import Any

from cycler import cycler

# Okabe and Ito's colours, safe for colour-blind people, and for the dark page lighter ones.
COLOURS = {
    "#0072b2": "#56a8e0", "#d55e00": "#ff8a3d", "#009e73": "#2cc79a", "#cc79a7": "#e39cc4",
    "#e69f00": "#f2b63a", "#56b4e9": "#8fd0f7", "#7a5c00": "#c9a94a", "#666666": "#a8a8a8",
}  # fmt: skip
INK, FAINT, GRID = "#1b1f24", "#57606a", "#d8dee4"
LOOK: dict[str, Any] = {
    "font.size": 9, "font.family": "sans-serif", "axes.titlesize": 9.5, "axes.labelsize": 9,
    "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.titlecolor": INK, "text.color": INK,
    "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.facecolor": "none", "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left",
    "axes.prop_cycle": cycler(color=list(COLOURS)), "legend.frameon": False,
    "svg.fonttype": "none", "pdf.fonttype": 42,
}  # fmt: skip


def unit_of(axis: str, most: float) -> tuple[float, str]:
    """What to divide an axis by, "steps" or "seconds" up to ``most`` of them, and its label."""
    if axis == "steps":
        units = ((1e6, "env steps (millions)"), (1e3, "env steps (thousands)"), (1, "env steps"))
    else:
        units = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
    return next((unit for unit in units if most >= 2 * unit[0]), units[-1])
