"""What a session came to, as ``result.json`` holds it."""

from __future__ import annotations

from typing import Any

import numpy as np

from lica_jax.config import reward_scale
from lica_jax.runs.best import Best
from lica_jax.runs.plan import Plan
from lica_jax.runs.state import Counters
from lica_jax.training.evaluation import score
from lica_jax.types import TaskSpec

Summary = dict[str, dict[str, Any]]  # {"greedy": figures, "sampled": figures}, of one run


def describe(
    plan: Plan, spec: TaskSpec, counters: Counters, best: Best, random: Any, *,
    interrupted: bool, genuine: bool,
) -> dict[str, Any]:  # fmt: skip
    """What is known without a last evaluation; lists have an entry for every run."""
    config = plan.config
    return {
        "algorithm": config.algorithm, "task": config.task, "task_source": spec.source,
        "seeds": plan.seeds, **({"runs": plan.labels} if plan.numbered else {}),
        "env_steps": counters.env_steps.tolist(), "updates": counters.updates.tolist(),
        "overrun_steps": np.maximum(counters.env_steps - config.total_steps, 0).tolist(),
        "failed_at_update": [int(u) if u >= 0 else None for u in counters.failed_at],
        "reward_scale": reward_scale(config, spec), "random": random, "interrupted": interrupted,
        **({} if genuine else {"test_double": True}),
        **_best(plan, np.asarray(best.score)),
    }  # fmt: skip


def final_figures(
    plan: Plan, spec: TaskSpec, best: Best, last: list[Summary], absolute: list[Summary]
) -> dict[str, Any]:
    """The last policies and the best ones (the absolute metric), on fresh episodes."""
    steps = np.asarray(best.env_steps)
    ranking = [score(figures["greedy"], spec) for figures in absolute]
    return _best(plan, ranking) | {
        "final": last,
        "best": [dict(figures, env_steps=int(steps[i])) for i, figures in enumerate(absolute)],
    }


def of_run(summary: dict[str, Any], random: list[Any] | None, i: int) -> dict[str, Any]:
    """The summary of run ``i`` by itself, as it is where it is trained alone; ``random``: every
    run's figures of the random policy."""
    own = {k: v for k, v in summary.items() if k not in ("runs", "best_run")}
    lists = ("seeds", "env_steps", "overrun_steps", "updates", "failed_at_update", "final", "best")
    for name in lists:
        if name in own:
            own[name] = [own[name][i]]
    return own | {"best_seed": own["seeds"][0], "random": random and random[i]}


def _best(plan: Plan, scores: Any) -> dict[str, int]:
    """Which run has the best policy."""
    i = int(np.argmax(scores))
    return {"best_seed": plan.seeds[i], **({"best_run": i} if plan.numbered else {})}


def best_run(summary: dict[str, Any]) -> int:
    """The number of the run that a summary calls the best."""
    if "best_run" in summary:
        return summary["best_run"]
    return summary["seeds"].index(summary["best_seed"])
