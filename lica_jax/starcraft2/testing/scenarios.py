"""FakeSC2's units and battles: 23 maps by SMAC's names, with toy numbers.

Nothing outside this folder may import this file: the library takes every number from the wire or
from its own tables, or else a test against FakeSC2 would compare a mistake with itself.
"""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """One kind of unit. Distances in map cells, times in game loops, rates per loop."""

    stock_id: int  # the game's own type id, which the computer's units have
    health: float
    shield: float
    damage: float
    reach: float
    cooldown: float
    speed: float
    radius: float
    armor: float = 0
    splash: float = 0
    hits_air: bool = False
    flies: bool = False
    explodes: bool = False
    heals: bool = False


KINDS = {
    "colossus": Kind(4, 200, 150, 20, 7, 24, 0.14, 1.0, armor=1, splash=1.0),
    "baneling": Kind(9, 30, 0, 20, 0.25, 1, 0.156, 0.375, splash=2.2, explodes=True),
    "marine": Kind(48, 45, 0, 6, 5, 14, 0.14, 0.375, hits_air=True),
    "marauder": Kind(51, 125, 0, 10, 6, 24, 0.14, 0.5625, armor=1),
    "medivac": Kind(54, 150, 0, 0, 4, 200, 0.156, 0.75, armor=1, flies=True, heals=True),
    "zealot": Kind(73, 100, 50, 16, 0.1, 19, 0.14, 0.5, armor=1),
    "stalker": Kind(74, 80, 80, 13, 6, 30, 0.184, 0.625, armor=1, hits_air=True),
    "spinecrawler": Kind(98, 300, 0, 25, 7, 30, 0, 1.125, armor=2),
    "zergling": Kind(105, 35, 0, 5, 0.1, 11, 0.184, 0.375),
    "hydralisk": Kind(107, 90, 0, 12, 5, 13, 0.14, 0.625, hits_air=True),
}

# The maps define their own types for player 1, in the order of the map's catalogue.
CATALOGUES = (
    ("stalker", "zealot"),
    ("colossus", "stalker", "zealot"),
    ("marauder", "marine", "medivac"),
    ("baneling", "zergling"),
)

Group = tuple[str, int, tuple[float, float]]  # kind, how many, where


class Scenario(NamedTuple):
    """One map: who stands where, and where the computer's units attack-move (None: they stay)."""

    allies: tuple[Group, ...]
    enemies: tuple[Group, ...]
    target: tuple[tuple[float, float], ...]  # one of these points at random; empty: no order
    first_type: int  # the type id of the first type in the map's catalogue


WEST, EAST = (9.0, 16.0), (23.0, 16.0)
FAR_CORNER, NEAR_CORNER = (27.91, 28.24), (4.47, 4.33)


def _army(text: str, at: tuple[float, float]) -> tuple[Group, ...]:
    """`"2 stalker 3 zealot"` as groups at one point."""
    words = text.split()
    return tuple(
        (kind, int(count), at) for count, kind in zip(words[::2], words[1::2], strict=True)
    )


_PLAIN = {  # allies at WEST, enemies at EAST who attack-move to WEST
    "3m": ("3 marine", "3 marine"),
    "8m": ("8 marine", "8 marine"),
    "25m": ("25 marine", "25 marine"),
    "5m_vs_6m": ("5 marine", "6 marine"),
    "8m_vs_9m": ("8 marine", "9 marine"),
    "10m_vs_11m": ("10 marine", "11 marine"),
    "27m_vs_30m": ("27 marine", "30 marine"),
    "MMM": ("2 marauder 7 marine 1 medivac", "2 marauder 7 marine 1 medivac"),
    "MMM2": ("2 marauder 7 marine 1 medivac", "3 marauder 8 marine 1 medivac"),
    "2s3z": ("2 stalker 3 zealot", "2 stalker 3 zealot"),
    "3s5z": ("3 stalker 5 zealot", "3 stalker 5 zealot"),
    "3s5z_vs_3s6z": ("3 stalker 5 zealot", "3 stalker 6 zealot"),
    "3s_vs_3z": ("3 stalker", "3 zealot"),
    "3s_vs_4z": ("3 stalker", "4 zealot"),
    "3s_vs_5z": ("3 stalker", "5 zealot"),
    "1c3s5z": ("1 colossus 3 stalker 5 zealot", "1 colossus 3 stalker 5 zealot"),
}


