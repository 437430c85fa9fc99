"""Small sweeps that share their compiled programs."""

from __future__ import annotations

import contextlib
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
def plans():
    """Those that all tests share, with their programs."""
    from lica_jax.sweeps.plans import Plans

    return Plans(kept=1_000)


@pytest.fixture(scope="session")
def sharing(plans):
    """``with sharing() as patch``: sweeps share one set of programs, and draw nothing unless asked
    to, which takes longer than training does here."""

    def draw(folder, rows, summary, path):
        path.write_bytes(b"")

    @contextlib.contextmanager
    def shared(pictures=False):
        with pytest.MonkeyPatch.context() as patch:  # the fixture would make all forget programs
            patch.setattr("lica_jax.sweeps.opening.Plans", lambda *_: plans)
            if not pictures:
                patch.setattr("lica_jax.runs.learning_curve.run_curve", lambda *_: b"")
                patch.setattr("lica_jax.sweeps.result.draw_sweep", draw)
            yield patch

    return shared


@pytest.fixture(scope="session")
def run_sweep(sharing):
    """``run_sweep(sweep_dir, **words) -> SweepResult``; all tests share one set of programs."""

    def run(sweep_dir, *, resume=False, pictures=False, **given):
        from lica_jax.sweeps.driver import Driver

        with sharing(pictures):
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


def files_of_runs(sweep_dir):
    """The files of ended runs and what is in them."""
    return {p: p.read_bytes() for p in (sweep_dir / "runs").rglob("*") if p.is_file()}
