"""What a run wrote of its updates, along its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lica_jax.errors import UserError
from lica_jax.reporting.reading import number
from lica_jax.runs import names
from lica_jax.runs.rows import sound_rows

# What is shown, and the metrics that say so, by the names that algorithms give them.
CURVES = {
    "entropy": ("entropy",),
    "entropy_fraction": ("entropy_fraction",),
    "entropy_coef": ("entropy_coef_effective", "entropy_coef"),
    "actor_grad_norm": ("actor_grad_norm",),
    "critic_grad_norm": ("critic_grad_norm",),
    "mixing_grad_norm": ("mixing_grad_norm",),
    "kl": ("kl", "approx_kl"),
}
POINTS = 400  # of a curve, at most


def read_curves(run_dir: Path, about: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """``{name: {"metric": ..., "steps": [...], "values": [...]}}`` of the run that a policy (with
    the facts ``about``) came from; without what its algorithm does not write.

    Raises:
      UserError: the file cannot be read.
    """
    path = run_dir / names.METRICS
    if not path.is_file():
        return {}
    try:
        rows, _ = sound_rows(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    rows = [row for row in rows if _belongs(row, about)]
    rows = rows[:: max(1, -(-len(rows) // POINTS))]
    out = {}
    for name, metrics in CURVES.items():
        metric = next((m for m in metrics if any(m in row for row in rows)), None)
        if metric is not None:
            values = [number(row.get(metric)) for row in rows]
            steps = [row["env_steps"] for row in rows]
            out[name] = {"metric": metric, "steps": steps, "values": values}
    return out


def _belongs(row: dict[str, Any], about: dict[str, Any]) -> bool:
    """Whether a row is of the run with that seed and, where runs differ in them, those numbers."""
    swept = {k.removeprefix("hp."): v for k, v in row.items() if k.startswith("hp.")}
    hp = about["hp"]
    return row["seed"] == about.get("seed") and all(hp.get(k) == v for k, v in swept.items())


def ends(curve: dict[str, Any]) -> tuple[float, float]:
    """The mean of the first tenth of a curve, and of its last."""
    values = np.asarray(curve["values"], float)
    values = values[np.isfinite(values)]
    if not values.size:
        return np.nan, np.nan
    part = max(1, len(values) // 10)
    return float(values[:part].mean()), float(values[-part:].mean())
