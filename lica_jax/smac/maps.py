"""The 23 maps of SMAC: who fights whom, and for how long. Data only, needs no game."""

from __future__ import annotations

from dataclasses import dataclass

from lica_jax.errors import unknown


@dataclass(frozen=True)
class MapFacts:
    """What SMAC fixes for a map.

    Attributes:
      n_agents: allied units, one agent each.
      n_enemies: units of the built-in AI.
      limit: env steps until an episode is cut off.
      ally_race: "T", "P" or "Z"; only Protoss units have shields.
      enemy_race: the same for the built-in AI.
      type_bits: length of the one-hot of the unit's type; 0 where every unit is of one type.
      map_type: SMAC's name for the mix of allied units; `units.ALLY_KINDS` says which they are.
    """

    n_agents: int
    n_enemies: int
    limit: int
    ally_race: str
    enemy_race: str
    type_bits: int
    map_type: str

    @property
    def ally_shield(self) -> int:
        """1 where the allies have shields, else 0: the length of that feature."""
        return int(self.ally_race == "P")

    @property
    def enemy_shield(self) -> int:
        """1 where the enemies have shields, else 0: the length of that feature."""
        return int(self.enemy_race == "P")


MAPS: dict[str, MapFacts] = {
    "3m": MapFacts(3, 3, 60, "T", "T", 0, "marines"),
    "8m": MapFacts(8, 8, 120, "T", "T", 0, "marines"),
    "25m": MapFacts(25, 25, 150, "T", "T", 0, "marines"),
    "5m_vs_6m": MapFacts(5, 6, 70, "T", "T", 0, "marines"),
    "8m_vs_9m": MapFacts(8, 9, 120, "T", "T", 0, "marines"),
    "10m_vs_11m": MapFacts(10, 11, 150, "T", "T", 0, "marines"),
    "27m_vs_30m": MapFacts(27, 30, 180, "T", "T", 0, "marines"),
    "MMM": MapFacts(10, 10, 150, "T", "T", 3, "MMM"),
    "MMM2": MapFacts(10, 12, 180, "T", "T", 3, "MMM"),
    "2s3z": MapFacts(5, 5, 120, "P", "P", 2, "stalkers_and_zealots"),
    "3s5z": MapFacts(8, 8, 150, "P", "P", 2, "stalkers_and_zealots"),
    "3s5z_vs_3s6z": MapFacts(8, 9, 170, "P", "P", 2, "stalkers_and_zealots"),
    "3s_vs_3z": MapFacts(3, 3, 150, "P", "P", 0, "stalkers"),
    "3s_vs_4z": MapFacts(3, 4, 200, "P", "P", 0, "stalkers"),
    "3s_vs_5z": MapFacts(3, 5, 250, "P", "P", 0, "stalkers"),
    "1c3s5z": MapFacts(9, 9, 180, "P", "P", 3, "colossi_stalkers_zealots"),
    "2m_vs_1z": MapFacts(2, 1, 150, "T", "P", 0, "marines"),
    "corridor": MapFacts(6, 24, 400, "P", "Z", 0, "zealots"),
    "6h_vs_8z": MapFacts(6, 8, 150, "Z", "P", 0, "hydralisks"),
    "2s_vs_1sc": MapFacts(2, 1, 300, "P", "Z", 0, "stalkers"),
    "so_many_baneling": MapFacts(7, 32, 100, "P", "Z", 0, "zealots"),
    "bane_vs_bane": MapFacts(24, 24, 200, "Z", "Z", 2, "bane"),
    "2c_vs_64zg": MapFacts(2, 64, 400, "P", "Z", 0, "colossus"),
}


def map_facts(name: str) -> MapFacts:
    """The facts of a map; UserError with the nearest names for one that SMAC does not have."""
    if name not in MAPS:
        raise unknown("SMAC map", name, MAPS)
    return MAPS[name]
