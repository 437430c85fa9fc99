"""The folder of a run: what is in it, and refusing to harm what is there already."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import IO, Any, Literal

from lica_jax.config import RESUMABLE, TrainConfig, from_dict, to_dict
from lica_jax.envs import same_task
from lica_jax.errors import UserError
from lica_jax.files import make_folder, plain, write_json
from lica_jax.runs.versions import versions

CONFIG, RUNS, COMMANDS, LOCK = "config.json", "runs.json", "command.txt", ".lock"
METRICS, EVALS, RESULT = "metrics.jsonl", "eval.jsonl", "result.json"
POLICY, POLICY_LAST = "policy.safetensors", "policy_last.safetensors"
CHECKPOINTS, REPLAYS = "checkpoints", "replays"
Status = Literal["new", "interrupted", "finished", "damaged"]


def read_config(run_dir: Path) -> TrainConfig:
    """The configuration a run directory was made with."""
    path = run_dir / CONFIG
    if not path.is_file():
        raise UserError(f"{run_dir} is not a run directory: it has no {CONFIG}")
    try:
        return from_dict(json.loads(path.read_text()))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def read_runs(run_dir: Path) -> list[dict[str, Any]] | None:
    """The seeds and numbers of runs that differ in more than their seed; None where they do not."""
    path = run_dir / RUNS
    if not path.is_file():
        return None
    try:
        rows = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is damaged: it must be a list of runs")
    return rows


def status(run_dir: Path) -> Status:
    """What there is: nothing yet ("new"), a run that can go on or has come to its end, or something
    that is no run or can no longer be read ("damaged")."""
    if not run_dir.exists() or (run_dir.is_dir() and _holds_nothing(run_dir)):
        return "new"
    try:
        config = read_config(run_dir)
        result = json.loads((run_dir / RESULT).read_bytes())
        spent = min(result["env_steps"]) >= config.total_steps
        return "finished" if spent and not result["interrupted"] else "interrupted"
    except UserError:
        return "damaged"
    except OSError:  # no result yet
        return "interrupted"
    except (ValueError, TypeError, KeyError):
        return "damaged"


def _holds_nothing(run_dir: Path) -> bool:
    return all(path.name == LOCK for path in run_dir.iterdir())


def check_new(run_dir: Path) -> None:
    """Refuses a directory that holds anything or cannot be written; creates it otherwise."""
    if run_dir.exists() and not run_dir.is_dir():
        raise UserError(f"run directory {run_dir} is a file")
    if run_dir.is_dir() and not _holds_nothing(run_dir):
        if (run_dir / CONFIG).is_file():
            raise UserError(
                f"{run_dir} already holds a run; go on with --resume or choose another --run-dir"
            )
        raise UserError(f"{run_dir} is not empty; choose another --run-dir")
    make_folder(run_dir, f"run directory {run_dir}")


def starts(run_dir: Path) -> int:
    """How often a run has been started so far."""
    path = run_dir / COMMANDS
    return len(path.read_bytes().splitlines()) if path.is_file() else 0


def never_started(run_dir: Path) -> bool:
    """Whether a run was killed before it wrote anything but its configuration."""
    metrics = run_dir / METRICS
    return not (metrics.exists() and metrics.stat().st_size) and not (run_dir / POLICY).exists()


def lock(run_dir: Path) -> IO | None:
    """Takes the directory for this process; the system lets go of it when the process ends.

    Raises:
      UserError: another process has it, or it cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # not on this system
        return None
    try:
        file = (run_dir / LOCK).open("a")
    except OSError as error:
        raise UserError(f"run directory {run_dir} cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise UserError(f"{run_dir} is in use by another process") from None
    return file


def unlock(file: IO | None) -> None:
    if file is not None:
        file.close()


def check_names(run_dir: Path, algorithm: str, task: str) -> None:
    """Refuses to resume a run with another algorithm or on another task."""
    old = read_config(run_dir)
    if algorithm != old.algorithm or not same_task(old.task, task):
        raise UserError(f"{run_dir} holds {old.algorithm} on {old.task}, not {algorithm} on {task}")


def check_same(
    run_dir: Path, config: TrainConfig, runs: list[dict[str, Any]] | None = None
) -> None:
    """Refuses to resume a run with another configuration; some fields may change.

    ``runs`` is what `read_runs` gave before.
    """
    old, new = (to_dict(c) for c in (read_config(run_dir), config))
    if same_task(old["task"], new["task"]):
        old["task"] = new["task"]
    old |= {"plugins": new["plugins"], "runs": plain(read_runs(run_dir))}
    new |= {"runs": plain(runs)}
    changed = [
        line
        for name in old
        if name not in RESUMABLE
        for line in _differences(name, old[name], new[name])
    ]
    if changed:
        raise UserError(
            f"{run_dir} holds a run of another configuration:\n"
            + "\n".join(f"  - {line}" for line in changed)
            + f"\nonly {', '.join(RESUMABLE)}, and the time-outs of smac/ tasks, may change on "
            "--resume"
        )
    if not os.access(run_dir, os.W_OK):
        raise UserError(f"run directory {run_dir} cannot be written")


def _differences(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        parts = [_differences(f"{name}.{k}", old.get(k), new.get(k)) for k in old | new]
        return [line for part in parts for line in part]
    return [] if old == new else [f"{name}: {old!r} -> {new!r}"]


def describe(run_dir: Path, config: TrainConfig, runs: list[dict[str, Any]] | None = None) -> None:
    """Writes ``config.json``, ``command.txt`` (one line a start), ``versions.json``, and where runs
    differ in more than their seed ``runs.json``."""
    if runs is not None:
        write_json(run_dir / RUNS, runs)
    write_json(run_dir / CONFIG, to_dict(config))
    with (run_dir / COMMANDS).open("a") as file:
        file.write(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) + "\n")
    path = run_dir / "versions.json"
    try:  # a resumed run: keep what it was begun with
        begun = dict(json.loads(path.read_bytes()))
        write_json(path, begun | {"resumed": [*begun.get("resumed", []), versions()]})
    except (OSError, ValueError, TypeError):  # new, or damaged: nothing to keep
        write_json(path, versions())
