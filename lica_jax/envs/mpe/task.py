"""What all particle tasks share: a batch of worlds that start, move, are seen and judged.

Arrays have the batch last, if there is one: the same code steps one environment, with a key alone
instead of keys ``[B]``, and many.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lica_jax.core import bits
from lica_jax.core.barriers import held
from lica_jax.envs.frames import NONE, Frame, Scene, disks
from lica_jax.envs.mpe import physics
from lica_jax.envs.mpe.physics import World
from lica_jax.types import Task, TaskSpec, TimeStep

# Bodies start in the square of half-width 1, and nothing keeps them there.
BOUNDS = (-1.6, -1.6, 1.6, 1.6)
# Observations grow with the agents, states with their square: far above anything that is learned.
MOST_AGENTS = 100


@struct.dataclass
class ParticleState:
    """Worlds at one moment."""

    position: Float[Array, "N 2 *B"]  # the agents first
    velocity: Float[Array, "N 2 *B"]
    landmark: Float[Array, "M 2 *B"]
    t: Int[Array, "*B"]  # steps since the reset
    goal: Int[Array, "G *B"] | None = None  # landmarks that somebody is to reach
    word: Int[Array, "G *B"] | None = None  # what was said last about each; -1 after a reset


def restarted(
    start, keys: bits.Key, over: Bool[Array, " B"], state: ParticleState
) -> ParticleState:
    """``state``, and ``start(keys)`` where ``over``.

    On a CPU random numbers are a third of the time of a step, and most steps end no episode: there
    all of them are made when any is needed. Accelerators would wait longer for the answer.
    """

    def select(keys, state):
        return jax.tree.map(lambda new, old: jnp.where(over, new, old), start(keys), state)

    def if_any(keys, state):
        return jax.lax.cond(jnp.any(over), select, lambda keys, state: state, keys, state)

    return jax.lax.platform_dependent(keys, state, cpu=if_any, default=select)


class ParticleTask(Task):
    """The machinery; a task says what its agents do and see, and what that is worth."""

    batch_axis = -1

    world: World
    spec: TaskSpec
    scene: Scene
    kind: tuple[int, ...]  # of each thing of a frame, bodies before landmarks
    landmark_range: float = 1.0  # landmarks start in the square of this half-width
    n_goals: int = 0
    obs_sizes: tuple[int, ...] = ()  # of each agent, where they differ

    # --- what tasks say --------------------------------------------------------------------------

    def orders(
        self, key: bits.Key, state: ParticleState, action
    ) -> tuple[Float[Array, "N 2 *B"], Int[Array, "G *B"] | None]:
        """Where all bodies push themselves, and what is said. ``action`` is ``[A, *B]`` or
        ``[A, D, *B]``."""
        raise NotImplementedError

    def observe(self, state: ParticleState) -> Float[Array, "A O *B"]:
        raise NotImplementedError

    def score_step(self, state: ParticleState) -> tuple[Float[Array, "*B"], Bool[Array, "*B"]]:
        """Reward and end of the step that led to ``state``."""
        raise NotImplementedError

    def targets(self, state: ParticleState) -> Int[Array, " E"] | None:
        """Whom each thing of a frame hits, as an index into the same things."""

    def kinds(self, state: ParticleState) -> Int[Array, " E"]:
        """Of each thing of a frame."""
        return jnp.array(self.kind)

    # --- the interface of a task -----------------------------------------------------------------

    # With the batch last, leading axes are meant to be broadcast, whatever
    # `jax_numpy_rank_promotion` says.

    @jax.numpy_rank_promotion("allow")
    def reset_batch(self, keys):
        state = self.start(keys)
        return state, self._timestep(state, first=True)

    @jax.numpy_rank_promotion("allow")
    def step_batch(self, keys, state, action):
        state = self._advance(keys, state, action)
        return state, self._timestep(state, first=False)

    @jax.numpy_rank_promotion("allow")
    def step_or_reset_batch(self, keys, reset_keys, over, state, action):
        """A step where not ``over`` [B], else the start of a new episode; observed once."""
        after = held(self._advance(keys, state, action))
        state = restarted(self.start, bits.as_key(reset_keys), over, after)
        return state, self._timestep(state, first=over)

    # One environment: compiled as a whole also when called on its own; operation by operation it
    # takes seconds.

    reset = jax.jit(reset_batch, static_argnums=0)
    step = jax.jit(step_batch, static_argnums=0)

    @partial(jax.jit, static_argnums=0)
    @jax.numpy_rank_promotion("allow")
    def frames(self, key, state, action) -> Frame:
        """The moment after ``step`` with the same arguments; leading axis 1."""
        state = self._advance(key, state, action)
        return disks(
            jnp.concatenate([state.position, state.landmark]),
            (*self.world.radius, *self.world.landmark_radius),
            self.kinds(state),
            self.targets(state),
        )

    # --- how -------------------------------------------------------------------------------------

    def start(self, keys) -> ParticleState:
        """Everything at rest; draws what JaxMARL's tasks draw."""
        key, real = bits.as_key(keys), jax.dtypes.canonicalize_dtype(float)
        batch = (1,) * key.low.ndim

        def square(i, count, half):
            at = np.arange(2 * count).reshape(count, 2, *batch)
            return bits.uniform(bits.split(key, i), at, -half, half, real)

        position = square(0, len(self.world.radius), 1.0)
        goal = word = None
        if self.n_goals:
            at = np.arange(self.n_goals).reshape(-1, *batch)
            whole = jax.dtypes.canonicalize_dtype(int)
            goal = bits.randint(bits.split(key, 2), at, len(self.world.landmark_radius), whole)
            goal = goal.astype(jnp.int32)
            word = jnp.full_like(goal, NONE)
        return ParticleState(
            position=position,
            velocity=jnp.zeros_like(position),
            landmark=square(1, len(self.world.landmark_radius), self.landmark_range),
            t=jnp.zeros(key.low.shape, jnp.int32),
            goal=goal,
            word=word,
        )

    def _advance(self, keys, state, action) -> ParticleState:
        batch = state.t.ndim
        action = held(jnp.moveaxis(jnp.asarray(action), range(batch), range(-batch, 0)))
        direction, word = held(self.orders(bits.as_key(keys), state, action))
        position, velocity = physics.move(
            state.position, state.velocity, state.landmark, direction, self.world
        )
        return state.replace(position=position, velocity=velocity, word=word, t=state.t + 1)

    def _timestep(self, state, *, first) -> TimeStep:
        state, spec, batch = held(state), self.spec, state.t.shape
        obs = held(self.observe(state))
        obs = jnp.moveaxis(obs, range(-len(batch), 0), range(len(batch)))
        reward, over = held(self.score_step(state))
        first = jnp.broadcast_to(first, batch)
        over = over & ~first
        return TimeStep(
            obs=obs,
            state=self._critic_state(obs),
            avail=jnp.broadcast_to(self.avail, (*batch, spec.n_agents, spec.n_actions)),
            reward=jnp.where(first, 0, reward),
            terminated=over,
            truncated=(state.t >= spec.episode_limit) & ~over,
            first=first,
            alive=jnp.ones((*batch, spec.n_agents), bool),
            info={},
        )

    @property
    def avail(self) -> Bool[np.ndarray, "A n_actions"]:
        return np.ones((self.spec.n_agents, self.spec.n_actions), bool)

    def _critic_state(self, obs: Float[Array, "*B A O"]) -> Float[Array, "*B S"]:
        """All observations, without what pads them."""
        if not self.obs_sizes:
            return obs.reshape(*obs.shape[:-2], math.prod(obs.shape[-2:]))
        parts = [obs[..., a, :size] for a, size in enumerate(self.obs_sizes)]
        return jnp.concatenate(parts, axis=-1)
