"""From the files of runs to the numbers of a figure, worked by hand; no training."""

import json

import numpy as np
import pytest

from lica_jax.cli.main import main
from lica_jax.reproduce import results
from lica_jax.reproduce.drawing import draw
from lica_jax.reproduce.experiments import EXPERIMENTS, panel_name
from lica_jax.reproduce.series import Source, binned

ALGO = {"entropy_mode": "global", "critic": "mixing", "policy_input": "probs"}


def write_run(
    path, seed, *, task="smax/5m_vs_6m", wins=(), metrics=(), failed=None, xi=0.11, **algo
):
    """A run directory of four million env steps with evaluations at every million."""
    path.mkdir(parents=True)
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


def test_a_run_that_failed_before_its_second_evaluation_counts_on(tmp_path):
    """The first one is before training, at 0 env steps."""
    runs = [write_run(tmp_path / "0", 0, wins=[0.1], failed=1)]
    runs.append(write_run(tmp_path / "1", 1, wins=[0.2, 0.4, 0.6, 0.8]))
    change_lines(runs[0] / "eval.jsonl", lambda lines: [lines[0].replace("1000000", "0")])
    (panel,), told = results.collect(EXPERIMENTS["fig6"], runs)
    (method,) = panel["methods"]
    assert method["x"] == [1e6, 2e6, 3e6, 4e6] and method["runs"][0] == [0.1] * 4 and not told


PARTICLES = "mpe/cooperative_navigation"


def write_particles(path, seed, *, task=PARTICLES):
    """Eight rows of 100 episodes of 200 steps, with a reward of -10, -11, ...; nothing is won."""
    rows = [
        {"update": 5 * i, "env_steps": 500_000 * i, "train/episodes": 100,
         "train/return_mean": -1800.0 - 200 * i, "train/episode_length_mean": 200.0}
        for i in range(1, 9)
    ]  # fmt: skip
    write_run(path, seed, task=task, wins=[None] * 4, metrics=rows)
    file = path / "eval.jsonl"
    file.write_text(file.read_text().replace("null", "-2000.0"))
    return path


def change_lines(path, change):
    """Writes a file's lines again as ``change`` makes them of the list of them."""
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))


def nulls(key, *places):
    """Makes ``key`` null in some rows."""

    def change(lines):
        rows = [json.loads(line) for line in lines]
        for place in places:
            rows[place][key] = None
        return map(json.dumps, rows)

    return change


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


