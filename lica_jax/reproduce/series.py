"""Curves of a run along training, from its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax.errors import UserError
from lica_jax.reporting.reading import Run, number, read_run_dir
from lica_jax.runs import names
from lica_jax.runs.rows import sound_rows

POINTS = 100  # of a curve, at most
Curve = tuple[np.ndarray, np.ndarray]  # x and y, [E] each, x in order
Reading = tuple[Curve, list[str]]  # a curve, and in words what it lacks
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """A run directory of one run."""

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """As the run's ``config.json`` has it."""
        return json.loads((self.path / names.CONFIG).read_text())

    @property
    def run(self) -> Run:
        """Its evaluations and what became of it."""
        return self._read[0]

    @property
    def told(self) -> list[str]:
        """What is wrong with the files that `run` comes from."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[Run, list[str]]:
        runs, told = read_run_dir(self.path)
        if len(runs) > 1:
            raise UserError(f"{self.path} holds {len(runs)} runs, where one is expected")
        return runs[0], told

    @cached_property
    def rows(self) -> tuple[Rows, int]:
        """Those of ``metrics.jsonl``, by their updates, and how many others are damaged.

        Raises:
          UserError: there is no such file that can be read.
        """
        try:
            rows, bad = sound_rows(self.path / names.METRICS)
        except FileNotFoundError:
            raise UserError(f"{names.METRICS} is missing") from None
        except OSError as error:
            raise UserError(f"{names.METRICS} cannot be read: {error.strerror}") from None
        own = {row["update"]: row for row in rows if row["seed"] == self.run.seed}
        others = sum(row["seed"] != self.run.seed for row in rows)
        return [own[update] for update in sorted(own)], bad + others

    def held(self, curve: Curve, steps: float) -> Curve:
        """A curve whose last value counts on where the run failed: leaving the run out, or ending
        all at its end, would flatter.

        Args:
          curve: along env steps, or along episodes, which then are as long as they were.
          steps: the env steps at its end.
        """
        x, y = curve
        if not self.run.failed or steps >= self.run.total_steps:
            return curve
        # Along env steps it ends at the budget, also if it never came beyond its start.
        end = self.run.total_steps if x[-1] == steps else x[-1] * self.run.total_steps / steps
        return np.append(x, end), np.append(y, y[-1])


# Each of these raises ``UserError`` with the reason where a run has no such curve.


def win_rate(source: Source) -> Reading:
    """Greedy episodes that were won, along env steps: the paper's test win rate."""
    run = source.run
    x, y = run.curve("greedy", "win_rate", "steps")
    told = _told(source, names.EVALS, len(x), len(run.steps) - len(x), run.steps[-1])
    return source.held((x, y), x[-1]), told


def entropy(source: Source) -> Reading:
    """The policies' mean entropy in nats over training batches, along env steps."""
    rows, bad = source.rows
    have = [row for row in rows if np.isfinite(number(row.get("entropy")))]
    told = _told(source, names.METRICS, len(have), bad + len(rows) - len(have), _end(rows))
    x, y = (np.array([row[key] for row in have], float) for key in ("env_steps", "entropy"))
    return source.held(binned(x, y, np.ones_like(y)), x[-1]), told


def episode_length(source: Source) -> Reading:
    """Steps per episode over training episodes, along episodes."""
    return _per_episode(source, lambda row: number(row.get("train/episode_length_mean")))


def mean_reward(source: Source) -> Reading:
    """Mean reward over all timesteps of training episodes, along episodes. All agents get the same
    reward, so that it is the mean over agents too."""

    def value(row: dict[str, Any]) -> float:
        length = number(row.get("train/episode_length_mean"))
        return number(row.get("train/return_mean")) / length if length > 0 else np.nan

    return _per_episode(source, value)


def _per_episode(source: Source, value: Callable[[dict[str, Any]], float]) -> Reading:
    rows, bad = source.rows
    count = np.array([number(row.get("train/episodes")) for row in rows])
    if lost := max(bad, _missing(rows)) + int(np.sum(~np.isfinite(count))):
        # What comes behind them would stand too far left.
        raise UserError(
            f"{lost} row(s) of {names.METRICS} are damaged or missing, and all are needed to count "
            "episodes"
        )
    y = np.array([value(row) for row in rows])
    have = np.isfinite(y) & (count > 0)
    kept, ended = int(have.sum()), int(np.sum(count > 0))  # rows without an episode lack nothing
    told = _told(source, names.METRICS, kept, ended - kept, _end(rows))
    steps = np.array([row["env_steps"] for row in rows])[have][-1]
    return source.held(binned(np.cumsum(count)[have], y[have], count[have]), steps), told


def _missing(rows: Rows) -> int:
    """How many rows are not there: they are equally many updates apart, the first from 0."""
    gaps = np.diff(np.unique([0, *(row["update"] for row in rows)]))
    return int(np.sum(gaps // gaps.min() - 1)) if len(gaps) else 0


def _end(rows: Rows) -> int:
    return rows[-1]["env_steps"] if rows else 0


def _told(source: Source, file: str, kept: int, lost: int, end: float) -> list[str]:
    """What is said of a curve with so many rows of a file, which ends at so many env steps.

    Raises:
      UserError: there are none.
    """
    if not kept:
        raise UserError(f"no row of {file} has one")
    path, total = source.path / file, source.run.total_steps
    told = [f"{path}: {lost} damaged or empty row(s) left out."] if lost else []
    if end < total and not source.run.failed:
        told.append(
            f"{path} ends at {end:,.0f} of {total:,} env steps; its method is shown up to there."
        )
    return told


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
