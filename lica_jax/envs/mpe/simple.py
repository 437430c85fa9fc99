"""JaxMARL's cooperative particle tasks, in the same world as the paper's.

``simple_spread`` (3 agents; ``simple_spread_n5`` for any other number), ``simple_reference`` and
``simple_speaker_listener``; ``simple_spread_continuous`` (and ``simple_spread_n5_continuous``) with
forces in (-1, 1)^2 instead of five directions. The same keys and actions give what JaxMARL 0.2.0
gives, to float rounding (tests/reference/test_mpe.py), except that

* the team reward is the **sum** of JaxMARL's per-agent rewards, the scale of the returns that
  JaxMARL's own logs show;
* episodes last exactly 25 steps (JaxMARL's own last 26: it tests its limit before counting) and are
  truncated, never terminal;
* agents of unequal sizes (speaker and listener) are padded: observations with zeros, actions with
  unavailable ones. ``state`` is the concatenation of all observations;
* a continuous action is the force along x and y as a share of the largest one; JaxMARL's own five
  numbers (nothing, left, right, down, up, each in [0, 1]) reach the same forces.
"""

from __future__ import annotations

import re

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lica_jax.envs.frames import Scene
from lica_jax.envs.mpe import particles, physics
from lica_jax.envs.mpe.task import BOUNDS, MOST_AGENTS, ParticleState, ParticleTask
from lica_jax.errors import UserError
from lica_jax.types import TaskSpec

LIMIT = 25
NAMES = (
    "simple_spread", "simple_spread_continuous", "simple_reference", "simple_speaker_listener",
)  # fmt: skip
_SPREAD = re.compile(r"simple_spread(?:_n(0|[1-9]\d{0,5}))?(_continuous)?")
FORCES = ("force along x", "force along y")
# Direction of each discrete action, numbered otherwise than the paper's.
DIRECTIONS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
MOVES = ("stay", "left", "right", "down", "up")
LANDMARKS = 3  # of the tasks with goals
# Of simple_reference and of simple_speaker_listener.
REFERENCE_WORDS, SPEAKER_WORDS = 10, 3


def steer(action: Int[Array, "N *B"], dtype) -> Float[Array, "N 2 *B"]:
    return physics.steer(physics.as_vectors(action, dtype), DIRECTIONS)


def one_hot(index: Int[Array, "G *B"], size: int, dtype) -> Float[Array, "G K *B"]:
    """Zeros where the index is negative."""
    return (index[:, None] == physics.constant(np.arange(size), index)).astype(dtype)


def to_goals(state: ParticleState) -> Float[Array, "G 2 *B"]:
    """From the last G agents to the landmarks that they are to reach."""
    chosen = one_hot(state.goal, LANDMARKS, state.position.dtype)[:, :, None]
    goal = physics.total(jnp.moveaxis(chosen, 1, 0) * state.landmark[:, None])
    return goal - state.position[-len(state.goal) :]


class SimpleTask(ParticleTask):
    """What the three have in common: `world` and `kind` first, then this."""

    def _describe(self, name, kinds, actions, obs_sizes, n_actions, **facts):
        """``obs_sizes`` and names of ``actions`` by agent, ``facts`` of the spec."""
        n, m = len(self.world.radius), len(self.world.landmark_radius)
        self.spec = TaskSpec(
            name=f"mpe/{name}", n_agents=n, n_actions=n_actions, obs_size=max(obs_sizes),
            state_size=sum(obs_sizes), episode_limit=LIMIT, max_return=0.0, source="JaxMARL MPE",
            **facts,
        )  # fmt: skip
        self.scene = Scene(
            bounds=BOUNDS, kinds=kinds, team=(0,) * n + (-1,) * m, agent=(*range(n), *(-1,) * m),
            frame_seconds=self.world.dt, actions=actions,
        )  # fmt: skip

    def kinds(self, state):
        """Landmarks by whose goal they are: bit i says that agent i of those with goals shall go
        there."""
        if state.goal is None:
            return super().kinds(state)
        goal_of = one_hot(state.goal, LANDMARKS, jnp.int32)
        marked = sum(of << i for i, of in enumerate(goal_of))
        roles = np.array(self.kind[: self.spec.n_agents])
        return jnp.concatenate([roles, max(roles) + 1 + marked])


class SimpleSpread(SimpleTask):
    """n agents cover n landmarks without bumping into each other."""

    def __init__(self, name: str, n: int, continuous: bool):
        self.world = particles.spread(n)._replace(lagging=True)
        self.kind = (0,) * n + (1,) * n
        self._describe(
            name, ("agent", "landmark"), (FORCES if continuous else MOVES,) * n,
            obs_sizes=(4 + 2 * n + 4 * (n - 1),) * n, n_actions=2 if continuous else 5,
            continuous=continuous,
        )  # fmt: skip

    def orders(self, key, state, action):
        del key  # nothing is random
        dtype = state.position.dtype
        return action.astype(dtype) if self.spec.continuous else steer(action, dtype), None

    def observe(self, state):
        return particles.cooperative_navigation_obs(state.position, state.velocity, state.landmark)

    def score_step(self, state):
        """``-N/2 sum_l min_a |x_a - x_l| - #pairs that touch``."""
        position, n = state.position, self.spec.n_agents
        touching = physics.overlaps(position, self.world.radius)
        reward = -n / 2 * particles.uncovered(position, state.landmark) - touching
        return reward, jnp.zeros(reward.shape, bool)


