"""What is going to be trained: every decision made, and everything refused that can be."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from lica_jax.algorithms import find_algorithm, make_algorithm
from lica_jax.config import (
    TrainConfig,
    iterations_per_chunk,
    merge,
    resolve,
    steps_per_iteration,
)
from lica_jax.engines.base import Engine
from lica_jax.engines.games import HostTask, is_host_task
from lica_jax.engines.make import make_engine
from lica_jax.envs.registry import check_known_task, make_task, with_digest
from lica_jax.errors import UserError
from lica_jax.runs import directory
from lica_jax.runs.checks import check_shapes, check_trainable
from lica_jax.training.loop import RUNS, stack_hparams
from lica_jax.training.memory import check_fits, free_on
from lica_jax.types import Algorithm, Task, differing


class Run(NamedTuple):
    """One of the runs that are trained together: they share every static choice."""

    seed: int
    hp: Any  # the algorithm's ``HParams``


@dataclass(frozen=True)
class Plan:
    """What a session does.

    Attributes:
      config: resolved; its ``hp`` and ``seeds`` are those of ``runs`` where nothing else is asked.
      task, algo: what is played and learned.
      engine: how; nothing is opened or compiled yet.
      runs: what is trained side by side, at least one.
      run_dir: where to write; None for nowhere.
      resume: go on from what is there.
      called: what messages call the runs, where they are not alone in the world: those of a sweep.
    """

    config: TrainConfig
    task: Task | HostTask
    algo: Algorithm
    engine: Engine
    runs: tuple[Run, ...]
    run_dir: Path | None = None
    resume: bool = False
    called: tuple[str, ...] = ()

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]

    @cached_property
    def swept(self) -> list[str]:
        """The hyper-parameters in which the runs differ."""
        return differing([run.hp for run in self.runs])

    @cached_property
    def numbered(self) -> bool:
        """Whether it takes more than their seeds to tell the runs apart. A search may draw the same
        numbers twice."""
        return bool(self.swept) or len(set(self.seeds)) < len(self.runs)

    @cached_property
    def labels(self) -> list[dict[str, Any]]:
        """What tells the runs apart, in rows and results: their seeds, and where those do not the
        number of the run and the hyper-parameters that differ as well."""
        if not self.numbered:
            return [{"seed": run.seed} for run in self.runs]
        return [
            {"run": i, "seed": run.seed} | {f"hp.{k}": getattr(run.hp, k) for k in self.swept}
            for i, run in enumerate(self.runs)
        ]

    @property
    def names(self) -> list[str]:
        """A word for each run: ``seed3``, or ``run2`` where runs are `numbered`."""
        if self.numbered:
            return [f"run{i}" for i in range(len(self.runs))]
        return [f"seed{seed}" for seed in self.seeds]

    @property
    def hparams(self) -> PyTree:
        """The numbers of all runs ``[R]``."""
        return stack_hparams([run.hp for run in self.runs])

    @property
    def keys(self) -> PRNGKeyArray:
        """Every run's key ``[R]``."""
        return jax.vmap(jax.random.key)(jnp.array(self.seeds, jnp.uint32))

    @property
    def memory(self) -> dict[str, int]:
        """Bytes that all runs need together, by name."""
        return self.engine.estimate.parts(len(self.runs), saves=self.run_dir is not None)

    @property
    def iterations(self) -> int:
        """Of one compiled call."""
        return iterations_per_chunk(self.config, self.task.spec)

    @property
    def chunk_steps(self) -> int:
        """The most env steps of a run that one compiled call can take."""
        return self.iterations * steps_per_iteration(self.config.collect, self.task.spec)


