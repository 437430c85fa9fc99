"""What is asked of a sweep: one dataclass for the shell, a file and a notebook."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lica_jax.config.presets import deep_update
from lica_jax.config.reading import read_yaml
from lica_jax.config.schema import DEFAULT_PRESET, TrainConfig, coerce
from lica_jax.envs.registry import is_task, make_task, task_reference
from lica_jax.errors import UserError, did_you_mean, unknown
from lica_jax.files import leaves, plain
from lica_jax.sweeps.search import SAMPLERS, read_distribution

LAUNCHERS = ("local", "ray", "slurm")
# Words of a file, for one or for several of them.
PLURALS = {"algorithm": "algorithms", "task": "tasks"}
# What a setting is made of beside the fields of a run.
NAMES = ("algorithm", "task", "preset")


@dataclass(frozen=True)
class SweepConfig:
    """A sweep. Whatever is not a field here is a setting of every run and is kept in ``settings``.

    Attributes:
      algorithms, tasks: names; every algorithm is trained on every task.
      preset: preset of every run.
      plugins: modules to import first.
      seeds: seeds for every setting.
      settings: settings that all runs share, nested as in `load_config`.
      grid: values by field (``hp.entropy_coef``); every combination is a setting.
      search: distributions by field, as text: ``log:1e-4:3e-3``, ``int:32:256:32``, ``float:0:1``,
        ``choice:a,b``.
      sampler: sampler of the search.
      trials: number of settings to draw in a search.
      objective: metric to maximise, as it is called in eval.jsonl; None: the greedy win rate, or
        the greedy return if nothing can be won.
      halving: successive halving: at every rung, the best 1/halving of the settings continue. None:
        all are trained to the end.
      wave: number of runs trained side by side; "auto": the fastest number that fits into memory.
      devices: number of devices that a wave is spread over, or "all". "auto" is one device; if
        ``wave`` is "auto" too, it is all cores of a CPU where that is measured to be faster.
      shard: what is divided among the devices: the "runs" of a wave, or the environments of every
        run ("envs").
      launcher: where waves are trained: "local", "ray", "ray:ADDRESS" or "slurm".
      skip_invalid: leave out settings that are refused, and train the others.
      log: tools that also receive the rows of every run (`lica_jax.loggers`).
      keep_checkpoints: keep the checkpoints of the waves, so that runs can be continued with a
        longer budget.
    """

    algorithms: tuple[str, ...]
    tasks: tuple[str, ...]
    preset: str = DEFAULT_PRESET
    plugins: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    settings: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    search: Mapping[str, str] = field(default_factory=dict)
    sampler: str = "tpe"
    trials: int = 0
    objective: str | None = None
    halving: int | None = None
    wave: int | Literal["auto"] = "auto"
    devices: int | Literal["all", "auto"] = "auto"
    shard: Literal["runs", "envs"] = "runs"
    launcher: str = "local"
    skip_invalid: bool = False
    log: tuple[str, ...] = ()
    keep_checkpoints: bool = False

    @property
    def swept(self) -> tuple[str, ...]:
        """The names of what differs between settings, in the order of the table's columns."""
        several = [name for name in PLURALS if len(getattr(self, PLURALS[name])) > 1]
        return (*several, *self.grid, *self.search)


FIELDS = {f.name for f in dataclasses.fields(SweepConfig)} - {"settings"}
# May differ between a sweep and its resumption.
RESUMABLE = (
    "seeds", "trials", "wave", "devices", "shard", "launcher", "log", "keep_checkpoints",
)  # fmt: skip
# Of `train`, and why a sweep has them not.
OF_ONE_RUN = ("stop_at", "callbacks")


def request(values: Mapping[str, Any]) -> SweepConfig:
    """A sweep from the words of a file, a command line or a call, checked in itself.

    Raises:
      UserError: a word or value that cannot be.
    """
    words = dict(values)
    if odd := [name for name in OF_ONE_RUN if name in words]:
        raise UserError(
            f"{odd[0]} is of a single run: the runs of a sweep share a program, and are compared "
            "after equal budgets (halving ends settings early)"
        )
    for one, several in PLURALS.items():
        if one in words and several in words:
            raise UserError(f"say {one} or {several}, not both")
        if one in words:
            words[several] = words.pop(one)
        if not words.get(several):
            raise UserError(f"a sweep needs {one}: its name, or a list of names")
        words[several] = _names(one, words[several])
    own = {name: words.pop(name) for name in list(words) if name in FIELDS}
    _check_unknown(words)
    own["grid"] = _fields("grid", own.get("grid", {}), _grid_values)
    own["search"] = _fields("search", own.get("search", {}), _distribution)
    for name in ("plugins", "log"):
        if isinstance(own.get(name), str):
            own[name] = (own[name],)
    if isinstance(own.get("seeds"), int) and type(own["seeds"]) is not bool:
        own["seeds"] = (own["seeds"],)
    ask = SweepConfig(**_typed(own), settings=words)
    _check(ask)
    return ask


