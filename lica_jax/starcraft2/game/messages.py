"""The game's protobuf messages, from whichever package holds them: nothing else imports it.

`messages.Request`, `messages.Unit`, `messages.in_game`, ... are looked up on first use, so that
importing this module (and anything that imports it) works without the extra. A package that is
missing, doubled or too old is a UserError with the command that repairs it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from typing import Any

from lica_jax.errors import UserError

PACKAGE = "pys2clientprotocol"
# Blizzard's own distribution: the same import name, but its code is too old for today's protobuf.
RIVAL = "s2clientprotocol"
INSTALL = 'pip install "lica_jax[sc2]"'
REPAIR = f"pip uninstall -y {RIVAL} {PACKAGE} && {INSTALL}"
UPGRADE = 'pip install -U "protobuf>=6.31.1,<8"'

_MODULES = ("sc2api", "common", "raw", "debug", "error")


def distribution_version(name: str) -> str | None:
    """The installed version of a distribution, None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def load() -> tuple[Any, ...]:
    """The generated modules (the game's API, common, raw, debug, error); UserError with the fix."""
    if distribution_version(PACKAGE) and distribution_version(RIVAL):
        raise UserError(
            f"{PACKAGE} and {RIVAL} are both installed and overwrite each other's files; {REPAIR}"
        )
    try:
        return tuple(importlib.import_module(f"s2clientprotocol.{name}_pb2") for name in _MODULES)
    except ModuleNotFoundError as error:
        if distribution_version(PACKAGE) and distribution_version("protobuf"):
            fix = f"the files of {PACKAGE} are incomplete; {REPAIR}"
        else:
            fix = INSTALL
        raise UserError(f"StarCraft II needs its message package ({error}); {fix}") from error
    except Exception as error:  # protobuf's own refusals: VersionError, TypeError, ...
        fix = REPAIR if distribution_version(RIVAL) else UPGRADE
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"the message package does not work with protobuf "
            f"{distribution_version('protobuf')} ({reason[0]}); {fix}"
        ) from error


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for module in load():
            if hasattr(module, name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
