"""From the runs of a figure to its numbers: what its JSON file holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax import statistics
from lica_jax.errors import UserError
from lica_jax.reporting.groups import Group, Method, differences
from lica_jax.reporting.reading import Run
from lica_jax.reproduce.experiments import Experiment, Measure, panel_name
from lica_jax.reproduce.series import POINTS, Curve, Source
from lica_jax.runs.names import CONFIG

LAST = 0.1  # of a curve, whose mean is a final score
Panel = dict[str, Any]
Drawn = tuple[Source, Curve]


def collect(experiment: Experiment, run_dirs: Sequence[Path]) -> tuple[list[Panel], list[str]]:
    """The panels of a figure, in the order of the runs' tasks.

    Args:
      experiment: what is drawn.
      run_dirs: directories of one run each, of any tasks and methods.

    Returns:
      Panels with ``task``, ``measure``, ``x`` and ``methods``; each of these with its ``label``,
      ``algorithm``, ``preset``, ``seeds``, the grid ``x`` ``[G]``, every run's values ``runs``
      ``[N][G]``, over runs ``median``, ``q1``, ``q3``, ``mean``, ``std`` (of the population),
      ``iqm`` and its 95 % interval ``low``, ``high`` (None where there are too few runs), and
      ``final``: the same of every run's mean over the last tenth of the grid. And in words what was
      left out, and what was not made alike.
    """
    sources, told = _readable(experiment, run_dirs)
    panels, drawn = [], []
    for task in dict.fromkeys(s.run.task for s in sources):
        for measure in experiment.measures(task):
            curves, why = _curves(measure, [s for s in sources if s.run.task == task])
            told += why
            drawn += [source for source, _ in curves if source not in drawn]
            methods = [_method(label, measure, own) for label, own in _by_label(experiment, curves)]
            if methods:
                panels.append(
                    {"task": task, "title": panel_name(task), "measure": measure.name}
                    | {"x": measure.x, "methods": methods}
                )
    return panels, told + _differences(experiment, drawn)


def _readable(experiment: Experiment, run_dirs: Sequence[Path]) -> tuple[list[Source], list[str]]:
    """Runs with evaluations, and what is said of these and of the others: those that failed before
    the first, or whose files are damaged."""
    sources, told = [], []
    for path in run_dirs:
        source = Source(path)
        try:
            told += source.told
            experiment.label(source.config)
        except UserError as error:
            told.append(f"Left out: {error}.")
            continue
        except (KeyError, TypeError, ValueError):
            told.append(f"Left out: {path / CONFIG} is damaged.")
            continue
        sources.append(source)
    return sources, told


def _curves(measure: Measure, sources: Sequence[Source]) -> tuple[list[Drawn], list[str]]:
    """The curves of the runs that have one, and what is said of these and of the others."""
    curves, told = [], []
    for source in sources:
        try:
            curve, why = measure.read(source)
        except UserError as error:
            told.append(f"Left out: {source.path} has no {measure.words}: {error}.")
            continue
        curves.append((source, curve))
        told += why
    return curves, told


def _by_label(experiment: Experiment, curves: Sequence[Drawn]) -> Iterator[tuple[str, list[Drawn]]]:
    """Every method's runs, in the order of their seeds."""
    labels = [experiment.label(source.config) for source, _ in curves]
    for label in dict.fromkeys(labels):
        own = [c for c, of in zip(curves, labels, strict=True) if of == label]
        yield label, sorted(own, key=lambda curve: curve[0].run.seed)


def _differences(experiment: Experiment, sources: Sequence[Source]) -> list[str]:
    """In which versions, machines and suchlike the runs of a task differ, as in a report."""
    found: dict[tuple[str, str], list[Run]] = {}
    for source in sources:
        key = (source.run.task, experiment.label(source.config))
        found.setdefault(key, []).append(source.run)
    return differences([
        Group(Method(runs[0].algorithm, runs[0].preset), label, task, tuple(runs))
        for (task, label), runs in found.items()
    ])  # fmt: skip


