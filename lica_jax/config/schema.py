"""What a run is: frozen dataclasses, and the one way in which values get into them."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from lica_jax.config.reading import parse_yaml
from lica_jax.errors import UserError, unknown
from lica_jax.types import Collect, TaskSpec, number, numbers

AlgoConfig = TypeVar("AlgoConfig")
HParams = TypeVar("HParams")

DEFAULT_PRESET = "fast"
MAX_EPISODES = 1_000_000  # of one evaluation; their figures are kept until its end
MOST_STEPS = 2**32 - 1  # env steps are counted in uint32


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation, greedy and sampled.

    Attributes:
      interval: env steps between two evaluations, counted per run.
      episodes: episodes per evaluation and mode (greedy, sampled).
      final_episodes: episodes per mode in the evaluations at the end: of the last, the best and the
        random policy.
      save_replay: save the game's own replay files in the run directory (``smac/`` tasks only).
    """

    interval: int = number(50_000, 1, MOST_STEPS)
    episodes: int = number(128, 1, MAX_EPISODES)
    final_episodes: int = number(512, 1, MAX_EPISODES)
    save_replay: bool = False


@dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints.

    Attributes:
      every_seconds: minimum time between two checkpoints; 0: a checkpoint after every chunk, which
        is one compiled call. The time is longer if writing takes more than a tenth of it (a large
        replay buffer).
      keep: number of latest checkpoints to keep, in addition to the best one.
    """

    every_seconds: float = number(30.0, 0, 1e9)
    keep: int = number(2, 1, 10_000)


@dataclass(frozen=True)
class TrainConfig(Generic[AlgoConfig, HParams]):
    """A training run, or several runs that differ only in their seeds.

    Attributes:
      algorithm: name of a registered algorithm.
      task: name of a registered task.
      algo: the algorithm's static choices.
      hp: the algorithm's hyper-parameters, traced numbers.
      preset: preset that these values started from, including ablations: ``"paper+mlp_critic"``.
      plugins: external modules to import first, because they register the algorithm or the task.
      seeds: one run per seed; all are trained together.
      total_steps: training budget of each run, in env steps.
      collect: how experience is gathered.
      timeout_is_terminal: whether reaching the episode limit counts as a terminal state; None: the
        task's own convention.
      log_interval: approximate number of env steps between two rows of metrics; the updates in
        between are one compiled call.
      eval: evaluation.
      checkpoint: checkpoints.
    """

    algorithm: str
    task: str
    algo: AlgoConfig
    hp: HParams
    preset: str = DEFAULT_PRESET
    plugins: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    total_steps: int = number(1_000_000, 1, MOST_STEPS)
    collect: Collect = field(default_factory=Collect)
    timeout_is_terminal: bool | None = None
    log_interval: int = number(10_000, 1, MOST_STEPS)
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


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """A JSON-ready dictionary; ``load.from_dict`` is its inverse."""
    return dataclasses.asdict(config)


# --- settings ------------------------------------------------------------------------------------


class Setting(typing.NamedTuple):
    """One field of a configuration.

    Attributes:
      name: with its groups: ``hp.gamma``.
      hint: its type.
      value: what it is now.
    """

    name: str
    hint: Any
    value: Any


def settings(config: Any, prefix: str = "") -> Iterator[Setting]:
    """Every field of a configuration, nested ones with a dot, in order."""
    hints = typing.get_type_hints(type(config))
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            yield from settings(value, f"{prefix}{f.name}.")
        else:
            yield Setting(prefix + f.name, hints[f.name], value)


def merge(config: Any, values: Mapping[str, Any] | Any, path: str = "") -> Any:
    """``config`` with the given fields replaced, recursively.

    This is the only way of values into a configuration, from the shell, a file or Python.

    Raises:
      UserError: unknown names and values of the wrong kind, all of them told at once.
    """
    wrong: list[str] = []
    merged = _merged(config, values, path, wrong)
    if wrong:
        raise UserError(wrong[0]) if len(wrong) == 1 else invalid(wrong)
    return merged


def invalid(wrong: Iterable[str]) -> UserError:
    """The error for a configuration with these things wrong."""
    return UserError("invalid configuration:\n" + "\n".join(f"  - {line}" for line in wrong))


def _merged(config: Any, values: Mapping[str, Any] | Any, path: str, wrong: list[str]) -> Any:
    """`merge`, which leaves out what is wrong and adds it to the list."""
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
        full = f"{path}.{name}" if path else str(name)
        try:
            if name not in names:
                raise _unknown_setting(full, settings(config, path and path + "."))
            old = getattr(config, name)
            if dataclasses.is_dataclass(old):
                changes[name] = _merged(old, value, full, wrong)
            else:
                changes[name] = coerce(full, value, hints[name])
        except UserError as error:
            wrong.append(str(error))
    return dataclasses.replace(config, **_ends_that_follow(config, changes), **changes)


def _unknown_setting(name: str, there: Iterable[Setting]) -> UserError:
    """The error for a name that is no field; for one with its group, how the two are written."""
    known = [setting.name for setting in there]
    if name not in known:
        return unknown("setting", name, known, "")
    group, _, last = name.rpartition(".")
    return UserError(
        f'unknown setting {name!r}: write {group}={{"{last}": ...}} in Python, '
        f"{group}: {{{last}: ...}} in a file"
    )


def _ends_that_follow(config: Any, changes: Mapping[str, Any]) -> dict[str, None]:
    """Ends of schedules that are no schedules, as a resolved configuration has them: where the
    start changes and nothing is said of the end, it goes on being what the start is."""
    return {
        name: None
        for name, facts in numbers(config).items()
        if facts.start in changes
        and name not in changes
        and getattr(config, name) == getattr(config, facts.start)
        and getattr(config, facts.steps) == 0
    }


_RANGE = re.compile(r"(\d{1,18})([:-])(\d{1,18})")
MAX_RANGE = 100_000
_NO_NUMBER = object()  # for pydantic, to whom True is 1
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE]\+?\d+")


def coerce(name: str, value: Any, hint: Any) -> Any:
    """What the shell, YAML, JSON and Python callers naturally write, as a field's type.

    Text is taken as what it spells where the field is no text: ``5e-4``, ``2e6`` for a count,
    ``true``, ``none``. Raises ``UserError``.
    """
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(hint)
    try:
        return adapter.validate_python(_spelled(value, hint))
    except ValidationError as error:
        for meant in _meant(value, hint):
            try:
                return adapter.validate_python(_spelled(meant, hint))
            except ValidationError:
                continue
        if typing.get_origin(hint) is tuple and not isinstance(value, list | tuple):
            example = f", such as [{value}]" if type(value) in (int, float) else ""
            raise UserError(f"{name} must be a list{example}, got {value!r}") from None
        reasons = " or ".join(dict.fromkeys(e["msg"] for e in error.errors()))
        several = isinstance(value, list | tuple | np.ndarray)
        hint = "; several values are for the grid of a sweep" if several else ""
        raise UserError(f"{name}: {reasons}, got {value!r}{hint}") from None


def _spelled(value: Any, hint: Any) -> Any:
    """``2e6`` as the integer it is, alone or in a sequence, unless the field takes text; in a
    sequence of integers ``0:8`` as Python's range and ``0-7`` with both ends. A truth value where a
    number belongs becomes something that is none."""
    if isinstance(value, bool | np.bool_) and not _takes_truth(hint):
        return _NO_NUMBER
    if hint == tuple[int, ...]:
        words = [value] if isinstance(value, str) and _RANGE.fullmatch(value) else value
        if isinstance(words, list | tuple):
            return [x for word in words for x in _range_of(word)]
    if isinstance(value, list | tuple):
        return [_spelled(v, hint) for v in value]
    if isinstance(value, str) and hint is not str and _EXPONENT.fullmatch(value):
        number = float(value)
        if number.is_integer():
            return int(number)
    return value


def _takes_truth(hint: Any) -> bool:
    """Whether a truth value is one of the field's, or the field is no number either."""
    kinds = {hint, *typing.get_args(hint)}
    return bool in kinds or not kinds & {int, float}


def _range_of(word: Any) -> list[Any]:
    """The integers that ``0:8`` or ``0-7`` stands for; anything else by itself."""
    found = _RANGE.fullmatch(word) if isinstance(word, str) else None
    if not found:
        return [_spelled(word, int)]
    first, last = int(found[1]), int(found[3]) + (found[2] == "-")
    if last - first > MAX_RANGE:
        raise UserError(f"{word} are {last - first:,} numbers; at most {MAX_RANGE:,} can be named")
    return list(range(first, last))


def _meant(value: Any, hint: Any) -> Iterator[Any]:
    """Other readings of a text that is none of the field's values as it stands."""
    if not isinstance(value, str):
        return
    if type(None) in typing.get_args(hint) and value.lower() in ("none", "null"):
        yield None
    with suppress(UserError):
        yield parse_yaml(value, aliases=False)


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """``{"hp.gamma": 1}`` as ``{"hp": {"gamma": 1}}``, which `merge` takes."""
    out: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, last = name.split(".")
        inner = out
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return out
