"""The options of SMAC's environment that concern the game, what agents see, and the reward."""

from __future__ import annotations

import math
from dataclasses import dataclass

DIFFICULTIES = {
    "1": "VeryEasy",
    "2": "Easy",
    "3": "Medium",
    "4": "MediumHard",
    "5": "Hard",
    "6": "Harder",
    "7": "VeryHard",
    "8": "CheatVision",
    "9": "CheatMoney",
    "A": "CheatInsane",
}

_FLAGS = (
    "continuing_episode",
    "obs_all_health",
    "obs_own_health",
    "obs_last_action",
    "obs_pathing_grid",
    "obs_terrain_height",
    "obs_instead_of_state",
    "obs_timestep_number",
    "state_last_action",
    "state_timestep_number",
    "reward_sparse",
    "reward_only_positive",
    "reward_scale",
    "heuristic_ai",
    "heuristic_rest",
)
_NUMBERS = (
    "move_amount",
    "reward_death_value",
    "reward_win",
    "reward_defeat",
    "reward_negative_scale",
    "reward_scale_rate",
)


@dataclass(frozen=True)
class Options:
    """Names, meanings and defaults are SMAC's; LICA trains with the defaults.

    Attributes:
      step_mul: game loops per env step (22.4 loops are a second of play).
      move_amount: how far a move order goes, in cells.
      difficulty: of the built-in AI, a key of `DIFFICULTIES`.
      continuing_episode: mark a time-out with `info["episode_limit"]`. Without it a time-out ends
        the episode like a defeat: no bootstrapping, which is how SMAC's figures are made.
      obs_all_health: agents see the health and shields of units in sight, and their own.
      obs_own_health: agents see their own; without effect beside obs_all_health.
      obs_last_action: agents see the last actions of allies in sight.
      obs_pathing_grid: agents see whether 8 cells around them can be walked on.
      obs_terrain_height: agents see the height of those cells and of their own.
      obs_instead_of_state: the state is all agents' observations.
      obs_timestep_number: agents see how much of the episode's limit has passed.
      state_last_action: the state ends with everybody's last action, one-hot.
      state_timestep_number: the state ends with how much of the limit has passed.
      reward_sparse: 1 for a win, -1 for a defeat, 0 otherwise (scaled as well if reward_scale).
      reward_only_positive: no penalty for damage to allies.
      reward_death_value: for a killed enemy; times reward_negative_scale lost for a killed ally.
      reward_win: for a win.
      reward_defeat: for a defeat, zero or less.
      reward_negative_scale: weight of allies' damage where reward_only_positive is off.
      reward_scale: divide by the largest possible sum of rewards, times reward_scale_rate.
      reward_scale_rate: that sum after scaling.
      heuristic_ai: attack the nearest enemy instead of what the caller asks for.
      heuristic_rest: the heuristic walks where its attack is not available to agents.
    """

    step_mul: int = 8
    move_amount: float = 2
    difficulty: str = "7"
    continuing_episode: bool = False
    obs_all_health: bool = True
    obs_own_health: bool = True
    obs_last_action: bool = False
    obs_pathing_grid: bool = False
    obs_terrain_height: bool = False
    obs_instead_of_state: bool = False
    obs_timestep_number: bool = False
    state_last_action: bool = True
    state_timestep_number: bool = False
    reward_sparse: bool = False
    reward_only_positive: bool = True
    reward_death_value: float = 10
    reward_win: float = 200
    reward_defeat: float = 0
    reward_negative_scale: float = 0.5
    reward_scale: bool = True
    reward_scale_rate: float = 20
    heuristic_ai: bool = False
    heuristic_rest: bool = False

    @property
    def own_health(self) -> bool:
        """Whether agents see their own health."""
        return self.obs_own_health or self.obs_all_health

    def problems(self) -> list[str]:
        """Everything wrong with these options, one sentence each; empty when they can be used."""
        found = [
            f"{name} is {value!r}; use true or false"
            for name in _FLAGS
            if not isinstance(value := getattr(self, name), bool)
        ]
        for name in _NUMBERS:
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool):
                found.append(f"{name} is {value!r}; use a number")
            elif not math.isfinite(value) or abs(value) > 1e6:
                found.append(f"{name} is {value}; use a finite number up to 1e6")
        step_mul = self.step_mul
        if not isinstance(step_mul, int) or isinstance(step_mul, bool) or not 0 < step_mul <= 1024:
            # 1024 keeps the longest episode (400 steps) below the engine's limit for one match.
            found.append(f"step_mul is {step_mul!r}; use a whole number from 1 to 1024")
        if not isinstance(self.difficulty, str) or self.difficulty not in DIFFICULTIES:
            found.append(f"difficulty is {self.difficulty!r}; use one of {', '.join(DIFFICULTIES)}")
        return found or self._problems_of_ranges()

    def _problems_of_ranges(self) -> list[str]:
        """Numbers that are numbers, but of no use here."""
        found = []
        if not 0 < self.move_amount <= 16:
            found.append(f"move_amount is {self.move_amount}; use more than 0 and up to 16")
        elif (self.obs_pathing_grid or self.obs_terrain_height) and self.move_amount % 1:
            found.append(
                f"move_amount is {self.move_amount}; use a whole number with obs_pathing_grid or "
                "obs_terrain_height, which look at the cells that far away"
            )
        for name in ("reward_death_value", "reward_win", "reward_negative_scale"):
            if getattr(self, name) < 0:
                found.append(f"{name} is {getattr(self, name)}; use 0 or more")
        if self.reward_defeat > 0:
            found.append(f"reward_defeat is {self.reward_defeat}; use 0 or less")
        if self.reward_scale_rate <= 0:
            found.append(f"reward_scale_rate is {self.reward_scale_rate}; use more than 0")
        return found


DEFAULTS = Options()
