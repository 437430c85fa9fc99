"""Policy files as they come, from anybody: nothing in one is believed before it is checked.

The table of tensors is checked against the size of the file, the facts against what this library
can build, the shapes against the network that results; then tensors are read, one at a time.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jaxtyping import Array, PyTree

from lica_jax.algorithms import algorithm_module, algorithm_names
from lica_jax.algorithms.registry import check_known_algorithm
from lica_jax.config.checks import range_problems
from lica_jax.config.schema import merge
from lica_jax.errors import UserError
from lica_jax.machine import available_memory
from lica_jax.policy.writing import FORMAT, named_leaves
from lica_jax.types import MANY, TaskSpec

MAX_HEADER = 2**20  # bytes; ours take a few thousand
MAX_DEPTH = 16  # of nesting in the facts
MAX_AXES = 8  # of a tensor
MOST = 1_000_000  # numbers of one kind that one environment shows at one moment
DTYPES = {
    "F32": "<f4", "F64": "<f8", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?",
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
}  # fmt: skip


class Tensor(NamedTuple):
    """Where a tensor is in its file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int  # byte


# --- the header ----------------------------------------------------------------------------------


def read_header(
    path: Path, kind: str = FORMAT, called: str = "policy"
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The facts of a policy file (or of another ``kind``), and where its tensors are; reads none.

    Raises:
      UserError: it is no sound safetensors file, or not one of ours.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= min(size - 8, MAX_HEADER):
                raise ValueError(f"its header would take {length:,} of {size:,} bytes")
            table = _parsed(file.read(length))
        facts = table.pop("__metadata__", {})
        text = facts.get("lica_jax", "null") if isinstance(facts, dict) else "null"
        tensors = _tensors(table, 8 + length, size)
        about = _parsed(text, kind=object)
    except (OSError, ValueError) as error:
        raise UserError(f"it is damaged or not a safetensors file ({error})") from None
    if not isinstance(about, dict) or about.get("format") != kind:
        raise UserError(f"it is a safetensors file, but not a lica_jax {called}")
    return about, tensors


def _parsed(text: Any, kind: type = dict) -> Any:
    """JSON of that kind, or ``ValueError``."""
    if not isinstance(text, bytes | str):
        raise ValueError(f"text is wanted, not {type(text).__name__}")
    try:
        value = json.loads(text.decode() if isinstance(text, bytes) else text)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(value, kind):
        raise ValueError(f"its header is a {type(value).__name__}")
    return value


def _tensors(table: dict[str, Any], start: int, size: int) -> dict[str, Tensor]:
    """The table of tensors, which must fill the file from ``start`` on without a gap."""
    found, ends = {}, {}
    for name, entry in table.items():
        if not isinstance(entry, dict):
            raise ValueError(f"the entry of tensor {name!r} is no mapping")
        kind, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
        if not isinstance(kind, str) or kind not in DTYPES:
            raise ValueError(f"tensor {name!r} is of an unknown type {kind!r}")
        counts = _are_counts(shape) and _are_counts(offsets)
        if not counts or len(shape) > MAX_AXES or len(offsets) != 2:
            raise ValueError(f"the entry of tensor {name!r} has no shape and place")
        dtype = np.dtype(DTYPES[kind])
        first, last = offsets
        if last - first != math.prod(shape) * dtype.itemsize or last > size - start:
            raise ValueError(f"tensor {name!r} of {kind} {shape} does not fit into the file")
        found[name] = Tensor(dtype, tuple(shape), start + first)
        ends[name] = start + last
    at = start
    for name in sorted(found, key=lambda name: (found[name].start, ends[name])):
        if found[name].start != at:
            raise ValueError(f"tensor {name!r} is not where the one before it ends")
        at = ends[name]
    if at != size:
        raise ValueError(f"{size - at:,} bytes belong to no tensor")
    return found


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(x) is int and 0 <= x < 2**53 for x in value)


# --- the facts -----------------------------------------------------------------------------------


