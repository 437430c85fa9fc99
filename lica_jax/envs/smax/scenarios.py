"""SMAX maps: who fights whom, and for how long. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

MARINE, MARAUDER, STALKER, ZEALOT, ZERGLING, HYDRALISK = range(6)


@dataclass(frozen=True)
class Scenario:
    """A map.

    Attributes:
      allies: unit type ids of the agents.
      enemies: unit type ids of the scripted team.
      limit: exact number of env steps after which an episode is truncated; SMAC's own limit where
        SMAC has the map.
      random: SMACv2's random start positions and unit types (the type ids are then ignored).
      source: ``"jaxmarl"`` for its scenarios, ``"lica_jax"`` for ours.
    """

    allies: tuple[int, ...]
    enemies: tuple[int, ...]
    limit: int
    random: bool = False
    source: str = "jaxmarl"


def _marines(n: int, n_enemies: int, limit: int, **kwargs) -> Scenario:
    return Scenario((MARINE,) * n, (MARINE,) * n_enemies, limit, **kwargs)


def _protoss(stalkers: int, zealots: int) -> tuple[int, ...]:
    return (STALKER,) * stalkers + (ZEALOT,) * zealots


SCENARIOS: dict[str, Scenario] = {
    "3m": _marines(3, 3, 60),
    "8m": _marines(8, 8, 120),
    "25m": _marines(25, 25, 150),
    "5m_vs_6m": _marines(5, 6, 70),
    "10m_vs_11m": _marines(10, 11, 150),
    "27m_vs_30m": _marines(27, 30, 180),
    "2s3z": Scenario(_protoss(2, 3), _protoss(2, 3), 120),
    "3s5z": Scenario(_protoss(3, 5), _protoss(3, 5), 150),
    "3s5z_vs_3s6z": Scenario(_protoss(3, 5), _protoss(3, 6), 170),
    "3s_vs_5z": Scenario(_protoss(3, 0), _protoss(0, 5), 250),
    "6h_vs_8z": Scenario((HYDRALISK,) * 6, _protoss(0, 8), 150),
    # JaxMARL gives these its default limit of 100, which is SMACv2's too.
    "smacv2_5_units": _marines(5, 5, 100, random=True),
    "smacv2_10_units": _marines(10, 10, 100, random=True),
    "smacv2_20_units": _marines(20, 20, 100, random=True),
    # Ours: one marine more than the enemy. Easy enough to be solved in seconds, for tests.
    "4m_vs_3m": _marines(4, 3, 60, source="lica_jax"),
}
