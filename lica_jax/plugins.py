"""Packages from outside: finding them, loading them on request, and where their presets are.

A plugin is a package that calls `register_algorithm` or `register_family` when it is imported, or
names what it offers in its entry points (`ALGORITHMS`, `TASKS`). Nothing is ever imported because a
file says so: only what is installed with an entry point, or what the user names.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

from lica_jax.errors import UserError

ALGORITHMS, TASKS = "lica_jax.algorithms", "lica_jax.tasks"  # groups of entry points
PRESETS = "presets"  # the folder of a plugin's own presets
_PACKAGES: dict[str, None] = {}  # top-level packages that have registered something, in order


def load_plugins(names: Iterable[str]) -> None:
    """Imports plugins by module name, so that they register what they offer.

    Modules beside the user's script and in the working directory are found too.

    Raises:
      UserError: there is no such module, or its import fails.
    """
    for name in names:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise UserError(f"a plugin is the name of a module such as my_package, got {name!r}")
        if name.partition(".")[0] == "lica_jax":
            raise UserError(f"{name} is no plugin: it belongs to this library")
        try:
            _import_from_here(name)
        except SystemExit as error:
            raise UserError(
                f"plugin {name!r} ends the program when it is imported: what it does as a script "
                'belongs under if __name__ == "__main__"'
            ) from error
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            raise UserError(
                f"plugin {name!r} cannot be imported: {type(error).__name__}: {lines[0]}"
            ) from error
        note_package(name)


def _import_from_here(name: str) -> None:
    """Imports a module that may lie in the working directory, which a command does not search."""
    here = str(Path.cwd())
    known = here in sys.path or "" in sys.path
    if not known:
        sys.path.append(here)
    importlib.invalidate_caches()
    try:
        importlib.import_module(name)
    finally:
        if not known:
            sys.path.remove(here)


def note_package(module: str) -> str:
    """Remembers the package of a module that has registered something; its name, "" for our own."""
    package = module.partition(".")[0]
    if package == "lica_jax":
        return ""
    _PACKAGES.setdefault(package)
    return package


@cache
def entry_points(group: str) -> dict[str, metadata.EntryPoint]:
    """What installed packages offer under a group of entry points, by name."""
    return {point.name: point for point in metadata.entry_points(group=group)}


def load_entry_point(point: metadata.EntryPoint) -> Any:
    """What an entry point names; raises ``UserError`` where it cannot be imported."""
    try:
        return point.load()
    except Exception as error:
        raise UserError(
            f"{point.value}, which the installed package {_distribution(point)} offers as "
            f"{point.name!r}, cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _distribution(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else point.value.partition(":")[0]


def preset_folders() -> list[Path]:
    """The ``presets`` folders of the plugins that are known, in the order in which they came."""
    for group in (ALGORITHMS, TASKS):
        for point in entry_points(group).values():
            note_package(point.module)
    folders = []
    for package in _PACKAGES:
        spec = sys.modules[package].__spec__ if package in sys.modules else util.find_spec(package)
        places = (spec.submodule_search_locations if spec else None) or []
        folders += [Path(place) / PRESETS for place in places if (Path(place) / PRESETS).is_dir()]
    return folders


def how_to_load(*plugins: str) -> str:
    """What to do about something that a plugin, one of these, offers and that is not there."""
    named = [plugin for plugin in plugins if plugin not in ("", "__main__")]
    if not named:
        return "it is made by a script or notebook, which must run first"
    flags = " ".join(f"--plugin {plugin}" for plugin in named)
    return (
        f"it comes from the plugin {' or '.join(named)}: add {flags} (in Python: import "
        f"{', '.join(named)} first)"
    )
