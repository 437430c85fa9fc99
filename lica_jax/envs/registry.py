"""All tasks by name: those of this library, and those that plugins register."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import jax

from lica_jax.envs.made import digest
from lica_jax.envs.names import (
    Choice,
    Family,
    checked_options,
    is_import_path,
    parsed_options,
    plain_name,
    without_digest,
)
from lica_jax.errors import UserError, unknown
from lica_jax.plugins import TASKS, entry_points, how_to_load, load_entry_point, note_package
from lica_jax.types import Task

# Modules with a `FAMILY`, imported on first use. Named as text, as those of plugins are: the
# families stand on different floors, and StarCraft II's needs a package that not everybody has.
_MODULES = {
    "smax": "lica_jax.envs.smax",
    "smac": "lica_jax.starcraft2.task",
    "mpe": "lica_jax.envs.mpe",
    "game": "lica_jax.envs.games",
    "probe": "lica_jax.envs.probe",
}
_REGISTERED: dict[str, Family] = {}


def register_family(name: str, family: Family) -> None:
    """Registers a family of tasks, so that ``make_task("name/...")`` makes them.

    Args:
      name: first part of the tasks' names, before the slash.
      family: the family's tasks and options; see `Family`.

    Raises:
      UserError: the name is taken or not valid, or ``family`` is not a `Family`.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise UserError(f"the name of a family of tasks must be a word, got {name!r}")
    if not isinstance(family, Family):
        raise UserError(f"family {name!r}: expected a lica_jax.Family, got {family!r}")
    for what in ("make", "describe", "match"):
        if not callable(getattr(family, what)):
            raise UserError(f"family {name!r}: {what} must be a function")
    if isinstance(family.names, str):
        raise UserError(f"family {name!r}: names must be several, got {family.names!r}")
    for task in family.names:
        if not isinstance(task, str) or not task or any(c in task for c in ":,= "):
            raise UserError(f"family {name!r}: {task!r} cannot be the name of a task")
    plugin = note_package(getattr(family.make, "__module__", None) or "__main__")
    family = dataclasses.replace(family, names=tuple(family.names), shared=False, plugin=plugin)
    before = _REGISTERED.get(name)
    again = before is not None and before.plugin == plugin and _same_code(before, family)
    if name in _MODULES or (before is not None and not again):
        raise UserError(f"a family of tasks named {name!r} is registered already")
    _REGISTERED[name] = family


def _same_code(a: Family, b: Family) -> bool:
    """Whether two families come from the same lines: a cell or a module that ran twice."""

    def origin(family: Family) -> tuple[Any, ...]:
        make = family.make
        return getattr(make, "__module__", None), getattr(make, "__qualname__", None)

    return origin(a) == origin(b)


def family_names() -> list[str]:
    """All families: ours, those registered, and those of installed packages."""
    return list(dict.fromkeys([*_MODULES, *_REGISTERED, *entry_points(TASKS)]))


def family_of(name: str) -> Family | None:
    """The family of a task's name (or of a family's), or None."""
    first = name.partition("/")[0]
    if first in _MODULES:
        return importlib.import_module(_MODULES[first]).FAMILY
    if first not in _REGISTERED and first in entry_points(TASKS):
        family = load_entry_point(entry_points(TASKS)[first])
        if first not in _REGISTERED:  # importing it may have registered it
            register_family(first, family)
    return _REGISTERED.get(first)


def families() -> dict[str, Family]:
    """All families by name, but those of installed packages that cannot be imported."""
    out = {}
    for first in family_names():
        with contextlib.suppress(UserError):  # told to those who name it
            out[first] = family_of(first)
    return out


def task_names() -> list[str]:
    """Names of all registered tasks. Imports no environment library."""
    return [f"{first}/{name}" for first, family in families().items() for name in family.names]


def task_options() -> dict[str, dict[str, Choice]]:
    """Options by the tasks that take them: the values of each option, the default first."""
    return {f"{k}/{f.options_of}": dict(f.options) for k, f in families().items() if f.options}


def describe_task(name: str) -> str:
    """One line about a task, given its name without options.

    Raises:
      UserError: there is no task of that name.
    """
    family, own = family_of(name), name.partition("/")[2]
    if family is None or not family.knows(own):
        raise unknown("task", name, task_names())
    return family.describe(own)


def task_plugin(name: str) -> str:
    """The package that a task comes from, or the module that an object is in; "" for those of this
    library."""
    if is_import_path(name):
        return name.partition(":")[0]
    family = family_of(name)
    return family.plugin if family else ""


