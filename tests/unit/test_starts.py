"""The start of a run, broken off at every file operation: the directory is never dead."""

import dataclasses
import os
import sys
from pathlib import Path

import pytest

from lica_jax.config import load_config
from lica_jax.runs import directory
from lica_jax.runs.plan import make_plan
from lica_jax.runs.session import Session
from tests.conftest import TINY

# What Python does to files, as it tells its audit hooks.
EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink")


class Killed(BaseException):
    """Stands for SIGKILL."""


class Killer:
    """Ends what touches files below ``root`` at the ``at``-th operation; as after SIGKILL, nothing
    is done there any more."""

    def __init__(self):
        self.root, self.at, self.done = "", 0, []
        sys.addaudithook(self._see)  # for good: there is no way to take one away

    def arm(self, root: Path | None, at: int = 0) -> None:
        self.root, self.at, self.done = str(root or ""), at, []

    @property
    def struck(self) -> bool:
        return len(self.done) >= self.at

    def _see(self, event, args):
        if not self.root or event not in EVENTS or not str(args[0]).startswith(self.root):
            return
        if event == "open" and not (
            isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            return
        if self.struck:
            raise Killed
        self.done.append((event, str(args[0])))


@pytest.fixture(scope="module")
def killer():
    return Killer()


@pytest.fixture(scope="module")
def plan():
    """One plan, whose programs are compiled once."""
    return make_plan(load_config("lica", "probe/match", **TINY))


def start(plan, run_dir, *, resume=False):
    """The start of a run, to the end of its first checkpoint."""
    session = Session(dataclasses.replace(plan, run_dir=run_dir, resume=resume), "none")
    try:
        session._save()
    finally:
        session.close()
    return session


def test_a_start_that_is_broken_off_can_be_made_again(plan, killer, tmp_path, capfd):
    """By a new run and by ``--resume``, whichever file operation it was killed at."""
    start(plan, tmp_path / "whole")  # compiles
    status, kinds, operations = [], {}, []
    for at in range(1, 500):
        run_dir = tmp_path / str(at)
        killer.arm(run_dir, at)
        try:
            start(plan, run_dir)
        except (Killed, Exception) as error:
            assert killer.struck, error
        struck, operations = killer.struck, list(killer.done)
        killer.arm(None)
        status.append(directory.status(run_dir))
        if status[-1] == "new":
            directory.check_new(run_dir)
            kinds[tuple(sorted(p.name for p in run_dir.glob("*")))] = run_dir
        if not struck:
            break
    assert not struck and ("os.rename", str(run_dir / "config.json.tmp")) in operations
    assert status.count("new") > 20 and status == sorted(status, reverse=True)
    kept = tmp_path / str(1 + status.index("interrupted"))
    assert start(plan, kept, resume=True).counters.update == 0
    # Of what is not worth keeping, each kind of remains.
    assert len(kinds) > 5
    for names, run_dir in kinds.items():
        if ".lock" in names:
            assert not make_plan(plan.config, run_dir, resume=True).resume
        start(plan, run_dir)
        assert directory.checkpoints(run_dir) == [0], names
    assert "ended before its first checkpoint: beginning anew" in capfd.readouterr().err
