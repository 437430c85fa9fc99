"""MAPPO: PPO with a centralised value (Yu et al., NeurIPS 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from jaxtyping import Array, Float

from lica_jax.algorithms.ppo import settings, shared
from lica_jax.algorithms.ppo.settings import HParams
from lica_jax.types import Algorithm, Collect, TaskSpec

__all__ = ["Config", "HParams", "make"]


@dataclass(frozen=True)
class Config(settings.Config):
    """PPO's choices, and the critic's.

    Attributes:
      critic_obs: the critic reads the agent's own observation in addition to the state (the paper's
        agent-specific state).
    """

    critic_obs: bool = True

    def problems(self, spec: TaskSpec, collect: Collect) -> list[str]:
        out = super().problems(spec, collect)
        if spec.state_size == 0:
            out.append(f"{spec.name} has no state, of which the value is a function: use ippo")
        return out


def central_view(
    config: Config, obs: Float[Array, "*B N O"], state: Float[Array, "*B S"]
) -> Float[Array, "*B N V"]:
    """The state as every agent's critic reads it, with its own observation if asked for."""
    return shared.central_view(obs if config.critic_obs else obs[..., :0], state)


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds MAPPO for a task."""
    return shared.make(config, spec, view=partial(central_view, config))
