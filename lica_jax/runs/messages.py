"""What a run says in words. Pure functions from figures to text."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax.config.schema import TrainConfig, iterations_per_chunk, steps_per_iteration
from lica_jax.types import TaskSpec

Summary = dict[str, dict[str, Any]]  # {"greedy": figures, "sampled": figures}, of one seed


def percent(x: float) -> str:
    return f"{100 * x:.1f} %"


def start(config: TrainConfig, spec: TaskSpec, run_dir: Path | None, done: int) -> str:
    collect = config.collect
    per_update = (
        f"{collect.envs} environments x {collect.length} steps"
        if collect.mode == "steps"
        else f"{collect.envs} episodes"
    )
    actions = (
        f"{spec.n_actions}-dimensional actions"
        if spec.continuous
        else (f"{spec.n_actions} actions")
    )
    verb = f"resuming at {done:,} of" if done else "training"
    lines = [
        f"{config.algorithm} on {config.task} ({spec.source}): {verb} {config.total_steps:,} "
        f"env steps, seeds {list(config.seeds)}, preset {config.preset!r}",
        f"  {spec.n_agents} agents, {actions}, limit {spec.episode_limit}; {per_update} per update",
        f"  rewards {_scaled(config.hp.reward_scale)}, returns unscaled"
        + ("" if spec.max_return is None else f" (at most {spec.max_return:g})"),
    ]
    chunk = steps_per_iteration(collect, spec) * iterations_per_chunk(config, spec)
    if chunk > min(config.total_steps, config.eval.interval):
        lines.append(
            f"  the run ends and is evaluated between compiled calls of {chunk:,} env steps only; "
            "a smaller log_interval makes them shorter"
        )
    return "\n".join(lines + ([f"  files in {run_dir}"] if run_dir else []))


def _scaled(factor: float) -> str:
    return "as they are" if factor == 1 else f"x{factor:g} for learning"


def figures(summaries: list[Summary], spec: TaskSpec) -> str:
    """``greedy win rate 50.0 %, sampled win rate ...``: means over seeds."""

    def mean(mode: str, key: str) -> float:
        values = [s[mode][key] for s in summaries if s[mode][key] is not None]
        return float(np.mean(values)) if values else float("nan")

    modes = ("greedy", "sampled")
    wins = [f"{m} win rate {percent(mean(m, 'win_rate'))}" for m in modes] if spec.has_win else []
    return ", ".join(wins + [f"{m} return {mean(m, 'return_mean'):.3g}" for m in modes])


def random_policy(figures: dict[str, Any], spec: TaskSpec) -> str:
    """The uniformly random policy's figure, for comparison."""
    what = f"win rate {percent(figures['win_rate'])}, " if spec.has_win else ""
    return f"{what}return {figures['return_mean']:.3g}"


def failed(seed: int, update: int, env_steps: int) -> str:
    return (
        f"seed {seed}: the loss is not finite at update {update} (env step {env_steps:,}); "
        "this seed stops, its last sound parameters are kept"
    )


def stopped(number: int, env_steps: int, run_dir: Path | None) -> str:
    text = f"stopped by {signal.Signals(number).name} at {env_steps:,} env steps"
    if run_dir is None:
        return text + "; without a run directory nothing is kept"
    return f"{text}; {resume(run_dir)}"


def resume(run_dir: Path) -> str:
    return f"continue with: lica-jax train --resume --run-dir {run_dir}"
