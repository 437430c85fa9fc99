"""Statistics of runs, and how sure they are: bootstrap intervals stratified by task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float

CONFIDENCE = 0.95
REPS = 2000  # bootstrap samples
LEAST_RUNS = 3  # of each task, below which no interval is given
_ELEMENTS = 2**23  # numbers that are resampled at once

Strata = Sequence[Float[np.ndarray, "*K N"]]


class Statistic(Protocol):
    """A number that sums up scores along an axis."""

    def __call__(self, scores: np.ndarray, axis: int = -1) -> Any: ...


class Estimate(NamedTuple):
    """A statistic and its confidence interval; NaN bounds where there is none.

    Attributes:
      value, low, high: numbers, or arrays ``[*K]``.
      runs: how many runs stand behind it.
    """

    value: Any
    low: Any
    high: Any
    runs: int


# --- statistics ----------------------------------------------------------------------------------


def iqm(scores: Float[np.ndarray, "*K N"], axis: int = -1) -> Any:
    """The interquartile mean: the mean of what is left without the ``N // 4`` lowest and highest
    scores (Agarwal et al. 2021; ``scipy.stats.trim_mean`` at 0.25). Of fewer than four it is the
    mean. NaN where a score is, as the mean and the median are."""
    ordered = np.sort(np.asarray(scores, float), axis=axis)  # NaN last
    n = ordered.shape[axis]
    middle = np.take(ordered, range(n // 4, n - n // 4), axis=axis).mean(axis=axis)
    return np.where(np.isnan(np.take(ordered, -1, axis=axis)), np.nan, middle)[()]


def mean(scores: Float[np.ndarray, "*K N"], axis: int = -1) -> Any:
    """The mean."""
    return np.mean(scores, axis=axis)


def median(scores: Float[np.ndarray, "*K N"], axis: int = -1) -> Any:
    """The median of all runs (not of the tasks' means)."""
    return np.median(scores, axis=axis)


def optimality_gap(scores: Float[np.ndarray, "*K N"], axis: int = -1, target: float = 1.0) -> Any:
    """How far scores are from ``target`` on average; those beyond it count as there (Agarwal et al.
    2021). Lower is better."""
    return np.mean(target - np.minimum(scores, target), axis=axis)


def normalise(scores: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scores with ``low`` at 0 and ``high`` at 1; where the two are the same, what they are above
    it."""
    return (np.asarray(scores, float) - low) / (high - low if high > low else 1.0)


# --- intervals -----------------------------------------------------------------------------------


def stratified_bootstrap(
    strata: Strata, statistic: Statistic = iqm, *, reps: int = REPS, seed: int = 0
) -> Float[np.ndarray, "*K reps"]:
    """The statistic of ``reps`` resampled sets of runs.

    Runs are drawn with replacement within their task, as many as there are, and pooled (Agarwal et
    al. 2021). Leading axes, such as points of a curve, are of the same draw: whole runs are drawn.

    Args:
      strata: scores ``[*K, N_m]`` of every task m.
      statistic: reduces the pooled runs ``[*K, sum of N_m]``.
    """
    return np.concatenate(
        [
            np.asarray(statistic(np.concatenate(drawn, axis=-1), axis=-1))
            for drawn in resampled(strata, reps, seed)
        ],
        axis=-1,
    )


def interval(
    strata: Strata, statistic: Statistic = iqm, *, confidence: float = CONFIDENCE,
    reps: int = REPS, seed: int = 0,
) -> Estimate:  # fmt: skip
    """A statistic of pooled runs with its percentile bootstrap interval.

    Args:
      strata: scores ``[*K, N_m]`` of every task m.
      statistic: reduces the pooled runs.
      confidence: of the interval.

    Returns:
      An estimate of arrays ``[*K]``; without bounds where a task has fewer than `LEAST_RUNS` runs.
    """
    pooled = np.concatenate([np.asarray(s, float) for s in strata], axis=-1)
    value = statistic(pooled, axis=-1)
    drawn = None
    if enough(strata):
        drawn = stratified_bootstrap(strata, statistic, reps=reps, seed=seed)
    return estimate(value, drawn, confidence, pooled.shape[-1])


def enough(*samples: Strata) -> bool:
    """Whether every task has the runs that an interval needs."""
    return all(np.shape(s)[-1] >= LEAST_RUNS for strata in samples for s in strata)


def estimate(value: Any, drawn: np.ndarray | None, confidence: float, runs: int) -> Estimate:
    """A value with the percentile interval of what was ``drawn`` ``[*K, reps]``."""
    if drawn is None:
        none = np.full(np.shape(value), np.nan)[()]
        return Estimate(value, none, none, runs)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=-1)
    return Estimate(value, low, high, runs)


def resampled(strata: Strata, reps: int, seed: int) -> Iterator[list[np.ndarray]]:
    """Resampled strata ``[*K, some of reps, N_m]``, in pieces that fit into memory."""
    rng = np.random.default_rng(seed)
    ordered = [_ordered(np.asarray(s, float)) for s in strata]
    draws = [rng.integers(s.shape[-1], size=(reps, s.shape[-1])) for s in ordered]
    size = max(1, _ELEMENTS // max(1, sum(s.size for s in ordered)))
    for first in range(0, reps, size):
        yield [s[..., d[first : first + size]] for s, d in zip(ordered, draws, strict=True)]


def _ordered(scores: Float[np.ndarray, "*K N"]) -> Float[np.ndarray, "*K N"]:
    """Runs in an order that depends on their scores alone, so that a draw does too."""
    return scores[..., np.lexsort(scores.reshape(-1, scores.shape[-1]))]
