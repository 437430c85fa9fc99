"""The files a run leaves behind when it ends."""

from __future__ import annotations

import operator
import textwrap
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lica_jax.config.schema import TrainConfig
from lica_jax.policy import save_policy
from lica_jax.runs.checkpoint import write_json
from lica_jax.runs.learning_curve import plot_learning_curve
from lica_jax.types import TaskSpec

PyTree = Any


def export_run(
    run_dir: Path, config: TrainConfig, spec: TaskSpec, summary: dict[str, Any],
    rows: list[dict[str, Any]], best: dict[str, PyTree],
) -> None:  # fmt: skip
    """Writes ``result.json``, ``learning_curve.png`` and the policies.

    ``policy.safetensors`` is the best policy of the best seed; with several seeds each has a
    ``policy_seed<k>.safetensors`` of its own beside it.
    """
    write_json(run_dir / "result.json", summary)
    key = "win_rate" if spec.has_win else "return_mean"
    baseline = summary["random"][key] if summary["random"] else None  # stopped before it was played
    title = textwrap.fill(f"{config.algorithm} on {config.task} ({spec.source})", 60)
    plot_learning_curve(run_dir / "learning_curve.png", rows, title, baseline)

    scores, env_steps = np.asarray(best["score"]), np.asarray(best["env_steps"])
    names = {"policy": config.seeds.index(summary["best_seed"])}
    if len(config.seeds) > 1:
        names |= {f"policy_seed{seed}": i for i, seed in enumerate(config.seeds)}
    params = jax.device_get(best["params"])
    for name, i in names.items():
        save_policy(
            run_dir / f"{name}.safetensors", jax.tree.map(operator.itemgetter(i), params),
            algorithm=config.algorithm, config=config.algo, hp=config.hp, spec=spec,
            seed=config.seeds[i], env_steps=int(env_steps[i]), score=float(scores[i]),
        )  # fmt: skip
