"""What the command lines share: subcommands, parsers whose errors are ours, numbers."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from lica_jax.errors import UserError, did_you_mean, unknown
from lica_jax.files import as_path, put

NARROWEST = 40  # columns


def dispatch(
    prog: str,
    about: str,
    commands: dict[str, tuple[Callable[[list[str]], int], str]],
    argv: list[str],
) -> int:
    """Runs a subcommand and returns its exit code, or shows what there is.

    Args:
      prog: the words before the subcommand, as in "lica-jax sc2".
      about: what ``prog`` is, in a line.
      commands: functions of the remaining words, and what they do in a line, by name.
      argv: the words behind ``prog``.

    Raises:
      UserError: no such subcommand.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(f"{prog}: {about}\n\ncommands:")
        width = max(map(len, commands))
        for name, (_, text) in commands.items():
            print(f"  {name:{width}} {text}")
        print(f"\n`{prog} COMMAND --help` shows the options of a command")
        return 0
    name, *rest = argv
    if name not in commands:
        raise unknown("command", name, commands, f"`{prog}` shows all")
    return commands[name][0](rest)


def check_words(words: list[str]) -> None:
    """Refuses what no command can take: an empty word, or bytes that are no text.

    An empty one is a variable of the user's script that is not set; as a path it would be the
    working directory.
    """
    for before, word in zip(["", *words], words, strict=False):
        flag, equals, value = word.partition("=")
        if equals and flag.startswith("--") and not value.strip():
            raise UserError(f"{flag} has an empty value")
        if not word.strip():
            where = f"the word after {before!r}" if before else "the first word"
            raise UserError(f"{where} is empty")
        if not word.isprintable():
            raise UserError(f"{word!r} is no text of printable characters")


def help_format(prog: str) -> argparse.HelpFormatter:
    """Help as wide as the terminal; where that has no room for a word argparse never ends."""
    width = max(shutil.get_terminal_size().columns - 2, NARROWEST)
    return argparse.HelpFormatter(prog, width=width)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are ours. Takes no abbreviations."""

    def __init__(self, **options):
        super().__init__(**{"allow_abbrev": False, "formatter_class": help_format} | options)
        # argparse knows -1 and -.5 for values, and takes -1e-3 for a flag.
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")

    def add_plugin(self) -> None:
        """The flag that names packages from outside."""
        self.add_argument(
            "--plugin", action="append", default=[], metavar="MODULE",
            help="module to import first, which adds algorithms or tasks; may be repeated",
        )  # fmt: skip

    def parse_known_args(self, args=None, namespace=None):
        for flag in self._twice(args or []):
            put(f"{flag} is given twice: the last one counts", sys.stderr)
        found, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            name = (action.option_strings or [action.dest])[-1]
            match getattr(found, action.dest, None):
                case Path() as path:
                    setattr(found, action.dest, as_path(path, name))
                case [Path(), *_] as paths:
                    setattr(found, action.dest, [as_path(path, name) for path in paths])
        return found, rest

    def _twice(self, words: list[str]) -> list[str]:
        """Flags whose earlier values are lost."""
        single = {
            flag: action.dest
            for action in self._actions
            if action.nargs != 0 and not isinstance(action, argparse._AppendAction)
            for flag in action.option_strings
        }
        given = [flag for word in words if (flag := word.partition("=")[0]) in single]
        counts = Counter(single[flag] for flag in given)
        return [flag for flag in dict.fromkeys(given) if counts[single[flag]] > 1]

    def error(self, message):
        flag = re.search(r"unrecognized arguments: (\S+)", message)
        if flag:
            known = [o for a in self._actions for o in a.option_strings]
            hint = did_you_mean(flag[1], known)
            message += f"; {hint}" if hint else ""
        raise UserError(message)


def plain_number(word: str) -> str:
    """``2e6`` as ``2000000``, so that counts can be written either way."""
    flag, equals, value = word.rpartition("=")
    if re.fullmatch(r"\d+(\.\d*)?[eE]\+?\d+", value) and float(value).is_integer():
        return flag + equals + str(int(float(value)))
    return word


def count(word: str) -> int:
    """An integer, also written as ``2e4``."""
    return int(plain_number(word))
