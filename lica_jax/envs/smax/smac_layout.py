"""SMAX tasks with SMAC's actions, observations and states, so that one policy plays both games.

Sizes, orders and meanings are those of the real map with SMAC's default options
(`lica_jax/smac/layout.py`, whose numbers these are to float32 rounding); the battle stays
SMAX's, except that

* an attack (or a heal), offered within 6 whatever the weapon, walks towards a target that the unit
  does not reach itself, as the order does in StarCraft II;
* the map's edge stops instead of killing: agents do not see where they are;
* units are in SMAC's order: agents by type, then x, then y where the battle begins; enemies in the
  order in which the map makes them.

Differences that remain are listed in docs/environments/smax.md.
"""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lica_jax.core.barriers import held
from lica_jax.envs.smax.battle import (
    ALLIES,
    DIRECTIONS,
    MOVE_NAMES,
    MOVES,
    STOP,
    Battle,
    State,
    Units,
)
from lica_jax.envs.smax.native import Smax
from lica_jax.envs.smax.scenarios import SIZE, Scenario
from lica_jax.envs.smax.units import JAXMARL
from lica_jax.errors import UserError
from lica_jax.smac import layout
from lica_jax.smac.layout import FIRST_TARGET, SHOOT, SIGHT
from lica_jax.smac.maps import MAPS, MapFacts
from lica_jax.smac.options import Options
from lica_jax.smac.units import ALLY_KINDS, STOCK, roster

SMAC_STOP = 1
# SMAC's moves 2 to 5 are north, south, east, west; of our `DIRECTIONS` these are
SMAC_MOVES = (0, 2, 1, 3)
LOOK = 1.0  # a move is available where the map goes on this far: half of SMAC's way of 2
FIRST_TYPE = 1  # the maps' own types are numbered from here, below the game's
# Enemies of several types, in the order in which SMAC's maps make them.
_MADE = {"MMM": ("marine", "marauder", "medivac"), "bane": ("zergling", "baneling")}


def facts_of(name: str, scenario: Scenario) -> MapFacts:
    """The map of SMAC with that name; UserError where SMAC has none."""
    if scenario.random:
        raise UserError(
            f"smax/{name}: layout=smac is that of SMAC's maps; this one has SMACv2's random units, "
            "leave it out"
        )
    if name not in MAPS:
        raise UserError(
            f"smax/{name}: SMAC has no map of that name; leave out layout=smac or use one of "
            f"{', '.join(MAPS)}"
        )
    return MAPS[name]


def as_in_smac(scenario: Scenario, facts: MapFacts) -> Scenario:
    """The scenario with its units in SMAC's order and an edge that only stops."""
    kinds = ALLY_KINDS[facts.map_type]
    made = _MADE.get(facts.map_type, kinds)
    return dataclasses.replace(
        scenario,
        allies=_in_order(scenario.allies, kinds),
        enemies=_in_order(scenario.enemies, made),
        deadly_walls=False,
    )


def _in_order(ids: tuple[int, ...], kinds: tuple[str, ...]) -> tuple[int, ...]:
    """Of one type as they are, else by the place of their type's name."""
    return ids if len(set(ids)) == 1 else tuple(sorted(ids, key=lambda i: kinds.index(_name(i))))


def _name(i: int) -> str:
    return JAXMARL[i].name


