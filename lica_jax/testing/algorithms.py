"""What every algorithm must do, in words where it does not."""

from __future__ import annotations

import tempfile
import warnings
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lica_jax.algorithms.registry import (
    algorithm_module,
    algorithm_names,
    find_algorithm,
    make_algorithm,
    register_algorithm,
)
from lica_jax.api import Result, train
from lica_jax.config import TrainConfig, load_config, resolve
from lica_jax.envs import make_task
from lica_jax.errors import BudgetOverrun, UserError
from lica_jax.policy import load_policy
from lica_jax.runs.checks import trace_algorithm
from lica_jax.training.evaluation import random_hparams, random_params
from lica_jax.types import Algorithm, Progress, Task, TaskSpec

ENVS = 5
DRAWS = 3000  # of the uniformly random policy, on a game of nine joint actions
SMALL = {
    "total_steps": 512, "seeds": (3, 5), "collect": {"mode": "steps", "envs": 4, "length": 4},
    "log_interval": 32, "eval": {"interval": 256, "episodes": 8, "final_episodes": 16},
}  # fmt: skip


def check_algorithm(
    algorithm: str | ModuleType, task: str = "probe/match", *, trained: bool = True,
    **settings: Any,
) -> list[str]:  # fmt: skip
    """Checks that an algorithm behaves as the library requires; trains it briefly for that.

    It checks the shapes and types of what the algorithm acts and learns with; that unavailable
    actions are never chosen, that greedy play does not depend on the key, and that play is uniform
    if all parameters are zero (the random policy of reports). With ``trained``, also that half a
    run, resumed, equals a whole run bitwise; that seeds differ; that figures are finite; and that
    an exported policy plays as the trained one does.

    Args:
      algorithm: a registered name, or a module. A module that is not registered yet is registered
        under the last part of its name.
      task: a task that the algorithm can play, with discrete actions and short episodes.
      trained: whether to train, too, which takes about ten seconds.
      settings: as in ``train``, for example a small ``algo={"hidden": 8}``.

    Returns:
      The names of the metrics that its update returns, which are entries of ``metrics.jsonl``.

    Raises:
      UserError: something is wrong; the message has one line for each problem.
    """
    name = _registered(algorithm)
    algorithm_module(name)
    config = load_config(name, task, **(SMALL | settings))
    world = make_task(task)
    config = resolve(config, world.spec)
    algo = make_algorithm(name, world.spec, config.algo)
    traced = trace_algorithm(algo, world, config)
    found = traced.problems or _field_problems(algo)
    # One behind the other: what is wrong with acting makes play uneven, too.
    found = found or _acting_problems(algo, world) or _uniform_problems(name, config)
    if trained and not found:
        with tempfile.TemporaryDirectory() as folder:
            found += _training_problems(config, Path(folder) / "run")
    if found:
        lines = "\n".join(f"  - {line}" for line in found)
        raise UserError(f"algorithm {name} does not conform:\n{lines}") from traced.error
    return traced.metrics


def _registered(algorithm: str | ModuleType) -> str:
    """The algorithm's registered name."""
    if not isinstance(algorithm, ModuleType):
        return algorithm
    for name in algorithm_names():
        if find_algorithm(name).module == algorithm.__name__:
            return name
    name = algorithm.__name__.rpartition(".")[2]
    register_algorithm(name, algorithm)
    return name


# --- fields --------------------------------------------------------------------------------------


def _field_problems(algo: Algorithm) -> list[str]:
    """What a run can do without, and its exports, reports and comparisons cannot."""
    out = []
    learner = jax.eval_shape(algo.init, jax.random.key(0))
    if not jax.tree.leaves(jax.eval_shape(algo.policy, learner)):
        out.append("policy(learner) must be the parameters that act needs; there are none")
    if jax.tree.structure(algo.hparams) != jax.tree.structure(type(algo.hparams)()):
        out.append("hparams must be an HParams with values where its defaults have some")
    return out


# --- acting --------------------------------------------------------------------------------------


