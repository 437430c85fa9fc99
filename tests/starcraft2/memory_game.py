"""FakeSC2 without a process: its session behind an object that looks like `game.process.Game`."""

from __future__ import annotations

from lica_jax.starcraft2.errors import GameError
from lica_jax.starcraft2.game import messages
from lica_jax.starcraft2.testing.faults import Faults
from lica_jax.starcraft2.testing.install import make_install
from lica_jax.starcraft2.testing.session import Session


class MemoryGame:
    """A game of one's own: `corrupt(kind, response)` may change or replace every answer.

    Attributes:
      asked: all requests, in order.
      trips: how many round trips they took.
    """

    def __init__(self, tree, corrupt=None, **faults):
        self.session = Session(tree, Faults(faults))
        self.corrupt = corrupt
        self.client = self
        self.asked, self.trips, self.closed, self.memory = [], 0, False, 1 << 20
        self._answers = []

    def call(self, request, timeout=None):
        return self.calls([request])[0]

    def calls(self, requests, timeout=None):
        self.trips += 1
        return [self._one(request) for request in requests]

    def _one(self, request):
        assert not self.closed
        kind = request.WhichOneof("request")
        kept = messages.Request()
        kept.CopyFrom(request)
        self.asked.append(kept)
        self._request = request
        self.session.answer(self)
        response = messages.Response()
        response.ParseFromString(self._answers.pop())
        if self.corrupt is not None:
            response = self.corrupt(kind, response) or response
        if response.error:
            raise GameError("; ".join(response.error))
        return response

    # What the session needs of a connection

    def receive(self):
        return self._request.SerializeToString()

    def send(self, payload, opcode=2, *, pieces=1):
        self._answers.append(payload)

    def flush(self):
        pass

    # What the environment needs of a game

    def rss(self):
        return self.memory

    def stderr_tail(self, settle=0.0):
        return "words of a game in memory"

    def close(self):
        self.closed = True

    # What tests want to know

    def kinds(self):
        return [request.WhichOneof("request") for request in self.asked]

    def kill(self, owner, count=None):
        """Kills units of a player in the next game loop."""
        units = [unit for unit in self.session.battle.units() if unit.owner == owner]
        self.session.battle.kill([unit.tag for unit in units[:count]])


class MemoryGames:
    """`launch` for an environment; `games` are those it launched."""

    def __init__(self, tmp_path, corrupt=None, **faults):
        self.tree = make_install(tmp_path / "sc2", maps=None)
        self.corrupt, self.faults = corrupt, faults
        self.games: list[MemoryGame] = []

    def __call__(self, number):
        assert number == len(self.games)
        self.games.append(MemoryGame(self.tree, self.corrupt, **self.faults))
        return self.games[-1]

    @property
    def last(self) -> MemoryGame:
        return self.games[-1]
