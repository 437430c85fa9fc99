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

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Direction of each discrete action: nothing, +x, -x, +y, -y.
DIRECTIONS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
N_ACTIONS = len(DIRECTIONS)
NAMES = ("stay", "right", "left", "up", "down")


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
        return jax.nn.one_hot(action, N_ACTIONS, dtype=dtype)
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


def pairs(n: int) -> list[tuple[int, int]]:
    """All pairs i < j of n bodies, in the order of every array with an axis P."""
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


def pair_offsets(position: Float[Array, "N 2"]) -> Float[Array, "P 2"]:
    """``x_i - x_j`` of every pair i < j."""
    return jnp.stack([position[i] - position[j] for i, j in pairs(len(position))])


def overlaps(position: Float[Array, "N 2"], radius: Float[Array, " N"]) -> Bool[Array, " P"]:
    """Which pairs of bodies are nearer than the sum of their radii."""
    reach = [radius[i] + radius[j] for i, j in pairs(len(position))]
    return length(pair_offsets(position)) < jnp.asarray(reach, position.dtype)


def repulsion(
    delta: Float[Array, "P 2"], reach: Float[Array, " P"], world: World
) -> Float[Array, "P 2"]:
    """``k mu log(1 + exp(-(d - reach) / mu)) delta / d``, about k times the overlap."""
    distance = length(delta)
    x = (reach - distance) / world.contact_margin
    # log(1 + exp(x)) without overflow; jnp.logaddexp's care for infinities costs twice the time.
    soft = jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))
    # Two bodies in one point have no direction; the reference divides by zero there.
    scale = world.contact_force * world.contact_margin / jnp.where(distance > 0, distance, 1)
    return delta * (scale * soft)[:, None]


def contact_force(
    position: Float[Array, "N 2"], landmark: Float[Array, "M 2"], world: World
) -> Float[Array, "N 2"]:
    """The sum of all contact forces on each body; all bodies collide, and some landmarks do.

    Each pair is computed once, by slices that `vmap` turns into plain columns: several times faster
    than the matrix of all bodies.
    """
    n, dtype = position.shape[0], position.dtype
    bodies = pairs(n)
    rocks = [(i, m) for m, hard in enumerate(world.landmark_collides) if hard for i in range(n)]
    delta = [pair_offsets(position), *(position[i] - landmark[m] for i, m in rocks)]
    reach = [world.radius[i] + world.radius[j] for i, j in bodies]
    reach += [world.radius[i] + world.landmark_radius[m] for i, m in rocks]
    push = repulsion(jnp.vstack(delta), jnp.asarray(reach, dtype), world)
    total = [jnp.zeros(2, dtype)] * n
    for p, (i, j) in enumerate(bodies):
        total[i], total[j] = total[i] + push[p], total[j] - push[p]
    for p, (i, _) in enumerate(rocks, start=len(bodies)):
        total[i] = total[i] + push[p]
    return jnp.stack(total)


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
    bodies = jnp.sum(overlaps(position, world.radius))
    reach = jnp.asarray(world.radius)[:, None] + jnp.asarray(world.landmark_radius)
    near = length(offsets(landmark, position)) < reach.astype(position.dtype)
    return bodies, jnp.sum(near & jnp.asarray(world.landmark_collides, bool))


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
