"""Probe tasks: one- and two-step games that isolate one part of a learner each.

A learner that fails one of these has a bug in a known place, found in seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lica_jax.types import TaskSpec, TimeStep

_ABOUT = {
    "constant": "reward 1 whatever happens: the critic must learn the constant 1",
    "state": "reward equals the observed cue -1 or +1: the critic must read the state",
    "two_step": "reward 1 on the second step only: the first step is worth gamma",
    "match": "reward 1 iff both agents play the cue: the policies must coordinate",
    "aim": "continuous: reward 1 - (mean action - cue / 2)^2 - (difference)^2 / 4",
}
NAMES = tuple(_ABOUT)


@struct.dataclass
class ProbeState:
    cue: Int[Array, ""]  # 0 or 1
    t: Int[Array, ""]


class Probe:
    """Two agents, two actions or one force; both agents observe (cue as -1/+1, time)."""

    def __init__(self, name: str, length: int, reward: Callable[..., Float[Array, ""]]):
        continuous = name == "aim"
        self._avail = jnp.ones((2, 1 if continuous else 2), bool)
        self._reward = reward
        self._length = length
        self.spec = TaskSpec(
            name=f"probe/{name}", n_agents=2, n_actions=self._avail.shape[1], obs_size=2,
            state_size=2, episode_limit=length, max_return=1.0, continuous=continuous,
            source="built in",
        )  # fmt: skip

    def _timestep(self, state: ProbeState, reward, *, first) -> TimeStep:
        view = jnp.stack([2.0 * state.cue - 1.0, 1.0 * state.t])
        return TimeStep(
            obs=jnp.broadcast_to(view, (2, 2)),
            state=view,
            avail=self._avail,
            reward=jnp.asarray(reward, view.dtype),
            terminated=state.t >= self._length,
            truncated=jnp.array(False),
            first=jnp.array(first),
            alive=jnp.ones(2, bool),
            info={},
        )

    def reset(self, key):
        state = ProbeState(cue=jax.random.bernoulli(key).astype(jnp.int32), t=jnp.int32(0))
        return state, self._timestep(state, 0.0, first=True)

    def step(self, key, state, action):
        del key
        reward = self._reward(state.cue, state.t, action)
        state = state.replace(t=state.t + 1)
        return state, self._timestep(state, reward, first=False)


def _aim(cue, t, action):
    """Both agents at half the cue earn 1; apart from it or from each other they earn less."""
    del t
    off = jnp.mean(action) - (cue - 0.5)
    return 1.0 - jnp.square(off) - jnp.square(action[0, 0] - action[1, 0]) / 4


def describe(name: str) -> str:
    return _ABOUT[name]


def make(name: str) -> Probe:
    rewards = {
        "constant": (1, lambda cue, t, action: 1.0),
        "state": (1, lambda cue, t, action: 2.0 * cue - 1.0),
        "two_step": (2, lambda cue, t, action: 1.0 * t),
        "match": (1, lambda cue, t, action: 1.0 * jnp.all(action == cue)),
        "aim": (1, _aim),
    }
    length, reward = rewards[name]
    return Probe(name, length, reward)
