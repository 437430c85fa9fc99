"""Shared set-up: one compilation cache for all tests and their child processes."""

from __future__ import annotations

import gc
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import pytest  # noqa: E402

from lica_jax.machine import return_memory  # noqa: E402

jax.devices()  # one: a sweep, were it the first to use JAX, would take every core for a device

MOST_MEMORY = 4 * 2**30  # of a process of tests

# Tracing makes millions of objects that live on: looking for garbage among them as often as Python
# does by default takes an eighth of the tests' time.
gc.freeze()
gc.set_threshold(50_000, 20, 50)

# A small run that compiles in seconds; used wherever the task does not matter. (The critic's
# grouped pass takes a third of them: tests/unit/test_grouped.py and every preset have it.)
TINY = {
    "total_steps": 2_000,
    "collect": {"mode": "steps", "envs": 4, "length": 4},
    "log_interval": 32,
    "algo": {
        "hidden": 8,
        "mixing_embed": 8,
        "hypernet_hidden": 8,
        "critic_steps": 2,
        "critic_pass": "dense",
    },
    "eval": {"interval": 400, "episodes": 8, "final_episodes": 16},
}

# Of runs that are asked only what they have learned.
AT_THE_END = {"interval": 10**9, "episodes": 64, "final_episodes": 256}


@pytest.fixture
def x64():
    """Runs a test in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def tiny():
    """Overrides for a run of seconds; a fresh copy for every test."""
    import copy

    return copy.deepcopy(TINY)


def new_session(config, run_dir=None, *, resume=False):
    """A session of a configuration, silent and not yet run."""
    from lica_jax.runs.plan import make_plan
    from lica_jax.runs.session import Session

    return Session(make_plan(config, run_dir, resume=resume), "none")


@pytest.fixture
def monkeypatch(monkeypatch):
    """A test that replaces code neither finds a program of the real one nor leaves one behind."""
    replaced = []

    def forgetting(replace):
        def replace_and_forget(*args, **kwargs):
            if not replaced:
                forget_programs()
            replaced.append(args)
            replace(*args, **kwargs)

        return replace_and_forget

    monkeypatch.setattr = forgetting(monkeypatch.setattr)
    monkeypatch.setitem = forgetting(monkeypatch.setitem)
    yield monkeypatch
    monkeypatch.undo()
    if replaced:
        forget_programs()


@pytest.fixture(autouse=True)
def bounded_memory():
    """Three workers of 2,000 tests would fill the machine."""
    gc.freeze()  # what earlier tests have left is not looked through again and again
    yield
    if resident_memory() > MOST_MEMORY:
        forget_programs()
        jax.clear_caches()
        gc.unfreeze()
        gc.collect()
        return_memory()  # else every later test finds the process as large, and compiles all again


def resident_memory() -> int:
    """Bytes that this process holds; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def forget_programs():
    """What is trained next is built and traced anew."""
    from lica_jax.algorithms.registry import _shared_algorithm
    from lica_jax.engines.make import _shared_engine, _shared_programs
    from lica_jax.envs.registry import _shared_task

    for shared in (_shared_task, _shared_algorithm, _shared_engine, _shared_programs):
        shared.cache_clear()


# The programs of a run, by the names of the functions that are jitted.
PROGRAMS = ("init_all", "init", "chunk_all", "learn_at", "run", "evaluate")


@pytest.fixture
def programs():
    """The programs of a run that have been lowered since the test began (cached or not)."""
    forget_programs()  # else a program of an earlier test would do
    names = []

    def listen(event, seconds, fun_name="", **_):
        if event.endswith("jaxpr_to_mlir_module_duration"):
            names.extend(p for p in PROGRAMS if fun_name in (p, f"jit({p})"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


def pytest_addoption(parser):
    parser.addoption("--goldens", help="a directory of reference arrays to test against")
