"""What the game answers, checked and as arrays. Anything implausible is a GameError.

The game is another process and is not trusted: numbers are finite and bounded before they are used,
grids have the size that the map has, and lists are counted before they are read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from lica_jax.smac.layout import Terrain
from lica_jax.smac.maps import MapFacts
from lica_jax.smac.units import Side
from lica_jax.starcraft2.errors import GameError

OURS, THEIRS = 1, 2  # players: the participant joins first, the computer second
MAX_MAP = 256  # cells along one side, the engine's own limit
MAX_UNITS = 1024
MAX_NUMBER = 1e5  # of health, shields, energy, cooldown and coordinates
_STUB_LOOP = 2**32 - 1  # the game loop of an observation that is none


class Observed(NamedTuple):
    """An observation: its game loop, and the units of both players by their tags."""

    loop: int
    units: dict[int, Any]


class Slots(NamedTuple):
    """One side's units, a slot each for the episode: tags, and the units as last seen."""

    tags: tuple[int, ...]
    side: Side


def part(response: Any, name: str) -> Any:
    """The part of an answer that was asked for."""
    if not response.HasField(name):
        raise GameError(f"the game's answer lacks {name}")
    return getattr(response, name)


def terrain(response: Any, *, height: bool) -> Terrain:
    """The map from an answer to game_info; its heights only where they are needed.

    Pathing comes with one bit per cell (rows of x, the lowest y first; set where one can walk) or,
    from old versions, with a byte per cell, turned upside down and inverted. Heights are bytes in
    the latter order.
    """
    info = part(part(response, "game_info"), "start_raw")
    size, area = info.map_size, info.playable_area
    if not (0 < size.x <= MAX_MAP and 0 < size.y <= MAX_MAP):
        raise GameError(f"a map of {size.x} x {size.y} cells; expected 1 to {MAX_MAP}")
    extent = (area.p1.x - area.p0.x, area.p1.y - area.p0.y)
    if not (0 < extent[0] <= MAX_MAP and 0 < extent[1] <= MAX_MAP):
        raise GameError(f"a playable area of {extent[0]} x {extent[1]} cells")
    grid = info.pathing_grid
    if grid.bits_per_pixel == 1:
        packed = _bytes(grid, (size.x * size.y + 7) // 8, "pathing grid")
        bits = np.unpackbits(packed)[: size.x * size.y]
        pathing = bits.reshape(size.y, size.x).T.astype(bool)
    else:
        pathing = ~_flipped(grid, size, "pathing grid").astype(bool)
    heights = None
    if height:
        heights = _flipped(info.terrain_height, size, "terrain height").astype(np.float64) / 255
    return Terrain(pathing=pathing, height=heights, extent=extent)


def _bytes(image: Any, count: int, name: str) -> np.ndarray:
    if len(image.data) != count:
        raise GameError(f"a {name} of {len(image.data)} bytes; expected {count}")
    return np.frombuffer(image.data, np.uint8)


def _flipped(image: Any, size: Any, name: str) -> np.ndarray:
    """An image of a byte per cell, the highest y first, indexed [x, y]."""
    if image.bits_per_pixel != 8:
        raise GameError(f"a {name} of {image.bits_per_pixel} bits per cell; expected 8")
    data = _bytes(image, size.x * size.y, name)
    return data.reshape(size.y, size.x).T[:, ::-1]


def observed(response: Any) -> Observed:
    """An answer to observation. Raises GameError where the match is over."""
    answer = part(response, "observation")
    seen = part(answer, "observation")
    if answer.player_result or seen.game_loop == _STUB_LOOP:
        raise GameError("the match has ended")
    raw = part(seen, "raw_data")
    if len(raw.units) > MAX_UNITS:
        raise GameError(f"an observation of {len(raw.units)} units; expected up to {MAX_UNITS}")
    mine = [unit for unit in raw.units if unit.owner in (OURS, THEIRS)]
    units = {unit.tag: unit for unit in mine}
    if len(units) < len(mine):
        raise GameError("an observation with the same unit twice")
    return Observed(seen.game_loop, units)


def assign(facts: MapFacts, observation: Observed) -> tuple[Slots, Slots] | None:
    """Slots of allies and enemies for a new episode; None until all units are there.

    Allies by type and position, enemies in the order in which the game lists them, as in SMAC.
    """
    units = observation.units.values()
    allies = [unit for unit in units if unit.owner == OURS]
    enemies = [unit for unit in units if unit.owner == THEIRS]
    if (len(allies), len(enemies)) != (facts.n_agents, facts.n_enemies):
        return None
    _rows(allies)  # NaN has no order
    allies.sort(key=lambda unit: (unit.unit_type, unit.pos.x, unit.pos.y))
    return _slots(allies), _slots(enemies)


def _slots(units: list[Any]) -> Slots:
    types = tuple(unit.unit_type for unit in units)
    return Slots(tuple(unit.tag for unit in units), _side(_rows(units), types))


def update(slots: Slots, owner: int, observation: Observed) -> Slots:
    """The slots one observation later: a unit that is not listed is dead and stays as it was."""
    old = slots.side
    rows = np.stack(old[:-1], axis=1)
    types = list(old.types)
    seen = [place for place, tag in enumerate(slots.tags) if tag in observation.units]
    units = [observation.units[slots.tags[place]] for place in seen]
    if any(unit.owner != owner for unit in units):
        raise GameError("a unit changed sides")
    rows[:, 0] = 0.0
    if units:
        rows[seen] = _rows(units)
    for place, unit in zip(seen, units, strict=True):
        types[place] = unit.unit_type
    return Slots(slots.tags, _side(rows, tuple(types)))


def _side(rows: np.ndarray, types: tuple[int, ...]) -> Side:
    return Side(*rows.T, types=types)


def _rows(units: Iterable[Any]) -> np.ndarray:
    """The numbers of units, float64 [n, 8] in the order of `Side`'s fields."""
    rows = np.array(
        [
            (
                unit.health,
                unit.health_max,
                unit.shield,
                unit.shield_max,
                unit.pos.x,
                unit.pos.y,
                unit.weapon_cooldown,
                unit.energy,
            )
            for unit in units
        ],
        np.float64,
    )
    if not (np.abs(rows) <= MAX_NUMBER).all():  # false for NaN as well
        raise GameError("an observation with numbers that are none, or far too large")
    if (rows[:, :4] < 0).any() or (rows[:, 1] < 1).any():
        raise GameError("an observation of units with impossible health or shields")
    return rows
