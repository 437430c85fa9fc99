"""IDDPG: independent deterministic policy gradients (Lillicrap et al., ICLR 2016), agent by agent.

As in the SQDDPG repository: critic i reads agent i's observation and action only, and is fitted to
the team's reward.
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
    """``Q_i(o_i, u_i)``."""
    del noise
    own = jnp.moveaxis(jnp.diagonal(action, axis1=1, axis2=2), -1, 1)
    return obs[:, None], own[:, None]


def make_networks(config: Config, spec: TaskSpec) -> Networks:
    return ddpg.make_networks(config, spec, spec.obs_size + spec.n_actions, read)


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds IDDPG for a task."""
    return ddpg.algorithm(make_networks(config, spec))
