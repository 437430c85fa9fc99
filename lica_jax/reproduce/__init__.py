"""Figures of the paper that can be made again: ``lica-jax reproduce NAME``."""

from __future__ import annotations

# How much of a figure's experiment is run: in seconds, on a CPU, on a GPU, all of the paper's.
SCALES = ("smoke", "cpu", "gpu", "paper")
# Name -> module that makes it. Those of `trained` are sweeps under configs/figures.
FIGURES = {
    "fig2a": "lica_jax.reproduce.fig2a",
    "fig2": "lica_jax.reproduce.trained",
    "fig3": "lica_jax.reproduce.trained",
    "fig4": "lica_jax.reproduce.trained",
    "fig5": "lica_jax.reproduce.fig5",
    "fig6": "lica_jax.reproduce.trained",
}
