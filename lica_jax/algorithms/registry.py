"""All algorithms by name: those of this library, and those that plugins register."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import jax

from lica_jax.errors import UserError, failure, unknown
from lica_jax.plugins import (
    ALGORITHMS,
    entry_points,
    how_to_load,
    load_entry_point,
    note_package,
)
from lica_jax.types import Algorithm, TaskSpec


@dataclass(frozen=True)
class Entry:
    """What is known of an algorithm before its code is imported.

    Attributes:
      module: the module that offers ``Config`` (static choices), ``HParams`` (traced numbers) and
        ``make(config, spec) -> Algorithm``.
      paper: where it was published.
      replay: what it learns from beside fresh batches; nothing when on-policy.
      actions: which it can choose among.
      presets_of: the algorithm whose preset files are read before its own, in every folder.
      plugin: the package that registered it; "" for those of this library.
    """

    module: str
    paper: str = ""
    replay: str = ""
    actions: str = "discrete"
    presets_of: str = ""
    plugin: str = ""


def _entries(
    family: str, papers: dict[str, str], presets_of: str = "", **facts: str
) -> dict[str, Entry]:
    """The algorithms of a folder; all but ``presets_of`` start from that one's presets."""
    return {
        name: Entry(
            f"lica_jax.algorithms.{family}.{name}", paper,
            presets_of=presets_of if name != presets_of else "", **facts,
        )
        for name, paper in papers.items()
    }  # fmt: skip


BOTH = "discrete and continuous"
_OURS: dict[str, Entry] = {
    **_entries("lica", {"lica": "Zhou et al., NeurIPS 2020"}, actions=BOTH),
    **_entries(
        "counterfactual",
        {"coma": "Foerster et al., AAAI 2018", "liir": "Du et al., NeurIPS 2019"},
        presets_of="coma",
    ),
    **_entries(
        "q_learning",
        {
            "iql": "Tan, ICML 1993", "vdn": "Sunehag et al., AAMAS 2018",
            "qmix": "Rashid et al., ICML 2018", "qtran": "Son et al., ICML 2019 (base)",
            "qtran_alt": "Son et al., ICML 2019 (alt)",
        },
        presets_of="vdn", replay="episodes or segments",
    ),
    **_entries("per_agent", {"coma_fc": "Foerster et al., AAAI 2018, for MPE"}),
    **_entries(
        "per_agent",
        {
            "iddpg": "Lillicrap et al., ICLR 2016", "maddpg": "Lowe et al., NeurIPS 2017",
            "sqddpg": "Wang et al., AAAI 2020",
        },
        presets_of="iddpg", replay="transitions",
    ),
    **_entries(
        "ppo",
        {"ippo": "de Witt et al., 2020", "mappo": "Yu et al., NeurIPS 2022"},
        presets_of="ippo",
    ),
    **_entries("lica_adv", {"lica_adv": "this library, after LICA, PPO and COMA"}),
}  # fmt: skip
_REGISTERED: dict[str, Entry] = {}


