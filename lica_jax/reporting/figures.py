"""The figures of a report."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from lica_jax import statistics
from lica_jax.reporting import compare
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
from lica_jax.reporting.compare import Comparison, Line
from lica_jax.reporting.dots import efficiency, final_scores, thresholds
from lica_jax.reporting.picture import FAINT, Panel, Picture, Style, styles_of
from lica_jax.runs.look import unit_of
from lica_jax.runs.names import MODES
from lica_jax.statistics import Estimate

SHOWN = 8  # methods in a figure: more cannot be told apart
THIN = 100  # points of a single seed's curve, thin among others: about as many as can be seen
LONGEST = 120  # bytes of a task in a file's name, which may have 255 with all that stands around
PAIRS = 5  # methods of which all pairs are drawn; of more, the best against each other one


def draw_all(comparisons: Sequence[Comparison]) -> list[Picture]:
    """Every figure that the runs have enough for."""
    greedy = [c for c in comparisons if c.mode == "greedy"]
    shown = compare.shown_of(greedy, SHOWN)
    methods = {e.group.label: e.group.method.algorithm for c in greedy for e in c.entries}
    styles = styles_of({label: methods[label] for label in shown})
    # Of more tasks than methods are shown, some have none of them.
    seen = [g.task for g in greedy if any(drawn(g, styles))]
    tasks = [[c for c in comparisons if c.task == task] for task in seen]
    names = stems(seen)
    pictures = [learning_curves(modes, styles, names[modes[0].task]) for modes in tasks]
    if len(shown) == len(greedy) == 1:  # tables say the rest
        return pictures
    pictures.append(final_scores(tasks, styles))
    if any(len(strata_of(comparisons, label)) >= statistics.LEAST_RUNS for label in shown):
        pictures.append(profiles(comparisons, styles))
    if any(_sets(comparisons, styles, 2)):
        pictures.append(improvements(comparisons, styles))
    if (areas := efficiency(tasks, styles)).panels:
        pictures.append(areas)
    if len(greedy) > 1 and _labels_in(greedy, styles):
        pictures.append(aggregate_curves(comparisons, styles))
    pictures += thresholds([c for modes in tasks for c in modes], styles)
    return pictures


def strata_of(comparisons: Sequence[Comparison], label: str) -> np.ndarray:
    """All of a method's greedy scores."""
    greedy = [c for c in comparisons if c.mode == "greedy"]
    return np.concatenate([np.zeros(0), *compare.strata(greedy, label)])


def _legend(comparisons: Sequence[Comparison], styles: Styles) -> Styles:
    there = {e.group.label for c in comparisons for e in c.entries}
    return {label: style for label, style in styles.items() if label in there}


def stems(tasks: Sequence[str]) -> dict[str, str]:
    """Tasks' names as parts of files', no two alike: with a hash where they would be too long, or
    as another's, also to file systems that take capitals for small letters."""
    safe = {t: "".join(ch if ch.isalnum() or ch in "-_." else "-" for ch in t) for t in tasks}
    often = Counter(name.casefold() for name in safe.values())

    def own(task: str) -> str:
        short = safe[task].encode()[:LONGEST].decode(errors="ignore")
        if short == safe[task] and often[short.casefold()] == 1:
            return short
        return f"{short}-{hashlib.sha256(task.encode()).hexdigest()[:8]}"

    return {task: own(task) for task in tasks}


# --- learning curves -----------------------------------------------------------------------------


