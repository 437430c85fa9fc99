"""The grammar of task names, and what a family of tasks offers. Imports no environment.

``family/name``, then the options that are not the default: ``smax/2s3z:backend=jaxmarl``. A task
that is an object of somebody's own goes by its import path, ``my_package.tasks:Switches``, with a
digest of what it was made of: ``my_package.tasks:Switches#0f3a5c7e``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lica_jax.errors import UserError, unknown


class Free(NamedTuple):
    """An option that takes more than a few words; ``parse`` gives a value's one spelling, or raises
    ``ValueError``."""

    default: str
    parse: Callable[[str], str]


Choice = tuple[str, ...] | Free


@dataclass(frozen=True)
class Family:
    """A group of tasks that are made by one function and share the first part of their names.

    Attributes:
      names: names of the tasks that `lica-jax list` shows, without the family's name.
      make: ``make(name, **options) -> Task``, from the task's name in the family and options as
        text; options that are left out have their default. Raises ``UserError``.
      describe: ``describe(name) -> str``, one line about a task.
      match: ``match(name) -> bool``, whether the family knows a name that is not in ``names``
        (tasks of any size).
      options: options by name: their values, the default first, or `Free`.
      options_of: the one task that takes the options, if not all tasks do.
      patience: options that change nothing about what is played, so that a resumed run may change
        them.
      shared: whether the tasks are values, so that one object, with the programs compiled for it,
        can serve everybody who asks for it. Never for the tasks of a plugin, whose code may change
        in between.
      plugin: package that registered the family; "" for those of this library.
    """

    names: tuple[str, ...]
    make: Callable[..., Any]
    describe: Callable[[str], str] = lambda name: ""
    match: Callable[[str], bool] = lambda name: False
    options: Mapping[str, Choice] = field(default_factory=dict)
    options_of: str = "*"
    patience: tuple[str, ...] = ()
    shared: bool = False
    plugin: str = ""

    def knows(self, name: str) -> bool:
        """Whether the family has a task of that name."""
        return name in self.names or self.match(name)


def plain_name(name: str) -> str:
    """A task's name without its options."""
    return name.partition(":")[0]


def without_digest(name: str) -> str:
    """A task's name without the digest of what it was made of."""
    return name.partition("#")[0] if is_import_path(name) else name


def name_with(name: str, known: Mapping[str, Choice], options: Mapping[str, str]) -> str:
    """A task's name with those of its options that are not the default, in the family's order."""
    changed = {k: options[k] for k, v in known.items() if options.get(k, v[0]) != v[0]}
    return name + (":" + ",".join(f"{k}={v}" for k, v in changed.items()) if changed else "")


def parsed_options(name: str) -> dict[str, str]:
    """The options that a name spells out; raises ``UserError`` where they are not ``a=x,b=y``."""
    plain, colon, text = name.partition(":")
    pairs = [part.partition("=") for part in text.split(",")] if colon else []
    if not all(key and sep and value for key, sep, value in pairs):
        raise UserError(f"task {plain!r}: options are written as {plain}:a=x,b=y")
    twice = [key for i, (key, *_) in enumerate(pairs) if key in (k for k, *_ in pairs[:i])]
    if twice:
        raise UserError(f"task {plain!r}: option {twice[0]} is given twice")
    return {key: value for key, _, value in pairs}


def checked_options(
    name: str, known: Mapping[str, Choice], options: Mapping[str, str]
) -> dict[str, str]:
    """``options`` in their one spelling; raises ``UserError`` for those that a task lacks."""
    out = {}
    for key, value in options.items():
        if key not in known:
            raise unknown(f"option of task {name}", key, known)
        choice = known[key]
        if isinstance(choice, Free):
            try:
                out[key] = choice.parse(value)
            except ValueError:
                raise UserError(
                    f"option {key} of task {name} cannot be {value!r}; its default is "
                    f"{choice.default}"
                ) from None
        elif value in choice:
            out[key] = value
        else:
            raise unknown(f"value of option {key} of task {name}", value, choice)
    return out


_IMPORT_PATH = re.compile(
    r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(#[0-9a-f]{8})?"
)


def is_import_path(name: str) -> bool:
    """Whether a task's name is where an object is found: ``module:Name``, or what `task_reference`
    gives."""
    return _IMPORT_PATH.fullmatch(name) is not None
