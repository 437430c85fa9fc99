"""LICA and its baselines in JAX: pure functions, jitted and vmapped over environments and seeds.

Importing this package touches no device and no optional dependency; names load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lica_jax.version import __version__

if TYPE_CHECKING:
    from lica_jax import core, networks, statistics, testing, types
    from lica_jax.algorithms import algorithm_names, make_algorithm, register_algorithm
    from lica_jax.api import evaluate, train
    from lica_jax.config import TrainConfig, load_config
    from lica_jax.diagnosis import diagnose
    from lica_jax.envs import Family, make_task, register_family, task_names
    from lica_jax.errors import BudgetOverrun, TrainingFailed, UserError
    from lica_jax.policy import load_policy
    from lica_jax.rendering import render
    from lica_jax.reporting import report
    from lica_jax.runs.callbacks import StopAt
    from lica_jax.runs.loading import load_result
    from lica_jax.runs.tables import load_runs
    from lica_jax.sweeps import sweep

_HOME = {
    "BudgetOverrun": "errors", "Family": "envs.names", "StopAt": "runs.callbacks",
    "TrainConfig": "config", "TrainingFailed": "errors", "UserError": "errors",
    "algorithm_names": "algorithms", "diagnose": "diagnosis", "evaluate": "api",
    "load_config": "config", "load_policy": "policy", "load_result": "runs.loading",
    "load_runs": "runs.tables",
    "make_algorithm": "algorithms", "make_task": "envs",
    "register_algorithm": "algorithms", "register_family": "envs", "render": "rendering",
    "report": "reporting", "sweep": "sweeps", "task_names": "envs", "train": "api",
}  # fmt: skip
# Parts that can be used on their own, as attributes. `import *` leaves them out: it would hide the
# modules `statistics` and `types` of Python.
_PARTS = ("core", "networks", "statistics", "testing", "types")
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"lica_jax.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if name in _PARTS:
        return importlib.import_module(f"lica_jax.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    hidden = {"annotations", "importlib", "Any", "TYPE_CHECKING"}
    return sorted({*globals(), *__all__, *_PARTS} - hidden)
