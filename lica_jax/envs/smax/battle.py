"""What a map fixes, as constants, and what changes during a battle, as arrays.

Arrays have the units first and the batch last, ``[U, B]`` with U = N allies + M enemies: on a CPU
the batch is then what SIMD instructions run over, and unit types are compile-time constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lica_jax.core import bits
from lica_jax.envs.smax.scenarios import Scenario, fewest_actions
from lica_jax.envs.smax.units import N_JAXMARL, STATS, UnitType, can_target, damage

ALLIES, ENEMIES = 0, 1
MOVES = 5  # four directions and stop; attacks follow
STOP = 4
MOVE_NAMES = ("north", "east", "south", "west", "stop")
# Actions 0 to 3 in JaxMARL: north, east, south, west.
DIRECTIONS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)], np.float32)
TICKS, DT = 8, 1 / 16  # world ticks per env step, seconds each


@struct.dataclass
class Memory:
    """What the scripted team remembers: where it heads for, and whom it attacked."""

    goal_x: Float[Array, "M B"]
    goal_y: Float[Array, "M B"]
    last_target: Int[Array, "M B"]  # in its own order of enemies; -1 for nobody


@struct.dataclass
class State:
    """A battle. Leaves are ``[U, B]`` in a batch, ``[U]`` alone."""

    x: Float[Array, "U B"]
    y: Float[Array, "U B"]
    health: Float[Array, "U B"]  # 0 is dead
    cooldown: Float[Array, "U B"]  # seconds to the next attack; a healer's energy
    move_x: Float[Array, "U B"]  # direction of the last move
    move_y: Float[Array, "U B"]
    attack: Int[Array, "U B"]  # last action if it was an attack or a heal, else 0
    kind: Int[Array, "U B"] | None  # index into `Battle.kinds` where types are random
    enemy: Memory
    step: Int[Array, " B"]
    # What the agents chose last, -1 after a reset; only where the critic's state shows it.
    last_action: Int[Array, "N B"] | None = None

    @property
    def alive(self) -> Bool[Array, "U B"]:
        return self.health > 0


class Units(NamedTuple):
    """Numbers of the units' types: constants ``[U, 1]``, or ``[U, B]`` where types are random."""

    health: Float[Array, "U B"]
    damage: Float[Array, "U B"]
    range: Float[Array, "U B"]
    cooldown: Float[Array, "U B"]
    speed: Float[Array, "U B"]
    radius: Float[Array, "U B"]
    sight: Float[Array, "U B"]
    bits: Float[Array, "U K B"]  # one-hot type


