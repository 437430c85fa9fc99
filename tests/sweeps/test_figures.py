"""What a sweep says of itself: the best settings, what mattered, how long it takes."""

from __future__ import annotations

import numpy as np
import pytest

from lica_jax.runs.rows import rows_by_run
from lica_jax.sweeps import display, outlook
from lica_jax.sweeps.display import WaveDisplay, best_text, duration, overrun_text
from lica_jax.sweeps.figure import draw_sweep
from lica_jax.sweeps.folder import Folder, Progress, Wave
from lica_jax.sweeps.outlook import Outlook, all_steps, steps_of
from lica_jax.sweeps.plans import Plans
from lica_jax.sweeps.request import request
from lica_jax.sweeps.settings import grid_values, make_settings
from lica_jax.sweeps.table import setting_entry, summarise
from lica_jax.sweeps.work import Work


def entries(scores):
    """Summaries of settings by task and learning rate, from their seeds' scores."""
    out = []
    for number, ((task, lr), own) in enumerate(scores.items()):
        values = {"task": task, "hp.actor_lr": lr}
        rows = [
            {"run": 10 * number + i, "status": "finished", "final/win_rate": score}
            for i, score in enumerate(own)
        ]
        out.append(setting_entry(number, values, rows, "eval/win_rate"))
    return out


def test_of_equal_settings_the_higher_return_is_the_best():
    """As where nothing is won yet. They are not as good as each other, either."""
    rows = [[0.082, 0.054], [0.183, 0.119], [0.183, 0.119], None]
    settings = []
    for number, returns in enumerate(rows):
        runs = [
            {"run": i, "status": "finished", "final/win_rate": 0.0}
            | ({} if returns is None else {"final/return_mean": returns[i]})
            for i in range(2)
        ]
        # A run that failed has no part in either figure.
        runs.append({"run": 2, "status": "failed at update 3", "final/return_mean": 0.9})
        settings.append(setting_entry(number, {"hp.lr": number}, runs, "eval/win_rate"))
    summary = summarise(Progress(), settings, ["lbf"] * 4, "eval/win_rate")
    assert summary["best"]["setting"] == 1 and summary["best"]["return_mean"] == 0.151
    assert best_text(summary).startswith("best hp.lr 1 (1 other as good): final/win_rate 0.0 %")


SCORES = {
    ("easy", 0.1): [0.9, 1.0, 0.8], ("hard", 0.1): [0.1, 0.1, 0.2],
    ("easy", 0.2): [0.5, 0.5, 0.5], ("hard", 0.2): [0.3, 0.3, 0.4],
}  # fmt: skip


def test_the_best_of_every_task(tmp_path):
    """Figures of one task are no better or worse than those of another."""
    settings = entries(SCORES)
    tasks = [entry["values"]["task"] for entry in settings]
    summary = summarise(Progress(), settings, tasks, "eval/win_rate")
    best = {task: entry["setting"] for task, entry in summary["best_by_task"].items()}
    assert best == {"easy": 0, "hard": 3} and summary["best"] is None
    assert summary["ended"] == 12
    text = best_text(summary)
    assert "easy: best hp.actor_lr 0.1: final/win_rate 90.0 % (95 % " in text
    assert "hard: best hp.actor_lr 0.2: final/win_rate 33.3 % (95 % " in text
    assert best_text(summary, ["hard"]).startswith("hard: best")
    summary["best_by_task"]["easy"]["values"]["hp.actor_lr"] = 0.0007447144904083078
    assert "easy: best hp.actor_lr 0.0007447: " in best_text(summary)
    summary["best_by_task"]["easy"]["values"]["hp.actor_lr"] = 0.1
    # As many digits as tell it from the other settings.
    summary["best_by_task"]["easy"]["values"]["hp.actor_lr"] = 0.10000001
    assert "easy: best hp.actor_lr 0.10000001: " in best_text(summary)
    summary["best_by_task"]["easy"]["values"]["hp.actor_lr"] = 0.1
    # What tasks differ in is no merit of the learning rate: one gains 0.4, the other loses 0.2.
    assert list(summary["importance"]) == ["hp.actor_lr"]
    assert summary["importance"]["hp.actor_lr"] == pytest.approx(0.1, abs=0.02)
    one = summarise(Progress(), settings[::2], tasks[::2], "eval/win_rate")
    assert one["best"] == one["best_by_task"]["easy"] == settings[0]
    for entry in settings:
        for run in entry["runs"]:
            path = tmp_path / f"runs/{run:04d}"
            path.mkdir(parents=True)
            (path / "eval.jsonl").write_text(
                '{"update": 1, "step": 8, "env_steps": 9, "seed": 0, "eval/win_rate": 0.5}\n'
            )
    figure = draw_sweep(Folder(tmp_path), [], summary)
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.get_visible()]
    assert titles[-2:] == ["easy: all 2 settings", "hard: all 2 settings"]