DAMAGED = {
    "cut short": (lambda lines: [lines[0][:50], *lines[1:]], "1 row(s) of metrics.jsonl are"),
    "cut short, the last": (lambda lines: [*lines[:-1], lines[-1][:50]], "1 row(s) of metrics"),
    "not there": (lambda lines: [*lines[:3], *lines[5:]], "2 row(s) of metrics.jsonl are damaged"),
    "of another seed": (lambda lines: [lines[0].replace('"seed": 0', '"seed": 7'), *lines[1:]],
                        "1 row(s) of metrics.jsonl are damaged or missing"),
    "not counted": (nulls("train/episodes", 2), "1 row(s) of metrics.jsonl are damaged"),
    "empty": (lambda lines: [], "no row of metrics.jsonl has one"),
    "no figures": (nulls("train/return_mean", *range(8)), "no row of metrics.jsonl has one"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_a_run_whose_episodes_cannot_be_placed_is_left_out_and_told(case, tmp_path):
    """Its curve would be shifted to the left, and nobody would see it."""
    change, why = DAMAGED[case]
    runs = [write_particles(tmp_path / f"{seed}", seed) for seed in range(2)]
    change_lines(runs[0] / "metrics.jsonl", change)
    (panel,), (told,) = results.collect(EXPERIMENTS["fig3"], runs)
    (method,) = panel["methods"]
    assert method["seeds"] == [1] and method["x"] == [100.0 * i for i in range(1, 9)]
    assert told.startswith(f"Left out: {runs[0]} has no mean reward: {why}")


@pytest.mark.parametrize("key", ["train/return_mean", "train/episode_length_mean"])
def test_a_figure_that_is_not_finite_is_left_out_and_told(key, tmp_path):
    """Its row counts episodes all the same: what comes behind stays where it was."""
    run = write_particles(tmp_path / "0", 0)
    change_lines(run / "metrics.jsonl", nulls(key, 1))
    (panel,), told = results.collect(EXPERIMENTS["fig3"], [run])
    (method,) = panel["methods"]
    assert told == [f"{run / 'metrics.jsonl'}: 1 damaged or empty row(s) left out."]
    assert (method["x"][1], method["runs"][0][1]) == (300.0, -12.0)


def test_chunks_in_which_no_episode_ended_lack_nothing(tmp_path):
    run = write_particles(tmp_path / "0", 0)
    short = ("train/return_mean", "train/episode_length_mean")

    def change(lines):
        rows = [json.loads(line) for line in lines]
        rows[2] |= dict.fromkeys(short) | {"train/episodes": 0}
        return map(json.dumps, rows)

    change_lines(run / "metrics.jsonl", change)
    (panel,), told = results.collect(EXPERIMENTS["fig3"], [run])
    assert not told and panel["methods"][0]["x"] == [100.0 * i for i in range(1, 8)]


def test_a_file_that_ends_too_early_is_told(tmp_path):
    """All runs of its method are shown up to there only."""
    runs = [write_particles(tmp_path / f"{seed}", seed) for seed in range(2)]
    file = runs[0] / "metrics.jsonl"
    change_lines(file, lambda lines: lines[:3])
    (panel,), told = results.collect(EXPERIMENTS["fig3"], runs)
    assert panel["methods"][0]["x"] == [100, 200, 300]
    assert told == [
        f"{file} ends at 1,500,000 of 4,000,000 env steps; its method is shown up to there."
    ]


def test_rows_that_figures_along_env_steps_lack_are_told(tmp_path):
    """Figure 2 has both files; one panel goes without a run that the other has."""
    entropies = [
        {"update": i, "env_steps": 1_000_000 * i, "entropy": 1.5 - 0.1 * i} for i in range(1, 5)
    ]
    runs = [
        write_run(tmp_path / f"{s}", s, wins=[0, 0.1, 0.2, 0.3], metrics=entropies)
        for s in range(3)
    ]
    (runs[0] / "metrics.jsonl").unlink()
    change_lines(runs[1] / "metrics.jsonl", nulls("entropy", 1))
    change_lines(runs[1] / "eval.jsonl", lambda lines: ["nonsense", *lines])
    change_lines(runs[2] / "eval.jsonl", nulls("eval/win_rate", 2))
    panels, told = results.collect(EXPERIMENTS["fig2"], runs)
    assert [m["seeds"] for p in panels for m in p["methods"]] == [[1, 2], [0, 1, 2]]
    lost = "1 damaged or empty row(s) left out."
    assert told == [
        f"{runs[1] / 'eval.jsonl'}: {lost}",
        f"Left out: {runs[0]} has no entropy: metrics.jsonl is missing.",
        f"{runs[1] / 'metrics.jsonl'}: {lost}",
        f"{runs[2] / 'eval.jsonl'}: {lost}",
    ]
    paper, _ = draw("fig2", EXPERIMENTS["fig2"], {"scale": "cpu", "panels": panels})
    assert "one run of each, seed 0 or 1" in paper.title.lower()


@pytest.mark.parametrize("figure", ["fig4", "fig6"])
def test_win_rates_that_are_not_there_are_told(figure, tmp_path):
    runs = [write_run(tmp_path / f"{s}", s, wins=[0, 0.1, 0.2, 0.3]) for s in range(3)]
    change_lines(runs[0] / "eval.jsonl", nulls("eval/win_rate", *range(4)))
    change_lines(runs[1] / "eval.jsonl", lambda lines: [*lines, lines[0].replace(": 1", ": 9")])
    (panel,), told = results.collect(EXPERIMENTS[figure], runs)
    assert panel["methods"][0]["seeds"] == [2]
    assert told[0] == f"Left out: {runs[1]} holds 2 runs, where one is expected."
    assert told[1] == f"Left out: {runs[0]} has no win rate: no row of eval.jsonl has one."


@pytest.mark.parametrize("words", [{"algo": {}}, {"algo": None}, {"hp": {"entropy_coef": "much"}}])
def test_a_damaged_configuration_is_told(words, tmp_path):
    runs = [write_run(tmp_path / f"{s}", s, wins=[0, 0.1]) for s in range(2)]
    config = json.loads((runs[0] / "config.json").read_text())
    (runs[0] / "config.json").write_text(json.dumps(config | words))
    panels, told = results.collect(EXPERIMENTS["fig2"], runs)
    assert f"Left out: {runs[0] / 'config.json'} is damaged." in told
    assert panels[0]["methods"][0]["seeds"] == [1]


def write_part(path, seed, version):
    """A folder of figure 3 at smoke with one run."""
    run = write_particles(path / "sweep" / "runs" / "0000", seed)
    (path / "reproduce.json").write_text('{"figure": "fig3", "scale": "smoke"}')
    (run / "versions.json").write_text(json.dumps({"packages": {"lica_jax": version}}))
    return run


def test_what_is_told_is_on_screen_and_in_the_figures_notes(tmp_path, capsys):
    """Versions that differ, and runs that are left out; with no run left it is bad input."""
    runs = [write_part(tmp_path / f"{s}", s, f"0.{min(s, 1)}.0") for s in range(3)]
    (runs[2] / "metrics.jsonl").unlink()
    parts = [str(tmp_path / f"{s}") for s in range(3)]
    argv = ["reproduce", "fig3", "--scale", "smoke", "--gather", *parts, "--out"]
    assert main([*argv, str(tmp_path / "o")]) == 0
    screen = capsys.readouterr().out.splitlines()
    notes = json.loads((tmp_path / "o" / "fig3.json").read_text())["notes"]
    for line in (
        f"Left out: {runs[2]} has no mean reward: metrics.jsonl is missing.",
        f"Mixed on {PARTICLES}: lica_jax is 0.0.0 (LICA); 0.1.0 (LICA).",
    ):
        assert line in screen and line in notes

    for run in runs[:2]:
        (run / "metrics.jsonl").unlink()
    assert main([*argv, str(tmp_path / "none")]) == 2
    err = capsys.readouterr().err
    assert "there is nothing to draw. Left out: " in err and err.count("error:") == 1
    assert not (tmp_path / "none").exists()


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
