"""A figure whose runs were trained in several folders, on one machine or on many."""

from __future__ import annotations

import dataclasses
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
      UserError: no such part, one run in two of them, or nothing to draw; nothing was written.
    """
    check_out(figure, scale, out, resume=False)
    methods = [_method(dataclasses.asdict(s.config)) for s in settings_of(figure, scale)[1]]
    held: dict[tuple[Any, ...], Path] = {}
    for part in parts:
        if not part.is_dir():
            raise UserError(f"--gather {part} is not a directory")
        check_held(figure, scale, part, "--gather")
        own = runs_of_sweep(part / RUNS)
        for run in own:
            config = read_json(run / CONFIG)
            try:
                method, (seed,) = _method(config), config["seeds"]
            except (KeyError, TypeError, ValueError):
                raise UserError(f"{run / CONFIG} is damaged") from None
            task, algorithm, preset = method
            what = f"{algorithm} on {task}, preset {preset}"
            if method not in methods:
                raise UserError(f"{run} is {what}: not of {figure} at scale {scale}")
            if (key := (*method, seed)) in held:
                raise UserError(
                    f"{held[key]} and {run} are both {what}, seed {seed}: give one of the two"
                )
            held[key] = run
        if len(own) < (planned := _planned(part)):
            say(f"{part}: {len(own)} of {planned} runs have come to their ends.")
    found = sorted((methods.index(key[:3]), run) for key, run in held.items())
    finish(figure, scale, out, [run for _, run in found], say)


def _method(config: dict[str, Any]) -> tuple[str, ...]:
    """What tells the settings of a figure apart."""
    return config["task"], config["algorithm"], config["preset"]


def _planned(part: Path) -> int:
    """How many runs a part is of."""
    plan = part / RUNS / PLAN
    return len(read_json(plan)["runs"]) if plan.is_file() else 0
