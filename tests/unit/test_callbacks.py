"""Callbacks: what they are told of a run, how they end one, and what follows when they fail."""

import json

import numpy as np
import pytest

from lica_jax import StopAt, UserError, train
from lica_jax.cli.main import main
from lica_jax.config.schema import CheckpointConfig
from lica_jax.engines.compiled import CompiledEngine
from lica_jax.runs import directory
from lica_jax.runs.callbacks import check_callbacks
from lica_jax.runs.logs import Logs
from lica_jax.runs.saver import Saver
from tests.conftest import TINY

SMALL = TINY | {"total_steps": 400, "eval": {"interval": 100, "episodes": 8, "final_episodes": 8}}
SEEDS = (0, 5)


class Diary:
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        if not name.startswith("on_") and name != "close":
            raise AttributeError(name)
        return lambda *what: self.told.append((name, *what))

    def of(self, name):
        return [what for kind, *what in self.told if kind == name]


class Failing:
    """Raises when the first row of training comes."""

    def on_metrics(self, row):
        raise LookupError("no such thing")


def small(run_dir=None, **more):
    return train(
        "lica", "probe/match", run_dir=run_dir, display="none", **(SMALL | {"seeds": SEEDS} | more)
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    diary = Diary()
    run_dir = tmp_path_factory.mktemp("callbacks") / "run"
    return diary, small(run_dir, callbacks=[diary]), run_dir


def test_a_callback_is_told_everything_in_order(told):
    diary, result, run_dir = told
    names = [name for name, *_ in diary.told]
    assert names[0] == "on_start" and names[-2:] == ["on_end", "close"]
    ((started,),) = diary.of("on_start")
    assert started.names == ["seed0", "seed5"] and started.run_dir == run_dir
    assert (started.update, started.env_steps) == (0, [0, 0])
    assert [row for (row,) in diary.of("on_metrics")] == result.metrics
    assert [row for (row,) in diary.of("on_evaluation")] == result.evaluations
    assert [len(rows) for (rows,) in diary.of("on_evaluations")] == [2] * 5
    ((ended,),) = diary.of("on_end")
    assert ended.summary == result.summary and not ended.stopped
    paths = [path for (path,) in diary.of("on_checkpoint")]
    assert len(set(paths)) == len(paths) and paths[-1].name == str(result.metrics[-1]["update"])
    assert all(path.parent == run_dir / "checkpoints" for path in paths)


def test_callbacks_change_nothing(told):
    class Scribbler:
        def on_metrics(self, row):
            row["loss"] = row.clear()

    _, result, _ = told
    again = small(callbacks=[Scribbler()])
    timed = ("seconds", "env_steps_per_second")
    a, b = (
        [{k: v for k, v in row.items() if k not in timed} for row in r.metrics]
        for r in (result, again)
    )
    assert a == b


@pytest.mark.parametrize("callbacks", [[], [Diary()]])
def test_rows_are_made_while_the_next_chunk_runs(told, monkeypatch, callbacks):
    """But for the last one before an evaluation; callbacks wait for nothing more."""
    order = []

    def noted(owner, letter):
        function = owner.chunk

        def call(*args, **kwargs):
            order.append(letter)
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, "chunk", call)

    noted(CompiledEngine, "c")
    noted(Logs, "r")
    small(callbacks=callbacks)
    assert "".join(order).startswith("ccrcrcrcrcrr")


def test_a_checkpoint_that_is_gone_again_is_not_waited_for(tmp_path):
    saver = Saver(tmp_path, CheckpointConfig())
    saver._started = [1, 2, 3]
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    assert [path.name for path in saver.completed()] == ["2"]
    assert saver._started == [3] and saver.completed() == []
    saver.close()


class AtOnce:
    """Ends a run at the first evaluation behind some env steps."""

    def __init__(self, steps):
        self.steps = steps

    def on_evaluation(self, row):
        return row["env_steps"] >= self.steps


