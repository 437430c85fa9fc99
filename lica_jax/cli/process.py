"""What a command does to its whole process, which a library may not: logs, warnings, hooks."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings

from lica_jax.errors import BudgetOverrun


def quiet_libraries() -> None:
    """Leaves the terminal to our own messages."""
    # Orbax reports every save at INFO and harmless clean-ups at WARNING.
    logging.getLogger("absl").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", BudgetOverrun)  # the last lines of a run say so
    sys.unraisablehook = _without_orphans(sys.unraisablehook)


def drop_output() -> None:
    """What is left unwritten may stay so: Python would report it once more when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError):  # no stream, or a closed one
            continue
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _without_orphans(hook):
    """``hook`` without the reads that orbax leaves behind when one of them fails.

    They end after its event loop is closed and would print a traceback each, behind the one message
    that says what is wrong.
    """
    if getattr(hook, "quiet", False):
        return hook

    def quiet(info):
        if not (
            isinstance(info.exc_value, RuntimeError) and "loop is closed" in str(info.exc_value)
        ):
            hook(info)

    quiet.quiet = True
    return quiet
