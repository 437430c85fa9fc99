"""What a command does to its whole process, which a library may not: caches, logs, hooks."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path


def use_compilation_cache() -> None:
    """Keeps compiled programs between runs, unless the user has chosen a place already."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(base / "lica_jax" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def quiet_libraries() -> None:
    """Leaves the terminal to our own messages."""
    # Orbax reports every save at INFO and harmless clean-ups at WARNING.
    logging.getLogger("absl").setLevel(logging.ERROR)
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
