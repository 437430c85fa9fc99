"""The benchmark of the time to a run's first row: what it measures, and bad input."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "startup.py"


@pytest.fixture(scope="module")
def startup():
    spec = importlib.util.spec_from_file_location("startup", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(startup, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["startup.py", *words])
    return startup.main()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--algorithms", "ippo", "--tasks", "probe/match", "smax/4q"], "unknown task 'smax/4q'"),
        (["--algorithms", "licka"], "unknown algorithm 'licka'"),
        (["--preset", "slow"], "unknown preset 'slow'"),
    ],
)
def test_bad_input_before_anything_is_started(startup, monkeypatch, capsys, words, said):
    assert run(startup, monkeypatch, *words) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: ") and said in err


def test_seconds_of_a_process(startup):
    """The kernel's count of this process is what Python's own clock says, to its ticks."""
    while time.process_time() < 1:
        pass
    assert abs(startup.busy_seconds(os.getpid()) - time.process_time()) < 0.1


@pytest.mark.slow  # two processes that import JAX and compile a run
def test_a_full_cache_is_sooner(startup, monkeypatch, capsys):
    assert run(startup, monkeypatch, "--algorithms", "ippo", "--tasks", "probe/match") == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert row["task"] == "probe/match" and row["algorithm"] == "ippo" and row["cache_mib"] > 0
    assert 0 < row["warm_cpu"] < row["cold_cpu"]


def test_a_limit(startup, monkeypatch, capsys):
    words = ["--algorithms", "ippo", "--tasks", "probe/match", "--limit", "0.1"]
    assert run(startup, monkeypatch, *words) == 2
    assert "no row within 0.1 s" in capsys.readouterr().err


def test_no_run_outlives_it():
    """Ended by SIGTERM as by Ctrl-C."""
    words = ["--algorithms", "ippo", "--tasks", "probe/match", "--limit", "600"]
    with subprocess.Popen(
        [sys.executable, str(FILE), *words], stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()  # the versions: the first run begins
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (child := children.read_text().split()):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.5)  # until it is another program, for which its parent waits
        process.terminate()
        assert process.wait(60) == 143
        assert not Path(f"/proc/{child[0]}").exists()