def _acting_problems(algo: Algorithm, task: Task) -> list[str]:
    """Whether actions are available, and depend on the key where they should."""
    params = algo.policy(jax.jit(algo.init)(jax.random.key(0)))
    _, ts = jax.vmap(task.reset)(jax.random.split(jax.random.key(1), ENVS))
    if task.spec.continuous:
        return []
    ts = ts.replace(avail=ts.avail.at[:, 0, 0].set(False))
    explore = jnp.arange(ENVS) > 0  # the first environment plays greedily
    progress = Progress(jnp.zeros(()), jnp.int32(0))
    carry = algo.initial_carry(ENVS)
    act = jax.jit(partial(algo.act, params, carry, hp=algo.hparams, progress=progress))
    played = np.stack(
        [np.asarray(act(ts, jax.random.key(i), explore=explore)[1]) for i in range(20)]
    )
    chosen = played if played.ndim == 3 else np.argmax(played, axis=-1)  # of weights the largest
    if out := _range_problems(chosen, task.spec):
        return out
    if np.any(chosen[:, :, 0] == 0):
        out.append("an unavailable action was chosen")
    if np.any(played[:, 0] != played[0, 0]):
        out.append("greedy play (explore False) must not depend on the key")
    if np.all(played[:, 1:] == played[0, 1:]):
        out.append("exploring play (explore True) must depend on the key")
    return out


def _range_problems(chosen: np.ndarray, spec: TaskSpec) -> list[str]:
    """Whether indices of actions are those of some action."""
    if np.all((chosen >= 0) & (chosen < spec.n_actions)):
        return []
    wrong = chosen[(chosen < 0) | (chosen >= spec.n_actions)]
    return [f"act chose action {wrong[0]}; those of {spec.name} are 0 to {spec.n_actions - 1}"]


def _uniform_problems(name: str, config: TrainConfig) -> list[str]:
    """Zero parameters, and every epsilon at 1: what the random policy of a report is."""
    task = make_task("game/nonmonotonic")
    algo = make_algorithm(name, task.spec, config.algo)
    policy = jax.eval_shape(lambda key: algo.policy(algo.init(key)), jax.random.key(0))
    params = random_params(policy)
    _, ts = jax.vmap(task.reset)(jax.random.split(jax.random.key(1), DRAWS))
    act = partial(
        algo.act, hp=random_hparams(algo.hparams), progress=Progress.finished(),
        explore=jnp.ones(DRAWS, bool),
    )  # fmt: skip
    action = jax.jit(act)(params, algo.initial_carry(DRAWS), ts, jax.random.key(2))[1]
    if found := _range_problems(np.asarray(action), task.spec):
        return found
    joint = np.bincount(np.asarray(action @ jnp.array([3, 1])), minlength=9)
    # Four standard deviations are 69.
    if np.all(np.abs(joint - DRAWS / 9) < 75):
        return []
    return [f"play at all-zero parameters must be uniform; {DRAWS} draws of nine: {joint.tolist()}"]


# --- training ------------------------------------------------------------------------------------


def _training_problems(config: TrainConfig, run_dir: Path) -> list[str]:
    """What goes wrong when it is trained, resumed and exported."""
    import dataclasses

    half = dataclasses.replace(config, total_steps=config.total_steps // 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BudgetOverrun)  # of budgets that are ours
        train(half, run_dir=run_dir, display="none")
        resumed = train(config, run_dir=run_dir, resume=True, display="none")
        straight = train(config, display="none")
    out = []
    if _losses(resumed) != _losses(straight):
        out.append("half a run, resumed, must equal a whole one: losses differ")
    if resumed.summary["final"] != straight.summary["final"]:
        out.append("half a run, resumed, must equal a whole one: final figures differ")
    if not all(row["loss"] is not None for row in straight.metrics):
        out.append("a loss is not finite")
    leaves = jax.tree.leaves(straight.params)
    if all(np.array_equal(x[0], x[1]) for x in leaves):
        out.append("two seeds must differ")
    exported, own = load_policy(run_dir), resumed.policy()
    spec = straight.spec
    obs = np.random.default_rng(0).normal(size=(6, spec.n_agents, spec.obs_size))
    avail = np.ones((6, spec.n_agents, spec.n_actions), bool)
    if not np.array_equal(exported.act(obs, avail)[0], own.act(obs, avail)[0]):
        out.append("an exported policy must play as the trained one does")
    try:
        _ = exported.critic
    except UserError as error:
        out.append(f"an exported critic must be read again: {error}")
    return out


def _losses(result: Result) -> list[tuple[Any, ...]]:
    return [(row["seed"], row["update"], row["loss"]) for row in result.metrics]
