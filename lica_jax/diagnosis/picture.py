"""The figure of a diagnosis."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from lica_jax.diagnosis.agreement import Figure
from lica_jax.diagnosis.measuring import Held, Tried
from lica_jax.reporting.picture import FAINT, Panel, Picture, Style
from lica_jax.runs.look import unit_of

SHOWN = 3000  # points of a cloud
BLUE, ORANGE, GREEN = (Style.number(i).colour for i in (0, 1, 2))
# Titles of the curves' panels, and which curves are in each.
CURVES = {
    "entropy (nats) and its weight": ("entropy", "entropy_coef"),
    "gradient norms": ("actor_grad_norm", "critic_grad_norm", "mixing_grad_norm"),
    "KL of policies before and after": ("kl",),
}


def picture(
    title: str, tried: Tried, held: Held, curves: dict[str, dict[str, Any]],
    figures: dict[str, Figure], labels: dict[str, Any],
) -> Picture:  # fmt: skip
    """Clouds of the critic against the truth, and what the run wrote of its updates."""
    said = {name: f"{f.in_words}" for name, f in figures.items()}
    panels = [
        Panel(
            f"return: explained {said['explained_variance']}",
            partial(_returns, held=held, label=labels["value"]),
        ),
        Panel(
            f"one agent's action: correlation {said['effect_correlation']}",
            partial(_cloud, tried=tried, worth=tried.critic, label="effect by the critic"),
        ),
    ]
    if tried.slope is not None:
        title_of = f"{labels['credit']}: correlation {said['gradient_correlation']}"
        label = f"{labels['credit']} above its mean"
        panels.append(Panel(title_of, partial(_cloud, tried=tried, worth=tried.slope, label=label)))
    for name, wanted in CURVES.items():
        there = {k: curves[k] for k in wanted if k in curves}
        if there:
            panels.append(Panel(name, partial(_lines, curves=there)))
    return Picture("diagnosis", title, "", panels, columns=3)


def _returns(axes: Any, held: Held, label: str) -> None:
    some = _some(len(held.value))
    axes.plot(held.full[some], held.value[some], ".", ms=2, alpha=0.3, color=BLUE)
    ends = [min(held.full.min(), held.value.min()), max(held.full.max(), held.value.max())]
    axes.plot(ends, ends, color=FAINT, lw=1, ls=":")
    axes.set_xlabel("return from the moment on")
    axes.set_ylabel(label)


def _cloud(axes: Any, tried: Tried, worth: np.ndarray, label: str) -> None:
    truth, said = tried.effects(tried.truth), tried.effects(worth)
    there = np.isfinite(truth)
    axes.axhline(0, color=FAINT, lw=0.6)
    axes.axvline(0, color=FAINT, lw=0.6)
    axes.errorbar(
        truth[there], said[there], xerr=tried.error[there], fmt="none", ecolor=BLUE, alpha=0.12,
        lw=0.8,
    )  # fmt: skip
    taken = np.zeros_like(there)
    taken[np.arange(len(tried.action)), tried.action] = True
    for which, colour, name in ((~taken, BLUE, "other"), (taken, ORANGE, "taken")):
        some = there & which
        axes.plot(truth[some], said[some], ".", ms=4, alpha=0.6, color=colour, label=name)
    axes.set_xlabel("true effect, by rollouts (+- standard error)")
    axes.set_ylabel(label)
    axes.legend(fontsize=7.5, loc="upper left")


def _lines(axes: Any, curves: dict[str, dict[str, Any]]) -> None:
    most = max(curve["steps"][-1] for curve in curves.values())
    unit, name = unit_of("steps", most)
    for (_, curve), colour in zip(curves.items(), (BLUE, ORANGE, GREEN), strict=False):
        steps, values = np.asarray(curve["steps"]) / unit, np.asarray(curve["values"], float)
        name_of = curve["metric"].replace("_", " ")
        axes.plot(steps, values, color=colour, lw=1.4, label=name_of)
    values = np.concatenate([curve["values"] for curve in curves.values()])
    if np.nanmin(values, initial=np.inf) > 0:
        axes.set_yscale("log")
    axes.set_xlabel(name)
    if len(curves) > 1:
        axes.legend(fontsize=7.5)
    else:
        axes.set_ylabel(name_of)


def _some(count: int) -> np.ndarray:
    if count <= SHOWN:
        return np.arange(count)
    return np.random.default_rng(0).choice(count, SHOWN, replace=False)
