"""What the agents see and may do, and the critic's state; layouts as in the JaxMARL adapter.

Observation of one agent: of each other unit (allies first, itself left out) ``[health, x and y from
here in units of its own sight, last move x and y, last attack action / largest, cooldown, type
one-hot]``, zeros where out of sight or dead; then its own ``[health, x / width, y / height,
cooldown, type one-hot]``. Health and cooldown are shares of the type's; all is 0 for a dead agent.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from lica_jax.core.barriers import held
from lica_jax.envs.smax.battle import ALLIES, MOVES, STOP, Battle, State, Units
from lica_jax.envs.smax.scenarios import SIZE


def observe(
    battle: Battle, units: Units, state: State
) -> tuple[Float[Array, "B N O"], Bool[Array, "B N A"]]:
    """Observations and available actions of the agents, batch first."""
    n, u = battle.n, battle.u
    alive = state.alive
    share, cooldown = _shares(units, state)
    largest = np.array([battle.n_actions - 1] * n + [battle.n_enemy_actions - 1] * battle.m)
    attack = state.attack.astype(share.dtype) / largest[:, None].astype(np.float32)
    # Other units of agent i: those before it and those behind it, moved up by one.
    before = np.arange(u - 1) < np.arange(n)[:, None]

    def others(v):
        """``[U, ...]`` as ``[N, U-1, ...]``: of each agent's other units."""
        v = jnp.asarray(v)
        pick = before.reshape(*before.shape, *[1] * (v.ndim - 1))
        return jnp.where(pick, v[None, :-1], v[None, 1:])

    dx, dy = others(state.x) - state.x[:n, None], others(state.y) - state.y[:n, None]
    distance = jnp.sqrt(dx * dx + dy * dy)
    both = alive[:n, None] & others(alive)
    sight = units.sight[:n, None]
    seen = both & (distance < sight)
    dx, dy, distance, seen, both = held((dx, dy, distance, seen, both))
    per_unit = [others(v) for v in (share, state.move_x, state.move_y, attack, cooldown)]
    features = [per_unit[0], dx / sight, dy / sight, *per_unit[1:]]
    rows = jnp.stack([jnp.where(seen, f, 0) for f in features], axis=2)
    own = jnp.stack([share[:n], state.x[:n] / SIZE, state.y[:n] / SIZE, cooldown[:n]], axis=1)
    bits = jnp.broadcast_to(units.bits[:n], (n, units.bits.shape[1], alive.shape[-1]))
    own = jnp.where(alive[:n, None], jnp.concatenate([own, bits], axis=1), 0)
    # Batch first. Types are put in behind the transposition: constants need none.
    rows, own, seen_first = (jnp.moveaxis(held(v), -1, 0) for v in (rows, own, seen))
    types = jnp.where(seen_first[..., None], jnp.moveaxis(others(units.bits), -1, 0), 0)
    rows = jnp.concatenate([rows, types], axis=-1).reshape(*own.shape[:2], -1)
    obs = jnp.concatenate([rows, own], axis=-1)
    # Behind the n - 1 team-mates come the enemies.
    reach = (distance < units.range[:n, None])[:, n - 1 :] & both[:, n - 1 :]
    avail = _available(battle, units, state, reach)
    return obs, jnp.moveaxis(avail, -1, 0)


def _shares(units, state):
    """Health and cooldown as shares of the types' in [0, 1]."""
    return state.health / units.health, jnp.clip(state.cooldown / units.cooldown, 0, 1)


def _available(battle, units, state, reach):
    """``[N, A, B]``: moves for the living, stop for all, attacks on enemies within range, heals of
    team-mates within range."""
    n, alive = battle.n, state.alive[: battle.n]
    reach = reach & battle.can_target[:n, n:, None]
    moves = jnp.broadcast_to(alive[:, None], (n, STOP, alive.shape[-1]))
    stop = jnp.ones_like(moves[:, :1])
    slots = jnp.zeros((n, battle.n_actions - MOVES - battle.m, alive.shape[-1]), bool)
    targets = jnp.concatenate([reach, slots], axis=1)
    for i in battle.healers(ALLIES):
        dx, dy = state.x[:n] - state.x[i], state.y[:n] - state.y[i]
        near = jnp.sqrt(dx * dx + dy * dy) < units.range[i]
        types = battle.types[:n]
        patient = np.array([[t.healable and j != i] for j, t in enumerate(types)])
        heal = near & patient & alive & alive[i]
        targets = targets.at[i].set(jnp.zeros_like(targets[i]).at[:n].set(heal))
    return jnp.concatenate([moves, stop, targets], axis=1)


def critic_state(battle: Battle, units: Units, state: State) -> Float[Array, "B S"]:
    """Per unit health, alive, position about the centre, cooldown (and type where random), each in
    [-1, 1]; 0 for the dead."""
    share, cooldown = _shares(units, state)
    alive = state.alive
    features = [share, jnp.where(alive, np.float32(1), 0)]
    features += [jnp.where(alive, v * (2 / SIZE) - 1, 0) for v in (state.x, state.y)]
    features += [jnp.where(alive, cooldown, 0)]
    rows = jnp.stack(features, axis=1)
    if battle.scenario.random:
        rows = jnp.concatenate([rows, jnp.where(alive[:, None], units.bits, 0)], axis=1)
    return jnp.moveaxis(held(rows.reshape(-1, rows.shape[-1])), -1, 0)
