"""A client for FakeSC2 that is not the library's: a bare websocket and the protocol's messages."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

websocket = pytest.importorskip("websocket")
api = pytest.importorskip("s2clientprotocol.sc2api_pb2")
common = pytest.importorskip("s2clientprotocol.common_pb2")

STOP, MOVE, ATTACK, HEAL = 4, 16, 23, 386  # ability ids


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def binary(root: Path) -> Path:
    (found,) = root.glob("Versions/Base*/SC2_x64")
    return found


class Bare:
    """A process and a connection to it; no judgement of the answers."""

    def __init__(self, root: Path, *, connect: bool = True, env=None):
        self.root, self.port = root, free_port()
        self.process = subprocess.Popen(
            [
                str(binary(root)),
                *("-listen", "127.0.0.1", "-port", str(self.port), "-dataDir", f"{root}/"),
                *("-tempDir", f"{root}/tmp/"),
            ],
            stderr=subprocess.PIPE,
            env={**os.environ, "FAKE_SC2_LIFETIME": "60", **(env or {})},
            start_new_session=True,
        )
        self.socket = None
        if connect:
            self.connect()

    def connect(self, path="/sc2api", patience=10.0, timeout=5.0):
        end = time.monotonic() + patience
        while True:
            try:
                self.socket = websocket.create_connection(
                    f"ws://127.0.0.1:{self.port}{path}", timeout=timeout
                )
                return
            except ConnectionRefusedError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.005)

    def send(self, **request) -> None:
        self.socket.send_binary(api.Request(**request).SerializeToString())

    def receive(self):
        data = self.socket.recv()
        response = api.Response()
        response.ParseFromString(data)
        return response

    def __call__(self, **request):
        self.send(**request)
        return self.receive()

    def start(self, name="3m", seed=1):
        """From nothing to the first observation."""
        setup = [
            api.PlayerSetup(type=api.Participant),
            api.PlayerSetup(type=api.Computer, race=common.Terran, difficulty=api.VeryHard),
        ]
        create = api.RequestCreateGame(
            local_map=api.LocalMap(map_path=f"SMAC_Maps/{name}.SC2Map"),
            player_setup=setup,
            random_seed=seed,
        )
        answer = self(create_game=create)
        assert answer.status == api.init_game, answer
        options = api.InterfaceOptions(raw=True)
        answer = self(join_game=api.RequestJoinGame(race=common.Terran, options=options))
        assert answer.status == api.in_game and answer.join_game.player_id == 1, answer
        return self.observe()

    def observe(self):
        return self(observation={}).observation

    def step(self, count=8):
        return self(step={"count": count})

    def order(self, unit, ability, **target) -> int:
        command = {"ability_id": ability, "unit_tags": [unit.tag], **target}
        action = api.Action(action_raw={"unit_command": command})
        (result,) = self(action={"actions": [action]}).action.result
        return result

    def kill(self, units):
        return self(debug={"debug": [{"kill_unit": {"tag": [unit.tag for unit in units]}}]})

    def stop(self) -> None:
        if self.socket is not None:
            self.socket.shutdown()  # without waiting for the other side's farewell
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(5)
        self.process.stderr.close()


@contextmanager
def game(root: Path, **options):
    bare = Bare(root, **options)
    try:
        yield bare
    finally:
        bare.stop()


def sides(observation):
    units = observation.observation.raw_data.units
    return [u for u in units if u.owner == 1], [u for u in units if u.owner == 2]


def wait_until(condition, patience=5.0):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
