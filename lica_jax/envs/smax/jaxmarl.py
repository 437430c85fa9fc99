"""JaxMARL's SMAX (``HeuristicEnemySMAX``) behind the array-form task interface.

What differs from JaxMARL's own ``step()``, and why:

* Episodes last exactly the limit: JaxMARL tests its limit before it counts the step, so its
  episodes are one step longer than asked. It is given the limit minus one.
* Nothing resets by itself, so the terminal observation is kept (``step_env`` is called).
* The win is read from the units: all enemies dead and at least one ally alive. A mutual kill is
  not a win. JaxMARL's ``infos`` is empty.
* ``state`` is normalised: health, alive, position about the centre and cooldown of every unit
  (and its type where types are random), each within [-1, 1].
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from lica_jax.envs.smax.battle import Memory, State
from lica_jax.envs.smax.native import Smax
from lica_jax.envs.smax.scenarios import Scenario
from lica_jax.types import Task, TimeStep


class JaxMarlSmax(Task):
    """One SMAX map against JaxMARL's heuristic enemy."""

    def __init__(self, name: str, scenario: Scenario):
        from lica_jax.envs.jaxmarl_import import HeuristicEnemySMAX, JaxMarlScenario

        self._n, self._n_enemies = len(scenario.allies), len(scenario.enemies)
        self._random_types = scenario.random
        self._limit = scenario.limit
        self.env = HeuristicEnemySMAX(
            scenario=JaxMarlScenario(
                jnp.array(scenario.allies + scenario.enemies, jnp.uint8),
                self._n, self._n_enemies, scenario.random, scenario.random,
            ),
            max_steps=scenario.limit - 1,
        )  # fmt: skip
        self._native = Smax(name, scenario)
        theirs = scenario.source == "jaxmarl"
        self.spec = dataclasses.replace(
            self._native.spec,
            source="JaxMARL SMAX" if theirs else "lica_jax map on JaxMARL SMAX",
        )

    def reset(self, key):
        obs, state = self.env.reset(key)
        return state, self._timestep(obs, state, jnp.float32(0), first=True)

    def step(self, key, state, action):
        actions = {agent: action[i] for i, agent in enumerate(self.env.agents)}
        obs, state, rewards, _, _ = self.env.step_env(key, state, actions)
        return state, self._timestep(obs, state, rewards[self.env.agents[0]], first=False)

    @property
    def scene(self):
        return self._native.scene

    def frames(self, key, state, action):
        """The eight world ticks of a step, as our own simulation makes them from this state."""
        return self._native.frames(key, native_state(state, self._random_types), action)

    def _timestep(self, obs, state, reward, *, first) -> TimeStep:
        unit_alive = state.state.unit_alive
        allies, enemies = unit_alive[: self._n], unit_alive[self._n :]
        over = ~jnp.any(allies) | ~jnp.any(enemies)
        avail = self.env.get_avail_actions(state)
        return TimeStep(
            obs=jnp.stack([obs[agent] for agent in self.env.agents]),
            state=self._critic_state(state.state),
            avail=jnp.stack([avail[agent] for agent in self.env.agents]).astype(bool),
            reward=reward,
            terminated=over,
            truncated=(state.state.step >= self._limit) & ~over,
            first=jnp.array(first),
            alive=allies,
            info={"won": jnp.any(allies) & ~jnp.any(enemies)},
        )

    def _critic_state(self, s):
        env, alive = self.env, s.unit_alive
        size = jnp.array([env.map_width, env.map_height], s.unit_positions.dtype)
        cooldown = s.unit_weapon_cooldowns / env.unit_type_weapon_cooldowns[s.unit_types]
        features = [
            (s.unit_health / env.unit_type_health[s.unit_types])[:, None],
            alive[:, None],
            (2 * s.unit_positions / size - 1) * alive[:, None],
            (jnp.clip(cooldown, 0, 1) * alive)[:, None],
        ]
        if self._random_types:
            features.append(
                (s.unit_types[:, None] == jnp.arange(env.unit_type_bits)) * alive[:, None]
            )
        return jnp.concatenate([f.astype(s.unit_health.dtype) for f in features], axis=-1).reshape(
            -1
        )


def native_state(theirs, random_types: bool) -> State:
    """JaxMARL's state as that of our own simulation; leaves as theirs, ``[U]`` or ``[B, U]``."""
    s, memory = theirs.state, theirs.enemy_policy_state
    return State(
        x=s.unit_positions[..., 0], y=s.unit_positions[..., 1], health=s.unit_health,
        cooldown=s.unit_weapon_cooldowns, move_x=s.prev_movement_actions[..., 0],
        move_y=s.prev_movement_actions[..., 1], attack=s.prev_attack_actions,
        kind=s.unit_types.astype(jnp.int32) if random_types else None,
        enemy=Memory(
            goal_x=memory.default_target[..., 0], goal_y=memory.default_target[..., 1],
            last_target=memory.last_attacked_enemy,
        ),
        step=s.step,
    )  # fmt: skip
