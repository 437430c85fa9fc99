"""The folder of a run: what is in it, and refusing to harm what is there already."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import sys
import warnings
from pathlib import Path
from typing import IO, Any, Literal

from lica_jax.config import RESUMABLE, TrainConfig, from_dict, to_dict
from lica_jax.config.checks import with_ends
from lica_jax.config.load import beside_preset
from lica_jax.envs import same_task
from lica_jax.envs.names import is_import_path, without_digest
from lica_jax.errors import UserError
from lica_jax.files import as_path, make_folder, plain, read_json, write_json
from lica_jax.runs.names import (
    CHECKPOINTS,
    COMMANDS,
    CONFIG,
    CRITIC,
    EVALS,
    LOCK,
    LOGS,
    METRICS,
    POLICY,
    POLICY_LAST,
    REPLAYS,
    RESULT,
    RUNS,
    VERSIONS,
    check_no_sweep,
)
from lica_jax.runs.versions import versions
from lica_jax.types import TaskSpec

FILES = (
    CONFIG, RUNS, COMMANDS, LOCK, METRICS, EVALS, RESULT, POLICY, POLICY_LAST, CRITIC, VERSIONS,
)  # fmt: skip
FOLDERS = (CHECKPOINTS, REPLAYS, LOGS)
# What a run writes before its first checkpoint is complete; each also half written, as ".tmp".
AT_START = (CONFIG, RUNS, COMMANDS, LOCK, METRICS, EVALS, VERSIONS, *FOLDERS)
Status = Literal["new", "interrupted", "finished", "damaged"]


def read_config(run_dir: Path) -> TrainConfig:
    """The configuration a run directory was made with."""
    path = run_dir / CONFIG
    if not path.is_file():
        check_no_sweep(run_dir)
        raise UserError(f"{run_dir} is not a run directory: it has no {CONFIG}")
    try:
        return from_dict(read_json(path))
    except UserError as error:
        named = str(error).startswith(str(path))
        raise UserError(str(error) if named else f"{path}: {error}") from None


def read_runs(run_dir: Path) -> list[dict[str, Any]] | None:
    """The seeds and numbers of runs that differ in more than their seed; None where they do not."""
    path = run_dir / RUNS
    if not path.is_file() or not (run_dir / CONFIG).is_file():  # which is written behind it
        return None
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is damaged: it must be a list of runs")
    return rows


def status(run_dir: Path) -> Status:
    """What there is: nothing worth keeping ("new"), a run that can go on or has come to its end, or
    something that is no run or can no longer be read ("damaged")."""
    if not run_dir.exists() or (run_dir.is_dir() and not any(run_dir.iterdir())):
        return "new"
    if abandoned(run_dir):
        return "new"
    try:
        config = read_config(run_dir)
        if not (run_dir / RESULT).exists():
            return "interrupted"
        result = read_json(run_dir / RESULT)
        done = zip(result["env_steps"], result["failed_at_update"], strict=True)
        least = min((steps for steps, failed in done if failed is None), default=0)
        spent = least >= config.total_steps or result.get("stopped")
        return "finished" if spent and not result["interrupted"] else "interrupted"
    except (UserError, TypeError, KeyError, ValueError):
        return "damaged"


def checkpoints(run_dir: Path) -> list[int]:
    """The numbers of the complete checkpoints; unfinished ones have other names."""
    folder = run_dir / CHECKPOINTS
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if re.fullmatch(r"\d+", name))


def abandoned(run_dir: Path) -> bool:
    """Whether a run was killed, or could not write, before there was anything worth keeping: no
    complete checkpoint, no policy, no file but those that every run begins with and what loggers
    made of them. The first of them is the lock."""
    if not (run_dir / LOCK).is_file():
        return False
    for path in run_dir.iterdir():
        folder = path.name in FOLDERS
        if path.name.removesuffix(".tmp") not in AT_START or path.is_symlink():
            return False
        if path.is_dir() is not folder:
            return False
        if folder and path.name != LOGS and not all(map(_unfinished, path.iterdir())):
            return False
    return True


def _unfinished(path: Path) -> bool:
    """Whether orbax was writing it when it was killed."""
    return re.match(r"\d+\.orbax-checkpoint-tmp", path.name) is not None


def clear(run_dir: Path) -> bool:
    """Removes what an `abandoned` run has left; True where there was something.

    For who has the `lock`. Raises ``UserError`` where there is something else.
    """
    check_new(run_dir)
    left = [path for path in run_dir.iterdir() if path.name != LOCK]
    for path in left:
        if path.is_dir():  # this process may still be giving up what it failed to write there
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    return bool(left)


def check_new(run_dir: Path) -> None:
    """Refuses a directory that holds anything worth keeping, or that cannot be there; writes
    nothing."""
    as_path(run_dir, "the run directory")
    if run_dir.exists() and not run_dir.is_dir():
        raise UserError(f"run directory {run_dir} is a file")
    if run_dir.is_dir() and any(run_dir.iterdir()) and not abandoned(run_dir):
        if (run_dir / CONFIG).is_file():
            raise UserError(
                f"{run_dir} already holds a run; go on with --resume (in Python resume=True) or "
                "choose another --run-dir (run_dir)"
            )
        raise UserError(f"{run_dir} is not empty; choose another --run-dir")
    there = next(path for path in (run_dir, *run_dir.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"run directory {run_dir} cannot be written: see {there}")


def _check_kinds(run_dir: Path) -> None:
    """Refuses what somebody has put in the place of a file: writing would change what it leads to,
    or fail."""
    for name in (*FILES, *FOLDERS):
        path = run_dir / name
        if name in FILES and (path.is_symlink() or (path.exists() and not path.is_file())):
            raise UserError(f"{path} must be a file, not a {_kind(path)}: move it away to go on")
        if name in FOLDERS and path.exists() and not path.is_dir():
            raise UserError(f"{path} must be a folder: move it away to go on")


def _kind(path: Path) -> str:
    if path.is_symlink():
        return "link"
    return "folder" if path.is_dir() else "device"


def starts(run_dir: Path) -> int:
    """How often a run has been started so far."""
    path = run_dir / COMMANDS
    return len(path.read_bytes().splitlines()) if path.is_file() else 0


def lock(run_dir: Path) -> IO:
    """Takes the directory for this process, and creates it where it is not there; the system lets
    go of it when the process ends.

    Raises:
      UserError: another process has it, or it cannot be written.
    """
    make_folder(run_dir, f"run directory {run_dir}")
    try:
        file = open(run_dir / LOCK, "a", opener=_no_links)  # noqa: SIM115
    except OSError as error:
        raise UserError(f"run directory {run_dir} cannot be written: {error.strerror}") from None
    try:
        import fcntl
    except ImportError:  # not on this system: nothing is locked
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise UserError(f"{run_dir} is in use by another process") from None
    return file


def _no_links(path: str, flags: int) -> int:
    """An ``opener`` that does not write to where a link leads."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def unlock(file: IO) -> None:
    file.close()