def test_the_mean_of_a_setting_ends_where_a_seed_failed(tmp_path):
    """By places of evaluations, not by the number of rows, which would mix places."""
    runs = [
        {"run": i, "status": "finished", "eval/win_rate": 0.5, "hp.gamma": 0.9} for i in range(2)
    ]
    settings = [setting_entry(0, {"hp.gamma": 0.9}, runs, "eval/win_rate")]
    summary = summarise(Progress(), settings, ["smax/3m"], "eval/win_rate")
    for run, steps in enumerate(([0, 100, 200], [0, 200])):  # the second one lost a row
        (tmp_path / f"runs/{run:04d}").mkdir(parents=True)
        (tmp_path / f"runs/{run:04d}/eval.jsonl").write_text("".join(
            f'{{"update": 1, "step": {s}, "env_steps": {s + 2 * run}, "seed": {run}, '
            f'"eval/win_rate": {s / 200}}}\n' for s in steps
        ))  # fmt: skip
    axes = [ax for ax in draw_sweep(Folder(tmp_path), [], summary).axes if ax.get_visible()][-1]
    (mean,) = [line for line in axes.lines if line.get_linewidth() == 2]
    assert (axes.get_xlabel(), axes.get_title(loc="left")) == ("env steps", "learning curve")
    np.testing.assert_allclose(mean.get_xydata(), [[1, 0], [201, 100]])


def test_a_figure_is_called_by_the_column_it_is_from():
    """Of the last policy on fresh episodes where runs came to their end, as in the table."""
    fresh = {"run": 0, "status": "finished", "eval/win_rate": 0.473, "final/win_rate": 0.508}
    settings = [setting_entry(0, {"hp.entropy_coef": 0.03}, [fresh], "eval/win_rate")]
    summary = summarise(Progress(), settings, ["smax/3m"], "eval/win_rate")
    assert summary["objective"] == summary["best"]["figure"] == "final/win_rate"
    assert best_text(summary) == "best hp.entropy_coef 0.03: final/win_rate 50.8 % (1 seed)"
    more = [setting_entry(i, {"hp.entropy_coef": i}, [fresh], "eval/win_rate") for i in (1, 2)]
    level = summarise(Progress(), [*settings, *more], 3 * ["smax/3m"], "eval/win_rate")
    assert best_text(level).startswith("best hp.entropy_coef 0.03 (2 others as good): ")
    halved = {"run": 1, "status": "stopped by halving", "eval/win_rate": 0.4}
    assert setting_entry(1, {}, [halved], "eval/win_rate")["figure"] == "eval/win_rate"
    sampled = fresh | {"final/sampled/win_rate": 0.3, "eval/sampled/win_rate": 0.2}
    entry = setting_entry(0, {}, [sampled], "eval/sampled/win_rate")
    assert (entry["figure"], entry["mean"]) == ("final/sampled/win_rate", 0.3)
    # A summary of an earlier version, and one of before anything has ended.
    del summary["best_by_task"]["smax/3m"]["figure"]
    assert ": eval/win_rate 50.8 %" in best_text(summary | {"objective": "eval/win_rate"})
    empty = setting_entry(0, {}, [], "eval/win_rate")
    none = summarise(Progress(), [empty], ["t"], "eval/win_rate")
    assert none["objective"] == "eval/win_rate" and best_text(none) == "nothing finished yet"


def test_settings_beyond_their_budget_are_told():
    settings = [{"values": {"algorithm": name}} for name in ("lica", "qmix", "iql")]
    steps = [(0, 26_162), (0, 25_000), (1, 20_438), (2, 100)]
    rows = [{"setting": i, "env_steps": n} for i, n in steps]
    assert overrun_text(rows, settings, [20_000] * 3) == (
        "more than 5 % beyond the budget: algorithm lica (2 runs, up to 26,162 of 20,000 env "
        "steps); runs end between compiled calls, which a smaller log_interval or collect.envs "
        "makes shorter"
    )
    assert overrun_text(rows[2:], settings, [20_000] * 3) == ""
    many = [{"values": {"hp.gamma": i}} for i in range(9)]
    rows = [{"setting": i, "env_steps": 30} for i in range(9)]
    assert "hp.gamma 5 (1 run, 30 of 20 env steps) and 3 more; " in overrun_text(
        rows, many, [20] * 9
    )


