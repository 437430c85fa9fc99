"""What a plan is going to take, before anything is compiled or written: ``train --dry-run``."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from lica_jax.config import steps_per_iteration
from lica_jax.machine import gib
from lica_jax.runs import directory, messages
from lica_jax.runs.best import Best
from lica_jax.runs.plan import Plan
from lica_jax.runs.saver import Arrays
from lica_jax.training.memory import available_bytes, tree_bytes


@dataclasses.dataclass(frozen=True)
class Outlook:
    """A plan in numbers; counts are of one run, from its beginning, and bytes of all runs.

    Attributes:
      steps_per_update, steps_per_call: the most env steps of one update, of one compiled call.
      updates: at least as many in the whole budget; more where episodes end and reset.
      evaluations: periodic ones, the one before training and the one at the end included.
      programs: what is compiled.
      memory: bytes of the large arrays by name.
      free: bytes of memory that are free; None where nothing tells.
      parameters: of one policy, and of one learner with its optimisers and targets.
      checkpoint_bytes: of one checkpoint, about.
    """

    steps_per_update: int
    steps_per_call: int
    updates: int
    evaluations: int
    programs: tuple[str, ...]
    memory: dict[str, int]
    free: int | None
    parameters: tuple[int, int]
    checkpoint_bytes: int


def outlook(plan: Plan) -> Outlook:
    """Counts what a plan is going to do; compiles and writes nothing."""
    config = plan.config
    per_update = steps_per_iteration(config.collect, plan.task.spec)
    apart = max(config.eval.interval, plan.chunk_steps)  # calls are not interrupted
    states = jax.eval_shape(lambda: plan.engine.init(plan.keys))
    params = plan.algo.policy(states.learner)
    best = jax.eval_shape(lambda p: Best.before_training(p, len(plan.runs)), params)
    n = len(plan.runs)
    return Outlook(
        steps_per_update=per_update, steps_per_call=plan.chunk_steps,
        updates=-(-config.total_steps // plan.chunk_steps) * plan.iterations,
        evaluations=1 + -(-config.total_steps // apart), programs=plan.engine.programs,
        memory=plan.memory, free=available_bytes(),
        parameters=(_numbers(params) // n, _numbers(states.learner) // n),
        checkpoint_bytes=tree_bytes(Arrays(states, best)),
    )  # fmt: skip


def _numbers(tree: Any) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))


def in_words(plan: Plan) -> str:
    """What `outlook` found, in lines."""
    config, spec, seen = plan.config, plan.task.spec, outlook(plan)
    goes_on = plan.resume and directory.checkpoints(plan.run_dir)
    free = "" if seen.free is None else f" of {gib(seen.free)} free"
    policy, learner = seen.parameters
    lines = [
        messages.start(plan, spec, 0),
        f"  obs {spec.obs_size}, state {spec.state_size}; {policy:,} numbers in a policy, "
        f"{learner:,} in a learner",
        f"  {seen.steps_per_update:,} env steps per update and "
        f"{seen.steps_per_call:,} per compiled call, at most; at least {seen.updates:,} updates",
        f"  {len(seen.programs)} programs: {', '.join(seen.programs)}",
        f"  about {seen.evaluations:,} evaluations of {config.eval.episodes:,} episodes per mode; "
        f"{config.eval.final_episodes:,} of the random, the last and the best policy",
        f"  memory: about {gib(sum(seen.memory.values()))}{free}",
        *(f"    {gib(size):>10}  {name.rstrip(',')}" for name, size in seen.memory.items()),
        f"  {_checkpoints(plan, seen)}",
    ]
    if goes_on:
        lines.append(f"  goes on from the checkpoint of update {max(goes_on):,}")
    return "\n".join([*lines, "nothing has been compiled or written"])


def _checkpoints(plan: Plan, seen: Outlook) -> str:
    if plan.run_dir is None:
        return "no checkpoints: there is no run directory"
    every, keep = plan.config.checkpoint.every_seconds, plan.config.checkpoint.keep
    often = f"every {every:g} s" if every else "after every call"
    return (
        f"checkpoints of {gib(seen.checkpoint_bytes)} before training, {often}, of every best "
        f"policy and at the end; the latest {keep} and the best are kept"
    )
