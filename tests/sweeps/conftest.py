"""Small sweeps that share their compiled programs."""

from __future__ import annotations

import copy

import pytest

from tests.conftest import TINY

WORDS = TINY | {
    "algorithm": "lica",
    "task": "probe/match",
    "total_steps": 1_600,
    "log_interval": 160,
    "eval": {"interval": 800, "episodes": 8, "final_episodes": 8},
}


@pytest.fixture
def words():
    """The words of a sweep of seconds; a fresh copy for every test."""
    return copy.deepcopy(WORDS)


@pytest.fixture(scope="session")
def _plans():
    from lica_jax.sweeps.plans import Plans

    return Plans()


@pytest.fixture
def run_sweep(_plans, monkeypatch):
    """``run_sweep(sweep_dir, **words) -> SweepResult``; all tests share one set of programs."""
    monkeypatch.setattr("lica_jax.sweeps.driver.Plans", lambda *_: _plans)

    def run(sweep_dir, *, resume=False, **given):
        from lica_jax.sweeps.driver import Driver

        return Driver(given, sweep_dir, resume=resume, style="none").run()

    return run


def contents(run_dir):
    """What a run's files say of it, but for time, place and version."""
    import json

    from safetensors.numpy import load_file

    from lica_jax.runs.rows import read_rows

    timed = ("seconds", "env_steps_per_second")
    rows = [
        [{k: v for k, v in row.items() if k not in timed} for row in read_rows(run_dir / name)]
        for name in ("metrics.jsonl", "eval.jsonl")
    ]
    result = json.loads((run_dir / "result.json").read_text())
    for name in (*timed, "status", "side_by_side"):
        result.pop(name, None)
    config = json.loads((run_dir / "config.json").read_text())
    policy = {k: v.tobytes() for k, v in load_file(run_dir / "policy.safetensors").items()}
    return {"rows": rows, "result": result, "config": config, "policy": policy}


def untimed(table):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in table]
