"""How units move and make room for each other in one world tick."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from lica_jax.envs.smax.battle import Battle, Units
from lica_jax.envs.smax.scenarios import SIZE

UNROLLED = 24  # above so many units, loops over them are loops of the program
Positions = tuple[Float[Array, "U B"], Float[Array, "U B"]]


def walk(position: Float[Array, "U B"], by: Float[Array, "U B"], alive) -> Float[Array, "U B"]:
    """One coordinate after a tick; the map's edge stops."""
    return jnp.where(alive, jnp.clip(position + by, 0, np.float32(SIZE)), position)


def at_wall(x: Float[Array, "U B"], y: Float[Array, "U B"]) -> Bool[Array, "U B"]:
    """Who touches the edge of the map, which is deadly on JaxMARL's maps."""
    return (x <= 0) | (y <= 0) | (x >= SIZE) | (y >= SIZE)


def push_apart(battle: Battle, units: Units, x, y, alive) -> Positions:
    """Moves the living out of each other by half of how much they overlap, all at once.

    Only units of one layer push each other. On maps with anything that JaxMARL does not know,
    nobody is pushed further than its own radius in a tick (crowds would explode), and what cannot
    walk is not pushed at all.
    """
    u = battle.u
    reach = _reach(battle, units)

    def by(j, sums):
        """Adds what unit j does to everybody."""
        xj, yj, aj, rj = (_row(v, j) for v in (x, y, alive, reach))
        dx, dy = x - xj, y - yj
        distance = jnp.sqrt(dx * dx + dy * dy) + 1e-6
        overlap = jnp.where(alive & aj, jnp.maximum(rj / distance - 1, 0), 0)
        return sums[0] + dx * overlap, sums[1] + dy * overlap

    sums = (jnp.zeros_like(x), jnp.zeros_like(y))
    if u <= UNROLLED:
        for j in range(u):
            sums = by(j, sums)
    else:
        sums = jax.lax.fori_loop(0, u, by, sums)
    dx, dy = sums[0] / 2, sums[1] / 2
    if not battle.scenario.plain:
        length = jnp.sqrt(dx * dx + dy * dy)
        most = jnp.where(units.speed > 0, units.radius, 0)
        share = jnp.minimum(most / jnp.maximum(length, 1e-6), 1)
        dx, dy = dx * share, dy * share
    return jnp.where(alive, x + dx, x), jnp.where(alive, y + dy, y)


def _reach(battle, units):
    """Distance below which two units overlap, ``[U, U, B]`` (B may be 1); 0 across layers."""
    reach = units.radius[:, None] + units.radius[None]
    same = battle.layer[:, None] == battle.layer[None]
    return reach if same.all() else np.where(same[..., None], reach, np.float32(0))


def _row(v, j):
    """Row j, kept as an axis of length 1 for two-dimensional arrays."""
    if isinstance(j, int):
        return v[j]
    return jax.lax.dynamic_index_in_dim(jnp.asarray(v), j, keepdims=False)


def keep_out(battle: Battle, units: Units, x, y) -> Positions:
    """Puts walkers whose disc meets an obstacle outside it, over its nearest face that does not
    lie on the map's edge; where the edge does not kill it stops."""
    for x0, y0, x1, y1 in battle.scenario.obstacles:
        r = units.radius
        # The nearest point of the box; inside it, the unit itself.
        near_x, near_y = jnp.clip(x, x0, x1), jnp.clip(y, y0, y1)
        dx, dy = x - near_x, y - near_y
        distance = jnp.sqrt(dx * dx + dy * dy)
        outside = distance > 0
        touches = (distance < r) & battle.walker
        # From outside: straight away from the nearest point. From inside: over the nearest face.
        away = jnp.where(outside, r / jnp.maximum(distance, 1e-9), 0)
        faces = [
            (x - x0, x0 - r, y, x0 > 0), (x1 - x, x1 + r, y, x1 < SIZE),
            (y - y0, x, y0 - r, y0 > 0), (y1 - y, x, y1 + r, y1 < SIZE),
        ]  # fmt: skip
        best, out_x, out_y = jnp.full_like(x, jnp.inf), x, y
        for depth, px, py, free in faces:
            if free:
                nearer = depth < best
                out_x, out_y = jnp.where(nearer, px, out_x), jnp.where(nearer, py, out_y)
                best = jnp.minimum(depth, best)
        out_x = jnp.where(outside, near_x + dx * away, out_x)
        out_y = jnp.where(outside, near_y + dy * away, out_y)
        x, y = jnp.where(touches, out_x, x), jnp.where(touches, out_y, y)
    if not battle.scenario.deadly_walls:
        x, y = jnp.clip(x, 0, SIZE), jnp.clip(y, 0, SIZE)
    return x, y
