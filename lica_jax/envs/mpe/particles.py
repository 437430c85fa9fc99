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
``[N]`` (nothing, +x, -x, +y, -y) or a vector of weights ``[N, 5]`` of those directions.
``state`` is the concatenation of all observations.
"""

from __future__ import annotations

import math
import re

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from lica_jax.envs.frames import NONE, Frame, Scene, disks
from lica_jax.envs.mpe import physics
from lica_jax.envs.mpe.physics import World
from lica_jax.errors import UserError
from lica_jax.types import Task, TaskSpec, TimeStep

LIMIT = 200
# Bodies start in the square of half-width 1, and nothing keeps them there.
BOUNDS = (-1.6, -1.6, 1.6, 1.6)
NAMES = ("predator_prey", "cooperative_navigation", "cooperative_navigation_n5")
# Observations grow with the agents, states with their square: far above anything that is learned.
MOST_AGENTS = 100
_NAVIGATION = re.compile(r"cooperative_navigation(?:_n(0|[1-9]\d*))?")
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
    return World(
        radius=(0.15,) * n,
        accel=(5.0,) * n,
        max_speed=(math.inf,) * n,
        mass=(1.0,) * n,
        landmark_radius=(0.05,) * n,
        landmark_collides=(False,) * n,
    )


# --- Predator-Prey: the prey is the last body ----------------------------------------------------


def prey_weights(choice: Int[Array, ""], dtype) -> Float[Array, " 5"]:
    """The prey's choice 0..4 (nothing, -x, +x, -y, +y) as weights of the five directions."""
    order = jnp.array([physics.DIRECTIONS.index(d) for d in PREY_DIRECTIONS])
    return (choice == order).astype(dtype)


def catches(position: Float[Array, "N 2"], radius: Float[Array, " N"]) -> Bool[Array, " N-1"]:
    """Which predators touch the prey."""
    reach = [r + radius[-1] for r in radius[:-1]]
    distance = physics.length(position[:-1] - position[-1:])
    return distance < jnp.asarray(reach, position.dtype)


def predator_prey_reward(
    position: Float[Array, "N 2"], radius: Float[Array, " N"]
) -> Float[Array, ""]:
    """``P (-0.1 sum_p |x_p - x_prey| + 10 #catches)`` with P predators.

    The reference's: a scaled *sum* of distances, once for every predator; the paper's text says the
    smallest distance.
    """
    predators = position.shape[0] - 1
    distance = physics.length(position[:-1] - position[-1:])
    caught = jnp.sum(catches(position, radius).astype(position.dtype))
    return predators * (10 * caught - 0.1 * jnp.sum(distance))


def predator_prey_obs(
    position: Float[Array, "N 2"], velocity: Float[Array, "N 2"], landmark: Float[Array, "M 2"]
) -> Float[Array, "N-1 6+2M+2(N-1)"]:
    """Own velocity and position, offsets to obstacles, to the others and the prey, its velocity."""
    predators = position.shape[0] - 1
    seen = physics.look(position, velocity, landmark, predators)
    return jnp.concatenate([seen, jnp.broadcast_to(velocity[-1], (predators, 2))], axis=-1)


# --- Cooperative Navigation ----------------------------------------------------------------------


def cooperative_navigation_reward(
    position: Float[Array, "N 2"], landmark: Float[Array, "M 2"], radius: Float[Array, " N"]
) -> Float[Array, ""]:
    """``-N sum_l min_a |x_a - x_l| - #ordered pairs that touch, each agent with itself included``.

    So -N is the best there is, and a pair that touches costs 2. The paper's text has neither the
    factor nor the collision with oneself.
    """
    n, dtype = position.shape[0], position.dtype
    distance = physics.length(physics.offsets(landmark, position))
    touching = jnp.sum(physics.overlaps(position, radius).astype(dtype))
    return -n * jnp.sum(jnp.min(distance, axis=0)) - n - 2 * touching


def cooperative_navigation_obs(
    position: Float[Array, "N 2"], velocity: Float[Array, "N 2"], landmark: Float[Array, "M 2"]
) -> Float[Array, "N 4+2M+4(N-1)"]:
    """Own velocity and position, offsets to landmarks and to the others, and two zeros for each
    other agent (a communication channel that nobody uses)."""
    n = position.shape[0]
    seen = physics.look(position, velocity, landmark, n)
    silence = jnp.zeros((n, 2 * (n - 1)), position.dtype)
    return jnp.concatenate([seen, silence], axis=-1)


