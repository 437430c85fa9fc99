"""The files of a run directory by name; reading them needs no JAX."""

from __future__ import annotations

from pathlib import Path

from lica_jax.errors import UserError
from lica_jax.files import as_word

CONFIG, RUNS, COMMANDS, LOCK = "config.json", "runs.json", "command.txt", ".lock"
METRICS, EVALS, RESULT = "metrics.jsonl", "eval.jsonl", "result.json"
POLICY, POLICY_LAST = "policy.safetensors", "policy_last.safetensors"
CRITIC = "critic.safetensors"
CHECKPOINTS, REPLAYS, LOGS = "checkpoints", "replays", "logs"
VERSIONS = "versions.json"
SWEEP = "sweep.yaml"  # of a sweep's directory, which holds those of its runs


def runs_of_sweep(path: Path) -> list[Path] | None:
    """The directories of a sweep's runs that have come to their ends; None where it is no sweep's.
    ``path``: of a sweep, or of its folder of runs or waves."""
    sweep = path.parent if path.name in ("runs", "waves") else path
    if path.parent.name == "waves":  # a wave's folder looks like a run's
        sweep = path.parent.parent
    if not (sweep / SWEEP).is_file():
        return None
    return sorted(p for p in (sweep / "runs").glob("[0-9]*") if p.is_dir())


def check_no_sweep(path: Path) -> None:
    """Raises ``UserError`` for a sweep where a run is wanted: says which, or how to come to one."""
    runs = runs_of_sweep(path)
    if runs:
        raise UserError(f"{path} is of a sweep: name one of its runs, such as {runs[0]}")
    if runs is not None:
        sweep = next(p for p in (path, *path.parents) if (p / SWEEP).is_file())
        raise UserError(
            f"no run of the sweep in {sweep} has come to its end yet; finish it with: lica-jax "
            f"sweep --resume --sweep-dir {as_word(sweep)} (with --total-steps N to end it sooner)"
        )
