"""Many games in lock step: the trainer's side of `worker.py`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lica_jax.engines.games import Moment
from lica_jax.errors import UserError
from lica_jax.machine import available_memory
from lica_jax.smac import layout
from lica_jax.smac.maps import map_facts
from lica_jax.smac.options import Options
from lica_jax.starcraft2.env import matches
from lica_jax.starcraft2.errors import GameFailed
from lica_jax.starcraft2.fleet import shared_memory
from lica_jax.starcraft2.fleet.worker import FAILED, LOST, as_json
from lica_jax.starcraft2.game.process import LaunchSettings, from_lasting_thread, how_it_ended
from lica_jax.starcraft2.game.temp import temp_root

# Games started at once: each takes a core and most of its memory while it loads.
WAVE = 8
# A worker that dies this often in a row will not do better the next time.
MAX_DEATHS = 3
# The child finds modules exactly where this process does: nothing of the working directory or of a
# folder beside the package may come before the standard library.
BECOME_WORKER = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[4]); "
    "from lica_jax.starcraft2.fleet.worker import main; main(*map(int, sys.argv[1:4]))"
)


@dataclass(frozen=True)
class GameSettings:
    """How games are found and started.

    Attributes:
      sc2_path: the installation; None takes SC2PATH, then ``~/StarCraftII``.
      version: a release such as "4.10"; None takes the newest installed.
      launch: time-outs and retries.
      pipeline: send the three requests of a step at once.
      steps: env steps after which every game is replaced by a new one, against what piles up.
    """

    sc2_path: str | None = None
    version: str | None = None
    launch: LaunchSettings = field(default_factory=LaunchSettings)
    pipeline: bool = True
    steps: int = matches.DEFAULTS.steps


class _Worker(NamedTuple):
    process: subprocess.Popen
    connection: Connection
    folder: Path  # of its games


class Fleet:
    """``n`` games of one map, each in a worker process of its own; `lica_jax.engines.games.Games`.

    Attributes:
      source: what the games say that they are; shown with results.
      genuine: False for the test double.
      reason: why the last episode was lost.

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
        self.reason = ""
        self._dead = 0
        self._fd = shared_memory.create(n, self._sizes)
        self._rows = shared_memory.views(self._fd, n, self._sizes)
        self._workers: list[_Worker | None] = [None] * n
        self._born = [0] * n
        self._deaths = np.zeros(n, int)
        self._ends: dict[int, str] = {}  # how a row's last worker ended
        self._running = np.zeros(n, bool)
        self._played = np.zeros(n, int)  # env steps of the running game
        folder = contextlib.ExitStack()
        folder.callback(os.close, self._fd)
        self._root = folder.enter_context(temp_root())
        parts = (self._workers, self._rows["game_pid"], self._root, folder, os.getpid())
        self._finalizer = weakref.finalize(self, _end, *parts)
        try:
            self._first_game()
        except BaseException:
            self.close()
            raise

    # --- playing ---------------------------------------------------------------------------------

    def start(self, which: np.ndarray) -> Moment:
        """Begins an episode where ``which`` [n] is True."""
        lost = np.zeros(self.n, bool)
        worn = self._played.max() >= self._settings.steps and bool(which.all())
        ready = which & self._running & (not worn)
        lost |= self._do(b"start", np.flatnonzero(ready), self._start_patience())
        waiting = np.flatnonzero(which & ~ready)
        for i in range(0, len(waiting), WAVE):
            rows = waiting[i : i + WAVE]
            lost |= self._do(b"fresh", rows, self._start_patience())
            self._played[rows] = 0
        self._running |= which & ~lost
        return self._shown(lost)

    def step(self, action: np.ndarray, which: np.ndarray) -> Moment:
        """One env step where ``which`` [n] is True; ``action`` is [n, N]."""
        rows = np.flatnonzero(which)
        self._rows["action"][rows] = action[rows]
        self._played[rows] += 1
        return self._shown(self._do(b"step", rows, self._step_patience()))

    def save_replays(self, folder: Path) -> tuple[list[str], str]:
        """Stores the games' own replay files, one per running game: the match it is in. What
        cannot be written is left out.

        Returns:
          The files, and why there are not ``n`` of them.
        """
        paths = {
            int(i): folder / f"{self._map}-{i}.SC2Replay" for i in np.flatnonzero(self._running)
        }
        commands = {i: b"replay " + os.fsencode(path.absolute()) for i, path in paths.items()}
        try:
            answers = self._ask(commands, self._step_patience())
        except GameFailed as error:
            problems = [str(error)]
        else:
            problems = [self._died(i) if a is None else _text(a) for i, a in answers.items()]
        written = [str(path) for path in paths.values() if path.is_file()]
        if len(written) == self.n:
            return written, ""
        return written, next(filter(None, problems), f"{self.n - len(paths)} game(s) not running")

    def stats(self) -> dict[str, int]:
        """Counters of all games together (`StarCraft2Env.stats`), and of dead workers."""
        rows = [i for i, worker in enumerate(self._workers) if worker is not None]
        total: Counter[str] = Counter(dead_workers=self._dead)
        for answer in self._ask(dict.fromkeys(rows, b"facts"), self._step_patience()).values():
            if answer is not None:
                total.update(_facts(answer)["stats"])
        return dict(total)

    def _shown(self, lost: np.ndarray) -> Moment:
        # Copies: the workers go on writing, and jax may alias a numpy array's memory.
        rows = {k: v.copy() for k, v in self._rows.items() if k in Moment._fields}
        rows["reward"] = rows["reward"].astype(np.float32)
        info = {k: v.copy() for k, v in shared_memory.info_of(self._rows).items()}
        return Moment(**rows, info=info, lost=lost)

    def _do(self, command: bytes, rows: np.ndarray, patience: float) -> np.ndarray:
        """Which episodes were lost, bool [n]; ``patience`` in seconds."""
        lost = np.zeros(self.n, bool)
        for i, answer in self._ask(dict.fromkeys(rows.tolist(), command), patience).items():
            if answer is None or answer.startswith(LOST):
                lost[i] = True
                self.reason = self._died(i) if answer is None else _text(answer)
        self._running[lost] = False
        return lost

    def _died(self, i: int) -> str:
        end = self._ends[i]
        memory = ", as when memory runs out" if end == f"signal {signal.SIGKILL:d}" else ""
        return f"game worker {i} died ({end}{memory})"

    # --- workers ---------------------------------------------------------------------------------

    def _ask(self, commands: dict[int, bytes], patience: float) -> dict[int, bytes | None]:
        """Sends each row its command and waits for the answers, at most ``patience`` seconds; None
        where the worker died."""
        if not self._finalizer.alive:
            raise RuntimeError("these games are closed")
        answers: dict[int, bytes | None] = {}
        open_rows: dict[Connection, int] = {}
        for i, command in commands.items():
            worker = self._workers[i] or self._spawn(i)
            try:
                worker.connection.send_bytes(command)
                open_rows[worker.connection] = i
            except OSError:
                answers[i] = None
        deadline, stuck = time.monotonic() + patience, {}
        while open_rows:
            ready = wait(list(open_rows), timeout=max(0.0, deadline - time.monotonic()))
            if not ready:  # stuck, although it has time-outs of its own
                answers |= dict.fromkeys(open_rows.values())
                stuck = dict.fromkeys(open_rows.values(), f"no answer within {patience:.0f} s")
                break
            for connection in ready:
                i = open_rows.pop(connection)
                try:
                    answers[i] = connection.recv_bytes(maxlength=1 << 20)
                    self._deaths[i] = 0
                except (EOFError, OSError):
                    answers[i] = None
        self._bury([i for i, answer in answers.items() if answer is None], stuck)
        failed = [a for a in answers.values() if a and a.startswith(FAILED)]
        if failed:
            raise GameFailed(_text(failed[0]))
        return answers

    def _spawn(self, i: int) -> _Worker:
        ours, theirs = socket.socketpair()
        self._rows["game_pid"][i] = 0
        # One thread: a worker's arrays are small, and there are many workers.
        threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with theirs:
            fds = (shared_memory.inheritable(theirs.fileno()), self._fd)
            # Python itself passes over what is no text in its path.
            modules = json.dumps([place for place in sys.path if isinstance(place, str)])
            command = [sys.executable, "-P", "-c", BECOME_WORKER, *map(str, fds)]
            folder = self._root / f"{i}-{self._born[i]}"
            try:
                folder.mkdir()
                process = from_lasting_thread(
                    lambda: subprocess.Popen(
                        [*command, str(os.getpid()), modules], pass_fds=fds,
                        stdin=subprocess.DEVNULL, start_new_session=True, env=os.environ | threads,
                    )
                )  # fmt: skip
            except OSError as error:
                ours.close()
                raise GameFailed(f"no process can be started for a game: {error}") from None
            finally:
                os.close(fds[0])
        worker = _Worker(process, Connection(ours.detach()), folder)
        self._workers[i] = worker
        self._running[i] = False
        # A worker's second life plays other games than its first.
        text = f"{self._seed}/{i}/{self._born[i]}"
        self._born[i] += 1
        config = {
            "row": i, "rows": self.n, "sizes": self._sizes, "map": self._map,
            "temp": str(folder), "growth": self._growth(),
            "seed": int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1,
            "sc2_path": self._settings.sc2_path, "version": self._settings.version,
            "pipeline": self._settings.pipeline,
        }  # fmt: skip
        with contextlib.suppress(OSError):  # dead already: found out at its first command
            worker.connection.send_bytes(as_json(config, self._options, self._settings.launch))
        return worker

    def _growth(self) -> int:
        """Bytes that one game may grow by: all of them together no more than what is free."""
        free = available_memory()
        most = matches.DEFAULTS.growth
        return most if free is None else max(1 << 28, min(most, int(0.5 * free / self.n)))

    def _bury(self, rows: list[int], stuck: dict[int, str]) -> None:
        """Ends workers that are dead, or stuck in the way that is told, and their games."""
        gone = [(i, w) for i in rows if (w := self._workers[i]) is not None]
        for i in rows:
            self._workers[i] = None
            self._running[i] = False
            self._deaths[i] += 1
        self._dead += len(rows)
        _kill(gone, self._rows["game_pid"], self._root, patience=2.0)
        for i, worker in gone:
            shutil.rmtree(worker.folder, ignore_errors=True)
            self._ends[i] = stuck.get(i) or how_it_ended(worker.process)
        hopeless = [i for i in rows if self._deaths[i] >= MAX_DEATHS]
        if hopeless:
            raise GameFailed(
                f"game worker {hopeless[0]} died {MAX_DEATHS} times in a row "
                f"({self._ends[hopeless[0]]}); what it wrote is above"
            )

    def _start_patience(self) -> float:
        launch = self._settings.launch
        return matches.DEFAULTS.attempts * (launch.start_timeout + 3 * launch.call_timeout) + 30

    def _step_patience(self) -> float:
        return 4 * self._settings.launch.call_timeout + 30

    # --- the first game --------------------------------------------------------------------------

    def _first_game(self) -> None:
        """Starts one game, and learns from it what is played and how much memory one takes."""
        one = np.arange(self.n) == 0
        try:
            while self.start(one).lost[0]:  # `_bury` ends this
                pass
            answer = self._ask({0: b"facts"}, self._step_patience())[0]
            if answer is None:
                raise GameFailed("the first game's worker died")
        except GameFailed as error:
            raise UserError(
                f"{error}\n`lica-jax sc2 doctor --launch` looks for the reason"
            ) from None
        facts = _facts(answer)
        self.genuine = not facts["fake"]
        version = facts["version"]
        self.source = (
            f"SMAC, StarCraft II {version}"
            if self.genuine
            else f"FakeSC2 {version}, a test double: its figures are not SMAC results"
        )
        check_memory(self.n, facts["rss"])

    def close(self) -> None:
        """Ends all games and workers and removes their folders. Safe to call again."""
        self._finalizer()


