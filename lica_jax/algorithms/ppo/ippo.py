"""IPPO: independent proximal policy optimisation (de Witt et al., 2020).

Each agent's value is a function of its own observation: nothing is centralised but the reward.
"""

from __future__ import annotations

from lica_jax.algorithms.ppo import shared
from lica_jax.algorithms.ppo.settings import Config, HParams
from lica_jax.types import Algorithm, TaskSpec

__all__ = ["Config", "HParams", "make"]


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds IPPO for a task."""
    return shared.make(config, spec, view=lambda obs, state: obs)
