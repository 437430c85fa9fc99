"""Figures of the paper that can be made again: ``lica-jax reproduce NAME``."""

from __future__ import annotations

# Name -> module. A module has `reproduce(out, *, inits, iterations, seed, overwrite, say, tell)`,
# which writes its files under `out`, and says what it found and how far it is.
FIGURES = {"fig5": "lica_jax.reproduce.fig5"}
