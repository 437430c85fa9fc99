"""MADDPG: deterministic policy gradients with centralised critics (Lowe et al., NeurIPS 2017).

As in the SQDDPG repository: every agent has a critic of all observations and all actions.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from lica_jax.algorithms.per_agent import ddpg
from lica_jax.algorithms.per_agent.ddpg import Config, HParams
from lica_jax.algorithms.per_agent.shared import Networks
from lica_jax.types import Algorithm, TaskSpec

__all__ = ["Config", "HParams", "make"]


def read(obs: Float[Array, "K N O"], action: Float[Array, "K N N A"], noise: None):
    """``Q_i(o_1 .. o_N, u_1 .. u_N)``."""
    del noise
    k, n = obs.shape[:2]
    everything = jnp.broadcast_to(obs.reshape(k, 1, 1, -1), (k, 1, n, obs[0].size))
    return everything, action.reshape(k, 1, n, -1)


def make_networks(config: Config, spec: TaskSpec) -> Networks:
    n_inputs = spec.n_agents * (spec.obs_size + spec.n_actions)
    return ddpg.make_networks(config, spec, n_inputs, read)


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds MADDPG for a task."""
    return ddpg.algorithm(make_networks(config, spec))