def learning_curves(modes: Sequence[Comparison], styles: Styles, name: str) -> Picture:
    """Scores of one task, which files call ``name``, along env steps and seconds, greedy and
    sampled."""
    panels = [
        Panel(f"{c.mode}, by {along}", partial(_draw_curves, c=c, axis=axis, styles=styles))
        for c in modes
        for axis, along in (("steps", "env steps"), ("seconds", "wall-clock time"))
    ]
    c = modes[0]
    points = max(len(e.steps.grid) for e in c.entries)
    episodes = [n for e in c.entries for run in e.runs for n in run.figures["greedy"]["episodes"]]
    seeds = sorted({len(e.runs) for e in c.entries})
    caption = (
        f"Seeds per method: {_span(seeds)}; episodes per evaluation and seed: {_span(episodes)}. "
        "Seconds: set-up and compilation left out. "
    )
    if seeds[-1] < statistics.LEAST_RUNS:
        caption += "Every seed by itself; points are evaluations."
    else:
        caption += (
            f"Thick: {BAND}, from {statistics.LEAST_RUNS} seeds on; thin: each seed. The mean is "
            f"on a common grid of up to {points} points, every place of an evaluation, linear "
            "in between; it ends where the first seed does."
        )
    caption += "" if c.random is None else " Dotted: the uniformly random policy."
    return Picture(
        f"learning_curves_{name}", f"{c.task}: learning curves", caption, panels,
        _legend(modes, styles),
    )  # fmt: skip


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def _draw_curves(axes: Any, c: Comparison, axis: str, styles: Styles) -> None:
    factor = factor_of(c)
    lines: list[tuple[Line, Style, int]] = [
        (getattr(e, axis), style, len(e.runs)) for e, style in drawn(c, styles)
    ]
    unit, name = unit_of(axis, max(x[-1] for line, *_ in lines for x, _ in line.runs))
    many = sum(len(x) for line, *_ in lines for x, _ in line.runs) > 1000  # points
    for line, style, seeds in lines:
        few = seeds < statistics.LEAST_RUNS
        for x, y in line.runs:
            seen = slice(None) if few else outline(y)
            axes.plot(
                x[seen] / unit, factor * y[seen], color=style.colour, lw=1.2 if few else 0.6,
                ls=style.dashes if few else "-", alpha=0.9 if few else 0.4,
                marker=style.marker if few else "", ms=2.5, rasterized=few and many,
            )  # fmt: skip
        if not few:
            estimate = Estimate(*(factor * np.asarray(v) for v in line.estimate[:3]), seeds)
            _band(axes, line.grid / unit, estimate, style)
    if c.random is not None:
        axes.axhline(factor * c.random, color=FAINT, ls=":", lw=1)
    if c.metric == "win_rate":
        axes.set_ylim(-3, 103)
    axes.set(xlabel=name, ylabel=metric_label(c))
    axes.set_xlim(left=0)


