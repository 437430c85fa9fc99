"""Keeping parts of a program apart."""

from __future__ import annotations

import jax
from jaxtyping import PyTree


def held(tree: PyTree) -> PyTree:
    """The same numbers, computed once and all of them before any is used.

    XLA on CPU fuses producers into every one of their consumers and computes them again in each.
    Between the phases of a simulation, where much is read by much, that costs several times what it
    saves.
    """
    return jax.lax.optimization_barrier(tree)
