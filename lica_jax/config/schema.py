"""What a run is: frozen dataclasses, presets, and checks that happen before anything compiles."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from lica_jax.algorithms import REGISTRY, algorithm_module
from lica_jax.envs import plain_name
from lica_jax.errors import UserError, unknown
from lica_jax.types import Collect, TaskSpec

AlgoConfig = TypeVar("AlgoConfig")
HParams = TypeVar("HParams")

DEFAULT_PRESET = "fast"
MAX_EPISODES = 1_000_000  # of one evaluation; their figures are kept until its end


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation, greedy and sampled.

    Attributes:
      interval: env steps between evaluations (of one run).
      episodes: episodes per evaluation and mode.
      final_episodes: episodes per mode of the last evaluation, of the best policy's and of the
        random policy's.
      save_replay: store the game's own replay files in the run directory (``smac/`` tasks).
    """

    interval: int = 50_000
    episodes: int = 128
    final_episodes: int = 512
    save_replay: bool = False


@dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints.

    Attributes:
      every_seconds: shortest time between two checkpoints; 0 writes one after every chunk. Longer
        where writing one takes more than a tenth of it (a large replay).
      keep: how many of the latest to keep, beside the best.
    """

    every_seconds: float = 30.0
    keep: int = 2


@dataclass(frozen=True)
class TrainConfig(Generic[AlgoConfig, HParams]):
    """A training run, or several that differ in their seed only.

    Attributes:
      algorithm: registered algorithm name.
      task: registered task name.
      algo: the algorithm's static choices.
      hp: the algorithm's traced numbers.
      preset: the preset these values started from, with ablations: ``"paper+mlp_critic"``.
      seeds: one run each, trained together.
      total_steps: env steps of each run.
      collect: how experience is gathered.
      timeout_is_terminal: whether reaching the episode limit is a terminal state; None takes the
        task's own convention.
      log_interval: env steps between two rows of metrics, about; one compiled call covers them.
      eval: evaluation.
      checkpoint: checkpoints.
    """

    algorithm: str
    task: str
    algo: AlgoConfig
    hp: HParams
    preset: str = DEFAULT_PRESET
    seeds: tuple[int, ...] = (0,)
    total_steps: int = 1_000_000
    collect: Collect = field(default_factory=Collect)
    timeout_is_terminal: bool | None = None
    log_interval: int = 10_000
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)


# What may differ between a run and its resumption: none of it changes what has been computed.
RESUMABLE = ("total_steps", "eval", "checkpoint")


def steps_per_iteration(collect: Collect, spec: TaskSpec) -> int:
    """The most env steps one collection can take."""
    return collect.envs * (collect.length if collect.mode == "steps" else spec.episode_limit)


def iterations_per_chunk(config: TrainConfig, spec: TaskSpec) -> int:
    """Iterations in one compiled call. Depends on nothing that a resumed run may change."""
    return max(1, config.log_interval // steps_per_iteration(config.collect, spec))


def load_config(
    algorithm: str, task: str, *, preset: str = DEFAULT_PRESET, **overrides: Any
) -> TrainConfig:
    """The configuration of a run: defaults, then the preset's values, then ``overrides``.

    Overrides are fields of ``TrainConfig``; nested ones are mappings or dataclasses, for example
    ``hp={"entropy_coef": 0.1}``.
    """
    for name, text in (("algorithm", algorithm), ("task", task), ("preset", preset)):
        if not isinstance(text, str):
            raise UserError(f"{name} must be a name, got {text!r}")
    module = algorithm_module(algorithm)
    base = TrainConfig(algorithm, task, module.Config(), module.HParams(), preset=preset)
    return merge(merge(base, load_preset(preset, task, algorithm)), overrides)


def merge(config: Any, values: Mapping[str, Any] | Any, path: str = "") -> Any:
    """``config`` with the given fields replaced, recursively; unknown names raise ``UserError``."""
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        if type(values) is not type(config):
            wanted, got = (f"{type(x).__module__}.{type(x).__name__}" for x in (config, values))
            raise UserError(f"{path or 'the configuration'} must be a {wanted}, got a {got}")
        return values
    if not isinstance(values, Mapping):
        raise UserError(f"{path or 'the configuration'} must be a mapping, got {values!r}")
    names = {f.name for f in dataclasses.fields(config)}
    hints = typing.get_type_hints(type(config))
    changes = {}
    for name, value in values.items():
        full = f"{path}.{name}" if path else name
        if name not in names:
            raise unknown(
                "setting", full, (f"{path}.{n}" if path else n for n in _names(config)), ""
            )
        old = getattr(config, name)
        if dataclasses.is_dataclass(old):
            changes[name] = merge(old, value, full)
        else:
            changes[name] = _coerce(full, value, hints[name])
    return dataclasses.replace(config, **changes)


def _names(config: Any) -> list[str]:
    """Fields, nested ones with a dot."""
    out = []
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        inner = _names(value) if dataclasses.is_dataclass(value) else []
        out += [f"{f.name}.{name}" for name in inner] or [f.name]
    return out


def _coerce(name: str, value: Any, hint: Any) -> Any:
    """What YAML, JSON and Python callers naturally write, as the field's type (text 5e-4 too)."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        reasons = " or ".join(dict.fromkeys(e["msg"] for e in error.errors()))
        raise UserError(f"{name}: {reasons}, got {value!r}") from None


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """A JSON-ready dictionary; ``from_dict`` is its inverse."""
    return dataclasses.asdict(config)


