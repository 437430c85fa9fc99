"""The LICA paper's two particle tasks (section 4.1), as in the SQDDPG repository.

* ``predator_prey``: three predators chase a prey that moves at random among two obstacles. The
  episode is terminated when one touches it and truncated after 200 steps. The paper's metric is
  *steps per episode*: the mean length of training episodes.
* ``cooperative_navigation`` (``cooperative_navigation_n5`` for any number): n agents cover n
  landmarks without bumping into each other, 200 steps, never terminated. The paper's metric is the
  *mean reward over all timesteps and agents*: all agents receive the same reward, so it is the mean
  return over 200.

The team reward is what the environment gives every agent, which is already a sum over agents: see
`predator_prey_reward` and `cooperative_navigation_reward` for its quirks. An action is an index
``[N]`` (nothing, +x, -x, +y, -y) or a vector of weights ``[N, 5]`` of those directions. Arrays have
the batch ``*B`` last.
``state`` is the concatenation of all observations.
"""

from __future__ import annotations

import functools
import operator
import re

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lica_jax.core import bits
from lica_jax.core.barriers import held
from lica_jax.envs.frames import NONE, Scene
from lica_jax.envs.mpe import physics
from lica_jax.envs.mpe.physics import World
from lica_jax.envs.mpe.task import BOUNDS, MOST_AGENTS, ParticleTask
from lica_jax.errors import UserError
from lica_jax.types import TaskSpec

LIMIT = 200
NAMES = ("predator_prey", "cooperative_navigation", "cooperative_navigation_n5")
_NAVIGATION = re.compile(r"cooperative_navigation(?:_n(0|[1-9]\d{0,5}))?")
PREDATORS = 3
# The prey's five actions, which the reference numbers with the opposite signs.
PREY_DIRECTIONS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))

TAG = World(
    radius=(0.075,) * PREDATORS + (0.05,),
    accel=(3.0,) * PREDATORS + (4.0,),
    max_speed=(1.0,) * PREDATORS + (1.3,),
    mass=(1.0,) * (PREDATORS + 1),
    landmark_radius=(0.2, 0.2),
    landmark_collides=(True, True),
)


def spread(n: int) -> World:
    """The world of ``n`` agents and ``n`` landmarks."""
    return physics.plain_world(n, n, radius=0.15, landmark_radius=0.05)


# --- Predator-Prey: the prey is the last body ----------------------------------------------------


def prey_direction(choice: Int[Array, "*B"], dtype) -> Float[Array, "1 2 *B"]:
    """Where the prey goes by its choice 0..4 (nothing, -x, +x, -y, +y)."""
    return physics.steer(physics.as_vectors(choice[None], dtype), PREY_DIRECTIONS)


def prey_distance(position: Float[Array, "N 2 *B"]) -> Float[Array, "N-1 *B"]:
    """Of each predator."""
    return held(physics.length(position[:-1] - position[-1:]))


def catches(distance: Float[Array, "N-1 *B"], radius: Float[Array, " N"]) -> Bool[Array, "N-1 *B"]:
    """Which predators touch the prey, by their distances to it."""
    radius = np.asarray(radius)
    return distance < physics.constant(radius[:-1] + radius[-1], distance)


def predator_prey_reward(
    distance: Float[Array, "N-1 *B"], radius: Float[Array, " N"]
) -> Float[Array, "*B"]:
    """``P (-0.1 sum_p |x_p - x_prey| + 10 #catches)`` with P predators.

    The reference's: a scaled *sum* of distances, once for every predator; the paper's text says the
    smallest distance.
    """
    caught = catches(distance, radius).astype(distance.dtype)
    return len(distance) * physics.total(10 * caught - 0.1 * distance)


def predator_prey_obs(
    position: Float[Array, "N 2 *B"],
    velocity: Float[Array, "N 2 *B"],
    landmark: Float[Array, "M 2 *B"],
) -> Float[Array, "N-1 6+2M+2(N-1) *B"]:
    """Own velocity and position, offsets to obstacles, to the others and the prey, its velocity."""
    predators = position.shape[0] - 1
    seen = physics.look(position, velocity, landmark, predators)
    prey = jnp.broadcast_to(velocity[-1:], velocity[:-1].shape)
    return jnp.concatenate([seen, prey], axis=1)


# --- Cooperative Navigation ----------------------------------------------------------------------


def uncovered(
    position: Float[Array, "N 2 *B"], landmark: Float[Array, "M 2 *B"]
) -> Float[Array, "*B"]:
    """``sum_l min_a |x_a - x_l|``."""
    nearest = functools.reduce(jnp.minimum, held(physics.distances(landmark, position)))
    return physics.total(held(nearest))


def cooperative_navigation_reward(
    position: Float[Array, "N 2 *B"], landmark: Float[Array, "M 2 *B"], radius: Float[Array, " N"]
) -> Float[Array, "*B"]:
    """``-N sum_l min_a |x_a - x_l| - #ordered pairs that touch, each agent with itself included``.

    So -N is the best there is, and a pair that touches costs 2. The paper's text has neither the
    factor nor the collision with oneself.
    """
    n, touching = position.shape[0], physics.overlaps(position, radius)
    return -n * uncovered(position, landmark) - n - 2 * touching


