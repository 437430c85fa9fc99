"""Who hits and heals whom in one world tick: masks over pairs of opponents.

Everything in a tick happens at once, from the positions and the health at its start, so that two
units can kill each other.

Healing is StarCraft II 4.10's Medivac in seconds of game speed "faster": 12.6 health per second for
a third of that in energy, on one living biological team-mate on the ground within range; at least
5 energy to start on another patient; 0.7875 energy per second come back, up to 200. Two healers on
one patient do not add up: the first one heals.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lica_jax.core.barriers import held
from lica_jax.envs.smax.battle import ALLIES, DT, ENEMIES, MOVES, Battle, State, Units

HEAL_RATE, ENERGY_RATE = 12.6, 0.7875  # per second
HEALTH_PER_ENERGY, ENERGY_TO_START = 3.0, 5.0
START_ENERGY, MAX_ENERGY = 50.0, 200.0


class Aims(NamedTuple):
    """Orders of one env step: who wants to hit or heal whom."""

    allies: Bool[Array, "N M B"]
    enemies: Bool[Array, "M N B"]
    heal: tuple[Bool[Array, "K B"], ...]  # per healer, over its team; empty without healers


def aims(battle: Battle, state: State, attack: Int[Array, "U B"]) -> tuple[Aims, Array]:
    """Decodes attack actions (0 for none); what can never work is left out.

    Also returns the actions without those of healers that lack the energy to start: a refused order
    is forgotten, or it would count as going on in the next step.
    """
    slot = attack - MOVES
    n, m = battle.n, battle.m
    own = slot[:n, None] == np.arange(m)[:, None]
    # Enemies count their targets downwards (JaxMARL's order).
    theirs = slot[n:, None] == np.arange(n)[::-1, None]
    able = battle.can_target & battle.fighter
    if not able.all():
        own = own & able[:n, n:, None]
        theirs = theirs & able[n:, :n, None]
    heal = []
    for team, i in _healers(battle):
        patient, ready = _heal_aim(battle, state, attack, team, i)
        heal.append(patient & ready)
        me = battle.index(team, i)
        attack = attack.at[me].set(jnp.where(ready, attack[me], 0))
    return Aims(*held((own, theirs)), tuple(heal)), attack


def _healers(battle):
    return [(team, i) for team in (ALLIES, ENEMIES) for i in battle.healers(team)]


def _heal_aim(battle, state, attack, team, i):
    """``(patient of healer i of a team, whether it can start or goes on)``."""
    own = battle.team(team)
    slot, before = attack[own][i] - MOVES, state.attack[own][i] - MOVES
    patient = np.array([[t.healable and j != i] for j, t in enumerate(battle.types[own])])
    ready = (state.cooldown[own][i] >= ENERGY_TO_START) | (slot == before)
    return (slot == np.arange(len(patient))[:, None]) & patient, ready


def chosen(aim: Bool[Array, "N M B"], value: Float[Array, "M B"]) -> Float[Array, "N B"]:
    """Each attacker's target's value; 0 without a target."""
    return jnp.sum(jnp.where(aim, value, 0), axis=1)


def chase(battle: Battle, units: Units, aim: Aims, now: State) -> tuple[Array, Array]:
    """Directions ``(x, y)``, [U, B], of the agents' ways to living targets out of their range;
    zeros for everybody else."""
    n = battle.n
    at_x, at_y = (chosen(aim.allies, v[n:]) for v in (now.x, now.y))
    there = jnp.any(aim.allies & now.alive[n:], axis=1)
    for (team, i), patient in zip(_healers(battle), aim.heal, strict=True):
        if team == ALLIES:
            at_x = at_x.at[i].set(jnp.sum(jnp.where(patient, now.x[:n], 0), axis=0))
            at_y = at_y.at[i].set(jnp.sum(jnp.where(patient, now.y[:n], 0), axis=0))
            there = there.at[i].set(jnp.any(patient & now.alive[:n], axis=0))
    dx, dy = at_x - now.x[:n], at_y - now.y[:n]
    distance = jnp.sqrt(dx * dx + dy * dy)
    far = there & (distance >= units.range[:n])
    share = jnp.where(far, 1 / jnp.maximum(distance, 1e-6), 0)
    rest = jnp.zeros_like(now.x[n:])
    return jnp.concatenate([dx * share, rest]), jnp.concatenate([dy * share, rest])


def fight(
    battle: Battle, units: Units, aim: Aims, now: State, jitter: Float[Array, "U B"]
) -> tuple[Float[Array, "U B"], Float[Array, "U B"]]:
    """Health and cooldowns (energies of healers) after one tick.

    Args:
      battle: the map.
      units: numbers of the units.
      aim: orders.
      now: the state at the tick's start.
      jitter: added to the cooldown of those who attack, seconds.
    """
    n = battle.n
    alive = now.alive
    sides = ((aim.allies, slice(0, n), slice(n, None)), (aim.enemies, slice(n, None), slice(0, n)))
    parts = [
        (chosen(a, now.x[other]), chosen(a, now.y[other]), jnp.any(a & alive[other], axis=1))
        for a, _, other in sides
    ]
    # Joined for both teams: one pass over all units instead of two.
    at_x, at_y, there = held(tuple(jnp.concatenate(p) for p in zip(*parts, strict=True)))
    dx, dy = now.x - at_x, now.y - at_y
    near = jnp.sqrt(dx * dx + dy * dy) < units.range
    hits = held(near & there & alive & (now.cooldown <= 0))
    lost = [_damage(battle, units, a, hits[own], own, other) for a, own, other in sides]
    loss = jnp.concatenate(lost[::-1])  # allies lose what the enemies deal
    if battle.spread:
        loss = loss + _spread_damage(battle, now, hits, at_x, at_y)
    cooldown = now.cooldown + jnp.where(hits, units.cooldown + jitter - now.cooldown, -DT)
    if not aim.heal:
        health = jnp.maximum(now.health - loss, 0)
    else:
        gain, cooldown = _heal(battle, units, aim, now, cooldown)
        health = jnp.where(alive, jnp.clip(now.health - loss + gain, 0, units.health), 0)
    if battle.blasts:
        health = jnp.where(hits & np.array([[t.blast > 0] for t in battle.types]), 0, health)
    return health, cooldown


def _damage(battle, units, aim, hits, own, other):
    """What the team ``own`` takes from ``other`` with attacks on single targets."""
    if battle.uniform_damage:
        dealt = jnp.where(hits, units.damage[own], 0)[:, None]
    else:
        dealt = jnp.where(hits[:, None], battle.single_damage[own, other, None], 0)
    return jnp.sum(jnp.where(aim, dealt, 0), axis=0)


def _spread_damage(battle, now, hits, at_x, at_y):
    """Damage to all units from attacks that hit everything in an area: opponents on the ground."""
    loss = []
    for team in (ALLIES, ENEMIES):  # the one that is hit
        own, other = battle.team(team), battle.team(1 - team)
        x, y, alive = now.x[own], now.y[own], now.alive[own]
        radius = np.array([[t.radius] for t in battle.types[own]], np.float32)
        ground = np.array([[not t.flying] for t in battle.types[own]])
        total = jnp.zeros_like(x)
        for i in range(battle.u)[other]:
            t = battle.types[i]
            if t.line:
                inside = _in_line(t.line, now, i, at_x[i], at_y[i], x, y, radius)
            elif t.blast:
                reach = np.float32(t.blast) + radius
                inside = (x - now.x[i]) ** 2 + (y - now.y[i]) ** 2 <= reach * reach
            else:
                continue
            dealt = jnp.where(inside & hits[i], battle.damage[i, own, None], 0)
            total = total + jnp.where(alive & ground, dealt, 0)
        loss.append(total)
    return jnp.concatenate(loss)


def _in_line(line, now, i, at_x, at_y, x, y, radius):
    """Whose disc meets the rectangle around the target: ``line`` is its length along the shot and
    across it."""
    ex, ey = at_x - now.x[i], at_y - now.y[i]
    length = jnp.sqrt(ex * ex + ey * ey)
    # On top of its target it shoots along x.
    there = length > 1e-6
    safe = jnp.where(there, length, 1)
    ex, ey = jnp.where(there, ex / safe, 1), jnp.where(there, ey / safe, 0)
    dx, dy = x - at_x, y - at_y
    along, across = jnp.abs(dx * ex + dy * ey), jnp.abs(dy * ex - dx * ey)
    a, b = jnp.maximum(along - line[0] / 2, 0), jnp.maximum(across - line[1] / 2, 0)
    return a * a + b * b <= radius * radius


def _heal(battle, units, aim, now, cooldown):
    """``(health gained, cooldowns with the healers' energies)``."""
    gain = [jnp.zeros_like(now.x[battle.team(team)]) for team in (ALLIES, ENEMIES)]
    for (team, i), patient in zip(_healers(battle), aim.heal, strict=True):
        own = battle.team(team)
        me = battle.index(team, i)
        energy, alive = now.cooldown[me], now.alive[me]
        dx, dy = now.x[own] - now.x[me], now.y[own] - now.y[me]
        near = jnp.sqrt(dx * dx + dy * dy) < units.range[me]
        missing = units.health[own] - now.health[own]
        # Nobody else has healed it in this tick.
        valid = patient & near & alive & now.alive[own] & (missing > 0) & (gain[team] == 0)
        most = jnp.minimum(HEAL_RATE * DT, HEALTH_PER_ENERGY * energy)
        healed = jnp.where(valid, jnp.minimum(most, missing), 0)
        gain[team] = gain[team] + healed
        left = energy - jnp.sum(healed, axis=0) / HEALTH_PER_ENERGY + ENERGY_RATE * DT
        left = jnp.where(alive, jnp.clip(left, 0, MAX_ENERGY), energy)
        cooldown = cooldown.at[me].set(left)
    return jnp.concatenate(gain), cooldown