def _check_unknown(settings: Mapping[str, Any]) -> None:
    """Refuses what is no setting of a run and nearly a word of a sweep; only an algorithm's
    configuration can judge the rest."""
    of_a_run = {f.name for f in dataclasses.fields(TrainConfig)}
    for name in settings:
        if not isinstance(name, str):
            raise UserError(f"unknown setting {name!r}; settings have names")
        if name not in of_a_run and (hint := did_you_mean(name, sorted({*FIELDS, *PLURALS}))):
            raise UserError(f"unknown setting {name!r}; {hint}")


def _names(kind: str, value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) or is_task(value) else value
    if isinstance(names, Sequence):
        names = tuple(_task_name(n) if is_task(n) else n for n in names)
    if not isinstance(names, Sequence) or not all(isinstance(n, str) and n for n in names):
        objects = ", or task objects" if kind == "task" else ""
        raise UserError(f"{kind} must be a name or a list of names{objects}, got {value!r}")
    if len(set(names)) < len(names):
        raise UserError(f"{kind} names one twice: {', '.join(names)}")
    return tuple(names)


def _task_name(task: Any) -> str:
    """What a task that is given as an object is found again by: every run makes its own."""
    name = task_reference(task)
    try:
        make_task(name)
    except UserError as error:
        raise UserError(
            f"a sweep cannot find the task {task.spec.name} again: keep it in a variable of its "
            f"module, or register it (lica_jax.register_family); {error}"
        ) from None
    return name


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The words of a sweep with those that are given again on top."""
    out: dict[str, Any] = {}
    for words in (old, new):
        # One spelling, so that a field that is given again is seen to be the same.
        swept = {word: _by_field(word, words[word]) for word in ("grid", "search") if word in words}
        deep_update(out, {**words, **swept})
    return out


def _fields(word: str, value: Any, read: Any) -> dict[str, Any]:
    """The fields under ``grid`` or ``search``, and what is read of their values."""
    found = _by_field(word, value)
    return {name: read(f"{word} {name}", given) for name, given in found.items()}


def _by_field(word: str, value: Any) -> dict[str, Any]:
    """What stands under ``grid`` or ``search``, by the fields' names in Python."""
    if not isinstance(value, Mapping):
        raise UserError(f"{word} must be a mapping from fields to values, got {value!r}")
    out: dict[str, Any] = {}
    for name, given in leaves(value):
        known = str(name).replace("-", "_")
        if known in out:
            raise UserError(f"{word} names {known} twice")
        out[known] = given
    return out


def _grid_values(name: str, given: Any) -> tuple[Any, ...]:
    if hasattr(given, "tolist"):  # arrays of numpy and of JAX; a float32 as it is written
        flat = np.ravel(np.asarray(given))
        given = [float(str(x)) if isinstance(x, np.floating) else x.item() for x in flat]
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping)
    values = list(given) if several else [given]
    if not values:
        raise UserError(f"{name} has no values")
    if odd := [v for v in values if isinstance(v, float) and not math.isfinite(v)]:
        raise UserError(f"{name} must be a finite number, got {odd[0]}")
    return tuple(plain(values))


def _distribution(name: str, given: Any) -> str:
    if not isinstance(given, str):
        raise UserError(f"{name} must be a distribution in words, as log:1e-4:3e-3, got {given!r}")
    read_distribution(name, given)
    return given


def _typed(own: dict[str, Any]) -> dict[str, Any]:
    """Values as the dataclass holds them, by the rules that settings follow."""
    import typing

    hints = typing.get_type_hints(SweepConfig)
    done = ("grid", "search", "algorithms", "tasks")
    return {k: v if k in done else coerce(k, v, hints[k]) for k, v in own.items()}