class SmacLayout:
    """What agents see and may do on one map, in SMAC's layout; everything in it is static.

    Args:
      battle: the map as SMAX plays it.
      facts: the map as SMAC has it.
    """

    def __init__(self, battle: Battle, facts: MapFacts):
        self.battle, self.facts = battle, facts
        self.n_actions = layout.n_actions(facts)
        self.obs_size = layout.obs_size(facts, Options())
        self.state_size = layout.state_size(facts, Options())
        names, own = [t.name for t in battle.types], ALLY_KINDS[facts.map_type]
        units = roster(
            facts,
            tuple(FIRST_TYPE + own.index(name) for name in names[: battle.n]),
            tuple(STOCK.get(name, 0) for name in names[battle.n :]),
            FIRST_TYPE,
        )
        self._bits = np.concatenate([units.ally_onehot, units.enemy_onehot]).astype(np.float32)
        # 0 for races without shields, whom the roster gives 1 to divide by.
        shield = [facts.ally_shield * units.ally_shield, facts.enemy_shield * units.enemy_shield]
        self._shield = np.concatenate(shield).astype(np.float32)[:, None]

    def decode(self, action: Int[Array, "*B N"]) -> Int[Array, "*B N"]:
        """SMAC's actions as the simulation's. No-op is stop."""
        order = jnp.where(action >= FIRST_TARGET, action - (FIRST_TARGET - MOVES), STOP)
        for k, move in enumerate(SMAC_MOVES, start=SMAC_STOP + 1):
            order = jnp.where(action == k, move, order)
        return order

    def observe(
        self, units: Units, state: State
    ) -> tuple[Float[Array, "B N O"], Bool[Array, "B N A"]]:
        """Observations and available actions, batch first."""
        n, alive, vitals = self.battle.n, state.alive, self._vitals(units, state)
        dx, dy = (v[None] - v[:n, None] for v in (state.x, state.y))  # [N, U, B]
        distance = jnp.sqrt(dx * dx + dy * dy)
        both = alive[:n, None] & alive
        dx, dy, distance, both, *vitals = held((dx, dy, distance, both, *vitals))
        targets = self._targets(both & (distance <= SHOOT))
        moves = self._moves(state)
        seen = both & (distance < SIGHT)
        obs = self._observation(moves, targets, (distance, dx, dy), seen, vitals)
        own = alive[:n, None]
        avail = jnp.concatenate([~own, own, moves, targets], axis=1)
        return obs, jnp.moveaxis(avail, -1, 0)

    def _vitals(self, units, state):
        """Shares of health and shield, [U, B], 0 for the dead; damage goes to the shield first."""
        most = units.health - self._shield
        health, shield = jnp.minimum(state.health, most), jnp.maximum(state.health - most, 0)
        return health / most, shield / np.maximum(self._shield, 1)

    def _moves(self, state: State) -> Bool[Array, "N 4 B"]:
        """Who may go north, south, east and west: where the map goes on, and for walkers where no
        obstacle is."""
        battle = self.battle
        x, y = state.x[: battle.n], state.y[: battle.n]
        found = []
        for move in SMAC_MOVES:
            px, py = x + LOOK * DIRECTIONS[move][0], y + LOOK * DIRECTIONS[move][1]
            # SMAC cuts coordinates off towards zero, so that the map seems to begin at -1.
            free = (px > -1) & (px < SIZE) & (py > -1) & (py < SIZE)
            for x0, y0, x1, y1 in battle.scenario.obstacles:
                inside = (x0 < px) & (px < x1) & (y0 < py) & (py < y1)
                free = free & ~(inside & battle.walker[: battle.n])
            found.append(free & state.alive[: battle.n])
        return jnp.stack(found, axis=1)

    def _targets(self, near: Bool[Array, "N U B"]) -> Bool[Array, "N M B"]:
        """Whom agents may attack, or heal: a healer's slots are agents, who need not be hurt."""
        n, m = self.battle.n, self.battle.m
        targets = near[:, n:]
        patient = self.battle.fighter[:n]
        for i in self.battle.healers(ALLIES):
            none = jnp.zeros((m - n, near.shape[-1]), bool)
            targets = targets.at[i].set(jnp.concatenate([near[i, :n] & patient, none]))
        return targets

    def _observation(self, moves, targets, place, seen, vitals) -> Float[Array, "B N O"]:
        n, facts = self.battle.n, self.facts
        # Other agents: those before an agent, and those behind it moved up by one.
        before = (np.arange(n - 1) < np.arange(n)[:, None])[..., None]

        def others(v):
            """``[N, N, ...]`` or ``[1, N, ...]`` as ``[N, N-1, ...]``: without the agent itself."""
            return jnp.where(before, v[:, :-1], v[:, 1:])

        place = [v / np.float32(SIGHT) for v in place]
        enemies = [targets, *(v[:, n:] for v in place), *(v[None, n:] for v in vitals)]
        allies = [
            np.ones((1, n, 1), bool),
            *(v[:, :n] for v in place),
            *(v[None, :n] for v in vitals),
        ]
        bits = self._bits[None]
        enemy_rows = _rows(enemies[: 5 + facts.enemy_shield], seen[:, n:], bits[:, n:])
        ally_rows = _rows(
            [others(v) for v in allies[: 5 + facts.ally_shield]],
            others(seen[:, :n]),
            others(bits[:, :n]),
        )
        own = [v[:n, None] for v in vitals[: 1 + facts.ally_shield]]
        kind = self._types(slice(0, n), vitals)
        own = jnp.concatenate([moves, *own, kind], axis=1).astype(vitals[0].dtype)
        own = jnp.moveaxis(held(own), -1, 0)
        return jnp.concatenate([own[..., :4], enemy_rows, ally_rows, own[..., 4:]], axis=-1)

    def _types(self, which, vitals):
        """One-hot types of the living, ``[K, b, B]``."""
        alive = vitals[0][which, None] > 0
        return jnp.where(alive, self._bits[which, :, None], 0)

    def critic_state(self, units: Units, state: State) -> Float[Array, "B S"]:
        """Rows of agents, rows of enemies, everybody's last action; batch first."""
        n, facts, alive = self.battle.n, self.facts, state.alive
        # The middle of the map is the origin. Of a medivac, `cooldown` is the energy.
        weapon = jnp.clip(state.cooldown / units.cooldown, 0, 1)
        at = [(v - SIZE / 2) / SIZE for v in (state.x, state.y)]
        weapon, *at = (jnp.where(alive, v, 0) for v in (weapon, *at))
        health, shield = vitals = self._vitals(units, state)
        parts = []
        for which, columns in (
            (slice(0, n), [health, weapon, *at, *[shield] * facts.ally_shield]),
            (slice(n, None), [health, *at, *[shield] * facts.enemy_shield]),
        ):
            rows = jnp.stack([v[which] for v in columns], axis=1)
            rows = jnp.concatenate([rows, self._types(which, vitals)], axis=1)
            parts.append(rows.reshape(-1, rows.shape[-1]))
        units_part = jnp.moveaxis(held(jnp.concatenate(parts)), -1, 0)
        last = jax.nn.one_hot(state.last_action.T, self.n_actions, dtype=units_part.dtype)
        return jnp.concatenate([units_part, last.reshape(last.shape[0], -1)], axis=-1)


