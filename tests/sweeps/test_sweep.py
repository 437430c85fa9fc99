"""Grids: runs are those of `train`, whatever they are trained beside, and survive being killed."""

from __future__ import annotations

import csv
import json

import jax
import numpy as np
import pytest

import lica_jax
from lica_jax.errors import TrainingFailed, UserError
from lica_jax.runs.rows import read_rows
from lica_jax.sweeps.driver import Driver
from tests.sweeps.conftest import contents, files_of_runs, untimed


def test_a_wave_of_one_is_train(run_sweep, words, tmp_path):
    """Rows, figures, configuration and policy, bit for bit."""
    grid = {"hp.entropy-coef": [0.03, 0.3]}
    result = run_sweep(tmp_path / "sweep", **words, seeds=[3], grid=grid, wave=1)
    assert result.run(np.float64(1)).run_dir == tmp_path / "sweep/runs/0001"  # as pandas has it
    result.plot(tmp_path / "new/folder.png")
    assert (tmp_path / "new/folder.png").stat().st_size > 1_000
    for wrong in (tmp_path / "a.xyz", 3):
        with pytest.raises(UserError, match=r"cannot be written|must be a path"):
            result.plot(wrong)
    config = {k: v for k, v in words.items() if k not in ("algorithm", "task")}
    lica_jax.train(
        "lica", "probe/match", run_dir=tmp_path / "run", seeds=3, hp={"entropy_coef": 0.3},
        display="none", **config,
    )  # fmt: skip
    assert contents(tmp_path / "sweep/runs/0001") == contents(tmp_path / "run")


def test_a_dry_run_shows_the_plan(words, tmp_path, capsys):
    """Also of a grid that is nested as the settings of `train` are."""
    path = tmp_path / "s"
    for grid in ({"hp.entropy_coef": [0.03, 0.3]}, {"hp": {"entropy_coef": [0.03, 0.3]}}):
        more = {"grid": grid, "seeds": 3, "sweep_dir": path, "dry_run": True}
        assert lica_jax.sweep(**words, **more) is None
        out = capsys.readouterr().out
        assert "2 settings x 1 seed = 2 runs" in out and "3 runs are seeds 0:3" in out
    assert not path.exists()
    with pytest.raises(UserError, match=r"\[0.1, 0.2\]; several values are for the grid of a sw"):
        lica_jax.load_config("lica", "probe/match", hp={"entropy_coef": [0.1, 0.2]})


