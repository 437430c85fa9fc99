"""The scripted team: JaxMARL's heuristic, read off the true state.

A unit attacks the enemy it attacked before while that one is in range, else the closest one in
range. With none in range it walks, in one of four directions, towards a random enemy in sight, else
towards the point opposite to where it started. The team does not share what it sees. Orders of
enemies are those of JaxMARL: allies count them upwards, enemies downwards.

Healers go to the hurt biological team-mate with the lowest health within 9 and heal it; without one
they stay with the nearest fighting team-mate. Walkers head for a corner of an obstacle
in their way.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lica_jax.core import bits
from lica_jax.core.barriers import held
from lica_jax.envs.smax.battle import (
    ENEMIES,
    MOVES,
    STOP,
    Battle,
    Memory,
    State,
    Units,
)
from lica_jax.envs.smax.scenarios import SIZE

HEAL_SIGHT = 9.0
FOLLOW = 3.0  # how near a healer without a patient stays to the others


class Others(NamedTuple):
    """The other team as this one counts it."""

    seen: Array  # [N, M, B]: by whom of this team
    dx: Float[Array, "N M B"]  # from me to it; 0 where not seen
    dy: Float[Array, "N M B"]


def initial_memory(n: int, shape: tuple[int, ...], dtype=jnp.float32) -> Memory:
    """Nothing remembered, for a team of n."""
    zeros = jnp.zeros((n, *shape), dtype)
    return Memory(zeros, zeros, jnp.full((n, *shape), -1, jnp.int32))


def heuristic(
    battle: Battle, units: Units, state: State, memory: Memory, key: bits.Key, team: int
) -> tuple[Int[Array, "N B"], Memory]:
    """Actions of one team and what it remembers afterwards.

    Args:
      battle: the map.
      units: numbers of the units.
      state: the battle.
      memory: of this team.
      key: one per battle, [B].
      team: ``ALLIES`` or ``ENEMIES``.
    """
    own = battle.team(team)
    x, y, alive = state.x[own], state.y[own], state.alive[own]
    # The dead see nothing, themselves included, and count as standing at the origin.
    x, y = jnp.where(alive, x, 0), jnp.where(alive, y, 0)
    others = _look(battle, units, state, team)
    target, shoots, last_target = _choose_target(battle, units, others, memory, team)
    first = (memory.last_target == -1) & (memory.goal_x == 0) & (memory.goal_y == 0)
    goal_x = jnp.where(first, SIZE - x, memory.goal_x)
    goal_y = jnp.where(first, SIZE - y, memory.goal_y)
    chance = battle.draw(key, x.shape[0], 0.0, 1.0, halved=True)
    sees, to_x, to_y = _random_in_sight(others, chance)
    to_x = jnp.where(sees, to_x + x, goal_x)
    to_y = jnp.where(sees, to_y + y, goal_y)
    if battle.scenario.obstacles:
        to_x, to_y = _around(battle, units.radius[own], own, (x, y), (to_x, to_y))
    action = jnp.where(shoots, MOVES + target, direction(to_x - x, to_y - y))
    for i in battle.healers(team):
        action = action.at[i].set(_heal(battle, units, state, i, own))
    return action, Memory(goal_x, goal_y, last_target)


def direction(dx: Float[Array, "N B"], dy: Float[Array, "N B"]) -> Int[Array, "N B"]:
    """The move action that takes one furthest along (dx, dy); the first of equals."""
    best, action = dy, jnp.zeros(dx.shape, jnp.int32)
    for k, along in enumerate((dx, -dy, -dx), start=1):
        action = jnp.where(along > best, k, action)
        best = jnp.maximum(along, best)
    return action


def _look(battle, units, state, team) -> Others:
    """Distances go through the division and multiplication by sight of JaxMARL's observations."""
    own, other = battle.team(team), battle.team(1 - team)
    order = slice(None, None, -1) if team == ENEMIES else slice(None)
    alive = state.alive
    sight = units.sight[own][:, None]
    x, y = state.x[other][order], state.y[other][order]
    dx, dy = held((x - state.x[own][:, None], y - state.y[own][:, None]))
    near = jnp.sqrt(dx * dx + dy * dy) < sight
    seen = near & alive[own][:, None] & alive[other][order]
    dx, dy = jnp.where(seen, dx / sight, 0) * sight, jnp.where(seen, dy / sight, 0) * sight
    return Others(*held((seen, dx, dy)))


def _choose_target(battle, units, others, memory, team):
    """``(target, whether to shoot, what to remember)``, targets in this team's order."""
    distance = jnp.sqrt(others.dx * others.dx + others.dy * others.dy)
    reach = (distance < units.range[battle.team(team)][:, None]) & others.seen
    if not battle.can_target.all():
        allowed = battle.can_target[battle.team(team), battle.team(1 - team)]
        reach = reach & (allowed[:, ::-1] if team == ENEMIES else allowed)[..., None]
    distance, reach = held((distance, reach))
    nearest = jnp.where(reach[:, 0], distance[:, 0], jnp.inf)
    closest = jnp.zeros(nearest.shape, jnp.int32)
    shoots, again = reach[:, 0], reach[:, 0] & (memory.last_target == 0)
    for j in range(1, reach.shape[1]):
        better = reach[:, j] & (distance[:, j] < nearest)
        nearest = jnp.where(better, distance[:, j], nearest)
        closest = jnp.where(better, j, closest)
        shoots = shoots | reach[:, j]
        again = again | (reach[:, j] & (memory.last_target == j))
    target = jnp.where(again, memory.last_target, closest)
    return held((target, shoots, jnp.where(shoots, target, -1)))


