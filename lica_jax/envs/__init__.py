"""Tasks: one family per module, resolved by name such as ``smax/3m`` or ``mpe/simple_spread``.

A family may offer options. They are part of the name, so that whatever keeps the name keeps them:
``smax/2s3z:backend=jaxmarl,reward=smac``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from lica_jax.errors import UserError, unknown
from lica_jax.types import Task

# Each module offers `NAMES: tuple[str, ...]`, `describe(name) -> str` and `make(name, **options)
# -> Task`. It may accept further names through `match(name) -> bool` (simple_spread for any n),
# and list its options in `OPTIONS: dict[str, Choice]`, tuples with the default first;
# `OPTIONS_OF` names the one task that takes them, where not all do; `PATIENCE` names options that
# change nothing of what is played, so that a resumed run may change them.
FAMILIES: dict[str, str] = {
    "smax": "lica_jax.envs.smax",
    "smac": "lica_jax.starcraft2.task",
    "mpe": "lica_jax.envs.mpe",
    "game": "lica_jax.envs.games",
    "probe": "lica_jax.envs.probe",
}


class Free(NamedTuple):
    """An option that takes more than a few words; ``parse`` gives a value's one spelling, or raises
    ``ValueError``."""

    default: str
    parse: Callable[[str], str]


Choice = tuple[str, ...] | Free


def task_names() -> list[str]:
    """All registered task names; imports no environment library."""
    return [
        f"{family}/{name}"
        for family, module in FAMILIES.items()
        for name in importlib.import_module(module).NAMES
    ]


def task_options() -> dict[str, dict[str, Choice]]:
    """Options by the tasks that take them; of each option the values, the default first."""
    out = {}
    for family, path in FAMILIES.items():
        module = importlib.import_module(path)
        if options := getattr(module, "OPTIONS", {}):
            out[f"{family}/{getattr(module, 'OPTIONS_OF', '*')}"] = options
    return out


def make_task(name: str, **options: Any) -> Task:
    """Builds the task ``name``, such as ``"smax/2s3z"`` or ``"smax/2s3z:backend=jaxmarl"``.

    Args:
      name: registered name, with or without options.
      options: more options, as text or as numbers and booleans; they become part of the task's
        name.

    Raises:
      UserError: unknown name, option or value, with the nearest ones that exist.
    """
    if not isinstance(name, str):
        raise UserError(f"a task is a name such as smax/3m, got {name!r}")
    options = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in options.items()}
    plain, _, text = name.partition(":")
    family, _, short = plain.partition("/")
    if family in FAMILIES and short:
        module = importlib.import_module(FAMILIES[family])
        if short in module.NAMES or getattr(module, "match", lambda _: False)(short):
            known = getattr(module, "OPTIONS", {})
            return module.make(short, **_checked(plain, known, _parsed(name, text) | options))
    raise unknown("task", plain, task_names())


def plain_name(name: str) -> str:
    """A task's name without its options."""
    return name.partition(":")[0]


def same_task(a: str, b: str) -> bool:
    """Whether two tasks are the same game, however patiently it is waited for."""

    def played(name: str) -> tuple[str, dict[str, str]]:
        plain, _, text = name.partition(":")
        path = FAMILIES.get(plain.partition("/")[0])
        ignored = getattr(importlib.import_module(path), "PATIENCE", ()) if path else ()
        options = _parsed(name, text)
        return plain, {k: v for k, v in options.items() if k not in ignored}

    return a == b or played(a) == played(b)


def name_with(name: str, known: dict[str, Choice], options: dict[str, str]) -> str:
    """A task's name with those of its options that are not the default, in the family's order."""
    changed = {k: options[k] for k, v in known.items() if options.get(k, v[0]) != v[0]}
    return name + (":" + ",".join(f"{k}={v}" for k, v in changed.items()) if changed else "")


def describe_task(name: str) -> str:
    """One line about a registered task."""
    family, _, short = name.partition("/")
    return importlib.import_module(FAMILIES[family]).describe(short)


def _parsed(name: str, text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    if not all(key and sep and value for key, sep, value in pairs):
        raise UserError(f"task {name!r}: options are written as {name.partition(':')[0]}:a=x,b=y")
    twice = [key for i, (key, *_) in enumerate(pairs) if key in (k for k, *_ in pairs[:i])]
    if twice:
        raise UserError(f"task {name!r}: option {twice[0]} is given twice")
    return {key: value for key, _, value in pairs}


def _checked(name: str, known: dict[str, Choice], options: dict[str, str]) -> dict[str, str]:
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
