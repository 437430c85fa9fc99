"""Unit types: numbers only.

The first six are JaxMARL 0.2.0's with JaxMARL's numbers (shields folded into health, ranges from
centre to centre, seconds of game speed "faster", some of them of speed "normal"). ``SC2`` replaces
what StarCraft II 4.10 has differently and adds bonus damage and armour. The others have the 4.10
numbers in both (Liquipedia's unit pages).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

MELEE = 2.0  # SMAX's reach of units that touch their target


@dataclass(frozen=True)
class UnitType:
    """One type.

    Attributes:
      health: hit points and shield.
      damage: of one attack against a unit without armour; of ``hits`` blows together.
      range, sight: from centre to centre.
      cooldown: seconds between attacks.
      speed: per second.
      radius: of the body.
      bonus, against: more damage to units with that attribute.
      hits: blows per attack; armour is subtracted from each.
      attributes: of "light", "armoured", "biological", "flying".
      hits_air: may attack flying units.
      cliff_walk: walks over obstacles and over smaller units.
      heals: has no attack; heals biological team-mates on the ground within ``range``.
      line: (along, across) of the rectangle hit around the target, across the shot; or None.
      blast: radius around itself within which it hits everything, dying of it; 0 for none.
    """

    name: str
    health: float
    damage: float
    range: float
    cooldown: float
    speed: float
    radius: float
    sight: float
    attributes: frozenset[str] = frozenset()
    bonus: float = 0.0
    against: str = "light"
    hits: int = 1
    armour: float = 0.0
    hits_air: bool = False
    cliff_walk: bool = False
    heals: bool = False
    line: tuple[float, float] | None = None
    blast: float = 0.0

    @property
    def flying(self) -> bool:
        return "flying" in self.attributes

    @property
    def healable(self) -> bool:
        return "biological" in self.attributes and not self.flying


def damage(attacker: UnitType, target: UnitType) -> float:
    """Health that one attack takes: at least half a point per blow."""
    bonus = attacker.bonus if attacker.against in target.attributes else 0.0
    if attacker.damage == 0:
        return 0.0
    blow = (attacker.damage + bonus) / attacker.hits - target.armour
    return attacker.hits * max(blow, 0.5)


def can_target(attacker: UnitType, target: UnitType) -> bool:
    return not target.flying or attacker.hits_air


def _attributes(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LIGHT = _attributes("light biological")
# name, health, damage, range, cooldown, speed, radius, sight, attributes
JAXMARL: tuple[UnitType, ...] = (
    UnitType("marine", 45, 9, 5, 0.61, 3.15, 0.375, 9, _LIGHT, hits_air=True),
    UnitType("marauder", 125, 10, 6, 1.07, 2.25, 0.5625, 10, _attributes("armoured biological")),
    UnitType("stalker", 160, 13, 6, 1.87, 4.13, 0.625, 10, _attributes("armoured"), hits_air=True),
    UnitType("zealot", 150, 8, MELEE, 0.86, 3.15, 0.5, 9, _LIGHT),
    UnitType("zergling", 35, 5, MELEE, 0.5, 4.13, 0.375, 8, _LIGHT),
    UnitType("hydralisk", 80, 12, 5, 0.59, 3.15, 0.625, 9, _LIGHT, hits_air=True),
    UnitType(
        "colossus", 350, 20, 7, 1.07, 3.15, 1.0, 10, _attributes("armoured"),
        bonus=10, hits=2, cliff_walk=True, line=(0.3, 2.8),
    ),
    # Its range is of healing; its cooldown stands for 200 points of energy (`fight.py`).
    UnitType(
        "medivac", 150, 0, 4, 200.0, 3.5, 0.75, 11, _attributes("armoured flying"), heals=True
    ),
    UnitType(
        "baneling", 30, 20, MELEE, 1.0, 3.5, 0.375, 8, _attributes("biological"), bonus=15,
        blast=2.2,
    ),
    UnitType(
        "spine_crawler", 300, 25, 7, 1.32, 0.0, 0.9, 11, _attributes("armoured biological"),
        bonus=5, against="armoured",
    ),
)  # fmt: skip
(
    MARINE, MARAUDER, STALKER, ZEALOT, ZERGLING, HYDRALISK,
    COLOSSUS, MEDIVAC, BANELING, SPINE_CRAWLER,
) = range(len(JAXMARL))  # fmt: skip
N_JAXMARL = 6  # types that JaxMARL has

_SC2_CHANGES = {
    MARINE: {"damage": 6},
    MARAUDER: {"speed": 3.15, "bonus": 10, "against": "armoured", "armour": 1},
    STALKER: {"cooldown": 1.34, "bonus": 5, "against": "armoured", "armour": 1},
    ZEALOT: {"damage": 16, "hits": 2, "armour": 1},
    ZERGLING: {"cooldown": 0.497},
    HYDRALISK: {"health": 90},
    COLOSSUS: {"armour": 1},
    MEDIVAC: {"armour": 1},
    SPINE_CRAWLER: {"armour": 2},
}
SC2 = tuple(replace(t, **_SC2_CHANGES.get(i, {})) for i, t in enumerate(JAXMARL))
STATS = {"jaxmarl": JAXMARL, "sc2": SC2}
