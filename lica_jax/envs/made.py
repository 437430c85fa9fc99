"""What an object was made of, as a digest, so that two objects of one class can be told apart."""

from __future__ import annotations

import contextlib
import copyreg
import dataclasses
import functools
import hashlib
import logging
import types
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

_PLAIN = bool | int | float | complex | str | bytes
_DEEPEST = 200  # objects within objects; what is further down is not looked at


def digest(value: Any) -> str:
    """Eight hexadecimal digits that are the same wherever an object of the same class holds the
    same: plain values, arrays, functions by their code, and whatever holds these.

    Arrays of floats count by five digits of their moments: their last bits depend on the machine.
    The code of the object's class is not looked at.
    """
    return _digest(value, {}, 0)[:8]


def _digest(x: Any, known: dict[int, tuple[Any, str]], depth: int) -> str:
    """``known`` has what was met before by its id, and holds on to it, so that no other object gets
    that id meanwhile."""
    if isinstance(x, jax.core.Tracer):
        return _hashed("traced")
    if isinstance(x, np.ndarray | np.generic | jax.Array):
        array = _array(x)
        return _digest(x.tolist(), known, depth) if array is None else _hashed(*array)
    if x is None or isinstance(x, _PLAIN):
        return _hashed(f"{type(x).__name__} {x!r}")
    if isinstance(x, logging.Logger):
        return _hashed(f"logger {x.name}")
    if isinstance(x, types.ModuleType | types.BuiltinFunctionType):
        return _hashed(f"{type(x).__name__} {x.__name__}")
    if id(x) not in known:
        known[id(x)] = x, "a part of itself"
        parts = _held(x) if depth < _DEEPEST else []
        inner = [_digest(part, known, depth + 1) for part in parts]
        kind = x if isinstance(x, type) else type(x)
        inner = sorted(inner) if isinstance(x, set | frozenset | Mapping) else inner
        known[id(x)] = x, _hashed(f"{kind.__module__}.{kind.__qualname__}", *inner)
    return known[id(x)][1]


def _hashed(*parts: str | bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part if isinstance(part, bytes) else f"{part};".encode())
    return found.hexdigest()


def _array(x: Any) -> tuple[str | bytes, ...] | None:
    """What an array is told by; None for one of objects."""
    if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    x = np.asarray(x)
    if x.dtype == object:
        return None
    if not jax.dtypes.issubdtype(x.dtype, np.inexact):
        x = x.astype(np.int64) if x.dtype.kind in "iu" else x  # whatever the process's precision
        return f"{x.dtype} {x.shape}", np.ascontiguousarray(x).tobytes()
    flat = x.reshape(-1).astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    moments = np.sum(flat), np.sum(np.abs(flat)), flat @ np.arange(1, flat.size + 1)
    return f"{x.dtype.kind} {x.shape}", *(f"{m:.4e}" for m in moments)


def _held(x: Any) -> list[Any]:
    """What an object holds, in an order of its own."""
    if isinstance(x, Mapping):
        return [*x.items()]
    if isinstance(x, set | frozenset | list | tuple):
        return [*x]
    if isinstance(x, functools.partial):
        return [x.func, x.args, x.keywords]
    if isinstance(x, types.MethodType):
        return [x.__func__, x.__self__]
    if isinstance(x, types.FunctionType):
        code = x.__code__
        consts = [c for c in code.co_consts if c != x.__doc__]
        own = [code.co_name, code.co_names, consts, code.co_code]
        return [x.__module__, own, x.__defaults__, x.__kwdefaults__, _closure(x)]
    if isinstance(x, types.CodeType):
        return [x.co_name, x.co_names, x.co_consts, x.co_code]
    if isinstance(x, type):  # one that a function has made differs in what that function was given
        local = "<locals>" in x.__qualname__
        functions = [v for v in vars(x).values() if isinstance(v, types.FunctionType)]
        return [_closure(f) for f in functions] if local else []
    if hasattr(x, "__wrapped__"):  # of jit, vmap and their like
        return [x.__wrapped__]
    return [type(x), *_attributes(x)]


def _attributes(x: Any) -> Iterator[Any]:
    """Of an object: its attributes, and what a copy of it would be made of where it has none."""
    fields = [f.name for f in dataclasses.fields(x)] if dataclasses.is_dataclass(x) else []
    if not fields and not hasattr(x, "__dict__"):
        with contextlib.suppress(Exception):  # a lock, an open file: nothing to be told by
            yield from (
                list(part) if isinstance(part, Iterator) else part
                for part in x.__reduce_ex__(4)[1:]
            )
        return
    own = getattr(x, "__dict__", {})
    # What was worked out on the way, and is kept for the next time, does not make it another.
    kept = {k for k in own if isinstance(getattr(type(x), k, None), functools.cached_property)}
    names = {*fields, *own, *copyreg._slotnames(type(x))} - kept
    yield from ((name, getattr(x, name, None)) for name in sorted(names))


def _closure(function: types.FunctionType) -> list[Any]:
    names, found = function.__code__.co_freevars, []
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        try:
            found.append((name, cell.cell_contents))
        except ValueError:  # what it names has not been made yet
            found.append((name, None))
    return found
