"""Comparisons of methods: performance profiles and probability of improvement."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from lica_jax.statistics.estimates import (
    CONFIDENCE,
    REPS,
    Estimate,
    enough,
    estimate,
    interval,
    mean,
    resampled,
)
from lica_jax.statistics.strata import Strata, as_strata, paired_strata


def performance_profile(
    strata: Strata, thresholds: Float[np.ndarray, " T"], *, confidence: float = CONFIDENCE,
    reps: int = REPS, seed: int = 0,
) -> Estimate:  # fmt: skip
    """The fraction of runs whose score is above each threshold (Agarwal et al. 2021, run-score
    distribution), with pointwise intervals; arrays ``[T]``. NaN if a score is.

    Args:
      strata: scores ``[N_m]`` of every task m, or the runs of one task as an array ``[N]``.

    Raises:
      UserError: there are no scores, or it is unclear what they are.
    """
    limits = np.asarray(thresholds, float)[..., None]
    # No comparison with NaN is true: a run without a score would count as below everything.
    above = [np.where(np.isnan(s), np.nan, s > limits) for s in as_strata(strata, points=False)]
    return interval(above, mean, confidence=confidence, reps=reps, seed=seed)


def probability_of_improvement(x: Strata, y: Strata) -> Any:
    """Probability that a run of ``x`` beats a run of ``y`` on the same task, averaged over tasks.
    Ties count half (Agarwal et al. 2021; per task Mann and Whitney's U divided by ``N M``). NaN if
    a score is.

    Args:
      x: scores ``[*K, N_m]`` of every task m, or the runs of one task as an array ``[N]``.
      y: scores ``[*K, M_m]`` of the other method on the same tasks, likewise.

    Raises:
      UserError: there are no scores, or different numbers of tasks, or it is unclear what they are.
    """
    return _mean_share(*paired_strata(x, y))


def _mean_share(x: list[np.ndarray], y: list[np.ndarray]) -> Any:
    return np.mean([_beats(a, b) for a, b in zip(x, y, strict=True)], axis=0)


def _beats(x: Float[np.ndarray, "*K N"], y: Float[np.ndarray, "*K M"]) -> Any:
    return 0.5 + 0.5 * np.sign(x[..., :, None] - y[..., None, :]).mean(axis=(-2, -1))


def improvement_interval(
    x: Strata, y: Strata, *, confidence: float = CONFIDENCE, reps: int = REPS, seed: int = 0
) -> Estimate:
    """`probability_of_improvement` with its interval; both sides are resampled within tasks.

    Args:
      x: scores ``[N_m]`` of every task m, or the runs of one task as an array ``[N]``.
      y: scores ``[M_m]`` of the other method on the same tasks, likewise.

    Raises:
      UserError: as of `probability_of_improvement`.
    """
    x, y = paired_strata(x, y, points=False)
    both = [*x, *y]
    drawn = None
    if enough(both):
        pieces = resampled(both, reps, seed)
        drawn = np.concatenate([_mean_share(p[: len(x)], p[len(x) :]) for p in pieces])
    return estimate(_mean_share(x, y), drawn, confidence, sum(s.size for s in both))
