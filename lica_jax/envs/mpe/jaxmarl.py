"""JaxMARL's cooperative particle tasks behind the array-form task interface.

``simple_spread`` (3 agents; ``simple_spread_n5`` for any other number), ``simple_reference`` and
``simple_speaker_listener``. The team reward is the **sum** of JaxMARL's per-agent rewards, the
scale of the returns that JaxMARL's own logs show. Episodes last exactly 25 steps (JaxMARL's own
last 26: it tests its limit before counting) and are truncated, never terminal. ``state`` is the
concatenation of all observations.
"""

from __future__ import annotations

import re

import jax.numpy as jnp

from lica_jax.errors import UserError
from lica_jax.types import TaskSpec, TimeStep

LIMIT = 25
NAMES = ("simple_spread", "simple_reference", "simple_speaker_listener")
_SPREAD_N = re.compile(r"simple_spread_n(\d+)")


def match(name: str) -> bool:
    return _SPREAD_N.fullmatch(name) is not None


def describe(name: str) -> str:
    about = {
        "simple_spread": "3 agents cover 3 landmarks; simple_spread_n5 for 5, any n >= 2",
        "simple_reference": "2 agents tell each other their landmark",
        "simple_speaker_listener": "a speaker guides a listener",
    }
    return f"{about[name]}, limit {LIMIT}"


class JaxMarlMpe:
    """One cooperative particle task.

    Agents of unequal sizes (speaker and listener) are padded: observations with zeros, actions
    with unavailable ones.
    """

    def __init__(self, name: str, env):
        self.env = env
        self._agents = env.agents
        obs_sizes = [env.observation_spaces[a].shape[0] for a in self._agents]
        action_sizes = [env.action_spaces[a].n for a in self._agents]
        self._pad = [max(obs_sizes) - size for size in obs_sizes]
        self.avail = jnp.arange(max(action_sizes)) < jnp.array(action_sizes)[:, None]
        self.spec = TaskSpec(
            name=f"mpe/{name}", n_agents=len(self._agents), n_actions=max(action_sizes),
            obs_size=max(obs_sizes), state_size=sum(obs_sizes), episode_limit=LIMIT,
            max_return=0.0, source="JaxMARL MPE",
        )  # fmt: skip

    def reset(self, key):
        obs, state = self.env.reset(key)
        return state, self._timestep(obs, state, jnp.float32(0), first=True)

    def step(self, key, state, action):
        actions = {agent: action[i] for i, agent in enumerate(self._agents)}
        obs, state, rewards, _, _ = self.env.step_env(key, state, actions)
        return state, self._timestep(obs, state, sum(rewards.values()), first=False)

    def _timestep(self, obs, state, reward, *, first) -> TimeStep:
        parts = [obs[agent] for agent in self._agents]
        return TimeStep(
            obs=jnp.stack([jnp.pad(o, (0, p)) for o, p in zip(parts, self._pad, strict=True)]),
            state=jnp.concatenate(parts),
            avail=self.avail,
            reward=reward,
            terminated=jnp.array(False),
            truncated=state.step >= LIMIT,
            first=jnp.array(first),
            alive=jnp.ones(len(self._agents), bool),
            info={},
        )


def make(name: str) -> JaxMarlMpe:
    from lica_jax.envs.jaxmarl_import import jaxmarl

    spread = _SPREAD_N.fullmatch(name)
    if spread:
        n = int(spread[1])
        if n < 2:
            raise UserError(f"mpe/{name}: simple_spread needs at least 2 agents")
        env = jaxmarl.make(
            "MPE_simple_spread_v3", num_agents=n, num_landmarks=n, max_steps=LIMIT - 1
        )
    else:
        ids = {
            "simple_spread": "MPE_simple_spread_v3",
            "simple_reference": "MPE_simple_reference_v3",
            "simple_speaker_listener": "MPE_simple_speaker_listener_v4",
        }
        env = jaxmarl.make(ids[name], max_steps=LIMIT - 1)
    return JaxMarlMpe(name, env)
