"""JaxMARL's cooperative particle tasks behind the array-form task interface.

``simple_spread`` (3 agents; ``simple_spread_n5`` for any other number), ``simple_reference`` and
``simple_speaker_listener``; ``simple_spread_continuous`` (and ``simple_spread_n5_continuous``) with
forces in (-1, 1)^2 instead of five directions. The team reward is the **sum** of JaxMARL's
per-agent rewards, the scale of the returns that JaxMARL's own logs show. Episodes last exactly 25
steps (JaxMARL's own last 26: it tests its limit before counting) and are truncated, never terminal.
``state`` is the concatenation of all observations.
"""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp

from lica_jax.envs.frames import Frame, Scene, disks
from lica_jax.envs.mpe.particles import MOST_AGENTS
from lica_jax.errors import UserError
from lica_jax.types import Task, TaskSpec, TimeStep

LIMIT = 25
NAMES = (
    "simple_spread", "simple_spread_continuous", "simple_reference", "simple_speaker_listener",
)  # fmt: skip
_SPREAD = re.compile(r"simple_spread(?:_n(0|[1-9]\d*))?(_continuous)?")
# For a renderer: each agent's kind, and all kinds; then landmarks' by whose goal
# they are.
_KINDS = {
    "simple_reference": (
        (0, 0), ("agent", "landmark", "goal_of_agent_0", "goal_of_agent_1", "goal_of_both"),
    ),
    "simple_speaker_listener": ((0, 1), ("speaker", "listener", "landmark", "goal")),
}  # fmt: skip

FORCES = ("force along x", "force along y")
MOVES = ("stay", "left", "right", "down", "up")
_WORDS = tuple(f"say {word}" for word in range(3))  # of the speaker; the others are padding
_ACTIONS = {
    "simple_reference": (tuple(f"{move}, say {word}" for word in range(10) for move in MOVES),) * 2,
    "simple_speaker_listener": (_WORDS, MOVES),
}


def match(name: str) -> bool:
    return _SPREAD.fullmatch(name) is not None


def describe(name: str) -> str:
    about = {
        "simple_spread": "3 agents cover 3 landmarks; simple_spread_n5 for 5, 2 to 100",
        "simple_spread_continuous": "the same with forces in (-1, 1)^2 as actions",
        "simple_reference": "2 agents tell each other their landmark",
        "simple_speaker_listener": "a speaker guides a listener",
    }
    return f"{about[name]}, limit {LIMIT}"


class JaxMarlMpe(Task):
    """One cooperative particle task.

    Agents of unequal sizes (speaker and listener) are padded: observations with zeros, actions
    with unavailable ones. A continuous action is the force along x and y as a share of the largest
    one; JaxMARL's own five numbers (nothing, left, right, down, up, each in [0, 1]) reach the same
    forces.
    """

    def __init__(self, name: str, env, continuous: bool = False):
        self.env = env
        self._continuous = continuous
        self._agents = env.agents
        obs_sizes = [env.observation_spaces[a].shape[0] for a in self._agents]
        action_sizes = [2 if continuous else env.action_spaces[a].n for a in self._agents]
        self._pad = [max(obs_sizes) - size for size in obs_sizes]
        self.avail = jnp.arange(max(action_sizes))[None] < jnp.array(action_sizes)[:, None]
        self.spec = TaskSpec(
            name=f"mpe/{name}", n_agents=len(self._agents), n_actions=max(action_sizes),
            obs_size=max(obs_sizes), state_size=sum(obs_sizes), episode_limit=LIMIT,
            max_return=0.0, continuous=continuous,
            masks_actions=not continuous and min(action_sizes) < max(action_sizes),
            source="JaxMARL MPE",
        )  # fmt: skip
        n, m = len(self._agents), env.num_landmarks
        self._roles, kinds = _KINDS.get(name, ((0,) * n, ("agent", "landmark")))
        self.scene = Scene(
            bounds=(-1.6, -1.6, 1.6, 1.6), kinds=kinds, team=(0,) * n + (-1,) * m,
            agent=(*range(n), *(-1,) * m), frame_seconds=env.dt,
            actions=(FORCES,) * n if continuous else _ACTIONS.get(name, (MOVES,) * n),
        )  # fmt: skip

    # JaxMARL's own code leaves leading axes to broadcasting.

    @jax.numpy_rank_promotion("allow")
    def reset(self, key):
        obs, state = self.env.reset(key)
        return state, self._timestep(obs, state, jnp.zeros(()), first=True)

    @jax.numpy_rank_promotion("allow")
    def step(self, key, state, action):
        if self._continuous:
            action = _directions(action)
        actions = {agent: action[i] for i, agent in enumerate(self._agents)}
        obs, state, rewards, _, _ = self.env.step_env(key, state, actions)
        return state, self._timestep(obs, state, sum(rewards.values()), first=False)

    def frames(self, key, state, action) -> Frame:
        """The moment after ``step`` with the same arguments; leading axis 1."""
        state, _ = self.step(key, state, action)
        landmark = jnp.arange(self.env.num_landmarks)
        # Bit i says that agent i (or the listener) shall go there.
        goals = [] if state.goal is None else jnp.atleast_1d(state.goal)
        marked = sum(((landmark == goal) << i for i, goal in enumerate(goals)), 0 * landmark)
        kind = jnp.concatenate([jnp.array(self._roles), max(self._roles) + 1 + marked])
        return disks(state.p_pos, self.env.rad, kind)

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


def _directions(force):
    """Forces ``[N, 2]`` in (-1, 1) as JaxMARL's five numbers ``[N, 5]``."""
    x, y = force[:, 0], force[:, 1]
    parts = [jnp.zeros_like(x), -x, x, -y, y]
    return jnp.maximum(jnp.stack(parts, axis=-1), 0)


def make(name: str) -> JaxMarlMpe:
    from lica_jax.envs.jaxmarl_import import jaxmarl

    spread = _SPREAD.fullmatch(name)
    if spread:
        n, continuous = int(spread[1] or 3), bool(spread[2])
        if not 2 <= n <= MOST_AGENTS:
            raise UserError(f"mpe/{name}: simple_spread takes 2 to {MOST_AGENTS} agents")
        env = jaxmarl.make(
            "MPE_simple_spread_v3", num_agents=n, num_landmarks=n, max_steps=LIMIT - 1,
            action_type="Continuous" if continuous else "Discrete",
        )  # fmt: skip
        return JaxMarlMpe(name, env, continuous)
    ids = {
        "simple_reference": "MPE_simple_reference_v3",
        "simple_speaker_listener": "MPE_simple_speaker_listener_v4",
    }
    return JaxMarlMpe(name, jaxmarl.make(ids[name], max_steps=LIMIT - 1))
