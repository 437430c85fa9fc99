"""A run that can no longer write ends in one message, and goes on when it can."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lica_jax

# In a child, whose files alone are limited: every way to run out, one after the other; then, in
# another one, what becomes of each.
CHILD = """
import dataclasses, functools, json, resource, shutil, sys, time
from pathlib import Path

from lica_jax.cli.process import quiet_libraries
from lica_jax.config import load_config
from lica_jax.errors import TrainingFailed, UserError
from lica_jax.runs import directory, rows, saver, session
from lica_jax.runs.plan import make_plan
from tests.conftest import TINY

quiet_libraries()
folder, phase, names = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
changes = {"checkpoint": {"every_seconds": 0}, "total_steps": 128}
plan = make_plan(load_config("lica", "probe/match", **TINY | changes))


def train(run_dir, resume=False):
    one = session.Session(dataclasses.replace(plan, run_dir=run_dir, resume=resume), "none")
    one.run()
    return json.loads((run_dir / "result.json").read_text())["final"]


def limit(size=resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def settle(run_dir):
    # Waits for the checkpoint that is being written.
    while list(run_dir.glob("checkpoints/*tmp*")):
        time.sleep(0.01)


def strike(where, name, at, harm):
    # ``harm`` before the ``at``-th call of a function.
    original, calls = getattr(where, name), []

    @functools.wraps(original)
    def struck(*args, **kwargs):
        calls.append(1)
        if len(calls) == at:
            harm()
        return original(*args, **kwargs)

    setattr(where, name, struck)
    return lambda: setattr(where, name, original)


def tell(name, **facts):
    print(json.dumps({"name": name} | facts), flush=True)


def attempt(name):
    try:
        train(folder / name / "run")
        tell(name, said=None)
    except (TrainingFailed, UserError) as error:
        tell(name, said=f"{type(error).__name__}: {error}")


STRIKES = {
    "config": (directory, "describe", 1), "first": (saver.Saver, "save", 1),
    "later": (saver.Saver, "save", 3), "row": (rows.RowFile, "append", 4),
    "export": (session, "export_runs", 1), "gone": (rows.RowFile, "append", 4),
}
if phase == "again":
    straight = train(folder / "straight" / "run")
    for name in names:
        run_dir = folder / name / "run"
        status = directory.status(run_dir)
        final = train(run_dir, resume=status == "interrupted")
        tell(name, status=status, same=final == straight)
else:
    for name in names:
        run_dir = folder / name / "run"

        def harm(name=name, run_dir=run_dir):
            settle(run_dir)
            shutil.rmtree(run_dir) if name == "gone" else limit(0)

        restore = strike(*STRIKES[name], harm) if name in STRIKES else limit
        attempt(name)
        restore()
        limit()
"""
NAMES = ["config", "first", "later", "row", "export", "gone"]
DISKS = {"full": "size=64k", "inodes": "size=8m,nr_inodes=30"}


def child(folder, phase, names):
    root = str(Path(lica_jax.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), phase, *names],
        capture_output=True, text=True, timeout=400, env=os.environ | {"PYTHONPATH": root},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return {row.pop("name"): row for row in map(json.loads, done.stdout.splitlines())}


def mount(place, options):
    """Whether a file system of that size could be mounted."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    return not os.geteuid() and not subprocess.run(command, capture_output=True).returncode


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """What each way to run out made the run say, and how it ended when it could write again."""
    folder = tmp_path_factory.mktemp("disk")
    mounted = [name for name, size in DISKS.items() if mount(folder / name, size)]
    try:
        said = child(folder, "strike", [*NAMES, *mounted])
        for name in mounted:
            larger = ["mount", "-o", "remount,size=64m,nr_inodes=9999", str(folder / name)]
            subprocess.run(larger, check=True)
        again = child(folder, "again", [*NAMES, *mounted])
    finally:
        for name in mounted:
            subprocess.run(["umount", str(folder / name)], check=True)
    return {name: row | again[name] for name, row in said.items()}


def test_a_run_that_cannot_write_says_so_and_how_to_go_on(ends):
    begins, goes_on = "continue with: the same command;", "continue with: lica-jax train --resume"
    expected = {
        "config": ("File too large", begins, "new"),
        "first": ("no checkpoint can be written", begins, "new"),
        "later": ("no checkpoint can be written", goes_on, "interrupted"),
        "row": ("File too large", goes_on, "interrupted"),
        "export": ("File too large", goes_on, "interrupted"),
        "gone": ("No such file", "is gone", "new"),
    }
    for name, (reason, how, status) in expected.items():
        row = ends[name]
        assert row["said"].startswith("TrainingFailed: ") and reason in row["said"], row
        assert how in row["said"] and row["said"].count("\n") == 1, row
        assert row["status"] == status, row


def test_it_ends_where_it_would_have_ended(ends):
    assert len(ends) >= len(NAMES) and all(row["same"] for row in ends.values()), ends


@pytest.mark.parametrize("name", DISKS)
def test_disks_that_are_really_full(ends, name):
    if name not in ends:
        pytest.skip("no file system can be mounted here")
    said = ends[name]["said"]
    assert said.startswith("TrainingFailed: ") and "\ncontinue with: " in said
    assert "No space left" in said or "no checkpoint can be written" in said
