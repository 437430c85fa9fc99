"""A running game: started on a free loopback port, watched, and ended however we end.

The game is the leader of its own session. It asks the kernel for SIGKILL at our death before it
becomes the game, so a killed worker leaves none behind.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lica_jax.errors import UserError
from lica_jax.starcraft2.errors import GameError, GameFailed, GameTimeout
from lica_jax.starcraft2.game.client import HOST, MEBIBYTE, Client, NotReady, Recorder
from lica_jax.starcraft2.game.install import Install
from lica_jax.starcraft2.game.procfs import group_runs, port_owner, resident_bytes

# Becomes the game. Run between fork and exec by a fresh interpreter, because a preexec_fn may
# deadlock in a process with threads. The death signal comes first: if the parent died before it,
# the parent is another one by now. Python ignores SIGPIPE and a worker may ignore or block others;
# the game would inherit that.
BECOME = """
import ctypes, os, signal, sys
parent, libraries, program = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != parent:
    os._exit(1)
for name in ("SIGPIPE", "SIGXFSZ", "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
    signal.signal(getattr(signal, name), signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, [])
paths = [p for p in (os.environ.get("LD_LIBRARY_PATH"), libraries) if p]
os.environ["LD_LIBRARY_PATH"] = ":".join(paths)
try:
    os.execv(program[0], program)
except OSError as error:
    sys.stderr.write(f"cannot run {program[0]}: {error.strerror}\\n")
    sys.stderr.flush()
    os._exit(127)
"""


@dataclass(frozen=True)
class LaunchSettings:
    """Patience and bounds, in seconds and bytes.

    ``start_timeout`` is for all ``attempts`` together; ``call_timeout`` for a call or a pipelined
    batch of calls; ``quit_timeout`` and ``term_timeout`` are what the game gets to end by itself.
    """

    start_timeout: float = 120.0
    call_timeout: float = 60.0
    attempts: int = 3
    quit_timeout: float = 3.0
    term_timeout: float = 3.0
    max_bytes: int = 64 * MEBIBYTE
    output_bytes: int = 32 * 1024


class Game:
    """A game that serves the protocol; ``launch`` makes one. Ended at the latest at exit."""

    client: Client

    def __init__(self, process, directory: Path, port: int, settings: LaunchSettings):
        self._process = process
        self._output = _Output(process.stdout, settings.output_bytes)
        self.pid: int = process.pid
        self.port = port
        self.directory = directory
        self.settings = settings
        self._finalizer = weakref.finalize(self, _end, process, directory, settings, os.getpid())

    @classmethod
    def launch(
        cls,
        install: Install,
        temp_root: Path,
        settings: LaunchSettings = LaunchSettings(),
        recorder: Recorder | None = None,
        extra_env: Mapping[str, str] | None = None,
    ) -> Game:
        """Starts a game and connects to it.

        Another port is tried when the game ends early or another process has the port. Raises
        ``GameFailed``, with the end of what the game wrote, when ``attempts`` failed or the time
        is up.
        """
        deadline = time.monotonic() + settings.start_timeout
        for attempt in range(1, settings.attempts + 1):
            tried = f"attempt {attempt} of {settings.attempts}"
            game = _start(cls, install, temp_root, settings, extra_env)
            try:
                game.client = _connect(game, deadline, settings, recorder)
                return game
            except GameError as error:
                failure, tail = error, game.stderr_tail(settle=1.0)
            finally:
                if not hasattr(game, "client"):
                    game.close()
            if time.monotonic() >= deadline:
                break
        raise GameFailed(
            f"StarCraft II did not start ({tried}): {failure}; "
            + (f"its last words:\n{tail}" if tail else "it wrote nothing")
        ) from failure

    def alive(self) -> bool:
        """Whether the game's process still runs."""
        return _running(self._process)

    def rss(self) -> int | None:
        """Resident memory of the game and its children in bytes; ``None`` where unknown."""
        return resident_bytes(self.pid) if self.alive() else None

    def stderr_tail(self, settle: float = 0.0) -> str:
        """The end of what the game wrote, on either output, as printable lines.

        ``settle`` is how many seconds a game that is ending gets for its words to arrive: its
        connection may be gone before it is.
        """
        if settle:
            self._output.join(settle)
        return self._output.tail()

    def close(self) -> None:
        """Ends the game, all its children, and its directory. Never raises, may be repeated."""
        client = getattr(self, "client", None)
        try:
            if client is not None and client.usable and self.alive():
                client.quit()
                _wait(self._process, self.settings.quit_timeout)
        finally:
            if client is not None:
                client.close()
            with contextlib.suppress(Exception):
                self._finalizer()  # does nothing the second time

    def __enter__(self) -> Game:
        return self

    def __exit__(self, *_) -> None:
        self.close()


# --- starting ------------------------------------------------------------------------------------


def _start(cls, install: Install, root: Path, settings: LaunchSettings, extra_env) -> Game:
    """Starts the process; nothing has been said to it yet."""
    try:
        directory = Path(tempfile.mkdtemp(prefix="game-", dir=root)).resolve()  # mode 0700
    except OSError as error:
        raise UserError(f"no temporary directory can be made in {root}: {error}") from None
    port = free_port()
    command = [
        *(sys.executable, "-I", "-S", "-c", BECOME),
        *(str(os.getpid()), f"{install.root / 'Libs'}/"),
        *(str(install.binary), "-listen", HOST, "-port", str(port)),
        *("-dataDir", f"{install.root}/", "-tempDir", f"{directory}/"),
    ]
    if install.data_version:
        command += ["-dataVersion", install.data_version]
    try:
        process = from_lasting_thread(
            lambda: subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**os.environ, **(extra_env or {})},
                start_new_session=True,
            )
        )
        return cls(process, directory, port, settings)
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise GameFailed(f"no process can be started for StarCraft II: {error}") from error
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


