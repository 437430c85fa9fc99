"""Waves as Ray tasks on a local cluster: a worker that is lost in the middle loses nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from lica_jax.runs import directory
from tests.sweeps.conftest import WORDS, files_of_runs, untimed

pytestmark = pytest.mark.slow


def children(pid):
    """The processes below one, of any depth, with their names."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = stat.read_text().rpartition(")")
            parents[int(stat.parent.name)] = int(tail.split()[1]), head.partition("(")[2]
        except (OSError, ValueError):  # gone meanwhile
            continue
    found = {pid: ""}
    while more := {p: n for p, (up, n) in parents.items() if up in found and p not in found}:
        found |= more
    return {p: name for p, name in found.items() if p != pid}


def kill_worker(waves, killed):
    """SIGKILL to the worker of the first wave that has a checkpoint."""
    while not any(directory.checkpoints(wave) for wave in waves.glob("[0-9]*")):
        time.sleep(0.05)
    for pid, name in children(os.getpid()).items():
        if name.startswith("ray::train_in"):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            return


def test_a_lost_worker(run_sweep, tmp_path):
    """Another one takes its wave up from the checkpoint; the table is that of local waves."""
    ray = pytest.importorskip("ray")
    words = WORDS | {"grid": {"hp.entropy_coef": [0.03, 0.3]}, "seeds": [0], "wave": 1}
    words |= {"total_steps": 16_000, "eval": WORDS["eval"] | {"interval": 1_600}}
    killed: list[int] = []
    waves = tmp_path / "ray/waves"
    watcher = threading.Thread(target=kill_worker, args=(waves, killed), daemon=True)
    watcher.start()
    try:
        result = run_sweep(tmp_path / "ray", **words, launcher="ray")
    finally:
        ray.shutdown()
    assert killed, "no worker was there to be killed"
    assert [row["status"] for row in result.table] == ["finished"] * 2
    local = run_sweep(tmp_path / "local", **words)
    assert untimed(result.table) == untimed(local.table)
    assert len(files_of_runs(tmp_path / "ray")) == len(files_of_runs(tmp_path / "local"))
    assert not list(waves.iterdir())
