"""The memory that a trainer and its game workers share: one row per environment."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import tempfile
from typing import Any, NamedTuple

import numpy as np

from lica_jax.errors import UserError

Sizes = tuple[int, int, int, int]  # agents, actions, observation, state
Field = tuple[tuple[int, ...], type[np.generic]]  # shape of a row, dtype


class Metric(NamedTuple):
    """A figure of an episode: where the environment's info has it, and its type."""

    key: str
    dtype: type[np.generic]


# All figures of an episode beside return and length, by the names under which they are logged.
METRICS = {"won": Metric("battle_won", np.bool_)}


def fields(n_agents: int, n_actions: int, obs_size: int, state_size: int) -> dict[str, Field]:
    """The arrays by name, in the order in which they lie in memory."""
    found: dict[str, Field] = {
        "reward": ((), np.float64),
        "game_pid": ((), np.int64),  # of the running game, 0 for none
        "obs": ((n_agents, obs_size), np.float32),
        "state": ((state_size,), np.float32),
        "action": ((n_agents,), np.int32),
        "avail": ((n_agents, n_actions), np.bool_),
        "alive": ((n_agents,), np.bool_),
        "terminated": ((), np.bool_),
        "truncated": ((), np.bool_),
    }
    found |= {_in_info(name): ((), metric.dtype) for name, metric in METRICS.items()}
    # The widest first, so that every array is aligned.
    return dict(sorted(found.items(), key=lambda item: -np.dtype(item[1][1]).itemsize))


def _in_info(name: str) -> str:
    """The name of a metric's array, which is no other array's."""
    return f"info/{name}"


def info_of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of the arrays that hold `METRICS`, by the metrics' names."""
    return {name: arrays[_in_info(name)] for name in METRICS}


def write_info(row: dict[str, np.ndarray], info: dict[str, Any]) -> None:
    """Writes an environment's info into its row; what the info lacks is 0."""
    for name, array in info_of(row).items():
        array[...] = info.get(METRICS[name].key, 0)


def create(rows: int, sizes: Sizes) -> int:
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


def _total(rows: int, sizes: Sizes) -> int:
    row = sum(int(np.prod(s, dtype=int)) * np.dtype(t).itemsize for s, t in fields(*sizes).values())
    return max(rows * row, 1)


def views(fd: int, rows: int, sizes: Sizes) -> dict[str, np.ndarray]:
    """Arrays ``[rows, ...]`` over the shared file, by name."""
    buffer = mmap.mmap(fd, _total(rows, sizes))
    out, at = {}, 0
    for name, (shape, dtype) in fields(*sizes).items():
        array = np.frombuffer(buffer, dtype, rows * int(np.prod(shape, dtype=int)), at)
        out[name] = array.reshape(rows, *shape)
        at += array.nbytes
    return out
