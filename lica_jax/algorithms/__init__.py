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
    replay: str = ""  # what it learns from beside fresh batches; nothing when on-policy
    actions: str = "discrete"


EPISODES, TRANSITIONS = "episodes or segments", "transitions"

REGISTRY: dict[str, Entry] = {
    "lica": Entry(
        "lica_jax.algorithms.lica.lica",
        "Zhou et al., NeurIPS 2020",
        actions="discrete and continuous",
    ),
    "coma": Entry("lica_jax.algorithms.counterfactual.coma", "Foerster et al., AAAI 2018"),
    "liir": Entry("lica_jax.algorithms.counterfactual.liir", "Du et al., NeurIPS 2019"),
    "iql": Entry("lica_jax.algorithms.q_learning.iql", "Tan, ICML 1993", EPISODES),
    "vdn": Entry("lica_jax.algorithms.q_learning.vdn", "Sunehag et al., AAMAS 2018", EPISODES),
    "qmix": Entry("lica_jax.algorithms.q_learning.qmix", "Rashid et al., ICML 2018", EPISODES),
    "qtran": Entry(
        "lica_jax.algorithms.q_learning.qtran", "Son et al., ICML 2019 (base)", EPISODES
    ),
    "qtran_alt": Entry(
        "lica_jax.algorithms.q_learning.qtran_alt", "Son et al., ICML 2019 (alt)", EPISODES
    ),
    "coma_fc": Entry(
        "lica_jax.algorithms.per_agent.coma_fc", "Foerster et al., AAAI 2018, for MPE"
    ),
    "iddpg": Entry(
        "lica_jax.algorithms.per_agent.iddpg", "Lillicrap et al., ICLR 2016", TRANSITIONS
    ),
    "maddpg": Entry(
        "lica_jax.algorithms.per_agent.maddpg", "Lowe et al., NeurIPS 2017", TRANSITIONS
    ),
    "sqddpg": Entry("lica_jax.algorithms.per_agent.sqddpg", "Wang et al., AAAI 2020", TRANSITIONS),
    "ippo": Entry("lica_jax.algorithms.ppo.ippo", "de Witt et al., 2020"),
    "mappo": Entry("lica_jax.algorithms.ppo.mappo", "Yu et al., NeurIPS 2022"),
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
