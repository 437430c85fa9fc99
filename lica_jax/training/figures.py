"""What is said of evaluated policies: intervals, and several seeds together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lica_jax.core.intervals import student_t, student_t_of, wilson

CI = "_ci95"
Figures = dict[str, Any]  # of one policy and mode, as `evaluation.summarise` makes them


def with_intervals(figures: Figures) -> Figures:
    """With 95 % intervals over the episodes of one policy: Wilson's of the win rate, Student's of
    the mean return; ``[low, high]``, or None of too few episodes."""
    n, out = figures["episodes"], dict(figures)
    if "win_rate" in figures:
        out["win_rate" + CI] = _as_list(wilson(figures["win_rate"] or 0.0, n))
    mean, std = (figures[key] for key in ("return_mean", "return_std"))
    out["return_mean" + CI] = _as_list(student_t(mean or 0.0, std or 0.0, n))
    return out


def over_seeds(each: Sequence[Figures]) -> Figures:
    """Means over policies of different seeds, with Student's 95 % intervals over the seeds.

    ``episodes`` is the number of all, ``return_std`` the standard deviation of the seeds' means.
    """
    means = [key for key in each[0] if key.endswith(("_mean", "win_rate"))]
    out: Figures = {}
    for key in means:
        values = [figures[key] for figures in each if figures[key] is not None]
        out[key] = float(np.mean(values)) if values else None
        if key in ("win_rate", "return_mean"):
            out[key + CI] = _as_list(student_t_of(values)) if values else None
        if key == "return_mean":
            out["return_std"] = float(np.std(values)) if values else None
    if out.get("win_rate" + CI):
        low, high = out["win_rate" + CI]
        out["win_rate" + CI] = [max(low, 0.0), min(high, 1.0)]
    return out | {"episodes": sum(f["episodes"] for f in each), "seeds": len(each)}


def _as_list(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
