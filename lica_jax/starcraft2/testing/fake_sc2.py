"""FakeSC2: a test double of the StarCraft II binary.

It understands the game's command line, listens on loopback and speaks the game's protocol over a
websocket: enough of it for SMAC's 23 maps, with toy battles. It proves that the protocol and the
life of a game are handled, and nothing about the real game; win rates on it are meaningless. It
says so on stderr, in `ping` (`game_version` contains "fake") and by a file in its tree.
`install.py` builds a tree with it, `faults.py` says what it can do wrong.

Environment: `FAKE_SC2_FAULTS` (JSON), `FAKE_SC2_LIFETIME` (seconds until it ends itself, 600),
`FAKE_SC2_WATCH_PARENT=1` (it ends when its parent does).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from lica_jax.starcraft2.testing import faults as fault_list
from lica_jax.starcraft2.testing import websocket
from lica_jax.starcraft2.testing.session import Session

BANNER = (
    "FakeSC2: this is not StarCraft II but a test double of it. Win rates on it are meaningless.\n"
)


def say(text: str) -> None:
    """Writes to stderr without a buffer."""
    os.write(2, text.encode())


def end(status: int):
    """Ends the process at once, without the interpreter's farewell."""
    os._exit(status)


def parse(argv: list[str]) -> dict[str, str]:
    """`-name value` pairs. Unknown flags and flags without a value do no harm."""
    found = {}
    for name, value in zip(argv, [*argv, ""][1:], strict=True):
        if name.startswith("-") and not value.startswith("-"):
            found[name[1:]] = value
    return found


def set_lifetime(seconds: float | None = None) -> None:
    """SIGALRM with its default action: it ends even a process that hangs."""
    if seconds is None:
        seconds = float(os.environ.get("FAKE_SC2_LIFETIME", "600"))
    signal.setitimer(signal.ITIMER_REAL, max(0.01, seconds))


def watch_parent() -> None:
    """Ends this process soon after its parent has died."""
    import threading

    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(0.1)
        end(1)

    threading.Thread(target=watch, daemon=True).start()


def fork_child(tree: Path, lifetime: float | None) -> None:
    """A helper process that only waits, in the same process group."""
    parent = os.getpid()
    if os.fork() == 0:
        set_lifetime(lifetime)
        fault_list.register(tree, json.dumps({"pid": os.getpid(), "parent": parent}))
        while True:
            time.sleep(60)


def listen(port: int) -> socket.socket:
    """A listening socket on loopback."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(8)
    return listener


def handshake(sock: socket.socket, faults, started: float) -> None:
    """Turns a TCP connection into a websocket; `Gone` when it is something else."""
    if faults.silent:
        time.sleep(1e6)
    if faults.port_clash == "refuse":
        raise websocket.Gone("another client is connected")
    path, headers = websocket.read_head(sock)
    if path != "/sc2api" or time.monotonic() - started < faults.not_ready:
        sock.sendall(websocket.http_error(404, "Not Found"))
        raise websocket.Gone("not the API")
    if faults.handshake_mib:
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
        for _ in range(faults.handshake_mib):
            sock.sendall(b"x" * (1 << 20))
        raise websocket.Gone("handshake_mib is reached")
    if faults.not_websocket:
        sock.sendall(websocket.http_error(200, "OK"))
        raise websocket.Gone("not a websocket")
    sock.sendall(websocket.accept_head(headers))


def serve(listener: socket.socket, session: Session) -> None:
    """Serves one client after another until one of them asks to quit."""
    started = time.monotonic()
    while True:
        sock, _ = listener.accept()
        try:
            handshake(sock, session.faults, started)
            connection = websocket.Connection(sock, listener)
            while session.answer(connection):
                pass
            connection.flush()
            return
        except (websocket.Gone, OSError):
            pass
        finally:
            sock.close()


def main(argv: list[str]) -> int:
    """Runs the double; the exit status."""
    set_lifetime()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    say(BANNER)
    options = parse(argv)
    if "dataDir" not in options:  # where it writes; never the current directory
        say("FakeSC2: -dataDir is missing\n")
        return 2
    tree = Path(options["dataDir"])
    facts = {
        "pid": os.getpid(),
        "argv": argv,
        "cwd": os.getcwd(),
        "temp_dir": options.get("tempDir"),
        "library_path": os.environ.get("LD_LIBRARY_PATH"),
    }
    try:
        faults = fault_list.load(tree, facts)
    except ValueError as error:
        say(f"FakeSC2: {error}\n")
        return 2
    if faults.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if faults.lifetime is not None:
        set_lifetime(faults.lifetime)
    if faults.child_process:
        fork_child(tree, faults.lifetime)
    if faults.watch_parent or os.environ.get("FAKE_SC2_WATCH_PARENT"):
        watch_parent()
    for _ in range(faults.stderr_mib):
        say(("noise on stderr " * 4 + "\n") * (1 << 14))
    if faults.die_at_start is not None:
        say("FakeSC2: e_fileCorruptRepairable (asked for by die_at_start)\n")
        return int(faults.die_at_start)
    if faults.startup_delay:
        time.sleep(faults.startup_delay)
    if temp_dir := options.get("tempDir"):
        scratch = Path(temp_dir) / "StarCraft II"
        scratch.mkdir(parents=True, exist_ok=True)
        (scratch / "scratch.bin").write_bytes(bytes(1024))
    try:
        if faults.port_clash == "exit":
            raise OSError("asked for by port_clash")
        listener = listen(int(options.get("port", "0")))
    except OSError as error:
        say(f"FakeSC2: cannot listen on port {options.get('port')}: {error}\n")
        return 1
    say(f"FakeSC2: listening on port {listener.getsockname()[1]}\n")
    serve(listener, Session(tree, faults))
    time.sleep(faults.linger)
    while faults.ignore_quit:
        time.sleep(60)
    return 0


if __name__ == "__main__":
    end(main(sys.argv[1:]))
