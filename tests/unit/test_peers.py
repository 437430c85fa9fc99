"""The benchmark that runs other projects' training: what it says of rows, and bad input."""

import importlib.util
import sys
import time
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


def test_a_side_is_ended_by_its_own_clock(peers):
    """Its rows up to then are kept, and its process is gone at once; others may fail aloud."""
    code = (
        "import time\n"
        "for i in (1, 2, 3):\n"
        "    print('{\"seconds\": %d}' % i, flush=True)\n"
        "print('not a row', flush=True)\n"
        "time.sleep(TIME)\n"
        "raise SystemExit(CODE)\n"
    )

    def rows(seconds, sleep, ends):
        text = code.replace("TIME", str(sleep)).replace("CODE", str(ends))
        return [r["seconds"] for r in peers.their_rows([sys.executable, "-c", text], seconds)]

    began = time.monotonic()
    assert rows(1.5, 600, 0) == [1, 2] and time.monotonic() - began < 60
    assert rows(float("inf"), 0, 0) == [1, 2, 3]
    with pytest.raises(SystemExit, match="ended with code 3"):
        rows(float("inf"), 0, 3)
