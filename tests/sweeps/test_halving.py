"""Successive halving: who goes on, what it costs, and that runs go on from where they are."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from lica_jax.errors import UserError
from lica_jax.runs.rows import read_rows
from lica_jax.sweeps import rungs
from lica_jax.sweeps.folder import Folder, Progress, Wave
from lica_jax.sweeps.halving import HALVED, budgets, survivors
from tests.sweeps.conftest import contents


def test_budgets():
    """Shares of the whole budget: 1/9, 1/3 and all; never more rungs than settings allow."""
    assert budgets(27, 3) == pytest.approx([1 / 9, 1 / 3, 1])
    assert budgets(4, 2) == [0.25, 0.5, 1]
    assert budgets(3, 3) == pytest.approx([1 / 3, 1])
    assert budgets(2, 3) == [1] and budgets(27, None) == [1]


def test_survivors():
    """The best third in their order; ties go to the earlier, failed settings come last."""
    scores = {0: (0.1,), 1: (0.9,), 2: (0.9,), 3: (float("-inf"),), 4: (0.5,), 5: (0.2,)}
    assert survivors(scores, 3) == [1, 2]
    assert survivors(scores, 2) == [1, 2, 4]
    assert survivors({7: (0.0,)}, 2) == [7]


def test_settings_that_win_nothing_yet(tmp_path, monkeypatch):
    """Their returns tell them apart; a failed run is left out of its setting's means."""
    told = {
        "000": [(0.0, 0.3), (0.0, 0.5), (0.0, 0.7), None],
        "001": [(0.0, 0.6), (0.1, 0.0), None],
    }
    waves = [Wave("000", (0, 1, 2, 3)), Wave("001", (4, 5, 6))]
    runs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (3, 0), (4, 0)]
    work = SimpleNamespace(folder=Folder(tmp_path), progress=Progress(runs=runs))
    monkeypatch.setattr(rungs, "scores_of", lambda path: told[path.name])
    found = rungs.scores(work, waves)
    assert found[0] == pytest.approx((0.0, 0.4)) and found[1] == (0.0, 0.7)
    assert survivors(found, 2) == [1, 3] and survivors(found, 1) == [0, 1, 2, 3, 4]
    assert found[4] == (float("-inf"),)


def test_halving(run_sweep, words, tmp_path):
    """The survivor's run is that of a sweep without halving: rows, figures and policy, but that its
    best policy may be one of the comparisons'; the others stop where they were compared."""
    words |= {"seeds": [0], "wave": 2, "total_steps": 1_600}
    words["eval"]["interval"] = 400
    grid = {"hp.entropy_coef": [0.03, 0.1, 0.3, 0.5]}
    result = run_sweep(tmp_path / "h", **words, grid=grid, halving=2)
    status = [row["status"] for row in result.table]
    assert status.count("finished") == 1 and status.count(HALVED) == 3
    steps = sorted(row["env_steps"] for row in result.table)
    assert 400 <= steps[0] == steps[1] < 560 and 800 <= steps[2] < 960 and 1600 <= steps[3] < 1760
    plan = json.loads((tmp_path / "h/plan.json").read_text())
    assert [len(s) for s in plan["survivors"]] == [2, 1]
    assert [len(w["runs"]) for w in plan["waves"]] == [2, 2, 2, 1]
    assert not list((tmp_path / "h/waves").iterdir())
    # Compared by what was seen at the rung.
    first = {
        row["setting"]: read_rows(tmp_path / f"h/runs/{row['run']:04d}/eval.jsonl")
        for row in result.table
    }
    at = {k: next(r for r in rows if r["env_steps"] == steps[0]) for k, rows in first.items()}
    left = {k: r["eval/return_mean"] for k, r in at.items()}
    assert min(left[k] for k in plan["survivors"][0]) >= max(
        v for k, v in left.items() if k not in plan["survivors"][0]
    )
    winner = status.index("finished")
    grid["hp.entropy_coef"] = [grid["hp.entropy_coef"][winner]]
    whole = run_sweep(tmp_path / "w", **words, grid=grid)
    assert whole.table[0]["status"] == "finished"
    a, b = contents(tmp_path / f"h/runs/{winner:04d}"), contents(tmp_path / "w/runs/0000")
    for mine, alone in zip(*(found["rows"][0] for found in (a, b)), strict=True):
        assert mine["update"] == alone["update"]
        np.testing.assert_allclose(mine["critic_loss"], alone["critic_loss"], rtol=1e-3, atol=1e-6)
    last = [load_file(path / "policy_last.safetensors") for path in (
        tmp_path / f"h/runs/{winner:04d}", tmp_path / "w/runs/0000")]  # fmt: skip
    for name, mine in last[0].items():
        np.testing.assert_allclose(mine, last[1][name], atol=1e-4, err_msg=name)
    assert result.best["setting"] == winner
    with pytest.raises(UserError, match="begun with"):
        run_sweep(tmp_path / "h", resume=True, seeds=[0, 1])


def test_a_setting_that_fails_whole(run_sweep, words, tmp_path):
    """Its rows say when its loss was not finite, not that it was left behind."""
    grid = {"hp.critic_lr": [1e30, 5e-4]}
    result = run_sweep(tmp_path / "f", **words, grid=grid, seeds=[0, 1], halving=2, wave=2)
    status = [row["status"].split()[0] for row in result.table]
    assert status == ["failed", "failed", "finished", "finished"]
    assert all(row["seconds"] is not None for row in result.table)