def _method(label: str, measure: Measure, curves: Sequence[Drawn]) -> dict[str, Any]:
    """The runs of one method on a grid that they have in common."""
    grid, values = on_grid([curve for _, curve in curves], measure.most)
    tail = values[grid >= grid[-1] - LAST * (grid[-1] - grid[0])].mean(axis=0)
    runs = [source.run for source, _ in curves]
    return {
        "label": label, "algorithm": runs[0].algorithm, "preset": runs[0].preset,
        "seeds": [run.seed for run in runs], "failed": sum(run.failed for run in runs),
        "x": rounded(grid), "runs": rounded(values.T), **summed_up(values),
        "final": {"runs": rounded(tail), **summed_up(tail)},
    }  # fmt: skip


def on_grid(curves: Sequence[Curve], most: float | None = None) -> Curve:
    """Curves on one grid of at most `POINTS` places, up to where the first one ends."""
    stop = min(x[-1] for x, _ in curves)
    stop = stop if most is None else min(stop, most)
    start = max(x[0] for x, _ in curves)
    if start >= stop:  # of a few episodes
        return np.array([stop]), np.array([[y[-1] for _, y in curves]])
    grid, values = statistics.common_grid(curves, stop=stop)
    if len(grid) > POINTS:
        grid, values = statistics.common_grid(curves, POINTS, stop=stop)
    return grid, values


def summed_up(values: np.ndarray) -> dict[str, Any]:
    """The paper's statistics and today's over the last axis, runs."""
    about = statistics.interval([values])
    q1, middle, q3 = np.percentile(values, [25, 50, 75], axis=-1)
    found = {
        "median": middle, "q1": q1, "q3": q3, "mean": np.mean(values, axis=-1),
        "std": np.std(values, axis=-1), "iqm": about.value, "low": about.low, "high": about.high,
    }  # fmt: skip
    if not np.isfinite(about.low).all():
        found |= {"low": None, "high": None}
    return {name: None if v is None else rounded(v) for name, v in found.items()}


def rounded(values: Any) -> Any:
    """Numbers to five digits, as plain lists."""
    if np.ndim(values):
        return [rounded(value) for value in values]
    return float(f"{float(values):.5g}") if np.isfinite(values) else None


def summary_lines(experiment: Experiment, panels: Sequence[Panel]) -> Iterator[str]:
    """A line for every method: the paper's statistic and today's, over the last tenth."""
    paper = {"quartiles": "median (quartiles)", "deviation": "mean ± std", "single": "first seed"}
    for panel in panels:
        measure = measure_of(experiment, panel)
        yield f"{panel['title']}: {measure.label}, mean over the last tenth of training"
        rows = [
            (m["label"], _paper_text(experiment, m, measure), _today_text(m, measure), _seeds(m))
            for m in panel["methods"]
        ]
        rows.insert(0, ("", paper[experiment.form], "IQM [95 % interval]", ""))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
            yield "  " + "  ".join([*cells, row[3]]).rstrip()


def measure_of(experiment: Experiment, panel: Panel) -> Measure:
    """The measure that a panel shows."""
    return next(m for m in experiment.measures(panel["task"]) if m.name == panel["measure"])


def _paper_text(experiment: Experiment, method: dict[str, Any], measure: Measure) -> str:
    final, number = method["final"], _number(measure)
    if experiment.form == "quartiles":
        return f"{number(final['median'])} ({number(final['q1'])} to {number(final['q3'])})"
    if experiment.form == "deviation":
        return f"{number(final['mean'])} ± {number(final['std'])}"
    return number(final["runs"][0])


def _today_text(method: dict[str, Any], measure: Measure) -> str:
    final, number = method["final"], _number(measure)
    if final["low"] is None:
        return f"{number(final['iqm'])} [too few seeds]"
    return f"{number(final['iqm'])} [{number(final['low'])}, {number(final['high'])}]"


def _number(measure: Measure) -> Any:
    return lambda value: f"{measure.factor * value:.{measure.digits}f}"


def _seeds(method: dict[str, Any]) -> str:
    n = len(method["seeds"])
    failed = f", {method['failed']} failed" if method["failed"] else ""
    return f"{n} seed{'s' * (n > 1)}{failed}"