def from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """The configuration written by ``to_dict``; raises ``UserError`` when it is not one."""
    try:
        algorithm, task, preset = values["algorithm"], values["task"], values["preset"]
    except (KeyError, TypeError):
        raise UserError("not a lica_jax configuration: algorithm, task or preset missing") from None
    if not all(isinstance(name, str) for name in (algorithm, task, preset)):
        raise UserError("not a lica_jax configuration: algorithm, task or preset is no name")
    module = algorithm_module(algorithm)
    base = TrainConfig(algorithm, task, module.Config(), module.HParams(), preset=preset)
    return merge(base, values)


# --- presets -------------------------------------------------------------------------------------


def presets_dir() -> Path:
    """The preset folder: inside the package in a wheel, beside it in a source checkout."""
    here = Path(__file__).resolve().parent.parent
    inside = here / "configs"
    return inside if inside.is_dir() else here.parent / "configs"


EVERY = "all"  # the file of a folder that is read for every algorithm
ABLATIONS = "ablations"  # the folder of changes that can be put on top of any preset


def preset_names() -> list[str]:
    return sorted(p.name for p in presets_dir().iterdir() if p.is_dir() and p.name != ABLATIONS)


def preset_coverage(preset: str) -> list[str]:
    """What a preset has values for: ``smax/: coma, qmix`` for every family of tasks."""
    folders: dict[str, set[str]] = {}
    for path in sorted((presets_dir() / preset).rglob("*.yaml")):
        family, *deeper = path.relative_to(presets_dir() / preset).parts
        if path.stem != EVERY:
            folders.setdefault(f"{family}/" if deeper else "", set()).add(path.stem)
    everywhere = folders.pop("", set())
    lines = [f"every task: {', '.join(sorted(everywhere))}"] if everywhere else []
    return lines + [
        f"{place}: {', '.join(sorted(names - everywhere))}"
        for place, names in folders.items()
        if names - everywhere
    ]


def ablation_names(algorithm: str) -> dict[str, str]:
    """Ablations of an algorithm, ``name -> one line about it`` (the file's first comment)."""
    files = sorted((presets_dir() / ABLATIONS / algorithm).glob("*.yaml"))
    return {p.stem: p.read_text().splitlines()[0].removeprefix("# ") for p in files}


