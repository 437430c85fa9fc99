"""Figures of the paper that can be made again: ``lica-jax reproduce NAME``."""

from __future__ import annotations

# Name -> module. A module has `reproduce(out, *, inits, iterations, seed, overwrite)`, which writes
# its files under `out` and prints what it found.
FIGURES = {"fig5": "lica_jax.reproduce.fig5"}