def test_static_and_traced_fields(run_sweep, words, tmp_path):
    """Two static values are two programs; every run has its own folder, row and numbers."""
    grid = {"hp.entropy_coef": [0.03, 0.3], "algo.mixing_embed": [8, 4]}
    del words["algo"]["mixing_embed"]
    result = run_sweep(tmp_path / "s", **words, seeds=[0, 1], grid=grid, wave=2, pictures=True)
    assert [row["status"] for row in result.table] == ["finished"] * 8
    plan = json.loads((tmp_path / "s/plan.json").read_text())
    assert [wave["runs"] for wave in plan["waves"]] == [[2, 3], [6, 7], [0, 1], [4, 5]]
    with (tmp_path / "s/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 and rows[2]["algo.mixing_embed"] == "4"
    for row in result.table:
        config = json.loads((tmp_path / f"s/runs/{row['run']:04d}/config.json").read_text())
        assert config["seeds"] == [row["seed"]]
        assert config["hp"]["entropy_coef"] == row["hp.entropy_coef"]
        assert config["algo"]["mixing_embed"] == row["algo.mixing_embed"]
    # Wider than one: to rounding what a wave of one gives.
    grid["algo.mixing_embed"] = [8]  # runs 0 and 1, 4 and 5 of those above
    alone = run_sweep(tmp_path / "alone", **words, seeds=[0, 1], grid=grid, wave=1)
    beside = [row for row in result.table if row["algo.mixing_embed"] == 8]
    for name in ("final/return_mean", "env_steps"):
        got, want = ([row[name] for row in rows] for rows in (beside, alone.table))
        np.testing.assert_allclose(got, want, atol=0.25)
    for mine, other in (("0001", "0001"), ("0004", "0002")):
        a, b = (
            read_rows(path / "metrics.jsonl")
            for path in (tmp_path / f"s/runs/{mine}", tmp_path / f"alone/runs/{other}")
        )
        assert [row["env_steps"] for row in a] == [row["env_steps"] for row in b]
        np.testing.assert_allclose(a[0]["critic_loss"], b[0]["critic_loss"], rtol=1e-3)
    assert (tmp_path / "s/sweep.png").stat().st_size > 10_000
    assert not list((tmp_path / "s/waves").iterdir())
    best = result.best
    assert best["mean"] == max(entry["mean"] for entry in result.summary["settings"])
    own = result.run(best["runs"][0])
    assert own.summary["status"] == "finished" and own.policy().about["task"] == "probe/match"
    assert lica_jax.evaluate(tmp_path / "s/runs/0003", episodes=8)["greedy"]["episodes"] == 8
    assert "<table>" in result._repr_html_()
    assert set(lica_jax.load_runs(tmp_path / "s")["run_dir"]) == {
        str(tmp_path / f"s/runs/{row['run']:04d}") for row in result.table
    }
    with pytest.raises(UserError, match="is of a sweep: name one of its runs, such as"):
        lica_jax.evaluate(tmp_path / "s")
    assert list(result.frame()["algo.mixing_embed"]) == [8, 8, 4, 4, 8, 8, 4, 4]
    result.plot(tmp_path / "again.png")
    assert (tmp_path / "again.png").stat().st_size > 10_000


def test_several_tasks_and_algorithms(run_sweep, words, tmp_path):
    """Lists in a file; a column for each, and a program for each pair."""
    words |= {"algorithm": ["lica", "vdn"], "total_steps": 320, "algo": {"hidden": 8}}
    words["eval"]["interval"] = 320
    result = run_sweep(tmp_path / "s", **words, wave=1)
    assert [row["algorithm"] for row in result.table] == ["lica", "vdn"]
    assert [row["status"] for row in result.table] == ["finished"] * 2


def test_a_sweep_that_goes_beyond_its_budget_says_so(run_sweep, words, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("lica_jax.sweeps.driver.Driver.say", lambda self, text: said.append(text))
    words |= {"total_steps": 320, "log_interval": 256}
    words["eval"]["interval"] = 320
    (row,) = run_sweep(tmp_path / "s", **words, wave=1).table
    assert row["env_steps"] > 336
    assert said[-1].startswith("more than 5 % beyond the budget: the one setting (1 run, ")
    assert said[-1].count("\n") == 0 and "log_interval" in said[-1]


def test_more_seeds(run_sweep, words, tmp_path):
    """A resumed sweep takes more seeds; what has ended stays as it is."""
    grid = {"hp.entropy_coef": [0.03, 0.3]}
    run_sweep(tmp_path / "s", **words, seeds=[0], grid=grid, wave=1)
    before = files_of_runs(tmp_path / "s")
    result = run_sweep(tmp_path / "s", resume=True, seeds=[0, 1])
    assert [(row["setting"], row["seed"]) for row in result.table] == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
    ]
    assert all(p.read_bytes() == data for p, data in before.items())
    lines = {run: len((tmp_path / f"s/runs/{run}/command.txt").read_text().splitlines())
             for run in ("0000", "0002")}  # fmt: skip
    assert lines == {"0000": 1, "0002": 2}  # every command of the sweep until then
    with pytest.raises(UserError, match="more seeds, not fewer"):
        run_sweep(tmp_path / "s", resume=True, seeds=[0])
    with pytest.raises(UserError, match="grid"):
        run_sweep(tmp_path / "s", resume=True, grid={"hp.entropy_coef": [0.5]})
    with pytest.raises(UserError, match="keep-checkpoints"):
        run_sweep(tmp_path / "s", resume=True, total_steps=3_200)


def test_a_longer_budget(run_sweep, sharing, words, tmp_path):
    """With its checkpoints kept a sweep goes on to where it would have been. Until a run is there
    its old end counts for nothing."""
    one = dict(words, seeds=[0, 1], wave=2, keep_checkpoints=True)
    run_sweep(tmp_path / "s", **one)
    with sharing():
        driver = Driver({"total_steps": 3_200}, tmp_path / "s", resume=True, style="none")
        rows, summary = driver._ledger.write()
    assert [row["status"] for row in rows] == ["going on"] * 2
    assert (summary["ended"], summary["best"]) == (0, None)
    assert summary["settings"][0]["finished"] == 0 and "mean" not in summary["settings"][0]
    longer = run_sweep(tmp_path / "s", resume=True, total_steps=3_200)
    once = run_sweep(tmp_path / "once", **(one | {"total_steps": 3_200}))
    assert untimed(longer.table) == untimed(once.table)
    files = {path.name for path in (tmp_path / "s/waves/000").iterdir()}
    assert "checkpoints" in files and not files & {"result.json", "policy.safetensors"}
    assert [row["env_steps"] for row in once.table] == [3_200, 3_200]


def test_a_run_that_fails_stays_alone(run_sweep, words, tmp_path, capfd):
    """Its row says when; its neighbours are what they are beside a sound one."""
    grid = {"hp.critic_lr": [5e-4, 1e30]}
    bad = run_sweep(tmp_path / "bad", **words, grid=grid, wave=2)
    assert [row["status"].split()[0] for row in bad.table] == ["finished", "failed"]
    assert "at update" in bad.table[1]["status"]
    grid["hp.critic_lr"][1] = 2e-3
    run_sweep(tmp_path / "good", **words, grid=grid, wave=2)
    assert contents(tmp_path / "bad/runs/0000") == contents(tmp_path / "good/runs/0000")
    assert bad.best["setting"] != 1
    # Alone, and with nobody left in its wave: a result all the same; told by its number.
    grid["hp.critic_lr"] = [1e30, 1e31]
    capfd.readouterr()
    more = {"wave": 1, "seeds": [3], "keep_checkpoints": True}
    alone = run_sweep(tmp_path / "alone", **words, grid=grid, **more)
    assert not list((tmp_path / "alone/waves").rglob("*.safetensors"))  # exported once
    assert all(row["status"].startswith("failed at update") for row in alone.table)
    assert alone.best is None
    assert "run 1 (hp.critic_lr 1e+31, seed 3): the loss is not" in capfd.readouterr().err


def test_memory_that_runs_out(run_sweep, words, tmp_path, monkeypatch):
    """A wave that does not fit is halved, and the summary says so."""
    from lica_jax.runs import session

    run = session.Session.run

    def small(self, **options):
        if len(self.plan.runs) > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return run(self, **options)

    monkeypatch.setattr(session.Session, "run", small)
    result = run_sweep(tmp_path / "s", **words, seeds=[0, 1], wave=2)
    assert [row["status"] for row in result.table] == ["finished"] * 2
    assert result.summary["told"] == ["wave 000 of 2 ran out of memory: halved"]


def test_a_wave_that_was_trained_in_more_memory_is_kept(sharing, words, tmp_path):
    """It is not begun again in halves: its checkpoints are hours."""
    with sharing():
        driver = Driver(words | {"seeds": [0, 1], "wave": 2}, tmp_path / "s", style="none")
    work = driver.work
    work.progress.runs += [(0, 0), (0, 1)]
    wave = work.progress.next_wave([0, 1])
    begun = work.folder.wave(wave) / "checkpoints" / "160"
    begun.mkdir(parents=True)
    with pytest.raises(TrainingFailed, match="wave 000 of 2 runs, which has been trained before"):
        driver.schedule.split(wave)
    assert begun.is_dir() and work.progress.waves == [wave]


def test_two_processes_at_one_folder(sharing, words, tmp_path):
    """Who opened it before the other one ended neither overwrites nor goes on from what it read."""
    words |= {"wave": 1, "total_steps": 320, "seeds": [0]}
    path = tmp_path / "s"
    with sharing():
        one = Driver(words, path, style="none")
        other = Driver(words | {"hp": {"gamma": 0.5}}, path, style="none")
        one.run()
        kept = files_of_runs(path)
        with pytest.raises(UserError, match="already holds a sweep"):
            other.run()
        one, other = (
            Driver({"seeds": seeds}, path, resume=True, style="none") for seeds in ([0, 1], [0, 2])
        )
        assert [row["seed"] for row in one.run().table] == [0, 1]
        with pytest.raises(UserError, match="written by another process meanwhile"):
            other.run()
        assert [row["seed"] for row in Driver({}, path, resume=True, style="none").run().table] == [
            0,
            1,
        ]
    assert kept.items() <= files_of_runs(path).items()
    for text in ("", "null", "{}", '{"env_steps": []}'):
        (path / "runs/0000/result.json").write_text(text)
        with sharing(), pytest.raises(UserError, match=r"result\.json is damaged"):
            Driver({}, path, resume=True, style="none").run()


def test_every_run_of_a_wave_is_one_of_a_logger(run_sweep, words, tmp_path):
    pytest.importorskip("tensorboardX")
    from tests.unit.test_loggers import events

    grid = {"hp.entropy_coef": [0.03, 0.3]}
    words |= {"grid": grid, "seeds": [0, 1], "wave": 2, "log": 2 * ["tensorboard"]}
    assert run_sweep(tmp_path / "s", **words).config.log == ("tensorboard",)
    for run in range(4):
        rows = (tmp_path / f"s/runs/{run:04d}/eval.jsonl").read_text().splitlines()
        last = json.loads(rows[-1])
        found, _ = events(tmp_path / f"s/logs/tensorboard/{run:04d}")
        assert found["eval/return_mean", last["env_steps"]] == pytest.approx(
            last["eval/return_mean"]
        )
