"""``train --dry-run`` and ``--config``: what is told beforehand is what happens."""

import re

import jax
import pytest

from lica_jax.cli.main import main
from lica_jax.config import load_config
from lica_jax.runs import outlook
from lica_jax.runs.plan import make_plan
from lica_jax.runs.rows import read_rows
from lica_jax.runs.saver import Arrays
from lica_jax.runs.session import Session
from tests.conftest import TINY

SETTINGS = """
algorithm: lica
task: probe/match
seeds: [0, 1]
total_steps: 2000
collect: {envs: 4, length: 4}
log_interval: 32
algo: {hidden: 8, mixing_embed: 8, hypernet_hidden: 8, critic_steps: 2}
eval: {interval: 400, episodes: 8, final_episodes: 16}
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "settings").write_text(SETTINGS)  # any name will do behind --config
    return tmp_path / "settings"


def test_a_dry_run_tells_and_does_nothing(file, capsys, programs):
    run_dir = file.parent / "run"
    words = ["train", "--config", str(file), "--run-dir", str(run_dir), "--seeds", "0:2"]
    assert main([*words, "--dry-run"]) == 0
    out = capsys.readouterr()
    for text in (
        "lica on probe/match (built in): training 2,000 env steps, seeds [0, 1]",
        "obs 2, state 2;",
        "16 env steps per update and 32 per compiled call, at most; at least 126 updates",
        "3 programs: the start, a chunk of updates, the evaluation of both modes",
        "about 6 evaluations of 8 episodes per mode; 16 of the random, the last and the best",
        "the parameters and optimiser state, of 2 runs",
        "nothing has been compiled or written",
    ):
        assert text in out.out, out.out
    total, *parts = (float(x) for x in re.findall(r"([\d.]+) MiB(?!.*before)", out.out))
    assert total == pytest.approx(sum(parts), abs=0.3)
    assert out.err == "" and not programs and set(file.parent.iterdir()) == {file}
    assert main(["train", "--config", str(file), "--dump-config"]) == 0
    assert "total_steps: 2000" in capsys.readouterr().out


def test_what_was_told_is_what_happens(tmp_path, programs, capsys):
    config = load_config("lica", "probe/match", seeds=[0, 1], **TINY)
    plan = make_plan(config, tmp_path / "run")
    told = outlook.outlook(plan)
    assert not programs and not list(tmp_path.iterdir())
    session = Session(plan, "none")
    session.run()
    assert len(programs) == len(told.programs), programs
    own = [row for row in session.logs.evals.rows if row["seed"] == 0]
    assert len(own) == told.evaluations
    assert told.updates <= session.counters.update <= 2.5 * told.updates  # one-step episodes
    leaves = jax.tree.leaves(Arrays(session.state, session.best))
    assert told.checkpoint_bytes == pytest.approx(sum(x.nbytes for x in leaves), rel=0.1)
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert max(row["update"] for row in rows) == session.counters.update
    # Of a run that is there: where it goes on from.
    assert main(["train", "--resume", "--run-dir", str(tmp_path / "run"), "--dry-run"]) == 0
    assert f"from the checkpoint of update {session.counters.update}" in capsys.readouterr().out
