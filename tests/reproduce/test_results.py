"""From the files of runs to the numbers of a figure, worked by hand; no training."""

import json

import numpy as np
import pytest

from lica_jax.reproduce import results
from lica_jax.reproduce.drawing import draw
from lica_jax.reproduce.experiments import EXPERIMENTS, panel_name
from lica_jax.reproduce.series import Source, binned

ALGO = {"entropy_mode": "global", "critic": "mixing", "policy_input": "probs"}


def write_run(
    path, seed, *, task="smax/5m_vs_6m", wins=(), metrics=(), failed=None, xi=0.11, **algo
):
    """A run directory of four million env steps with evaluations at every million."""
    path.mkdir()
    config = {
        "algorithm": "lica", "task": task, "preset": "fast", "total_steps": 4_000_000,
        "seeds": [seed], "hp": {"entropy_coef": xi}, "algo": ALGO | algo,
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    rows = []
    for i, win in enumerate(wins):
        row = {"update": i, "env_steps": (i + 1) * 1_000_000, "seed": seed, "seconds": 1.0 * i}
        for prefix in ("eval/", "eval/sampled/"):
            row |= {f"{prefix}win_rate": win, f"{prefix}return_mean": win, f"{prefix}episodes": 32}
        rows.append(row)
    (path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "metrics.jsonl").write_text(
        "".join(json.dumps({"update": i, "seed": seed} | r) + "\n" for i, r in enumerate(metrics))
    )
    result = {"seeds": [seed], "env_steps": [4_000_000], "failed_at_update": [failed]}
    (path / "result.json").write_text(json.dumps(result))
    return path


def test_medians_and_quartiles_over_runs(tmp_path):
    """Figure 6's form; a run that failed counts on with what it had."""
    wins = ([0.0, 0.2, 0.4, 0.4], [0.1, 0.3, 0.5, 0.6], [0.2, 0.4, 0.6, 0.8])
    runs = [write_run(tmp_path / f"{i}", i, wins=w) for i, w in enumerate(wins)]
    runs.append(write_run(tmp_path / "3", 0, wins=[0.3, 0.1], failed=7, critic="mlp", xi=0.05))
    (panel,), told = results.collect(EXPERIMENTS["fig6"], runs)
    assert not told and panel["title"] == "5m_vs_6m (Hard)" and panel["x"] == "env_steps"
    lica, mlp = panel["methods"]
    assert [lica["label"], mlp["label"]] == ["LICA", "LICA (C_MLP, ξ = 0.05)"]
    assert lica["x"] == [1e6, 2e6, 3e6, 4e6] and lica["seeds"] == [0, 1, 2]
    assert lica["median"] == [0.1, 0.3, 0.5, 0.6] and lica["q1"] == [0.05, 0.25, 0.45, 0.5]
    assert lica["iqm"] == pytest.approx([0.1, 0.3, 0.5, 0.6])  # of three: the mean
    assert lica["low"][-1] >= 0.4 and lica["high"][-1] <= 0.8
    assert mlp["failed"] == 1 and mlp["x"][-1] == 4e6 and mlp["runs"][0][-1] == 0.1
    assert mlp["low"] is None and mlp["final"]["low"] is None
    lines = "\n".join(results.summary_lines(EXPERIMENTS["fig6"], [panel]))
    assert "60.0 (50.0 to 70.0)" in lines and "3 seeds" in lines and "1 seed, 1 failed" in lines


def test_particles_go_along_episodes(tmp_path):
    """Means over episodes, not over rows; no further than the paper's 5,000."""
    rows = [
        {"env_steps": 200_000 * (i + 1), "train/episodes": 1000, "train/return_mean": -2000.0 - i,
         "train/episode_length_mean": 200.0}
        for i in range(8)
    ]  # fmt: skip
    task = "mpe/cooperative_navigation_n5"
    runs = [
        write_run(tmp_path / f"{s}", s, task=task, wins=[None] * 4, metrics=rows) for s in range(2)
    ]
    for run in runs:  # nothing is won there
        text = (run / "eval.jsonl").read_text().replace("null", "-2000.0")
        (run / "eval.jsonl").write_text(text)
    (panel,), _ = results.collect(EXPERIMENTS["fig3"], runs)
    (method,) = panel["methods"]
    assert panel["title"] == "Cooperative Navigation, n = 5" and panel["measure"] == "mean_reward"
    assert method["x"] == [1000, 2000, 3000, 4000, 5000]
    assert method["mean"] == pytest.approx([-10.0, -10.005, -10.01, -10.015, -10.02])
    assert method["std"] == [0] * 5


def test_long_rows_are_averaged_by_weight():
    x, y = binned(
        np.arange(1.0, 7), np.array([1.0, 3, 5, 5, 0, 1]), np.array([1, 1, 1, 3, 1, 0]), 3
    )
    assert x.tolist() == [2, 4, 6] and y.tolist() == [2, 5, 0]


def test_runs_without_evaluations_are_told(tmp_path):
    good = write_run(tmp_path / "0", 0, wins=[0.0, 0.1])
    bad = write_run(tmp_path / "1", 1)
    (panel,), told = results.collect(EXPERIMENTS["fig6"], [good, bad])
    assert panel["methods"][0]["seeds"] == [0] and "no sound row" in told[0]


def test_names_of_methods_and_panels(tmp_path):
    runs = [
        write_run(tmp_path / "0", 0, wins=[0.1]),
        write_run(tmp_path / "1", 0, wins=[0.1], xi=0.17, entropy_mode="constant"),
        write_run(tmp_path / "2", 0, wins=[0.1], xi=0.05, critic="mlp"),
    ]
    labels = [EXPERIMENTS["fig2"].label(Source(path).config) for path in runs]
    assert labels == ["ξ = 0.11", "β = 0.17", "ξ = 0.05 (C_MLP)"]
    assert EXPERIMENTS["fig3"].label({"algorithm": "coma_fc"}) == "COMA"
    assert panel_name("smax/MMM2:reward=smac") == "MMM2 (Super Hard)"
    assert panel_name("mpe/cooperative_navigation") == "Cooperative Navigation, n = 3"


def test_both_forms_are_drawn(tmp_path):
    """In the paper's form figure 2 has one run of each, today's has all of them."""
    entropies = [{"env_steps": 1_000_000 * (i + 1), "entropy": 1.5 - 0.2 * i} for i in range(4)]
    runs = [
        write_run(tmp_path / f"{s}", s, wins=[0, 0.1, 0.2, 0.3], metrics=entropies)
        for s in range(3)
    ]
    panels, _ = results.collect(EXPERIMENTS["fig2"], runs)
    assert [p["measure"] for p in panels] == ["entropy", "win_rate"]
    result = {"scale": "cpu", "panels": panels}
    paper, today = draw("fig2", EXPERIMENTS["fig2"], result)
    assert paper.name == "fig2" and "one run of each, seed 0" in paper.title.lower()
    assert today.name == "fig2_iqm" and "Mean of 3 seeds, from the lowest" in today.title
    assert [panel.title[:3] for panel in paper.panels] == ["(b)", "(c)"]
    drawn = [len(picture.figure.axes[0].lines) for picture in (paper, today)]
    assert drawn == [1, 4]
    np.testing.assert_allclose(paper.figure.axes[1].lines[0].get_ydata(), [0, 10, 20, 30])
