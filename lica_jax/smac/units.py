"""Units as arrays, and what SMAC knows about their kinds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lica_jax.smac.maps import MapFacts

# The maps define allied unit types of their own, numbered in this order from an id that differs
# between versions of the game. Enemies are the game's stock types.
ALLY_KINDS: dict[str, tuple[str, ...]] = {
    "marines": ("marine",),
    "stalkers_and_zealots": ("stalker", "zealot"),
    "colossi_stalkers_zealots": ("colossus", "stalker", "zealot"),
    "MMM": ("marauder", "marine", "medivac"),
    "zealots": ("zealot",),
    "hydralisks": ("hydralisk",),
    "stalkers": ("stalker",),
    "colossus": ("colossus",),
    "bane": ("baneling", "zergling"),
}
STOCK = {"colossus": 4, "baneling": 9, "marine": 48, "marauder": 51, "medivac": 54}
STOCK |= {"zealot": 73, "stalker": 74}
MAX_SHIELD = {"stalker": 80.0, "zealot": 50.0, "colossus": 150.0}
MAX_COOLDOWN = {  # a medivac has no weapon: its energy stands there
    "marine": 15.0,
    "marauder": 25.0,
    "medivac": 200.0,
    "stalker": 35.0,
    "zealot": 22.0,
    "colossus": 24.0,
    "hydralisk": 10.0,
    "zergling": 11.0,
    "baneling": 1.0,
}
OTHER_COOLDOWN = 15.0
# One-hot order of enemies where there are several types; the last one takes every type not named.
# On maps of stalkers and zealots the order is the opposite of the allies', as in SMAC.
_ENEMY_ORDER = {
    "colossi_stalkers_zealots": ("colossus", "stalker", "zealot"),
    "bane": ("baneling", "zergling"),
    "MMM": ("marauder", "marine", "medivac"),
}


class UnknownUnits(ValueError):
    """Units of types that SMAC has no place for on a map."""


class Side(NamedTuple):
    """One side's units in slot order: float64 [n] each. A dead unit has health 0 and keeps the
    rest as last seen. `types` are the game's unit type ids."""

    health: np.ndarray
    health_max: np.ndarray
    shield: np.ndarray
    shield_max: np.ndarray
    x: np.ndarray
    y: np.ndarray
    cooldown: np.ndarray
    energy: np.ndarray
    types: tuple[int, ...]

    @property
    def alive(self) -> np.ndarray:
        """bool [n]."""
        return self.health > 0


class Roster(NamedTuple):
    """What follows from the units' types, `b` type bits.

    Attributes:
      ally_onehot: float64 [A, b].
      enemy_onehot: float64 [E, b].
      ally_shield: largest shield, float64 [A]; 1 where the race has none.
      enemy_shield: the same, float64 [E].
      ally_cooldown: largest weapon cooldown, float64 [A]; a medivac's largest energy.
      healer: bool [A], the medivacs.
      enemy_medivac: bool [E].
    """

    ally_onehot: np.ndarray
    enemy_onehot: np.ndarray
    ally_shield: np.ndarray
    enemy_shield: np.ndarray
    ally_cooldown: np.ndarray
    healer: np.ndarray
    enemy_medivac: np.ndarray


def roster(
    facts: MapFacts, ally_types: tuple[int, ...], enemy_types: tuple[int, ...], first: int
) -> Roster:
    """The roster of these unit types; `first` is the lowest allied type id of the map.

    Raises UnknownUnits for a type that SMAC has no place for on this map.
    """
    own = {first + place: kind for place, kind in enumerate(ALLY_KINDS[facts.map_type])}
    kinds = own | {number: kind for kind, number in STOCK.items()}
    healer = [own.get(number) == "medivac" for number in ally_types]
    return Roster(
        ally_onehot=_onehot(facts.type_bits, [number - first for number in ally_types]),
        enemy_onehot=_onehot(facts.type_bits, _enemy_places(facts, enemy_types)),
        ally_shield=_shields(facts.ally_shield, ally_types, kinds),
        enemy_shield=_shields(facts.enemy_shield, enemy_types, kinds),
        ally_cooldown=np.array(
            [MAX_COOLDOWN.get(own.get(n, ""), OTHER_COOLDOWN) for n in ally_types]
        ),
        healer=np.array(healer, bool),
        enemy_medivac=np.array([number == STOCK["medivac"] for number in enemy_types], bool),
    )


def _enemy_places(facts: MapFacts, types: tuple[int, ...]) -> list[int]:
    """Places of the enemies' types in their one-hot."""
    if facts.map_type == "stalkers_and_zealots":
        return [number - STOCK["zealot"] for number in types]
    order = _ENEMY_ORDER.get(facts.map_type, ("any",))
    named = {STOCK[kind]: place for place, kind in enumerate(order[:-1])}
    return [named.get(number, len(order) - 1) for number in types]


def _onehot(bits: int, places: list[int]) -> np.ndarray:
    if bits and not all(0 <= place < bits for place in places):
        raise UnknownUnits(f"unit types at places {sorted(set(places))}; the map has {bits} types")
    found = np.zeros((len(places), bits))
    if bits:
        found[np.arange(len(places)), places] = 1
    return found


def _shields(shielded: int, types: tuple[int, ...], kinds: dict[int, str]) -> np.ndarray:
    if not shielded:
        return np.ones(len(types))
    unknown = sorted({number for number in types if kinds.get(number) not in MAX_SHIELD})
    if unknown:
        raise UnknownUnits(f"unit types {unknown} where Protoss units are expected")
    return np.array([MAX_SHIELD[kinds[number]] for number in types])