def test_rows_by_run():
    """In one pass; labelled by the seed alone."""
    labels = [{"run": i, "seed": 3, "hp.actor_lr": lr} for i, lr in enumerate((0.1, 0.2))]
    rows = [label | {"update": u} for u in (1, 2) for label in labels]
    assert rows_by_run(rows, labels) == 2 * [[{"seed": 3, "update": 1}, {"seed": 3, "update": 2}]]
    assert rows_by_run([], labels) == [[], []]


@pytest.fixture
def work(words, tmp_path):
    """Four settings with three seeds, halved twice, of 900 env steps."""
    grid = {"hp.entropy_coef": [0.1, 0.2, 0.3, 0.4]}
    ask = request(words | {"grid": grid, "halving": 2, "total_steps": 900, "seeds": [0, 1, 2]})
    settings, _ = make_settings(ask, grid_values(ask))
    progress = Progress(runs=[(s, seed) for s in range(4) for seed in range(3)])
    return Work(ask, Folder(tmp_path), progress, settings, Plans())


def test_env_steps_of_a_sweep(work):
    """To a quarter with four settings, to a half with two, to the end with one."""
    assert all_steps(work) == pytest.approx(3 * (4 * 225 + 2 * 225 + 450))
    wave = Wave("r1-004", (0, 1, 2), rung=1)
    assert steps_of(work, wave) == pytest.approx(3 * 225)
    assert steps_of(work, wave, each=300) == pytest.approx(3 * 75)


def test_how_long_it_takes(work, monkeypatch):
    """Said a minute into the first wave and behind every wave."""
    clock = [100.0]
    monkeypatch.setattr(outlook.time, "monotonic", lambda: clock[0])
    first, second = Wave("000", (0, 1, 2, 3, 4, 5)), Wave("001", (6, 7, 8, 9, 10, 11))
    found, said = Outlook(work), []
    clock[0] += 500  # in which the width of the waves was found
    found.waves_begin()
    began = clock[0]
    monkeypatch.setattr(display, "MINUTE", 60.0)
    live = WaveDisplay(
        "none", 225, 6, "wave", lambda *a: found.first_minute(first, *a), said.append
    )
    for _ in range(9):
        live.tick(10 * int(clock[0] - began) // 60)
        live.show(10 * int(clock[0] - began) // 60, [], ())
        clock[0] += 10
    # 10 env steps of each of six runs in a minute; 5,400 are asked for.
    left = duration((all_steps(work) - 60) / 1.0)
    assert said == [f"  about {left} left at the speed of the first wave's first minute"]
    found.waves_begin()  # of the next rung
    clock[0] = began + 1350
    left = duration(all_steps(work) - 1350)
    assert found.ended(first) == f"about {left} left"
    assert found.first_minute(second, 10, 5.0) == ""


@pytest.mark.parametrize("fields", [1, 7])
def test_a_figure_is_laid_out_however_many_fields_there_are(tmp_path, fields, recwarn):
    """Long names of settings and numbers of many digits lie over nothing."""
    names = [f"hp.a_long_name_{i}" for i in range(fields)]
    rows = [
        {"run": i, "setting": i // 2, "status": "finished", "eval/win_rate": 0.05 * i}
        | {name: 0.00123456 * (1 + i // 2 + k) for k, name in enumerate(names)}
        for i in range(12)
    ]
    settings = []
    for i, row in enumerate(rows):
        if i % 2:
            values = {n: row[n] for n in names}
            settings.append(setting_entry(i // 2, values, rows[i - 1 : i + 1], "eval/win_rate"))
        (tmp_path / f"runs/{i:04d}").mkdir(parents=True)
        (tmp_path / f"runs/{i:04d}/eval.jsonl").write_text("".join(
            f'{{"update": 1, "step": {s}, "env_steps": {s}, "seed": 0, "eval/win_rate": 0.5}}\n'
            for s in (0, 100)
        ))  # fmt: skip
    summary = summarise(Progress(), settings, 6 * ["smax/3m"], "eval/win_rate")
    figure = draw_sweep(Folder(tmp_path), rows, summary, tmp_path / "sweep.png")
    assert not [w for w in recwarn if "constrained_layout" in str(w.message)]
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) == fields + 1
    for ax in shown:
        legend = ax.get_legend().get_window_extent()
        box = ax.get_window_extent()
        assert legend.y1 < box.y0 and ax.get_tightbbox().x0 >= 0 and box.width > 200
        assert legend.x1 <= figure.bbox.x1
        ticks = [text.get_window_extent() for text in ax.get_xticklabels() if text.get_text()]
        assert all(tick.y0 >= legend.y1 - 1 for tick in ticks)
