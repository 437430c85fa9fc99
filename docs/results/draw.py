"""Draws the learning curves of these pages from the numbers beside them.

    python docs/results/draw.py                     all of them
    python docs/results/draw.py first_curve_2s3z    one
    python docs/results/draw.py table               README's table, in its place

As `lica-jax report` draws them, but for the time: a sweep's runs are here with their share of its
seconds, evenly over their env steps.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from lica_jax import statistics
from lica_jax.reporting.axes import dot, name_rows
from lica_jax.reporting.compare import compare
from lica_jax.reporting.figures import learning_curves
from lica_jax.reporting.groups import Group, Method
from lica_jax.reporting.picture import Panel, Picture, Style, styles_of
from lica_jax.reporting.reading import Run
from lica_jax.runs.look import FAINT, GRID, unit_of

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parent / "images"
DPI = 110  # so that files are small
EPISODES = 128  # of an evaluation on the way


class Curve(NamedTuple):
    """A method's runs: those of some sweeps ``where`` settings are such; what a run does not say
    was the same for all of its sweep."""

    label: str
    algorithm: str
    sweeps: Sequence[str]
    where: Mapping[str, Any] = MappingProxyType({})


class Sheet(NamedTuple):
    """One map, greedy and sampled; by time as well where that was one machine's."""

    task: str
    curves: Sequence[Curve]
    timed: bool = False


SHEETS = {
    "first_curve_2s3z": Sheet("smax/2s3z", [
        Curve("LICA (tuned)", "lica", ["n_2s3z"]),
        Curve("LICA-ADV (tuned)", "lica_adv", ["curve_adv"]),
        Curve("MAPPO (fast)", "mappo", ["curve_mappo"]),
    ], timed=True),
    "curves_MMM2_cpu": Sheet("smax/MMM2", [
        Curve("LICA-ADV (fast)", "lica_adv", ["adv_MMM2_5", "adv_MMM2_15"]),
        Curve("LICA-ADV (fast), advantage state_value", "lica_adv", ["advsv_MMM2"]),
        Curve("MAPPO (fast), 4 epochs", "mappo", ["mappo4_MMM2"]),
    ], timed=True),
    "lica_5m_vs_6m": Sheet("smax/5m_vs_6m", [
        Curve("LICA, kl_coef 0.05 (5 seeds)", "lica", ["a_5mc", "a_5mb"]),
        Curve("LICA, kl_coef 0.5 (1 seed)", "lica", ["kl_5m"], {"hp.kl_coef": 0.5}),
    ]),
    "learning_2s3z": Sheet("smax/2s3z", [
        Curve(f"LICA, xi {xi}", "lica", ["lica_2s3z"], {
            "hp.actor_lr": 1e-3, "hp.kl_coef": 0.5, "hp.td_lambda": 0.8, "hp.entropy_coef": xi,
        }) for xi in (0.03, 0.06)
    ]),
    "learning_MMM2": Sheet("smax/MMM2", [
        Curve(f"LICA, xi {xi}", "lica", ["lica_mmm2"], {"hp.entropy_coef": xi})
        for xi in (0.03, 0.06)
    ]),
    "learning_5m_vs_6m": Sheet("smax/5m_vs_6m", [
        Curve("LICA-ADV, doubly_robust", "lica_adv", ["lica_adv_5m_vs_6m_doubly_robust"]),
        Curve("LICA-ADV, state_value", "lica_adv", ["lica_adv_5m_vs_6m_state_value"]),
        Curve("MAPPO", "mappo", ["mappo_5m_vs_6m"], {"hp.clip": 0.2, "hp.entropy_coef": 0.01}),
    ]),
    "remedies_2s3z": Sheet("smax/2s3z", [
        Curve("LICA, as it was", "lica", ["lica_2s3z"], {
            "hp.actor_lr": 1e-3, "hp.kl_coef": 0.5, "hp.td_lambda": 0.8, "hp.entropy_coef": 0.03,
        }),
        Curve("critic_soft_inputs", "lica", ["lica_2s3z_soft_inputs"]),
        Curve("critic_zero_actions", "lica", ["lica_2s3z_zero_actions"]),
        Curve("dueling", "lica", ["lica_2s3z_dueling"]),
        Curve("all three", "lica", ["lica_2s3z_all_three"]),
    ]),
}  # fmt: skip
LICA, ADV = "LICA (tuned of before)", "LICA-ADV (tuned)"
MAPS = {
    "6h_vs_8z": {LICA: "lica_6h"}, "2c_vs_64zg": {LICA: "lica_2c64", ADV: "adv_2c64"},
    "1c3s5z": {LICA: "lica_1c3s5z"}, "MMM2, target_interval 16": {LICA: "lica_ti16_MMM2"},
    "3s5z": {LICA: "lica_3s5z"}, "8m": {LICA: "lica_8m"},
    "3s5z_vs_3s6z": {LICA: "lica_3s5z6z", ADV: "adv_3s5z6z"},
}  # fmt: skip

