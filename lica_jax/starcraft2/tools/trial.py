"""Trying a game: an episode in both modes, with its time, memory, graphics and ending."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lica_jax.errors import UserError
from lica_jax.starcraft2.env.environment import StarCraft2Env
from lica_jax.starcraft2.env.matches import Lifetime
from lica_jax.starcraft2.errors import GameError, GameFailed
from lica_jax.starcraft2.game import procfs
from lica_jax.starcraft2.game.install import Install, find_install, map_path
from lica_jax.starcraft2.game.process import Game, LaunchSettings
from lica_jax.starcraft2.game.temp import temp_root
from lica_jax.starcraft2.tools.checks import Check, check_memory, from_error, ok, problem, warning
from lica_jax.starcraft2.tools.random_play import Played, play


def launch_checks(
    install: Install,
    *,
    workers: int | None = None,
    settings: LaunchSettings | None = None,
    double: bool = False,
) -> Iterator[Check]:
    """Plays an episode of 3m, step by step and pipelined. ``double``: the test double is meant."""
    settings = settings or LaunchSettings()
    try:
        with temp_root() as root:
            trial = Trial(install, root, settings, double)
            yield from trial.first()
            yield check_memory(workers, trial.rss, trial.rss or 0)
            yield trial.pipelined()
            yield trial.shutdown()
    except (GameFailed, GameError) as error:
        text = str(error)
        yield problem("launch", text.rstrip(), _advice(text))
    except UserError as error:
        yield from_error("launch", error)
    except Exception as error:  # nobody has seen every game there is
        text = f"{type(error).__name__} from the bridge itself: {error}"
        yield problem("launch", text, "report it, with the version of the game")


def _advice(text: str) -> str:
    """A fix for the game's known last words."""
    known = {
        "e_errorIdMemory": "free memory, or play fewer games at once",
        "e_fileCorruptRepairable": "unpack the game's package again: its files are incomplete",
        "error while loading shared libraries": "install the named library, or unpack Libs/ again",
        "Exec format error": "use the Linux x86-64 package on a Linux x86-64 machine",
        "another process took port": "run it again",
        "InvalidMap": "lica-jax sc2 install-maps DIRECTORY --overwrite",
        "not ready after": "run it again on a quieter machine; see whether SC2_x64 starts by hand",
    }
    for words, advice in known.items():
        if words in text:
            return advice
    return "run it again; report it with these words if it stays"


