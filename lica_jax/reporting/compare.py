"""The numbers of a report: every task in one mode, on common grids, with what it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy as np

from lica_jax import statistics
from lica_jax.reporting.collect import listed
from lica_jax.reporting.groups import Group
from lica_jax.reporting.reading import Run, number
from lica_jax.statistics import Estimate

FAR = 0.5  # of the longest: what has not come so far is shown, but not compared
UNEQUAL = 0.05  # of env steps: from there on it is told that runs began or ended apart
SHARES = (0.5, 0.8, 0.95)  # of the range of scores, whose first time is looked for
METRICS = {"win_rate": "win rate", "return_mean": "return"}


@dataclass(frozen=True)
class Line:
    """A method's runs along env steps or seconds.

    Attributes:
      grid: ``[G]`` up to where all runs have come.
      values: ``[G, N]``.
      runs: every run as it was, ``(x, y)``, those that are not in ``values`` included.
    """

    grid: np.ndarray
    values: np.ndarray
    runs: list[tuple[np.ndarray, np.ndarray]]

    @cached_property
    def estimate(self) -> Estimate:
        """The interquartile mean over runs, arrays ``[G]``."""
        return statistics.interval([self.values])


@dataclass(frozen=True)
class Entry:
    """A method on a task in one mode.

    Attributes:
      runs: those that count; the others have not come far enough.
      steps, seconds: its curves.
      compared: whether it has come far enough to be compared with the others.
      scores: of every run that counts ``[N]``, at the comparison's env steps or at its own end.
      episodes: behind each of them, fewest and most.
      best: of every run's best policy ``[N]``; None where not all runs have ended.
      at: env steps of ``scores``.
      areas: the mean of every run's curve ``[N]`` over the comparison's env steps; None where not
        compared.
      reached: when its runs came to `SHARES` of the range, by share and axis.
    """

    group: Group
    runs: tuple[Run, ...]
    steps: Line
    seconds: Line
    compared: bool
    scores: np.ndarray
    episodes: tuple[int, int]
    best: np.ndarray | None
    at: float
    areas: np.ndarray | None
    reached: dict[tuple[float, str], statistics.Reached]


@dataclass(frozen=True)
class Comparison:
    """A task in one mode.

    Attributes:
      metric: "win_rate" or "return_mean".
      range: the scores that count as 0 and 1.
      start: env steps from which every compared run has evaluations.
      horizon: env steps up to which methods are compared.
      fresh: scores are those of last policies on fresh episodes, not of a periodic evaluation.
      random: the uniformly random policy's score, or None.
    """

    task: str
    mode: str
    metric: str
    range: tuple[float, float]
    start: float
    horizon: float
    fresh: bool
    random: float | None
    entries: tuple[Entry, ...]

    @property
    def compared(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.compared]

    def normalised(self, scores: np.ndarray) -> np.ndarray:
        """Scores on the scale of `range`."""
        return statistics.normalise(scores, *self.range)


def compare(task: str, groups: Sequence[Group], mode: str) -> Comparison:
    """A task's groups side by side."""
    groups = [g for g in groups if g.task == task]
    everyone = [run for group in groups for run in group.runs]
    metric = "win_rate" if all(run.has("win_rate") for run in everyone) else "return_mean"
    used = {group.label: far_enough(group.runs) for group in groups}
    lines = {
        (g.label, axis): _line(g.runs, used[g.label], mode, metric, axis)
        for g in groups
        for axis in ("steps", "seconds")
    }
    ends = {g.label: lines[g.label, "steps"].grid[-1] for g in groups}
    compared = {label for label, end in ends.items() if end >= FAR * max(ends.values())}
    horizon = min(ends[label] for label in compared)
    start = max(lines[label, "steps"].grid[0] for label in compared)
    counted = [run for label in compared for run in used[label]]
    fresh = all(run.last and np.isfinite(run.last[mode][metric]) for run in counted)
    fresh = fresh and len({run.total_steps for run in counted}) == 1
    limits = (0.0, 1.0) if metric == "win_rate" else _range(everyone, metric)
    entries = [
        _entry(
            g, used[g.label], [lines[g.label, a] for a in ("steps", "seconds")], mode, metric,
            (start, horizon) if g.label in compared else None, fresh, limits,
        )
        for g in groups
    ]  # fmt: skip
    random = [number(run.random.get(metric)) for run in everyone]
    random = next((value for value in random if np.isfinite(value)), None)
    order = sorted(entries, key=lambda entry: -statistics.iqm(entry.scores))
    return Comparison(task, mode, metric, limits, start, horizon, fresh, random, tuple(order))