def make_task(name: str, **options: Any) -> Task:
    """Makes a task by its name, such as ``"smax/2s3z"`` or ``"smax/2s3z:backend=jaxmarl"``.

    Tasks are values, which must not be changed: the same name returns the same object, but for
    ``smac/`` tasks and those of plugins.

    Args:
      name: registered name, with or without options; or the import path of a task of your own, such
        as ``"my_package.tasks:Switches"``: a task, or the class of one that is made without
        arguments. Its module must have been imported.
      options: more options, as text, numbers or booleans; they become part of the task's name.

    Raises:
      UserError: the name, an option or a value is unknown; the message names the nearest ones.
    """
    if not isinstance(name, str):
        raise UserError(f"a task is a name such as smax/3m, got {name!r}")
    if is_import_path(name):
        return _imported_task(name)
    options = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in options.items()}
    plain, short = plain_name(name), plain_name(name).partition("/")[2]
    family = family_of(plain) if short else None
    if family is None or not family.knows(short):
        raise unknown("task", plain, task_names())
    options = checked_options(plain, family.options, parsed_options(name) | options)
    if not family.shared:
        return family.make(short, **options)
    return _shared_task(plain, tuple(sorted(options.items())), bool(jax.config.jax_enable_x64))


@lru_cache(maxsize=32)
def _shared_task(name: str, options: tuple[tuple[str, str], ...], x64: bool) -> Task:
    """The one object of a task; its constants have the precision of the moment."""
    del x64
    return family_of(name).make(name.partition("/")[2], **dict(options))


def check_known_task(name: str, plugins: Iterable[str]) -> None:
    """Raises ``UserError`` where a task belongs to one of the ``plugins``, none of which is loaded,
    and says how to load it."""
    plugins = list(plugins)
    if plugins and not is_import_path(name) and family_of(plain_name(name)) is None:
        raise UserError(f"task {name!r} is not known here: " + how_to_load(*plugins))


def same_task(a: str, b: str) -> bool:
    """Whether two tasks are the same game, however patiently it is waited for, and wherever an
    object is kept."""

    def played(name: str) -> tuple[str, dict[str, str]]:
        family = family_of(plain_name(name))
        ignored = family.patience if family else ()
        return plain_name(name), {k: v for k, v in parsed_options(name).items() if k not in ignored}

    if is_import_path(a) or is_import_path(b):
        same_path = without_digest(a) == without_digest(b)
        return same_path or ("#" in a and a.partition("#")[2] == b.partition("#")[2])
    return a == b or played(a) == played(b)


# --- tasks that are objects ----------------------------------------------------------------------


def is_task(value: Any) -> bool:
    """Whether an object has what a task has."""
    return hasattr(value, "spec") and not isinstance(value, type) and _makes_tasks(type(value))


def _makes_tasks(kind: type) -> bool:
    return hasattr(kind, "open") or (hasattr(kind, "reset") and hasattr(kind, "step"))


def task_reference(task: Any) -> str:
    """The name under which a run stores a task that is only an object: its registered name where
    that makes the same task, else the import path of the object, or of its class, with a digest of
    what it was made of."""
    name, kind = task.spec.name, type(task)
    family = family_of(plain_name(name)) if "/" in name else None
    if family is not None and family.knows(plain_name(name).partition("/")[2]):
        made = make_task(name)
        if made is task or (type(made) is kind and digest(made) == digest(task)):
            return name
    names = vars(sys.modules[kind.__module__]).items()
    held = next((key for key, value in names if value is task), None)
    found = held or kind.__qualname__.replace("<locals>", "locals")
    return with_digest(f"{kind.__module__}:{found}", task)


def with_digest(name: str, task: Any) -> str:
    """The name of a ``task`` with the digest of what it was made of, if it is an import path."""
    return f"{without_digest(name)}#{digest(task)}" if is_import_path(name) else name


def _imported_task(name: str) -> Task:
    path = without_digest(name)
    found = _at_import_path(path)
    if path != name and with_digest(path, found) != name:
        raise UserError(
            f"{path} leads to another task than the one meant by {name}, whose attributes had "
            "other values: give the task itself, in Python with task=..."
        )
    return found


def _at_import_path(path: str) -> Task:
    module, _, name = path.partition(":")
    if module not in sys.modules:
        raise UserError(
            f"the task {path} is an object of a module that has not been imported: "
            + how_to_load(module)
        )
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    if is_task(found):
        return found
    made = None
    # The path may come from a file: nothing but the class of a task is ever called.
    if isinstance(found, type) and found.__module__ == module and _makes_tasks(found):
        with contextlib.suppress(TypeError):  # it needs arguments
            made = found()
    if not is_task(made):
        raise UserError(
            f"the task {path} cannot be found again: {module} has no task of that name, and none "
            "that is made without arguments. Give the task itself, as in train(algorithm, task, "
            "run_dir=..., resume=True), or keep it in a variable of its module"
        )
    return made
