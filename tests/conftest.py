"""Shared set-up: one compilation cache for all tests and their child processes."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import pytest  # noqa: E402

# A small run that compiles in seconds; used wherever the task does not matter.
TINY = {
    "total_steps": 2_000,
    "collect": {"mode": "steps", "envs": 4, "length": 4},
    "log_interval": 32,
    "algo": {"hidden": 8, "mixing_embed": 8, "hypernet_hidden": 8, "critic_steps": 2},
    "eval": {"interval": 400, "episodes": 8, "final_episodes": 16},
}


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


@pytest.fixture
def compile_seconds():
    """Seconds spent lowering and compiling since the test began, as a function.

    Handling keys and seeds compiles trifles; a training or evaluation program takes over a second
    to lower, also where its compilation is answered by the cache.
    """
    spent = []

    def listen(name, seconds, **_):
        if name.endswith(("backend_compile_duration", "jaxpr_to_mlir_module_duration")):
            spent.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield lambda: sum(spent)
    jax.monitoring.unregister_event_duration_listener(listen)


def pytest_addoption(parser):
    parser.addoption("--goldens", help="a directory of reference arrays to test against")