@dataclass(frozen=True)
class Battle:
    """A scenario with the numbers of a ``stats`` table; hashable, everything in it is static.

    With ``chase`` the agents walk towards targets that they do not reach, instead of standing. With
    ``quick_draws`` chance has JaxMARL's distribution, but not its bits.
    """

    scenario: Scenario
    stats: str = "jaxmarl"
    chase: bool = False
    quick_draws: bool = False

    @property
    def n(self) -> int:
        return len(self.scenario.allies)

    @property
    def m(self) -> int:
        return len(self.scenario.enemies)

    @property
    def u(self) -> int:
        return self.n + self.m

    def team(self, team: int) -> slice:
        return slice(0, self.n) if team == ALLIES else slice(self.n, self.u)

    def index(self, team: int, i: int) -> int:
        """Index among all units of unit i of a team."""
        return i if team == ALLIES else self.n + i

    def draw(
        self, key: bits.Key, count: int, low: float, high: float, *, halved: bool = False
    ) -> Float[Array, "count B"]:
        """A uniform number per unit from a key per battle, [B].

        JaxMARL gives every unit a key of its own, and its scripted players only the first half.
        """
        unit = np.arange(count)[:, None]
        if self.quick_draws:
            return bits.quick_uniform(key, unit, low, high)
        keys = bits.split(key, unit)
        return bits.uniform(bits.split(keys, 0) if halved else keys, 0, low, high)

    @cached_property
    def kinds(self) -> tuple[UnitType, ...]:
        """Types that observations distinguish: JaxMARL's six, or on other maps those present."""
        table, ids = STATS[self.stats], self.scenario.allies + self.scenario.enemies
        if max(ids) < N_JAXMARL:
            return table[:N_JAXMARL]
        return tuple(table[i] for i in sorted(set(ids)))

    @cached_property
    def types(self) -> tuple[UnitType, ...]:
        """Type of every unit. Where types are random these stand for them: none of JaxMARL's six
        heals, flies, hits an area or (with its own stats) has armour."""
        return tuple(STATS[self.stats][i] for i in self.scenario.allies + self.scenario.enemies)

    @property
    def n_actions(self) -> int:
        return self.scenario.n_actions or fewest_actions(self.scenario)

    @property
    def n_enemy_actions(self) -> int:
        return MOVES + max(self.n, self.m if self.healers(ENEMIES) else 0)

    def target_names(self, slots: int) -> tuple[tuple[str, ...], ...]:
        """What the actions with a target are called, by ally; enemies are e0, e1, ..."""
        return tuple(
            tuple(f"heal {j}" if t.heals else f"attack e{j}" for j in range(slots))
            for t in self.types[: self.n]
        )

    def healers(self, team: int) -> tuple[int, ...]:
        """Indices within the team."""
        return tuple(i for i, t in enumerate(self.types[self.team(team)]) if t.heals)

    @cached_property
    def fighter(self) -> Bool[np.ndarray, "U 1"]:
        """Who must be alive for the team not to have lost: in SMAC, anybody but healers."""
        return ~self.healer[:, None]

    @cached_property
    def healer(self) -> Bool[np.ndarray, " U"]:
        return np.array([t.heals for t in self.types])

    @cached_property
    def layer(self) -> Int[np.ndarray, " U"]:
        """Units collide within a layer only: ground, cliff walkers, air."""
        return np.array([2 if t.flying else 1 if t.cliff_walk else 0 for t in self.types])

    @cached_property
    def damage(self) -> Float[np.ndarray, "U U"]:
        """Health that one attack of i takes from k."""
        return np.array([[damage(a, b) for b in self.types] for a in self.types], np.float32)

    @property
    def blasts(self) -> bool:
        return any(t.blast for t in self.types)

    @property
    def spread(self) -> bool:
        """Whether anybody's attacks hit an area."""
        return self.blasts or any(t.line for t in self.types)

    @property
    def uniform_damage(self) -> bool:
        """Whether damage depends on the attacker only, and hits one target."""
        same = all(t.bonus == 0 and t.armour == 0 for t in self.types)
        return same and not self.spread

    @cached_property
    def single_damage(self) -> Float[np.ndarray, "U U"]:
        """`damage` of those whose attacks hit their target only."""
        single = [t.line is None and t.blast == 0 for t in self.types]
        return self.damage * np.array(single, np.float32)[:, None]

    @cached_property
    def can_target(self) -> Bool[np.ndarray, "U U"]:
        return np.array([[can_target(a, b) for b in self.types] for a in self.types])

    @cached_property
    def walker(self) -> Bool[np.ndarray, "U 1"]:
        """Whom obstacles stop."""
        return np.array([[not (t.flying or t.cliff_walk)] for t in self.types])

    @property
    def obs_size(self) -> int:
        k = len(self.kinds)
        return (7 + k) * (self.u - 1) + 4 + k

    @property
    def state_size(self) -> int:
        return self.u * (5 + (len(self.kinds) if self.scenario.random else 0))

    def units(self, kind: Int[Array, "U B"] | None) -> Units:
        """The units' numbers; ``kind`` where types are random."""
        names = Units._fields[:-1]
        if kind is None:
            rows = [[getattr(t, name) for t in self.types] for name in names]
            columns = [np.array(row, np.float32)[:, None] for row in rows]
            bits = np.array([[t == k for k in self.kinds] for t in self.types], np.float32)
            return Units(*columns, bits[..., None])
        table = [[getattr(k, name) for k in self.kinds] for name in names]
        present = [kind == i for i in range(len(self.kinds))]
        # Selects instead of a gather, which would be a loop over single numbers.
        columns = [
            sum(jnp.where(is_k, np.float32(v), 0) for is_k, v in zip(present, row, strict=True))
            for row in table
        ]
        return Units(*columns, jnp.stack(present, axis=1).astype(jnp.float32))


def any_unit(x: Bool[Array, "K B"]) -> Bool[Array, " B"]:
    """Logical or over the units; a chain of operations on whole rows."""
    out = x[0]
    for row in x[1:]:
        out = out | row
    return out


def outcome(battle: Battle, alive: Bool[Array, "U B"]) -> tuple[Bool[Array, " B"], ...]:
    """``(won, over)``: the enemies are beaten and the allies are not; either is beaten."""
    alive = alive & battle.fighter
    allies, enemies = (any_unit(alive[battle.team(t)]) for t in (ALLIES, ENEMIES))
    return allies & ~enemies, ~allies | ~enemies
