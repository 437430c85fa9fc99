"""Learning curves: a common grid, the area under them, and the time to a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from lica_jax.errors import UserError
from lica_jax.statistics.estimates import Estimate, Statistic, interval, iqm

MOST_POINTS = 200  # of a common grid


def common_grid(
    curves: Sequence[tuple[np.ndarray, np.ndarray]], points: int | None = None, *,
    stop: float | None = None, how: Literal["linear", "last"] = "linear",
) -> tuple[Float[np.ndarray, " G"], Float[np.ndarray, "G N"]]:  # fmt: skip
    """Puts curves with different points and lengths on one grid.

    Args:
      curves: ``(x, y)`` of every run, ``[E_n]`` each, with x in ascending order.
      points: number of points of an even grid. By default the grid is every x of any curve; if
        there are more than `MOST_POINTS`, an even selection of them.
      stop: where the grid ends; by default where the first curve ends. It begins where the last
        curve begins.
      how: between two points of a curve: "linear" interpolation, or the value of the "last" point.

    Returns:
      The grid, and every curve's values on it; NaN after the end of a curve.

    Raises:
      UserError: there are no curves, or one of them has no points.
    """
    if not len(curves):
        raise UserError("there are no curves: pass (x, y) of every run")
    _check_points(curves)
    start = max(x[0] for x, _ in curves)
    stop = min(x[-1] for x, _ in curves) if stop is None else stop
    if stop <= start:
        grid = np.array([float(stop)])
    elif points is not None:
        grid = np.linspace(start, stop, points)
    else:
        grid = _every(np.concatenate([x for x, _ in curves]), start, stop)
    return grid, np.stack([_on_grid(grid, x, y, how) for x, y in curves], axis=-1)


def _check_points(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    for n, (x, y) in enumerate(curves):
        if not len(x) or len(x) != len(y):
            raise UserError(
                f"curves[{n}] has {len(x)} places and {len(y)} scores: pass as many of both, and "
                "leave out a run without evaluations"
            )


def _every(places: np.ndarray, start: float, stop: float) -> Float[np.ndarray, " G"]:
    inside = places[(places > start) & (places < stop)]
    grid = np.unique([start, *inside, stop]).astype(float)
    if len(grid) <= MOST_POINTS:
        return grid
    return grid[np.linspace(0, len(grid) - 1, MOST_POINTS).round().astype(int)]


def _on_grid(grid: np.ndarray, x: np.ndarray, y: np.ndarray, how: str) -> np.ndarray:
    if how == "linear":
        return np.interp(grid, x, y, left=np.nan, right=np.nan)
    if how != "last":
        raise ValueError(f'how must be "linear" or "last", got {how!r}')
    place = np.searchsorted(x, grid, side="right") - 1
    values = np.asarray(y, float)[np.maximum(place, 0)]
    return np.where((place >= 0) & (grid <= x[-1]), values, np.nan)


def area(grid: Float[np.ndarray, " G"], scores: Float[np.ndarray, "G N"]) -> np.ndarray:
    """The score of every run averaged over the grid (trapezoidal rule), ``[N]``.

    Raises:
      UserError: the scores do not have an axis of places and one of runs, or there are none.
    """
    grid, scores = np.asarray(grid, float), np.asarray(scores, float)
    if scores.ndim != 2 or grid.shape != scores.shape[:1]:
        raise UserError(
            f"a curve has a grid [G] and scores [G, runs], got shapes {grid.shape} and "
            f"{scores.shape}: write scores[:, None] for a single run, scores.T for [runs, G]"
        )
    if not len(grid):
        raise UserError("the grid of a curve has no places")
    if len(grid) < 2:
        return scores[-1]
    return np.trapezoid(scores, grid, axis=0) / (grid[-1] - grid[0])


def sample_efficiency(
    curves: Sequence[tuple[np.ndarray, np.ndarray]], statistic: Statistic = iqm, **options: Any
) -> Estimate:
    """The score averaged over training; high for methods that learn early.

    Args:
      curves: ``(grid [G], scores [G, N_m])`` of every task m.
      statistic: statistic of the pooled runs.
      options: as in `interval`.
    """
    return interval([area(grid, scores) for grid, scores in curves], statistic, **options)


class Reached(NamedTuple):
    """When runs reached a threshold, in units of the curves' x axis.

    Attributes:
      times: time of every run ``[N]``; infinite if the run did not reach the threshold within
        ``ends``, NaN if a score that is NaN leaves that open.
      ends: how far every run was followed ``[N]``.
    """

    times: np.ndarray
    ends: np.ndarray

    @property
    def count(self) -> int:
        """Number of runs that reached it."""
        return int(np.isfinite(self.times).sum())

    @property
    def median(self) -> float:
        """The median time. Infinite if half of the runs or more did not reach the threshold: they
        would have reached it later than anything seen, whenever that would have been. NaN if a time
        is."""
        if not len(self.times) or np.isnan(self.times).any():
            return float("nan")
        ordered = np.sort(self.times)
        low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        return float(high if np.isinf(high) else (low + high) / 2)


def time_to_threshold(curves: Sequence[tuple[np.ndarray, np.ndarray]], threshold: float) -> Reached:
    """The first x at which the score of each run is at least ``threshold``, without interpolation.

    Args:
      curves: ``(x, y)`` of every run, ``[E_n]`` each; x is env steps or seconds, in ascending
        order.

    Raises:
      UserError: a curve has no points.
    """
    _check_points(curves)
    times = [_first(np.asarray(x, float), np.asarray(y, float), threshold) for x, y in curves]
    return Reached(np.array(times, float), np.array([x[-1] for x, _ in curves], float))


def _first(x: Float[np.ndarray, " E"], y: Float[np.ndarray, " E"], threshold: float) -> float:
    maybe = ~(y < threshold)  # there, or NaN, which may be there
    if not maybe.any():
        return np.inf
    place = np.argmax(maybe)
    return np.nan if np.isnan(y[place]) else x[place]
