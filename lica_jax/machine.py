"""What the machine has left, within the limits of a container or a job. Imports no jax."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
LEAST_ADDRESSES = 2 * 2**30  # that JAX and its compiler need, about; mapped, not all of it used


def available_memory() -> int | None:
    """Bytes of main memory that new arrays and processes can have; None where nothing tells."""
    free = None
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (PROC / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    if (addresses := address_space()) is not None:
        free = addresses if free is None else min(free, addresses)
    for folder in control_groups():
        for limit, used in (
            ("memory.max", "memory.current"),  # cgroup 2
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            with contextlib.suppress(OSError, ValueError):  # "max": no limit
                most, now = (int((folder / name).read_text()) for name in (limit, used))
                stat = (folder / "memory.stat").read_text()
                cache = re.search(r"^inactive_file (\d+)$", stat, re.MULTILINE)
                left = most - now + (int(cache[1]) if cache else 0)  # caches are given back
                free = left if free is None else min(free, max(left, 0))
    return free


def return_memory() -> None:
    """Gives what was freed back to the system. glibc keeps it, in pieces between those in use: a
    process that compiles one program after another and drops them would grow without end."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another system's library
        ctypes.CDLL(None).malloc_trim(0)


def usable_cores() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


def gib(size: int) -> str:
    """Bytes in words: ``3.2 GiB``, ``14.0 MiB``."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def address_space() -> int | None:
    """Bytes that this process may still map (``ulimit -v``); None where there is no limit."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        pages = int((PROC / "self" / "statm").read_text().split()[0])
    except (ImportError, OSError, ValueError):  # not on this system
        return None
    if limit == resource.RLIM_INFINITY:
        return None
    return max(limit - pages * resource.getpagesize(), 0)


def control_groups() -> Iterator[Path]:
    """The folders of the control groups that this process is in, a job's and those around it."""
    try:
        lines = (PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in ("0::/", "0:memory:/", *lines):
        _, kinds, path = (*line.split(":", 2), "", "")[:3]
        if kinds and "memory" not in kinds.split(","):
            continue
        root = CGROUP / "memory" if kinds else CGROUP
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            yield root.joinpath(*parts[:depth])