def make_plan(
    config: TrainConfig, run_dir: Path | None = None, *, resume: bool = False,
    task: Task | HostTask | None = None, runs: Sequence[Run] | None = None, devices: int = 1,
    shard: str = RUNS, elsewhere: bool = False,
) -> Plan:  # fmt: skip
    """Makes all decisions about a session and refuses what cannot be done; compiles nothing.

    Args:
      config: what to train; need not be resolved.
      run_dir: where to write; nothing is written yet.
      resume: go on from what is there; where that is nothing worth keeping
        (`directory.abandoned`), begin anew.
      task: the task itself, where ``config.task`` is only its reference.
      runs: what to train side by side; by default a run for each of ``config.seeds`` with
        ``config.hp``.
      devices, shard: over how many devices the runs are spread, or the environments of each.

      elsewhere: another machine trains, whose memory is not known.

    Raises:
      UserError: bad input, a directory that cannot be used, or too little memory.
    """
    if resume and run_dir is None:
        raise UserError("resume needs a run directory")
    anew = resume and directory.abandoned(run_dir)
    if resume and not anew:
        directory.check_names(run_dir, config.algorithm, config.task)
    given = task is not None
    if task is None:
        check_known_task(config.task, config.plugins)
        task = make_task(config.task)
        config = dataclasses.replace(config, task=with_digest(config.task, task))
    check_shapes(task)
    config = resolve(config, task.spec)
    if resume and runs is None:
        runs = _runs_of(directory.read_runs(run_dir), config)
    resume = resume and not anew
    runs = tuple(runs or (Run(seed, config.hp) for seed in config.seeds))
    runs = tuple(Run(run.seed, resolve_hp(config, run.hp, task)) for run in runs)
    if config.eval.save_replay and not is_host_task(task):
        raise UserError(f"eval.save_replay: only smac/ tasks have replays, not {config.task}")
    if config.eval.save_replay and run_dir is None:
        raise UserError("eval.save_replay needs a run directory to write to")
    algo = _algorithm_for(config, task)
    # A resumed run's games are others than those played before.
    starts, seeds = directory.starts(run_dir) if resume else 0, tuple(run.seed for run in runs)
    engine = make_engine(
        algo, task, collect=config.collect, n_runs=len(runs),
        timeout_is_terminal=config.timeout_is_terminal, eval_episodes=config.eval.episodes,
        seed=f"{seeds}/{starts}", devices=devices, shard=shard,
    )  # fmt: skip
    plan = Plan(config, task, algo, engine, runs, run_dir, resume)
    if not elsewhere:
        check_fits(plan.memory, free_on(devices))
    if run_dir is not None and resume:
        directory.check_same(run_dir, config, task.spec, stored_runs(plan), given)
    elif run_dir is not None:
        directory.check_new(run_dir)
    return plan


def _algorithm_for(config: TrainConfig, task: Task | HostTask) -> Algorithm:
    """The algorithm with its settings; somebody's own only if its shapes are what the loop needs.
    Ours are tested: tracing them would only take its time."""
    algo = make_algorithm(config.algorithm, task.spec, config.algo)
    if find_algorithm(config.algorithm).plugin:
        check_trainable(algo, task, config)
    return algo


def resolve_hp(config: TrainConfig, hp: Any, task: Task | HostTask) -> Any:
    """A run's numbers as `resolve` leaves them; raises ``UserError`` for those out of range."""
    if hp is config.hp:
        return hp
    return resolve(dataclasses.replace(config, hp=hp), task.spec).hp


def stored_runs(plan: Plan) -> list[dict[str, Any]] | None:
    """What a run directory keeps of the runs beside the configuration; None where that says it."""
    usual = tuple(Run(seed, plan.config.hp) for seed in plan.config.seeds)
    if plan.runs == usual:
        return None
    return [{"seed": run.seed, "hp": dataclasses.asdict(run.hp)} for run in plan.runs]


def _runs_of(stored: Sequence[Mapping[str, Any]] | None, config: TrainConfig) -> list[Run] | None:
    """The inverse of `stored_runs`."""
    if stored is None:
        return None
    try:
        return [Run(int(row["seed"]), merge(config.hp, row["hp"], "hp")) for row in stored]
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"the stored runs are damaged: {error}") from None
