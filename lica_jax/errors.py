"""Errors that a user can act on: one clear message, no traceback, exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The command line prints the message and exits with code 2."""


class TrainingFailed(RuntimeError):
    """A run cannot go on: every seed's loss is not finite, or its environments do not start any
    more. The command line exits with code 1."""


def unknown(
    kind: str, name: str, known: Iterable[str], more: str = "`lica-jax list` shows all"
) -> UserError:
    """The error for a name that is not registered, with the nearest names that are."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    else:
        hint = "known: " + ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return UserError(f"unknown {kind} {name!r}; {hint} ({more})")
