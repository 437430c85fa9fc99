"""SMAX maps: who fights whom, where, and for how long. Pure data."""

from __future__ import annotations

import operator
from dataclasses import dataclass

from lica_jax.envs.smax.units import (
    BANELING,
    COLOSSUS,
    HYDRALISK,
    JAXMARL,
    MARAUDER,
    MARINE,
    MEDIVAC,
    N_JAXMARL,
    SPINE_CRAWLER,
    STALKER,
    ZEALOT,
    ZERGLING,
)
from lica_jax.errors import UserError

SIZE = 32.0  # width and height of every map
SPAWNS = ((SIZE / 4, SIZE / 2), (SIZE * 3 / 4, SIZE / 2))  # allies, enemies
SOURCES = ("jaxmarl", "extended", "own")
Box = tuple[float, float, float, float]  # x0, y0, x1, y1


@dataclass(frozen=True)
class Scenario:
    """A map.

    Attributes:
      allies: unit type ids of the agents (`units.py`).
      enemies: unit type ids of the scripted team.
      limit: exact number of env steps after which an episode is truncated; SMAC's own limit where
        SMAC has the map.
      random: SMACv2's random start positions and unit types (the type ids are then ignored).
      source: ``"jaxmarl"`` for its scenarios, ``"extended"`` for SMAC's maps that it does not have,
        ``"own"`` for ours and yours.
      obstacles: boxes that only flying and cliff-walking units cross; sight and fire do.
      deadly_walls: whether the map's edge kills, as in JaxMARL, instead of stopping.
      n_actions: size of the agents' action set where more than the map needs is wanted.
    """

    allies: tuple[int, ...]
    enemies: tuple[int, ...]
    limit: int
    random: bool = False
    source: str = "own"
    obstacles: tuple[Box, ...] = ()
    deadly_walls: bool = True
    n_actions: int | None = None

    def __post_init__(self):
        # Lists and arrays of numbers are what people have at hand.
        try:
            for name in ("allies", "enemies"):
                ids = tuple(operator.index(t) for t in getattr(self, name))
                object.__setattr__(self, name, ids)
            object.__setattr__(self, "limit", operator.index(self.limit))
            if self.n_actions is not None:
                object.__setattr__(self, "n_actions", operator.index(self.n_actions))
            boxes = tuple(tuple(map(float, box)) for box in self.obstacles)
            object.__setattr__(self, "obstacles", boxes)
        except (TypeError, ValueError) as error:
            raise UserError(f"a scenario takes unit type ids, a limit and boxes: {error}") from None

    @property
    def plain(self) -> bool:
        """Whether nothing in it is unknown to JaxMARL's simulation, which ours then equals."""
        known = max(self.allies + self.enemies) < N_JAXMARL
        return known and not self.obstacles and self.deadly_walls and not self.grid

    @property
    def on_jaxmarl(self) -> bool:
        """Whether JaxMARL's own simulation can play it."""
        return self.plain and self.n_actions is None

    @property
    def grid(self) -> bool:
        """Whether large teams start on a grid: the base noise would put them into each other."""
        fixed = self.source != "jaxmarl" and not self.random
        return fixed and max(len(self.allies), len(self.enemies)) > 20


def fewest_actions(scenario: Scenario) -> int:
    """Size of the agents' action set: four moves, stop, and a slot per target."""
    healer = any(JAXMARL[t].heals for t in scenario.allies)
    return 5 + max(len(scenario.enemies), len(scenario.allies) if healer else 0)


def check_scenario(name: str, s: Scenario) -> None:
    """Raises ``UserError`` when a scenario makes no sense."""
    if s.source not in SOURCES:
        raise UserError(f"smax/{name}: source must be one of {SOURCES}, got {s.source!r}")
    for team, units in (("allies", s.allies), ("enemies", s.enemies)):
        if not units:
            raise UserError(f"smax/{name}: there are no {team}")
        for t in units:
            if t not in range(len(JAXMARL)):
                raise UserError(f"smax/{name}: {team} have unit type {t}; ids are below 10")
        if all(JAXMARL[t].heals for t in units):
            raise UserError(f"smax/{name}: the {team} are all healers; nobody can fight")
    if s.limit < 1:
        raise UserError(f"smax/{name}: limit must be at least 1 step, got {s.limit}")
    if s.n_actions is not None and s.n_actions < fewest_actions(s):
        raise UserError(
            f"smax/{name}: {len(s.allies)} allies against {len(s.enemies)} enemies need at least "
            f"{fewest_actions(s)} actions, got {s.n_actions}"
        )
    if s.random and any(t >= N_JAXMARL for t in s.allies + s.enemies):
        raise UserError(f"smax/{name}: random units are drawn from JaxMARL's six types")
    if s.random and s.obstacles:
        raise UserError(f"smax/{name}: random start positions know nothing of obstacles")
    for box in s.obstacles:
        if len(box) != 4:
            raise UserError(f"smax/{name}: obstacle {box} is not a box x0, y0, x1, y1")
        x0, y0, x1, y1 = box
        if not (0 <= x0 < x1 <= SIZE and 0 <= y0 < y1 <= SIZE):
            raise UserError(
                f"smax/{name}: obstacle {box} is not a box x0 < x1, y0 < y1 inside the map "
                f"[0, {SIZE:.0f}]^2"
            )
        for x, y in SPAWNS:
            if x0 - 5 < x < x1 + 5 and y0 - 5 < y < y1 + 5:
                raise UserError(f"smax/{name}: obstacle {box} is within 5 of a team's start")


