"""95 % confidence intervals of rates and means, from sums that have been taken already."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri, stdtrit

LEVEL = 0.95


def wilson(rate: float, n: int) -> tuple[float, float] | None:
    """Of the probability behind ``rate``, the share of ``n`` independent trials that succeeded.

    Wilson's score interval (JASA 1927): within 0 and 1, and not empty at rates of 0 and 1. None
    without trials.
    """
    if n < 1:
        return None
    z = float(ndtri((1 + LEVEL) / 2))
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # It holds the rate itself, which rounding may leave outside at 0 and 1.
    return max(min(centre - half, rate), 0.0), min(max(centre + half, rate), 1.0)


def student_t(mean: float, std: float, n: int) -> tuple[float, float] | None:
    """Of the mean behind ``n`` independent draws (Student, Biometrika 1908).

    ``std`` is their standard deviation with divisor n, as numpy's. None of fewer than two.
    """
    if n < 2:
        return None
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * std / math.sqrt(n - 1)
    return mean - half, mean + half


def student_t_of(values: list[float]) -> tuple[float, float] | None:
    """`student_t` of some numbers."""
    return student_t(float(np.mean(values)), float(np.std(values)), len(values))