class Trial:
    """One map played on one installation, with what was measured on the way."""

    def __init__(self, install: Install, root: Path, settings: LaunchSettings, double: bool):
        self.install, self.root, self.settings = install, root, settings
        self.map_name, self.double = "3m", double
        self.rss: int | None = None
        self.endings: list[tuple[float, bool]] = []
        self.unpipelined: Played | None = None

    @contextmanager
    def random_play(self, pipeline: bool) -> Iterator[tuple]:
        """A game in which one episode has been played: the environment's findings and the game."""
        games: list[Game] = []

        def launch(number: int) -> Game:
            start = time.monotonic()
            games.append(Game.launch(self.install, self.root, self.settings))
            self.started = time.monotonic() - start
            return games[-1]

        env = StarCraft2Env(
            self.map_name, launch=launch, seed=1, pipeline=pipeline, lifetime=Lifetime(attempts=1),
            map_data=map_path(self.install, self.map_name).read_bytes(),
        )  # fmt: skip
        try:
            env.reset()  # starting the game is timed by itself
            yield play(env, 1, seed=1), env, games[0]
        finally:
            start = time.monotonic()
            pids = list(procfs.members(games[0].pid)) if games else []
            env.close()
            gone = not any(procfs.running(pid) for pid in pids) and not list(self.root.iterdir())
            self.endings.append((time.monotonic() - start, gone))

    def first(self) -> Iterator[Check]:
        """The first game, step by step."""
        with self.random_play(pipeline=False) as (played, env, game):
            self.unpipelined = played
            self.rss = game.rss()
            text = f"{env.game_version} was ready after {self.started:.1f} s"
            if env.is_fake:
                text = f"FakeSC2 {text}; it is a test double, not the game"
                fix = "set SC2PATH to the real game for SMAC results"
                yield ok("launch", text) if self.double else warning("launch", text, fix)
            else:
                yield ok("launch", f"StarCraft II {text}")
            rate = played.steps / max(played.seconds, 1e-9)
            yield ok(
                "episode",
                f"{played.steps} steps of {self.map_name} in {played.seconds:.2f} s "
                f"({rate:,.0f} a second), return {played.returns[0]:.3f}",
            )
            yield self._graphics(game)
            if procfs.listens_beyond_loopback(game.pid, game.port):
                yield problem(
                    "network",
                    f"the game can be reached from other machines on port {game.port}",
                    "put it behind a firewall; this build ignores -listen 127.0.0.1",
                )

    def _graphics(self, game: Game) -> Check:
        used = _gpu_memory(set(procfs.members(game.pid)))
        devices = procfs.devices(game.pid)
        if used or devices:
            share = f"{used:,} MiB of GPU memory" if used else ", ".join(devices)
            return warning(
                "graphics",
                f"the game uses {share}",
                "start training with XLA_PYTHON_CLIENT_PREALLOCATE=false, or hide the GPU from it",
            )
        return ok("graphics", "the game leaves the GPU alone")

    def pipelined(self) -> Check:
        """The same episode with three requests per round trip; it must look the same."""
        before = self.unpipelined
        with self.random_play(pipeline=True) as (played, _, _):
            pass
        if played.digest == before.digest:
            gain = before.seconds / max(played.seconds, 1e-9)
            return ok(
                "pipelining", f"the same episode, {gain:.2f} times as fast as one request at a time"
            )
        with self.random_play(pipeline=False) as (again, _, _):
            pass
        if again.digest != before.digest:
            return warning(
                "pipelining",
                "the game does not repeat an episode with the same seed and actions, so the "
                "pipelined mode cannot be compared",
                "nothing to repair; transcripts of this game cannot be compared either",
            )
        return problem(
            "pipelining",
            "an episode looks different when requests are pipelined",
            "play with smac/MAP:pipeline=false, and report the version of the game",
        )

    def shutdown(self) -> Check:
        """How the games of this trial ended."""
        slowest = max(seconds for seconds, _ in self.endings)
        if not all(gone for _, gone in self.endings):
            return problem(
                "shutdown",
                "a process or a file was left behind by the game",
                f"look for SC2_x64 in `ps`, and report it; the files were in {self.root.parent}",
            )
        text = f"{len(self.endings)} games ended cleanly, the slowest in {slowest:.1f} s"
        if slowest > self.settings.quit_timeout:
            return warning("shutdown", text + ", by force", "nothing to repair; report it")
        return ok("shutdown", text)


def _gpu_memory(pids: set[int]) -> int:
    """MiB of GPU memory that NVIDIA's tool attributes to the processes; 0 without the tool."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    query = [tool, "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    try:
        out = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    rows = re.findall(r"^\s*(\d+),\s*(\d+)\s*$", out, re.MULTILINE)
    return sum(int(mib) for pid, mib in rows if int(pid) in pids)


def selftest_checks(settings: LaunchSettings | None = None) -> Iterator[Check]:
    """The same against FakeSC2, which works everywhere."""
    from lica_jax.starcraft2.testing.install import make_install

    yield ok(
        "selftest",
        "what follows is FakeSC2, a test double: it tries protocol and processes, not the game",
    )
    try:
        with temp_root() as root:
            install = find_install(str(make_install(root / "game")))
            yield from launch_checks(install, settings=settings, double=True)
    except (UserError, OSError) as error:
        yield problem("selftest", str(error), "report it")
