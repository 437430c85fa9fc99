"""One env step of a batch of battles: both teams' orders, then eight world ticks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lica_jax.core import bits
from lica_jax.core.barriers import held
from lica_jax.envs.smax.battle import (
    DIRECTIONS,
    DT,
    ENEMIES,
    STOP,
    TICKS,
    Battle,
    State,
    Units,
    outcome,
)
from lica_jax.envs.smax.fight import Aims, aims, chase, fight
from lica_jax.envs.smax.heuristic import heuristic
from lica_jax.envs.smax.moves import at_wall, keep_out, push_apart, walk

KILL_REWARD, WIN_REWARD, SMAC_SCALE = 10.0, 200.0, 20.0


def orders(battle: Battle, units: Units, state: State, key: bits.Key, action: Int[Array, "N B"]):
    """``(state with both teams' orders noted, aims)``."""
    enemy_action, memory = heuristic(battle, units, state, state.enemy, key, ENEMIES)
    every = held(jnp.concatenate([action.astype(jnp.int32), enemy_action]))
    attack = jnp.where(every > STOP, every, 0)
    move = [jnp.zeros(every.shape, state.x.dtype) for _ in range(2)]
    for k, along in enumerate(DIRECTIONS):
        move = [jnp.where(every == k, a, v) for a, v in zip(along, move, strict=True)]
    aim, attack = aims(battle, state, attack)
    noted = state.replace(move_x=move[0], move_y=move[1], attack=attack, enemy=memory)
    return held(noted), aim


def tick(battle: Battle, units: Units, aim: Aims, now: State, key: bits.Key) -> State:
    """One sixteenth of a second (JaxMARL's ``_world_step`` and what follows it)."""
    jitter = battle.draw(key, battle.u, -DT, 2 * DT)
    health, cooldown = fight(battle, units, aim, now, jitter)
    move_x, move_y = now.move_x, now.move_y
    if battle.chase:
        way_x, way_y = chase(battle, units, aim, now)
        move_x, move_y = move_x + way_x, move_y + way_y
    x = walk(now.x, move_x * units.speed * DT, now.alive)
    y = walk(now.y, move_y * units.speed * DT, now.alive)
    if battle.scenario.deadly_walls:
        health = jnp.where(at_wall(x, y), 0, health)
    x, y, health, cooldown = held((x, y, health, cooldown))
    x, y = push_apart(battle, units, x, y, health > 0)
    if battle.scenario.obstacles or not battle.scenario.deadly_walls:
        x, y = keep_out(battle, units, x, y)
    return now.replace(x=x, y=y, health=health, cooldown=cooldown)


def ticks(battle: Battle, units: Units, aim: Aims, state: State, key: bits.Key, keep=False):
    """All ticks of an env step; with ``keep`` also the states after each of them."""

    def one(carry, _):
        (now, key) = carry
        now = tick(battle, units, aim, now, bits.split(key, 1))
        changing = (now.x, now.y, now.health, now.cooldown)
        return (now, bits.split(key, 0)), changing if keep else None

    (state, _), kept = jax.lax.scan(one, (state, key), None, length=TICKS)
    return (state, kept) if keep else state


def step_keys(key: bits.Key) -> tuple[bits.Key, bits.Key]:
    """``(enemies' key, world's key)`` of one step, as JaxMARL splits them."""
    return bits.split(key, 1), bits.split(key, 0)


def advance(battle: Battle, units: Units, state: State, key: bits.Key, action) -> State:
    """The state one env step later."""
    enemy_key, world_key = step_keys(key)
    noted, aim = orders(battle, units, state, enemy_key, action)
    after = ticks(battle, units, aim, noted, world_key)
    return after.replace(step=state.step + 1)


def reward(
    battle: Battle, units: Units, before: State, after: State, kind: str
) -> Float[Array, " B"]:
    """The team reward of a step.

    ``smax``: mean share of health that the enemies lost, less what they regained, not below 0 per
    enemy; and 1 for the win. ``smac``: 20 (lost health + 10 kills + 200 win) / the largest sum
    (SMAC's default, without its reward for what enemies regain).
    """
    enemies = battle.team(ENEMIES)
    lost = jnp.maximum(before.health - after.health, 0)[enemies]
    full = units.health[enemies]
    won = outcome(battle, after.alive)[0]
    if kind == "smax":
        return jnp.sum(lost / full, axis=0) / battle.m + won.astype(lost.dtype)
    kills = jnp.sum(before.alive[enemies] & ~after.alive[enemies], axis=0)
    most = jnp.sum(jnp.broadcast_to(full, lost.shape), axis=0)
    most = most + KILL_REWARD * battle.m + WIN_REWARD
    total = jnp.sum(lost, axis=0) + KILL_REWARD * kills + WIN_REWARD * won
    return SMAC_SCALE * total / most
