"""One game in a process of its own, started by `fleet.py`.

It inherits two descriptors, a connection and the shared memory. The first message is the
configuration (JSON), then each message is a command and gets one answer: ``ok``, ``lost`` (the
episode broke off, and why) or ``failed`` (no game can be started, and why). Observations travel
through the shared memory. The process ends, with its game, at SIGTERM, when the connection closes,
and when the trainer dies. It never imports jax.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import select
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax.errors import UserError
from lica_jax.smac.options import Options
from lica_jax.starcraft2.env.environment import StarCraft2Env
from lica_jax.starcraft2.env.matches import DEFAULTS
from lica_jax.starcraft2.errors import GameError, GameFailed
from lica_jax.starcraft2.fleet import shared_memory
from lica_jax.starcraft2.game.install import find_install, map_path
from lica_jax.starcraft2.game.process import Game, LaunchSettings
from lica_jax.starcraft2.game.procfs import resident_bytes

OK, LOST, FAILED = b"ok", b"lost", b"failed"
Row = dict[str, np.ndarray]  # this game's part of the shared memory


def main(connection_fd: int, memory_fd: int, trainer: int) -> None:
    connection = Connection(connection_fd)
    config = json.loads(connection.recv_bytes())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the trainer's to handle
    signal.signal(signal.SIGTERM, _stop)
    _end_with(trainer)
    threading.Thread(target=_stop_when_alone, args=(connection_fd,), daemon=True).start()
    rows = shared_memory.views(memory_fd, config["rows"], tuple(config["sizes"]))
    row = {name: array[config["row"], ...] for name, array in rows.items()}
    try:
        env = make_env(config, row)
    except (UserError, OSError) as error:
        connection.recv_bytes()
        connection.send_bytes(FAILED + b" " + str(error).encode())
        return
    try:
        serve(connection, env, row)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        env.close()


def _stop(*_) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut the clean-up short
    sys.exit(143)


def _end_with(trainer: int) -> None:
    """Asks for SIGTERM when the trainer dies: of that the connection tells nothing while a child
    that the trainer forked holds its end open."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != trainer:  # it died before
        _stop()


def _stop_when_alone(connection_fd: int) -> None:
    """Ends this process, wherever it waits, once the trainer's end of the connection is gone."""
    poll = select.poll()
    poll.register(connection_fd, 0)  # hang-ups are always reported
    poll.poll()
    os.kill(os.getpid(), signal.SIGTERM)


def make_env(config: dict[str, Any], row: Row) -> StarCraft2Env:
    install = find_install(config["sc2_path"], config["version"])
    settings = LaunchSettings(**config["settings"])

    def launch(number: int) -> Game:
        del number
        game = Game.launch(install, Path(config["temp"]), settings)
        row["game_pid"][...] = game.pid
        return game

    # When a game has played enough is for the trainer to say: in lock step, all of them at once.
    lifetime = dataclasses.replace(DEFAULTS, steps=1 << 62, growth=config["growth"])
    return StarCraft2Env(
        config["map"], Options(**config["options"]), launch=launch, seed=config["seed"],
        pipeline=config["pipeline"], map_data=map_path(install, config["map"]).read_bytes(),
        lifetime=lifetime,
    )  # fmt: skip


def serve(connection: Connection, env: StarCraft2Env, row: Row) -> None:
    while True:
        try:
            command, _, argument = connection.recv_bytes().partition(b" ")
        except (EOFError, OSError):
            return
        try:
            answer = _do(command, argument.decode(), env, row)
        except GameError as error:
            answer = LOST + b" " + str(error).encode()
        except (GameFailed, UserError) as error:
            answer = FAILED + b" " + str(error).encode()
        try:
            connection.send_bytes(answer)
        except OSError:
            return


def _do(command: bytes, argument: str, env: StarCraft2Env, row: Row) -> bytes:
    if command in (b"start", b"fresh"):
        if command == b"fresh":
            env.close()
        env.reset()
        _show(env, row, 0.0, False, False, {})
    elif command == b"step":
        timeouts = env.stats["timeouts"]
        reward, over, info = env.step(row["action"].tolist())
        cut = env.stats["timeouts"] > timeouts
        _show(env, row, reward, over and not cut, cut, info)
    elif command == b"replay":
        try:
            env.save_replay(Path(argument))
        except (GameError, UserError) as error:  # no reason to end an episode
            return OK + b" " + str(error).encode()
    elif command == b"facts":
        facts = {"version": env.game_version, "fake": env.is_fake}
        # This process and its game.
        facts |= {"rss": resident_bytes(os.getpid()), "stats": env.stats}
        return OK + b" " + json.dumps(facts).encode()
    else:
        raise ValueError(f"unknown command {command!r}")
    return OK


def _show(
    env: StarCraft2Env, row: Row, reward: float, over: bool, cut: bool, info: dict[str, Any]
) -> None:
    row["obs"][...], row["state"][...] = env.obs(), env.state()
    row["avail"][...], row["alive"][...] = env.avail(), env.alive()
    row["reward"][...] = reward
    row["terminated"][...], row["truncated"][...] = over, cut
    shared_memory.write_info(row, info)


def as_json(config: dict[str, Any], options: Options, settings: LaunchSettings) -> bytes:
    """The first message to a worker."""
    both = {"options": dataclasses.asdict(options), "settings": dataclasses.asdict(settings)}
    return json.dumps(config | both).encode()
