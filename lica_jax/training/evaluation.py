"""Evaluation: whole episodes, greedy and sampled side by side, on keys of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from lica_jax.training.loop import bound_act, over_runs
from lica_jax.training.rollout import is_over, reset_batch, select_env, step_batch
from lica_jax.types import Algorithm, Progress, Task, TaskSpec, metric_name, numbers

MODES = ("greedy", "sampled")
Tell = Callable[[int, int], None]  # how many episodes per mode have been played, of how many
# Environments per mode in one compiled call; longer evaluations repeat the call.
MAX_WAVE = 128
_STREAM = 0x6576616C  # "eval": folded into a run's key, so that evaluation never touches training
# What an evaluation is for; each has keys of its own.
PERIODIC, FINAL_LAST, FINAL_BEST, RANDOM, EXPORTED = range(5)


def silent(done: int, total: int) -> None:
    """The `Tell` of whoever waits in silence."""


@struct.dataclass
class Episodes:
    """One entry per episode."""

    returns: Float[Array, " E"]  # unscaled
    length: Int[Array, " E"]
    finished: Bool[Array, " E"]
    info: dict[str, Float[Array, " E"]]  # `TimeStep.info` at the last step


def play_episodes(task: Task, act, carry: PyTree, key: PRNGKeyArray, batch: int) -> Episodes:
    """Plays the first episode of ``batch`` environments to its end."""
    reset_key, key = jax.random.split(key)
    env, ts = reset_batch(task, reset_key, batch)
    zeros = jnp.zeros(batch)
    info = jax.tree.map(jnp.zeros_like, ts.info)
    start = Episodes(zeros, jnp.zeros(batch, jnp.int32), zeros > 0, info)

    def body(loop):
        t, env, ts, carry, eps = loop
        act_key, env_key = jax.random.split(jax.random.fold_in(key, t))
        carry, action, _ = act(carry, ts, act_key)
        env_next, ts_next = step_batch(task, env_key, env, action)
        playing = ~eps.finished
        env, ts = select_env(task, playing, (env_next, ts_next), (env, ts))
        ends = playing & is_over(ts)
        eps = Episodes(
            returns=eps.returns + jnp.where(playing, ts.reward, 0),
            length=eps.length + playing,
            finished=eps.finished | ends,
            info=jax.tree.map(lambda new, old: jnp.where(ends, new, old), ts.info, eps.info),
        )
        return t + 1, env, ts, carry, eps

    def going(loop):
        return (loop[0] < task.spec.episode_limit) & ~jnp.all(loop[-1].finished)

    return jax.lax.while_loop(going, body, (0, env, ts, carry, start))[-1]


def make_evaluator(algo: Algorithm, task: Task, wave: int) -> Callable[..., dict[str, Episodes]]:
    """Returns ``evaluate(params, key, hp) -> {"greedy": Episodes[wave], "sampled": ...}``.

    Both modes run in one program, so that the environment is compiled once.
    """
    explore = jnp.arange(2 * wave) >= wave

    def evaluate(params, key, hp):
        progress = Progress.finished()
        act = partial(bound_act, algo, params, hp, progress, explore)
        episodes = play_episodes(task, act, algo.initial_carry(2 * wave), key, 2 * wave)
        return {
            "greedy": jax.tree.map(lambda x: x[:wave], episodes),
            "sampled": jax.tree.map(lambda x: x[wave:], episodes),
        }

    return evaluate


class Evaluator:
    """Evaluates a batch of runs; compiles once, whatever number of episodes a call asks for."""

    def __init__(self, algo: Algorithm, task: Task, n_runs: int, episodes: int, devices: int = 1):
        self._n = n_runs
        self.wave = min(episodes, MAX_WAVE)
        one = make_evaluator(algo, task, self.wave)

        def evaluate(params, keys, hp):
            return over_runs(one, n_runs, devices)(params, keys, hp)

        self._evaluate = jax.jit(evaluate)

    def __call__(
        self, params: PyTree, keys: PRNGKeyArray, hp: PyTree, episodes: int,
        modes: tuple[str, ...] = MODES, tell: Tell = silent,
    ) -> list[dict[str, dict[str, Any]]]:  # fmt: skip
        """Plays at least ``episodes`` episodes per run and mode.

        Args: leaves of ``params``, ``keys`` and ``hp`` have a leading axis of runs; of ``modes``,
          those that are wanted.
        Returns: per run ``{"greedy": figures, "sampled": figures}``, see ``summarise``.
        """
        fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
        waves = range(-(-episodes // self.wave))
        # One wave at a time: what all of them hold together has no bound.
        parts = []
        for i in waves:
            parts.append(jax.device_get(self._evaluate(params, fold(keys, i), hp)))
            tell(len(parts) * self.wave, len(waves) * self.wave)
        result = jax.tree.map(lambda *xs: np.concatenate(xs, axis=1), *parts)
        return [{m: summarise(result[m], run=i) for m in modes} for i in range(self._n)]


def evaluation_keys(seeds: Sequence[int], *path: int) -> PRNGKeyArray:
    """Keys ``[R]`` of the evaluation stream, apart from every key that training uses.

    ``path`` starts with the purpose (``PERIODIC`` ... ``EXPORTED``).
    """
    keys = jax.vmap(jax.random.key)(jnp.array(seeds, jnp.uint32))
    for part in (_STREAM, *path):
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, part)
    return keys


def random_params(params: PyTree) -> PyTree:
    """Parameters whose sampled policy is uniform over the available actions.

    All-zero parameters give equal outputs for every action, so the random policy needs no program
    of its own. Where exploration is a choice of epsilon, it takes `random_hparams` too.
    """
    return jax.tree.map(jnp.zeros_like, params)


def random_hparams(hp: PyTree) -> PyTree:
    """``hp`` with every epsilon at 1: who explores, does nothing else."""
    epsilons = [name for name, facts in numbers(hp).items() if facts.epsilon]
    return hp.replace(**{name: jnp.ones_like(getattr(hp, name)) for name in epsilons})


def summarise(episodes: Episodes, run: int) -> dict[str, float | int | None]:
    """Means over the episodes of one run that really finished; leaves of ``episodes`` [R, E].

    Beside returns and lengths, a mean for every entry of the task's `TimeStep.info`.
    """
    episodes = jax.tree.map(lambda x: np.asarray(x[run], np.float64), episodes)
    done = episodes.finished > 0
    n = int(done.sum())

    def mean(x):
        return float(x[done].mean()) if n else None

    return {metric_name(key): mean(x) for key, x in episodes.info.items()} | {
        "return_mean": mean(episodes.returns),
        "return_std": float(episodes.returns[done].std()) if n else None,
        "episode_length_mean": mean(episodes.length),
        "episodes": n,
    }


def score(figures: dict[str, Any], spec: TaskSpec) -> float:
    """What "better" means: the win rate where there is one, else the return."""
    value = figures["win_rate" if spec.has_win else "return_mean"]
    return float("-inf") if value is None else value