# --- tasks ---------------------------------------------------------------------------------------


@struct.dataclass
class ParticleState:
    position: Float[Array, "N 2"]  # the agents first
    velocity: Float[Array, "N 2"]
    landmark: Float[Array, "M 2"]
    t: Int[Array, ""]  # steps since the reset


class ParticleTask(Task):
    """What both tasks share; they say what else moves, what is seen, and what it is worth."""

    world: World
    landmark_range: float  # landmarks start in the square of this half-width
    scene: Scene
    kind: tuple[int, ...]  # of each thing of a frame, bodies before landmarks
    spec: TaskSpec

    def weights(self, key: PRNGKeyArray, action, dtype) -> Float[Array, "N 5"]:
        """All bodies' actions as weights of the five directions."""
        raise NotImplementedError

    def observe(self, state: ParticleState) -> Float[Array, "A O"]:
        raise NotImplementedError

    def judge(self, state: ParticleState) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """Reward and end of the step that led to ``state``."""
        raise NotImplementedError

    def targets(self, state: ParticleState) -> Int[Array, " E"] | None:
        """Whom each thing of a frame hits, as an index into the same things."""

    def reset(self, key):
        body_key, landmark_key = jax.random.split(key)
        position = jax.random.uniform(body_key, (len(self.world.radius), 2), minval=-1.0)
        half = self.landmark_range
        shape = (len(self.world.landmark_radius), 2)
        landmark = jax.random.uniform(landmark_key, shape, minval=-half, maxval=half)
        state = ParticleState(position, jnp.zeros_like(position), landmark, jnp.int32(0))
        return state, self._timestep(state, jnp.zeros_like(position[0, 0]), False, first=True)

    def step(self, key, state, action):
        weights = self.weights(key, action, state.position.dtype)
        position, velocity = physics.move(
            state.position, state.velocity, state.landmark, weights, self.world
        )
        state = state.replace(position=position, velocity=velocity, t=state.t + 1)
        return state, self._timestep(state, *self.judge(state), first=False)

    def _timestep(self, state, reward, terminated, *, first) -> TimeStep:
        obs = self.observe(state)
        n = self.spec.n_agents
        terminated = jnp.asarray(terminated)
        return TimeStep(
            obs=obs,
            state=obs.reshape(-1),
            avail=jnp.ones((n, physics.N_ACTIONS), bool),
            reward=reward,
            terminated=terminated,
            truncated=(state.t >= LIMIT) & ~terminated,
            first=jnp.array(first),
            alive=jnp.ones(n, bool),
            info={},
        )

    def frames(self, key, state, action) -> Frame:
        """The moment after ``step`` with the same arguments; leading axis 1."""
        state, _ = self.step(key, state, action)
        return disks(
            jnp.concatenate([state.position, state.landmark]),
            (*self.world.radius, *self.world.landmark_radius),
            self.kind,
            self.targets(state),
        )


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

    def weights(self, key, action, dtype):
        prey = prey_weights(jax.random.randint(key, (), 0, physics.N_ACTIONS), dtype)
        return jnp.concatenate([physics.as_vectors(action, dtype), prey[None]])

    def observe(self, state):
        return predator_prey_obs(state.position, state.velocity, state.landmark)

    def judge(self, state):
        reward = predator_prey_reward(state.position, self.world.radius)
        return reward, jnp.any(catches(state.position, self.world.radius))

    def targets(self, state):
        caught = jnp.where(catches(state.position, self.world.radius), PREDATORS, NONE)
        return jnp.concatenate([caught, jnp.full(3, NONE)])


class CooperativeNavigation(ParticleTask):
    """n agents, n landmarks."""

    landmark_range = 1.0

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

    def weights(self, key, action, dtype):
        del key  # nothing is random
        return physics.as_vectors(action, dtype)

    def observe(self, state):
        return cooperative_navigation_obs(state.position, state.velocity, state.landmark)

    def judge(self, state):
        reward = cooperative_navigation_reward(state.position, state.landmark, self.world.radius)
        return reward, False


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
    return f"{about[name]}, limit {LIMIT}"


def make(name: str) -> ParticleTask:
    navigation = _NAVIGATION.fullmatch(name)
    if not navigation:
        return PredatorPrey(name)
    n = int(navigation[1] or 3)
    if not 2 <= n <= MOST_AGENTS:
        raise UserError(f"mpe/{name}: cooperative_navigation takes 2 to {MOST_AGENTS} agents")
    return CooperativeNavigation(name, n)
