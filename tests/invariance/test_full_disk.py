"""A run that can no longer write ends in one message, and goes on when it can."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lica_jax

# In a child, whose files alone are limited: every way to run out, one after the other.
CHILD = """
import dataclasses, functools, json, os, resource, shutil, subprocess, sys
from pathlib import Path

from lica_jax.cli.process import quiet_libraries
from lica_jax.config import load_config
from lica_jax.errors import TrainingFailed, UserError
from lica_jax.runs import directory, rows, saver, session
from lica_jax.runs.plan import make_plan
from tests.conftest import TINY

quiet_libraries()
folder = Path(sys.argv[1])
changes = {"checkpoint": {"every_seconds": 0}, "total_steps": 128}
config = load_config("lica", "probe/match", **TINY | changes)
plan = make_plan(config)


def limit(size=resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


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


def train(run_dir, resume=False):
    one = session.Session(dataclasses.replace(plan, run_dir=run_dir, resume=resume), "none")
    one.run()
    return json.loads((run_dir / "result.json").read_text())["final"]


def attempt(name, run_dir, undo):
    # What a run that is struck says, and what comes of it afterwards.
    try:
        train(run_dir)
        said = None
    except (TrainingFailed, UserError) as error:
        said = f"{type(error).__name__}: {error}"
    undo()
    status = directory.status(run_dir)
    final = train(run_dir, resume=status == "interrupted")
    print(json.dumps({"name": name, "said": said, "status": status, "same": final == straight}))


straight = train(folder / "straight")
full = functools.partial(limit, 0)
for name, where, what, at in (
    ("config", directory, "describe", 1), ("first checkpoint", saver.Saver, "save", 1),
    ("later checkpoint", saver.Saver, "save", 3), ("row", rows.RowFile, "append", 2),
    ("export", session, "export_runs", 1),
):
    restore = strike(where, what, at, full)
    attempt(name, folder / name.replace(" ", "_"), lambda: (restore(), limit()))

gone = folder / "gone"
restore = strike(rows.RowFile, "append", 3, lambda: shutil.rmtree(gone))
attempt("gone", gone, restore)

for name, options in (("full", "size=64k"), ("inodes", "size=8m,nr_inodes=30")):
    place = folder / name
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        continue  # not allowed here
    larger = ["mount", "-o", "remount,size=64m,nr_inodes=9999", str(place)]
    try:
        attempt(name, place / "run", lambda: subprocess.run(larger, check=True))
    finally:
        subprocess.run(["umount", str(place)], check=True)
"""


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    root = str(Path(lica_jax.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path_factory.mktemp("disk"))],
        capture_output=True, text=True, timeout=600, env=os.environ | {"PYTHONPATH": root},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    return found, done.stderr


def test_a_run_that_cannot_write_says_so_and_how_to_go_on(ends):
    found, _ = ends
    begins, goes_on = "continue with: the same command;", "continue with: lica-jax train --resume"
    expected = {
        "config": ("File too large", begins, "new"),
        "first checkpoint": ("no checkpoint can be written", begins, "new"),
        "later checkpoint": ("no checkpoint can be written", goes_on, "interrupted"),
        "row": ("File too large", goes_on, "interrupted"),
        "export": ("File too large", goes_on, "interrupted"),
        "gone": ("No such file", "is gone", "new"),
    }
    for name, (reason, how, status) in expected.items():
        row = found[name]
        assert row["said"].startswith("TrainingFailed: ") and reason in row["said"], row
        assert how in row["said"] and row["said"].count("\n") == 1, row
        assert row["status"] == status, row


def test_it_ends_where_it_would_have_ended(ends):
    found, _ = ends
    assert len(found) >= 6 and all(row["same"] for row in found.values()), found


@pytest.mark.parametrize("name", ["full", "inodes"])
def test_disks_that_are_really_full(ends, name):
    found, _ = ends
    if name not in found:
        pytest.skip("no file system can be mounted here")
    assert found[name]["said"].startswith("TrainingFailed: ")
    assert "No space left" in found[name]["said"] or "no checkpoint" in found[name]["said"]
