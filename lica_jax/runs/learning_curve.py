"""The learning curve of one run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def plot_learning_curve(
    path: Path, rows: list[dict[str, Any]], title: str, baseline: float | None = None
) -> None:
    """Draws greedy and sampled evaluations over env steps; one thin line per seed, thick mean.

    Args:
      path: the PNG to write.
      rows: rows of ``eval.jsonl``.
      title: title of the figure.
      baseline: the uniformly random policy's figure, drawn as a dotted line.
    """
    # The object interface: no pyplot, so no display and no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wins = bool(rows) and "eval/win_rate" in rows[0]
    key, label = ("win_rate", "win rate (%)") if wins else ("return_mean", "episode return")
    factor = 100.0 if wins else 1.0
    figure = Figure(figsize=(6.4, 4.0), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for mode, prefix, colour in (("greedy", "eval/", "C0"), ("sampled", "eval/sampled/", "C1")):
        seeds = sorted({row["seed"] for row in rows})
        curves = []
        for seed in seeds:
            own = [r for r in rows if r["seed"] == seed and r.get(prefix + key) is not None]
            x = np.array([r["env_steps"] for r in own]) / 1e6
            y = factor * np.array([r[prefix + key] for r in own])
            curves.append((x, y))
            if len(seeds) > 1:
                axes.plot(x, y, color=colour, lw=0.8, alpha=0.4)
        length = min((len(x) for x, _ in curves), default=0)
        if length:
            mean_x = np.mean([x[:length] for x, _ in curves], axis=0)
            mean_y = np.mean([y[:length] for _, y in curves], axis=0)
            name = mode if len(seeds) == 1 else f"{mode}, mean of {len(seeds)} seeds"
            axes.plot(mean_x, mean_y, color=colour, lw=2, marker="o", ms=3, label=name)
    if baseline is not None:
        axes.axhline(factor * baseline, color="0.4", ls=":", label="random policy")
    if wins:
        axes.set_ylim(-3, 103)
    axes.set(xlabel="env steps (millions)", ylabel=label, title=title)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    if rows or baseline is not None:
        axes.legend(loc="best", fontsize=8)
    figure.savefig(path)
