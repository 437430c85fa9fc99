"""The benchmark that runs other projects' training: what it says of rows, and bad input."""

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "peers" / "jaxmarl_baselines.py"


@pytest.fixture(scope="module")
def peers():
    spec = importlib.util.spec_from_file_location("jaxmarl_baselines", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_summary_by_hand(peers):
    """Means of 50,000 env steps; rows in which no episode ended count for nothing."""
    won = [None, 0.2, 0.8, float("nan"), 0.9, 1.0]
    rows = [
        {"env_steps": 20_000 * (i + 1), "seconds": 2.0 * i + 3, "sampled": x, "greedy": 0.5}
        for i, x in enumerate(won)
    ]
    found = peers.summary(rows)
    # Behind row 2: .2 and .8; behind row 3: the same; behind row 4: .8 and .9; then .9 and 1.
    assert found["reached"] == {
        "0.5": [60_000, 7.0],
        "0.8": [100_000, 11.0],
        "0.95": [120_000, 13.0],
    }
    assert found["sampled"] == 0.95 and found["greedy"] == 0.5 and found["first_update"] == 3.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "is no checkout of JaxMARL"),
        ([".", "--algorithms", "--map", "4q"], "no map '4q'"),
        ([".", "--algorithms", "--ours", "licka"], "unknown algorithm 'licka'"),
        ([".", "--algorithms", "--ours", "iql:tuned"], "it covers smax/"),
        ([".", "--algorithms", "--set", "NUM_ENVS=many"], "--set takes NAME=VALUE"),
        ([".", "--algorithms", "--total-steps", "10"], "at least 50,000"),
    ],
)
def test_bad_input(peers, monkeypatch, capsys, words, said):
    monkeypatch.setattr(sys, "argv", ["jaxmarl_baselines.py", *words])
    with pytest.raises(SystemExit) as stopped:
        peers.main()
    assert stopped.value.code == 2 and said in capsys.readouterr().err