def load_preset(preset: str, task: str, algorithm: str) -> dict[str, Any]:
    """The values of ``configs/<preset>/.../<algorithm>.yaml``, from general to specific.

    For task ``smax/3m`` the files ``<preset>/lica.yaml``, ``<preset>/smax/lica.yaml`` and
    ``<preset>/smax/3m/lica.yaml`` are read in this order, each one overriding the one before.
    In each folder ``all.yaml`` comes before the algorithm's own file.
    A file that says ``extends: vdn`` starts from the values of vdn.yaml beside it (``../smax/vdn``
    of that in another folder).
    ``paper+beta_0.13`` puts ``ablations/lica/beta_0.13.yaml`` on top; several may follow.
    """
    import yaml

    preset, *changes = preset.split("+")
    if preset not in preset_names():
        raise unknown("preset", preset, preset_names())
    known = ablation_names(algorithm)
    for change in changes:
        if change not in known:
            raise unknown(f"ablation of {algorithm}", change, known)
    folder = presets_dir() / preset
    merged: dict[str, Any] = {}
    found = False
    *parents, last = ("", *plain_name(task).split("/"))
    # A task of any number of agents takes what is written for its kind.
    for part in (*parents, re.sub(r"_n\d+", "", last)):
        folder = folder / part
        for name in (EVERY, algorithm):
            path = folder / f"{name}.yaml"
            if path.is_file():
                found = found or name == algorithm
                _deep_update(merged, _read_preset(path))
    if not found:
        raise UserError(
            f"preset {preset!r} has nothing for algorithm {algorithm!r} on {task!r}; it covers "
            + "; ".join(preset_coverage(preset))
        )
    said: dict[str, tuple[Any, str]] = {}
    for change in changes:
        values = yaml.safe_load(
            (presets_dir() / ABLATIONS / algorithm / f"{change}.yaml").read_text()
        )
        for name, value in _leaves(values):
            before, other = said.setdefault(name, (value, change))
            if before != value:
                raise UserError(
                    f"ablations {other} and {change} contradict each other: {name} would be "
                    f"{before!r} and {value!r}"
                )
        _deep_update(merged, values)
    return merged


def _read_preset(path: Path) -> dict[str, Any]:
    """A file's values on top of those of the file that its ``extends`` names, from its folder."""
    import yaml

    values = yaml.safe_load(path.read_text()) or {}
    base = values.pop("extends", None)
    merged = _read_preset(path.parent / f"{base}.yaml") if base else {}
    _deep_update(merged, values)
    return merged


