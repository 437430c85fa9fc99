"""SMAC's observation, state and availability, from plain arrays of units.

Computed in float64 and rounded to float32 once, in SMAC's order of operations, so that the numbers
are SMAC's to the last bit. A row is a unit in slot order: `A` agents, `E` enemies.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lica_jax.smac.maps import MapFacts
from lica_jax.smac.options import Options
from lica_jax.smac.units import Roster, Side

FIRST_TARGET = 6  # no-op, stop, north, south, east, west, then one action per target
N_MOVES = 4
SIGHT = 9.0
SHOOT = 6.0
N_PATHING = 8
N_HEIGHT = 9
# The cells that agents look at, in units of the move amount; their own, last, for its height only.
_AROUND = ((0, 2), (0, -2), (2, 0), (-2, 0), (1, 1), (-1, -1), (1, -1), (-1, 1), (0, 0))


class ObsParts(NamedTuple):
    """Sizes of the four blocks of an observation; `enemy` and `ally` are (rows, features)."""

    move: int
    enemy: tuple[int, int]
    ally: tuple[int, int]
    own: int


def n_actions(facts: MapFacts) -> int:
    """No-op, stop, four moves, and one per enemy."""
    return FIRST_TARGET + facts.n_enemies


def obs_parts(facts: MapFacts, options: Options) -> ObsParts:
    """The blocks of one agent's observation, in their order."""
    grids = N_PATHING * options.obs_pathing_grid + N_HEIGHT * options.obs_terrain_height
    health = int(options.obs_all_health)
    enemy = 4 + health * (1 + facts.enemy_shield) + facts.type_bits
    ally = 4 + health * (1 + facts.ally_shield) + facts.type_bits
    ally += n_actions(facts) * options.obs_last_action
    own = options.own_health * (1 + facts.ally_shield) + facts.type_bits
    return ObsParts(
        move=N_MOVES + grids,
        enemy=(facts.n_enemies, enemy),
        ally=(facts.n_agents - 1, ally),
        own=own + options.obs_timestep_number,
    )


def obs_size(facts: MapFacts, options: Options) -> int:
    """Length of one agent's observation."""
    parts = obs_parts(facts, options)
    rows = (rows * features for rows, features in (parts.enemy, parts.ally))
    return parts.move + sum(rows) + parts.own


def state_size(facts: MapFacts, options: Options) -> int:
    """Length of the state."""
    if options.obs_instead_of_state:
        return facts.n_agents * obs_size(facts, options)
    ally = 4 + facts.ally_shield + facts.type_bits
    enemy = 3 + facts.enemy_shield + facts.type_bits
    last_action = facts.n_agents * n_actions(facts) * options.state_last_action
    units = facts.n_agents * ally + facts.n_enemies * enemy
    return units + last_action + options.state_timestep_number


class Terrain(NamedTuple):
    """The map, indexed [x, y].

    Attributes:
      pathing: bool [W, H], cells that can be walked on.
      height: float64 [W, H] in 0..1; None where no option needs it.
      extent: width and height of the playable area.
    """

    pathing: np.ndarray
    height: np.ndarray | None
    extent: tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """One moment of an episode: everything that observations and state are made of.

    Attributes:
      last_action: float64 [A, n_actions] one-hot; zeros after a reset.
      time: share of the episode's limit that has passed.
    """

    facts: MapFacts
    options: Options
    terrain: Terrain
    roster: Roster
    allies: Side
    enemies: Side
    last_action: np.ndarray
    time: float

    @functools.cached_property
    def ally_distance(self) -> np.ndarray:
        """float64 [A, A]."""
        return _distances(self.allies, self.allies)

    @functools.cached_property
    def enemy_distance(self) -> np.ndarray:
        """float64 [A, E]."""
        return _distances(self.allies, self.enemies)

    @functools.cached_property
    def avail(self) -> np.ndarray:
        """bool [A, n_actions], see `availability`."""
        return availability(self)


# math.hypot and numpy's differ in the last bit now and then, and 6 and 9 are sharp limits.
_hypot = np.frompyfunc(math.hypot, 2, 1)