def _facts(answer: bytes) -> dict[str, Any]:
    return json.loads(answer.partition(b" ")[2])


def _text(answer: bytes) -> str:
    return answer.partition(b" ")[2].decode(errors="replace")


def check_memory(n: int, one: int | None, free: int | None = None) -> None:
    """Refuses ``n`` games that do not fit, given the bytes that the first one takes."""
    free = available_memory() if free is None else free
    if not one or free is None or (n - 1) * one <= 0.9 * free:
        return
    fit = 1 + int(0.9 * free / one)
    raise UserError(
        f"{n} games need about {n * one / 2**30:.1f} GiB ({one / 2**20:.0f} MiB each, measured) "
        f"and {(free + one) / 2**30:.1f} GiB are free: use at most {fit} (--envs {fit}; a run that "
        "is resumed keeps its number: free memory, or begin another)"
    )


# --- ending --------------------------------------------------------------------------------------


def _end(
    workers: list[_Worker | None], game_pids: np.ndarray, root: Path, folder: contextlib.ExitStack,
    owner: int,
) -> None:  # fmt: skip
    if os.getpid() != owner:  # a forked copy of the trainer: the games are not its own
        return
    living = [(i, w) for i, w in enumerate(workers) if w is not None]
    workers[:] = [None] * len(workers)
    _kill(living, game_pids, root, patience=10.0)
    folder.close()


def _kill(
    workers: Iterable[tuple[int, _Worker]], game_pids: np.ndarray, root: Path, patience: float
) -> None:
    """Ends workers, who end their games; who has not within ``patience`` seconds is killed."""
    workers = list(workers)
    for _, worker in workers:
        worker.process.terminate()
    deadline = time.monotonic() + patience
    for i, worker in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(0.01, deadline - time.monotonic()))
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait()
        with contextlib.suppress(OSError):
            worker.connection.close()
        # A worker's own clean-up normally leaves nothing; a killed one may.
        pid = int(game_pids[i])
        if pid > 1 and str(root) in _command_line(pid):
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)


def _command_line(pid: int) -> str:
    """The command of a process: a number may have passed on to somebody else's."""
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except OSError:
        return ""