# The latest runs of every method on every map, with its best preset: README's table.
WINNERS = {
    "2s3z": {"lica": ["n_2s3z"], "lica_adv": ["curve_adv"], "mappo": ["curve_mappo"],
             "qmix": ["q_2s3z"]},
    "3m": {"lica": ["g_3m", "g_3m_b"], "lica_adv": ["z_3m"], "mappo": ["m_3m"],
           "qmix": ["qn_3m", "qs_3m_4"]},
    "8m": {"lica": ["k_8m", "a_8mb"], "lica_adv": ["advt_8m"], "mappo": ["w_8m"],
           "qmix": ["q_8m"]},
    "3s5z": {"lica": ["a_3s5z", "a_3s5zb"], "lica_adv": ["advt_3s5z"],
             "mappo": ["mappo_mlp_3s5z"], "qmix": ["q_3s5z"]},
    "1c3s5z": {"lica": ["a_1c3", "a_1c3b"], "lica_adv": ["advt_1c3s5z"], "mappo": ["p_1c"],
               "qmix": ["q_1c"]},
    "MMM2": {"lica": ["g_mmm2", "a_mmm2", "a_mmm2b"], "lica_adv": ["advt_MMM2"],
             "mappo": ["mappo4_MMM2"], "qmix": ["q_mmm2"]},
    "6h_vs_8z": {"lica": ["g_6h", "a_6hb"], "lica_adv": ["advt_6h", "d_6h"], "mappo": ["w_6h"],
                 "qmix": ["q_6h"]},
    "2c_vs_64zg": {"lica": ["a_2c25", "a_2cb"], "lica_adv": ["adv_2c64"], "mappo": ["m_2c"],
                   "qmix": ["q_2c"]},
    "5m_vs_6m": {"lica": ["a_5mc", "a_5mb"],
                 "lica_adv": ["lica_adv_5m_vs_6m_doubly_robust", "d_5m"],
                 "mappo": ["mappo_5m_vs_6m"], "qmix": ["q_5m"]},
    "3s5z_vs_3s6z": {"lica": ["a_36"], "lica_adv": ["adv_3s5z6z"], "mappo": ["m_36"]},
    "smacv2_5_units": {"lica_adv": ["advt_smacv2_5_10M", "d_v5"]},
    "smacv2_10_units": {"lica_adv": ["advt_smacv2_10_6M", "d_v10"]},
}  # fmt: skip
METHODS = {"lica": "LICA", "lica_adv": "LICA-ADV", "mappo": "MAPPO", "qmix": "QMIX"}
# Of sweeps over settings, those of the preset.
THESE = {"mappo_5m_vs_6m": {"hp.clip": 0.2, "hp.entropy_coef": 0.01}}


def recorded() -> dict[str, list[dict[str, Any]]]:
    """The runs of every sweep."""
    sweeps = [s for name in ("cpu", "gpu") for s in json.loads(
        (HERE / f"{name}.json").read_text()
    )["sweeps"]]  # fmt: skip
    return {sweep["name"]: sweep["runs"] for sweep in sweeps}


