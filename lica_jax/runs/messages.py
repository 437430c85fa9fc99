"""What a session says in words. Pure functions from figures to text."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax.config import TrainConfig, load_config, reward_scale
from lica_jax.config.checks import filled_in
from lica_jax.errors import UserError
from lica_jax.files import as_word
from lica_jax.runs.names import MODES
from lica_jax.runs.plan import Plan
from lica_jax.runs.state import Counters
from lica_jax.runs.summary import Summary
from lica_jax.types import TaskSpec, numbers

LARGE_OVERRUN = 0.05  # of the budget


def percent(x: float) -> str:
    return f"{100 * x:.1f} %"


def starting_games(config: TrainConfig) -> str:
    return f"starting {config.collect.envs} games of {config.task} ..."


def start(plan: Plan, spec: TaskSpec, done: int) -> str:
    """What is going to be trained, and how; ``done`` env steps have been."""
    config, collect = plan.config, plan.config.collect
    per_update = (
        f"{collect.envs} environments x {collect.length} steps"
        if collect.mode == "steps"
        else f"{collect.envs} episodes"
    )
    kind = "-dimensional actions" if spec.continuous else " actions"
    verb = f"resuming at {done:,} of" if done else "training"
    lines = [
        f"{config.algorithm} on {config.task} ({spec.source}): {verb} {config.total_steps:,} "
        f"env steps, {_runs(plan)}, preset {config.preset!r}",
        f"  {spec.n_agents} agents, {spec.n_actions}{kind}, limit {spec.episode_limit}; "
        f"{per_update} per update",
        f"  rewards {_scaled(reward_scale(config, spec))}, returns unscaled"
        + ("" if spec.max_return is None else f" (at most {spec.max_return:g})"),
    ]
    if plan.chunk_steps > min(config.total_steps, config.eval.interval):
        lines.append(
            f"  the run ends and is evaluated between compiled calls of {plan.chunk_steps:,} env "
            "steps only; a smaller log_interval makes them shorter"
        )
    lines += [f"  {text}" for text in without_effect(config, spec)]
    if not (done or plan.called):
        lines += [f"  {text}" for text in single_seed(plan.seeds)]
    return "\n".join(lines + ([f"  files in {plan.run_dir}"] if plan.run_dir else []))


def single_seed(seeds: Sequence[int]) -> list[str]:
    """What to say where somebody may have meant a number of seeds."""
    if len(seeds) != 1 or seeds[0] < 2:
        return []
    (seed,) = seeds
    return [f"one run, of seed {seed}; {seed} runs are seeds 0:{seed}"]


def idle(config: TrainConfig, spec: TaskSpec) -> dict[str, tuple[str, ...]]:
    """`Settings.idle` of a run's settings, if its algorithm has that, and the durations of
    schedules that end where they start."""
    algo, hp = config.algo, config.hp
    out = dict(algo.idle(spec, hp)) if hasattr(algo, "idle") else {}
    for name, facts in numbers(hp).items():
        start = getattr(hp, facts.start) if facts.start else 1
        if facts.steps and getattr(hp, name) in (None, start):
            same = f", the same as hp.{facts.start}" if facts.start else ""
            out[f"hp.{name} {start:g}{same}"] = (f"hp.{facts.steps}",)
    return out


def without_effect(config: TrainConfig, spec: TaskSpec) -> list[str]:
    """Settings that somebody has set and that change nothing beside the others, in words."""
    out, preset = [], _preset(config, spec)
    for reason, names in idle(config, spec).items():
        said = [
            f"{name} {value}"
            for name in names
            if (value := _changed(config, name)) not in (None, _value(preset, name))
        ]
        if said:
            verb = "has" if len(said) == 1 else "have"
            out.append(f"{', '.join(said)} {verb} no effect with {reason}")
    return out


def _preset(config: TrainConfig, spec: TaskSpec) -> TrainConfig | None:
    """What the run's preset says by itself; None where it is there no more."""
    try:
        return filled_in(load_config(config.algorithm, config.task, preset=config.preset), spec)
    except UserError:
        return None


def _value(config: TrainConfig | None, name: str) -> Any:
    return config and attrgetter(name)(config)


def _changed(config: TrainConfig, name: str) -> Any:
    """The value of a setting, such as ``hp.gamma``, that is neither its default nor, at the end of
    a schedule, where that starts; else None."""
    group, _, field = name.rpartition(".")
    values = attrgetter(group)(config) if group else config
    facts, value = numbers(values)[field], getattr(values, field)
    default = type(values).__dataclass_fields__[field].default
    usual = getattr(values, facts.start) if facts.start else default
    return None if value == usual else value


def _runs(plan: Plan) -> str:
    if plan.swept:
        names = ", ".join(f"hp.{name}" for name in plan.swept)
        return f"{len(plan.runs)} runs that differ in {names}"
    return f"seeds {plan.seeds}"


def _scaled(factor: float) -> str:
    return "as they are" if factor == 1 else f"x{factor:g} for learning"


def figures(summaries: Sequence[Summary], spec: TaskSpec) -> str:
    """``greedy win rate 50.0 %, sampled win rate ...``: means over runs."""

    def mean(mode: str, key: str) -> float:
        values = [s[mode][key] for s in summaries if s[mode][key] is not None]
        return float(np.mean(values)) if values else float("nan")

    wins = [f"{m} win rate {percent(mean(m, 'win_rate'))}" for m in MODES] if spec.has_win else []
    return ", ".join(wins + [f"{m} return {mean(m, 'return_mean'):.3g}" for m in MODES])