def far_enough(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs that have come at least `FAR` as far as the longest, or have failed on the way:
    leaving those out would flatter a method."""
    longest = max(run.steps[-1] for run in runs)
    return tuple(run for run in runs if run.failed or run.steps[-1] >= FAR * longest)


def _range(runs: Sequence[Run], metric: str) -> tuple[float, float]:
    """The lowest and highest score of any evaluation on a task, greedy or sampled, those on fresh
    episodes included."""
    curves = [curve[metric] for run in runs for curve in run.figures.values()]
    fresh = [f[metric] for run in runs for ended in (run.last, run.best) for f in ended.values()]
    seen = np.concatenate([*curves, fresh])
    return float(np.nanmin(seen)), float(np.nanmax(seen))


def _line(runs: Sequence[Run], used: Sequence[Run], mode: str, metric: str, axis: str) -> Line:
    curves = [run.curve(mode, metric, axis) for run in used]
    stop = min(
        (x[-1] for run, (x, _) in zip(used, curves, strict=True) if not run.failed),
        default=max(x[-1] for x, _ in curves),
    )
    held = [
        (np.append(x, stop), np.append(y, y[-1])) if run.failed and x[-1] < stop else (x, y)
        for run, (x, y) in zip(used, curves, strict=True)
    ]
    grid, values = statistics.common_grid(held, stop=stop)
    shown = [run.curve(mode, metric, axis) for run in runs]
    return Line(grid, values, shown)


def _entry(
    group: Group, used: tuple[Run, ...], lines: list[Line], mode: str, metric: str,
    span: tuple[float, float] | None, fresh: bool, limits: tuple[float, float],
) -> Entry:  # fmt: skip
    """``span``: the comparison's start and horizon; None where not compared."""
    steps, seconds = lines
    at = steps.grid[-1] if span is None else span[1]
    if span is not None and fresh:
        figures = [run.last[mode] for run in used]
        scores = np.array([figure[metric] for figure in figures], float)
        episodes = [figure["episodes"] for figure in figures]
        at = float(np.median([run.steps[-1] for run in used]))
    else:
        scores = _at(steps, at)
        episodes = [run.figures[mode]["episodes"][-1] for run in used]
    best = None
    if all(run.best and np.isfinite(run.best[mode][metric]) for run in used):
        best = np.array([run.best[mode][metric] for run in used], float)
    return Entry(
        group=group, runs=used, steps=steps, seconds=seconds, compared=span is not None,
        scores=scores, episodes=(int(min(episodes)), int(max(episodes))), best=best, at=float(at),
        areas=None if span is None else _areas(steps, *span),
        reached=_reached(used, mode, metric, limits),
    )  # fmt: skip


def _at(line: Line, x: float) -> np.ndarray:
    """Every run's score at a place of the grid, linearly interpolated."""
    return np.array([np.interp(x, line.grid, y) for y in line.values.T])


def _areas(line: Line, start: float, stop: float) -> np.ndarray:
    """The mean of every run's curve from ``start``, which is the same for all methods, to
    ``stop``."""
    inside = line.grid[(line.grid > start) & (line.grid < stop)]
    grid = np.unique([min(start, stop), *inside, stop])
    return statistics.area(grid, np.stack([_at(line, x) for x in grid]))


def _reached(
    runs: Sequence[Run], mode: str, metric: str, limits: tuple[float, float]
) -> dict[tuple[float, str], statistics.Reached]:
    low, high = limits
    return {
        (share, axis): statistics.time_to_threshold(
            [run.curve(mode, metric, axis) for run in runs], low + share * (high - low)
        )
        for share in SHARES
        for axis in ("steps", "seconds")
    }


# --- over tasks ----------------------------------------------------------------------------------


def methods_of(comparisons: Sequence[Comparison]) -> list[str]:
    """The labels of all methods, the best first: by their mean normalised score."""
    scores: dict[str, list[float]] = {}
    for c in comparisons:
        for entry in c.entries:
            scores.setdefault(entry.group.label, []).append(
                float(statistics.iqm(c.normalised(entry.scores)))
            )
    return sorted(scores, key=lambda label: -np.mean(scores[label]))


def shown_of(comparisons: Sequence[Comparison], most: int) -> list[str]:
    """The best methods of every task by turns, until there are ``most``; best first."""
    ranks = zip_longest(*([e.group.label for e in c.entries] for c in comparisons))
    taken = dict.fromkeys(name for rank in ranks for name in rank if name is not None)
    return [name for name in methods_of(comparisons) if name in list(taken)[:most]]


def everywhere(comparisons: Sequence[Comparison]) -> list[str]:
    """The methods that are compared on every one of the tasks, best first."""
    sets = [{entry.group.label for entry in c.compared} for c in comparisons]
    common = set.intersection(*sets) if sets else set()
    return [label for label in methods_of(comparisons) if label in common]


def strata(comparisons: Sequence[Comparison], label: str, what: str = "scores") -> list[np.ndarray]:
    """A method's normalised ``scores`` or ``areas`` on every task that it is compared on."""
    return [
        c.normalised(getattr(entry, what))
        for c in comparisons
        for entry in c.compared
        if entry.group.label == label
    ]


def aggregate_curve(comparisons: Sequence[Comparison], label: str, points: int = 51) -> Any:
    """A method's normalised score over all tasks along the share of every task's horizon:
    ``(share [G], Estimate of [G])``, NaN before its first evaluation on some task."""
    share = np.linspace(0, 1, points)
    curves = []
    for c in comparisons:
        for entry in c.compared:
            if entry.group.label == label:
                line = entry.steps
                places = share * c.horizon
                at = [np.interp(places, line.grid, y, left=np.nan) for y in line.values.T]
                curves.append(c.normalised(np.stack(at, axis=-1)))
    return share, statistics.interval(curves)


def improvement(comparisons: Sequence[Comparison], x: str, y: str) -> tuple[Estimate, int]:
    """How likely a run of ``x`` beats one of ``y``, and on how many tasks both are compared."""
    shared = [c for c in comparisons if {x, y} <= {e.group.label for e in c.compared}]
    ours, theirs = strata(shared, x), strata(shared, y)
    return statistics.improvement_interval(ours, theirs), len(shared)


def remarks(comparisons: Sequence[Comparison]) -> list[str]:
    """What must be told of how runs were put side by side."""
    greedy = [c for c in comparisons if c.mode == "greedy"]  # sampled differs in scores only
    everyone = [(f"{e.group.label} on {c.task}", e) for c in greedy for e in c.entries]
    behind = [
        f"{name} seed {run.seed}" for name, e in everyone for run in e.group.runs
        if run not in e.runs
    ]  # fmt: skip
    short = [f"{name} ({e.at:,.0f} env steps)" for name, e in everyone if not e.compared]
    told = []
    if behind:
        told.append(
            "Drawn, but in no number, since not half as far as the longest run of the same: "
            f"{listed(behind)}."
        )
    if short:
        told.append(
            "Shown at its own end and not compared, since before half of the longest method: "
            f"{listed(short)}."
        )
    told += [line for c in greedy for line in (_unequal(c), _late(c)) if line]
    for n in range(1, statistics.LEAST_RUNS):
        if few := [name for name, e in everyone if len(e.runs) == n]:
            told.append(
                f"{n} seed{'s' * (n > 1)} only: {listed(few)}. So points and no interval: what "
                "another seed would do is unknown."
            )
    there = everywhere(greedy)
    rest = [label for label in methods_of(greedy) if label not in there]
    if len(greedy) > 1 and rest:
        told.append(
            f"Left out of figures over all tasks, since not compared on every one: {listed(rest)}."
            if there
            else "No method is compared on every task, so there is no figure over all tasks."
        )
    return told


def _unequal(c: Comparison) -> str:
    """What to say where last policies of equal budgets have been trained for unequal env steps."""
    at = {entry.group.label: entry.at for entry in c.compared}
    if not c.fresh or max(at.values()) <= (1 + UNEQUAL) * min(at.values()):
        return ""
    taken = [f"{label} {steps:,.0f}" for label, steps in sorted(at.items(), key=lambda x: -x[1])]
    (budget,) = {run.total_steps for entry in c.compared for run in entry.runs}
    return (
        f"Unequal env steps behind the last policies on {c.task}: {listed(taken)}, of {budget:,} "
        "asked for each. A run ends between compiled calls; a smaller log_interval or collect.envs "
        "makes them shorter."
    )


def _late(c: Comparison) -> str:
    """What to say where runs have no evaluations for a part of what is compared, and others do."""
    starts = {
        f"{entry.group.label} seed {run.seed}": run.curve(c.mode, c.metric, "steps")[0][0]
        for entry in c.compared for run in entry.runs
    }  # fmt: skip
    first = min(starts.values())
    late = [name for name, start in starts.items() if start > first + UNEQUAL * c.horizon]
    if not late:
        return ""
    return (
        f"Sample efficiency on {c.task} is of env steps from {c.start:,.0f} on, since evaluations "
        f"before are missing: {listed(late)}."
    )
