"""The memory that a trainer and its game workers share: one row per environment."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import BinaryIO

import numpy as np


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


def create(rows: int, sizes: tuple[int, int, int, int]) -> BinaryIO:
    """An unnamed file that holds the rows: it is gone with the last process that has it open."""
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (lives as long as the games)
    file.truncate(_total(rows, sizes))
    return file


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
