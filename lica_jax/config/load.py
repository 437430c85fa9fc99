"""Configurations by name, from a file, and from what was stored of one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lica_jax.algorithms import algorithm_module
from lica_jax.algorithms.registry import check_known_algorithm
from lica_jax.config.checks import filled_in
from lica_jax.config.presets import Preset, load_preset
from lica_jax.config.reading import read_yaml
from lica_jax.config.schema import DEFAULT_PRESET, TrainConfig, coerce, merge, settings, to_dict
from lica_jax.errors import UserError
from lica_jax.plugins import load_plugins
from lica_jax.types import TaskSpec, numbers

SUFFIXES = (".yaml", ".yml")


def load_config(
    algorithm: str, task: str, *, preset: str = DEFAULT_PRESET, **overrides: Any
) -> TrainConfig:
    """The configuration of a run: the defaults, with the preset's values and ``overrides`` on top.

    Overrides are fields of ``TrainConfig``; nested ones are mappings or dataclasses, for example
    ``hp={"entropy_coef": 0.1}``. The modules in ``plugins`` are imported first.
    """
    return load_with_sources(algorithm, task, preset, overrides)[0]


def load_with_sources(
    algorithm: str, task: str, preset: str, overrides: Mapping[str, Any]
) -> tuple[TrainConfig, Preset]:
    """`load_config`, and where its values come from before the overrides."""
    for name, text in (("algorithm", algorithm), ("task", task), ("preset", preset)):
        if isinstance(text, type):
            raise UserError(f"{name} must be a name or an object, got the class {text.__name__}")
        if not isinstance(text, str):
            raise UserError(f"{name} must be a name, got {text!r}")
    load_plugins(plugins_in(overrides))
    found = load_preset(preset, task, _known(algorithm))
    base = merge(_defaults(algorithm, task, preset), found.values)
    return merge(base, overrides), found


def _known(algorithm: str) -> str:
    algorithm_module(algorithm)  # raises for a name that there is none of
    return algorithm


def plugins_in(values: Mapping[str, Any]) -> list[str]:
    """The modules that overrides of a configuration ask to import first."""
    plugins = values.get("plugins") or ()
    named = [plugins] if isinstance(plugins, str) else plugins
    return list(coerce("plugins", named, tuple[str, ...]))


def _defaults(algorithm: str, task: str, preset: str) -> TrainConfig:
    module = algorithm_module(algorithm)
    return TrainConfig(algorithm, task, module.Config(), module.HParams(), preset=preset)


def beside_preset(config: TrainConfig, spec: TaskSpec) -> list[str]:
    """The names of what a resolved configuration says otherwise than its preset does today; none
    where there is no such preset any more."""
    try:
        usual = load_config(config.algorithm, config.task, preset=config.preset)
    except UserError:
        return []
    usual = filled_in(usual, spec)
    values = {s.name: s.value for s in settings(usual)}
    hp = config.hp
    followers = {  # ends of schedules that are none
        f"hp.{name}"
        for name, facts in numbers(hp).items()
        if facts.start and not getattr(hp, facts.steps)
        and getattr(hp, name) == getattr(hp, facts.start)
    }  # fmt: skip
    changed = [s.name for s in settings(config) if s.value != values[s.name]]
    return [name for name in changed if name not in followers]


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a YAML file, as `load_config` takes them: ``algorithm``, ``task``, perhaps
    ``preset`` and ``plugins``, and whatever else differs from the preset.

    Raises:
      UserError: no such file, no YAML, or it does not say what to train.
    """
    if not path.is_file():
        raise UserError(f"no settings at {path}")
    values = read_yaml(path)
    missing = [name for name in ("algorithm", "task") if name not in values]
    if missing:
        near = difflib.get_close_matches(missing[0], map(str, values), n=1)
        hint = f" (it has {near[0]!r})" if near else ""
        raise UserError(f"{path} does not say which {' and '.join(missing)} to train{hint}")
    return values


def is_settings_file(name: Any) -> bool:
    """Whether what stands in an algorithm's place is a file of settings."""
    return isinstance(name, Path) or (isinstance(name, str) and name.endswith(SUFFIXES))


def load_settings(
    path: str | Path, preset: str | None = None, overrides: Mapping[str, Any] | None = None
) -> tuple[TrainConfig, Preset]:
    """The configuration that a file of settings describes, with ``overrides`` on top, and where the
    values come from. Its plugins are imported: a settings file is a command, as a run directory is
    not. Raises ``UserError``.
    """
    values = read_settings(Path(path))
    overrides = dict(overrides or {})
    plugins = [*plugins_in(values), *plugins_in(overrides)]
    own = {k: v for k, v in values.items() if k not in ("algorithm", "task", "preset", "plugins")}
    preset = values.get("preset", DEFAULT_PRESET) if preset is None else preset
    try:
        config, found = load_with_sources(
            values["algorithm"], values["task"], preset, {**own, "plugins": plugins}
        )
    except UserError as error:
        if preset != values.get("preset", DEFAULT_PRESET):  # not the file's: it may be at fault
            raise
        raise UserError(f"{path}: {error}") from error
    found.update(own, Path(path).name)
    return merge(config, {**overrides, "plugins": plugins}), found


def dump_settings(config: TrainConfig) -> str:
    """The YAML that repeats a run: every setting, as `read_settings` reads them."""
    import yaml

    from lica_jax.files import plain

    return yaml.safe_dump(plain(to_dict(config)), sort_keys=False, default_flow_style=None)


def from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """The configuration written by ``to_dict``; raises ``UserError`` when it is not one.

    Imports no plugin: what a file says is data.
    """
    try:
        algorithm, task, preset = values["algorithm"], values["task"], values["preset"]
    except (KeyError, TypeError):
        raise UserError("not a lica_jax configuration: algorithm, task or preset missing") from None
    if not all(isinstance(name, str) for name in (algorithm, task, preset)):
        raise UserError("not a lica_jax configuration: algorithm, task or preset is no name")
    check_known_algorithm(algorithm, plugins_in(values))
    return merge(_defaults(algorithm, task, preset), values)
