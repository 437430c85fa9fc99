"""Recording play on a game, and playing it again without one.

The recorded answers take the game's place: whoever has no game can check that the environment asks
the same questions and sees the same in the answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lica_jax.errors import UserError
from lica_jax.smac.options import DEFAULTS, Options
from lica_jax.starcraft2.env.environment import StarCraft2Env
from lica_jax.starcraft2.env.matches import Lifetime
from lica_jax.starcraft2.errors import GameError, GameFailed
from lica_jax.starcraft2.game import messages
from lica_jax.starcraft2.game.client import check_pairing, kind_of, plain, refusal
from lica_jax.starcraft2.game.install import find_install, map_path
from lica_jax.starcraft2.game.process import Game, LaunchSettings
from lica_jax.starcraft2.game.temp import temp_root
from lica_jax.starcraft2.tools import transcript
from lica_jax.starcraft2.tools.random_play import Played, play
from lica_jax.version import __version__

# A transcript is of one game, from its start.
ONE_GAME = Lifetime(attempts=1, steps=transcript.MAX_PAIRS, growth=1 << 62)


class Departs(Exception):
    """The environment asked something else than was recorded. No ``GameError``: trying again with
    another game would not help."""


def record(
    map_name: str,
    out: Path,
    *,
    episodes: int = 2,
    seed: int = 0,
    options: Options = DEFAULTS,
    sc2_path: str | None = None,
    version: str | None = None,
    settings: LaunchSettings | None = None,
    overwrite: bool = False,
) -> transcript.Header:
    """Plays random episodes on one game and writes the transcript to ``out``."""
    if episodes < 1 or seed < 0:
        raise UserError("--episodes must be at least 1 and --seed at least 0")
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists; replace it with --overwrite")
    if not (out.parent.is_dir() and os.access(out.parent, os.W_OK)):
        raise UserError(f"there is no directory {out.parent} that can be written to")
    install = find_install(sc2_path, version)
    map_data = map_path(install, map_name).read_bytes()
    with temp_root() as root, tempfile.TemporaryFile(dir=root) as spool:
        counted = 0

        def keep(request: bytes, response: bytes) -> None:
            nonlocal counted
            counted += 1
            if counted > transcript.MAX_PAIRS:
                raise ValueError("the transcript grows too long; record fewer episodes")
            for data in (_without_map(request), response):
                spool.write(struct.pack("<I", len(data)) + data)

        def launch(number: int) -> Game:
            return Game.launch(install, root, settings or LaunchSettings(), recorder=keep)

        env = StarCraft2Env(
            map_name, options, launch=launch, seed=seed, map_data=map_data, lifetime=ONE_GAME
        )
        with contextlib.closing(env):
            played = _play(env, episodes, seed)
        header = transcript.Header(
            map=map_name,
            options=dataclasses.asdict(options),
            seed=seed,
            episodes=episodes,
            steps=played.steps,
            fake=bool(env.is_fake),
            game_version=plain(env.game_version, 90),
            map_sha256=hashlib.sha256(map_data).hexdigest(),
            digest=played.digest,
            recorder=__version__,
        )
        spool.seek(0)
        transcript.write(out, header, _spooled(spool))
    return header


def _without_map(request: bytes) -> bytes:
    """The request without the map, which is not ours to pass on; the header has its digest."""
    message = messages.Request.FromString(request)
    if not message.HasField("create_game"):
        return request
    message.create_game.local_map.ClearField("map_data")
    return message.SerializeToString()


def _play(env: StarCraft2Env, episodes: int, seed: int) -> Played:
    try:
        return play(env, episodes, seed)
    except (GameError, GameFailed) as error:
        raise UserError(f"nothing was recorded: {error}") from error


def _spooled(spool) -> Iterator[tuple[bytes, bytes]]:
    while size := spool.read(4):
        request = spool.read(struct.unpack("<I", size)[0])
        yield request, spool.read(struct.unpack("<I", spool.read(4))[0])


# --- replaying -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replayed:
    """What came of playing a transcript again. ``departs`` tells where it was left, if it was."""

    header: transcript.Header
    requests: int
    departs: str | None = None
    digest: str | None = None
    fake: bool = False

    @property
    def same(self) -> bool:
        """Whether every request was the recorded one, and everything seen was the same."""
        return self.departs is None and self.digest == self.header.digest


def replay(path: Path) -> Replayed:
    """Plays a transcript through the environment. Raises ``UserError`` for one that is damaged."""
    with contextlib.closing(transcript.Reader(path)) as reader:
        header = reader.header
        game = RecordedGame(reader.pairs())

        def launch(number: int) -> RecordedGame:
            return game

        env = StarCraft2Env(
            header.map,
            Options(**header.options),
            launch=launch,
            seed=header.seed,
            lifetime=ONE_GAME,
        )
        departs, digest = None, None
        try:
            digest = play(env, header.episodes, header.seed).digest
            game.expect_end()
        except (Departs, GameError, GameFailed) as error:
            departs = str(error)
        # Not the header's word alone: the game in the transcript says what it is.
        fake = header.fake or env.is_fake is not False
    return Replayed(header, game.client.count, departs, digest, fake)


class RecordedGame:
    """Stands in for `game.process.Game`: its client answers as the recorded game did."""

    def __init__(self, pairs: Iterator[tuple[bytes, bytes]]):
        self.client = RecordedClient(pairs)

    def rss(self) -> int | None:
        return None

    def stderr_tail(self, settle: float = 0.0) -> str:
        return ""

    def close(self) -> None:
        """Nothing runs."""

    def expect_end(self) -> None:
        """Raises ``Departs`` when the recorded game was asked more."""
        if next(self.client.pairs, None) is not None:
            raise Departs("the recorded game was asked more")


class RecordedClient:
    """The part of `game.client.Client` that the environment uses."""

    def __init__(self, pairs: Iterator[tuple[bytes, bytes]]):
        self.pairs = pairs
        self.count = 0

    def call(self, request, timeout: float | None = None):
        return self.calls([request], timeout)[0]

    def calls(self, requests: Sequence, timeout: float | None = None) -> list:
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        self.count += 1
        request.id = self.count
        where = f"request {self.count} ({kind_of(request)})"
        pair = next(self.pairs, None)
        if pair is None:
            raise Departs(f"{where}: the recorded game was asked no more")
        recorded, response = messages.Request(), messages.Response()
        try:
            recorded.ParseFromString(pair[0])
            response.ParseFromString(pair[1])
        except Exception as error:  # protobuf's DecodeError, of whichever package it is
            raise UserError(f"{where}: the transcript holds no protocol message: {error}") from None
        if recorded != request:
            raise Departs(f"{where} differs from the recorded {kind_of(recorded)}")
        check_pairing(request, response)
        problem = refusal(response, kind_of(request))
        if problem:
            raise GameError(f"{where}: {problem}")
        return response
