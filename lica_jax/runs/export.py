"""The files a run leaves behind when it ends."""

from __future__ import annotations

import operator
from typing import Any

import jax
import numpy as np

from lica_jax.files import write_json
from lica_jax.policy import origin, save_policy
from lica_jax.runs import directory
from lica_jax.runs.best import Best
from lica_jax.runs.plan import Plan
from lica_jax.runs.summary import best_run
from lica_jax.types import TaskSpec


def export_runs(
    plan: Plan, spec: TaskSpec, summary: dict[str, Any], rows: list[dict[str, Any]], best: Best
) -> None:
    """Writes ``result.json``, ``learning_curve.png`` and the policies.

    ``policy.safetensors`` is the best policy of the best run; with several each has a
    ``policy_seed<k>.safetensors`` (``policy_run<i>``) of its own beside it.
    """
    from lica_jax.runs.learning_curve import run_curve

    config, run_dir = plan.config, plan.run_dir
    write_json(run_dir / directory.RESULT, summary)
    curve = run_curve(config, spec, rows, summary["random"])
    (run_dir / "learning_curve.png").write_bytes(curve)

    scores, env_steps = np.asarray(best.score), np.asarray(best.env_steps)
    names = {directory.POLICY: best_run(summary)}
    if len(plan.runs) > 1:
        names |= {f"policy_{name}.safetensors": i for i, name in enumerate(plan.names)}
    params = jax.device_get(best.params)
    for name, i in names.items():
        save_policy(
            run_dir / name, jax.tree.map(operator.itemgetter(i), params),
            algorithm=config.algorithm, config=config.algo, hp=plan.runs[i].hp, spec=spec,
            seed=plan.runs[i].seed, env_steps=int(env_steps[i]), score=float(scores[i]),
            **origin(config, spec),
        )  # fmt: skip
