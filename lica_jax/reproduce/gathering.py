"""A figure whose runs were trained in several folders, on one machine or on many."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lica_jax.errors import UserError
from lica_jax.files import read_json
from lica_jax.reproduce.trained import RUNS, check_held, check_out, finish, settings_of
from lica_jax.runs.names import CONFIG, runs_of_sweep
from lica_jax.sweeps.folder import PLAN


def gather(
    figure: str, scale: str, out: Path, parts: Sequence[Path], say: Callable[[str], None] = print
) -> None:
    """Writes the numbers and pictures of what ``lica-jax reproduce`` trained in several folders.

    Args:
      figure: a figure that is trained, of `EXPERIMENTS`.
      scale: of `SCALES`.
      out: an empty or a new folder.
      parts: its folders with this figure and scale, each with some of the algorithms, tasks or
        seeds. Runs that have not come to their ends are left out, and said to be.
      say: takes what is told.

    Raises:
      UserError: no such part, a run that two of them hold, or nothing to draw; nothing was written.
    """
    check_out(figure, scale, out, resume=False)
    held: dict[str, Path] = {}
    for part in parts:
        if not part.is_dir():
            raise UserError(f"--gather {part} is not a directory")
        check_held(figure, scale, part, "--gather")
        own = runs_of_sweep(part / RUNS)
        for run in own:
            what = json.dumps(read_json(run / CONFIG), sort_keys=True)  # the seed is in it
            if what in held:
                raise UserError(f"{held[what]} and {run} are the same run: give one of the two")
            held[what] = run
        if len(own) < (planned := _planned(part)):
            say(f"{part}: {len(own)} of {planned} runs have come to their ends.")
    order = [_method(dataclasses.asdict(s.config)) for s in settings_of(figure, scale)[1]]
    found = [(order.index(_method(json.loads(what))), run) for what, run in held.items()]
    finish(figure, scale, out, [run for _, run in sorted(found)], say)


def _method(config: dict[str, Any]) -> tuple[str, ...]:
    """What tells the settings of a figure apart."""
    return config["task"], config["algorithm"], config["preset"]


def _planned(part: Path) -> int:
    """How many runs a part is of."""
    plan = part / RUNS / PLAN
    return len(read_json(plan)["runs"]) if plan.is_file() else 0