def test_a_callback_ends_a_run_as_its_budget_does(told, tmp_path):
    _, whole, _ = told
    result = small(tmp_path / "r", callbacks=[AtOnce(150)])
    first = whole.evaluations[4:6]  # the rows at 200 env steps
    assert result.stopped == f"AtOnce at {first[0]['env_steps']:,} env steps"
    assert [row["env_steps"] for row in result.evaluations[-2:]] == [r["env_steps"] for r in first]
    assert result.interrupted is None and len(result.summary["final"]) == 2
    stored = json.loads((tmp_path / "r" / "result.json").read_text())
    assert stored["stopped"] == result.stopped and stored["interrupted"] is False
    assert directory.status(tmp_path / "r") == "finished"
    assert "stopped by AtOnce" in repr(result) and "stopped by AtOnce" in result._repr_html_()
    # Without the callback it goes on to its budget, as if it had never been stopped.
    went_on = train(run_dir=tmp_path / "r", resume=True, display="none")
    assert not went_on.stopped
    for row, want in zip(went_on.evaluations, whole.evaluations, strict=True):
        assert row | {"seconds": 0} == want | {"seconds": 0}
    for a, b in zip(went_on.summary["final"], whole.summary["final"], strict=True):
        np.testing.assert_equal(a, b)


def test_what_a_callback_raises_reaches_the_caller_behind_a_checkpoint(told, tmp_path):
    _, whole, _ = told
    diary = Diary()
    with pytest.raises(LookupError, match="no such thing") as error:
        small(tmp_path / "r", callbacks=[Failing(), diary])
    assert "--resume --run-dir" in error.value.__notes__[0]
    assert not diary.of("on_end") and diary.told[-1] == ("close",)
    rows = (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(rows[-1])["update"]
    assert directory.checkpoints(tmp_path / "r")[-1] == last > 0  # not only that of the start
    assert not (tmp_path / "r/result.json").exists()
    went_on = train(run_dir=tmp_path / "r", resume=True, display="none")
    assert [r["loss"] for r in went_on.metrics] == [r["loss"] for r in whole.metrics]


def test_stopping_needs_all_seeds_at_once():
    stop = StopAt("eval/win_rate=0.95")
    rows = [{"eval/win_rate": 0.99, "env_steps": 1}, {"eval/win_rate": 0.5, "env_steps": 1}]
    assert not stop.on_evaluations(rows) and not stop.on_evaluations([*rows, {}])
    rows[1]["eval/win_rate"] = 0.95
    assert stop.on_evaluations(rows)


def test_stop_at_on_the_command_line(tmp_path, capfd):
    words = [
        "train", "lica", "probe/match", "--total-steps=400", "--collect.envs=4",
        "--collect.length=4", "--log-interval=32", "--algo.hidden=8", "--algo.mixing-embed=8",
        "--algo.hypernet-hidden=8", "--algo.critic-steps=2", "--eval.interval=100",
        "--eval.episodes=8", "--eval.final-episodes=8", "--seeds", "0", "5",
        "--run-dir", str(tmp_path / "r"), "--stop-at",
    ]  # fmt: skip
    assert main([*words, "eval/win_rate=0.5"]) == 2
    assert "evaluations of this task have eval/return_mean" in capfd.readouterr().err
    assert main([*words, "eval/win_rate=95"]) == 2
    assert "a win rate is at most 1, got 95; did you mean 0.95?" in capfd.readouterr().err
    assert main([*words, "eval/foo=1", "--dry-run"]) == 2  # as the run itself would say
    assert "evaluations of this task have eval/return_mean" in capfd.readouterr().err
    assert main([*words, "eval/return_mean"]) == 2
    assert "--stop-at must read NAME=VALUE" in capfd.readouterr().err
    assert not (tmp_path / "r").exists()
    assert main([*words, "eval/return_mean=-100"]) == 0
    assert "stopped by eval/return_mean >= -100 at 0 env steps, of a budget of 400; continue " in (
        capfd.readouterr().err
    )


@pytest.mark.parametrize("bad", ["text", [Diary], [object()], [3], None])
def test_what_is_no_callback_is_refused(bad):
    with pytest.raises(UserError, match="callback"):
        check_callbacks(bad)


def test_sweeps_refuse_what_is_of_one_run(capsys):
    assert main(["sweep", "lica", "probe/match", "--stop-at", "eval/return_mean=1"]) == 2
    assert "stop_at is of a single run" in capsys.readouterr().err
