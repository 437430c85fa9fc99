"""The engine that fits a task, for training and for evaluation."""

from __future__ import annotations

from functools import lru_cache

from lica_jax.engines.base import Engine
from lica_jax.engines.compiled import CompiledEngine
from lica_jax.engines.games import HostTask, is_host_task
from lica_jax.engines.lockstep import LockstepEngine, make_programs
from lica_jax.errors import UserError
from lica_jax.training.loop import RUNS
from lica_jax.types import Algorithm, Collect, Task


def make_engine(
    algo: Algorithm, task: Task | HostTask, *, collect: Collect, n_runs: int = 1,
    timeout_is_terminal: bool = True, eval_episodes: int = 512, seed: str = "0", devices: int = 1,
    shard: str = RUNS,
) -> Engine:  # fmt: skip
    """How ``n_runs`` runs of an algorithm are played on a task. Opens and compiles nothing.

    Args:
      collect: how experience is gathered; an evaluation of games has as many at once as
        ``collect.envs``.
      eval_episodes: the usual size of an evaluation.
      seed: any text; of the games of a task outside JAX.
      devices, shard: over how many devices runs in JAX are spread, or the environments of each.

    Raises:
      UserError: the task cannot be played here, or not in this way.
    """
    if not is_host_task(task):
        return (_shared_engine if _are_ours(algo, task) else CompiledEngine)(
            algo, task, collect=collect, n_runs=n_runs, timeout_is_terminal=timeout_is_terminal,
            eval_episodes=eval_episodes, devices=devices, shard=shard,
        )  # fmt: skip
    if collect.mode != "episode":
        raise UserError(
            f"{task.spec.name} is played in whole episodes, padded to the limit: use "
            "--collect.mode episode"
        )
    task.check()
    programs = (_shared_programs if _are_ours(algo) else make_programs)(
        algo, task.spec, collect.envs, timeout_is_terminal
    )
    return LockstepEngine(task, programs, n_runs=n_runs, seed=seed)


def _are_ours(algo: Algorithm, *tasks: Task) -> bool:
    """Whether all are of this library: somebody's own code may change while the process runs."""
    update = getattr(algo.update, "func", algo.update)  # of a partial
    return all(x.__module__.startswith("lica_jax.") for x in (update, *map(type, tasks)))


# Training or evaluating again in the same process compiles nothing: tasks and algorithms of ours
# are values (`make_task`, `make_algorithm`), and so is what is compiled of them.
_shared_engine = lru_cache(maxsize=8)(CompiledEngine)
_shared_programs = lru_cache(maxsize=8)(make_programs)