def _rows(features, seen, bits) -> Float[Array, "B N F"]:
    """Features ``[N or 1, K, B]`` side by side with the types ``bits`` [N or 1, K, b], zeros where
    not ``seen`` [N, K, B]; flat, batch first."""
    rows = jnp.stack([jnp.where(seen, f, 0).astype(jnp.float32) for f in features], axis=2)
    # Types are put in behind the transposition: constants need none.
    rows, seen = (jnp.moveaxis(held(v), -1, 0) for v in (rows, seen))
    if bits.shape[-1]:
        rows = jnp.concatenate([rows, jnp.where(seen[..., None], bits, 0)], axis=-1)
    return rows.reshape(*rows.shape[:2], -1)


class SmaxAsSmac(Smax):
    """One map with SMAC's layout."""

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        facts: MapFacts,
        stats: str = "jaxmarl",
        reward: str = "smax",
        quick_draws: bool = False,
    ):
        scenario = as_in_smac(scenario, facts)
        super().__init__(name, scenario, stats, reward, quick_draws, chase=True)
        self._layout = seen = SmacLayout(self.battle, facts)
        self.spec = dataclasses.replace(
            self.spec,
            n_actions=seen.n_actions,
            obs_size=seen.obs_size,
            state_size=seen.state_size,
            state_has_actions=True,
            source=f"{self.spec.source} with SMAC's layout",
        )
        moves = ("no-op", "stop", *(MOVE_NAMES[k] for k in SMAC_MOVES))
        targets = self.battle.target_names(seen.n_actions - FIRST_TARGET)
        self.scene = dataclasses.replace(self.scene, actions=tuple(moves + t for t in targets))

    def _start(self, keys) -> State:
        state = super()._start(keys)
        x, y = state.x, state.y
        for first, last in _runs(self.battle.scenario.allies):
            run = slice(first, last)
            ordered = jax.lax.sort((x[run], y[run]), dimension=0, num_keys=2)
            x, y = x.at[run].set(ordered[0]), y.at[run].set(ordered[1])
        none = jnp.full((self.battle.n, *x.shape[1:]), -1, jnp.int32)
        return state.replace(x=x, y=y, last_action=none)

    def _observe(self, units, state):
        return self._layout.observe(units, state)

    def _critic_state(self, units, state):
        return self._layout.critic_state(units, state)

    def _advance(self, keys, state, action):
        after, reward = super()._advance(keys, state, self._layout.decode(action))
        chosen = jnp.moveaxis(action, 0, -1).astype(jnp.int32)
        return after.replace(last_action=chosen), reward

    def frames(self, key, state, action):
        return super().frames(key, state, self._layout.decode(action))


def _runs(ids: tuple[int, ...]) -> list[tuple[int, int]]:
    """Where each run of equal ids begins and ends."""
    ends = list(itertools.accumulate(len(list(group)) for _, group in itertools.groupby(ids)))
    return list(zip([0, *ends], ends, strict=False))
