"""Sweeps that are killed, stopped or interrupted, and go on."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lica_jax import load_policy
from lica_jax.cli.main import main
from lica_jax.errors import UserError
from lica_jax.runs import directory, session
from lica_jax.sweeps.request import dump_request, request
from tests.sweeps.conftest import WORDS, files_of_runs, untimed

KINDS = ("grid", "halving", "search")


def asked(kind):
    """The words of a sweep that is going to be killed."""
    words = WORDS | {"seeds": [0], "wave": 2, "total_steps": 640}
    words |= {"eval": WORDS["eval"] | {"interval": 320}}
    if kind == "search":
        pytest.importorskip("optuna")
        return words | {"search": {"hp.entropy_coef": "log:0.01:1"}, "trials": 3, "wave": "auto"}
    words |= {"grid": {"hp.entropy_coef": [0.03, 0.1, 0.2, 0.3]}}
    return words | ({"halving": 2} if kind == "halving" else {})


@pytest.fixture(autouse=True, scope="module")
def width_of_two():
    """What ``--wave auto`` finds here, however fast the machine is at the moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lica_jax.sweeps.schedule.fastest", lambda base, runs, *_: min(runs, 2))
        yield


@pytest.fixture(scope="module")
def undisturbed(run_sweep, tmp_path_factory):
    """``undisturbed(kind)``: the table, and how often a folder was changed until it was there."""
    known = {}

    def of(kind):
        if kind not in known:
            table = run_sweep(tmp_path_factory.mktemp(kind) / "s", **asked(kind)).table
            with pytest.MonkeyPatch.context() as patch:  # by now everything is compiled
                left = kill_after(patch, 10**9)
                run_sweep(tmp_path_factory.mktemp(kind) / "s", **asked(kind))
                known[kind] = untimed(table), 10**9 - left[0]
        return known[kind]

    return of


class Killed(BaseException):
    """What a kill is to the code: it never sees it."""


def killed(*_):
    raise Killed


def kill_after(patch, count):
    """Ends the process, so to speak, at the ``count``-th change of a folder."""
    left = [count]

    def guarded(function):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] <= 0:  # nor does anything clean up behind it
                raise Killed
            return function(*args, **kwargs)

        return call

    for owner, name in (
        (Path, "rename"), (Path, "replace"), (Path, "mkdir"), (Path, "write_text"),
        (Path, "write_bytes"), (Path, "unlink"),
        (shutil, "rmtree"),
    ):  # fmt: skip
        patch.setattr(owner, name, guarded(getattr(owner, name)))
    return left


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow if k == "halving" else ()) for k in KINDS]
)
def test_killed_anywhere(run_sweep, undisturbed, tmp_path, kind):
    """Resumed, every ended run's files are unchanged and the table is the undisturbed one."""
    table, operations = undisturbed(kind)
    assert len(table) == (3 if kind == "search" else 4)
    rng = np.random.default_rng(0)
    for count in sorted(rng.choice(np.arange(1, operations + 1), 3, replace=False)):
        path = tmp_path / f"{count}"
        with pytest.MonkeyPatch.context() as patch:
            kill_after(patch, int(count))
            with pytest.raises(Killed):
                run_sweep(path, **asked(kind))
        assert untimed(went_on(run_sweep, path, kind)) == table, count


def went_on(run_sweep, path, kind):
    """The table of a sweep that was killed, when it has come to its end all the same."""
    if (path / "sweep.yaml").exists():
        kept = files_of_runs(path)
        result = run_sweep(path, resume=True)
        assert all(p.read_bytes() == data for p, data in kept.items())
        return result.table
    if path.exists():
        shutil.rmtree(path)
    return run_sweep(path, **asked(kind)).table


@pytest.mark.slow
def test_killed_for_good(run_sweep, undisturbed, tmp_path):
    """SIGKILL at 20 random moments between a sweep's first and last file."""
    rng, seen = np.random.default_rng(0), []
    for kind, times in zip(KINDS, (7, 7, 6), strict=True):
        table, _ = undisturbed(kind)
        file = tmp_path / f"{kind}.yaml"
        file.write_text(dump_request(request(asked(kind) | {"wave": 2})))
        whole = killed_after(file, tmp_path / f"{kind}-whole", None)
        for i in range(times):
            path = tmp_path / f"{kind}-{i}"
            killed_after(file, path, rng.uniform(0, whole))
            seen.append(len(files_of_runs(path)) if path.exists() else 0)
            kept = files_of_runs(path)
            result = run_sweep(path, resume=True)
            assert all(p.read_bytes() == data for p, data in kept.items()), (kind, i)
            assert untimed(result.table) == table, (kind, i)
    print(f"files of ended runs that were there at each kill: {seen}")
    assert len(set(seen)) > 2  # neither all at the beginning nor all at the end


