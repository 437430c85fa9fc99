"""The folder of a run: what is in it, and refusing to harm what is there already."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from lica_jax.config.schema import RESUMABLE, TrainConfig, from_dict, to_dict
from lica_jax.envs import same_task
from lica_jax.errors import UserError
from lica_jax.runs.checkpoint import write_json

CONFIG, COMMANDS, LOCK = "config.json", "command.txt", ".lock"
PACKAGES = (
    "lica_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "chex",
    "jaxmarl",
    "orbax-checkpoint",
    "numpy",
    "pys2clientprotocol",
)


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


def check_new(run_dir: Path, config: TrainConfig) -> None:
    """Refuses a directory that holds anything or cannot be written; creates it otherwise."""
    del config  # the same signature as `check_same`
    if run_dir.exists() and not run_dir.is_dir():
        raise UserError(f"run directory {run_dir} is a file")
    if run_dir.is_dir() and any(p.name != LOCK for p in run_dir.iterdir()):
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


def make_folder(folder: Path, name: str) -> None:
    """Creates a folder to write into; ``UserError``, which calls it ``name``, where that cannot
    be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{name} cannot be written: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"{name} cannot be written")


def never_started(run_dir: Path) -> bool:
    """Whether a run was killed before it wrote anything but its configuration."""
    metrics = run_dir / "metrics.jsonl"
    return (
        not (metrics.exists() and metrics.stat().st_size)
        and not (run_dir / "policy.safetensors").exists()
    )


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


def check_same(run_dir: Path, config: TrainConfig) -> None:
    """Refuses to resume a run with another configuration; some fields may change."""
    old, new = (to_dict(c) for c in (read_config(run_dir), config))
    if same_task(old["task"], new["task"]):
        old["task"] = new["task"]
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


def describe(run_dir: Path, config: TrainConfig) -> None:
    """Writes ``config.json``, ``command.txt`` (one line a start) and ``versions.json``."""
    write_json(run_dir / CONFIG, to_dict(config))
    with (run_dir / COMMANDS).open("a") as file:
        file.write(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) + "\n")
    path = run_dir / "versions.json"
    try:  # a resumed run: keep what it was begun with
        begun = dict(json.loads(path.read_bytes()))
        write_json(path, begun | {"resumed": [*begun.get("resumed", []), versions()]})
    except (OSError, ValueError, TypeError):  # new, or damaged: nothing to keep
        write_json(path, versions())


def versions() -> dict[str, object]:
    """What a run was made with: packages, Python, machine and devices."""
    import jax

    return {
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpu_count": os.cpu_count(),
        "devices": [f"{d.platform}: {d.device_kind}" for d in jax.devices()],
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of a source checkout, marked when files differ from it."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()
