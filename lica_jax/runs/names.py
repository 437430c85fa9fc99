"""The files of a run directory by name; reading them needs no JAX."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from lica_jax.errors import UserError
from lica_jax.files import as_word

CONFIG, RUNS, COMMANDS, LOCK = "config.json", "runs.json", "command.txt", ".lock"
METRICS, EVALS, RESULT = "metrics.jsonl", "eval.jsonl", "result.json"
POLICY, POLICY_LAST = "policy.safetensors", "policy_last.safetensors"
CRITIC, CURVE = "critic.safetensors", "learning_curve.png"
CHECKPOINTS, REPLAYS, LOGS = "checkpoints", "replays", "logs"
VERSIONS = "versions.json"
MODES = {"greedy": "eval/", "sampled": "eval/sampled/"}  # and what rows call their figures
SWEEP, PLAN = "sweep.yaml", "plan.json"  # of a sweep's directory, which holds those of its runs


def sweep_of(path: Path) -> Path | None:
    """The directory of a sweep: of itself, of its folder of runs or of waves, or of a wave, whose
    folder looks like a run's; None for anything else."""
    sweep = path.parent if path.name in ("runs", "waves") else path
    sweep = path.parent.parent if path.parent.name == "waves" else sweep
    return sweep if (sweep / SWEEP).is_file() else None


def runs_of_sweep(sweep: Path) -> list[Path]:
    """The directories of its runs that have come to their ends."""
    return sorted(path for path in (sweep / "runs").glob("[0-9]*") if path.is_dir())


def wave_is_over(wave: Path) -> bool:
    """Whether a folder is a wave of a sweep whose runs all have folders of their own by now."""
    if wave.parent.name != "waves" or (sweep := sweep_of(wave)) is None:
        return False
    there = {path.name for path in runs_of_sweep(sweep)}
    try:
        plan = json.loads((sweep / PLAN).read_bytes())
        own = next(w["runs"] for w in plan["waves"] if w["name"] == wave.name)
        return all(f"{run:04d}" in there for run in own)
    except (OSError, ValueError, LookupError, TypeError, StopIteration, RecursionError):
        return False


def run_dirs(path: Path) -> Iterator[Path]:
    """The folders with a configuration under ``path``, itself included, in order of their names,
    links followed; what lies inside a run is none, nor is a wave of a sweep whose runs are there by
    themselves, nor a hidden folder, in which a sweep makes a run that is not whole yet."""
    seen: set[Path] = set()
    for folder, inner, files in os.walk(path, followlinks=True):
        place = Path(folder).resolve()
        if place in seen:  # a link leads back
            inner.clear()
            continue
        seen.add(place)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if CONFIG in files:
            inner.clear()
            if Path(folder) == path or not wave_is_over(place):
                yield Path(folder)


def check_no_sweep(path: Path) -> None:
    """Raises ``UserError`` for a sweep where a run is wanted: says which, or how to come to one."""
    if (sweep := sweep_of(path)) is None:
        return
    if runs := runs_of_sweep(sweep):
        raise UserError(f"{path} is of a sweep: name one of its runs, such as {runs[0]}")
    raise UserError(
        f"no run of the sweep in {sweep} has come to its end yet; finish it with: lica-jax "
        f"sweep --resume --sweep-dir {as_word(sweep)} (with --total-steps N to end it sooner)"
    )
