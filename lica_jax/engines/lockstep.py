"""Tasks outside JAX: playing them in lock step, then the same update as everywhere.

The environments of a host task are processes. Their episodes are played by `playing.play`, moved to
the device once, and learned from by `loop.make_learn`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from lica_jax.engines.base import Engine, Stop, never
from lica_jax.engines.games import Games, HostTask, Stopped
from lica_jax.engines.playing import MAX_LOST, Recorder, play
from lica_jax.engines.shapes import ShapeTask
from lica_jax.errors import TrainingFailed
from lica_jax.training.evaluation import MODES, Tell, silent, summarise
from lica_jax.training.loop import bound_act, make_learn, make_run, progress_of
from lica_jax.training.memory import Estimate, estimate
from lica_jax.types import Algorithm, Collect, EpisodeStats, Progress, TaskSpec


def _run_of(tree: PyTree, r: Any) -> PyTree:
    return jax.tree.map(lambda x: x[0] if x.shape[0] == 1 else x[r], tree)


def _with_run(tree: PyTree, r: Any, run: PyTree) -> PyTree:
    """``tree`` with ``run`` as its run ``r``; written over where there is but one."""
    return jax.tree.map(lambda x, y: y[None] if x.shape[0] == 1 else x.at[r].set(y), tree, run)


class Programs(NamedTuple):
    """What is compiled of an algorithm for games of one shape.

    Attributes:
      algo, shapes, collect: the algorithm, the sizes of its task, and an episode of so many games.
      start: ``key -> RunState`` of one run, as it is traced.
      init: ``keys [R] -> states``.
      learn: `loop.make_learn` for one run of several, whose states it takes.
      policy, act, split: the parameters of a run, its actions at a step, and three keys of one.
    """

    algo: Algorithm
    shapes: ShapeTask
    collect: Collect
    start: Callable[..., PyTree]
    init: Callable[..., PyTree]
    learn: Callable[..., Any]
    policy: Callable[..., PyTree]
    act: Callable[..., Any]
    split: Callable[..., Any]


def make_programs(
    algo: Algorithm, spec: TaskSpec, envs: int, timeout_is_terminal: bool
) -> Programs:
    """They know nothing of the games themselves: engines of equal arguments can share them."""
    shapes, collect = ShapeTask(spec), Collect("episode", envs)
    start, _ = make_run(algo, shapes, collect, timeout_is_terminal)
    learn = make_learn(algo, spec, timeout_is_terminal)

    def init(keys):
        return jax.lax.map(start, keys)  # in turn: see `loop.batch_runs`

    def learn_at(states, r, trajectory, stats, key, update_key, hp):
        state, metrics = learn(
            _run_of(states, r).replace(key=key), trajectory, stats, update_key, hp
        )
        return _with_run(states, r, state), metrics

    def act(params, hp, progress, explore, key, carry, ts, call):
        # The key is made in here: a dispatch of its own costs as much as a small network.
        now = jax.random.fold_in(key, call)
        return bound_act(algo, params, hp, progress, explore, carry, ts, now)

    return Programs(
        algo, shapes, collect, start, init=jax.jit(init),
        learn=jax.jit(learn_at, donate_argnums=0),  # in place: a replay is not copied for a batch
        policy=jax.jit(lambda states, r: algo.policy(_run_of(states, r).learner)),
        act=jax.jit(act), split=jax.jit(lambda key: jax.random.split(key, 3)),
    )  # fmt: skip


class LockstepEngine(Engine):
    """Runs of a host task, which take turns on the same environments."""

    def __init__(self, task: HostTask, programs: Programs, *, n_runs: int, seed: str):
        self._task, self._programs, self._n, self._seed = task, programs, n_runs, seed
        self._algo, self._envs = programs.algo, programs.collect.envs
        self._games: Games | None = None
        self.lost = self._told = 0

    @cached_property
    def estimate(self) -> Estimate:
        of = self._programs
        return estimate(of.algo, of.shapes, of.collect, of.start)

    @property
    def programs(self) -> tuple[str, ...]:
        return ("the start", "the choice of actions", "an update", "the policy", "keys")

    def init(self, keys: PRNGKeyArray) -> PyTree:
        return self._programs.init(keys)

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

    def _play(self, params, hp, progress, explore, key, stop, recorder=None):
        """An episode per environment of one run: ``(episodes, the carry before them, how many were
        lost)``; ``explore`` [B]."""
        act = partial(self._programs.act, params, hp, progress, explore, key)
        carry = self._algo.initial_carry(self._envs)
        episodes, lost = play(self.games, act, carry, recorder, stop)
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

    def losses(self) -> dict[str, Any]:
        said = {} if self.genuine else {"test_double": True}
        said["lost_episodes"] = self.lost
        return said | ({"lost_because": self.games.reason} if self.lost else {})

    def chunk(
        self, states: PyTree, hps: PyTree, iterations: int, stop: Stop = never
    ) -> tuple[PyTree, PyTree]:
        """Plays and learns; metrics have leading axes ``[R, iterations]``, of fewer iterations
        when the run is to stop (``Stopped`` when of none)."""
        metrics: list[list[PyTree]] = [[] for _ in range(self._n)]
        for i in range(iterations):
            try:  # all runs play before one learns: a batch counts for all of them or for none
                batches = [self._collect(states, r, _run_of(hps, r), stop) for r in range(self._n)]
            except Stopped:
                if i == 0:
                    raise
                break
            for r, (trajectory, stats, key, update_key, lost) in enumerate(batches):
                hp = _run_of(hps, r)
                states, row = self._programs.learn(
                    states, r, trajectory, stats, key, update_key, hp
                )
                metrics[r].append(row | {"lost_episodes": lost})
        stack = partial(jax.tree.map, lambda *xs: np.stack(xs))
        return states, stack(*[stack(*jax.device_get(row)) for row in metrics])

    def _collect(self, states: PyTree, r: int, hp: PyTree, stop: Stop):
        """A batch of run ``r``: ``(trajectory, episodes, the run's next key, the update's key, lost
        episodes)``."""
        key, play_key, update_key = self._programs.split(states.key[r])
        recorder = Recorder(self._task.spec, self._envs)
        explore = jnp.ones(self._envs, bool)
        params, progress = self._programs.policy(states, r), _run_of(progress_of(states), r)
        episodes, carry, lost = self._play(params, hp, progress, explore, play_key, stop, recorder)
        done = episodes.finished
        stats = EpisodeStats(
            episodes=np.int32(done.sum()), return_sum=np.float32(episodes.returns[done].sum()),
            length_sum=np.float32(episodes.length[done].sum()),
            info_sums={k: np.float32(x[done].sum()) for k, x in episodes.info.items()},
        )  # fmt: skip
        trajectory = jax.device_put(recorder.trajectory(carry))
        return trajectory, stats, key, update_key, np.int32(lost)

    def evaluate(
        self, params: PyTree, keys: PRNGKeyArray, hp: PyTree, episodes: int,
        modes: tuple[str, ...] = MODES, stop: Stop = never, tell: Tell = silent,
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
                    progress = Progress.finished()
                    waves.append(self._play(own, own_hp, progress, explore, key, stop)[0])
                    tell(sum(int(w.finished.sum()) for w in waves), episodes)
                every = jax.tree.map(lambda *xs: np.concatenate(xs)[None], *waves)
                figures[mode] = summarise(every, run=0)
            out.append(figures)
        return out