def _distances(allies: Side, others: Side) -> np.ndarray:
    dx = others.x - allies.x[:, None]
    dy = others.y - allies.y[:, None]
    return _hypot(dx, dy).astype(np.float64)


def availability(scene: Scene) -> np.ndarray:
    """Which actions each agent may choose: bool [A, n_actions].

    The dead can only do nothing, the living anything but nothing. A move is judged by the cell half
    a move away; a target must live and be within `SHOOT`, whatever the weapon. On maps with
    medivacs these aim at allies (not at medivacs, but also at the unhurt): slot k is agent k.
    """
    facts, allies = scene.facts, scene.allies
    found = np.zeros((facts.n_agents, n_actions(facts)), bool)
    found[:, 1] = True
    half = scene.options.move_amount / 2
    for action, (dx, dy) in enumerate(((0, half), (0, -half), (half, 0), (-half, 0)), start=2):
        x, y = _cells(allies.x + dx), _cells(allies.y + dy)
        found[:, action] = _look(scene.terrain.pathing, x, y, outside=False)
    found[:, FIRST_TARGET:] = (scene.enemy_distance <= SHOOT) & scene.enemies.alive
    healer = scene.roster.healer
    if healer.any():
        patients = (scene.ally_distance <= SHOOT) & allies.alive & ~healer
        found[healer, FIRST_TARGET:] = False
        found[healer, FIRST_TARGET : FIRST_TARGET + facts.n_agents] = patients[healer]
    found[~allies.alive] = False
    found[:, 0] = ~allies.alive
    return found


def _cells(position: np.ndarray) -> np.ndarray:
    """Positions to cells, cut off towards zero."""
    return position.astype(np.int64)


def _look(grid: np.ndarray, x: np.ndarray, y: np.ndarray, outside: float) -> np.ndarray:
    """The grid's values at cells, and `outside` where there is no such cell."""
    width, height = grid.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return np.where(inside, grid[np.where(inside, x, 0), np.where(inside, y, 0)], outside)


def observations(scene: Scene) -> np.ndarray:
    """What each agent sees: float32 [A, O].

    Blocks: moves (and grids), a row per enemy, a row per other agent in id order, the agent itself.
    A row is zero unless that unit lives and is nearer than `SIGHT`; a dead agent sees nothing but
    the time. Where `obs_timestep_number` is on, SMAC's vectors are one longer than it says: a slot
    that stays zero, and the time behind it. Here the time is in that slot.
    """
    facts, options, allies = scene.facts, scene.options, scene.allies
    blocks = [_moves(scene), _enemy_rows(scene), _ally_rows(scene)]
    if options.own_health:
        blocks += _vitals(allies, scene.roster.ally_shield, facts.ally_shield)
    blocks.append(scene.roster.ally_onehot)
    found = np.concatenate(blocks, axis=1)
    found[~allies.alive] = 0
    if options.obs_timestep_number:
        found = np.concatenate([found, np.full((facts.n_agents, 1), scene.time)], axis=1)
    return found.astype(np.float32)


def _moves(scene: Scene) -> np.ndarray:
    """Movement features, float64 [A, move]."""
    options, allies = scene.options, scene.allies
    blocks = [scene.avail[:, 2 : 2 + N_MOVES].astype(np.float64)]
    if options.obs_pathing_grid or options.obs_terrain_height:
        reach = int(options.move_amount)
        dx, dy = reach * np.array(_AROUND).T
        x, y = _cells(allies.x)[:, None] + dx, _cells(allies.y)[:, None] + dy
        if options.obs_pathing_grid:
            pathing = scene.terrain.pathing
            blocks.append(_look(pathing, x[:, :N_PATHING], y[:, :N_PATHING], outside=True))
        if options.obs_terrain_height:
            blocks.append(_look(scene.terrain.height, x, y, outside=1.0))
    return np.concatenate(blocks, axis=1)


