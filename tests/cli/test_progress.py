"""The counter of commands that take their time."""

import io
import threading
import time

import pytest

from lica_jax.cli import progress
from lica_jax.cli.progress import Counter


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def quick(monkeypatch):
    for name, seconds in (("PATIENCE", 0.05), ("EVERY", 0.02), ("EVERY_LINE", 0.05)):
        monkeypatch.setattr(progress, name, seconds)


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_in_a_terminal_one_line_changes_and_goes_away(quick, capsys):
    stream = Terminal()
    with Counter("evaluating", "episodes", stream) as counter:
        until(lambda: "evaluating (0:00)" in stream.getvalue())
        counter.tell(128, 1024)
        until(lambda: "evaluating, 128 of 1,024 episodes (0:00)" in stream.getvalue())
        counter.say("a result")
        counter.tell(256, 1024)
        until(lambda: "256 of 1,024" in stream.getvalue())
    assert "\n" not in stream.getvalue() and stream.getvalue().endswith("\r\x1b[K")
    assert capsys.readouterr().out == "a result\n"


def test_elsewhere_it_is_a_line_now_and_then(quick):
    stream = io.StringIO()
    with Counter("reproducing fig5", "methods", stream) as counter:
        counter.tell(1, 3)
        until(lambda: stream.getvalue().count("\n") == 2)
    assert set(stream.getvalue().splitlines()) == {"reproducing fig5, 1 of 3 methods (0:00)"}


def test_what_is_quick_says_nothing():
    stream, before = Terminal(), threading.active_count()
    with Counter("evaluating", "episodes", stream) as counter:
        counter.tell(1, 1)
    assert stream.getvalue().strip("\r\x1b[K") == ""
    assert threading.active_count() == before


def test_evaluations_and_figures_count(tmp_path, monkeypatch, capsys):
    """What the commands hand on reaches the counter."""
    from lica_jax.algorithms import make_algorithm
    from lica_jax.api import evaluate
    from lica_jax.cli.main import main
    from lica_jax.config import load_config, resolve
    from lica_jax.envs import make_task
    from lica_jax.policy import Policy

    told = []
    monkeypatch.setattr(Counter, "tell", lambda self, done, total: told.append((done, total)))
    figure = ["reproduce", "fig5", "--inits", "2", "--iterations", "2", "--out", str(tmp_path)]
    assert main(figure) == 0
    assert told == [(i, 4) for i in range(4)] and "wrote" in capsys.readouterr().out

    import jax

    task = make_task("probe/match")
    config = resolve(load_config("lica", "probe/match", algo={"hidden": 8}), task.spec)
    algo = make_algorithm("lica", task.spec, config.algo)
    policy = Policy.of(config, task.spec, algo.policy(algo.init(jax.random.key(0))), seed=0)
    played = []
    evaluate(policy, episodes=300, tell=lambda done, total: played.append((done, total)))
    assert played == [(128, 384), (256, 384), (384, 384)]
