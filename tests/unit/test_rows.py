"""Metric files: what survives a crash, and what one row means."""

import json

import numpy as np
import pytest

from lica_jax.runs.rows import RowFile, chunk_row, eval_row, read_rows, sound_rows
from lica_jax.types import EpisodeStats


def row(update, **more):
    """What every row says, and more."""
    return {"update": update, "env_steps": 10 * update, "seed": 0} | more


def test_rows_are_appended_as_json(tmp_path):
    rows = RowFile(tmp_path / "m.jsonl")
    rows.append(row(1, x=np.float32(0.5)))
    rows.append(row(2, x=float("nan")))
    assert read_rows(tmp_path / "m.jsonl") == rows.rows == [row(1, x=0.5), row(2, x=None)]


def test_resuming_drops_rows_after_the_checkpoint_and_a_torn_line(tmp_path):
    path = tmp_path / "m.jsonl"
    lines = [json.dumps(row(u)) for u in (1, 2, 3)]
    path.write_text("\n".join(lines) + '\n{"upda')
    assert RowFile(path, upto_update=2).rows == [row(1), row(2)]
    assert path.read_text().splitlines() == lines[:2]


def test_a_last_row_without_its_newline_is_kept_and_ended(tmp_path):
    """So that nothing is glued to it on resume; one after the checkpoint is dropped as ever."""
    path = tmp_path / "m.jsonl"
    text = "".join(json.dumps(row(u)) + "\n" for u in (1, 2))
    path.write_text(text[:-1])
    assert sound_rows(path) == sound_rows(path, ended=True) == ([row(1), row(2)], 0)
    rows = RowFile(path, upto_update=2)
    rows.append(row(3))
    assert not rows.problem and read_rows(path) == rows.rows == [row(1), row(2), row(3)]
    path.write_text(text[:-1])
    assert RowFile(path, upto_update=1).rows == read_rows(path) == [row(1)]


def test_a_last_row_cut_short_counts_once_its_run_has_ended(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(row(1)) + "\n" + json.dumps(row(2))[:-1])
    assert sound_rows(path) == ([row(1)], 0)
    assert sound_rows(path, ended=True) == ([row(1)], 1)


@pytest.mark.parametrize(
    "line",
    ["null", "3", '"text"', "[1]", '{"update": "x"}', '{"update": 1}', '{"upd', "\x00\xff",
     "[" * 100_000, '{"update": 1, "env_steps": "10", "seed": 0}'],
)  # fmt: skip
def test_damaged_lines_are_left_out_and_told(tmp_path, line):
    """Wherever they are, the good rows behind them stay."""
    path = tmp_path / "m.jsonl"
    path.write_text(f"{json.dumps(row(1))}\n{line}\n{json.dumps(row(2))}\n")
    rows = RowFile(path, upto_update=2)
    assert rows.rows == [row(1), row(2)]
    assert rows.problem == "m.jsonl: 1 damaged line(s) left out"
    assert read_rows(path) == rows.rows


def test_an_emptied_file_is_noticed(tmp_path):
    (tmp_path / "m.jsonl").write_text("")
    assert "m.jsonl is empty" in RowFile(tmp_path / "m.jsonl", upto_update=5).problem


def test_a_missing_file_is_noticed(tmp_path):
    assert "m.jsonl is missing" in RowFile(tmp_path / "m.jsonl", upto_update=5).problem
    assert not RowFile(tmp_path / "n.jsonl", upto_update=None).problem
    assert not RowFile(tmp_path / "o.jsonl", upto_update=0).problem  # nothing was written yet


def test_the_rate_is_per_run_and_unknown_at_first(monkeypatch):
    from lica_jax.runs import display

    clock = iter([10.0, 12.0])
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    shown = display.Display("none", 100, runs=4)
    assert shown.tick(50) is None
    assert shown.tick(70) == 10.0


def test_a_chunk_is_averaged_over_episodes_not_iterations():
    sums = [np.array([[1.0, 3.0]]) * k for k in (1, 2, 10, 0.5, 7)]
    stats = EpisodeStats(*sums[:3], {"won": sums[3], "distance": sums[4]})
    learned = np.ones((1, 2), bool)
    metrics = {"episodes": stats, "learn": {"entropy": np.array([[0.2, 0.4]])}, "learned": learned}
    row = chunk_row(metrics, 0)
    assert row["train/episodes"] == 4 and row["train/distance_mean"] == 7.0
    assert row["train/return_mean"] == 2.0 and row["train/win_rate"] == 0.5
    assert np.isclose(row["entropy"], 0.3)
    none = EpisodeStats(*[np.zeros((1, 2))] * 3, {"won": np.zeros((1, 2))})
    row = chunk_row({"episodes": none, "learn": {}, "learned": learned}, 0)
    assert row["train/return_mean"] is None and row["train/win_rate"] is None


def test_evaluation_rows_know_pymarls_names():
    figures = {"win_rate": 0.25, "return_mean": 1.5}
    row = eval_row({"seed": 0, "env_steps": 10}, {"greedy": figures, "sampled": {"win_rate": 0.1}})
    assert row["eval/win_rate"] == row["test_battle_won_mean"] == 0.25
    assert row["eval/sampled/win_rate"] == 0.1
    assert (row["t_env"], row["test_return_mean"]) == (10, 1.5)


def test_figures_are_means_over_the_updates_that_learned():
    """Of two runs over four iterations: every second one was resets alone; nothing was ready."""
    none = EpisodeStats(*(np.zeros((2, 4)) for _ in range(3)), info_sums={})
    metrics = {
        "learn": {"entropy": np.array([[2.0, 9.0, 4.0, 9.0]] * 2)},
        "learned": np.array([[True, False, True, False], [False] * 4]),
        "episodes": none, "lost_episodes": np.array([[1, 0, 2, 0], [0] * 4]),
    }  # fmt: skip
    rows = [chunk_row(metrics, run) for run in (0, 1)]
    assert [row["entropy"] for row in rows] == [3.0, None]
    assert [row["lost_episodes"] for row in rows] == [3, 0]
    assert rows[0]["train/episodes"] == 0 and rows[0]["train/return_mean"] is None
