"""A figure whose runs were trained in several folders, on one machine or on many."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lica_jax.errors import UserError
from lica_jax.files import leaves, read_json
from lica_jax.reproduce.trained import RUNS, check_held, finish, settings_of
from lica_jax.runs.names import CONFIG, PLAN, runs_of_sweep


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
      UserError: no such part, one run in two of them, runs of a method with different settings, or
        nothing to draw; nothing was written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out} is there already: choose another --out")
    methods = [_method(dataclasses.asdict(s.config)) for s in settings_of(figure, scale)[1]]
    held: dict[tuple[Any, ...], Path] = {}
    first: dict[tuple[str, ...], tuple[Path, dict[str, Any]]] = {}  # of each method
    for part in parts:
        if not part.is_dir():
            raise UserError(f"--gather {part} is not a directory")
        check_held(figure, scale, part, "--gather")
        own = runs_of_sweep(part / RUNS)
        for run in own:
            config = read_json(run / CONFIG)
            try:
                method, (seed,) = _method(config), map(int, config["seeds"])
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
            other, kept = first.setdefault(method, (run, config))
            if differences := _differences(kept, config):
                raise UserError(f"{other} and {run} are both {what}, but differ in {differences}")
            held[key] = run
        if len(own) < (planned := _planned(part)):
            say(f"{part}: {len(own)} of {planned} runs have come to their ends.")
    found = sorted((methods.index(key[:3]), run) for key, run in held.items())
    missing = [f"{a} on {t}, preset {p}" for t, a, p in methods if (t, a, p) not in first]
    notes = [f"Not here: {'; '.join(missing)}."] if missing else []
    finish(figure, scale, out, [run for _, run in found], say, notes)


def _differences(one: dict[str, Any], other: dict[str, Any]) -> str:
    """In which settings two runs differ, seeds apart; those that a version lacks do not count."""
    a, b = (dict(leaves(config)) for config in (one, other))
    names = [n for n in a.keys() & b.keys() if n != "seeds" and a[n] != b[n]]
    return ", ".join(f"{name} ({a[name]}, {b[name]})" for name in sorted(names)[:4])


def _method(config: dict[str, Any]) -> tuple[str, ...]:
    """What tells the settings of a figure apart."""
    return config["task"], config["algorithm"], config["preset"]


def _planned(part: Path) -> int:
    """How many runs a part is of."""
    try:
        return len(read_json(part / RUNS / PLAN)["runs"])
    except (UserError, KeyError, TypeError):
        return 0