@functools.cache
def _launcher(pid: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "sc2-launcher")


def from_lasting_thread(function: Callable):
    """Runs ``function`` in a thread that lives as long as this process.

    The kernel counts the end of the *thread* that started a process as its parent's death.
    """
    if threading.current_thread() is threading.main_thread():
        return function()
    return _launcher(os.getpid()).submit(function).result()


def free_port() -> int:
    """A loopback port that is free now; somebody may take it before the game does."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _connect(game: Game, deadline: float, settings: LaunchSettings, recorder) -> Client:
    """The connection, once the game serves it. Raises ``GameError`` when it will not."""
    pause = 0.01
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise GameTimeout(f"not ready after {settings.start_timeout:g} s")
        if not game.alive():
            raise GameError(f"it ended at once ({how_it_ended(game._process)})")
        owner = port_owner(game.pid, game.port)
        if owner == "other":
            raise GameError(f"another process took port {game.port}")
        try:
            client = Client(
                game.port,
                timeout=settings.call_timeout,
                max_bytes=settings.max_bytes,
                recorder=recorder,
                connect_timeout=left,
            )
        except NotReady:
            pass
        else:
            if owner != "nobody" or port_owner(game.pid, game.port) != "other":
                return client
            client.close()
            raise GameError(f"another process took port {game.port}")
        time.sleep(min(pause, left))
        pause = min(2 * pause, 0.25)


# --- ending --------------------------------------------------------------------------------------


def _running(process) -> bool:
    """Whether the process runs, without reaping it.

    Until it is reaped nobody else can get its number, so that its group can be signalled safely.
    """
    if process.returncode is not None:
        return False
    if not hasattr(os, "waitid"):
        return process.poll() is None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def how_it_ended(process: subprocess.Popen) -> str:
    """``signal 9`` or ``exit code 1``, without taking note of the end."""
    if hasattr(os, "waitid") and process.returncode is None:
        with contextlib.suppress(ChildProcessError):
            end = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if end is not None:
                signalled = end.si_code != os.CLD_EXITED
                return f"signal {end.si_status}" if signalled else f"exit code {end.si_status}"
    code = process.returncode
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _wait(process, seconds: float) -> bool:
    """Whether the process ended within ``seconds``."""
    deadline, pause = time.monotonic() + seconds, 0.002
    while _running(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return True


def _wait_for_group(group: int, seconds: float) -> None:
    """Waits until what a game left behind, and is killed already, is gone."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        if not group_runs(group):  # the dead of others, whom nobody reaps
            return
        time.sleep(0.01)


def _end(process, directory: Path, settings: LaunchSettings, owner: int) -> None:
    """Ends the game's whole group, kindly first, and cleans up."""
    if os.getpid() != owner:  # a forked copy of us: the game is not its
        return
    try:
        _signal_group(process, signal.SIGTERM)
        _wait(process, settings.term_timeout)
    finally:  # also when interrupted while being patient
        _signal_group(process, signal.SIGKILL)
        if _wait(process, 5.0):
            process.wait()
            _wait_for_group(process.pid, 2.0)
        shutil.rmtree(directory, ignore_errors=True)


def _signal_group(process, number: int) -> None:
    """Signals the game and whatever it started; only while its number is certainly its own."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


class _Output:
    """The last bytes that a process wrote, read by a thread so that it never has to wait."""

    def __init__(self, pipe, keep: int):
        self._kept = bytearray()
        self._thread = threading.Thread(
            target=self._read, args=(pipe, keep), name="sc2-output", daemon=True
        )
        self._thread.start()

    def _read(self, pipe, keep: int) -> None:
        with pipe:
            while data := pipe.read1(16 * 1024):
                self._kept = (self._kept + data)[-keep:]

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def tail(self, lines: int = 15) -> str:
        text = bytes(self._kept).decode("utf-8", "replace")
        last = [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]
        return "\n".join("".join(c if c.isprintable() else "?" for c in s[:300]) for s in last)