def _scenarios() -> dict[str, Scenario]:
    battles = {
        name: (_army(allies, WEST), _army(enemies, EAST), (WEST,))
        for name, (allies, enemies) in _PLAIN.items()
    }
    left, right = (13.0, 12.0), (19.0, 12.0)
    battles["2m_vs_1z"] = (
        (("marine", 1, left), ("marine", 1, right)),
        (("zealot", 1, (16.0, 19.0)),),
        (left, right),
    )
    battles["2s_vs_1sc"] = (
        (("stalker", 1, (11.12, 10.34)), ("stalker", 1, (16.98, 10.37))),
        (("spinecrawler", 1, (13.92, 20.04)),),
        (),
    )
    battles["6h_vs_8z"] = (
        (("hydralisk", 6, (14.60, 9.49)),),
        (("zealot", 8, (14.41, 16.76)),),
        ((14.60, 9.49),),
    )
    battles["corridor"] = (
        (("zealot", 6, (19.04, 19.12)),),
        (("zergling", 24, FAR_CORNER),),
        (NEAR_CORNER,),
    )
    battles["so_many_baneling"] = (
        (("zealot", 7, (11.47, 12.02)),),
        (("baneling", 32, FAR_CORNER),),
        (NEAR_CORNER,),
    )
    battles["bane_vs_bane"] = (
        (("zergling", 20, (16.0, 11.0)), ("baneling", 4, (16.0, 8.0))),
        (("zergling", 20, (16.0, 21.0)), ("baneling", 4, (16.0, 24.0))),
        ((16.0, 8.0),),
    )
    battles["2c_vs_64zg"] = (
        (("colossus", 2, (16.0, 16.0)),),
        (("zergling", 64, (16.0, 9.0)),),
        ((16.0, 16.0),),
    )
    return {
        name: Scenario(*battle, first_type=1900 + 17 * number)
        for number, (name, battle) in enumerate(battles.items())
    }


SCENARIOS = _scenarios()


def ally_type(scenario: Scenario, kind: str) -> int:
    """The type id of player 1's units of a kind on this map."""
    kinds = {name for name, _, _ in scenario.allies}
    catalogue = next((c for c in CATALOGUES if len(kinds) > 1 and kinds <= set(c)), (kind,))
    return scenario.first_type + catalogue.index(kind)


# The ground is the same on all maps. It is asymmetric in every way (transposed, mirrored, upside
# down), so that a reading of the grids with axes exchanged is a different ground.
SIZE = 32
PLAYABLE = ((1, 1), (31, 30))
_ROCKS = ((4, 20, 7, 26), (4, 12, 6, 14), (22, 3, 26, 9), (26, 14, 27, 15))  # x0, y0, x1, y1


def _walkable(x: int, y: int) -> bool:
    (x0, y0), (x1, y1) = PLAYABLE
    inside = x0 < x < x1 and y0 <= y < y1
    return inside and not any(a <= x < c and b <= y < d for a, b, c, d in _ROCKS)


WALKABLE = [[_walkable(x, y) for y in range(SIZE)] for x in range(SIZE)]  # [x][y]


def pathing_bits() -> bytes:
    """One bit a cell, the most significant bit first, a row of x for every y; 1 is walkable."""
    out = bytearray()
    for y in range(SIZE):
        for x in range(0, SIZE, 8):
            out.append(sum(WALKABLE[x + i][y] << (7 - i) for i in range(8)))
    return bytes(out)


def pathing_bytes() -> bytes:
    """As older builds send it: one byte a cell, the largest y first, 255 is blocked."""
    return bytes(0 if WALKABLE[x][y] else 255 for y in reversed(range(SIZE)) for x in range(SIZE))


def height_bytes() -> bytes:
    """Terrain height: a slope with a plateau, one byte a cell, a row of x for every y."""
    return bytes(
        90 + 3 * x + (40 if 10 <= x < 20 and y > 17 else y)
        for y in range(SIZE)
        for x in range(SIZE)
    )
