"""SQDDPG: Shapley Q-values for deterministic policy gradients (Wang et al., AAAI 2020).

Critic i answers agent i's marginal contribution to a coalition, and the mean over random orders of
joining estimates its Shapley value Q_i. The sum of all of them is fitted to the team's TD target,
and actor i climbs Q_i.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from jaxtyping import Array, Float, Int

from lica_jax.algorithms.per_agent import ddpg, maddpg
from lica_jax.algorithms.per_agent.ddpg import HParams
from lica_jax.algorithms.per_agent.shared import Networks
from lica_jax.core.shapley import (
    Permutation,
    coalition_actions,
    coalition_slots,
    draw_positions,
)
from lica_jax.types import Algorithm, TaskSpec

__all__ = ["Config", "HParams", "make"]


@dataclass(frozen=True)
class Config(ddpg.Config):
    """The family's choices, and how coalitions are sampled.

    Attributes:
      coalitions: M, number of random orders of joining per row; the Shapley value is the mean over
        them.
      permutation: how orders become coalitions: correctly ("fixed"), or as in the SQDDPG repository
        before its fix of March 2022 ("repo2020"); see `core.shapley.coalition_slots`.
    """

    coalitions: int = 1
    permutation: Permutation = "fixed"


def read(
    permutation: str, obs: Float[Array, "K N O"], action: Float[Array, "K N N A"],
    positions: Int[Array, "K M N"],
):  # fmt: skip
    """``Phi_i(o_1 .. o_N, slots of i's coalition)``: the actions of those who joined up to i, in
    the order of joining; observations are never hidden."""
    everything, _ = maddpg.read(obs, action, None)
    slots = coalition_slots(positions, permutation)
    joined = coalition_actions(slots, action[:, None])
    return everything, joined.reshape(*joined.shape[:3], -1)


def make_networks(config: Config, spec: TaskSpec) -> Networks:
    n = spec.n_agents

    def draw(key, rows):
        return draw_positions(key, (rows, config.coalitions), n)

    n_inputs = n * (spec.obs_size + spec.n_actions)
    return ddpg.make_networks(
        config, spec, n_inputs, partial(read, config.permutation), draw, team=True
    )


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds SQDDPG for a task."""
    return ddpg.algorithm(make_networks(config, spec))
