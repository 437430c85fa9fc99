"""Settings as flags: every field of a configuration, parsed into what `config.merge` takes.

The shell, files and Python share one set of names and messages: a flag only says which field it is
for, and `merge` judges its value.
"""

from __future__ import annotations

import argparse
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

from lica_jax.cli.parsing import Parser
from lica_jax.config import TrainConfig
from lica_jax.config.schema import Setting, nested, settings
from lica_jax.errors import UserError, unknown
from lica_jax.types import Number, numbers

# Short names of settings that are asked for all the time.
SHORT = {"--envs": "--collect.envs", "--save-replay": "--eval.save-replay"}
# `--plugin` names those, before there is a configuration.
NO_FLAGS = ("plugins",)
# Named in other ways; their flags are there to say how.
NOT_SHOWN = ("algorithm", "task", "preset")


def flag_of(name: str) -> str:
    """``--hp.entropy-coef`` of ``hp.entropy_coef``."""
    return "--" + name.replace("_", "-")


def negated(name: str) -> str:
    """``--algo.no-double-q`` of ``algo.double_q``."""
    group, _, last = name.rpartition(".")
    return flag_of(f"{group}.no_{last}" if group else f"no_{last}")


def flagged(config: TrainConfig) -> list[Setting]:
    """The settings that have flags."""
    return [setting for setting in settings(config) if setting.name not in NO_FLAGS]


def parse_settings(
    config: TrainConfig, words: Iterable[str], others: Iterable[str] = ()
) -> dict[str, Any]:
    """The flags among a command's words as nested values for `merge`.

    Args:
      config: what the flags are for.
      words: flags and their values.
      others: the command's flags that are no settings, offered for misspelled ones.

    Raises:
      UserError: an unknown flag, or one without a value.
    """
    words = [_spelled_out(word) for word in words]
    parser = Parser(prog="lica-jax train", add_help=False, allow_abbrev=False)
    for setting in flagged(config):
        _add(parser, setting)
    known = [option for action in parser._actions for option in action.option_strings]
    for word in words:
        flag = word.partition("=")[0]
        if flag.startswith("--") and flag not in known:
            raise unknown("flag", flag, [*known, *others], "`lica-jax train --help` shows all")
    _check_switches(config, words)
    return nested(vars(parser.parse_args(words)))


def _check_switches(config: TrainConfig, words: Iterable[str]) -> None:
    """Refuses a switch that is turned on and off in one command."""
    given = {word.partition("=")[0] for word in words}
    for setting in flagged(config):
        on, off = flag_of(setting.name), negated(setting.name)
        if setting.hint is bool and on in given and off in given:
            raise UserError(f"{on} and {off} contradict each other: leave one out")


def _spelled_out(word: str) -> str:
    """A flag in its one spelling: dashes, no short name. Values stay as they are."""
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    flag = flag.replace("_", "-")
    return SHORT.get(flag, flag) + equals + value


def _add(parser: argparse._ActionsContainer, setting: Setting, text: str | None = None) -> None:
    """The flag of one setting; its value stays text."""
    options: dict[str, Any] = {"dest": setting.name, "default": argparse.SUPPRESS, "help": text}
    flag = flag_of(setting.name)
    flags = [flag, *(short for short, long in SHORT.items() if long == flag)]
    if setting.hint is bool:  # alone it means True
        parser.add_argument(*flags, nargs="?", const=True, metavar="BOOL", **options)
        options["help"] = argparse.SUPPRESS
        parser.add_argument(negated(setting.name), action="store_const", const=False, **options)
    else:
        several = get_origin(setting.hint) is tuple
        kind = kind_of(setting.hint)
        parser.add_argument(*flags, nargs="*" if several else None, metavar=kind, **options)


def kind_of(hint: Any) -> str:
    """What may be said of a setting: ``INT``, ``{gru,mlp}``, ``FLOAT|none``."""
    if get_origin(hint) is typing.Literal:
        return "{" + ",".join(map(str, get_args(hint))) + "}"
    if get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [kind_of(part) for part in get_args(hint)]
        return "|".join(kind.strip("{}") for kind in kinds)
    if get_origin(hint) is tuple:
        return kind_of(get_args(hint)[0])
    names = {int: "INT", float: "FLOAT", str: "TEXT", bool: "BOOL", type(None): "none"}
    return names.get(hint, getattr(hint, "__name__", str(hint)).upper())


# --- help ----------------------------------------------------------------------------------------

TITLES = {
    "": "the run", "algo": "algo: static choices, changing one recompiles",
    "hp": "hp: numbers, changing one never recompiles",
    "collect": "collect: how experience is gathered",
    "eval": "eval: greedy and sampled", "checkpoint": "checkpoint",
}  # fmt: skip


def settings_help(config: TrainConfig, sources: Mapping[str, str]) -> str:
    """Every setting with what it means, its range, its value and the file that says so."""
    parser = Parser(prog="lica-jax train", usage=argparse.SUPPRESS, add_help=False)
    docs, facts = field_docs(config), numbers(config.hp)
    groups = {name: parser.add_argument_group(title) for name, title in TITLES.items()}
    for setting in flagged(config):
        group, _, last = setting.name.rpartition(".")
        if setting.name in NOT_SHOWN:
            continue
        if group not in groups:
            groups[group] = parser.add_argument_group(group)
        known = facts.get(last) if group == "hp" else None
        text = " ".join(filter(None, [docs.get(setting.name), _range(known)]))
        source = sources.get(setting.name)
        said = f"[{_shown(setting.value)}" + (f", {source}]" if source else "]")
        _add(groups[group], setting, f"{text} {said}".strip().replace("%", "%%"))
    return parser.format_help().strip()


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _range(facts: Number | None) -> str:
    if facts is None or (facts.low is None and facts.high is None):
        return ""
    if facts.high is None:
        return f"At least {facts.low:g}."
    return f"At most {facts.high:g}." if facts.low is None else f"{facts.low:g} to {facts.high:g}."


def field_docs(config: Any, prefix: str = "") -> dict[str, str]:
    """What the docstrings say of every field, nested ones with a dot."""
    import dataclasses

    out: dict[str, str] = {}
    for kind in reversed(type(config).__mro__):
        out |= {prefix + name: text for name, text in _attributes(kind).items()}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            out.pop(prefix + f.name, None)
            out |= field_docs(value, f"{prefix}{f.name}.")
    return out


def _attributes(kind: type) -> dict[str, str]:
    """The ``Attributes:`` of a class's own docstring."""
    import docstring_parser

    text = kind.__dict__.get("__doc__") or ""
    try:
        parsed = docstring_parser.parse(text, style=docstring_parser.DocstringStyle.GOOGLE)
    except docstring_parser.ParseError:  # somebody's, in another style
        return {}
    return {
        p.arg_name: " ".join((p.description or "").replace("``", "").split()) for p in parsed.params
    }
