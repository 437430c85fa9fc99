"""Scores as people have them, as one array of runs for every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from lica_jax.errors import UserError

# One array of scores for each task, or the runs of a single one.
Strata = Sequence[Float[np.ndarray, "*K N"]] | Float[np.ndarray, " N"]


def as_strata(
    scores: Any, name: str = "scores", *, points: bool = True
) -> list[Float[np.ndarray, "*K N"]]:
    """One array of floats for every task, runs last.

    Args:
      scores: a list with an array ``[*K, N_m]`` for every task m; or the runs of one task, as an
        array ``[N]`` or a list of numbers.
      name: what messages call ``scores``.
      points: whether there may be leading axes ``*K``, such as points of a curve.

    Raises:
      UserError: there are no scores, or they are not numbers, or it is unclear which axis is what.
    """
    if isinstance(scores, Mapping):
        raise UserError(f"{name} is a mapping: pass its arrays, one per task: `[*{name}.values()]`")
    if isinstance(scores, list | tuple):
        strata = [_numbers(s, f"{name}[{m}]") for m, s in enumerate(scores)]
        if strata and not any(s.ndim for s in strata):
            strata = [np.array(strata)]
    else:
        strata = [_one_task(_numbers(scores, name), name, points)]
    if not strata:
        raise UserError(f"{name} is empty: pass an array with the scores of the runs of each task")
    for m, s in enumerate(strata):
        _check(s, f"{name}[{m}]", points)
    return _alike(strata, name)


def paired_strata(x: Any, y: Any, *, points: bool = True) -> tuple[list[Any], list[Any]]:
    """The strata of two methods on the same tasks; arguments and errors as of `as_strata`."""
    ours, theirs = as_strata(x, "x", points=points), as_strata(y, "y", points=points)
    if len(ours) != len(theirs):
        raise UserError(
            f"x has {_counted(len(ours))} and y {_counted(len(theirs))}: pass the same tasks for "
            "both methods, in the same order"
        )
    _alike([ours[0], theirs[0]], "x and y")
    return ours, theirs


def _numbers(scores: Any, name: str) -> np.ndarray:
    """An array of floats; NaN where a masked array hides a number."""
    try:
        if isinstance(scores, np.ma.MaskedArray):
            scores = scores.astype(float).filled(np.nan)
        raw = np.asarray(scores)
        # Text and dates would become numbers, None and tables' empty cells NaN.
        if raw.dtype.kind not in "OSUMmc":
            return raw.astype(float)
        kind = f"type {raw.dtype}"
    except (TypeError, ValueError) as error:
        kind = str(error)
    raise UserError(
        f"{name} is not an array of numbers ({kind}): pass a list with one array of scores per "
        "task; a missing score is NaN"
    )


def _one_task(scores: np.ndarray, name: str, points: bool) -> np.ndarray:
    """A bare array, which must be runs alone: of two axes, nothing says which one is the tasks."""
    if scores.ndim < 2:
        return scores
    curve = f"; for points of a curve [points, runs] of one task `[{name}]`" if points else ""
    raise UserError(
        f"{name} is one array of shape {scores.shape}, which does not say which axis is the tasks: "
        "pass a list with one array of scores per task. For a matrix [runs, tasks], as rliable has "
        f"them, that is `list({name}.T)`; for [tasks, runs] `list({name})`{curve}"
    )


def _check(scores: np.ndarray, name: str, points: bool) -> None:
    if not scores.ndim:
        raise UserError(f"{name} is a single number: pass an array with the scores of all runs")
    if not scores.size:
        raise UserError(f"{name} has no scores: leave out a task that has no runs")
    if scores.ndim > 1 and not points:
        raise UserError(
            f"{name} has shape {scores.shape}, but the scores of a task have one axis here, its "
            "runs: pass one array per task. For a matrix [runs, tasks], as rliable has them, "
            "that is `list(matrix.T)`"
        )


def _alike(strata: list[np.ndarray], name: str) -> list[np.ndarray]:
    """The same, where all have the same leading axes."""
    shapes = {s.shape[:-1] for s in strata}
    if len(shapes) > 1:
        raise UserError(
            f"arrays of {name} have different axes before that of the runs: "
            f"{', '.join(map(str, sorted(shapes)))}. Tasks must share them; `common_grid` puts "
            "curves on one grid"
        )
    return strata


def _counted(tasks: int) -> str:
    return f"{tasks} task{'s' * (tasks > 1)}"
