"""`sweep`: the call."""

from __future__ import annotations

import datetime
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lica_jax.config import is_settings_file
from lica_jax.errors import UserError
from lica_jax.files import as_path
from lica_jax.runs.display import check_style
from lica_jax.runs.words import check_on_signal, check_resume
from lica_jax.sweeps.driver import Driver
from lica_jax.sweeps.folder import Folder
from lica_jax.sweeps.request import merged, read_request
from lica_jax.sweeps.result import SweepResult
from lica_jax.types import Task


def sweep(
    algorithm: str | Path | Sequence[str] | None = None,
    task: str | Task | Sequence[str | Task] | None = None,
    *,
    sweep_dir: str | Path | None = None,
    resume: bool | str = False,
    display: str = "auto",
    on_signal: str = "raise",
    dry_run: bool = False,
    **words: Any,
) -> SweepResult | None:
    """Trains every setting with every seed, in waves of runs side by side.

    Args:
      algorithm: one name or several, or a YAML file that describes a sweep.
      task: one name or several; or task objects of your own that can be found again by import:
        kept in a variable of their module, or made without arguments.
      sweep_dir: directory to write to; by default a new folder under ``sweeps/``.
      resume: continue the sweep in ``sweep_dir``; ``seeds``, ``trials`` and ``total_steps`` may
        grow. "auto": begin this sweep, or continue the same.
      display: progress display: "auto", "bar", "plain", "notebook" or "none".
      on_signal: as in `train`.
      dry_run: only show the plan: settings, programs, waves and memory. Nothing is written.
      words: fields of `SweepConfig`, such as ``seeds=range(8)``, ``grid={"hp.entropy_coef": [0.03,
        0.1]}``, or ``search={"hp.actor_lr": "log:1e-4:3e-3"}`` with ``trials=64``. Everything else
        is a setting of every run, as in `train`: ``total_steps=2e6``.

    Returns:
      The result, which has a table with a row for every run, and the best setting; None of a
      ``dry_run``.

    Raises:
      UserError: bad input. Nothing was compiled or overwritten.
    """
    check_style(display)
    check_on_signal(on_signal)
    if is_settings_file(algorithm) and task is None:
        words = merged(read_request(Path(algorithm)), words)
    else:
        given = {"algorithm": algorithm, "task": task}
        words = {k: v for k, v in given.items() if v is not None} | words
    check_resume(resume)
    if resume and sweep_dir is None:
        raise UserError(f"say which sweep to go on with: sweep(sweep_dir=..., resume={resume!r})")
    path = default_sweep_dir() if sweep_dir is None else as_path(sweep_dir, "sweep_dir")
    resume = resume if resume != "auto" or Folder(path).has_begun() else False
    driver = Driver(words, path, resume=resume, style=display)
    if dry_run:
        print(driver.text)
        return None
    result = driver.run()
    if result.interrupted is not None and on_signal == "raise":
        stop = result.interrupted
        again = f"sweep(sweep_dir={str(path)!r}, resume=True) goes on"
        raise KeyboardInterrupt(again) if stop == signal.SIGINT else SystemExit(128 + stop)
    return result


def default_sweep_dir() -> Path:
    """``sweeps/20260101-120000``."""
    return Path("sweeps") / f"{datetime.datetime.now():%Y%m%d-%H%M%S}"