def check_names(run_dir: Path, algorithm: str, task: str) -> None:
    """Refuses to resume a run with another algorithm or on another task."""
    old = read_config(run_dir)
    if algorithm != old.algorithm or not same_task(old.task, task):
        raise UserError(f"{run_dir} holds {old.algorithm} on {old.task}, not {algorithm} on {task}")


def check_same(
    run_dir: Path, config: TrainConfig, spec: TaskSpec, runs: list[dict[str, Any]] | None = None,
    given: bool = False,
) -> None:  # fmt: skip
    """Refuses to resume a run with another configuration; some fields may change.

    ``runs`` is what `read_runs` gave before; ``given`` says that the task is an object that
    somebody has handed over.
    """
    _check_kinds(run_dir)
    before = read_config(run_dir)
    _check_object(run_dir, before.task, config.task, spec, given)
    # A schedule that an earlier version did not have ends where it starts.
    before = dataclasses.replace(before, hp=with_ends(before.hp))
    old, new = to_dict(before), to_dict(config)
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


def note_command(folder: Path) -> None:
    """Adds this process's command to ``command.txt``."""
    path, program = folder / COMMANDS, Path(sys.argv[0]).name
    program = "lica-jax" if program == "__main__.py" else program  # python -m lica_jax
    with open(path, "a", encoding="utf-8", errors="backslashreplace", opener=_no_links) as file:
        file.write(shlex.join([program, *sys.argv[1:]]) + "\n")


def _check_object(run_dir: Path, before: str, task: str, spec: TaskSpec, given: bool) -> None:
    """Refuses a task that has the import path of the run's and was made of something else. (Runs of
    older versions know of its making no more than the spec.)

    An object that was ``given`` is taken with a warning if its spec is the same: what it keeps for
    itself, or the code of a function in it, may have changed since.
    """
    path = run_dir / VERSIONS
    known = read_json(path) if is_import_path(task) and path.is_file() else None
    stored = known.get("task_spec") if isinstance(known, dict) else None
    names = {f.name for f in dataclasses.fields(TaskSpec)}
    other = ""
    if isinstance(stored, dict) and stored.keys() == names and TaskSpec(**stored) != spec:
        other = spec.unlike(TaskSpec(**stored))
    elif "#" in before and before.partition("#")[2] != task.partition("#")[2]:
        other = "its attributes have other values"
        if given:
            warnings.warn(
                f"the run in {run_dir} goes on with another {without_digest(task)} than it was "
                f"begun with: {other}",
                stacklevel=5,
            )
            return
    if other:
        raise UserError(
            f"{run_dir} holds a run of another {without_digest(task)} ({other}): give the task "
            "itself, as it was made then"
        )


def describe(
    run_dir: Path, config: TrainConfig, spec: TaskSpec, runs: list[dict[str, Any]] | None = None
) -> None:
    """Writes ``config.json``, ``command.txt`` (one line a start), ``versions.json``, with ``spec``
    where the task is an object, and where runs differ in more than their seed ``runs.json``."""
    if runs is not None:
        write_json(run_dir / RUNS, runs)
    write_json(run_dir / CONFIG, to_dict(config))
    note_command(run_dir)
    path = run_dir / VERSIONS
    try:  # a resumed run: keep what it was begun with
        begun = dict(json.loads(path.read_bytes()))
        write_json(path, begun | {"resumed": [*begun.get("resumed", []), versions()]})
    except (OSError, ValueError, TypeError, RecursionError):  # new, or damaged: nothing to keep
        own = {"task_spec": dataclasses.asdict(spec)} if is_import_path(config.task) else {}
        write_json(path, versions() | {"beside_preset": beside_preset(config, spec)} | own)