def _enemy_rows(scene: Scene) -> np.ndarray:
    """Rows of enemies, float64 [A, E * features]. The first feature is the action of that number:
    to a medivac it tells whether *agent* k can be healed, as in SMAC."""
    facts, enemies, roster = scene.facts, scene.enemies, scene.roster
    distance = scene.enemy_distance
    seen = (distance < SIGHT) & enemies.alive
    columns = _place(scene.allies, enemies, distance)
    columns.insert(0, scene.avail[:, FIRST_TARGET:, None])
    if scene.options.obs_all_health:
        columns += _vitals(enemies, roster.enemy_shield, facts.enemy_shield)
    columns.append(roster.enemy_onehot)
    return _rows(columns, seen)


def _ally_rows(scene: Scene) -> np.ndarray:
    """Rows of the other agents, float64 [A, (A-1) * features]."""
    facts, allies, roster = scene.facts, scene.allies, scene.roster
    distance = scene.ally_distance
    seen = (distance < SIGHT) & allies.alive
    columns = _place(allies, allies, distance)
    columns.insert(0, np.ones((1, 1, 1)))
    if scene.options.obs_all_health:
        columns += _vitals(allies, roster.ally_shield, facts.ally_shield)
    columns.append(roster.ally_onehot)
    if scene.options.obs_last_action:
        columns.append(scene.last_action)
    return _rows(columns, seen, others_only=True)


def _place(allies: Side, others: Side, distance: np.ndarray) -> list[np.ndarray]:
    """Distance and direction in units of the sight range: three columns [A, n, 1]."""
    dx = others.x - allies.x[:, None]
    dy = others.y - allies.y[:, None]
    return [(value / SIGHT)[..., None] for value in (distance, dx, dy)]


def _vitals(side: Side, max_shield: np.ndarray, shielded: int) -> list[np.ndarray]:
    """Health and, where the race has them, shields: columns [n, 1]."""
    columns = [(side.health / side.health_max)[:, None]]
    if shielded:
        columns.append((side.shield / max_shield)[:, None])
    return columns


def _rows(columns: list[np.ndarray], seen: np.ndarray, others_only: bool = False) -> np.ndarray:
    """Columns [A, n, k] or [n, k] side by side, zero where not `seen` [A, n], flat: [A, n * K]."""
    n_agents, n_units = seen.shape
    shapes = [(n_agents, n_units, column.shape[-1]) for column in columns]
    full = [np.broadcast_to(column, shape) for column, shape in zip(columns, shapes, strict=True)]
    rows = np.where(seen[..., None], np.concatenate(full, axis=2), 0.0)
    if others_only:
        rows = rows[~np.eye(n_agents, dtype=bool)]
    return rows.reshape(n_agents, -1)


def state(scene: Scene) -> np.ndarray:
    """The global state: float32 [S]. A row per agent, a row per enemy, last actions, the time; or
    all observations, with `obs_instead_of_state`. Rows of the dead are zero."""
    facts, options, roster = scene.facts, scene.options, scene.roster
    if options.obs_instead_of_state:
        return observations(scene).reshape(-1)
    allies, enemies = scene.allies, scene.enemies
    weapon = np.where(roster.healer, allies.energy, allies.cooldown) / roster.ally_cooldown
    ally = _vitals(allies, roster.ally_shield, facts.ally_shield)
    ally[1:1] = [weapon[:, None], _position(scene, allies)]
    enemy = _vitals(enemies, roster.enemy_shield, facts.enemy_shield)
    enemy[1:1] = [_position(scene, enemies)]
    blocks = [
        np.where(allies.alive[:, None], np.concatenate([*ally, roster.ally_onehot], axis=1), 0.0),
        np.where(
            enemies.alive[:, None], np.concatenate([*enemy, roster.enemy_onehot], axis=1), 0.0
        ),
    ]
    if options.state_last_action:
        blocks.append(scene.last_action)
    if options.state_timestep_number:
        blocks.append(np.array([scene.time]))
    return np.concatenate([block.reshape(-1) for block in blocks]).astype(np.float32)


def _position(scene: Scene, side: Side) -> np.ndarray:
    """Positions from the centre of the map, in playable-area extents: [n, 2]."""
    width, height = scene.terrain.pathing.shape
    dx, dy = scene.terrain.extent
    return np.stack([(side.x - width / 2) / dx, (side.y - height / 2) / dy], axis=1)
