"""Algorithms: one file each, one registry line each."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from lica_jax.errors import unknown
from lica_jax.types import Algorithm, TaskSpec


@dataclass(frozen=True)
class Entry:
    """What `lica-jax list` shows of an algorithm; its code is imported on first use.

    The module offers ``Config`` (static choices), ``HParams`` (traced numbers) and
    ``make(config, spec) -> Algorithm``.
    """

    module: str
    paper: str
    on_policy: bool
    actions: str = "discrete"


REGISTRY: dict[str, Entry] = {
    "lica": Entry(
        "lica_jax.algorithms.lica",
        "Zhou et al., NeurIPS 2020",
        on_policy=True,
        actions="discrete and continuous",
    ),
}


def algorithm_module(name: str) -> Any:
    """The module behind a registered name; raises ``UserError`` with the nearest names."""
    if name not in REGISTRY:
        raise unknown("algorithm", name, REGISTRY)
    return importlib.import_module(REGISTRY[name].module)


def make_algorithm(name: str, spec: TaskSpec, config: Any = None) -> Algorithm:
    """Builds the algorithm ``name`` for a task; ``config`` defaults to its own defaults."""
    module = algorithm_module(name)
    return module.make(module.Config() if config is None else config, spec)
