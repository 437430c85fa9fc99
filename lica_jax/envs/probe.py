"""Probe tasks: games of one to three steps that isolate one part of a learner each.

A learner that fails one of these has a bug in a known place, found in seconds. Two of them are
partially observed:

* ``memory``: the cue is seen at the first step only and must be played at the third, for half of
  the reward each. The state has it all the time, so nothing hides from the critic, and no agent
  depends on the other; what is tested is the agents' memory, and that gradients reach it through
  time. Without memory 0.5 is the best there is.
* ``private``: each agent has a bit of its own, which the other does not see, and the team is paid
  iff both play theirs. That is easy to play alone; but over the hidden bits every joint action is
  worth 1/4, so an agent learns nothing from a critic that does not read both bits in the state.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lica_jax.envs.names import Family
from lica_jax.types import Task, TaskSpec, TimeStep

_ABOUT = {
    "constant": "reward 1 whatever happens: the critic must learn the constant 1",
    "state": "reward equals the observed cue -1 or +1: the critic must read the state",
    "two_step": "reward 1 on the second step only: the first step is worth gamma",
    "match": "reward 1 iff both agents play the cue: the policies must coordinate",
    "aim": "continuous: reward 1 - (mean action - cue / 2)^2 - (difference)^2 / 4",
    "memory": "reward at step 3: the share of agents that play the cue of step 1, by memory",
    "private": "reward 1 iff both play the bit only they see: credit needs the whole state",
}


@struct.dataclass
class ProbeState:
    cue: Int[Array, " 2"]  # 0 or 1, by agent; the same for both but in `private`
    t: Int[Array, ""]


class Probe(Task):
    """Two agents, two actions or one force.

    Each agent observes its cue (as -1/+1) and the time; the state is the cue and the time, in
    `private` both agents' cues and the time.
    """

    def __init__(self, name: str, length: int, reward: Callable[..., Float[Array, ""]]):
        continuous = name == "aim"
        self._avail = jnp.ones((2, 1 if continuous else 2), bool)
        self._reward = reward
        self._length = length
        self._private = name == "private"
        self._forgets = name == "memory"
        self.spec = TaskSpec(
            name=f"probe/{name}", n_agents=2, n_actions=self._avail.shape[1], obs_size=2,
            state_size=3 if self._private else 2, episode_limit=length, max_return=1.0,
            continuous=continuous, source="built in",
        )  # fmt: skip

    def _timestep(self, state: ProbeState, reward, *, first) -> TimeStep:
        # Of a dtype that stays through a checkpoint, where a weak type would not: a run that is
        # resumed then needs no program of its own.
        sign, time = 2 * state.cue.astype(float) - 1, state.t.astype(float)
        shown = jnp.where(state.t == 0, sign, 0) if self._forgets else sign
        known = sign if self._private else sign[:1]
        return TimeStep(
            obs=jnp.stack([shown, jnp.broadcast_to(time, 2)], axis=-1),
            state=jnp.append(known, time),
            avail=self._avail,
            reward=jnp.asarray(reward, sign.dtype),
            terminated=state.t >= self._length,
            truncated=jnp.array(False),
            first=jnp.array(first),
            alive=jnp.ones(2, bool),
            info={},
        )

    def reset(self, key):
        cue = jax.random.bernoulli(key, shape=(2,) if self._private else ())
        cue = jnp.broadcast_to(cue, 2).astype(jnp.int32)
        state = ProbeState(cue=cue, t=jnp.int32(0))
        return state, self._timestep(state, 0.0, first=True)

    def step(self, key, state, action):
        del key
        reward = self._reward(state.cue, state.t, action)
        state = state.replace(t=state.t + 1)
        return state, self._timestep(state, reward, first=False)


def _aim(cue, t, action):
    """Both agents at half the cue earn 1; apart from it or from each other they earn less."""
    del t
    off = jnp.mean(action) - (cue[0] - 0.5)
    return 1.0 - jnp.square(off) - jnp.square(action[0, 0] - action[1, 0]) / 4


def make(name: str) -> Probe:
    rewards = {
        "constant": (1, lambda cue, t, action: 1.0),
        "state": (1, lambda cue, t, action: 2.0 * cue[0] - 1.0),
        "two_step": (2, lambda cue, t, action: 1.0 * t),
        "match": (1, lambda cue, t, action: 1.0 * jnp.all(action == cue)),
        "aim": (1, _aim),
        "memory": (3, lambda cue, t, action: (t == 2) * jnp.mean(1.0 * (action == cue))),
        "private": (1, lambda cue, t, action: 1.0 * jnp.all(action == cue)),
    }
    length, reward = rewards[name]
    return Probe(name, length, reward)


FAMILY = Family(names=tuple(_ABOUT), make=make, describe=_ABOUT.__getitem__, shared=True)
