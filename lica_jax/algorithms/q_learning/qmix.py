"""QMIX: monotonic value function factorisation (Rashid et al., ICML 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lica_jax.algorithms.q_learning import settings, shared
from lica_jax.algorithms.q_learning.settings import HParams
from lica_jax.algorithms.settings import idle_in_one_layer, state_problems
from lica_jax.networks.mixers import MonotonicMixer
from lica_jax.types import Algorithm, Collect, TaskSpec

__all__ = ["Config", "HParams", "make"]


@dataclass(frozen=True)
class Config(settings.Config):
    """Q-learning's choices, and the mixer's.

    Attributes:
      mixing_embed: E, width of the mixing network.
      hypernet_layers: number of linear layers in the hypernetworks of W1 and w2.
      hypernet_hidden: hidden width of the hypernetworks of W1 and w2, with ``hypernet_layers`` 2.
    """

    mixing_embed: int = 32
    hypernet_layers: Literal[1, 2] = 2
    hypernet_hidden: int = 64

    def idle(self, spec: TaskSpec, hp: Any) -> dict[str, tuple[str, ...]]:
        return super().idle(spec, hp) | idle_in_one_layer(self.hypernet_layers)

    def problems(self, spec: TaskSpec, collect: Collect) -> list[str]:
        own = state_problems(spec, self.state_obs, "mixing network", "iql or vdn")
        return super().problems(spec, collect) + own


def make_mixer(config: Config) -> MonotonicMixer:
    return MonotonicMixer(config.mixing_embed, config.hypernet_layers, config.hypernet_hidden)


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds QMIX for a task."""
    return shared.make(config, spec, make_mixer(config))
