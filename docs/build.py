"""Writes the pages of docs/reference/ that say what the code says.

python docs/build.py            writes them; a test fails where one is not what this writes
python docs/build.py --check    only says which would change, with exit code 1
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import os
import sys
import typing
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from lica_jax.algorithms import algorithm_module, algorithm_names, find_algorithm
from lica_jax.cli import main, sc2
from lica_jax.cli.settings import TITLES, field_docs, kind_of
from lica_jax.config import TrainConfig, load_config
from lica_jax.config.schema import Setting, settings
from lica_jax.types import MANY, Number, numbers

HERE = Path(__file__).resolve().parent / "reference"
NOTE = "<!-- Written by `python docs/build.py`: change the code, not this page. -->\n\n"
COLUMNS = 100  # of the terminal in which --help is shown
COMMANDS_INTRO = """\
# Command line

The help of every command. `lica-jax train ALGORITHM TASK --help` also lists the
[settings](settings.md), with their values for that algorithm on that task. Bad input is refused
with one message and exit code 2, before anything is compiled or written."""
SETTINGS_INTRO = """\
# Settings

Every field of a run's configuration. Set `hp.entropy_coef` with `--hp.entropy-coef 0.1` on the
command line, `hp: {entropy_coef: 0.1}` in a YAML file, or `train(..., hp={"entropy_coef": 0.1})` in
Python. A switch such as `algo.double_q` is `--algo.double-q` or `--algo.no-double-q`.

