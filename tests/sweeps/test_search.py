"""Searches: the same settings are drawn, interrupted or not, and good ones are found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lica_jax.errors import UserError
from lica_jax.runs.rows import read_rows
from lica_jax.sweeps.search import SAMPLERS, Study

optuna = pytest.importorskip("optuna")
FIELDS = {"hp.actor_lr": "log:1e-5:1e-1", "hp.entropy_coef": "float:0:1"}


def synthetic(values):
    """Best at a learning rate of 1e-3 and a coefficient of 0.3."""
    off = math.log10(values["hp.actor_lr"]) + 3
    return -(off**2) - 4 * (values["hp.entropy_coef"] - 0.3) ** 2


def search(path, sampler, trials, batch, seed=0, study=None):
    """Values drawn and what they are worth."""
    told, drawn = [], []
    while len(drawn) < trials:
        study = Study(path, FIELDS, sampler, seed)  # a process of its own for every batch
        new = study.ask(batch, [number for number, _ in drawn], len(drawn))
        drawn += new
        for number, values in new:
            told.append(synthetic(values))
            study.tell(number, told[-1])
    return drawn, told


def test_tpe_beats_random(tmp_path):
    """In batches of four; the mean over seeds of the last batches, and the best found."""
    means = {}
    for sampler in ("random", "tpe"):
        runs = [search(tmp_path / f"{sampler}{s}", sampler, 48, 4, s)[1] for s in range(3)]
        means[sampler] = (np.mean([told[24:] for told in runs]), np.mean([max(t) for t in runs]))
    assert means["tpe"][0] > means["random"][0] + 0.3
    assert means["tpe"][1] > -0.05


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_trials_after_a_kill(tmp_path, sampler):
    """A batch that was drawn and not written down is taken up again."""
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    whole, _ = search(tmp_path / "whole", sampler, 8, 4)
    path = tmp_path / "killed"
    first, _ = search(path, sampler, 4, 4)
    lost = Study(path, FIELDS, sampler).ask(4, [n for n, _ in first], 4)  # ... and killed
    again = Study(path, FIELDS, sampler).ask(4, [n for n, _ in first], 4)
    assert first + again == whole and again == lost


def test_half_a_batch_is_completed(tmp_path):
    whole, _ = search(tmp_path / "whole", "random", 4, 4)
    path = tmp_path / "killed"
    Study(path, FIELDS, "random").ask(2, [], 0)
    assert Study(path, FIELDS, "random").ask(4, [], 0) == whole


def test_a_journal_that_ends_in_half_a_line(tmp_path):
    """What a full disk cut off is told again; what is lost for good is said."""
    path = tmp_path / "study.log"
    drawn, told = search(path, "random", 8, 4)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    study = Study(path, FIELDS, "random", trials=8)
    study.tell(drawn[-1][0], told[-1])
    ((number, _),) = study.ask(1, range(8), 8)
    assert number == 8
    Study(path, FIELDS, "random", trials=9).tell(8, 0.0)
    for left in (b"", whole[:300]):
        path.write_bytes(left)
        with pytest.raises(UserError, match=r"study\.log is damaged: it has . of 9 trials"):
            Study(path, FIELDS, "random", trials=9)


def test_failed_trials_and_importance(tmp_path):
    """A failed setting is told as such, a second value of a trial is ignored."""
    path = tmp_path / "study.log"
    search(path, "random", 40, 8)
    study = Study(path, FIELDS, "random")
    ((number, _),) = study.ask(1, range(40), 40)
    study.tell(number, None)
    study.tell(number, 3.0)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    trials = optuna.load_study(study_name="sweep", storage=storage).trials
    assert trials[40].state == optuna.trial.TrialState.FAIL
    importance = study.importance()
    assert set(importance) == set(FIELDS) and sum(importance.values()) == pytest.approx(1)
    assert importance["hp.actor_lr"] > importance["hp.entropy_coef"]


@pytest.mark.filterwarnings("error::UserWarning")
def test_importance_of_what_says_nothing(tmp_path):
    """One trial, or several that are equally good: not that all fields matter equally."""
    for trials in (1, 4):
        study = Study(tmp_path / f"{trials}", FIELDS, "random")
        for number, _ in study.ask(trials, [], 0):
            study.tell(number, 0.5)
        assert study.importance() == {}


def test_a_search_in_a_sweep(run_sweep, words, tmp_path):
    """Static fields too; every trial is a setting with its runs, and the journal knows its mean."""
    words |= {"total_steps": 320, "seeds": [0, 1], "wave": 2, "trials": 3}
    words["eval"]["interval"] = 320
    search = {"hp.entropy_coef": "log:0.01:1"}
    result = run_sweep(tmp_path / "s", **words, search=search, sampler="random")
    assert len(result.table) == 6
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "s/study.log"))
    )
    trials = optuna.load_study(study_name="sweep", storage=storage).trials
    for setting, trial in enumerate(trials):
        own = [row for row in result.table if row["setting"] == setting]
        assert trial.params["hp.entropy_coef"] == own[0]["hp.entropy_coef"]
        assert trial.value == pytest.approx(np.mean([row["final/return_mean"] for row in own]))
    more = run_sweep(tmp_path / "s", resume=True, trials=4)
    assert len(more.table) == 8 and more.table[:6] == result.table


def test_numbers_that_are_drawn_twice(run_sweep, words, tmp_path):
    """Every run has the rows of one, whether its numbers are another's or not."""
    words |= {"total_steps": 320, "wave": 2, "trials": 4, "sampler": "random"}
    words["eval"]["interval"] = 320
    del words["algo"]["hidden"]
    result = run_sweep(tmp_path / "s", **words, search={"algo.hidden": "choice:4,8"})
    drawn = [row["algo.hidden"] for row in result.table]
    assert len(set(drawn)) < len(drawn) == 4
    for run in range(4):
        own = read_rows(tmp_path / "s" / "runs" / f"{run:04d}" / "eval.jsonl")
        updates = [row["update"] for row in own]
        assert updates == sorted(set(updates)) and len(updates) == 2
