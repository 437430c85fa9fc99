"""The instructions of a compiled program: where they come from, and their matrix products."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

_HEAD = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$")
_SHAPE = re.compile(r"^\w+\[([\d,]*)\]")
_PATH = re.compile(r'op_name="([^"]*)"')


class Instruction(NamedTuple):
    """What is known of an instruction.

    Attributes:
      path: the scopes of the source that it was made of, as ``jit(f)/while/body/Net/dot_general``;
        "" where the compiler made it up.
      products: floating-point operations of the matrix products in one execution, 2 for each
        multiplication; those of loops and calls are their bodies' own.
    """

    path: str
    products: int


def instructions(text: str) -> dict[str, Instruction]:
    """The instructions by name of a program in XLA's text form (``Compiled.as_text()``)."""
    parsed: dict[str, list[tuple[str, str, str, str]]] = {}
    computation: list[tuple[str, str, str, str]] = []
    for line in text.splitlines():
        if head := _HEAD.match(line):
            computation = parsed.setdefault(head[1], [])
        elif found := _LINE.match(line):
            computation.append(found.groups())
    products = {name: _products(body) for name, body in parsed.items()}
    out = {}
    for computation_name, body in parsed.items():
        own = products[computation_name]
        for name, _, kind, rest in body:
            path = _PATH.search(rest)
            inner = re.search(r"calls=%?([\w.\-]+)", rest) if kind == "fusion" else None
            counted = sum(products.get(inner[1], {}).values()) if inner else 0
            out[name] = Instruction(path[1] if path else "", counted + own.get(name, 0))
    return out


def _products(body: list[tuple[str, str, str, str]]) -> dict[str, int]:
    """Operations of a computation's own matrix products, by instruction."""
    shapes = {name: shape for name, shape, _, _ in body}
    out = {}
    for name, shape, kind, rest in body:
        if kind != "dot":
            continue
        first = re.match(r"(?:\w+\[[\d,]*\](?:\{[^}]*\})? )?%?([\w.\-]+)", rest)
        summed = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", rest)
        lengths = _lengths(shapes.get(first[1], "")) if first else []
        over = [int(i) for i in summed[1].split(",") if i] if summed else []
        depth = math.prod(lengths[i] for i in over if i < len(lengths))
        out[name] = 2 * math.prod(_lengths(shape)) * depth
    return out


def _lengths(shape: str) -> list[int]:
    found = _SHAPE.match(shape)
    return [int(n) for n in found[1].split(",") if n] if found else []
