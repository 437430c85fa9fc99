"""How far what a critic says agrees with what is: correlations, ranks, angles; and how surely.

Standard errors are those of a bootstrap over clusters: moments of one episode, or actions of one
moment, are not independent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

DRAWS = 1000
TINY = 1e-12
ROUNDING = 1e-5  # of float32 sums and products, relative, a hundredfold


class Figure(NamedTuple):
    """An estimate, its standard error, and of how many things; NaN where there are too few."""

    value: float
    error: float
    count: int

    @property
    def in_words(self) -> str:
        if not np.isfinite(self.value):
            return "-"
        return f"{self.value:.3f} +- {self.error:.3f}"


def effects(
    worth: Float[np.ndarray, "S A"], policy: Float[np.ndarray, "S A"],
    avail: Bool[np.ndarray, "S A"],
) -> Float[np.ndarray, "S A"]:  # fmt: skip
    """``worth(a) - sum_b pi(b) worth(b)``; NaN where not available, 0 where worths of single
    precision do not tell it from 0."""
    policy, worth = (np.where(avail, x, 0).astype(float) for x in (policy, worth))
    policy = policy / np.maximum(policy.sum(-1, keepdims=True), TINY)
    centred = worth - (policy * worth).sum(-1, keepdims=True)
    told = np.abs(centred) > ROUNDING * np.abs(worth).max(-1, keepdims=True)
    return np.where(avail, np.where(told, centred, 0), np.nan)


def correlation(
    x: Float[np.ndarray, " P"], y: Float[np.ndarray, " P"], cluster: Int[np.ndarray, " P"],
    seed: int = 0,
) -> Figure:  # fmt: skip
    """Pearson's correlation."""
    x, y = x - np.mean(x), y - np.mean(y)  # for the sake of rounding
    sums = _sums(np.stack([np.ones_like(x), x, y, x * x, y * y, x * y]), cluster)

    def of(s):
        n, sx, sy, sxx, syy, sxy = s
        varied = (n * sxx - sx * sx) * (n * syy - sy * sy)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(varied > TINY, (n * sxy - sx * sy) / np.sqrt(varied), np.nan)

    return _bootstrapped(of, sums, x.size, seed)


def explained(
    value: Float[np.ndarray, " P"], result: Float[np.ndarray, " P"],
    cluster: Int[np.ndarray, " P"], seed: int = 0,
) -> Figure:  # fmt: skip
    """``1 - Var(result - value) / Var(result)``."""
    left = np.asarray(result, float) - value
    left, result = left - np.mean(left), result - np.mean(result)  # for the sake of rounding
    parts = [np.ones_like(result), result, left, result**2, left**2]
    sums = _sums(np.stack(parts), cluster)

    def of(s):
        n, sy, se, syy, see = s
        spread = n * syy - sy * sy
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(spread > TINY, 1 - (n * see - se * se) / spread, np.nan)

    return _bootstrapped(of, sums, result.size, seed)


def _sums(
    parts: Float[np.ndarray, "K P"], cluster: Int[np.ndarray, " P"]
) -> Float[np.ndarray, "K C"]:
    """Sums over every cluster."""
    _, place = np.unique(cluster, return_inverse=True)
    return np.stack([np.bincount(place, weights=part) for part in parts.astype(float)])


def _bootstrapped(of, sums: Float[np.ndarray, "K C"], count: int, seed: int) -> Figure:
    clusters = sums.shape[1]
    if clusters < 2:
        return Figure(np.nan, np.nan, count)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(clusters, np.full(clusters, 1 / clusters), DRAWS)
    drawn = of(sums @ weights.T)
    drawn = drawn[np.isfinite(drawn)]
    value = float(of(sums.sum(axis=1)))
    told = np.isfinite(value) and drawn.size > 1
    return Figure(value, float(np.std(drawn, ddof=1)) if told else np.nan, count)


def mean(x: Float[np.ndarray, " S"]) -> Figure:
    """Of what there is of it, one number each."""
    x = x[np.isfinite(x)]
    if x.size < 2:
        return Figure(np.nan, np.nan, int(x.size))
    return Figure(float(x.mean()), float(x.std(ddof=1) / np.sqrt(x.size)), int(x.size))


def cosines(x: Float[np.ndarray, "S A"], y: Float[np.ndarray, "S A"]) -> Float[np.ndarray, " S"]:
    """Of every row's vectors of available actions (those that are not NaN); NaN where one has no
    length."""
    x, y = np.nan_to_num(x), np.nan_to_num(y)
    length = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    return np.where(length > TINY, (x * y).sum(-1) / np.maximum(length, TINY), np.nan)


def rank_correlations(
    x: Float[np.ndarray, "S A"], y: Float[np.ndarray, "S A"]
) -> Float[np.ndarray, " S"]:
    """Spearman's of every row; NaN where one side is constant or there are fewer than two."""
    out = np.full(len(x), np.nan)
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        there = np.isfinite(a) & np.isfinite(b)
        if there.sum() < 2:
            continue
        ranks = [_ranks(v[there]) - (there.sum() + 1) / 2 for v in (a, b)]
        out[i] = cosines(ranks[0][None], ranks[1][None])[0]
    return out


def _ranks(x: Float[np.ndarray, " A"]) -> Float[np.ndarray, " A"]:
    """From 1 on; equal ones share their mean."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


def ceiling(halves: tuple[np.ndarray, np.ndarray], cluster: Int[np.ndarray, " P"]) -> float:
    """The correlation that a critic without any error would have with effects that are measured
    from so many rollouts: the root of their reliability, by split halves (Spearman, Brown).

    NaN where the halves do not agree at all: the rollouts are too few to tell anything.
    """
    r = correlation(*halves, cluster).value
    return float(np.sqrt(2 * r / (1 + r))) if r > 0 else np.nan