def killed_after(file, path, seconds):
    """Sends a sweep in a process of its own SIGKILL so long after its plan is there; returns how
    long that was until it ended."""
    command = [sys.executable, "-m", "lica_jax", "sweep", str(file), "--sweep-dir", str(path)]
    command += ["--progress", "none"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not (path / "sweep.yaml").exists():
            assert process.poll() is None
            time.sleep(0.02)
        began = time.monotonic()
        if seconds is None:
            assert process.wait() == 0
        else:
            time.sleep(seconds)
            process.kill()
        process.wait()
        return time.monotonic() - began


def stops(function, calls, number):
    """The function, which sends this process a signal when it is called for the third time."""

    def call(*args, **options):
        calls.append(args)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
            time.sleep(0.01)  # until the handler has run
        return function(*args, **options)

    return call


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["training", "between waves"])
def test_stopped_by_a_signal(sharing, run_sweep, undisturbed, tmp_path, capfd, number, where):
    """A checkpoint, how to go on, and the exit code of a process that was stopped; then the same
    table as undisturbed."""
    table, _ = undisturbed("grid")
    path, file = tmp_path / "s", tmp_path / "sweep.yaml"
    file.write_text(dump_request(request(asked("grid"))))
    calls = []
    stopping = partial(stops, calls=calls, number=number)
    owner, name = {
        "training": (session.Logs, "chunk"),
        "between waves": (sys.modules["lica_jax.sweeps.driver"].Schedule, "plan_waves"),
    }[where]
    handler = signal.getsignal(signal.SIGTERM)
    with sharing() as patch:
        if where == "between waves":  # before the first of them
            calls += [None, None]
        patch.setattr(owner, name, stopping(getattr(owner, name)))
        assert main(["sweep", str(file), "--sweep-dir", str(path)]) == 128 + number
    assert signal.getsignal(signal.SIGTERM) is handler
    said = capfd.readouterr().err
    assert f"stopped by {number.name}; continue with: lica-jax sweep --resume" in said
    assert f"--sweep-dir {path}" in said and "Traceback" not in said
    if where == "training":
        assert directory.checkpoints(path / "waves/000")
    with sharing():
        assert main(["sweep", "--resume", "--sweep-dir", str(path)]) == 0
    assert untimed(run_sweep(path, resume=True).table) == table


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["last evaluation", "garbage collection"])
def test_no_signal_is_lost(sharing, run_sweep, undisturbed, tmp_path, capfd, number, where):
    """Neither one that comes once a wave's budget is spent, which makes the wave whole, nor one
    whose exception Python cannot raise: no further wave is begun."""
    table, _ = undisturbed("grid")
    path, file = tmp_path / "s", tmp_path / "sweep.yaml"
    file.write_text(dump_request(request(asked("grid"))))
    with sharing() as patch:
        if where == "last evaluation":
            stopping = stops(session.Session._finish, [None, None], number)
            patch.setattr(session.Session, "_finish", stopping)
        else:
            module, sent = sys.modules["lica_jax.sweeps.wave"], []

            class Collected:
                def __del__(self):
                    os.kill(os.getpid(), number)
                    time.sleep(0.01)  # until the handler has run

            def let_go(*_):
                if not sent:
                    sent.append(Collected())
                    sent[0] = None

            patch.setattr(module, "return_memory", let_go)
            patch.setattr(sys, "unraisablehook", lambda _: None)
        assert main(["sweep", str(file), "--sweep-dir", str(path)]) == 128 + number
    assert f"stopped by {number.name}; continue with" in capfd.readouterr().err
    # What there is is whole, in the table, and all of one wave.
    with (path / "results.csv").open() as rows:
        assert [row["status"] for row in csv.DictReader(rows)] == ["finished"] * 2
    assert [x.name for x in sorted((path / "runs").iterdir())] == ["0000", "0001"]
    assert not (path / "waves/001").exists()
    with sharing():
        assert main(["sweep", "--resume", "--sweep-dir", str(path)]) == 0
    assert untimed(run_sweep(path, resume=True).table) == table


def test_a_stopped_sweep_is_ended_where_it_is(sharing, tmp_path, capfd):
    """With fewer env steps than it has done; until then there is no policy to be had."""
    path, file = tmp_path / "s", tmp_path / "sweep.yaml"
    words = asked("grid") | {"grid": {"hp.entropy_coef": [0.03, 0.1]}}
    file.write_text(dump_request(request(words)))
    with sharing() as patch:
        patch.setattr(session.Logs, "chunk", stops(session.Logs.chunk, [], signal.SIGTERM))
        assert main(["sweep", str(file), "--sweep-dir", str(path)]) == 128 + signal.SIGTERM
    for name in (path, path / "waves", path / "waves/000"):
        with pytest.raises(UserError, match=r"--sweep-dir \S+ \(with --total-steps N to end it"):
            load_policy(name)
    capfd.readouterr()
    again = ["sweep", "--resume", "--sweep-dir", str(path), "--total-steps"]
    with sharing():
        assert main([*again, "32"]) == 0
    assert "more than" not in capfd.readouterr().err
    with (path / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["status"] for row in table] == ["finished"] * 2
    assert {32 < int(row["env_steps"]) < words["total_steps"] for row in table} == {True}
    with pytest.raises(UserError, match=f"name one of its runs, such as {path}/runs/0000"):
        load_policy(path)
    assert load_policy(path / "runs/0001").about["task"] == words["task"]
    assert main([*again, "16"]) == 2
    assert "more, not fewer" in capfd.readouterr().err


def test_killed_before_the_first_checkpoint(run_sweep, words, tmp_path):
    """While it compiled: the wave begins anew."""
    words |= {"total_steps": 320, "wave": 1}
    words["eval"]["interval"] = 320
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session.Session, "_before_training", killed)
        with pytest.raises(Killed):
            run_sweep(tmp_path / "s", **words)
    assert (tmp_path / "s/waves/000/config.json").is_file()
    assert run_sweep(tmp_path / "s", resume=True).table[0]["status"] == "finished"