def register_algorithm(
    name: str, module: str | ModuleType, *, paper: str = "", replay: str = "",
    actions: str = "discrete", presets_of: str = "",
) -> None:  # fmt: skip
    """Registers an algorithm, so that it can be trained by this name.

    Args:
      name: name of the algorithm, a single word.
      module: the module, or its name. It must contain ``Config`` (a frozen dataclass), ``HParams``
        (a ``flax.struct`` dataclass of numbers) and ``make(config, spec) -> Algorithm``. If given
        by name, it is imported on first use.
      paper: where the algorithm was published.
      replay: what it replays: "" (nothing, on-policy), "episodes or segments" or "transitions".
      actions: the actions that it supports: "discrete", "continuous" or "discrete and continuous".
      presets_of: a registered algorithm whose preset files are read before its own.

    Raises:
      UserError: the name is taken or not valid, or another argument is none of the above.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise UserError(f"the name of an algorithm must be a word, got {name!r}")
    if isinstance(module, ModuleType):
        module = module.__name__
    if not isinstance(module, str) or not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"algorithm {name!r}: module must be a module or its name, got {module!r}")
    if actions not in ("discrete", "continuous", BOTH):
        raise UserError(f'algorithm {name!r}: actions are "discrete", "continuous" or "{BOTH}"')
    if presets_of:
        find_algorithm(presets_of)
    entry = Entry(module, paper, replay, actions, presets_of, note_package(module))
    before = _REGISTERED.get(name)
    if name in _OURS or (before is not None and before.module != module):
        raise UserError(f"an algorithm named {name!r} is registered already")
    _REGISTERED[name] = entry


def algorithm_names() -> list[str]:
    """All algorithms: ours, those registered, and those of installed packages."""
    return list(dict.fromkeys([*_OURS, *_REGISTERED, *entry_points(ALGORITHMS)]))


def find_algorithm(name: str) -> Entry:
    """What is known of an algorithm; raises ``UserError`` with the nearest names."""
    if name not in _OURS and name not in _REGISTERED and name in entry_points(ALGORITHMS):
        point = entry_points(ALGORITHMS)[name]
        try:
            load_entry_point(point)  # which may say more by registering it itself
        except UserError as error:  # told to those who use it, and no harm to those who do not
            return Entry(point.module, str(error), plugin=note_package(point.module))
        if name not in _REGISTERED:
            register_algorithm(name, point.module)
    entry = _OURS.get(name) or _REGISTERED.get(name)
    if entry is None:
        raise unknown("algorithm", name, algorithm_names())
    return entry


def check_known_algorithm(name: str, plugins: Iterable[str]) -> None:
    """Raises ``UserError`` where an algorithm belongs to one of the ``plugins``, none of which is
    loaded, and says how to load it."""
    plugins = list(plugins)
    if plugins and name not in algorithm_names():
        raise UserError(f"algorithm {name!r} is not known here: " + how_to_load(*plugins))


def algorithm_module(name: str) -> Any:
    """The module behind a registered name.

    Raises:
      UserError: no such algorithm, or its module cannot be imported or lacks what it must offer.
    """
    entry = find_algorithm(name)
    if not entry.plugin:
        return importlib.import_module(entry.module)
    try:
        module = sys.modules.get(entry.module) or importlib.import_module(entry.module)
    except Exception as error:
        raise UserError(
            f"algorithm {name!r}: its module {entry.module} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    if missing := [what for what in ("Config", "HParams", "make") if not hasattr(module, what)]:
        raise UserError(f"algorithm {name!r}: its module {entry.module} lacks {', '.join(missing)}")
    _check_settings(name, module)
    return module


def _check_settings(name: str, module: Any) -> None:
    """Raises ``UserError`` where ``Config`` or ``HParams`` are not what the loop can use."""
    config, hp = module.Config, module.HParams
    if not (dataclasses.is_dataclass(config) and config.__dataclass_params__.frozen):
        raise UserError(f"algorithm {name!r}: Config must be a frozen dataclass")
    if not (dataclasses.is_dataclass(hp) and hasattr(hp, "replace")):
        raise UserError(f"algorithm {name!r}: HParams must be a flax.struct dataclass")
    for kind in (config, hp):
        required = [
            f.name
            for f in dataclasses.fields(kind)
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        if required:
            raise UserError(
                f"algorithm {name!r}: {kind.__name__} needs defaults for {', '.join(required)}"
            )
    for f in dataclasses.fields(hp):
        if isinstance(f.default, bool) or not isinstance(f.default, int | float | None):
            raise UserError(
                f"algorithm {name!r}: HParams.{f.name} must be a number, got {f.default!r}; what "
                "is no number belongs to Config"
            )


def make_algorithm(name: str, spec: TaskSpec, config: Any = None) -> Algorithm:
    """Builds an algorithm for a task.

    Args:
      name: its registered name.
      spec: the task's sizes: ``make_task("smax/3m").spec``.
      config: its static choices, an instance of its module's ``Config``; without it the defaults.

    Raises:
      UserError: no such algorithm, or another argument is none of the above; or a plugin's
        ``make`` fails.
    """
    module = algorithm_module(name)
    _check_spec(name, spec)
    config = module.Config() if config is None else config
    _check_config(name, module.Config, config)
    package = find_algorithm(name).plugin
    if not package:
        return _shared_algorithm(module.make, config, spec, bool(jax.config.jax_enable_x64))
    try:  # its code may change between two calls
        return module.make(config, spec)
    except UserError:
        raise
    except Exception as error:
        said = failure("make(config, spec)", error, package)
        raise UserError(f"algorithm {name!r}: {said}") from error


def _check_spec(name: str, spec: Any) -> None:
    """Raises ``UserError`` for what is no `TaskSpec`, such as the task itself."""
    if isinstance(spec, TaskSpec):
        return
    own = isinstance(getattr(spec, "spec", None), TaskSpec)
    task = f"make_task({spec!r})" if isinstance(spec, str) else "task"
    got = f"the task {spec.spec.name} itself" if own else repr(spec)
    raise UserError(
        f"make_algorithm needs the sizes of a task, its spec; give "
        f"make_algorithm({name!r}, {task}.spec), got {got}"
    )


def _check_config(name: str, kind: type, config: Any) -> None:
    """Raises ``UserError`` for what is no instance of an algorithm's ``Config``."""
    if isinstance(config, kind):
        return
    same = dataclasses.is_dataclass(config) and not isinstance(config, type)
    # A notebook's cell that ran again has made another class of the same fields.
    if same and [f.name for f in dataclasses.fields(config)] == [
        f.name for f in dataclasses.fields(kind)
    ]:  # fmt: skip
        return
    values = ", ".join(f"{k}={v!r}" for k, v in config.items()) if type(config) is dict else "..."
    raise UserError(
        f"make_algorithm: config must be a Config of {name}; give "
        f"algorithm_module({name!r}).Config({values}), got {_kind_of(config)}"
    )


def _kind_of(config: Any) -> str:
    if isinstance(config, type):
        return f"the class {config.__name__} itself"
    return f"a {type(config).__name__}"


@lru_cache(maxsize=32)
def _shared_algorithm(make: Any, config: Any, spec: TaskSpec, x64: bool) -> Algorithm:
    """The one object of an algorithm of ours with these settings; its constants have the precision
    of the moment."""
    del x64
    return make(config, spec)
