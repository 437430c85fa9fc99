"""Statistics of runs, with bootstrap intervals stratified by task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float

from lica_jax.errors import UserError
from lica_jax.statistics.strata import Strata, as_strata

CONFIDENCE = 0.95
REPS = 2000  # bootstrap samples
LEAST_RUNS = 3  # of each task, below which no interval is given
_ELEMENTS = 2**23  # numbers that are resampled at once


class Statistic(Protocol):
    """A function that reduces scores to one number along an axis."""

    def __call__(self, scores: np.ndarray, axis: int = -1) -> Any: ...


class Estimate(NamedTuple):
    """A statistic and its confidence interval; the bounds are NaN if there is none.

    Attributes:
      value, low, high: numbers, or arrays ``[*K]``.
      runs: number of runs that it is computed from.
    """

    value: Any
    low: Any
    high: Any
    runs: int

    def __repr__(self) -> str:
        """``Estimate(0.93 [0.9, 0.95], runs=5)``; of arrays their shape."""
        if np.ndim(self.value):
            return f"Estimate(array of shape {np.shape(self.value)}, runs={self.runs})"
        bounds = f"[{_short(self.low)}, {_short(self.high)}]"
        bounds = "without interval" if np.isnan(self.low) else bounds
        return f"Estimate({_short(self.value)} {bounds}, runs={self.runs})"


def _short(number: Any) -> str:
    """Three digits, and every whole one."""
    return f"{number:.0f}" if 999.5 <= abs(number) < 1e15 else f"{number:.3g}"


# --- statistics ----------------------------------------------------------------------------------


def iqm(scores: Float[np.ndarray, "*K N"], axis: int = -1) -> Any:
    """The interquartile mean: the mean without the ``N // 4`` lowest and the ``N // 4`` highest
    scores (Agarwal et al. 2021; ``scipy.stats.trim_mean`` at 0.25). For fewer than four scores it
    is the mean. NaN if a score is, like the mean and the median."""
    ordered = np.sort(np.asarray(scores, float), axis=axis)  # NaN last
    n = ordered.shape[axis]
    middle = np.take(ordered, range(n // 4, n - n // 4), axis=axis).mean(axis=axis)
    return np.where(np.isnan(ordered).any(axis=axis), np.nan, middle)[()]


def mean(scores: Float[np.ndarray, "*K N"], axis: int = -1) -> Any:
    """The mean."""
    return np.mean(scores, axis=axis)


def median(scores: Float[np.ndarray, "*K N"], axis: int = -1) -> Any:
    """The median over all runs (not over the means of tasks)."""
    return np.median(scores, axis=axis)


def optimality_gap(scores: Float[np.ndarray, "*K N"], axis: int = -1, target: float = 1.0) -> Any:
    """How far scores are below ``target`` on average; scores above it count as equal to it (Agarwal
    et al. 2021). Lower is better."""
    return np.mean(target - np.minimum(scores, target), axis=axis)


def normalise(scores: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scores rescaled so that ``low`` becomes 0 and ``high`` 1; if the two are equal, only ``low``
    is subtracted."""
    return (np.asarray(scores, float) - low) / (high - low if high > low else 1.0)


# --- intervals -----------------------------------------------------------------------------------


def stratified_bootstrap(
    strata: Strata, statistic: Statistic = iqm, *, reps: int = REPS, seed: int = 0
) -> Float[np.ndarray, "*K reps"]:
    """The statistic of each of ``reps`` resampled sets of runs.

    In each task, as many runs as it has are drawn with replacement; then all are pooled (Agarwal et
    al. 2021). Whole runs are drawn: leading axes, such as points of a curve, share a draw.

    Args:
      strata: scores ``[*K, N_m]`` of every task m, or the runs of one task as an array ``[N]``.
      statistic: function that reduces the pooled runs ``[*K, sum of N_m]``.

    Raises:
      UserError: there are no scores, or it is unclear what they are.
    """
    return np.concatenate(
        [
            np.asarray(statistic(np.concatenate(drawn, axis=-1), axis=-1))
            for drawn in resampled(as_strata(strata), reps, seed)
        ],
        axis=-1,
    )


def interval(
    strata: Strata, statistic: Statistic = iqm, *, confidence: float = CONFIDENCE,
    reps: int = REPS, seed: int = 0,
) -> Estimate:  # fmt: skip
    """A statistic of the pooled runs, with its percentile bootstrap interval.

    Args:
      strata: scores ``[*K, N_m]`` of every task m, or the runs of one task as an array ``[N]``.
      statistic: function that reduces the pooled runs.
      confidence: confidence level of the interval.

    Returns:
      An estimate of arrays ``[*K]``; without bounds if a task has fewer than `LEAST_RUNS` runs, and
      where the statistic is NaN.

    Raises:
      UserError: there are no scores, or it is unclear what they are; ``confidence`` or ``reps`` is
        out of range.
    """
    strata = as_strata(strata)
    pooled = np.concatenate(strata, axis=-1)
    value = statistic(pooled, axis=-1)
    drawn = None
    if enough(strata):
        drawn = stratified_bootstrap(strata, statistic, reps=reps, seed=seed)
    return estimate(value, drawn, confidence, pooled.shape[-1])


def enough(strata: Sequence[np.ndarray]) -> bool:
    """Whether every task has the runs that an interval needs."""
    return all(s.shape[-1] >= LEAST_RUNS for s in strata)


def estimate(value: Any, drawn: np.ndarray | None, confidence: float, runs: int) -> Estimate:
    """A value with the percentile interval of what was ``drawn`` ``[*K, reps]``."""
    if not 0 < confidence < 1:
        raise UserError(f"confidence must be within 0 and 1, such as 0.95, got {confidence!r}")
    none = np.full(np.shape(value), np.nan)[()]
    if drawn is None:
        return Estimate(value, none, none, runs)
    tail = 50 * (1 - confidence)
    bounds = np.percentile(drawn, [tail, 100 - tail], axis=-1)
    # By chance no draw may have the run whose score is NaN.
    low, high = (np.where(np.isnan(value), none, bound)[()] for bound in bounds)
    return Estimate(value, low, high, runs)


def resampled(
    strata: Sequence[np.ndarray], reps: int, seed: int
) -> Iterator[list[Float[np.ndarray, "*K reps N"]]]:
    """Resampled strata ``[*K, some of reps, N_m]``, in pieces that fit into memory."""
    if reps < 1:
        raise UserError(f"reps must be at least 1, the bootstrap's samples, got {reps!r}")
    rng = np.random.default_rng(seed)
    ordered = [_ordered(s) for s in strata]
    draws = [rng.integers(s.shape[-1], size=(reps, s.shape[-1])) for s in ordered]
    size = max(1, _ELEMENTS // max(1, sum(s.size for s in ordered)))
    for first in range(0, reps, size):
        yield [s[..., d[first : first + size]] for s, d in zip(ordered, draws, strict=True)]


def _ordered(scores: Float[np.ndarray, "*K N"]) -> Float[np.ndarray, "*K N"]:
    """Runs in an order that depends on their scores alone, so that a draw does too."""
    return scores[..., np.lexsort(scores.reshape(-1, scores.shape[-1]))]
