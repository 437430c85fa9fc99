"""Comparisons of methods: performance profiles and probability of improvement."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from lica_jax.statistics.estimates import (
    CONFIDENCE,
    REPS,
    Estimate,
    Strata,
    enough,
    estimate,
    interval,
    mean,
    resampled,
)


def performance_profile(
    strata: Strata, thresholds: Float[np.ndarray, " T"], *, confidence: float = CONFIDENCE,
    reps: int = REPS, seed: int = 0,
) -> Estimate:  # fmt: skip
    """The fraction of runs whose score is above each threshold (Agarwal et al. 2021, run-score
    distribution), with pointwise intervals; arrays ``[T]``.

    Args:
      strata: scores ``[N_m]`` of every task m.
    """
    limits = np.asarray(thresholds, float)[:, None]
    above = [(np.asarray(s, float) > limits).astype(float) for s in strata]
    return interval(above, mean, confidence=confidence, reps=reps, seed=seed)


def probability_of_improvement(x: Strata, y: Strata) -> Any:
    """Probability that a run of ``x`` beats a run of ``y`` on the same task, averaged over tasks.
    Ties count half (Agarwal et al. 2021; per task Mann and Whitney's U divided by ``N M``).

    Args:
      x, y: scores ``[*K, N_m]`` and ``[*K, M_m]`` of every task m.
    """
    shares = [_beats(np.asarray(a), np.asarray(b)) for a, b in zip(x, y, strict=True)]
    return np.mean(shares, axis=0)


def _beats(x: Float[np.ndarray, "*K N"], y: Float[np.ndarray, "*K M"]) -> Any:
    return 0.5 + 0.5 * np.sign(x[..., :, None] - y[..., None, :]).mean(axis=(-2, -1))


def improvement_interval(
    x: Strata, y: Strata, *, confidence: float = CONFIDENCE, reps: int = REPS, seed: int = 0
) -> Estimate:
    """`probability_of_improvement` with its interval; both sides are resampled within tasks.

    Args:
      x, y: scores ``[N_m]`` and ``[M_m]`` of every task m.
    """
    value = probability_of_improvement(x, y)
    runs = sum(np.shape(s)[-1] for s in (*x, *y))
    drawn = None
    if enough(x, y):
        pieces = resampled([*x, *y], reps, seed)
        halves = ((both[: len(x)], both[len(x) :]) for both in pieces)
        drawn = np.concatenate([probability_of_improvement(a, b) for a, b in halves])
    return estimate(value, drawn, confidence, runs)