def _check(ask: SweepConfig) -> None:
    """Refuses what contradicts itself."""
    seeds, launcher = ask.seeds, ask.launcher.partition(":")[0]
    if not seeds:
        raise UserError("seeds must name at least one seed")
    if len(set(seeds)) < len(seeds):
        twice = sorted({s for s in seeds if seeds.count(s) > 1})
        raise UserError(f"a seed is named twice: {', '.join(map(str, twice))}")
    if bad := [s for s in seeds if not 0 <= s < 2**31]:
        raise UserError(f"a seed must be within 0 and 2^31 - 1, got {bad[0]}")
    if launcher not in LAUNCHERS:
        raise unknown("launcher", ask.launcher, LAUNCHERS, "")
    if ask.sampler not in SAMPLERS:
        raise unknown("sampler", ask.sampler, SAMPLERS, "")
    for name, words in (("wave", ("auto",)), ("devices", ("all", "auto"))):
        value = getattr(ask, name)
        if value not in words and value < 1:
            named = " or ".join(repr(word) for word in words)
            raise UserError(f"{name} must be at least 1 or {named}, got {value}")
    if ask.halving is not None and ask.halving < 2:
        raise UserError(f"halving must be at least 2, got {ask.halving}")
    _check_fields(ask)
    _check_search(ask)


def _check_fields(ask: SweepConfig) -> None:
    if both := sorted(set(ask.grid) & set(ask.search)):
        raise UserError(f"{both[0]} is in the grid and in the search")
    fixed = {name.replace("-", "_") for name, _ in leaves(ask.settings)}
    for name in (*ask.grid, *ask.search):
        if name == "seeds":
            raise UserError("seeds are no field of the grid: say --seeds 0:8")
        if name in FIELDS - {"preset"} or name in PLURALS.values():
            raise UserError(f"{name} cannot be swept: it is about the sweep")
        if name in fixed or any(f.startswith(name + ".") for f in fixed):
            raise UserError(f"{name} is both swept and set; leave out one of them")
        if name in PLURALS and len(getattr(ask, PLURALS[name])) > 1:
            raise UserError(f"{name} is swept and listed; leave out one of them")
        if name in PLURALS:
            _check_among(name, getattr(ask, PLURALS[name]), ask.grid.get(name))
    if ask.preset != DEFAULT_PRESET and "preset" in {*ask.grid, *ask.search}:
        raise UserError("preset is both swept and set; leave out one of them")


def _check_among(name: str, named: Sequence[str], values: Any) -> None:
    """The one that a sweep names must be among those that are swept, or it would be left out."""
    if isinstance(values, (list, tuple)) and not set(named) <= set(values):
        swept = ", ".join(map(str, values))
        raise UserError(
            f"{name} {named[0]} is named, and is not among those swept, {swept}: name one of them"
        )


def _check_search(ask: SweepConfig) -> None:
    if ask.search and ask.trials < 1:
        raise UserError("a search needs --trials, how many settings to draw")
    if ask.trials and not ask.search:
        raise UserError("trials are of a search: say which fields, as --search hp.actor-lr=log:...")
    if ask.sampler != SweepConfig.sampler and not ask.search:
        raise UserError(
            "a sampler is of a search: say which fields, as --search hp.actor-lr=log:..."
        )
    if ask.search and ask.grid:
        raise UserError(
            "say either grid or search; in a search the values of a list are choice:a,b,c"
        )
    if ask.search and (max(len(ask.algorithms), len(ask.tasks)) > 1 or "task" in ask.search):
        raise UserError("a search is of one algorithm on one task")
    if ask.halving and (len(ask.tasks) > 1 or "task" in ask.grid):
        raise UserError("halving compares settings, which figures of several tasks do not")
    if ask.halving and ask.search and ask.sampler not in ("random", "sobol"):
        raise UserError(
            f"halving needs all settings at once, and {ask.sampler} draws them by what it has "
            "seen: use --sampler random or sobol"
        )


def read_request(path: Path) -> dict[str, Any]:
    """The words of a sweep's file; raises ``UserError``."""
    if not path.is_file():
        raise UserError(f"no sweep at {path}")
    return read_yaml(path)


def to_words(ask: SweepConfig) -> dict[str, Any]:
    """The inverse of `request`: what ``sweep.yaml`` holds."""
    values = {f.name: getattr(ask, f.name) for f in dataclasses.fields(ask)}
    settings = values.pop("settings")
    for one, several in PLURALS.items():
        names = values.pop(several)
        values[one] = names[0] if len(names) == 1 else list(names)
    order = ("algorithm", "task")
    first = {name: values.pop(name) for name in order}
    return plain(first | {k: v for k, v in values.items() if v not in (None, (), {})} | settings)


def dump_request(ask: SweepConfig) -> str:
    """``sweep.yaml``."""
    import yaml

    return yaml.safe_dump(to_words(ask), sort_keys=False, default_flow_style=None)
