"""The particle world's laws of motion, as pure functions of arrays.

Multi-agent particle environments as the SQDDPG repository has them, which the LICA paper follows
(section 4.1), and as JaxMARL has them. Bodies are disks in an unbounded plane without walls;
lengths have no unit. One step of `World.dt` seconds is

1. a control force on every body,
2. a soft, equal and opposite contact force between every two that collide (`contact_force`),
3. damped velocity first, then position with the *new* velocity (`integrate`), or in JaxMARL's
   tasks with the old one (`World.lagging`).

Landmarks never move; those that collide push back. Arrays have the batch ``*B`` last, if there is
one: the same functions move one world, ``[N, 2]``, and many, ``[N, 2, B]``, where every operation
runs over the batch. Every function computes in the type of the positions it is given, and every
pair of bodies is looked at (there are a handful), so nothing is gathered or branched on.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lica_jax.core.barriers import held

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
      collides: whether bodies bounce off anything.
      lagging: positions move with the velocity of before the step.
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
    collides: bool = True
    lagging: bool = False


def plain_world(n: int, m: int, radius: float, landmark_radius: float, **other) -> World:
    """n equal bodies without a largest speed, and m landmarks that nobody bumps into."""
    world = World(
        radius=(radius,) * n,
        accel=(5.0,) * n,
        max_speed=(math.inf,) * n,
        mass=(1.0,) * n,
        landmark_radius=(landmark_radius,) * m,
        landmark_collides=(False,) * m,
    )
    return world._replace(**other)


def constant(values, like: Array) -> np.ndarray:
    """Constants ``[...]`` as they broadcast against ``like`` [..., *], in its type."""
    values = np.asarray(values, like.dtype)
    return values.reshape(*values.shape, *(1,) * (like.ndim - values.ndim))


def as_vectors(
    action: Int[Array, "N *B"] | Float[Array, "N 5 *B"], dtype
) -> Float[Array, "N 5 *B"]:
    """Actions as weights of the five directions: an index becomes its one-hot vector."""
    action = jnp.asarray(action)
    if not jnp.issubdtype(action.dtype, jnp.integer):
        return action.astype(dtype)
    index = np.arange(N_ACTIONS).reshape(-1, *(1,) * (action.ndim - 1))
    return (action[:, None] == index).astype(dtype)


def steer(weights: Float[Array, "N 5 *B"], directions=DIRECTIONS) -> Float[Array, "N 2 *B"]:
    """The sum of the directions of the actions, by weight: ``(c_1 - c_2, c_3 - c_4)``."""
    along = np.asarray(directions, weights.dtype)  # [5, 2]
    along = along.reshape(*along.shape, *(1,) * (weights.ndim - 2))
    return total([weights[:, k, None] * along[k] for k in range(1, N_ACTIONS)])


def offsets(of: Float[Array, "K 2 *B"], to: Float[Array, "N 2 *B"]) -> Float[Array, "N K 2 *B"]:
    """``of[k] - to[n]``: where each k is, seen from each n."""
    return of[None] - to[:, None]


def length(vector: Float[Array, "*K"], axis: int = 1) -> Float[Array, "*B"]:
    """Euclidean norm of vectors (x, y) along ``axis``."""
    x, y = jnp.split(vector, 2, axis)
    return jnp.sqrt(jnp.square(x) + jnp.square(y)).squeeze(axis)


def distances(of: Float[Array, "K 2 *B"], to: Float[Array, "N 2 *B"]) -> Float[Array, "N K *B"]:
    return length(offsets(of, to), axis=2)


def total(x: Float[Array, "K *B"]) -> Float[Array, "*B"]:
    """The sum over the first axis, term by term: XLA's own on a CPU runs over the batch ten times
    slower."""
    return functools.reduce(operator.add, x)


def partners(x: Float[Array, "N *B"]) -> Float[Array, "K N *B"]:
    """Everybody's partners in K = N // 2 rounds, in which each meets each: body i meets i + k in
    round k (from 1 on, modulo N). With an even N the last round has every pair twice."""
    n = len(x)
    return jnp.stack([jnp.roll(x, -k, axis=0) for k in range(1, n // 2 + 1)])


def reach_of_partners(radius: Float[Array, " N"], twice: bool) -> Float[np.ndarray, "K N"]:
    """Sums of radii; unless ``twice``, 0 where a pair has been before."""
    radius = np.asarray(radius)
    n = len(radius)
    reach = np.stack([radius + np.roll(radius, -k) for k in range(1, n // 2 + 1)])
    if not twice and n % 2 == 0:
        reach[-1, n // 2 :] = 0
    return reach


def overlaps(position: Float[Array, "N 2 *B"], radius: Float[Array, " N"]) -> Float[Array, "*B"]:
    """The number of pairs of bodies that are nearer than the sum of their radii."""
    distance = length(position - partners(position), axis=2)
    near = distance < constant(reach_of_partners(radius, twice=False), distance)
    return total(total(held(near.astype(position.dtype))))


def repulsion(
    delta: Float[Array, "K N 2 *B"], reach: Float[Array, "K N"], world: World
) -> Float[Array, "K N 2 *B"]:
    """``k mu log(1 + exp(-(d - reach) / mu)) delta / d``, about k times the overlap."""
    distance = length(delta, axis=2)
    x = (constant(reach, distance) - distance) / world.contact_margin
    # log(1 + exp(x)) without overflow; jnp.logaddexp's care for infinities costs twice the time.
    soft = jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))
    # Two bodies in one point have no direction; the references divide by zero there.
    scale = world.contact_force * world.contact_margin / jnp.where(distance > 0, distance, 1)
    return delta * held(scale * soft)[:, :, None]


def contact_force(
    position: Float[Array, "N 2 *B"], landmark: Float[Array, "M 2 *B"], world: World
) -> Float[Array, "N 2 *B"]:
    """The sum of all contact forces on each body; bodies collide with each other and with some
    landmarks, or with nothing."""
    if not world.collides:
        return jnp.zeros_like(position)
    n, hard = len(position), np.flatnonzero(np.asarray(world.landmark_collides))
    rocks = [jnp.broadcast_to(landmark[m], (1, *position.shape)) for m in hard]
    delta = held(position - jnp.concatenate([partners(position), *rocks]))
    of_rocks = [np.asarray(world.radius)[None] + world.landmark_radius[m] for m in hard]
    reach = np.concatenate([reach_of_partners(world.radius, twice=True), *of_rocks])
    push = held(repulsion(delta, reach, world))
    back = [jnp.roll(push[k - 1], k, axis=0) for k in range(1, (n + 1) // 2)]
    return total(push) - total(back) if back else total(push)


def integrate(
    position: Float[Array, "N 2 *B"],
    velocity: Float[Array, "N 2 *B"],
    force: Float[Array, "N 2 *B"],
    world: World,
) -> tuple[Float[Array, "N 2 *B"], Float[Array, "N 2 *B"]]:
    """``v <- (1 - damping) v + F / m dt``, cut to the largest speed; then ``x <- x + v dt``."""
    old = velocity
    velocity = velocity * (1 - world.damping) + force / constant(world.mass, force) * world.dt
    if np.any(np.isfinite(world.max_speed)):
        speed = length(velocity)
        limit = constant(world.max_speed, speed)
        too_fast = speed > limit
        # Without a limit the quotient would be infinity over infinity in the branch not taken.
        factor = jnp.where(too_fast, limit, 1) / jnp.where(too_fast, speed, 1)
        velocity = velocity * factor[:, None]
    return position + (old if world.lagging else velocity) * world.dt, velocity


def move(
    position: Float[Array, "N 2 *B"],
    velocity: Float[Array, "N 2 *B"],
    landmark: Float[Array, "M 2 *B"],
    direction: Float[Array, "N 2 *B"],
    world: World,
) -> tuple[Float[Array, "N 2 *B"], Float[Array, "N 2 *B"]]:
    """One step of the world: positions and velocities after all bodies pushed themselves along
    ``direction``, as a share of their largest force."""
    push = direction * constant(world.accel, direction)
    force = push + contact_force(position, landmark, world)
    return integrate(position, velocity, force, world)


def look(
    position: Float[Array, "N 2 *B"],
    velocity: Float[Array, "N 2 *B"],
    landmark: Float[Array, "M 2 *B"],
    agents: int,
) -> Float[Array, "A 4+2M+2(N-1) *B"]:
    """What the first ``agents`` bodies see: own velocity, own position, then offsets to the
    landmarks and to the other bodies in the order of their index."""
    own = position[:agents]
    # The others of body a are 0 .. a-1, a+1 .. N-1.
    before = constant(np.tri(agents, len(position) - 1, k=-1), offsets(position[1:], own)) > 0
    others = jnp.where(before, position[None, :-1], position[None, 1:]) - own[:, None]
    rocks = offsets(landmark, own)
    rows = [flat_rows(x) for x in (rocks, others)]
    return jnp.concatenate([velocity[:agents], own, *rows], axis=1)


def flat_rows(x: Float[Array, "A K 2 *B"]) -> Float[Array, "A 2K *B"]:
    return x.reshape(x.shape[0], -1, *x.shape[3:])
