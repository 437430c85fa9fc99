"""What Linux tells about a running game, from /proc. Elsewhere the answers are unknown."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

PROC = Path("/proc")
LISTENING = "0A"


def members(pid: int) -> Iterator[int]:
    """``pid`` and its descendants: the game may have been started by a script."""
    yield pid
    for threads in (PROC / str(pid) / "task").glob("*/children"):
        try:
            children = threads.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from members(int(child))


def running(pid: int) -> bool:
    """Whether the process is there and has not ended; an ended one may wait to be reaped."""
    try:
        return _state_and_group(pid)[0] not in "ZX"
    except (OSError, IndexError, ValueError):
        return False


def group_runs(group: int) -> bool:
    """Whether a process of the group has not ended."""
    for folder in PROC.glob("[0-9]*"):
        try:
            state, of = _state_and_group(int(folder.name))
        except (OSError, IndexError, ValueError):
            continue
        if of == group and state not in "ZX":
            return True
    return False


def _state_and_group(pid: int) -> tuple[str, int]:
    # The name, in brackets, may contain anything.
    state, _, group = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[:3]
    return state, int(group)


def resident_bytes(pid: int) -> int | None:
    """Resident memory of ``pid`` and its descendants."""
    pages, known = 0, False
    for member in members(pid):
        try:
            pages += int((PROC / str(member) / "statm").read_text().split()[1])
            known = True
        except (OSError, IndexError, ValueError):
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") if known else None


def listening_sockets(port: int) -> dict[str, str] | None:
    """Socket numbers that listen on ``port``, with the (hexadecimal) addresses they listen on."""
    found = {}
    try:
        tables = [(PROC / "net" / "tcp").read_text()]
    except OSError:
        return None
    with contextlib.suppress(OSError):  # no IPv6
        tables.append((PROC / "net" / "tcp6").read_text())
    for table in tables:
        for line in table.splitlines()[1:]:
            fields = line.split()
            if len(fields) < 10 or fields[3] != LISTENING:
                continue
            address, _, number = fields[1].rpartition(":")
            if int(number, 16) == port:
                found[fields[9]] = address
    return found


def own_sockets(pid: int) -> set[str] | None:
    """The socket numbers that ``pid`` and its descendants hold; ``None`` when not to be known."""
    found = set()
    for member in members(pid):
        try:
            for entry in os.scandir(PROC / str(member) / "fd"):
                try:
                    target = os.readlink(entry.path)
                except FileNotFoundError:  # closed meanwhile
                    continue
                if target.startswith("socket:["):
                    found.add(target[8:-1])
        except FileNotFoundError:  # ended meanwhile
            continue
        except OSError:
            return None
    return found


def port_owner(pid: int, port: int) -> Literal["own", "other", "nobody", "unknown"]:
    """Who listens on ``port``: the game ``pid``, another process, or nobody yet."""
    listening = listening_sockets(port)
    if listening is None:
        return "unknown"
    if not listening:
        return "nobody"
    own = own_sockets(pid)
    if own is None:
        return "unknown"
    return "own" if own & listening.keys() else "other"


def listens_beyond_loopback(pid: int, port: int) -> bool | None:
    """Whether ``pid`` can be reached from other machines on ``port``; ``None`` when unknown."""
    listening, own = listening_sockets(port), own_sockets(pid)
    if listening is None or own is None:
        return None
    loopback = {"0100007F", "00000000000000000000000001000000"}
    return any(a not in loopback for number, a in listening.items() if number in own)


def devices(pid: int) -> list[str]:
    """Graphics devices that ``pid`` and its descendants have open."""
    found = set()
    for member in members(pid):
        with contextlib.suppress(OSError):
            for entry in os.scandir(PROC / str(member) / "fd"):
                with contextlib.suppress(OSError):
                    target = os.readlink(entry.path)
                    if target.startswith(("/dev/nvidia", "/dev/dri", "/dev/kfd")):
                        found.add(target)
    return sorted(found)
