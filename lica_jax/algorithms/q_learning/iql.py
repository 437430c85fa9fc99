"""Independent Q-learning (Tan, ICML 1993): every agent learns from the team reward alone."""

from __future__ import annotations

from lica_jax.algorithms.q_learning import shared
from lica_jax.algorithms.q_learning.settings import HParams
from lica_jax.algorithms.q_learning.settings import StatelessConfig as Config
from lica_jax.networks.mixers import NoMixer
from lica_jax.types import Algorithm, TaskSpec

__all__ = ["Config", "HParams", "make"]


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds IQL for a task."""
    return shared.make(config, spec, NoMixer())