def _random_in_sight(others, uniform):
    """``(whether anybody is in sight, dx, dy)`` of a random one, by inverting the cumulated
    probabilities as `jax.random.choice` does."""
    seen = others.seen.astype(uniform.dtype)
    count = seen[:, 0]
    for j in range(1, seen.shape[1]):
        count = count + seen[:, j]
    chance = 1 / jnp.maximum(count, 1)
    cumulated, sums = jnp.zeros_like(uniform), []
    for j in range(seen.shape[1]):
        cumulated = cumulated + seen[:, j] * chance
        sums.append(cumulated)
    wanted = cumulated * (1 - uniform)
    dx, dy = others.dx[:, -1], others.dy[:, -1]
    for j in reversed(range(seen.shape[1] - 1)):
        reached = sums[j] >= wanted
        dx, dy = jnp.where(reached, others.dx[:, j], dx), jnp.where(reached, others.dy[:, j], dy)
    return held((count > 0, dx, dy))


def _heal(battle, units, state, i, own):
    """Action of healer i of the team ``own``."""
    x, y, health, alive = state.x[own], state.y[own], state.health[own], state.alive[own]
    dx, dy = x - x[i], y - y[i]
    distance = jnp.sqrt(dx * dx + dy * dy)
    types = battle.types[own]
    patient = np.array([[t.healable and j != i] for j, t in enumerate(types)])
    hurt = alive & patient & (health < units.health[own]) & (distance < HEAL_SIGHT)
    fighter = alive & battle.fighter[own]
    worst = jnp.argmin(jnp.where(hurt, health, jnp.inf), axis=0)
    nearest = jnp.argmin(jnp.where(fighter, distance, jnp.inf), axis=0)
    anybody = jnp.any(hurt, axis=0)
    to = jnp.where(anybody, worst, nearest)
    is_to = jnp.arange(x.shape[0])[:, None] == to
    far = jnp.sum(jnp.where(is_to, distance, 0), axis=0)
    go = direction(*(jnp.sum(jnp.where(is_to, d, 0), axis=0)[None] for d in (dx, dy)))[0]
    heal = jnp.where(far < units.range[own][i], MOVES + to, go)
    follow = jnp.where(jnp.any(fighter, axis=0) & (far >= FOLLOW), go, STOP)
    return jnp.where(anybody, heal, follow).astype(jnp.int32)


def _around(battle, radius, own, at, to):
    """The goal, or for walkers with an obstacle in the way the corner that makes the shortest way
    among those that can be reached straight on."""
    (x, y), (to_x, to_y) = at, to
    walker = battle.walker[own]
    for box in battle.scenario.obstacles:
        body = radius - 0.05  # a unit that touches the box is outside
        wide = (box[0] - body, box[1] - body, box[2] + body, box[3] + body)
        on_it = (wide[0] < to_x) & (to_x < wide[2]) & (wide[1] < to_y) & (to_y < wide[3])
        blocked = _crosses(wide, at, to) & ~on_it & walker
        best, best_x, best_y = jnp.full_like(x, jnp.inf), to_x, to_y
        gap = radius + 0.3
        for cx, sx in ((box[0], -1), (box[2], 1)):
            for cy, sy in ((box[1], -1), (box[3], 1)):
                if not (0 < cx + 2 * sx < SIZE and 0 < cy + 2 * sy < SIZE):
                    continue  # between the box and the map's edge
                corner = cx + sx * gap, cy + sy * gap
                here = jnp.hypot(corner[0] - x, corner[1] - y)
                way = here + jnp.hypot(to_x - corner[0], to_y - corner[1])
                # A corner behind the box is no way, one from which the box is still in the way is
                # a longer one: steps are too coarse to hit corners, so units would go to and fro.
                way = jnp.where(_crosses(wide, at, corner), way + 4 * SIZE, way)
                way = jnp.where(_crosses(wide, corner, to), way + SIZE, way)
                way = jnp.where(here < gap, jnp.inf, way)  # it is there already
                best_x = jnp.where(way < best, corner[0], best_x)
                best_y = jnp.where(way < best, corner[1], best_y)
                best = jnp.minimum(way, best)
        to_x, to_y = jnp.where(blocked, best_x, to_x), jnp.where(blocked, best_y, to_y)
    return to_x, to_y


def _crosses(box, at, to):
    """Whether the segment between two points meets the inside of a box (slab method)."""
    enter, leave = 0.0, 1.0
    for low, high, a, b in ((box[0], box[2], at[0], to[0]), (box[1], box[3], at[1], to[1])):
        d = b - a
        d = jnp.where(jnp.abs(d) < 1e-9, 1e-9, d)
        t0, t1 = (low - a) / d, (high - a) / d
        enter, leave = (
            jnp.maximum(enter, jnp.minimum(t0, t1)),
            jnp.minimum(leave, jnp.maximum(t0, t1)),
        )
    return enter < leave