**Defaults** are those in the code, mostly from the papers or their authors' code. A preset, `fast`
unless you name another, replaces some of them, depending on the algorithm and the task:
`lica-jax train ALGORITHM TASK --preset NAME --help` shows the values that a run will use, and the
file that sets each of them. Changing a value in `hp` never recompiles, so such values can be swept
side by side in one program. Changing one in `algo` or `collect` means compiling another program."""


# --- command line --------------------------------------------------------------------------------


def command_line() -> str:
    """Every command with its help, and what `lica-jax list` knows."""
    parts = [COMMANDS_INTRO, _console("lica-jax")]
    for name in main.COMMANDS:
        words = [name] if name == "sc2" else [name, "--help"]
        parts += [f"## {name}", _console("lica-jax", *words)]
        if name == "train":
            parts[-1] = parts[-1].partition("\nSETTINGS, in")[0].rstrip() + "\n```"
            parts.append("The help then lists [the settings](settings.md) with their values.")
        if name == "sc2":
            for inner in sc2.COMMANDS:
                parts += [f"### sc2 {inner}", _console("lica-jax", name, inner, "--help")]
    parts += ["## What there is", _console("lica-jax", "list")]
    return "\n\n".join(parts) + "\n"


def _console(*words: str) -> str:
    """A command and what it prints, as a block."""
    out = io.StringIO()
    plain = {"COLUMNS": str(COLUMNS), "NO_COLOR": "1"}
    with patch.dict(os.environ, plain), contextlib.redirect_stdout(out):
        try:
            main.main(list(words[1:]))
        except SystemExit as end:  # argparse, behind its help
            assert not end.code, words
    lines = [line.rstrip() for line in out.getvalue().strip().splitlines()]
    return "```console\n$ " + " ".join(words) + "\n" + "\n".join(lines) + "\n```"


# --- settings ------------------------------------------------------------------------------------


class Row(NamedTuple):
    """What there is to know of a setting, equal for the algorithms that share it."""

    name: str
    kind: str  # with its range
    default: str
    meaning: str


def settings_page() -> str:
    """Every setting of every algorithm."""
    shared, own = _rows()
    parts = [SETTINGS_INTRO]
    for group, title in TITLES.items():
        rows = shared.get(group) or own.get(group) or {}
        heading = {"": "The run", "hp": "hp: numbers", "algo": "algo: static choices"}
        parts += [f"## {heading.get(group, title)}", _table(rows, with_users=group in own)]
    return "\n\n".join(parts) + "\n"


def _rows() -> tuple[dict[str, dict[Row, list[str]]], dict[str, dict[Row, list[str]]]]:
    """Rows by group, of every run and of single algorithms, with the algorithms of each."""
    shared: dict[str, dict[Row, list[str]]] = {}
    own: dict[str, dict[Row, list[str]]] = {"algo": {}, "hp": {}}
    for algorithm in algorithm_names():
        if find_algorithm(algorithm).plugin:
            continue
        config = _defaults(algorithm)
        docs = field_docs(config)
        for setting in settings(config):
            group = group_of(setting.name)
            row = _row(config, setting, docs.get(setting.name, ""))
            rows = own[group] if group in own else shared.setdefault(group, {})
            rows.setdefault(row, []).append(algorithm)
    return shared, {group: _in_order(rows) for group, rows in own.items()}


def _defaults(algorithm: str) -> TrainConfig:
    """A configuration as the code has it, without any preset."""
    module = algorithm_module(algorithm)
    config = load_config(algorithm, "probe/match")
    plain = {f.name: f for f in dataclasses.fields(TrainConfig)}
    values = {
        name: f.default_factory() if f.default is dataclasses.MISSING else f.default
        for name, f in plain.items()
        if name not in ("algorithm", "task", "algo", "hp")
    }
    return dataclasses.replace(config, algo=module.Config(), hp=module.HParams(), **values)


def group_of(name: str) -> str:
    """``hp`` of ``hp.gamma``, "" of ``seeds``."""
    return name.rpartition(".")[0]


def _row(config: TrainConfig, setting: Setting, meaning: str) -> Row:
    group, name = group_of(setting.name), setting.name.rpartition(".")[2]
    facts = numbers(getattr(config, group) if group else config)[name]
    required = not group and name in ("algorithm", "task")
    default = "" if required else _default(setting, facts)
    span = _range(setting, facts, group)
    kind = ", ".join(filter(None, [_kind(setting), span]))
    return Row(setting.name, kind, default, meaning.removesuffix("."))


def _kind(setting: Setting) -> str:
    """``float or none``, or the words that may be said."""
    kind = kind_of(setting.hint)
    if kind.startswith("{"):
        return ", ".join(f"`{word}`" for word in kind.strip("{}").split(","))
    names = {"INT": "integer", "TEXT": "text", "FLOAT": "number", "BOOL": "switch", "none": "none"}
    kinds = " or ".join(names.get(word, f"`{word}`") for word in kind.split("|"))
    several = typing.get_origin(setting.hint) is tuple
    return kinds + "s" * several


def _default(setting: Setting, facts: Number) -> str:
    value = setting.value
    if value is None:
        return f"as `{group_of(setting.name)}.{facts.start}`" if facts.start else "the task's"
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:,g}"
    return f"{value:,}" if isinstance(value, int) else value


def _range(setting: Setting, facts: Number, group: str) -> str:
    low, high = facts.low, facts.high
    if setting.hint is int and low is None and group == "algo":
        low = 1
    if high is not None and high >= MANY:
        high = None
    if low is None and high is None:
        return ""
    if high is None:
        return "> 0" if low == 1e-12 else f"at least {low:g}"
    return f"{low:g} to {high:,g}" if high < 1e4 else f"{low:g} to {high:,.0f}"


def _in_order(rows: dict[Row, list[str]]) -> dict[Row, list[str]]:
    """What most algorithms have first; rows of one name beside each other."""
    users: dict[str, int] = {}
    for row, names in rows.items():
        users[row.name] = users.get(row.name, 0) + len(names)
    first = {name: i for i, name in enumerate(users)}
    return dict(sorted(rows.items(), key=lambda item: (-users[item[0].name], first[item[0].name])))


def _table(rows: dict[Row, list[str]], with_users: bool) -> str:
    head = ["setting", "type", "default", "meaning", *(["algorithms"] if with_users else [])]
    lines, before = [head, ["---"] * len(head)], ""
    everybody = sum(not find_algorithm(name).plugin for name in algorithm_names())
    for row, names in rows.items():
        users = "all" if len(names) == everybody else ", ".join(names)
        name = "" if row.name == before else f"`{row.name}`"
        before = row.name
        cells = [name, row.kind, row.default, row.meaning, *([users] if with_users else [])]
        lines.append([cell.replace("|", "\\|") for cell in cells])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


# --- files ---------------------------------------------------------------------------------------

PAGES = {"command_line.md": command_line, "settings.md": settings_page}


def text(name: str) -> str:
    """What a page has to say."""
    return NOTE + PAGES[name]()


def stale() -> list[str]:
    """The pages that are not what the code says."""
    paths = [HERE / name for name in PAGES]
    return [p.name for p in paths if not p.is_file() or p.read_text() != text(p.name)]


def run() -> int:
    parser = argparse.ArgumentParser(description="Writes the pages of docs/reference/.")
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        found = stale()
        for name in found:
            print(f"docs/reference/{name} is not what the code says")
        return 1 if found else 0
    HERE.mkdir(exist_ok=True)
    for name in PAGES:
        (HERE / name).write_text(text(name))
    return 0


if __name__ == "__main__":
    sys.exit(run())
