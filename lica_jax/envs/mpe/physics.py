"""The particle world's laws of motion, as pure functions of arrays.

Multi-agent particle environments as the SQDDPG repository has them, which the LICA paper follows
(section 4.1). Bodies are disks in an unbounded plane without walls; lengths have no unit. One step
of `World.dt` seconds is

1. a control force on every body (`control_force`),
2. a soft, equal and opposite contact force between every two that collide (`contact_force`),
3. damped velocity first, then position with the *new* velocity (`integrate`). JaxMARL's particle
   tasks move positions with the old velocity.

Landmarks never move; those that collide push back. Every function computes in the type of the
positions it is given, and every pair of bodies is looked at (there are a handful), so nothing is
gathered or branched on under `vmap`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Direction of each discrete action: nothing, +x, -x, +y, -y.
DIRECTIONS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
N_ACTIONS = len(DIRECTIONS)


class World(NamedTuple):
    """Constants; N moving bodies (the agents first), M landmarks. All tuples or arrays.

    Attributes:
      radius: of each body.
      accel: force of a full action, by body.
      max_speed: by body; infinite for none.
      mass: by body.
      landmark_radius: of each landmark.
      landmark_collides: whether bodies bounce off it.
      dt: seconds a step.
      damping: share of the velocity that is lost in a step.
      contact_force: force per length of overlap.
      contact_margin: length over which contact softens.
    """

    radius: Float[Array, " N"]
    accel: Float[Array, " N"]
    max_speed: Float[Array, " N"]
    mass: Float[Array, " N"]
    landmark_radius: Float[Array, " M"]
    landmark_collides: Bool[Array, " M"]
    dt: float = 0.1
    damping: float = 0.25
    contact_force: float = 100.0
    contact_margin: float = 1e-3


def as_vectors(action: Int[Array, " N"] | Float[Array, "N 5"], dtype) -> Float[Array, "N 5"]:
    """Actions as weights of the five directions: an index becomes its one-hot vector."""
    action = jnp.asarray(action)
    if jnp.issubdtype(action.dtype, jnp.integer):
        action = action[..., None] == jnp.arange(N_ACTIONS)
    return action.astype(dtype)


def control_force(weights: Float[Array, "N 5"], accel: Float[Array, " N"]) -> Float[Array, "N 2"]:
    """``accel_i (c_1 - c_2, c_3 - c_4)`` for real-valued weights c; c_0 does nothing."""
    c = weights
    direction = jnp.stack([c[..., 1] - c[..., 2], c[..., 3] - c[..., 4]], axis=-1)
    return direction * jnp.asarray(accel, c.dtype)[:, None]


def offsets(of: Float[Array, "K 2"], to: Float[Array, "N 2"]) -> Float[Array, "N K 2"]:
    """``of[k] - to[n]``: where each k is, seen from each n."""
    return of[None] - to[:, None]


def length(vector: Float[Array, "*B 2"]) -> Float[Array, "*B"]:
    """Euclidean norm."""
    return jnp.sqrt(jnp.sum(jnp.square(vector), axis=-1))


def touching(
    a: Float[Array, "N 2"], b: Float[Array, "K 2"], reach: Float[Array, "N K"]
) -> Bool[Array, "N K"]:
    """Whether two bodies are nearer than ``reach`` (the sum of their radii), strictly."""
    return length(offsets(b, a)) < jnp.asarray(reach, a.dtype)


def _reach(a, b, dtype) -> Float[Array, "N K"]:
    """Sums of radii."""
    return jnp.asarray(a, dtype)[:, None] + jnp.asarray(b, dtype)[None]


def _repulsion(delta: Float[Array, "N K 2"], reach: Float[Array, "N K"], world: World):
    """``k mu log(1 + exp(-(d - reach) / mu)) delta / d``: about k times the overlap, away."""
    mu = world.contact_margin
    distance = length(delta)
    push = world.contact_force * mu * jnp.logaddexp(-(distance - reach) / mu, 0)
    # Two bodies in one point have no direction; the reference divides by zero there.
    return delta * (push / jnp.where(distance > 0, distance, 1))[..., None]


def contact_force(
    position: Float[Array, "N 2"], landmark: Float[Array, "M 2"], world: World
) -> Float[Array, "N 2"]:
    """The sum of all contact forces on each body; all bodies collide, and some landmarks do."""
    n, dtype = position.shape[0], position.dtype
    # Away from the others; a body has no offset from itself, hence no force.
    apart = -offsets(position, position)
    force = jnp.sum(_repulsion(apart, _reach(world.radius, world.radius, dtype), world), axis=1)
    solid = [m for m, collides in enumerate(world.landmark_collides) if collides]
    if solid:
        radius = [world.landmark_radius[m] for m in solid]
        rocks = jnp.stack([landmark[m] for m in solid])
        reach = _reach(world.radius, radius, dtype)
        force += jnp.sum(_repulsion(-offsets(rocks, position), reach, world), axis=1)
    assert force.shape == (n, 2)
    return force


def integrate(
    position: Float[Array, "N 2"],
    velocity: Float[Array, "N 2"],
    force: Float[Array, "N 2"],
    world: World,
) -> tuple[Float[Array, "N 2"], Float[Array, "N 2"]]:
    """``v <- (1 - damping) v + F / m dt``, cut to the largest speed; then ``x <- x + v dt``."""
    dtype = position.dtype
    mass = jnp.asarray(world.mass, dtype)[:, None]
    velocity = velocity * (1 - world.damping) + force / mass * world.dt
    speed = length(velocity)
    limit = jnp.asarray(world.max_speed, dtype)
    too_fast = speed > limit
    # Without a limit the quotient would be infinity over infinity in the branch not taken.
    factor = jnp.where(too_fast, limit, 1) / jnp.where(too_fast, speed, 1)
    velocity = velocity * factor[:, None]
    return position + velocity * world.dt, velocity


def move(
    position: Float[Array, "N 2"],
    velocity: Float[Array, "N 2"],
    landmark: Float[Array, "M 2"],
    weights: Float[Array, "N 5"],
    world: World,
) -> tuple[Float[Array, "N 2"], Float[Array, "N 2"]]:
    """One step of the world: positions and velocities after ``weights`` were played."""
    force = control_force(weights, world.accel) + contact_force(position, landmark, world)
    return integrate(position, velocity, force, world)


def contacts(
    position: Float[Array, "N 2"], landmark: Float[Array, "M 2"], world: World
) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Overlapping pairs: of bodies, and of bodies with landmarks that collide."""
    dtype = position.dtype
    bodies = touching(position, position, _reach(world.radius, world.radius, dtype))
    rocks = touching(position, landmark, _reach(world.radius, world.landmark_radius, dtype))
    solid = jnp.asarray(world.landmark_collides, bool)
    return jnp.sum(jnp.triu(bodies, 1)), jnp.sum(rocks & solid)


def look(
    position: Float[Array, "N 2"],
    velocity: Float[Array, "N 2"],
    landmark: Float[Array, "M 2"],
    agents: int,
) -> Float[Array, "A 4+2M+2(N-1)"]:
    """What the first ``agents`` bodies see: own velocity, own position, then offsets to the
    landmarks and to the other bodies in the order of their index."""
    n = position.shape[0]
    own = position[:agents]
    seen = offsets(position, own)
    others = jnp.stack([
        jnp.concatenate([seen[a, b] for b in range(n) if b != a]) for a in range(agents)
    ])  # fmt: skip
    rocks = offsets(landmark, own).reshape(agents, -1)
    return jnp.concatenate([velocity[:agents], own, rocks, others], axis=-1)
