"""SMAC's environment on the game's own protocol, episode by episode.

A *game* is a process, a *match* is one `create_game`, an *episode* is one battle. The maps start a
new battle when all units are dead, so a match serves many episodes and a game many matches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax.errors import UserError
from lica_jax.smac import layout, rewards
from lica_jax.smac.maps import map_facts
from lica_jax.smac.options import DEFAULTS, Options
from lica_jax.smac.units import Roster, Side, UnknownUnits, roster
from lica_jax.starcraft2.env import answers, matches, orders
from lica_jax.starcraft2.errors import GameError, GameFailed
from lica_jax.starcraft2.game import messages


class StarCraft2Env:
    """One battle after another on one of SMAC's maps, `A` agents against the built-in AI.

    A `GameError` from `step` means that the episode is lost, not that the environment is: the next
    `reset` starts a new game. `reset` itself tries several games before it raises `GameFailed`.

    Attributes:
      chosen: the actions that were carried out in the last step: the caller's, or the heuristic's.
    """

    def __init__(
        self,
        map_name: str,
        options: Options = DEFAULTS,
        *,
        launch: Callable[[int], matches.Game],
        seed: int = 0,
        pipeline: bool = True,
        map_data: bytes | None = None,
        lifetime: matches.Lifetime = matches.DEFAULTS,
    ) -> None:
        """Starts nothing yet.

        Args:
          launch: starts game number n and returns it connected; called in `reset`.
          seed: zero or more; with the number of the game and of the match it seeds the game.
          pipeline: send action, step and observation at once instead of waiting for each answer.
          map_data: the bytes of the map's file; without them the game looks for
            `SMAC_Maps/NAME.SC2Map` itself.
        """
        self.facts = map_facts(map_name)
        if problems := options.problems():
            raise UserError("; ".join(problems))
        if seed < 0:
            raise UserError(f"seed is {seed}; use 0 or more")
        self.map_name, self.options = map_name, options
        self.n_agents, self.limit = self.facts.n_agents, self.facts.limit
        self.n_actions = layout.n_actions(self.facts)
        self.obs_size = layout.obs_size(self.facts, options)
        self.state_size = layout.state_size(self.facts, options)
        self.chosen: tuple[int, ...] = ()
        self._games = matches.Games(map_name, options, launch, seed, pipeline, map_data, lifetime)
        names = ("episodes", "won", "draws", "timeouts", "lost", "failed_orders")
        self._stats = dict.fromkeys(names, 0)
        self._playing = False
        self._steps = 0  # of this episode
        self._largest: float | None = None  # SMAC's max_reward, from the first episode
        self._scene: layout.Scene | None = None

    @property
    def stats(self) -> dict[str, int]:
        """Counters: episodes (finished), won, draws, timeouts (cut off by the limit), lost (broken
        off), failed_orders (commands that the game refused), matches, restarts (new games after a
        failure), recycled (new games by age or memory)."""
        return self._stats | self._games.stats

    @property
    def game_version(self) -> str | None:
        """What the game says that it is; None before the first launch."""
        return self._games.version

    @property
    def is_fake(self) -> bool | None:
        """Whether the game says that it is a test double; None before the first launch."""
        return None if self.game_version is None else "fake" in self.game_version.lower()

    # Episodes

    def reset(self) -> None:
        """Starts a new episode, in a new match or game where that is due.

        Does nothing where a new episode has just begun. Raises GameFailed after several games that
        failed; UserError and GameFailed of `launch` pass through.
        """
        if self._playing and self._steps == 0:
            return
        self._playing = False
        attempts = self._games.lifetime.attempts
        for attempt in range(1, attempts + 1):
            try:
                self._begin()
                return
            except GameError as error:
                words = self._games.drop()
                if attempt == attempts:
                    raise GameFailed(
                        f"{attempt} games in a row could not start an episode on {self.map_name}: "
                        f"{error}{words}"
                    ) from error
            except BaseException:
                self._games.drop()
                raise

    def step(self, actions: Sequence[int]) -> tuple[float, bool, dict[str, Any]]:
        """One env step: the reward, whether the episode is over, and SMAC's info.

        Args:
          actions: an available action per agent; no-op (0) for the dead. The heuristic acts as it
            likes, but the caller's actions are what `state` shows as last ones, as in SMAC.

        Raises:
          ValueError: an action is not available. Nothing has happened then.
          GameError: the episode is lost.
        """
        if not self._playing:
            raise RuntimeError("there is no running episode: call reset() first")
        actions = [int(action) for action in actions]
        self._check(actions)
        try:
            return self._play(actions)
        except BaseException as error:
            self._playing = False
            self._games.drop()
            self._stats["lost"] += isinstance(error, GameError)
            raise

    def obs(self) -> np.ndarray:
        """Observations, float32 [A, obs_size]."""
        return layout.observations(self._now())

    def state(self) -> np.ndarray:
        """The global state, float32 [state_size]."""
        return layout.state(self._now())

    def avail(self) -> np.ndarray:
        """Available actions, bool [A, n_actions]."""
        return self._now().avail.copy()

    def alive(self) -> np.ndarray:
        """Living agents, bool [A]."""
        return self._now().allies.alive

    def _now(self) -> layout.Scene:
        if self._scene is None:
            raise RuntimeError("there is no episode yet: call reset() first")
        return self._scene

    def _check(self, actions: list[int]) -> None:
        if len(actions) != self.n_agents:
            raise ValueError(f"{len(actions)} actions for {self.n_agents} agents")
        avail = self._now().avail
        for agent, action in enumerate(actions):
            if not 0 <= action < self.n_actions:
                raise ValueError(f"agent {agent}: action {action}; use 0 to {self.n_actions - 1}")
            if not self.options.heuristic_ai and not avail[agent, action]:
                open_to = np.flatnonzero(avail[agent]).tolist()
                raise ValueError(f"agent {agent} cannot perform action {action}, only {open_to}")

    def _play(self, actions: list[int]) -> tuple[float, bool, dict[str, Any]]:
        ordered, _, answer = self._games.exchange(
            orders.request(self._commands(actions)), *self._games.advance(self.options.step_mul)
        )
        results = answers.part(ordered, "action").result
        self._stats["failed_orders"] += sum(result != messages.Success for result in results)
        before = (self._allies.side, self._enemies.side)
        self._see(answers.observed(answer))
        self._steps += 1
        self._games.stepped()
        self._scene = self._make_scene(np.eye(self.n_actions)[actions])
        return self._score_step(before)

    def _score_step(self, before: tuple[Side, Side]) -> tuple[float, bool, dict[str, Any]]:
        options, stats = self.options, self._stats
        now = (self._allies.side, self._enemies.side)
        reward = rewards.battle_reward(options, before, now, self._fallen)
        dead = tuple(side.health == 0 for side in now)
        self._fallen = tuple(old | new for old, new in zip(self._fallen, dead, strict=True))
        ended = rewards.outcome(self._now())
        info: dict[str, Any] = {"battle_won": ended == "won"}
        info |= {"dead_allies": int(dead[0].sum()), "dead_enemies": int(dead[1].sum())}
        if ended == "won":
            reward = 1.0 if options.reward_sparse else reward + options.reward_win
        elif ended == "lost":
            reward = -1.0 if options.reward_sparse else reward + options.reward_defeat
        cut = ended is None and self._steps >= self.limit
        if cut and options.continuing_episode:
            info["episode_limit"] = True
        over = cut or ended is not None
        self._playing = not over
        stats["episodes"] += over
        stats["won"] += ended == "won"
        stats["draws"] += ended == "draw"
        stats["timeouts"] += cut
        return rewards.scaled(options, reward, self._largest), over, info

    def _commands(self, actions: list[int]) -> list[Any]:
        scene, alive = self._now(), self._now().allies.alive
        tags = (self._allies.tags, self._enemies.tags)
        if self.options.heuristic_ai:
            actions = [0] * self.n_agents
            for agent in np.flatnonzero(alive).tolist():
                target = orders.heuristic_target(scene, agent, self._targets[agent])
                self._targets[agent] = target
                if target is not None:
                    actions[agent] = orders.heuristic_action(scene, agent, target)
        self.chosen = tuple(actions)
        return [
            orders.command(scene, tags, agent, action)
            for agent, action in enumerate(actions)
            if action
        ]

    # The start of an episode

    def _begin(self) -> None:
        if self._games.prepare():
            look = messages.Request(observation=messages.RequestObservation())
            answer = self._games.call(look)
        else:
            # The map starts a new battle when everybody is dead.
            kill = messages.DebugCommand(kill_unit=messages.DebugKillUnit(tag=self._living()))
            debug = messages.Request(debug=messages.RequestDebug(debug=[kill]))
            *_, answer = self._games.exchange(debug, *self._games.advance(2))
        self._allies, self._enemies = self._await_units(answers.observed(answer))
        self._fallen = (np.zeros(self.n_agents, bool), np.zeros(self.facts.n_enemies, bool))
        self._targets: list[int | None] = [None] * self.n_agents
        self._first_type = min(self._allies.side.types)
        self._steps = 0
        self._scene = self._make_scene(np.zeros((self.n_agents, self.n_actions)))
        if self._largest is None:
            self._largest = rewards.max_reward(self.facts, self.options, self._enemies.side)
        self._games.started()
        self._playing = True

    def _living(self) -> list[int]:
        """Tags of the living units of both sides."""
        return [
            tag
            for slots in (self._allies, self._enemies)
            for tag, alive in zip(slots.tags, slots.side.alive, strict=True)
            if alive
        ]

    def _await_units(self, observation: answers.Observed) -> tuple[answers.Slots, ...]:
        """The slots of a new episode, after as many game loops as it takes."""
        patience = self._games.lifetime.spawn_loops
        for _ in range(patience):
            self._games.loop = observation.loop
            slots = answers.assign(self.facts, observation)
            if slots is not None:
                return slots
            _, answer = self._games.exchange(*self._games.advance(1))
            observation = answers.observed(answer)
        wanted = f"{self.n_agents} allies and {self.facts.n_enemies} enemies"
        raise GameError(f"there were never {wanted} in {patience} game loops")

    def _see(self, observation: answers.Observed) -> None:
        self._games.loop = observation.loop
        self._allies = answers.update(self._allies, answers.OURS, observation)
        self._enemies = answers.update(self._enemies, answers.THEIRS, observation)

    def _make_scene(self, last_action: np.ndarray) -> layout.Scene:
        allies, enemies = self._allies.side, self._enemies.side
        return layout.Scene(
            facts=self.facts,
            options=self.options,
            terrain=self._games.terrain,
            roster=self._roster(allies, enemies),
            allies=allies,
            enemies=enemies,
            last_action=last_action,
            time=self._steps / self.limit,
        )

    def _roster(self, allies: Side, enemies: Side) -> Roster:
        """What the units are; a game with others than the map's is as bad as a broken one."""
        try:
            return roster(self.facts, allies.types, enemies.types, self._first_type)
        except UnknownUnits as error:
            raise GameError(str(error)) from error

    # The game

    def rss(self) -> int | None:
        """Resident memory of the game in bytes; None where unknown."""
        return self._games.rss()

    def save_replay(self, path: Path) -> None:
        """Writes the replay of the match so far, with all its episodes. The file is complete or
        not there. Raises GameError without a game, UserError where it cannot be written."""
        self._games.save_replay(path)

    def close(self) -> None:
        """Ends the game; may be called again. A later `reset` starts a new one."""
        self._playing = False
        self._games.close()
