"""The figures of trained runs: in the paper's form, and in today's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from lica_jax.reporting.picture import FAINT, Panel, Picture, Style, styles_of
from lica_jax.reproduce.experiments import Experiment, Measure
from lica_jax.reproduce.results import measure_of
from lica_jax.statistics import LEAST_RUNS

FORMS = {
    "quartiles": "median and quartiles over {seeds}",
    "deviation": "mean and standard deviation over {seeds}",
    "single": "one run of each, seed {first}",
}
TODAY = "interquartile mean over {seeds} with its 95 % bootstrap interval"
THREE = "mean of {seeds}, from the lowest to the highest"  # that mean and that interval, of three
FEW = "interquartile mean over {seeds}, too few for an interval"
SEEDS = "; thin: every seed"
LITTLE = 10.0  # per cent of battles, up to which a panel shows these only
BEGINNING, FLAT = 0.2, 10.0  # of training; of the range behind it, beyond which that is cut
CROWD = 4  # methods in a panel, beyond which seeds are not drawn one by one
# Curves of a run and of a statistic.
THIN, THICK = {"lw": 0.7, "alpha": 0.4}, {"lw": 1.8}


def draw(name: str, experiment: Experiment, result: dict[str, Any]) -> list[Picture]:
    """The figure as the paper has it, and as one would draw it today."""
    panels = result["panels"]
    styles = styles_of({m["label"]: m["algorithm"] for p in panels for m in p["methods"]})
    few = any(m["low"] is None for p in panels for m in p["methods"])
    crowded = max(len(p["methods"]) for p in panels) > CROWD
    three = all(len(m["seeds"]) == LEAST_RUNS for p in panels for m in p["methods"])
    today = (FEW if few else THREE if three else TODAY) + ("" if crowded else SEEDS)
    ways = (
        (name, FORMS[experiment.form], PAPER[experiment.form]),
        (f"{name}_iqm", today, partial(_iqm, thin=not crowded)),
    )
    return [
        _picture(stem, number_of(name), text, way, experiment, result, styles)
        for stem, text, way in ways
    ]


def number_of(name: str) -> str:
    """``Figure 3`` of ``fig3``."""
    return f"Figure {name.removeprefix('fig')}"


def _picture(
    stem: str, number: str, text: str, way: Callable[..., None], experiment: Experiment,
    result: dict[str, Any], styles: dict[str, Style],
) -> Picture:  # fmt: skip
    panels = result["panels"]
    seeds = [m["seeds"] for p in panels for m in p["methods"]]
    first = " or ".join(map(str, sorted({s[0] for s in seeds})))  # a run may be left out
    told = text.format(seeds=seeds_text([len(s) for s in seeds]), first=first)
    title = f"{number}, {experiment.title} (scale {result['scale']}).\n{told[0].upper()}{told[1:]}"
    letters = [f"({chr(ord(experiment.first) + i)}) " for i in range(len(panels))]
    letters = letters if len(panels) > 1 else [""]
    titles = [letter + panel["title"] for letter, panel in zip(letters, panels, strict=True)]
    drawn = [
        Panel(title, partial(_draw, panel=panel, experiment=experiment, way=way, styles=styles))
        for title, panel in zip(titles, panels, strict=True)
    ]
    return Picture(stem, title, "", drawn, styles, experiment.columns)


def seeds_text(counts: Sequence[int]) -> str:
    """``5 seeds``, ``2 to 5 seeds``."""
    low, high = min(counts), max(counts)
    return f"{low} seed{'s' * (low > 1)}" if low == high else f"{low} to {high} seeds"


def _draw(
    axes: Any, panel: dict[str, Any], experiment: Experiment, way: Callable[..., None],
    styles: dict[str, Style],
) -> None:  # fmt: skip
    measure = measure_of(experiment, panel)
    unit, label = _unit(panel, measure)
    for method in panel["methods"]:
        style = styles[method["label"]]
        x = np.array(method["x"]) / unit
        way(axes, x, method, measure.factor, style)
    axes.set(xlabel=label, ylabel=measure.label)
    axes.set_xlim(left=0)
    if measure.name == "win_rate":
        # Nearly nothing won would be a line at the bottom.
        top = 103 if axes.dataLim.y1 > LITTLE else 1.03 * LITTLE
        axes.set_ylim(-0.03 * top, top)
    elif measure.name == "entropy":
        axes.set_ylim(bottom=0)
    else:
        _cut_beginning(axes)


def _unit(panel: dict[str, Any], measure: Measure) -> tuple[float, str]:
    """What to divide ``x`` by, and its name."""
    most = max(method["x"][-1] for method in panel["methods"])
    if measure.x == "episodes":
        return 1.0, "training episodes"
    if most >= 2e6:
        return 1e6, "env steps (millions)"
    return (1e3, "env steps (thousands)") if most >= 2e3 else (1.0, "env steps")


def _cut_beginning(axes: Any) -> None:
    """Leaves out of sight how low or high curves begin where that would flatten all the rest."""
    places = [line.get_xydata() for line in axes.lines]
    late = np.concatenate([xy[xy[:, 0] >= BEGINNING * xy[-1, 0], 1] for xy in places])
    low, high = np.nanmin(late), np.nanmax(late)
    room = high - low
    if room > 0 and axes.dataLim.height > FLAT * room:
        axes.set_ylim(max(low - room, axes.dataLim.y0), min(high + room, axes.dataLim.y1))
        axes.annotate(
            "curves begin outside", (0.98, 0.03), xycoords="axes fraction", color=FAINT, ha="right"
        )


def _line(axes: Any, x: np.ndarray, y: Any, style: Style) -> None:
    marker = style.marker if len(x) == 1 else ""  # a line of one point is not seen
    axes.plot(x, y, color=style.colour, ls=style.dashes, marker=marker, ms=4, **THICK)


def _band(axes: Any, x: np.ndarray, low: np.ndarray, high: np.ndarray, style: Style) -> None:
    axes.fill_between(x, low, high, color=style.colour, alpha=0.16, lw=0)


def _quartiles(axes: Any, x: np.ndarray, method: dict[str, Any], factor: float, s: Style) -> None:
    q1, middle, q3 = (factor * np.array(method[k]) for k in ("q1", "median", "q3"))
    _band(axes, x, q1, q3, s)
    _line(axes, x, middle, s)


def _deviation(axes: Any, x: np.ndarray, method: dict[str, Any], factor: float, s: Style) -> None:
    mean, std = (factor * np.array(method[k]) for k in ("mean", "std"))
    _band(axes, x, mean - std, mean + std, s)
    _line(axes, x, mean, s)


def _single(axes: Any, x: np.ndarray, method: dict[str, Any], factor: float, s: Style) -> None:
    _line(axes, x, factor * np.array(method["runs"][0]), s)


def _iqm(
    axes: Any, x: np.ndarray, method: dict[str, Any], factor: float, s: Style, thin: bool
) -> None:
    for run in method["runs"] if thin else ():
        axes.plot(x, factor * np.array(run), color=s.colour, **THIN)
    if method["low"] is not None:
        _band(axes, x, *(factor * np.array(method[k]) for k in ("low", "high")), s)
    _line(axes, x, factor * np.array(method["iqm"]), s)


PAPER = {"quartiles": _quartiles, "deviation": _deviation, "single": _single}
