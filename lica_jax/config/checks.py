"""What is checked of a configuration before anything compiles, all of it told at once."""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import Any

import numpy as np

from lica_jax.algorithms import algorithm_names, find_algorithm
from lica_jax.config.schema import TrainConfig, invalid, iterations_per_chunk, steps_per_iteration
from lica_jax.envs.registry import task_plugin
from lica_jax.types import MANY, Number, TaskSpec, numbers


def resolve(config: TrainConfig, spec: TaskSpec) -> TrainConfig:
    """Fills in what the task decides, then checks everything; raises one ``UserError``."""
    config = filled_in(config, spec)
    found = problems(config, spec)
    if found:
        raise invalid(found)
    return config


def filled_in(config: TrainConfig, spec: TaskSpec) -> TrainConfig:
    """A configuration with what the task decides."""
    hp, timeout = config.hp, config.timeout_is_terminal
    if getattr(hp, "reward_scale", 0) is None:
        hp = dataclasses.replace(hp, reward_scale=spec.reward_scale)
    hp = with_ends(hp)
    if timeout is None:
        timeout = spec.timeout_is_terminal
    foreign = [find_algorithm(config.algorithm).plugin, task_plugin(config.task)]
    plugins = dict.fromkeys([*config.plugins, *filter(None, foreign)])
    known = [p for p in plugins if not any(p != q and q.startswith(p + ".") for q in plugins)]
    return dataclasses.replace(config, hp=hp, timeout_is_terminal=timeout, plugins=tuple(known))


def with_ends(hp: Any) -> Any:
    """Numbers whose schedules end where they start, unless another end is said."""
    for name, facts in numbers(hp).items():
        if facts.start and getattr(hp, name) is None:
            hp = dataclasses.replace(hp, **{name: getattr(hp, facts.start)})
    return hp


def reward_scale(config: TrainConfig, spec: TaskSpec) -> float:
    """The factor on rewards that a resolved run learns with."""
    return getattr(config.hp, "reward_scale", spec.reward_scale)


def problems(config: TrainConfig, spec: TaskSpec) -> list[str]:
    """Everything wrong with a configuration, one line each with the value and what is allowed."""
    out = _count_problems(config) + _seed_problems(config.seeds)
    out += [] if out else _budget_problems(config, spec)
    out += _action_problems(config, spec)
    algo = config.algo
    own = getattr(algo, "problems", None)  # an algorithm of somebody's own may have none
    out += own(spec, config.collect) if own else range_problems(algo, "algo.")
    return out + hparam_problems(config.hp)


def _count_problems(config: TrainConfig) -> list[str]:
    collect = config.collect
    out = []
    if collect.mode not in ("episode", "steps"):
        out.append(f'collect.mode must be "episode" or "steps", got {collect.mode!r}')
    groups = {"collect.": collect, "eval.": config.eval, "checkpoint.": config.checkpoint}
    for prefix, group in ({"": config} | groups).items():
        out += range_problems(group, prefix)
    return out


def range_problems(group: Any, prefix: str) -> list[str]:
    """Numbers of a group of settings that are not finite or out of range."""
    out = []
    for name, facts in numbers(group).items():
        value = getattr(group, name)
        if type(value) in (int, float):
            out += _out_of_range(prefix + name, value, facts)
    return out


def _out_of_range(name: str, value: float, facts: Number) -> list[str]:
    # What the arrays of a run hold: int32 and float32, where nothing else is said.
    largest = MANY if isinstance(value, int) else float(np.finfo(np.float32).max)
    low, high = facts.low, facts.high
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{name} must be a finite number, got {value}"]
    if high is None and abs(value) > largest:
        return [f"{name} must be at most {largest:.10g}, got {value}"]
    if (low is not None and value < low) or (high is not None and value > high):
        return [f"{name} must be {_wanted(low, high, value)}, got {value}"]
    return []


def _seed_problems(seeds: tuple[int, ...]) -> list[str]:
    out = []
    if not seeds:
        out.append("seeds must name at least one seed")
    elif len(set(seeds)) < len(seeds):
        out.append(f"seeds must differ, got {list(seeds)}")
    for seed in seeds:
        if not 0 <= seed < 2**31:
            out.append(f"a seed must be within 0 and 2^31 - 1, got {seed}")
    return out


def _budget_problems(config: TrainConfig, spec: TaskSpec) -> list[str]:
    out = []
    one = steps_per_iteration(config.collect, spec)
    if config.total_steps < one:
        out.append(
            f"total_steps must be at least one iteration, {one} env steps "
            f"({config.collect.envs} environments), got {config.total_steps}"
        )
    # Up to half of the slots are resets, where episodes last a step; whole ones last one at least.
    least = config.collect.envs * (1 if config.collect.mode == "episode" else config.collect.length)
    if 2 * config.total_steps // least >= 2**31:
        out.append(
            f"total_steps {config.total_steps:,} may take more updates than can be counted, 2^31: "
            "collect.envs must be larger"
        )
    if config.total_steps + one * iterations_per_chunk(config, spec) >= 2**32:
        out.append(
            f"total_steps and log_interval together must be below 2^32, got "
            f"{config.total_steps} and {config.log_interval}"
        )
    return out


def _action_problems(config: TrainConfig, spec: TaskSpec) -> list[str]:
    kind = "continuous" if spec.continuous else "discrete"
    if kind in find_algorithm(config.algorithm).actions:
        return []
    able = [name for name in algorithm_names() if kind in find_algorithm(name).actions]
    other = "discrete actions" if spec.continuous else "continuous actions"
    return [
        f"{config.algorithm} chooses among {other}; {spec.name} has {kind} ones: "
        f"use {', '.join(able)}"
    ]


def hparam_problems(hp: Any) -> list[str]:
    """Hyper-parameters that are not finite or out of range."""
    out = []
    facts_of, hints = numbers(hp), typing.get_type_hints(type(hp))
    for name, facts in facts_of.items():
        value = getattr(hp, name)
        if facts.start and value == getattr(hp, facts.start):
            continue  # said of the start
        if value is not None or type(None) not in typing.get_args(hints[name]):
            out += _out_of_range(f"hp.{name}", value, facts)
    for name, facts in facts_of.items():
        start = getattr(hp, facts.start) if facts.start else 1
        if facts.steps and getattr(hp, name) != start and getattr(hp, facts.steps) == 0:
            out.append(f"hp.{name} needs hp.{facts.steps}, over which to go there")
    return out


def _wanted(low: float | None, high: float | None, value: float) -> str:
    """The range in words; one side of it where the other is out of sight."""
    if low is None or (high is not None and high > 1000 and value > high):
        return f"at most {high:,}"
    return f"at least {low:g}" if high is None or high > 1000 else f"within {low} and {high}"