def _leaves(values: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    out = []
    for name, value in values.items():
        inner = isinstance(value, Mapping)
        out += _leaves(value, f"{path}{name}.") if inner else [(path + name, value)]
    return out


def _deep_update(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _deep_update(into[name], value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value


# --- checks --------------------------------------------------------------------------------------


def resolve(config: TrainConfig, spec: TaskSpec) -> TrainConfig:
    """Fills in what the task decides, then checks everything; raises one ``UserError``."""
    hp, timeout = config.hp, config.timeout_is_terminal
    if hp.reward_scale is None:
        hp = dataclasses.replace(hp, reward_scale=spec.reward_scale)
    for start, final, _ in _ANNEALED:
        if getattr(hp, final, 0) is None:
            hp = dataclasses.replace(hp, **{final: getattr(hp, start)})
    if timeout is None:
        timeout = spec.timeout_is_terminal
    config = dataclasses.replace(config, hp=hp, timeout_is_terminal=timeout)
    found = problems(config, spec)
    if found:
        raise UserError("invalid configuration:\n" + "\n".join(f"  - {line}" for line in found))
    return config


def problems(config: TrainConfig, spec: TaskSpec) -> list[str]:
    """Everything wrong with a configuration, one line each with the value and what is allowed."""
    out: list[str] = []

    def at_least(name: str, value: float, low: float) -> None:
        if not value >= low:
            out.append(f"{name} must be at least {low}, got {value}")

    collect = config.collect
    if collect.mode not in ("episode", "steps"):
        out.append(f'collect.mode must be "episode" or "steps", got {collect.mode!r}')
    at_least("collect.envs", collect.envs, 1)
    at_least("collect.length", collect.length, 1)
    at_least("eval.interval", config.eval.interval, 1)
    for name in ("episodes", "final_episodes"):
        at_least(f"eval.{name}", count := getattr(config.eval, name), 1)
        if count > MAX_EPISODES:
            out.append(f"eval.{name} must be at most {MAX_EPISODES:,}, got {count}")
    at_least("checkpoint.every_seconds", config.checkpoint.every_seconds, 0)
    at_least("checkpoint.keep", config.checkpoint.keep, 1)
    at_least("log_interval", config.log_interval, 1)
    if not config.seeds:
        out.append("seeds must name at least one seed")
    elif len(set(config.seeds)) < len(config.seeds):
        out.append(f"seeds must differ, got {list(config.seeds)}")
    for seed in config.seeds:
        if not 0 <= seed < 2**31:
            out.append(f"a seed must be within 0 and 2^31 - 1, got {seed}")
    if not out:
        one = steps_per_iteration(collect, spec)
        if config.total_steps < one:
            out.append(
                f"total_steps must be at least one iteration, {one} env steps "
                f"({collect.envs} environments), got {config.total_steps}"
            )
        if config.total_steps + one * iterations_per_chunk(config, spec) >= 2**32:
            out.append(
                f"total_steps and log_interval together must be below 2^32, got "
                f"{config.total_steps} and {config.log_interval}"
            )
    if spec.continuous and "continuous" not in REGISTRY[config.algorithm].actions:
        able = [name for name, entry in REGISTRY.items() if "continuous" in entry.actions]
        out.append(
            f"{config.algorithm} chooses among discrete actions; {spec.name} has continuous ones: "
            f"use {', '.join(able)}"
        )
    return out + config.algo.problems(spec, collect) + hparam_problems(config.hp)


# Ranges by name: a hyper-parameter means the same in every algorithm.
_RANGES = {
    "gamma": (0, 1), "td_lambda": (0, 1), "entropy_coef": (0, None), "actor_lr": (0, None),
    "critic_lr": (0, None), "grad_norm_clip": (1e-12, None), "target_interval": (1, None),
    "reward_scale": (1e-12, None), "temperature": (1e-3, None), "temperature_final": (1e-3, None),
    "temperature_steps": (0, None), "epsilon_start": (0, 1), "epsilon_finish": (0, 1),
    "epsilon_steps": (0, None), "lr": (0, None), "rms_decay": (0, 1), "rms_eps": (0, None),
    "target_rate": (0, 1), "grad_clamp": (1e-12, None), "opt_weight": (0, None),
    "nopt_weight": (0, None), "intrinsic_weight": (0, None), "value_coef": (0, None),
    "gae_lambda": (0, 1), "clip": (1e-12, None), "value_clip": (1e-12, None),
    "entropy_final": (0, None), "entropy_steps": (0, None), "value_norm_decay": (0, 0.999999),
}  # fmt: skip

# What goes from a value to a final one (None: stays) in a straight line, and over which steps.
_ANNEALED = (
    ("temperature", "temperature_final", "temperature_steps"),
    ("entropy_coef", "entropy_final", "entropy_steps"),
)


def hparam_problems(hp: Any) -> list[str]:
    """Hyper-parameters that are not finite or out of range."""
    out = []
    for f in dataclasses.fields(hp):
        value = getattr(hp, f.name)
        low, high = _RANGES[f.name]
        # What the arrays of a run hold: int32 and float32.
        largest = 2**31 - 1 if isinstance(value, int) else float(np.finfo(np.float32).max)
        if not math.isfinite(value):
            out.append(f"hp.{f.name} must be a finite number, got {value}")
        elif abs(value) > largest:
            out.append(f"hp.{f.name} must be at most {largest:.10g}, got {value}")
        elif value < low or (high is not None and value > high):
            wanted = f"within {low} and {high}" if high is not None else f"at least {low:g}"
            out.append(f"hp.{f.name} must be {wanted}, got {value}")
    for start, final, steps in _ANNEALED:
        if getattr(hp, steps, 1) == 0 and getattr(hp, final) != getattr(hp, start):
            out.append(f"hp.{final} needs hp.{steps}, over which to go there")
    return out
