"""The files a run leaves behind when it ends."""

from __future__ import annotations

import operator
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int, PyTree

from lica_jax.files import write_json, write_whole
from lica_jax.policy import kept_critics, origin, save_critic, save_policy
from lica_jax.runs import directory
from lica_jax.runs.best import Best
from lica_jax.runs.names import CURVE
from lica_jax.runs.plan import Plan
from lica_jax.types import Algorithm, TaskSpec


def export_runs(
    plan: Plan, spec: TaskSpec, summary: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    """Writes ``learning_curve.png``, and ``result.json``, which says that a run is over: last."""
    from lica_jax.runs.learning_curve import run_curve

    config, run_dir = plan.config, plan.run_dir
    write_whole(run_dir / CURVE, run_curve(config, spec, rows, summary["random"]))
    write_json(run_dir / directory.RESULT, summary)


def export_policies(
    plan: Plan, spec: TaskSpec, chosen: int, best: Best, last: PyTree, env_steps: Int[Array, " R"]
) -> None:
    """Writes the policies.

    ``policy.safetensors`` is the best policy of run ``chosen`` and ``policy_last.safetensors`` its
    last one; with several runs each has a ``policy_seed<k>.safetensors`` and a
    ``policy_last_seed<k>.safetensors`` (``policy_run<i>``, ``policy_last_run<i>``) of its own
    beside them. The last policy of a run whose loss became non-finite is its last sound one.

    Args:
      last, env_steps: of all runs, parameters and where they stand.
    """
    config = plan.config
    scores = np.asarray(best.score)
    kinds = {
        directory.POLICY: (best.params, np.asarray(best.env_steps), "best"),
        directory.POLICY_LAST: (last, np.asarray(env_steps), "last"),
    }
    for alone, (params, steps, which) in kinds.items():
        names = {alone: chosen}
        if len(plan.runs) > 1:
            stem = alone.removesuffix(".safetensors")
            names |= {f"{stem}_{name}.safetensors": i for i, name in enumerate(plan.names)}
        params = jax.device_get(params)
        for name, i in names.items():
            score = {"score": float(scores[i])} if which == "best" else {}
            save_policy(
                plan.run_dir / name, jax.tree.map(operator.itemgetter(i), params),
                algorithm=config.algorithm, config=config.algo, hp=plan.runs[i].hp, spec=spec,
                seed=plan.runs[i].seed, env_steps=int(steps[i]), which=which, **score,
                **origin(config, spec),
            )  # fmt: skip


def export_critics(
    plan: Plan, algo: Algorithm, chosen: int, learner: PyTree, env_steps: Int[Array, " R"]
) -> None:
    """Writes the critic of run ``chosen`` as ``critic.safetensors``, and with several runs each as
    ``critic_seed<k>.safetensors`` (``critic_run<i>``), as far as they are small enough."""
    names = {directory.CRITIC: chosen}
    if len(plan.runs) > 1:
        stem = directory.CRITIC.removesuffix(".safetensors")
        names |= {f"{stem}_{name}.safetensors": i for i, name in enumerate(plan.names)}
    steps = np.asarray(env_steps)
    for name, critic in kept_critics(algo, learner, names).items():
        i = names[name]
        seed, algorithm = plan.runs[i].seed, plan.config.algorithm
        save_critic(plan.run_dir / name, critic, algorithm, seed, int(steps[i]))
