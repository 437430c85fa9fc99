"""What an object was made of, as a few letters, so that two of one class can be told apart."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

_NAMED = type | types.ModuleType | types.BuiltinFunctionType
_PLAIN = bool | int | float | complex | str | bytes


def digest(value: Any) -> str:
    """Eight letters that are the same wherever an object of the same class holds the same: plain
    values, arrays (to single precision), functions by their code, and whatever holds these."""
    return _digest(value, {})[:8]


def _digest(x: Any, known: dict[int, tuple[Any, str]]) -> str:
    """``known`` has what was met before by its id, and holds on to it, so that no other object gets
    that id meanwhile."""
    if isinstance(x, np.ndarray | np.generic | jax.Array):
        return _hashed(*_array(x))
    if isinstance(x, _NAMED):
        return _hashed(f"{x.__name__} {getattr(x, '__qualname__', '')}")
    if x is None or isinstance(x, _PLAIN):
        return _hashed(f"{type(x).__name__} {x!r}")
    if id(x) not in known:
        known[id(x)] = x, "a part of itself"
        parts = [_digest(part, known) for part in _held(x)]
        known[id(x)] = x, _hashed(type(x).__qualname__, *parts)
    return known[id(x)][1]


def _hashed(*parts: str | bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part if isinstance(part, bytes) else f"{part};".encode())
    return found.hexdigest()


def _array(x: Any) -> tuple[str | bytes, ...]:
    if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    if isinstance(x, jax.core.Tracer) or x.dtype == object:
        return (f"{x.dtype} {x.shape}",)
    x = np.asarray(x)
    # Whether the process works in double precision is no part of a task.
    kind = {"f": np.float32, "i": np.int64, "u": np.int64}.get(x.dtype.kind, x.dtype)
    return f"{np.dtype(kind)} {x.shape}", np.ascontiguousarray(x.astype(kind)).tobytes()


def _held(x: Any) -> list[Any]:
    """What an object holds, in an order of its own."""
    if isinstance(x, Mapping):
        return sorted(((str(k), v) for k, v in x.items()), key=lambda item: item[0])
    if isinstance(x, set | frozenset):
        return sorted(map(repr, x))
    if isinstance(x, list | tuple):
        return list(x)
    if isinstance(x, functools.partial):
        return [x.func, x.args, x.keywords]
    if isinstance(x, types.MethodType):
        return [x.__func__, x.__self__]
    if isinstance(x, types.FunctionType):
        return [x.__module__, x.__code__, x.__defaults__, x.__kwdefaults__, _closure(x)]
    if isinstance(x, types.CodeType):
        return [x.co_name, x.co_names, x.co_consts, x.co_code]
    if hasattr(x, "__wrapped__"):  # of jit, vmap and their like
        return [x.__wrapped__]
    if dataclasses.is_dataclass(x):
        return [(f.name, getattr(x, f.name, None)) for f in dataclasses.fields(x)]
    own, kind = getattr(x, "__dict__", {}), type(x)
    # What was worked out on the way, and is kept for the next time, does not make it another.
    kept = {k for k in own if isinstance(getattr(kind, k, None), functools.cached_property)}
    return [(k, own[k]) for k in sorted(own) if k not in kept]


def _closure(function: types.FunctionType) -> list[Any]:
    names = function.__code__.co_freevars
    found = []
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        try:
            found.append((name, cell.cell_contents))
        except ValueError:  # what it names has not been made yet
            found.append((name, None))
    return found
