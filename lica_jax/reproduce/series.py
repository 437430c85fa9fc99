"""Curves of a run along training, from its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax.reporting.reading import Run, read_run_dir
from lica_jax.runs import names
from lica_jax.runs.rows import read_rows

POINTS = 100  # of a curve, at most
Curve = tuple[np.ndarray, np.ndarray]  # x and y, [E] each, x in order


@dataclass(frozen=True)
class Source:
    """A run directory of one run."""

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """As the run's ``config.json`` has it."""
        return json.loads((self.path / names.CONFIG).read_text())

    @cached_property
    def run(self) -> Run:
        """Its evaluations and what became of it."""
        (run,), _ = read_run_dir(self.path)
        return run

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Of ``metrics.jsonl``."""
        return read_rows(self.path / names.METRICS)

    def held(self, curve: Curve, steps: float) -> Curve:
        """A curve whose last value counts on where the run failed: leaving the run out, or ending
        all at its end, would flatter.

        Args:
          curve: along env steps, or along episodes, which then are as long as they were.
          steps: the env steps at its end.
        """
        x, y = curve
        if not self.run.failed or not len(x) or steps >= self.run.total_steps:
            return curve
        return np.append(x, x[-1] * self.run.total_steps / steps), np.append(y, y[-1])


def win_rate(source: Source) -> Curve:
    """Greedy episodes that were won, along env steps: the paper's test win rate."""
    x, y = source.run.curve("greedy", "win_rate", "steps")
    return source.held((x, y), x[-1] if len(x) else 0)


def entropy(source: Source) -> Curve:
    """The policies' mean entropy in nats over training batches, along env steps."""
    rows = [row for row in source.rows if row.get("entropy") is not None]
    x, y = (np.array([row[key] for row in rows], float) for key in ("env_steps", "entropy"))
    return source.held(binned(x, y, np.ones_like(y)), x[-1] if len(x) else 0)


def episode_length(source: Source) -> Curve:
    """Steps per episode over training episodes, along episodes."""
    return _per_episode(source, lambda row: row["train/episode_length_mean"])


def mean_reward(source: Source) -> Curve:
    """Mean reward over all timesteps of training episodes, along episodes. All agents get the same
    reward, so that it is the mean over agents too."""
    return _per_episode(
        source, lambda row: row["train/return_mean"] / row["train/episode_length_mean"]
    )


def _per_episode(source: Source, value: Callable[[dict[str, Any]], float]) -> Curve:
    rows = [row for row in source.rows if row.get("train/episodes")]
    count = np.array([row["train/episodes"] for row in rows], float)
    y = np.array([value(row) for row in rows], float)
    steps = rows[-1]["env_steps"] if rows else 0
    return source.held(binned(np.cumsum(count), y, count), steps)


def binned(x: np.ndarray, y: np.ndarray, weight: np.ndarray, points: int = POINTS) -> Curve:
    """Means of neighbours, so that at most ``points`` are left; each stands at its last ``x``.

    Args:
      x, y: a curve ``[E]``.
      weight: of every value in the means ``[E]``.
    """
    if len(x) <= points:
        return x, y
    starts = np.linspace(0, len(x), points + 1).astype(int)[:-1]
    total = np.add.reduceat(weight, starts)
    return x[np.append(starts[1:], len(x)) - 1], np.add.reduceat(y * weight, starts) / total