def runs_of(curve: Curve, known: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    found = [
        run
        for name in curve.sweeps
        for run in known[name]
        if all(run.get(key, value) == value for key, value in curve.where.items())
    ]
    if not found:
        raise SystemExit(f"no run of {curve}")
    return found


def as_run(curve: Curve, task: str, run: dict[str, Any]) -> Run:
    """As `lica-jax report` reads a run."""
    steps, greedy, sampled = np.array(run["evaluations"], float).T
    modes = {"greedy": greedy, "sampled": sampled}
    figures = {
        mode: {"win_rate": y, "return_mean": y, "episodes": np.full(len(y), EPISODES)}
        for mode, y in modes.items()
    }
    return Run(
        path=HERE, algorithm=curve.algorithm, task=task, preset="", seed=run["seed"], settings={},
        total_steps=int(steps[-1]), steps=steps,
        seconds=(run["seconds"] or 1.0) * steps / steps[-1], figures=figures, last={}, best={},
        random={}, status="finished", ended=True, failed=False, together=1, test_double=False,
    )  # fmt: skip


def sheet(name: str, asked: Sheet, known: dict[str, list[dict[str, Any]]]) -> Picture:
    groups = [
        Group(Method(c.algorithm, c.label), c.label, asked.task,
              tuple(as_run(c, asked.task, run) for run in runs_of(c, known)))
        for c in asked.curves
    ]  # fmt: skip
    styles = styles_of({c.label: c.algorithm for c in asked.curves})
    modes = [compare(asked.task, groups, mode) for mode in ("greedy", "sampled")]
    drawn = learning_curves(modes, styles, name)
    panels = [p for p in drawn.panels if asked.timed or p.title.endswith("env steps")]
    return replace(drawn, name=name, panels=panels, legend=styles)


def maps(name: str, known: dict[str, list[dict[str, Any]]]) -> Picture:
    """Means of seeds on several maps, greedy and sampled, with bands from lowest to highest."""
    own = styles_of({LICA: "lica", ADV: "lica_adv"})
    styles = {
        f"{label}, {mode}": replace(style, dashes=dashes)
        for label, style in own.items()
        for mode, dashes in (("greedy", "-"), ("sampled", (0, (4, 2))))
    }

    def draw(axes: Any, sweeps: dict[str, str]) -> None:
        for label, sweep in sweeps.items():
            for i, mode in enumerate(("greedy", "sampled"), 1):
                _band(axes, known[sweep], i, styles[f"{label}, {mode}"])
        axes.set(xlabel=unit_of("steps", 5e6)[1], ylabel="win rate (%)", ylim=(-3, 103))
        axes.set_xlim(0, 5.1)

    panels = [Panel(title, partial(draw, sweeps=sweeps), 2.4) for title, sweeps in MAPS.items()]
    return Picture(name, "LICA on seven maps: mean, lowest and highest seed", "", panels, styles, 3)


def winners(name: str, known: dict[str, list[dict[str, Any]]]) -> Picture:
    """The last policies of every method on every map, greedy and sampled."""
    algorithms = {label: algorithm for algorithm, label in METHODS.items()}
    styles = styles_of(algorithms)

    def draw(axes: Any, mode: int) -> None:
        for i, methods in enumerate(WINNERS.values()):
            for algorithm, sweeps in methods.items():
                style = styles[METHODS[algorithm]]
                y = i + 0.18 * (list(METHODS).index(algorithm) - 1.5)
                values = 100 * np.array(finals(sweeps, known))[:, mode]
                axes.plot(
                    values, np.full(len(values), y), ls="", marker="|", ms=4, color=style.colour,
                    alpha=0.6,
                )  # fmt: skip
                dot(axes, statistics.interval([values]), y, style, style.colour)
        for label, style in styles.items():  # by their markers: no lines are drawn here
            axes.plot([], [], ls="", marker=style.marker, color=style.colour, label=label)
        axes.legend(loc="lower left", ncols=2, fontsize=8)
        for i in range(1, len(WINNERS)):
            axes.axhline(i - 0.5, color=GRID, lw=0.8)
        name_rows(axes, list(WINNERS))
        axes.axvline(90, color=FAINT, lw=0.8, ls=":")
        axes.set(xlabel="win rate (%)", xlim=(-3, 103))

    panels = [
        Panel(f"{title} play", partial(draw, mode=i), 0.7 + 0.44 * len(WINNERS))
        for i, title in enumerate(("greedy", "sampled"))
    ]
    caption = (
        "Last policies, 512 episodes per seed and mode. Large: interquartile mean over seeds (the "
        "table has means) with its 95 % bootstrap interval (of three seeds: from the lowest to the "
        "highest); small: each seed. The line is at nine battles of ten. Budgets differ: they are "
        "in the table."
    )
    return Picture(name, "Who wins on SMAX", caption, panels)


def winning(sweeps: Sequence[str], known: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The runs of some sweeps with the preset."""
    return [
        run
        for name in sweeps
        for run in known[name]
        if all(run[key] == value for key, value in THESE.get(name, {}).items())
    ]


def finals(sweeps: Sequence[str], known: dict[str, list[dict[str, Any]]]) -> list[list[float]]:
    """Greedy and sampled win rates of the last policies of some sweeps' runs."""
    return [run["final"] for run in winning(sweeps, known)]


def table(known: dict[str, list[dict[str, Any]]]) -> str:
    """README's table: what every method wins on every map, and at what price."""
    on_cpu = {s["name"] for s in json.loads((HERE / "cpu.json").read_text())["sweeps"]}

    def cell(sweeps: Sequence[str]) -> str:
        runs = winning(sweeps, known)
        rates = np.mean([run["final"] for run in runs], 0)
        score = " / ".join(_rate(rate) for rate in rates)
        score = f"**{score}**" if min(rates) >= 0.9 else score
        taken = np.mean([run["env_steps"] for run in runs]) / 1e6
        steps = f"{taken:.0f}" if taken > 10 else f"{taken:.1f}".removesuffix(".0")
        bounds = [statistics.interval([[run["final"][i] for run in runs]]) for i in (0, 1)]
        spread = " / ".join(f"[{_rate(b.low)}, {_rate(b.high)}]" for b in bounds)
        timed = winning([name for name in sweeps if name in on_cpu], known)
        minutes = f"{np.mean([run['seconds'] for run in timed]) / 60:.0f} min" if timed else "GPU"
        return f"{score}<br>{spread}<br>{steps} M x {len(runs)}, {minutes}"

    lines = [f"| map | {' | '.join(METHODS.values())} |", "|---" * (len(METHODS) + 1) + "|"]
    for task, methods in WINNERS.items():
        cells = [cell(methods[a]) if a in methods else "" for a in METHODS]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _rate(rate: float) -> str:
    return f"{rate:.3f}".removeprefix("0")


def write_table(known: dict[str, list[dict[str, Any]]]) -> None:
    path = HERE.parents[1] / "README.md"
    before, start, rest = path.read_text().partition("| map | LICA |")
    _, gap, after = rest.partition("\n\n")
    if not (start and gap):
        raise SystemExit("README has no table of who wins")
    path.write_text(before + table(known) + gap + after)


def _band(axes: Any, runs: list[dict[str, Any]], column: int, style: Style) -> None:
    length = min(len(run["evaluations"]) for run in runs)
    evaluations = np.array([run["evaluations"][:length] for run in runs], float)
    x, y = evaluations[:, :, 0].mean(0) / 1e6, 100 * evaluations[:, :, column]
    axes.plot(x, y.mean(0), color=style.colour, ls=style.dashes, lw=1.6)
    axes.fill_between(x, y.min(0), y.max(0), color=style.colour, alpha=0.13, lw=0)


def main() -> None:
    others = {"learning_lica_maps": maps, "who_wins": winners}
    names = [*SHEETS, *others]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[[], *names, "table"], metavar="NAME", default=[]
    )
    known = recorded()
    for name in parser.parse_args().names or [*names, "table"]:
        if name == "table":
            write_table(known)
            continue
        asked = SHEETS.get(name)
        picture = sheet(name, asked, known) if asked else others[name](name, known)
        picture.figure.set(dpi=DPI)
        (IMAGES / f"{name}.png").write_bytes(picture.file("png"))
        print(IMAGES.name + f"/{name}.png")


if __name__ == "__main__":
    main()
