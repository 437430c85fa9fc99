"""Many games in lock step: the trainer's side of `worker.py`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lica_jax
from lica_jax.errors import UserError
from lica_jax.starcraft2 import layout, slab
from lica_jax.starcraft2.errors import GameFailed
from lica_jax.starcraft2.maps import map_facts
from lica_jax.starcraft2.options import Options
from lica_jax.starcraft2.process import LaunchSettings, temp_root
from lica_jax.starcraft2.procfs import available_memory
from lica_jax.starcraft2.worker import FAILED, LOST, as_json

# Games started at once: each takes a core and most of its memory while it loads.
WAVE = 8
# A worker that dies this often in a row will not do better the next time.
MAX_DEATHS = 3


@dataclass(frozen=True)
class GameSettings:
    """How games are found and started.

    Attributes:
      sc2_path: the installation; None takes SC2PATH, then ``~/StarCraftII``.
      version: a release such as "4.10"; None takes the newest installed.
      launch: time-outs and retries.
      pipeline: send the three requests of a step at once.
    """

    sc2_path: str | None = None
    version: str | None = None
    launch: LaunchSettings = field(default_factory=LaunchSettings)
    pipeline: bool = True


class Shown(NamedTuple):
    """What every environment shows; the same fields as `lica_jax.host.Moment`."""

    obs: np.ndarray
    state: np.ndarray
    avail: np.ndarray
    alive: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    won: np.ndarray
    lost: np.ndarray


class _Worker(NamedTuple):
    process: subprocess.Popen
    connection: Connection


class Fleet:
    """``n`` games of one map, each in a worker process of its own.

    Raises:
      UserError: the first game cannot be started, or not all of them fit into memory.
    """

    def __init__(
        self, map_name: str, n: int, *, options: Options | None = None, seed: str = "0",
        settings: GameSettings | None = None,
    ):  # fmt: skip
        self.n, self._map, self._seed = n, map_name, seed
        self._options = options or Options()
        self._settings = settings or GameSettings()
        facts = map_facts(map_name)
        self._sizes = (
            facts.n_agents, layout.n_actions(facts), layout.obs_size(facts, self._options),
            layout.state_size(facts, self._options),
        )  # fmt: skip
        self.counts = {"lost_episodes": 0, "dead_workers": 0}
        folder = contextlib.ExitStack()
        self._root = folder.enter_context(temp_root())
        self._file = slab.create(n, self._sizes)
        self._rows = slab.views(self._file.fileno(), n, self._sizes)
        self._workers: list[_Worker | None] = [None] * n
        self._born = [0] * n
        self._deaths = np.zeros(n, int)
        self._running = np.zeros(n, bool)
        parts = (self._workers, self._rows["game_pid"], self._root)
        self._finalizer = weakref.finalize(self, _end, *parts, folder)
        try:
            self._first_game()
        except BaseException:
            self.close()
            raise

    # --- playing ---------------------------------------------------------------------------------

    def start(self, which: np.ndarray) -> Shown:
        """Begins an episode where ``which`` [n] is True."""
        running, waiting = (
            np.flatnonzero(which & self._running),
            np.flatnonzero(which & ~self._running),
        )
        lost = np.zeros(self.n, bool)
        waves = [waiting[i : i + WAVE] for i in range(0, len(waiting), WAVE)]
        for rows in (running, *waves):
            lost |= self._do(b"start", rows, self._start_patience())
        self._running[np.flatnonzero(which & ~lost)] = True
        return self._shown(lost)

    def step(self, action: np.ndarray, which: np.ndarray) -> Shown:
        """One env step where ``which`` [n] is True; ``action`` is [n, N]."""
        rows = np.flatnonzero(which)
        self._rows["action"][rows] = action[rows]
        return self._shown(self._do(b"step", rows, self._step_patience()))

    def save_replays(self, folder: Path) -> list[str]:
        """Stores the games' own replay files, one per running game: the match it is in."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = {i: folder / f"{self._map}-{i}.SC2Replay" for i in np.flatnonzero(self._running)}
        commands = {i: b"replay " + os.fsencode(path.absolute()) for i, path in paths.items()}
        self._ask(commands, self._step_patience())
        return [str(path) for path in paths.values() if path.is_file()]

    def _shown(self, lost: np.ndarray) -> Shown:
        # Copies: the workers go on writing, and jax may alias a numpy array's memory.
        rows = {k: self._rows[k].copy() for k in Shown._fields if k != "lost"}
        rows["reward"] = rows["reward"].astype(np.float32)
        return Shown(**rows, lost=lost)

    def _do(self, command: bytes, rows: np.ndarray, patience: float) -> np.ndarray:
        """Which episodes were lost."""
        lost = np.zeros(self.n, bool)
        for i, answer in self._ask(dict.fromkeys(rows.tolist(), command), patience).items():
            lost[i] = answer is None or answer.startswith(LOST)
        self._running[lost] = False
        self.counts["lost_episodes"] += int(lost.sum()) if command == b"step" else 0
        return lost

    # --- workers ---------------------------------------------------------------------------------

    def _ask(self, commands: dict[int, bytes], patience: float) -> dict[int, bytes | None]:
        """Sends each row its command and waits for the answers; None where the worker died."""
        answers: dict[int, bytes | None] = {}
        open_rows: dict[Connection, int] = {}
        for i, command in commands.items():
            worker = self._workers[i] or self._spawn(i)
            try:
                worker.connection.send_bytes(command)
                open_rows[worker.connection] = i
            except OSError:
                answers[i] = self._bury(i)
        deadline = time.monotonic() + patience
        while open_rows:
            ready = wait(list(open_rows), timeout=max(0.0, deadline - time.monotonic()))
            if not ready:  # stuck, although it has time-outs of its own
                answers |= {i: self._bury(i) for i in open_rows.values()}
                break
            for connection in ready:
                i = open_rows.pop(connection)
                try:
                    answers[i] = connection.recv_bytes(maxlength=1 << 20)
                    self._deaths[i] = 0
                except (EOFError, OSError):
                    answers[i] = self._bury(i)
        failed = [a for a in answers.values() if a and a.startswith(FAILED)]
        if failed:
            raise GameFailed(failed[0].partition(b" ")[2].decode(errors="replace"))
        return answers

    def _spawn(self, i: int) -> _Worker:
        ours, theirs = socket.socketpair()
        self._rows["game_pid"][i] = 0
        package = str(Path(lica_jax.__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        with theirs:
            fds = (theirs.fileno(), self._file.fileno())
            process = subprocess.Popen(
                [sys.executable, "-m", "lica_jax.starcraft2.worker", *map(str, fds)],
                pass_fds=fds, stdin=subprocess.DEVNULL, start_new_session=True,
                env=os.environ | {"PYTHONPATH": path},
            )  # fmt: skip
        worker = _Worker(process, Connection(ours.detach()))
        self._workers[i] = worker
        self._running[i] = False
        # A worker's second life plays other games than its first.
        text = f"{self._seed}/{i}/{self._born[i]}"
        self._born[i] += 1
        config = {
            "row": i, "rows": self.n, "sizes": self._sizes,
            "map": self._map, "temp": str(self._root),
            "seed": int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1,
            "sc2_path": self._settings.sc2_path, "version": self._settings.version,
            "pipeline": self._settings.pipeline,
        }  # fmt: skip
        with contextlib.suppress(OSError):  # dead already: found out at its first command
            worker.connection.send_bytes(as_json(config, self._options, self._settings.launch))
        return worker

    def _bury(self, i: int) -> None:
        """Ends a worker that is dead or stuck, and its game."""
        worker, self._workers[i] = self._workers[i], None
        self._running[i] = False
        self.counts["dead_workers"] += 1
        self._deaths[i] += 1
        if worker is not None:
            _kill(worker, int(self._rows["game_pid"][i]), self._root)
        if self._deaths[i] >= MAX_DEATHS:
            code = worker.process.returncode if worker else None
            raise GameFailed(f"game worker {i} died {MAX_DEATHS} times in a row (exit code {code})")

    def _start_patience(self) -> float:
        launch = self._settings.launch
        return 3 * (launch.start_timeout + 3 * launch.call_timeout) + 30

    def _step_patience(self) -> float:
        return 4 * self._settings.launch.call_timeout + 30

    # --- the first game --------------------------------------------------------------------------

    def _first_game(self) -> None:
        """Starts one game, and learns from it what is played and how much memory one takes."""
        one = np.arange(self.n) == 0
        try:
            while self.start(one).lost[0]:  # `_bury` ends this
                pass
            facts = self._facts(0)
        except GameFailed as error:
            raise UserError(
                f"{error}\n`lica-jax sc2 doctor --launch` looks for the reason"
            ) from None
        self.genuine = not facts["fake"]
        version = facts["version"]
        self.source = (
            f"SMAC, StarCraft II {version}"
            if self.genuine
            else f"FakeSC2 {version}, a test double: its figures are not SMAC results"
        )
        check_memory(self.n, facts["rss"])

    def _facts(self, i: int) -> dict[str, Any]:
        answer = self._ask({i: b"facts"}, self._step_patience())[i]
        if answer is None:
            raise GameFailed("the first game's worker died")
        return json.loads(answer.partition(b" ")[2])

    def close(self) -> None:
        """Ends all games and workers and removes their folders. Safe to call again."""
        self._finalizer()


def check_memory(n: int, one: int | None, free: int | None = None) -> None:
    """Refuses ``n`` games that do not fit, given the bytes that the first one takes."""
    free = available_memory() if free is None else free
    if not one or free is None or (n - 1) * one <= 0.9 * free:
        return
    fit = 1 + int(0.9 * free / one)
    raise UserError(
        f"{n} games need about {n * one / 2**30:.1f} GiB ({one / 2**20:.0f} MiB each, measured) "
        f"and {(free + one) / 2**30:.1f} GiB are free: use at most {fit} (--envs {fit})"
    )


# --- ending --------------------------------------------------------------------------------------


def _end(
    workers: list[_Worker | None], game_pids: np.ndarray, root: Path, folder: contextlib.ExitStack
) -> None:
    living = [(i, w) for i, w in enumerate(workers) if w is not None]
    for _, worker in living:
        with contextlib.suppress(OSError):
            worker.connection.send_bytes(b"close")
    deadline = time.monotonic() + 15
    for i, worker in living:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(0.1, deadline - time.monotonic()))
        _kill(worker, int(game_pids[i]), root)
        workers[i] = None
    folder.close()


def _kill(worker: _Worker, game_pid: int, root: Path) -> None:
    process = worker.process
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    with contextlib.suppress(OSError):
        worker.connection.close()
    # The worker's own clean-up normally leaves nothing; a killed one may.
    if game_pid > 1 and str(root) in _command_line(game_pid):
        with contextlib.suppress(OSError):
            os.killpg(game_pid, signal.SIGKILL)


def _command_line(pid: int) -> str:
    """The command of a process: a number may have passed on to somebody else's."""
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except OSError:
        return ""
