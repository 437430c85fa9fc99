"""The JSON that the package marl-eval reads (Gorsane et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lica_jax.reporting.compare import METRICS
from lica_jax.reporting.groups import Group
from lica_jax.reporting.reading import Run
from lica_jax.runs.names import MODES


def to_marl_eval(groups: Sequence[Group]) -> dict[str, Any]:
    """``{env: {task: {algorithm: {run_i: {step_k: {...}, absolute_metrics: {...}}}}}}``.

    A step has its ``step_count``, ``elapsed_time`` in seconds (behind set-up and compilation) and,
    as lists of one number, the means over its episodes: ``win_rate`` and ``return`` are greedy,
    ``sampled_...`` sampled. Runs that have not ended have no ``absolute_metrics``.
    """
    out: dict[str, Any] = {}
    for group in groups:
        env, _, task = group.task.partition("/")
        methods = out.setdefault(env, {}).setdefault(task or env, {})
        methods[group.label] = {f"run_{i}": _run(run) for i, run in enumerate(group.runs)}
    return out


def _run(run: Run) -> dict[str, Any]:
    steps = {
        f"step_{k}": {
            "step_count": int(run.steps[k]), "elapsed_time": float(run.seconds[k]),
            **_metrics({mode: {m: f[m][k] for m in METRICS} for mode, f in run.figures.items()}),
        }
        for k in range(len(run.steps))
    }  # fmt: skip
    return steps | ({"absolute_metrics": _metrics(run.best)} if run.best else {})


def _metrics(figures: dict[str, dict[str, Any]]) -> dict[str, list[float]]:
    out = {}
    for mode in MODES:
        for metric in METRICS:
            value = figures[mode].get(metric)
            if value is not None and np.isfinite(value):
                name = ("" if mode == "greedy" else f"{mode}_") + metric.removesuffix("_mean")
                out[name] = [float(value)]
    return out