def outline(y: np.ndarray) -> np.ndarray:
    """The places of a curve that are drawn where it is thin: all of a few; of more, its ends and
    the lowest and highest of every stretch, between which nothing could be told apart."""
    places = np.arange(len(y))
    if len(y) <= THIN:
        return places
    stretches = np.array_split(places, THIN // 2)
    extremes = [part[[y[part].argmin(), y[part].argmax()]] for part in stretches]
    return np.unique([0, *np.ravel(extremes), len(y) - 1])


def _band(axes: Any, x: np.ndarray, estimate: Estimate, style: Style) -> None:
    axes.plot(x, estimate.value, color=style.colour, ls=style.dashes, lw=2)
    if np.isfinite(estimate.low).any():
        axes.fill_between(x, estimate.low, estimate.high, color=style.colour, alpha=0.18, lw=0)


# --- over runs and tasks -------------------------------------------------------------------------


def _sets(
    comparisons: Sequence[Comparison], styles: Styles, least: int = 1
) -> Iterator[tuple[str, list[Comparison]]]:
    """Each mode's tasks, and all of them together where there are two or more, if at least
    ``least`` of the methods that are shown are compared there."""
    for mode in dict.fromkeys(c.mode for c in comparisons):
        own = [c for c in comparisons if c.mode == mode]
        sets = [(f"{mode}, all tasks", own)] if len(own) > 1 else []
        sets += [(f"{mode}, {c.task}", [c]) for c in own]
        yield from ((title, some) for title, some in sets if len(_labels_in(some, styles)) >= least)


def _small_multiples(
    comparisons: Sequence[Comparison], draw: Callable[..., None], styles: Styles,
    height: float = 3.1, least: int = 1,
) -> tuple[list[Panel], int]:  # fmt: skip
    sets = list(_sets(comparisons, styles, least))
    panels = [
        Panel(title, partial(draw, comparisons=own, styles=styles), height) for title, own in sets
    ]
    each = len(sets) // 2  # of a mode
    return panels, next((n for n in (3, 2) if each % n == 0), 2 if each == 1 else 3)


def profiles(comparisons: Sequence[Comparison], styles: Styles) -> Picture:
    """The share of runs above every score."""
    panels, columns = _small_multiples(comparisons, _draw_profile, styles)
    caption = (
        "Performance profiles: the share of runs whose normalised score is above each value, with "
        "pointwise 95 % stratified bootstrap bands; higher is better. The range that counts as 0 "
        "and 1 is in the table of tasks."
    )
    legend = _legend(comparisons, styles)
    return Picture("performance_profiles", "Performance profiles", caption, panels, legend, columns)


def _labels_in(comparisons: Sequence[Comparison], styles: Styles) -> list[str]:
    """The methods to be drawn that are compared on all of some tasks."""
    return [label for label in compare.everywhere(comparisons) if label in styles]


def _draw_profile(axes: Any, comparisons: Sequence[Comparison], styles: Styles) -> None:
    limits = np.linspace(0, 1, 101)
    for label in _labels_in(comparisons, styles):
        estimate = statistics.performance_profile(compare.strata(comparisons, label), limits)
        seen = _corners(estimate)
        bounds = (np.asarray(v)[seen] for v in estimate[:3])
        _band(axes, limits[seen], Estimate(*bounds, estimate.runs), styles[label])
    axes.set(xlabel="normalised score", ylabel="share of runs above", ylim=(-0.03, 1.03))
    axes.set_xlim(0, 1)


def _corners(estimate: Estimate) -> np.ndarray:
    """The points between which lines and bands are not level: the others are no difference to what
    is seen, and most of a page's size."""
    level = (np.nan_to_num(np.diff(estimate[:3])) == 0).all(axis=0)
    return ~(np.append(False, level) & np.append(level, False))


def pairs_of(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Which methods to compare: all pairs of a few, else the best with each other one."""
    if len(labels) <= PAIRS:
        return list(combinations(labels, 2))
    return [(labels[0], other) for other in labels[1:]]


def improvements(comparisons: Sequence[Comparison], styles: Styles) -> Picture:
    """How likely a run of one method beats one of another."""
    pairs = [pairs_of(_labels_in(own, styles)) for _, own in _sets(comparisons, styles, 2)]
    tall = max(height_of([f"{x} > {y}" for x, y in own]) for own in pairs)
    panels, columns = _small_multiples(comparisons, _draw_improvement, styles, tall, 2)
    caption = (
        "Probability of improvement: how likely a run of the first method scores higher than "
        "one of the second on the same task, mean over tasks, with 95 % stratified bootstrap "
        "interval; ties count half. An interval that holds 0.5 decides nothing."
    )
    return Picture(
        "probability_of_improvement", "Probability of improvement", caption, panels,
        columns=columns,
    )  # fmt: skip


def _draw_improvement(axes: Any, comparisons: Sequence[Comparison], styles: Styles) -> None:
    pairs = pairs_of(_labels_in(comparisons, styles))
    for i, (x, y) in enumerate(pairs):
        estimate, _ = compare.improvement(comparisons, x, y)
        dot(axes, estimate, i, styles[x], styles[x].colour)
    axes.axvline(0.5, color=FAINT, lw=1, ls=":")
    name_rows(axes, [f"{x} > {y}" for x, y in pairs])
    axes.set(xlabel="probability", xlim=(-0.03, 1.03))


def aggregate_curves(comparisons: Sequence[Comparison], styles: Styles) -> Picture:
    """Learning curves over all tasks."""
    panels = []
    for mode in MODES:
        own = [c for c in comparisons if c.mode == mode]
        panels.append(Panel(mode, partial(_draw_aggregate, comparisons=own, styles=styles)))
    caption = (
        "Interquartile mean of the normalised scores of all runs, pooled over "
        f"{len(comparisons) // 2} tasks, with its 95 % stratified bootstrap interval (seeds drawn "
        "within each task), along the share of each task's compared env steps. The ranges are in "
        "the table of tasks."
    )
    legend = _legend(comparisons, styles)
    return Picture("all_tasks", "All tasks: sample-efficiency curves", caption, panels, legend)


def _draw_aggregate(axes: Any, comparisons: Sequence[Comparison], styles: Styles) -> None:
    for label in _labels_in(comparisons, styles):
        share, estimate = compare.aggregate_curve(comparisons, label)
        _band(axes, 100 * share, estimate, styles[label])
    axes.set(xlabel="env steps (% of the compared ones)", ylabel="normalised score")
    axes.set(ylim=(-0.03, 1.03), xlim=(0, 100))
