"""SMAX as batched arrays: the simulation of JaxMARL's ``HeuristicEnemySMAX``, several times faster
on a CPU, and with the units and maps of SMAC that JaxMARL does not have.

From the same state and key a step gives JaxMARL's results to float rounding
(tests/reference/test_smax.py). Results on maps with other units are "SMAX-extended": they are no
more comparable with StarCraft II than SMAX's own.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lica_jax.core import bits
from lica_jax.core.barriers import held
from lica_jax.envs.frames import NONE, Frame, Scene
from lica_jax.envs.smax import simulation
from lica_jax.envs.smax.battle import (
    ALLIES,
    DT,
    ENEMIES,
    MOVE_NAMES,
    MOVES,
    Battle,
    State,
    outcome,
)
from lica_jax.envs.smax.fight import ENERGY_RATE, MAX_ENERGY
from lica_jax.envs.smax.observe import critic_state, observe
from lica_jax.envs.smax.scenarios import SIZE, Scenario
from lica_jax.envs.smax.spawn import start
from lica_jax.types import Task, TaskSpec, TimeStep


class Smax(Task):
    """One map. The batch is the last axis of the state's leaves."""

    batch_axis = -1

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        stats: str = "jaxmarl",
        reward: str = "smax",
        quick_draws: bool = False,
        *,
        chase: bool = False,
    ):
        self.battle = battle = Battle(scenario, stats, chase, quick_draws)
        self._reward = reward
        smac = reward == "smac"
        sources = {"jaxmarl": "SMAX", "extended": "SMAX-extended", "own": "SMAX, own map"}
        self.spec = TaskSpec(
            name=name,
            n_agents=battle.n,
            n_actions=battle.n_actions,
            obs_size=battle.obs_size,
            state_size=battle.state_size,
            episode_limit=scenario.limit,
            masks_actions=True,
            # SMAX returns at most 2 (damage 1 + win 1), SMAC 20: entropy coefficients and gradient
            # clipping tuned on SMAC need the factor 10.
            reward_scale=1.0 if smac else 10.0,
            timeout_is_terminal=True,
            # What an enemy healer heals can be shot away again.
            max_return=None if battle.healers(ENEMIES) else 20.0 if smac else 2.0,
            has_win=True,
            source=sources[scenario.source],
        )
        self.scene = Scene(
            bounds=(0.0, 0.0, SIZE, SIZE),
            kinds=tuple(k.name for k in battle.kinds),
            team=(ALLIES,) * battle.n + (ENEMIES,) * battle.m,
            agent=(*range(battle.n), *(NONE,) * battle.m),
            obstacles=scenario.obstacles,
            frame_seconds=DT,
            actions=tuple(
                MOVE_NAMES + targets for targets in battle.target_names(battle.n_actions - MOVES)
            ),
            reach=tuple(k.range for k in battle.kinds),
            sight=tuple(k.sight for k in battle.kinds),
            blast=tuple(k.blast for k in battle.kinds),
        )

    # --- a batch ---------------------------------------------------------------------------------

    # Units [U, B] meet pairs of units [U, U, B] throughout: with the batch last, leading axes are
    # meant to be broadcast, whatever `jax_numpy_rank_promotion` says.

    @jax.numpy_rank_promotion("allow")
    def reset_batch(self, keys):
        state = self._start(keys)
        return state, self._timestep(state, jnp.zeros_like(state.x[0]), first=True)

    @jax.numpy_rank_promotion("allow")
    def step_batch(self, keys, state, action):
        after, reward = self._advance(keys, state, action)
        return after, self._timestep(after, reward, first=False)

    @jax.numpy_rank_promotion("allow")
    def step_or_reset_batch(self, keys, reset_keys, over, state, action):
        """A step where not ``over`` [B], else the start of a new battle; observed once."""
        after, reward = self._advance(keys, state, action)
        state = self._restarted(reset_keys, over, after)
        return state, self._timestep(state, jnp.where(over, 0, reward), first=over)

    # What another layout (`smac_layout.py`) does differently, besides the numbers of actions.

    def _start(self, keys) -> State:
        return start(self.battle, keys)

    def _observe(self, units, state):
        return observe(self.battle, units, state)

    def _critic_state(self, units, state):
        return critic_state(self.battle, units, state)

    def _advance(self, keys, state, action):
        units = self.battle.units(state.kind)
        key = bits.as_key(keys)
        after = simulation.advance(self.battle, units, state, key, jnp.moveaxis(action, 0, -1))
        return after, simulation.reward(self.battle, units, state, after, self._reward)

    def _restarted(self, keys, over, state):
        """``state`` with new battles where ``over``."""
        return jax.lax.platform_dependent(
            keys, over, state, cpu=self._restarted_few, default=self._restarted_all
        )

    def _restarted_all(self, keys, over, state):
        """On accelerators a new battle for every environment, whether it is needed or not, is less
        than a loop whose length the host would have to wait for."""
        return jax.tree.map(lambda new, old: jnp.where(over, new, old), self._start(keys), state)

    def _restarted_few(self, keys, over, state):
        """Few are over at a time, so new battles are made in groups, as many as are needed."""
        batch = over.shape[0]
        size = min(batch, max(8, batch // 16))
        groups = -(-batch // size)
        which = jnp.nonzero(over, size=groups * size, fill_value=batch)[0]

        def put(i, state):
            at = jax.lax.dynamic_slice_in_dim(which, i * size, size)
            fresh = self._start(keys[at])  # of the fill value: somebody's, and not used

            def into(old, new):
                return old.at[..., at].set(new, mode="drop")

            return jax.tree.map(into, state, fresh)

        return jax.lax.fori_loop(0, -(-jnp.sum(over) // size), put, state)

    def _timestep(self, state: State, reward, *, first) -> TimeStep:
        battle = self.battle
        state = held(state)
        units = battle.units(state.kind)
        obs, avail = self._observe(units, state)
        won, over = outcome(battle, state.alive)
        first = jnp.broadcast_to(first, over.shape)
        return TimeStep(
            obs=obs,
            state=self._critic_state(units, state),
            avail=avail,
            reward=reward,
            terminated=over,
            truncated=(state.step >= battle.scenario.limit) & ~over,
            first=first,
            alive=jnp.moveaxis(state.alive[: battle.n], -1, 0),
            info={"won": won},
        )

    # --- one environment -------------------------------------------------------------------------

    # Compiled as a whole also when called on their own: operation by operation they take seconds.

    @partial(jax.jit, static_argnums=0)
    def reset(self, key):
        return _alone(self.reset_batch(key[None]))

    @partial(jax.jit, static_argnums=0)
    def step(self, key, state, action):
        return _alone(self.step_batch(key[None], _batch_of_one(state), action[None]))

    @partial(jax.jit, static_argnums=0)
    @jax.numpy_rank_promotion("allow")
    def frames(self, key, state, action) -> Frame:
        """The eight world ticks of a step."""
        battle, state = self.battle, _batch_of_one(state)
        units = battle.units(state.kind)
        enemy_key, world_key = simulation.step_keys(bits.as_key(key[None]))
        noted, aim = simulation.orders(battle, units, state, enemy_key, action[:, None])
        _, (x, y, health, cooldown) = simulation.ticks(
            battle, units, aim, noted, world_key, keep=True
        )
        x, y, health, cooldown = (v[..., 0] for v in (x, y, health, cooldown))  # [K, U]
        before = jnp.concatenate([state.cooldown[None, :, 0], cooldown[:-1]])
        target, heals = _targets(battle, noted.attack[:, 0]), battle.healer
        # Whoever attacked in a tick waits longer after it; who healed has spent energy.
        regained = jnp.minimum(before + ENERGY_RATE * DT, MAX_ENERGY)
        healed = (cooldown < regained - 1e-5) & (health > 0)
        acted = jnp.where(heals, healed, cooldown > before) & (target >= 0)
        full = jnp.broadcast_to(units.health, noted.x.shape)[:, 0]
        radius = jnp.broadcast_to(units.radius, noted.x.shape)[:, 0]
        kind = jnp.argmax(jnp.broadcast_to(units.bits, (*units.bits.shape[:2], 1))[..., 0], axis=1)
        every = x.shape
        return Frame(
            position=jnp.stack([x, y], axis=-1),
            radius=jnp.broadcast_to(radius, every),
            kind=jnp.broadcast_to(kind, every),
            alive=health > 0,
            health=health / full,
            energy=jnp.where(battle.healer, cooldown / MAX_ENERGY, 0),
            target=jnp.where(acted, target, NONE),
            healing=acted & heals,
        )


def _targets(battle, attack):
    """Index of the unit that each unit's action is aimed at, [U]; -1 for none."""
    slot, n = attack - MOVES, battle.n
    ally = np.arange(battle.u) < n
    hit, healed = jnp.where(ally, n + slot, n - 1 - slot), jnp.where(ally, slot, n + slot)
    return jnp.where(slot >= 0, jnp.where(battle.healer, healed, hit), NONE)


def _batch_of_one(state):
    return jax.tree.map(lambda x: x[..., None], state)


def _alone(result):
    state, ts = result
    return jax.tree.map(lambda x: x[..., 0], state), jax.tree.map(lambda x: x[0], ts)
