"""Files of the version before the structure of today: they load, and go on where they were.

``run_of_version_0.1.0.tar.xz`` is half a run of LICA on probe/match, two seeds, hidden layers of 4,
written by commit 9f23c6b; ``straight.json`` in it is what that commit's whole run came to.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from lica_jax import evaluate, load_policy, load_runs, train
from lica_jax.runs import directory

ARCHIVE = Path(__file__).parent.parent / "fixtures" / "run_of_version_0.1.0.tar.xz"


@pytest.fixture
def old_run(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "old_run"


def test_an_old_run_goes_on(old_run):
    wanted = json.loads((old_run / "straight.json").read_text())
    assert directory.status(old_run) == "finished"
    config = directory.read_config(old_run)
    assert config.plugins == () and config.total_steps == 256
    result = train(
        config.algorithm, config.task, run_dir=old_run, resume=True, display="none",
        seeds=config.seeds, collect=config.collect, log_interval=config.log_interval,
        algo=config.algo, hp=config.hp, eval=config.eval, total_steps=512,
    )  # fmt: skip
    rows = [(row["seed"], row["update"], row["loss"]) for row in result.metrics]
    theirs = [(row["seed"], row["update"], row["loss"]) for row in wanted["losses"]]
    assert [row[:2] for row in rows] == [row[:2] for row in theirs]
    # Bitwise where the same compiler with the same options runs on the same processor.
    np.testing.assert_allclose([row[2] for row in rows], [row[2] for row in theirs], rtol=1e-3)
    assert result.summary["random"] == wanted["random"]
    # Rows of then have no nominal steps; those of now count on from them.
    for seed in config.seeds:
        own = [row for row in result.evaluations if row["seed"] == seed]
        assert [row["eval_index"] for row in own] == list(range(len(own))) and len(own) > 2
        assert [row["step"] for row in own] == sorted({row["step"] for row in own})
    assert result.frame().groupby("eval_index")["step"].nunique().max() == 1
    assert load_runs(old_run)["step"].tolist() == [row["step"] for row in result.evaluations]


def test_an_old_policy_plays(old_run):
    policy = load_policy(old_run)
    assert policy.about["algorithm"] == "lica" and policy.about["task"] == "probe/match"
    obs = np.zeros((3, 2, 2), np.float32)
    assert policy.act(obs)[0].shape == (3, 2)
    figures = evaluate(old_run, episodes=16)
    assert figures["task"] == "probe/match" and figures["greedy"]["episodes"] >= 16