def checked_facts(about: dict[str, Any]) -> dict[str, Any]:
    """The facts of a policy, of the types that everybody relies on.

    Raises:
      UserError: one is missing, of another type or out of range, or this version lacks the
        algorithm.
    """
    _check_text(about)
    optional = type(None)
    for name, kinds in {
        "algorithm": (str,), "task": (str,), "config": (dict,), "hp": (dict,), "spec": (dict,),
        "plugins": (list, optional), "seed": (int, optional), "env_steps": (int, optional),
        "score": (int, float, optional),
    }.items():  # fmt: skip
        if type(about.get(name)) not in kinds:
            raise UserError(f"its {name} is {_shown(about.get(name))}")
    plugins = about.get("plugins") or []
    if not all(isinstance(plugin, str) for plugin in plugins):
        raise UserError(f"its plugins are {_shown(plugins)}")
    name = about["algorithm"]
    check_known_algorithm(name, plugins)
    if name not in algorithm_names():
        raise UserError(f"it needs algorithm {_shown(name)}, which this version lacks")
    module = algorithm_module(name)
    config, hp = (
        merge(default, about[key], key)
        for key, default in (("config", module.Config()), ("hp", module.HParams()))
    )
    wrong = range_problems(config, "config.") + range_problems(hp, "hp.")
    if wrong:
        raise UserError("; ".join(wrong))
    return about | {"plugins": plugins, "spec": dataclasses.asdict(_spec_of(about["spec"]))}


def _check_text(about: dict[str, Any]) -> None:
    """All text can be printed: a terminal would obey what cannot."""
    left: list[tuple[Any, int]] = [(about, 0)]
    while left:
        value, depth = left.pop()
        if depth > MAX_DEPTH:
            raise UserError("its facts are nested too deeply")
        if isinstance(value, dict):
            left += [(x, depth + 1) for pair in value.items() for x in pair]
        elif isinstance(value, list):
            left += [(x, depth + 1) for x in value]
        elif isinstance(value, str) and not value.isprintable():
            raise UserError(f"it has text that cannot be printed: {_shown(value)}")


def _spec_of(stored: dict[str, Any]) -> TaskSpec:
    """A task's sizes, such that arrays of one moment of it are small."""
    like = TaskSpec("", n_agents=1, n_actions=1, obs_size=1, state_size=1, episode_limit=1)
    required = {f.name for f in dataclasses.fields(TaskSpec) if f.default is dataclasses.MISSING}
    if missing := required - stored.keys():
        raise UserError(f"its spec lacks {', '.join(sorted(missing))}")
    spec = merge(like, stored, "spec")
    each = MOST // max(spec.n_agents, 1)
    for name, low, most in (
        ("n_agents", 1, MOST), ("n_actions", 1, each), ("obs_size", 0, each),
        ("state_size", 0, MOST), ("episode_limit", 1, MANY),
    ):  # fmt: skip
        if not low <= (value := getattr(spec, name)) <= most:
            raise UserError(f"spec.{name} must be within {low} and {most}, got {value}")
    if wrong := range_problems(spec, "spec."):
        raise UserError("; ".join(wrong))
    return spec


def _shown(value: Any) -> str:
    """A value from a file, short and without anything that a terminal would obey."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


# --- the tensors ---------------------------------------------------------------------------------


def read_params(path: Path, tensors: dict[str, Tensor], like: PyTree) -> PyTree:
    """The tensors of a file as parameters of the shapes and types of ``like``.

    Raises:
      UserError: they are others, do not fit into memory, or are not finite.
    """
    wanted = named_leaves(like)
    for name in sorted(wanted.keys() | tensors.keys()):
        here, there = tensors.get(name), wanted.get(name)
        if here is None or there is None or here.shape != there.shape:
            made, stored = (list(x.shape) if x is not None else "not there" for x in (there, here))
            raise UserError(
                f"its tensors do not fit its own configuration: {name!r} is {stored}, by the "
                f"configuration it is {made}"
            )
        if _kind(here.dtype) != _kind(np.dtype(there.dtype)):
            raise UserError(f"its tensor {name!r} is {here.dtype.name}, not {there.dtype.name}")
    need = 2 * sum(math.prod(t.shape) * t.dtype.itemsize for t in tensors.values())
    free = available_memory()
    if free is not None and need > 0.9 * free:
        raise UserError(
            f"loading it takes {need / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free"
        )
    leaves = [_read(path, name, tensors[name], x.dtype) for name, x in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _kind(dtype: np.dtype) -> str:
    """numpy's letter for a type, which takes numbers of 8 bits for bytes without a meaning."""
    return "f" if dtype == ml_dtypes.float8_e4m3fn else dtype.kind


def _read(path: Path, name: str, tensor: Tensor, dtype: Any) -> Array:
    count = math.prod(tensor.shape)
    try:
        array = np.fromfile(path, tensor.dtype, count, offset=tensor.start)
    except OSError as error:
        raise UserError(f"it cannot be read: {error.strerror}") from None
    if array.size != count:
        raise UserError(f"its tensor {name!r} is cut short")
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        array = array.astype(dtype, copy=False)
    if not np.isfinite(array).all():
        raise UserError(f"its tensor {name!r} has numbers that are not finite")
    return jnp.asarray(array.reshape(tensor.shape))
