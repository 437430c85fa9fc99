"""Multi-agent particle environments: the paper's two tasks, and JaxMARL's cooperative ones."""

from __future__ import annotations

from lica_jax.envs.mpe import particles, simple
from lica_jax.envs.names import Family
from lica_jax.types import Task

_SOURCES = (particles, simple)


def _source(name: str):
    """The module that knows ``name``, or None."""
    return next((s for s in _SOURCES if name in s.NAMES or s.match(name)), None)


def match(name: str) -> bool:
    return _source(name) is not None


def describe(name: str) -> str:
    return _source(name).describe(name)


def make(name: str) -> Task:
    return _source(name).make(name)


FAMILY = Family(
    shared=True,
    names=tuple(name for source in _SOURCES for name in source.NAMES), make=make,
    describe=describe, match=match,
)  # fmt: skip
