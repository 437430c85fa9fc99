"""VDN: value decomposition networks (Sunehag et al., AAMAS 2018), the sum of all utilities."""

from __future__ import annotations

from lica_jax.algorithms.q_learning import shared
from lica_jax.algorithms.q_learning.settings import HParams
from lica_jax.algorithms.q_learning.settings import StatelessConfig as Config
from lica_jax.networks.mixers import SumMixer
from lica_jax.types import Algorithm, TaskSpec

__all__ = ["Config", "HParams", "make"]


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds VDN for a task."""
    return shared.make(config, spec, SumMixer())
