"""SMAC's maps as tasks: ``smac/3m``, played on the real game, one process per environment.

Options are SMAC's (`smac.options.Options`); ``version``, a release or build of the game;
``pipeline``, whether a step's three requests are sent at once; and the time-outs ``start_timeout``
(of a game, with its retries) and ``call_timeout``, in seconds. The game is found through SC2PATH.
Rewards and returns are SMAC's: at most 20, more where shields regenerate.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from lica_jax.engines.games import Games, HostTask
from lica_jax.envs.names import Choice, Family, Free, name_with
from lica_jax.errors import UserError
from lica_jax.smac import layout
from lica_jax.smac.maps import MAPS, map_facts
from lica_jax.smac.options import DIFFICULTIES, Options
from lica_jax.starcraft2.game.process import LaunchSettings
from lica_jax.types import TaskSpec

NEWEST = "newest"


def _number(text: str) -> str:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return str(int(value)) if value.is_integer() else repr(value)


def _seconds(text: str) -> str:
    if not 0 < float(text) <= 86_400:
        raise ValueError(text)
    return _number(text)


def _offered() -> dict[str, Choice]:
    """SMAC's options as options of a task's name, which are text."""
    out: dict[str, Choice] = {}
    for f in dataclasses.fields(Options):
        if isinstance(f.default, bool):
            out[f.name] = tuple(str(v).lower() for v in (f.default, not f.default))
        elif f.name == "difficulty":
            out[f.name] = (f.default, *(d for d in DIFFICULTIES if d != f.default))
        else:
            out[f.name] = Free(_number(str(f.default)), _number)
    launch = LaunchSettings()
    return out | {
        "version": Free(NEWEST, str), "pipeline": ("true", "false"),
        "start_timeout": Free(_number(str(launch.start_timeout)), _seconds),
        "call_timeout": Free(_number(str(launch.call_timeout)), _seconds),
    }  # fmt: skip


OPTIONS = _offered()


def parse_options(given: dict[str, str]) -> Options:
    """`Options` from text; UserError for values out of range."""
    values: dict[str, Any] = {}
    for f in dataclasses.fields(Options):
        if f.name in given:
            text = given[f.name]
            if isinstance(f.default, bool):
                values[f.name] = text == "true"
            elif isinstance(f.default, str):
                values[f.name] = text
            else:
                number = float(text)
                values[f.name] = int(number) if number.is_integer() else number
    options = Options(**values)
    if found := options.problems():
        raise UserError("invalid options of smac/:\n" + "\n".join(f"  - {p}" for p in found))
    return options


def describe(name: str) -> str:
    """Who fights whom, and for how long."""
    f = map_facts(name)
    races = {"T": "Terran", "P": "Protoss", "Z": "Zerg"}
    teams = f"{f.n_agents} {races[f.ally_race]} vs {f.n_enemies} {races[f.enemy_race]}"
    return f"{teams}, limit {f.limit}; the real game, needs StarCraft II and lica-jax[sc2]"


def make(name: str, **options: str) -> Smac:
    """A map's task; starts nothing."""
    return Smac(name_with(f"smac/{name}", OPTIONS, options), name, options)


FAMILY = Family(
    names=tuple(MAPS), make=make, describe=describe, options=OPTIONS,
    patience=("start_timeout", "call_timeout", "pipeline"),
)  # fmt: skip


class Smac(HostTask):
    """A map; a `lica_jax.engines.games.HostTask`."""

    def __init__(self, full: str, map_name: str, given: dict[str, str]):
        self.map_name = map_name
        self.options = options = parse_options(given)
        version = given.get("version", NEWEST)
        self.version = None if version == NEWEST else version
        self._pipeline = given.get("pipeline") != "false"
        patience = {k: float(given[k]) for k in ("start_timeout", "call_timeout") if k in given}
        self._launch = LaunchSettings(**patience)
        facts = map_facts(map_name)
        # Shields, Zerg and whoever a medivac heals can be shot down again: nothing bounds those.
        bounded = options.reward_scale and not options.reward_sparse
        bounded &= facts.enemy_race == "T" and facts.map_type != "MMM"
        self.spec = TaskSpec(
            name=full,
            n_agents=facts.n_agents,
            n_actions=layout.n_actions(facts),
            obs_size=layout.obs_size(facts, options),
            state_size=layout.state_size(facts, options),
            episode_limit=facts.limit,
            # SMAC marks a time-out as such only in its continuing mode.
            timeout_is_terminal=not options.continuing_episode,
            max_return=float(options.reward_scale_rate) if bounded else None,
            has_win=True,
            masks_actions=True,
            state_has_actions=options.state_last_action and not options.obs_instead_of_state,
            source="SMAC",
        )

    def _settings(self):
        from lica_jax.starcraft2.fleet.fleet import GameSettings

        return GameSettings(version=self.version, launch=self._launch, pipeline=self._pipeline)

    def check(self) -> None:
        """Raises UserError where the game, the map or the message package is missing."""
        from lica_jax.starcraft2.game import messages
        from lica_jax.starcraft2.game.install import find_install, map_path

        messages.load()
        map_path(find_install(version=self.version), self.map_name)

    def open(self, envs: int, seed: str) -> Games:
        """``envs`` running games."""
        from lica_jax.starcraft2.fleet.fleet import Fleet

        return Fleet(
            self.map_name, envs, options=self.options, seed=seed, settings=self._settings()
        )
