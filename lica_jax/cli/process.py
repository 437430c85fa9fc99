"""What a command does to its whole process, which a library may not: logs, warnings, hooks."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings

from lica_jax.errors import BudgetOverrun, UserError, first_line, is_out_of_memory
from lica_jax.machine import LEAST_ADDRESSES, address_space, gib


def printable_output() -> None:
    """Lets a terminal or a file of another encoding show a mark for what it does not have."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # somebody's own, or closed
            stream.reconfigure(errors="replace")


def import_jax() -> None:
    """Imports JAX, which reads its settings from the environment then.

    Raises:
      UserError: a setting is none, or the process may not have the memory.
    """
    # XLA complains of slow compilations at the level of errors. What really fails in it is raised,
    # and what ends the process is said at every level.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    free = address_space()
    if free is not None and free < LEAST_ADDRESSES:
        raise UserError(
            f"{gib(free)} of address space are left to this process, and JAX needs about "
            f"{gib(LEAST_ADDRESSES)}: raise the limit (ulimit -v)"
        )
    try:
        import jax  # noqa: F401
    except Exception as error:
        raise UserError(f"JAX cannot be imported: {first_line(error)}{_settings()}") from error


def find_device() -> None:
    """Looks for a device where JAX is told to use other ones than the CPU, which is always there.

    Raises:
      UserError: there is none. JAX itself may end in an assertion without a word.
    """
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if not platforms or "cpu" in platforms.split(","):
        return
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        text = "no such device is here" if isinstance(error, AssertionError) else first_line(error)
        raise UserError(f"JAX cannot start: {text}{_settings()}") from error


def explained(error: Exception) -> tuple[str, int] | None:
    """What to say, and the exit code, where JAX has no device or no memory left; None of any other
    error."""
    text = first_line(error)
    if "initialize backend" in text:
        return f"JAX cannot start: {text}{_settings()}", 2
    if is_out_of_memory(error):
        return f"out of memory: {text}", 1
    return None


def _settings() -> str:
    """JAX's settings in the environment, in words."""
    known = {k: v for k, v in os.environ.items() if k.startswith("JAX_")}
    said = ", ".join(f"{k}={v}" for k, v in sorted(known.items()))
    return f" (the environment sets {said})" if said else ""


def quiet_libraries() -> None:
    """Leaves the terminal to our own messages."""
    # Orbax reports every save at INFO and harmless clean-ups at WARNING; what it reports as errors,
    # once a thread, with tracebacks, it raises too, and that is what we tell.
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", BudgetOverrun)  # the last lines of a run say so
    # A full disk keeps no programs: they are compiled again.
    warnings.filterwarnings("ignore", "Error (read|writ)ing persistent compilation cache")
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
