"""The parts of a training program: how long each takes and how many operations it makes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from lica_jax.core.parts import AGENTS, COLLECT, OPTIMISER
from lica_jax.profiling.events import profiled
from lica_jax.profiling.hlo import instructions

# Parts in the order in which they are shown.
PARTS = ("collect", "agents forward", "agents backward", "critic", "optimiser", "rest")
_NETWORK = re.compile(r"(?:^|[/(])[A-Z]\w*[.)/]")  # a flax module's class


class Part(NamedTuple):
    """Seconds and operations of matrix products of one part of a call."""

    seconds: float
    products: int


def part_of(path: str) -> str:
    """The part to which an instruction with this path belongs.

    ``agents`` are unrolls over a batch, of online and target networks; a critic is any other
    network, mixers among them; losses, returns and batches are the rest. A fusion counts as what
    its last instruction does.
    """
    if COLLECT in path:
        return "collect"
    if OPTIMISER in path:
        return "optimiser"
    if AGENTS in path:
        return "agents backward" if "transpose(" in path else "agents forward"
    return "critic" if _NETWORK.search(path) else "rest"


def breakdown(program: jax.stages.Compiled, call: Callable[[], Any]) -> dict[str, Part]:
    """The parts of one call of a program; loops are counted as often as they went round."""
    known = instructions(program.as_text())
    seconds, products = dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0)
    for name, seen in profiled(call).items():
        if name in known:
            part = part_of(known[name].path)
            seconds[part] += seen.times * seen.seconds
            products[part] += seen.times * known[name].products
    return {part: Part(seconds[part], products[part]) for part in PARTS}
