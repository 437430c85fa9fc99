"""Playing one batch of episodes in environments outside JAX, in lock step.

Each step their observations go through one jitted ``act`` of a fixed shape; the episodes are
written into a buffer that is padded to the limit.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from lica_jax.engines.base import Stop, never
from lica_jax.engines.games import Games, Moment, Stopped
from lica_jax.training.evaluation import Episodes
from lica_jax.types import TaskSpec, TimeStep, Trajectory

# An environment that loses this many episodes in a row has nothing to give to this batch.
MAX_LOST = 3


def time_step(now: Moment, first: np.ndarray) -> TimeStep:
    """What a policy sees of a moment; ``first`` [B] marks the starts of episodes."""
    return TimeStep(
        obs=now.obs, state=now.state, avail=now.avail, reward=now.reward,
        terminated=now.terminated, truncated=now.truncated, first=first, alive=now.alive,
        info=now.info,
    )  # fmt: skip


class Recorder:
    """A batch of episodes as a `Trajectory`, padded to the limit. Good for one batch."""

    def __init__(self, spec: TaskSpec, batch: int):
        self._length, self._batch = spec.episode_limit, batch
        self._slots: PyTree = None
        self._last = np.zeros(batch, int)
        self._dropped = np.zeros(batch, bool)

    def write(self, t: np.ndarray, rows: np.ndarray, values: PyTree) -> None:
        """Keeps ``values`` ``[B, ...]`` of the rows numbered ``rows`` at their times ``t`` [B]."""
        if self._slots is None:
            shape = (self._length + 1, self._batch)
            self._slots = jax.tree.map(lambda x: np.zeros(shape + x.shape[1:], x.dtype), values)

        def put(slots, x):
            slots[t[rows], rows] = x[rows]

        jax.tree.map(put, self._slots, values)
        self._last[rows] = t[rows]

    def drop(self, row: int) -> None:
        """Leaves out a row for which no whole episode could be played."""
        self._dropped[row] = True

    def trajectory(self, carry: PyTree) -> Trajectory:
        """The trajectory; ``carry`` is the policy's memory before it."""
        # Behind an episode's end its last slot is repeated, as `rollout.unroll` does.
        for x in jax.tree.leaves(self._slots):
            for row, last in enumerate(self._last):
                x[last + 1 :, row] = x[last, row]
        ts, action, extras = self._slots
        valid = (np.arange(self._length)[:, None] < self._last) & ~self._dropped
        return Trajectory(steps=ts, action=action, valid=valid, carry=carry, extras=extras)


class _Batch:
    """Where every environment of a batch stands; arrays ``[B]``."""

    def __init__(self, n: int):
        self.t, self.losses = np.zeros(n, int), np.zeros(n, int)
        self.returns, self.done, self.dropped = np.zeros(n), np.zeros(n, bool), np.zeros(n, bool)
        self.info: dict[str, np.ndarray] = {}

    @property
    def open(self) -> np.ndarray:
        """Those whose episode is still wanted."""
        return ~self.done & ~self.dropped

    def end(self, ended: np.ndarray, info: dict[str, np.ndarray]) -> None:
        """Keeps what the last step of the episodes that ``ended`` shows."""
        before = self.info or {key: np.zeros_like(x) for key, x in info.items()}
        self.info = {key: np.where(ended, x, before[key]) for key, x in info.items()}
        self.done |= ended

    def move(self, moved: np.ndarray, reward: np.ndarray) -> None:
        """A step of the environments that ``moved``."""
        self.returns += np.where(moved, reward, 0)
        self.t += moved

    def episodes(self) -> Episodes:
        return Episodes(returns=self.returns, length=self.t, finished=self.done, info=self.info)


def play(
    games: Games, act: Callable[..., Any], carry: PyTree, recorder: Recorder | None = None,
    stop: Stop = never,
) -> tuple[Episodes, int]:  # fmt: skip
    """Plays one whole episode in every environment.

    Environments keep clocks of their own: one that loses its episode starts another, for which the
    rest waits, and is behind them from then on; what was played of the lost one is overwritten.

    Args:
      act: jitted ``(carry, ts, call) -> (carry, action, extras)`` over all B rows, whoever plays;
        ``call`` counts its calls.
      carry: the policy's memory at the start; ``ts.first`` makes it forget afterwards.
      recorder: keeps what was played.
      stop: whether to give up, asked before every step.

    Returns:
      The episodes (not ``finished`` where none could be played) and how many were lost.

    Raises:
      Stopped: ``stop`` said so.
    """
    batch = _Batch(games.n)
    now = games.start(np.ones(games.n, bool))
    for call in count():
        if stop():
            raise Stopped
        now = _replace_lost(games, now, batch, recorder, stop)
        if not batch.open.any():
            break
        ts = time_step(now, first=batch.t == 0)
        carry, *chosen = act(carry, ts, call)
        action, extras = jax.device_get(chosen)
        if recorder:
            recorder.write(batch.t, np.flatnonzero(batch.open), (ts, action, extras))
        batch.end(batch.open & (now.terminated | now.truncated), now.info)
        playing = batch.open
        if not playing.any():
            continue
        now = games.step(action, playing)
        batch.move(playing & ~now.lost, now.reward)
    return batch.episodes(), int(batch.losses.sum())


def _replace_lost(
    games: Games, now: Moment, batch: _Batch, recorder: Recorder | None, stop: Stop
) -> Moment:
    """Starts another episode for each one that was lost; a row that loses too many is dropped."""
    while (again := now.lost & batch.open).any():
        batch.losses += again
        if stop():  # whatever ends the run may have ended the games
            raise Stopped
        batch.t[again], batch.returns[again] = 0, 0
        for row in np.flatnonzero(again & (batch.losses >= MAX_LOST)):
            batch.dropped[row] = True
            if recorder:
                recorder.drop(row)
        again &= ~batch.dropped
        now = games.start(again) if again.any() else now
    return now