class SimpleReference(SimpleTask):
    """Two agents that know where the other one is to go, and can say one of ten words."""

    n_goals = 2

    def __init__(self, name: str):
        self.world = physics.plain_world(2, LANDMARKS, 0.15, 0.2, collides=False, lagging=True)
        self.kind = (0, 0)
        said = tuple(f"{move}, say {word}" for word in range(REFERENCE_WORDS) for move in MOVES)
        self._describe(
            name, ("agent", "landmark", "goal_of_agent_0", "goal_of_agent_1", "goal_of_both"),
            (said,) * 2, obs_sizes=(2 + 2 * LANDMARKS + LANDMARKS + REFERENCE_WORDS,) * 2,
            n_actions=len(said),
        )  # fmt: skip

    def orders(self, key, state, action):
        del key  # nothing is random
        move, word = action % len(MOVES), action // len(MOVES)
        return steer(move, state.position.dtype), word.astype(jnp.int32)

    def observe(self, state):
        """Own velocity, offsets to the landmarks; the other one's goal and word."""
        dtype = state.position.dtype
        rocks = physics.flat_rows(physics.offsets(state.landmark, state.position))
        colour = 0.25 + 0.5 * one_hot(state.goal[::-1], LANDMARKS, dtype)
        heard = one_hot(state.word[::-1], REFERENCE_WORDS, dtype)
        return jnp.concatenate([state.velocity, rocks, colour, heard], axis=1)

    def score_step(self, state):
        """Minus the sum of both agents' distances to their goals."""
        reward = -physics.total(physics.length(to_goals(state)))
        return reward, jnp.zeros(reward.shape, bool)


class SimpleSpeakerListener(SimpleTask):
    """A speaker that stands still and sees the goal, and a listener that moves."""

    n_goals = 1
    obs_sizes = (LANDMARKS, 2 + 2 * LANDMARKS + SPEAKER_WORDS)

    def __init__(self, name: str):
        self.world = physics.plain_world(
            2, LANDMARKS, 0.075, 0.04, accel=(0.0, 5.0), collides=False, lagging=True
        )
        self.kind = (0, 1)
        words = tuple(f"say {word}" for word in range(SPEAKER_WORDS))
        self._describe(
            name, ("speaker", "listener", "landmark", "goal"), (words, MOVES),
            obs_sizes=self.obs_sizes, n_actions=len(MOVES), masks_actions=True,
        )  # fmt: skip

    @property
    def avail(self):
        return np.arange(len(MOVES)) < np.array([[SPEAKER_WORDS], [len(MOVES)]])

    def orders(self, key, state, action):
        del key  # nothing is random
        return steer(action, state.position.dtype), action[:1].astype(jnp.int32)

    def observe(self, state):
        """The goal, padded; own velocity, offsets to the landmarks and the word."""
        dtype = state.position.dtype
        colour = 0.15 + 0.5 * one_hot(state.goal, LANDMARKS, dtype)
        rocks = physics.flat_rows(physics.offsets(state.landmark, state.position[1:]))
        heard = one_hot(state.word, SPEAKER_WORDS, dtype)
        listener = jnp.concatenate([state.velocity[1:], rocks, heard], axis=1)
        padded = jnp.zeros_like(listener[:, LANDMARKS:])
        return jnp.concatenate([jnp.concatenate([colour, padded], axis=1), listener])

    def score_step(self, state):
        """Minus the listener's squared distance to the goal, for each of the two."""
        reward = -2 * physics.total(jnp.square(to_goals(state))[0])
        return reward, jnp.zeros(reward.shape, bool)


# --- the family's part ---------------------------------------------------------------------------


def match(name: str) -> bool:
    return _SPREAD.fullmatch(name) is not None


def describe(name: str) -> str:
    about = {
        "simple_spread": "3 agents cover 3 landmarks; simple_spread_n5 for 5, 2 to 100",
        "simple_spread_continuous": "the same with forces in (-1, 1)^2 as actions",
        "simple_reference": "2 agents tell each other their landmark",
        "simple_speaker_listener": "a speaker guides a listener",
    }
    if name not in about:  # of another size
        spread = _SPREAD.fullmatch(name)
        forces = ", forces in (-1, 1)^2 as actions" if spread[2] else ""
        return f"{spread[1]} agents cover {spread[1]} landmarks{forces}, limit {LIMIT}"
    return f"{about[name]}, limit {LIMIT}"


def make(name: str) -> SimpleTask:
    spread = _SPREAD.fullmatch(name)
    if not spread:
        return {
            "simple_reference": SimpleReference, "simple_speaker_listener": SimpleSpeakerListener,
        }[name](name)  # fmt: skip
    n = int(spread[1] or 3)
    if not 2 <= n <= MOST_AGENTS:
        raise UserError(f"mpe/{name}: simple_spread takes 2 to {MOST_AGENTS} agents")
    return SimpleSpread(name, n, continuous=bool(spread[2]))
