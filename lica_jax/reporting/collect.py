"""Finds runs in folders, and tells which are left out or have not come to their end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lica_jax.errors import UserError, unknown
from lica_jax.files import as_path
from lica_jax.reporting.reading import FINISHED, Run, exact, read_run_dir
from lica_jax.runs import names

CARRIED = ", their scores count on as they were"
MOST_NAMED = 6  # in a sentence; tables have all


def collect(
    paths: Sequence[str | Path], **asked: Sequence[str]
) -> tuple[list[Run], list[str]]:  # fmt: skip
    """All runs under some folders, and in words what was left out.

    Args:
      paths: run directories, sweep directories, or folders with such at any depth.
      asked: names of runs that are wanted: ``algorithm=["lica"]``; all where there are none.

    Raises:
      UserError: a path is not there or no folder, nothing is left to report, or no run is called
        by a name that is asked for.
    """
    if not paths:
        raise UserError("name at least one folder of runs")
    found: dict[Path, None] = {}
    for path in (as_path(path, "paths") for path in paths):
        if not path.is_dir():
            raise UserError(f"{path} is {'a file' if path.exists() else 'not there'}; name folders")
        below = list(names.run_dirs(path))
        if not below:
            raise UserError(f"{path} holds no run: no folder in it has a {names.CONFIG}")
        found |= dict.fromkeys(run_dir.resolve() for run_dir in below)
    runs, told = [], []
    for run_dir in found:
        try:
            more, why = read_run_dir(_short(run_dir))
        except UserError as error:
            told.append(f"Left out: {error}.")
            continue
        runs += more
        told += why
    runs, twice = without_repeats(_chosen(runs, asked))
    if not runs:
        raise UserError("nothing to report:\n" + "\n".join(f"  - {line}" for line in told))
    return runs, told + twice + _not_finished(runs)


def _chosen(runs: list[Run], asked: dict[str, Sequence[str]]) -> list[Run]:
    for kind, wanted in asked.items():
        known = list(dict.fromkeys(getattr(run, kind) for run in runs))
        for name in wanted if known else ():
            if name not in known:
                raise unknown(f"{kind} of these runs", name, known)
        runs = [run for run in runs if not wanted or getattr(run, kind) in wanted]
    return runs


def _not_finished(runs: Sequence[Run]) -> list[str]:
    """Runs that did not come to the end of their budget, by what became of them."""
    kinds: dict[str, list[Run]] = {}
    for run in runs:
        if run.status != FINISHED:
            kinds.setdefault(f"Failed{CARRIED}" if run.failed else run.status, []).append(run)
    told = []
    for kind, own in kinds.items():
        where = [
            f"{run.path} seed {run.seed} ({f'{run.status}, ' if run.failed else ''}"
            f"{run.steps[-1]:,.0f} of {run.total_steps:,} env steps evaluated)"
            for run in own
        ]
        told.append(f"{kind[0].upper()}{kind[1:]}: {listed(where)}.")
    return told


def listed(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """Some names, and how many there are beside them."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _short(path: Path) -> Path:
    """As a person in the working directory would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path != here and path.is_relative_to(here) else path


def without_repeats(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """One run for each seed and settings, a finished one before all others and of those the one
    that went farthest; and which were left out."""
    kept: dict[Any, Run] = {}
    left = []
    for run in sorted(runs, key=lambda run: (run.status != FINISHED, -run.steps[-1])):
        precision = run.origin.get("precision", "float32")  # not said in earlier versions
        key = (run.algorithm, run.task, run.preset, run.seed, run.test_double, precision)
        key = (*key, *sorted((name, exact(value)) for name, value in run.settings.items()))
        if key in kept:
            other = " made with other versions" if _differ(run.origin, kept[key].origin) else ""
            left.append(f"{run.path} seed {run.seed}{other} (as {kept[key].path})")
        else:
            kept[key] = run
    order = {id(run): i for i, run in enumerate(runs)}
    told = [f"Left out, since they repeat a seed and settings: {listed(left)}."] if left else []
    return sorted(kept.values(), key=lambda run: order[id(run)]), told


def _differ(a: dict[str, str], b: dict[str, str]) -> bool:
    """Whether two origins contradict each other; a run that has not ended says less of its own."""
    return any(a[name] != b[name] for name in a.keys() & b.keys())