def _jaxmarl(allies: tuple[int, ...], enemies: tuple[int, ...], limit: int, **kwargs) -> Scenario:
    return Scenario(allies, enemies, limit, source="jaxmarl", **kwargs)


def _marines(n: int, n_enemies: int, limit: int, **kwargs) -> Scenario:
    return _jaxmarl((MARINE,) * n, (MARINE,) * n_enemies, limit, **kwargs)


def _protoss(stalkers: int, zealots: int) -> tuple[int, ...]:
    return (STALKER,) * stalkers + (ZEALOT,) * zealots


def _terran(medivacs: int, marauders: int, marines: int) -> tuple[int, ...]:
    return (MEDIVAC,) * medivacs + (MARAUDER,) * marauders + (MARINE,) * marines


def _extended(allies: tuple[int, ...], enemies: tuple[int, ...], limit: int, **kwargs) -> Scenario:
    return Scenario(allies, enemies, limit, source="extended", **kwargs)


SCENARIOS: dict[str, Scenario] = {
    "3m": _marines(3, 3, 60),
    "8m": _marines(8, 8, 120),
    "25m": _marines(25, 25, 150),
    "5m_vs_6m": _marines(5, 6, 70),
    "10m_vs_11m": _marines(10, 11, 150),
    "27m_vs_30m": _marines(27, 30, 180),
    "2s3z": _jaxmarl(_protoss(2, 3), _protoss(2, 3), 120),
    "3s5z": _jaxmarl(_protoss(3, 5), _protoss(3, 5), 150),
    "3s5z_vs_3s6z": _jaxmarl(_protoss(3, 5), _protoss(3, 6), 170),
    "3s_vs_5z": _jaxmarl(_protoss(3, 0), _protoss(0, 5), 250),
    "6h_vs_8z": _jaxmarl((HYDRALISK,) * 6, _protoss(0, 8), 150),
    # JaxMARL gives these its default limit of 100, which is SMACv2's too.
    "smacv2_5_units": _marines(5, 5, 100, random=True),
    "smacv2_10_units": _marines(10, 10, 100, random=True),
    "smacv2_20_units": _marines(20, 20, 100, random=True),
    # SMAC's other maps.
    "8m_vs_9m": _extended((MARINE,) * 8, (MARINE,) * 9, 120),
    "MMM": _extended(_terran(1, 2, 7), _terran(1, 2, 7), 150),
    "MMM2": _extended(_terran(1, 2, 7), _terran(1, 3, 8), 180),
    "1c3s5z": _extended((COLOSSUS, *_protoss(3, 5)), (COLOSSUS, *_protoss(3, 5)), 180),
    "3s_vs_3z": _extended(_protoss(3, 0), _protoss(0, 3), 150),
    "3s_vs_4z": _extended(_protoss(3, 0), _protoss(0, 4), 200),
    "2m_vs_1z": _extended((MARINE,) * 2, (ZEALOT,), 150),
    "2s_vs_1sc": _extended((STALKER,) * 2, (SPINE_CRAWLER,), 300),
    "so_many_baneling": _extended(_protoss(0, 7), (BANELING,) * 32, 100),
    "bane_vs_bane": _extended(
        (BANELING,) * 4 + (ZERGLING,) * 20, (BANELING,) * 4 + (ZERGLING,) * 20, 200
    ),
    # A choke in the middle, four units of length wide.
    "corridor": _extended(
        _protoss(0, 6), (ZERGLING,) * 24, 400,
        obstacles=((15.5, 0.0, 16.5, 14.0), (15.5, 18.0, 16.5, 32.0)), deadly_walls=False,
    ),
    # A cliff between the teams, which Colossi cross and Zerglings run round.
    "2c_vs_64zg": _extended(
        (COLOSSUS,) * 2, (ZERGLING,) * 64, 400,
        obstacles=((15.5, 4.0, 16.5, 28.0),), deadly_walls=False,
    ),
    # Ours: one marine more than the enemy. Easy enough to be solved in seconds, for tests.
    "4m_vs_3m": Scenario((MARINE,) * 4, (MARINE,) * 3, 60),
}  # fmt: skip


def register_scenario(name: str, scenario: Scenario) -> None:
    """Adds a map of your own: ``make_task(f"smax/{name}")`` plays it from then on.

    Raises:
      UserError: the name is taken or cannot be a task's, or the scenario makes no sense.
    """
    if name in SCENARIOS and SCENARIOS[name] != scenario:
        raise UserError(f"smax/{name} exists already")
    if not name or any(c in name for c in "/:,= "):
        raise UserError(f"{name!r} cannot be the name of a map")
    check_scenario(name, scenario)
    SCENARIOS[name] = scenario
