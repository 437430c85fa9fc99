"""Errors that a user can act on: one clear message, no traceback, exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class UserError(ValueError):
    """Bad input. The command line prints the message and exits with code 2."""


class TooLarge(UserError):
    """It does not fit into the memory that is free."""


class TrainingFailed(RuntimeError):
    """A run cannot go on: every seed's loss is not finite, its environments do not start any more,
    or it can no longer write. The command line exits with code 1."""


class Diverged(TrainingFailed):
    """The loss of every run became non-finite: to go on would change nothing."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what it came from, is that there is too little memory."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError | TooLarge) or "RESOURCE_EXHAUSTED" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


class BudgetOverrun(UserWarning):
    """A run went on well beyond its budget, because one compiled call is longer than what was left
    of it."""


def unknown(
    kind: str, name: Any, known: Iterable[str], more: str = "`lica-jax list` shows all"
) -> UserError:
    """The error for a name that is not registered, with the nearest names that are."""
    hint = did_you_mean(str(name), known)
    if not hint:
        known = sorted(known)
        hint = "known: " + ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return UserError(f"unknown {kind} {name!r}; {hint}" + (f" ({more})" if more else ""))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean a or b?``, or nothing where no name is near.

    Names with dots are also known by their last part: ``lr`` is near ``algo.lr``.
    """
    known = list(dict.fromkeys(known))

    def last(word: str) -> str:
        return word.rpartition(".")[2].removeprefix("--")

    same = [k for k in known if last(k) == last(name)]
    parts = [k for k in known if last(k).endswith(f"-{last(name)}")]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    found = (same or (parts if len(last(name)) < 4 else []) or near)[:3]
    return f"did you mean {' or '.join(found)}?" if found else ""


def visible(text: str, most: int = 600) -> str:
    """Text that is partly from outside, cut where it is long, with escapes for all that a terminal
    would obey instead of show."""
    text = text if len(text) <= most else text[:most] + " ..."
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
