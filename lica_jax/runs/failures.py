"""What keeps a run from going on and is no fault of the code: in one message, with a way on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from jax.errors import JaxRuntimeError

from lica_jax.errors import Diverged, TrainingFailed, UserError, first_line, is_out_of_memory
from lica_jax.runs import directory, messages


@contextlib.contextmanager
def in_words(run_dir: Path | None) -> Iterator[None]:
    """Turns a full disk, a folder that is gone, too little memory and games that do not start into
    a `TrainingFailed` that says how to go on."""
    try:
        yield
    except (UserError, Diverged):
        raise
    except (TrainingFailed, OSError, MemoryError, JaxRuntimeError) as error:
        if not (text := _reason(error)):
            raise
        raise TrainingFailed("\n".join(filter(None, [text, _way_on(run_dir)]))) from error


def _reason(error: Exception) -> str:
    """Why a run cannot go on; "" of what is to be shown as it is."""
    if isinstance(error, TrainingFailed):
        return str(error)
    if isinstance(error, OSError):
        return str(error) if error.errno else ""
    if is_out_of_memory(error):
        return f"out of memory: {first_line(error)}"
    return ""


def _way_on(run_dir: Path | None) -> str:
    if run_dir is None:
        return ""
    if not run_dir.is_dir():
        return f"the run directory {run_dir} is gone"
    return messages.resume(run_dir) if directory.checkpoints(run_dir) else messages.begin(run_dir)
