"""From what is asked to settings: configurations, complete and checked."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

from lica_jax.config import TrainConfig, load_config, merge, resolve, to_dict
from lica_jax.config.presets import deep_update
from lica_jax.config.schema import nested
from lica_jax.envs.registry import check_known_task, make_task
from lica_jax.errors import UserError
from lica_jax.files import plain
from lica_jax.sweeps.request import NAMES, SweepConfig
from lica_jax.sweeps.search import read_distribution
from lica_jax.types import TaskSpec

MOST_TOLD = 20  # refused settings in one message


class Setting(NamedTuple):
    """One assignment of the swept fields.

    Attributes:
      number: of the setting, in the order asked.
      values: by field, as the configuration holds them.
      config: of its runs, resolved; its seed is each run's own.
    """

    number: int
    values: dict[str, Any]
    config: TrainConfig


def grid_values(ask: SweepConfig) -> Iterator[dict[str, Any]]:
    """Every combination of the algorithms, tasks and values asked for."""
    axes: dict[str, Sequence[Any]] = {"algorithm": ask.algorithms, "task": ask.tasks}
    axes |= ask.grid
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def ends_of_search(ask: SweepConfig) -> Iterator[dict[str, Any]]:
    """The ends of every distribution, each by itself: what a search must be able to draw."""
    for name, text in ask.search.items():
        found = read_distribution(name, text)
        kind = int if "int" in found.kind else float
        for value in found.choices or (kind(found.low), kind(found.high)):
            yield {name: value}


def make_settings(
    ask: SweepConfig, wanted: Iterable[Mapping[str, Any]], first: int = 0
) -> tuple[list[Setting], list[str]]:
    """Settings of the values that are wanted, and why others are refused (a line each).

    Raises:
      UserError: what is wrong with the request itself, whatever the values.
    """
    if not set(NAMES) & set(ask.swept):
        base_config(ask)  # what all settings have in common is refused once
    specs: dict[str, TaskSpec] = {}
    out: list[Setting] = []
    refused: list[str] = []
    seen: dict[str, dict[str, Any]] = {}
    for given in wanted:
        try:
            config = _configured(ask, given, specs)
        except UserError as error:
            shown = ", ".join(f"{k}={given[k]}" for k in ask.swept if k in given)
            reason = str(error).removeprefix("invalid configuration:\n  - ").replace("\n", "\n    ")
            refused.append(f"{shown}: {reason}" if shown else reason)
            continue
        values = {name: value_of(config, name) for name in ask.swept}
        key = json.dumps(plain(values), sort_keys=True)
        if key in seen and not ask.search:
            raise UserError(f"a value is repeated: {_named(seen[key])} is asked for twice")
        seen[key] = values
        out.append(Setting(first + len(out), values, config))
    return out, refused


def refuse(refused: Sequence[str], skip: bool, left: int) -> str:
    """What to say of refused settings; raises ``UserError`` unless they are to be skipped."""
    if not refused:
        return ""
    unique = list(dict.fromkeys(refused))
    told = [f"  - {line}" for line in unique[:MOST_TOLD]]
    if len(unique) > MOST_TOLD:
        told.append(f"  - and {len(unique) - MOST_TOLD} more")
    text = "\n".join(told)
    if skip and left:
        return f"{len(refused)} setting(s) skipped:\n{text}"
    if not left:
        raise UserError(f"no setting can be trained:\n{text}")
    raise UserError(
        f"{len(refused)} of {len(refused) + left} settings cannot be trained (--skip-invalid goes "
        f"on without them):\n{text}"
    )


def base_config(ask: SweepConfig, given: Mapping[str, Any] | None = None) -> TrainConfig:
    """The configuration of a request, with the algorithm, task and preset of an assignment (those
    named first where it says none); not yet resolved, its other fields left out."""
    names = {"algorithm": ask.algorithms[0], "task": ask.tasks[0], "preset": ask.preset}
    names |= {k: v for k, v in (given or {}).items() if k in NAMES}
    fixed: dict[str, Any] = {}
    deep_update(fixed, ask.settings)
    return load_config(**names, **fixed, plugins=ask.plugins)


def _configured(
    ask: SweepConfig, given: Mapping[str, Any], specs: dict[str, TaskSpec]
) -> TrainConfig:
    """The resolved configuration of one assignment."""
    own = {k: v for k, v in given.items() if k not in NAMES}
    config = merge(base_config(ask, given), nested(own))
    if config.task not in specs:
        check_known_task(config.task, config.plugins)
        specs[config.task] = make_task(config.task).spec
    seeds = dataclasses.replace(config, seeds=(ask.seeds[0],))
    return dataclasses.replace(resolve(seeds, specs[config.task]), seeds=(0,))


def value_of(config: TrainConfig, name: str) -> Any:
    """The value of a field by its name with dots."""
    return reduce(getattr, name.split("."), config)


def _named(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in values.items()) or "the same setting"


def group_key(config: TrainConfig) -> str:
    """The same for configurations that can be trained side by side: all but their traced numbers,
    and what only their files say."""
    return _key(config, ("preset", "seeds"))


def program_key(config: TrainConfig) -> str:
    """The same for configurations that the same compiled programs train."""
    host = ("preset", "seeds", "total_steps", "log_interval", "checkpoint", "eval")
    return f"{_key(config, host)} {config.eval.episodes}"


def _key(config: TrainConfig, leave_out: Sequence[str]) -> str:
    values = {k: v for k, v in to_dict(config).items() if k not in leave_out}
    values["hp"] = sorted(k for k, v in values["hp"].items() if v is None)
    return json.dumps(plain(values), sort_keys=True)


def static_fields(settings: Sequence[Setting]) -> list[str]:
    """The swept fields that runs side by side must have in common."""
    return [k for k in settings[0].values if k != "preset" and not k.startswith("hp.")]
