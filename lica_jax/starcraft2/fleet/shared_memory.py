"""The memory that a trainer and its game workers share: one row per environment."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import tempfile

import numpy as np

from lica_jax.errors import UserError


def fields(n_agents: int, n_actions: int, obs_size: int, state_size: int):
    """``name -> (shape of a row, dtype)``."""
    return {
        # The widest first, so that every array is aligned.
        "reward": ((), np.float64),
        "game_pid": ((), np.int64),  # of the running game, 0 for none
        "obs": ((n_agents, obs_size), np.float32),
        "state": ((state_size,), np.float32),
        "action": ((n_agents,), np.int32),
        "avail": ((n_agents, n_actions), np.bool_),
        "alive": ((n_agents,), np.bool_),
        "terminated": ((), np.bool_),
        "truncated": ((), np.bool_),
        "won": ((), np.bool_),
    }


def create(rows: int, sizes: tuple[int, int, int, int]) -> int:
    """The descriptor of an unnamed file that holds the rows: it is gone with the last process that
    has it open. Raises ``UserError`` where there is no room for it."""
    size = _total(rows, sizes)
    try:
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("lica-sc2")
        else:
            handle, path = tempfile.mkstemp()
            os.unlink(path)
            fd = handle
        try:
            os.ftruncate(fd, size)
            with contextlib.suppress(AttributeError):  # not on every system
                os.posix_fallocate(fd, 0, size)  # now, not by a signal at the first write
            return inheritable(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise UserError(
            f"no {size / 2**20:.1f} MiB of memory can be shared with the games ({error.strerror}): "
            "use fewer games (--envs)"
        ) from None


def inheritable(fd: int) -> int:
    """A copy of a descriptor above those of standard input and output, which a child has its own
    of, also where ours are closed."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def _total(rows: int, sizes) -> int:
    row = sum(int(np.prod(s, dtype=int)) * np.dtype(t).itemsize for s, t in fields(*sizes).values())
    return max(rows * row, 1)


def views(fd: int, rows: int, sizes: tuple[int, int, int, int]) -> dict[str, np.ndarray]:
    """Arrays ``[rows, ...]`` over the shared file, by name."""
    buffer = mmap.mmap(fd, _total(rows, sizes))
    out, at = {}, 0
    for name, (shape, dtype) in fields(*sizes).items():
        array = np.frombuffer(buffer, dtype, rows * int(np.prod(shape, dtype=int)), at)
        out[name] = array.reshape(rows, *shape)
        at += array.nbytes
    return out