def evaluated(env_steps: int, summaries: Sequence[Summary], spec: TaskSpec) -> str:
    return f"  eval at {env_steps / 1e3:,.0f}k: {figures(summaries, spec)}"


def random_figures(figures: dict[str, Any], spec: TaskSpec) -> str:
    """The uniformly random policy's figures, for comparison."""
    what = f"win rate {percent(figures['win_rate'])}, " if spec.has_win else ""
    return f"{what}return {figures['return_mean']:.3g}"


def random_policy(figures: dict[str, Any], spec: TaskSpec) -> str:
    kind = "nearly uniform" if spec.continuous else "uniformly random"
    return f"  {kind} policy: {random_figures(figures, spec)} ({figures['episodes']} episodes)"


def final(
    plan: Plan, spec: TaskSpec, env_steps: int, last: Sequence[Summary], best: Sequence[Summary],
    random: dict[str, Any], best_steps: Sequence[int],
) -> str:  # fmt: skip
    """The last lines of a run that has come to its end; ``best_steps``: when each run's best policy
    was that."""
    n = last[0]["greedy"]["episodes"]
    what = "runs" if plan.numbered else "seeds"
    several = f", mean of {len(plan.runs)} {what}" if len(plan.runs) > 1 else ""
    return (
        f"after {env_steps:,} env steps ({n} episodes per mode{several}):\n"
        f"  last policy:   {figures(last, spec)}\n"
        f"  best policy:   {figures(best, spec)}{_untrained(best_steps, what)}\n"
        f"  random policy: {random_figures(random, spec)}"
    )


def _untrained(best_steps: Sequence[int], what: str) -> str:
    """Where no evaluation was better than the one before training."""
    n = sum(steps == 0 for steps in best_steps)
    if not n:
        return ""
    where = f" of {n} of {len(best_steps)} {what}" if len(best_steps) > 1 else ""
    return f" (the untrained one{where}: no later evaluation was better)"


def failed(plan: Plan, counters: Counters, i: int) -> str:
    """Run ``i`` of a plan has stopped for good."""
    title = titles(plan)[i]
    return (
        f"{title}: the loss is not finite at update {counters.failed_at[i]} (env step "
        f"{counters.env_steps[i]:,}); this {title.partition(' ')[0]} stops, its last sound "
        "parameters are kept"
    )


def titles(plan: Plan) -> Sequence[str]:
    """What the runs are called."""
    return plan.called or [named(label) for label in plan.labels]


def named(label: dict[str, Any]) -> str:
    """``seed 3``, or ``run 2 (seed 0, hp.entropy_coef 0.1)``."""
    if "run" not in label:
        return f"seed {label['seed']}"
    rest = ", ".join(f"{key} {value}" for key, value in label.items() if key != "run")
    return f"run {label['run']} ({rest})"


def all_failed(plan: Plan, counters: Counters) -> str:
    where = ", ".join(
        f"{title} at update {update}"
        for title, update in zip(titles(plan), counters.failed_at, strict=True)
    )
    kept = f"; the last checkpoint in {plan.run_dir} is kept" if plan.run_dir else ""
    kind = "run" if plan.numbered else "seed"
    return f"the loss of every {kind} became non-finite ({where}){kept}"


def overrun(plan: Plan, counters: Counters, begun: int) -> str:
    """How far runs went beyond their budget, and why; nothing where that is little, where a
    shorter chunk would not have helped, or where the session began (at ``begun`` env steps) behind
    it: a stopped run that is ended where it is."""
    total = plan.config.total_steps
    if begun >= total:
        return ""
    steps = int(counters.env_steps.max()) - total
    if steps <= max(plan.chunk_steps // plan.iterations, LARGE_OVERRUN * total):
        return ""
    return (
        f"{steps:,} env steps more than the {total:,} asked for: a run ends between compiled calls "
        f"of at most {plan.chunk_steps:,} env steps; a smaller log_interval makes them shorter"
    )


def stopped(number: int, env_steps: int, run_dir: Path | None) -> str:
    text = f"stopped by {signal.Signals(number).name} at {env_steps:,} env steps"
    if run_dir is None:
        return text + "; without a run directory nothing is kept"
    return f"{text}; {resume(run_dir)}"


def exit_by(number: int, run_dir: Path | None) -> BaseException:
    """What ends the program after a signal: ``KeyboardInterrupt``, which says how somebody in a
    notebook comes to what there is by then, or ``SystemExit``."""
    if number != signal.SIGINT:
        return SystemExit(128 + number)
    if run_dir is None:
        return KeyboardInterrupt(
            'nothing was kept: train with run_dir=..., or with on_signal="return", which returns '
            "the result so far"
        )
    return KeyboardInterrupt(
        f"load_result({str(run_dir)!r}, unfinished=True) is the result so far; "
        f"train(run_dir={str(run_dir)!r}, resume=True) goes on"
    )


def stopped_by(reason: str, plan: Plan) -> str:
    """A callback ended the run."""
    more = f"; {resume(plan.run_dir)}" if plan.run_dir else ""
    return f"stopped by {reason}, of a budget of {plan.config.total_steps:,}{more}"


def resume(run_dir: Path) -> str:
    return f"continue with: lica-jax train --resume --run-dir {as_word(run_dir)}"


def begin(run_dir: Path) -> str:
    return f"continue with: the same command; nothing was kept in {run_dir}, so it begins anew"


def anew(run_dir: Path) -> str:
    """A run begins where another one was broken off."""
    return f"{run_dir} holds a run that ended before its first checkpoint: beginning anew"


def replays(n_written: int, n_games: int, folder: Path, problem: str) -> str:
    text = f"{n_written} of {n_games} replays are in {folder}"
    return text + (f": {problem}" if problem else "")
