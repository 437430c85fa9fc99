"""How a battle begins."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from lica_jax.core import bits
from lica_jax.core.barriers import held
from lica_jax.envs.smax.battle import ALLIES, ENEMIES, Battle, State
from lica_jax.envs.smax.fight import START_ENERGY
from lica_jax.envs.smax.heuristic import initial_memory
from lica_jax.envs.smax.moves import push_apart
from lica_jax.envs.smax.scenarios import SIZE, SPAWNS
from lica_jax.envs.smax.units import N_JAXMARL

NOISE = 2.0  # teams start within this of their point, in x and y
GRID, GRID_SPACING, GRID_NOISE = 8, 0.8, 0.1


def start(battle: Battle, keys: PRNGKeyArray) -> State:
    """A fresh battle per key [B]; draws what JaxMARL's ``HeuristicEnemySMAX.reset`` draws."""
    key = bits.split(bits.as_key(keys), 1)  # the half of the environment below the enemies'
    kind = None
    if battle.scenario.random:
        x, y, kind = _random_start(battle, key)
    else:
        teams = [_team_start(battle, bits.split(key, 1 + team), team) for team in (ALLIES, ENEMIES)]
        x, y = (jnp.concatenate(v) for v in zip(*teams, strict=True))
    units = battle.units(kind)
    alive = jnp.ones(x.shape, bool)
    x, y = push_apart(battle, units, *held((x, y)), alive)
    zeros, no = jnp.zeros_like(x), jnp.zeros(x.shape, jnp.int32)
    energy = zeros + START_ENERGY * battle.healer[:, None].astype(np.float32)
    return State(
        x=x, y=y, health=jnp.broadcast_to(units.health, x.shape), cooldown=energy,
        move_x=zeros, move_y=zeros, attack=no, kind=kind,
        enemy=initial_memory(battle.m, x.shape[1:], x.dtype), step=no[0],
    )  # fmt: skip


def _team_start(battle, key, team):
    """``(x, y)`` of a team around its point: anywhere near it, or large teams on a grid."""
    count = (battle.n, battle.m)[team]
    (x, y), i = SPAWNS[team], np.arange(count)[:, None]
    noise, spread = NOISE, np.zeros((2, count, 1), np.float32)
    if battle.scenario.grid and count > 20:
        noise, rows = GRID_NOISE, -(-count // GRID)
        # The first row stands in front, facing the other team.
        depth = ((rows - 1) / 2 - i // GRID) * (1 if team == ALLIES else -1)
        spread = np.stack([depth, i % GRID - (GRID - 1) / 2]) * GRID_SPACING
    drawn = [bits.uniform(key, 2 * i + axis, -noise, noise) for axis in (0, 1)]
    return x + spread[0].astype(np.float32) + drawn[0], y + spread[1].astype(np.float32) + drawn[1]


def _random_start(battle, key):
    """SMACv2's positions, from JaxMARL's own generator, and types."""
    from lica_jax.envs.jaxmarl_import import SurroundAndReflectPositionDistribution

    positions = SurroundAndReflectPositionDistribution(battle.n, battle.m, SIZE, SIZE)
    # Its reset splits its key in three, and what is left in two, twice.
    after = bits.split(key, 0)
    position_key, after = bits.split(after, 1), bits.split(after, 0)
    type_key = bits.split(after, 1)
    place = jax.vmap(positions.generate, out_axes=-1)(_as_keys(position_key))
    kind = jax.vmap(partial(random_types, battle.n, battle.m), out_axes=-1)(_as_keys(type_key))
    place = place.astype(jnp.float32)  # whatever JAX's default is
    return place[:, 0], place[:, 1], kind


def random_types(n: int, m: int, key: PRNGKeyArray) -> Int[Array, " n+m"]:
    """Unit types of allies and enemies: uniform, and the enemies' first ones are the allies'.

    JaxMARL's draws to the bit where the enemies are no more than the allies. Where they are more,
    its generator drops what it draws for the others, who are all Marines there; ours keeps it.
    """
    enemy_key, ally_key = jax.random.split(key)
    even = jnp.log(jnp.ones(N_JAXMARL, jnp.float32) / N_JAXMARL)
    allies = jax.random.categorical(ally_key, even, shape=(n,))
    others = jax.random.categorical(enemy_key, even, shape=(max(m - n, 0),))
    return jnp.concatenate([allies, allies[:m], others]).astype(jnp.int32)


def _as_keys(key):
    return jax.random.wrap_key_data(jnp.stack(key, axis=-1), impl="threefry2x32")
