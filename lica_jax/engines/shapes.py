"""A task of given sizes in which nothing happens: shapes without an environment."""

from __future__ import annotations

import jax.numpy as jnp

from lica_jax.types import Task, TaskSpec, TimeStep


class ShapeTask(Task):
    """Stands in for a task outside JAX where only the shapes of its arrays are wanted."""

    def __init__(self, spec: TaskSpec):
        self.spec = spec

    def reset(self, key):
        del key
        s, off = self.spec, jnp.zeros((), bool)
        ts = TimeStep(
            obs=jnp.zeros((s.n_agents, s.obs_size)), state=jnp.zeros(s.state_size),
            avail=jnp.ones((s.n_agents, s.n_actions), bool), reward=jnp.zeros(()),
            terminated=off, truncated=off, first=off, alive=jnp.ones(s.n_agents, bool), info={},
        )  # fmt: skip
        return (), ts

    def step(self, key, state, action):
        del state, action
        return self.reset(key)
