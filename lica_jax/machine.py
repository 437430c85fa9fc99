"""What the machine has left, within the limits of a container or a job. Imports no jax."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes of main memory that new arrays and processes can have; None where nothing tells."""
    free = None
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (PROC / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
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
