"""The game behind an environment: launched, given matches, worn out, lost and replaced."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lica_jax.errors import UserError
from lica_jax.smac import layout
from lica_jax.smac.maps import map_facts
from lica_jax.smac.options import DIFFICULTIES, Options
from lica_jax.starcraft2.env import answers
from lica_jax.starcraft2.errors import GameError
from lica_jax.starcraft2.game import messages
from lica_jax.starcraft2.game.client import plain

MATCH_LOOPS = 2**19  # the engine ends a match there
RACES = {"T": "Terran", "P": "Protoss", "Z": "Zerg"}


class Connection(Protocol):
    """What is needed of `game.client.Client`: every failure is a GameError."""

    def call(self, request: Any, timeout: float | None = None) -> Any: ...
    def calls(self, requests: Sequence[Any], timeout: float | None = None) -> list[Any]: ...


class Game(Protocol):
    """What is needed of `game.process.Game`."""

    client: Connection

    def rss(self) -> int | None: ...
    def stderr_tail(self, settle: float = 0.0) -> str: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Lifetime:
    """When a match or a game is given up. All but the last two apply between episodes only.

    Attributes:
      steps: env steps that one game plays; then a new one is started.
      growth: bytes that a game may grow by after its first reset; then a new one is started.
      match_loops: game loops that one match plays; then a new match is created.
      spawn_loops: game loops to wait for all units at the start of an episode.
      attempts: games tried in a row to start an episode.
    """

    steps: int = 60_000
    growth: int = 2 << 30
    match_loops: int = MATCH_LOOPS
    spawn_loops: int = 256
    attempts: int = 3


DEFAULTS = Lifetime()


def match_seed(seed: int, launch: int, match: int) -> int:
    """The game's random seed: differs between matches and after every relaunch."""
    return int(np.random.SeedSequence([seed, launch, match]).generate_state(1)[0])


class Games:
    """The current game of an environment, if there is one, and its current match.

    Attributes:
      loop: game loop of the last observation, kept up to date by the environment.
      terrain: the map, once there was a match.
      version: what the last game said in ping.
      stats: counts matches, restarts (new games after a failure) and recycled (new games by age
        or memory).
    """

    def __init__(
        self,
        map_name: str,
        options: Options,
        launch: Callable[[int], Game],
        seed: int,
        pipeline: bool,
        map_data: bytes | None,
        lifetime: Lifetime,
    ) -> None:
        self.map_name, self.facts, self.options = map_name, map_facts(map_name), options
        self.lifetime = lifetime
        self.loop = 0
        self.terrain: layout.Terrain | None = None
        self.version: str | None = None
        self.stats = {"restarts": 0, "recycled": 0, "matches": 0}
        self._launch, self._seed, self._pipeline = launch, seed, pipeline
        self._map_data = map_data
        self._game: Game | None = None
        self._launches = 0  # calls of `launch`, also those that failed
        self._matches = self._steps = 0  # of the current game
        self._first_rss: int | None = None
        self._failed = False  # the last game was lost

    def prepare(self) -> bool:
        """Sees to a game and a match with room for another episode; True when the match is new."""
        if self._game is not None and self._worn_out():
            self.stats["recycled"] += 1
            self.close()
        if self._game is None:
            self._start()
        if self._matches and not self._match_nearly_over():
            return False
        self._start_match()
        return True

    def call(self, request: Any) -> Any:
        """One request and its answer."""
        (response,) = self.exchange(request)
        return response

    def exchange(self, *requests: Any) -> list[Any]:
        """Requests and their answers, in one round trip where pipelining is on."""
        if self._game is None:
            raise GameError("there is no game")
        client = self._game.client
        if self._pipeline and len(requests) > 1:
            return client.calls(requests)
        return [client.call(request) for request in requests]

    @staticmethod
    def advance(count: int) -> tuple[Any, ...]:
        """The requests to let `count` game loops pass and to look at the units then."""
        return (
            messages.Request(step=messages.RequestStep(count=count)),
            messages.Request(observation=messages.RequestObservation()),
        )

    def started(self) -> None:
        """Notes that an episode began; growth of memory is measured from the first one."""
        if self._first_rss is None:
            self._first_rss = self.rss()

    def stepped(self) -> None:
        """Notes one env step."""
        self._steps += 1

    def rss(self) -> int | None:
        """Resident memory of the game in bytes; None where unknown."""
        return self._game.rss() if self._game is not None else None

    def drop(self) -> str:
        """Gives up a game that failed; its last words, to be put behind a message."""
        self._failed = True
        words = self._game.stderr_tail(settle=1.0).strip() if self._game is not None else ""
        self.close()
        return f"; the game's last words:\n{words}" if words else ""

    def close(self) -> None:
        """Ends the game; may be called again."""
        game, self._game = self._game, None
        if game is not None:
            game.close()

    def save_replay(self, path: Path) -> None:
        """Writes the match's replay. The file is complete or not there."""
        request = messages.Request(save_replay=messages.RequestSaveReplay())
        data = answers.part(self.call(request), "save_replay").data
        if not data:
            raise GameError("the game saved an empty replay")
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as error:
            raise UserError(f"cannot write the replay {path}: {error.strerror}") from error
        finally:
            if partial.is_file():
                partial.unlink()

    def _worn_out(self) -> bool:
        if self._steps >= self.lifetime.steps:
            return True
        rss = self.rss()
        known = rss is not None and self._first_rss is not None
        return known and rss - self._first_rss > self.lifetime.growth

    def _start(self) -> None:
        self._launches += 1
        self._matches = self._steps = self.loop = 0
        self._first_rss = None
        self.stats["restarts"] += self._failed
        self._failed = False
        self._game = self._launch(self._launches - 1)
        ping = answers.part(self.call(messages.Request(ping=messages.RequestPing())), "ping")
        self.version = plain(ping.game_version, limit=100)

    def _match_nearly_over(self) -> bool:
        """Whether the engine might end the match within another episode."""
        episode = (self.facts.limit + 8) * self.options.step_mul + self.lifetime.spawn_loops
        return self.loop + episode > self.lifetime.match_loops

    def _start_match(self) -> None:
        seed = match_seed(self._seed, self._launches - 1, self._matches)
        create = messages.RequestCreateGame(realtime=False, random_seed=seed)
        create.local_map.map_path = f"SMAC_Maps/{self.map_name}.SC2Map"
        if self._map_data is not None:
            create.local_map.map_data = self._map_data
        create.player_setup.add(type=messages.Participant)
        create.player_setup.add(
            type=messages.Computer,
            race=getattr(messages, RACES[self.facts.enemy_race]),
            difficulty=getattr(messages, DIFFICULTIES[self.options.difficulty]),
        )
        join = messages.RequestJoinGame(race=getattr(messages, RACES[self.facts.ally_race]))
        join.options.raw, join.options.score = True, False
        self.call(messages.Request(create_game=create))
        joined = answers.part(self.call(messages.Request(join_game=join)), "join_game")
        if joined.player_id not in (0, answers.OURS):
            raise GameError(f"joined as player {joined.player_id}; expected {answers.OURS}")
        info = self.call(messages.Request(game_info=messages.RequestGameInfo()))
        self.terrain = answers.terrain(info, height=self.options.obs_terrain_height)
        self._matches += 1
        self.stats["matches"] += 1
