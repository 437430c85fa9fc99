"""Tasks that live outside JAX: playing them in lock step, then the same update as everywhere.

The environments of a host task are processes. Each step their observations go through one jitted
``act`` of a fixed shape; the episodes are written into a buffer padded to the limit, moved to the
device once, and learned from by `loop.make_learn`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from lica_jax.core.schedules import finished
from lica_jax.errors import TrainingFailed
from lica_jax.training.evaluation import MODES, Episodes, summarise
from lica_jax.training.loop import bound_act, make_learn, make_run, progress_of
from lica_jax.training.memory import training_bytes
from lica_jax.types import Algorithm, Collect, EpisodeStats, TaskSpec, TimeStep, Trajectory

PyTree = Any
# An environment that loses this many episodes in a row has nothing to give to this batch.
MAX_LOST = 3


class Moment(NamedTuple):
    """What B environments show after a start or a step; numpy arrays, a row per environment."""

    obs: np.ndarray  # [B, N, O] float32
    state: np.ndarray  # [B, S] float32
    avail: np.ndarray  # [B, N, A] bool
    alive: np.ndarray  # [B, N] bool
    reward: np.ndarray  # [B] float32, the task's own scale
    terminated: np.ndarray  # [B] bool
    truncated: np.ndarray  # [B] bool
    won: np.ndarray  # [B] bool
    lost: np.ndarray  # [B] bool: the episode broke off; nothing else in the row means anything


class Games(Protocol):
    """B environments in lock step. Rows that are not asked for keep what they showed last.

    Attributes:
      n: B.
      source: what was really played; shown with results.
      genuine: False for a test double, whose figures are no results.
      reason: why the last episode was lost.
    """

    n: int
    source: str
    genuine: bool
    reason: str

    def start(self, which: np.ndarray) -> Moment: ...  # begins an episode in rows `which` [B]

    def step(self, action: np.ndarray, which: np.ndarray) -> Moment: ...  # action [B, N]

    # The files written, and why there are not more.
    def save_replays(self, folder: Path) -> tuple[list[str], str]: ...

    def stats(self) -> dict[str, int]: ...  # counters, for the logs

    def close(self) -> None: ...


class Stopped(Exception):
    """A batch was given up because the run is to stop; nothing was learned from it."""


class HostTask(Protocol):
    """A task whose environments are opened, not vmapped."""

    spec: TaskSpec

    def check(self) -> None: ...  # raises UserError where it cannot be played here

    def open(self, envs: int, seed: str) -> Games: ...  # any text is a seed


def is_host_task(task: Any) -> bool:
    return hasattr(task, "open")


class Blank:
    """A task of given sizes in which nothing happens: shapes without an environment."""

    def __init__(self, spec: TaskSpec):
        self.spec = spec

    def reset(self, key):
        del key
        s, off = self.spec, jnp.zeros((), bool)
        ts = TimeStep(
            obs=jnp.zeros((s.n_agents, s.obs_size)), state=jnp.zeros(s.state_size),
            avail=jnp.ones((s.n_agents, s.n_actions), bool), reward=jnp.zeros(()),
            terminated=off, truncated=off, first=off, alive=jnp.ones(s.n_agents, bool),
            info={"won": off} if s.has_win else {},
        )  # fmt: skip
        return (), ts

    def step(self, key, state, action):
        del state, action
        return self.reset(key)


# --- playing -------------------------------------------------------------------------------------


def time_step(spec: TaskSpec, now: Moment, first: np.ndarray) -> TimeStep:
    """What a policy sees of a moment; ``first`` [B] marks the starts of episodes."""
    return TimeStep(
        obs=now.obs, state=now.state, avail=now.avail, reward=now.reward,
        terminated=now.terminated, truncated=now.truncated, first=first, alive=now.alive,
        info={"won": now.won} if spec.has_win else {},
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


def play(
    games: Games, spec: TaskSpec, act: Callable[..., Any], carry: PyTree,
    recorder: Recorder | None = None, stop: Callable[[], bool] = lambda: False,
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
    n = games.n
    t, losses = np.zeros(n, int), np.zeros(n, int)
    returns, won, done = np.zeros(n), np.zeros(n, bool), np.zeros(n, bool)
    dropped = np.zeros(n, bool)
    now = games.start(np.ones(n, bool))
    for call in count():
        if stop():
            raise Stopped
        while (again := now.lost & ~done & ~dropped).any():
            losses += again
            if stop():  # whatever ends the run may have ended the games
                raise Stopped
            t[again], returns[again] = 0, 0
            for row in np.flatnonzero(again & (losses >= MAX_LOST)):
                dropped[row] = True
                if recorder:
                    recorder.drop(row)
            again &= ~dropped
            now = games.start(again) if again.any() else now
        open_rows = ~done & ~dropped
        if not open_rows.any():
            break
        ts = time_step(spec, now, first=t == 0)
        carry, *chosen = act(carry, ts, call)
        action, extras = jax.device_get(chosen)
        over = now.terminated | now.truncated
        if recorder:
            recorder.write(t, np.flatnonzero(open_rows), (ts, action, extras))
        ended = open_rows & over
        won |= ended & now.won
        done |= ended
        playing = open_rows & ~over
        if not playing.any():
            continue
        now = games.step(action, playing)
        moved = playing & ~now.lost
        returns += np.where(moved, now.reward, 0)
        t += moved
    return Episodes(returns=returns, length=t, won=won, finished=done), int(losses.sum())


# --- training and evaluating ---------------------------------------------------------------------


def _run_of(tree: PyTree, r: Any) -> PyTree:
    return jax.tree.map(lambda x: x[0] if x.shape[0] == 1 else x[r], tree)


def _with_run(tree: PyTree, r: Any, run: PyTree) -> PyTree:
    """``tree`` with ``run`` as its run ``r``; written over where there is but one."""
    return jax.tree.map(lambda x, y: y[None] if x.shape[0] == 1 else x.at[r].set(y), tree, run)


class HostRuns:
    """The `engine.Engine` of a host task.

    Runs of several seeds take turns on the same environments.
    """

    def __init__(
        self, algo: Algorithm, task: HostTask, envs: int, n_runs: int,
        timeout_is_terminal: bool, seed: str,
    ):  # fmt: skip
        self._algo, self._task, self._envs, self._n = algo, task, envs, n_runs
        self._seed = seed
        self._games: Games | None = None
        self.stop: Callable[[], bool] = lambda: False
        self._blank, self._collection = Blank(task.spec), Collect("episode", envs)
        self._init, _ = make_run(algo, self._blank, self._collection, timeout_is_terminal)
        self.init = jax.jit(jax.vmap(self._init))
        learn = make_learn(algo, timeout_is_terminal)

        def learn_at(states, r, trajectory, stats, key, update_key, hp):
            state, metrics = learn(
                _run_of(states, r).replace(key=key), trajectory, stats, update_key, hp
            )
            return _with_run(states, r, state), metrics

        # In place: a replay is not copied for every batch.
        self._learn = jax.jit(learn_at, donate_argnums=0)
        self._policy = jax.jit(lambda states, r: algo.policy(_run_of(states, r).learner))
        # The key is made in here: a dispatch of its own costs as much as a small network.
        self._act = jax.jit(
            lambda params, hp, progress, explore, key, carry, ts, call: bound_act(
                algo, params, hp, progress, explore, carry, ts, jax.random.fold_in(key, call)
            )
        )
        self._split = jax.jit(lambda key: jax.random.split(key, 3))
        self.lost = self._told = 0

    @cached_property
    def needs(self) -> dict[str, int]:
        return training_bytes(self._algo, self._blank, self._collection, self._init, self._n)

    def open(self) -> TaskSpec:
        return dataclasses.replace(self._task.spec, source=self.games.source)

    @property
    def genuine(self) -> bool:
        return self.games.genuine

    def stats(self) -> dict[str, int]:
        return self.games.stats()

    def save_replays(self, folder: Path) -> tuple[list[str], str]:
        return self.games.save_replays(folder)

    @property
    def games(self) -> Games:
        if self._games is None:
            self._games = self._task.open(self._envs, self._seed)
        return self._games

    def close(self) -> None:
        games, self._games = self._games, None
        if games is not None:
            games.close()

    def _play(self, params, hp, progress, explore, key, recorder=None):
        """An episode per environment of one run: ``(episodes, the carry before them, how many were
        lost)``; ``explore`` [B]."""
        act = partial(self._act, params, hp, progress, explore, key)
        carry = self._algo.initial_carry(self._envs)
        episodes, lost = play(self.games, self._task.spec, act, carry, recorder, self.stop)
        self.lost += lost
        if not episodes.finished.any():
            raise TrainingFailed(
                f"all {self._envs} environments lost {MAX_LOST} episodes in a row; the last one: "
                f"{self.games.reason}"
            )
        return episodes, carry, lost

    def complaint(self) -> str | None:
        """What a person should know of episodes lost since the last call."""
        new, self._told = self.lost - self._told, self.lost
        if not new:
            return None
        return (
            f"{new} episode(s) lost and replaced, {self.lost} so far; the last: {self.games.reason}"
        )

    def chunk(self, states: PyTree, hps: PyTree, iterations: int) -> tuple[PyTree, PyTree]:
        """Plays and learns; metrics have leading axes ``[R, iterations]``, of fewer iterations
        when the run is to stop (``Stopped`` when of none)."""
        metrics: list[list[PyTree]] = [[] for _ in range(self._n)]
        for i in range(iterations):
            try:  # all runs play before one learns: a batch counts for all of them or for none
                batches = [self._collect(states, r, _run_of(hps, r)) for r in range(self._n)]
            except Stopped:
                if i == 0:
                    raise
                break
            for r, (trajectory, stats, key, update_key, lost) in enumerate(batches):
                hp = _run_of(hps, r)
                states, row = self._learn(states, r, trajectory, stats, key, update_key, hp)
                metrics[r].append(row | {"learn": row["learn"] | {"lost_episodes": lost}})
        stack = partial(jax.tree.map, lambda *xs: np.stack(xs))
        return states, stack(*[stack(*jax.device_get(row)) for row in metrics])

    def _collect(self, states: PyTree, r: int, hp: PyTree):
        """A batch of run ``r``: ``(trajectory, episodes, the run's next key, the update's key, lost
        episodes)``."""
        key, play_key, update_key = self._split(states.key[r])
        recorder = Recorder(self._task.spec, self._envs)
        explore = jnp.ones(self._envs, bool)
        params, progress = self._policy(states, r), _run_of(progress_of(states), r)
        episodes, carry, lost = self._play(params, hp, progress, explore, play_key, recorder)
        done = episodes.finished
        stats = EpisodeStats(
            episodes=np.int32(done.sum()), return_sum=np.float32(episodes.returns[done].sum()),
            length_sum=np.float32(episodes.length[done].sum()),
            won_sum=np.float32(episodes.won[done].sum()),
        )  # fmt: skip
        trajectory = jax.device_put(recorder.trajectory(carry))
        return trajectory, stats, key, update_key, np.int32(lost)

    def evaluate(
        self, params: PyTree, keys: Any, hp: PyTree, episodes: int,
        modes: tuple[str, ...] = MODES,
    ) -> list[dict[str, dict[str, Any]]]:  # fmt: skip
        """`evaluation.Evaluator` on these environments: greedy episodes, then sampled ones."""
        out = []
        for r in range(self._n):
            own, own_hp = _run_of(params, r), _run_of(hp, r)
            figures = {}
            for mode in modes:
                i = MODES.index(mode)
                explore = jnp.full(self._envs, mode == "sampled")
                waves = []
                while sum(int(w.finished.sum()) for w in waves) < episodes:
                    key = jax.random.fold_in(jax.random.fold_in(keys[r], i), len(waves))
                    waves.append(self._play(own, own_hp, finished(), explore, key)[0])
                every = jax.tree.map(lambda *xs: np.concatenate(xs)[None], *waves)
                figures[mode] = summarise(every, self._task.spec.has_win, run=0)
            out.append(figures)
        return out