def cooperative_navigation_obs(
    position: Float[Array, "N 2 *B"],
    velocity: Float[Array, "N 2 *B"],
    landmark: Float[Array, "M 2 *B"],
) -> Float[Array, "N 4+2M+4(N-1) *B"]:
    """Own velocity and position, offsets to landmarks and to the others, and two zeros for each
    other agent (a communication channel that nobody uses)."""
    n, _, *batch = position.shape
    seen = physics.look(position, velocity, landmark, n)
    silence = jnp.zeros((n, 2 * (n - 1), *batch), position.dtype)
    return jnp.concatenate([seen, silence], axis=1)


# --- tasks ---------------------------------------------------------------------------------------


class PredatorPrey(ParticleTask):
    """Three predators, the agents, and a prey that moves at random."""

    world = TAG
    landmark_range = 0.9
    kind = (0,) * PREDATORS + (1, 2, 2)
    scene = Scene(
        bounds=BOUNDS,
        kinds=("predator", "prey", "obstacle"),
        team=(0,) * PREDATORS + (1, -1, -1),
        agent=(*range(PREDATORS), -1, -1, -1),
        actions=(physics.NAMES,) * PREDATORS,
    )

    def __init__(self, name: str):
        self.spec = TaskSpec(
            name=f"mpe/{name}", n_agents=PREDATORS, n_actions=physics.N_ACTIONS, obs_size=16,
            state_size=16 * PREDATORS, episode_limit=LIMIT, weighs_actions=True,
            source="LICA paper 4.1",
        )  # fmt: skip

    def orders(self, key, state, action):
        dtype = state.position.dtype
        whole = jax.dtypes.canonicalize_dtype(int)
        choice = bits.randint(key, 0, physics.N_ACTIONS, whole)
        predators = physics.steer(physics.as_vectors(action, dtype))
        return jnp.concatenate([predators, prey_direction(choice, dtype)]), None

    def observe(self, state):
        return predator_prey_obs(state.position, state.velocity, state.landmark)

    def score_step(self, state):
        distance, radius = prey_distance(state.position), self.world.radius
        caught = functools.reduce(operator.or_, catches(distance, radius))
        return predator_prey_reward(distance, radius), caught

    def targets(self, state):
        caught = catches(prey_distance(state.position), self.world.radius)
        return jnp.concatenate([jnp.where(caught, PREDATORS, NONE), jnp.full(3, NONE)])


class CooperativeNavigation(ParticleTask):
    """n agents, n landmarks."""

    def __init__(self, name: str, n: int):
        self.world = spread(n)
        self.kind = (0,) * n + (1,) * n
        self.scene = Scene(
            bounds=BOUNDS,
            kinds=("agent", "landmark"),
            team=(0,) * n + (-1,) * n,
            agent=(*range(n), *(-1,) * n),
            actions=(physics.NAMES,) * n,
        )
        size = 4 + 2 * n + 4 * (n - 1)
        self.spec = TaskSpec(
            name=f"mpe/{name}", n_agents=n, n_actions=physics.N_ACTIONS, obs_size=size,
            state_size=n * size, episode_limit=LIMIT, max_return=-float(n * LIMIT),
            weighs_actions=True,
            source="LICA paper 4.1",
        )  # fmt: skip

    def orders(self, key, state, action):
        del key  # nothing is random
        return physics.steer(physics.as_vectors(action, state.position.dtype)), None

    def observe(self, state):
        return cooperative_navigation_obs(state.position, state.velocity, state.landmark)

    def score_step(self, state):
        reward = cooperative_navigation_reward(state.position, state.landmark, self.world.radius)
        return reward, jnp.zeros(reward.shape, bool)


# --- the family's part ---------------------------------------------------------------------------


def match(name: str) -> bool:
    return _NAVIGATION.fullmatch(name) is not None


def describe(name: str) -> str:
    about = {
        "predator_prey": "3 predators catch a random prey among 2 obstacles",
        "cooperative_navigation": "3 agents cover 3 landmarks; cooperative_navigation_n7 for 7, "
        "2 to 100",
        "cooperative_navigation_n5": "5 agents cover 5 landmarks",
    }
    if name not in about:  # of another size
        n = _NAVIGATION.fullmatch(name)[1]
        return f"{n} agents cover {n} landmarks, limit {LIMIT}"
    return f"{about[name]}, limit {LIMIT}"


def make(name: str) -> ParticleTask:
    navigation = _NAVIGATION.fullmatch(name)
    if not navigation:
        return PredatorPrey(name)
    n = int(navigation[1] or 3)
    if not 2 <= n <= MOST_AGENTS:
        raise UserError(f"mpe/{name}: cooperative_navigation takes 2 to {MOST_AGENTS} agents")
    return CooperativeNavigation(name, n)
