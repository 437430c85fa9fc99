"""Training, evaluating and the command line on ``smac/`` tasks, against FakeSC2."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

from lica_jax.api import evaluate, train
from lica_jax.cli.main import main
from lica_jax.config import load_config, resolve
from lica_jax.engines.make import make_engine
from lica_jax.envs import make_task
from lica_jax.errors import UserError
from lica_jax.runs.rows import read_rows
from lica_jax.smac.maps import MAPS
from lica_jax.starcraft2.testing.install import living, set_faults
from tests.starcraft2.conftest import wait_until

BINARY = "Versions/Base75689/SC2_x64"
SMALL = {
    "collect": {"mode": "episode", "envs": 3}, "log_interval": 1,
    "algo": {"hidden": 8, "mixing_embed": 8, "hypernet_hidden": 8, "critic_pass": "dense"},
    "eval": {"interval": 1000, "episodes": 3, "final_episodes": 3},
}  # fmt: skip
SIZES = [
    word for name, value in SMALL["algo"].items()
    for word in (f"--algo.{name.replace('_', '-')}", str(value))
]  # fmt: skip


def kill_after(run_dir, rows, find_pid):
    """Kills a process once a run has written so many rows; returns a function that waits for it."""
    killed = []

    def watch():
        metrics = run_dir / "metrics.jsonl"
        while not metrics.exists() or len(read_rows(metrics)) < rows:
            time.sleep(0.02)
        pid = find_pid()
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    thread = threading.Thread(target=watch)
    thread.start()
    return lambda: (thread.join(60), killed)[1]


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def test_training_survives_a_killed_game_and_a_killed_worker(sc2, private_temp, tmp_path):
    run_dir = tmp_path / "run"
    games = lambda: living(sc2)  # noqa: E731
    wait_game = kill_after(run_dir, 2, lambda: games()[0])
    wait_worker = kill_after(run_dir, 5, lambda: parent_of(games()[-1]))
    result = train("lica", "smac/3m", total_steps=2000, run_dir=run_dir, display="none", **SMALL)
    assert wait_game() and wait_worker()
    rows = result.metrics
    assert 1 <= sum(row["lost_episodes"] for row in rows) <= 2
    # Nothing but those episodes: every batch is whole, every number finite.
    assert all(row["train/episodes"] == 3 for row in rows)
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert sum(r["train/episodes"] * r["train/episode_length_mean"] for r in rows) == pytest.approx(
        result.summary["env_steps"][0]
    )
    assert wait_until(lambda: not living(sc2)) and not list(private_temp.iterdir())
    # And nothing of it is called a result.
    saved = json.loads((run_dir / "result.json").read_text())
    assert saved["test_double"] is True and "FakeSC2" in saved["task_source"]
    assert not any("test_battle_won_mean" in row for row in read_rows(run_dir / "eval.jsonl"))
    assert "FakeSC2" in json.loads((run_dir / "policy.json").read_text())["spec"]["source"]


def test_resume_evaluate_and_replays_from_the_shell(sc2, tmp_path, capsys):
    run = ["--run-dir", str(tmp_path / "run"), "--progress", "plain"]
    few = ["--eval.episodes", "2", "--eval.final-episodes", "2", "--eval.interval", "2000"]
    begin = ["train", "lica", "smac/3m", "--envs", "2", "--total-steps", "300", *SIZES, *few, *run]
    assert main(begin) == 0
    assert main(["train", "--resume", "--total-steps", "600", "--save-replay", *run]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["env_steps"][0] >= 600 and result["test_double"]
    assert all(
        (tmp_path / "run" / "replays").joinpath(f"3m-{i}.SC2Replay").stat().st_size for i in (0, 1)
    )
    assert "2 of 2 replays are in" in capsys.readouterr().err
    policy = str(tmp_path / "run" / "policy.safetensors")
    out = str(tmp_path / "replays")
    assert main(["eval", policy, "--episodes", "3", "--envs", "2", "--save-replay", out]) == 0
    text = capsys.readouterr().out
    assert "FakeSC2" in text and "2 replays are in" in text
    assert main(["eval", policy, "--episodes", "2", "--envs", "2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["test_double"] is True and figures["greedy"]["episodes"] >= 2


def test_the_update_is_the_one_of_tasks_inside_jax(sc2):
    """The same batch gives bitwise the same parameters, in the engine of a SMAC task and in that
    of a JAX task of the same sizes."""
    from lica_jax.algorithms import make_algorithm
    from lica_jax.engines.shapes import ShapeTask
    from lica_jax.training.loop import make_learn, make_run

    task = make_task("smac/3m")
    config = resolve(load_config("lica", "smac/3m", total_steps=2000, **SMALL), task.spec)
    algo = make_algorithm("lica", task.spec, config.algo)
    how = {"collect": config.collect, "timeout_is_terminal": config.timeout_is_terminal}
    engine = make_engine(algo, task, **how)
    batches = []
    learn = engine._programs.learn

    def keep(states, r, trajectory, stats, key, update_key, hp):
        batch, numbers = jax.tree.map(np.array, ((trajectory, stats), hp))
        batches.append((*batch, update_key, numbers))
        return learn(states, r, trajectory, stats, key, update_key, hp)

    engine._programs = engine._programs._replace(learn=keep)
    try:
        engine.open()
        states = engine.init(jax.random.key(0)[None])
        hps = jax.tree.map(lambda x: jax.numpy.asarray(x)[None], config.hp)
        after, _ = engine.chunk(states, hps, 2)
    finally:
        engine.close()
    init, _ = make_run(algo, ShapeTask(task.spec), **how)
    state = jax.jit(init)(jax.random.key(0))
    inside = jax.jit(make_learn(algo, task.spec, config.timeout_is_terminal))
    for trajectory, stats, key, hp in batches:
        state, _ = inside(state, trajectory, stats, key, hp)
    assert len(batches) == 2
    for a, b in zip(jax.tree.leaves(state.learner), jax.tree.leaves(after.learner), strict=True):
        np.testing.assert_array_equal(a, b[0])


def test_transfer_from_smax_to_smac_and_back(sc2, tmp_path):
    """One policy file plays both."""
    small = SMALL | {"collect": {"mode": "steps", "envs": 4, "length": 4}, "total_steps": 400}
    train("lica", "smax/3m:layout=smac", run_dir=tmp_path / "smax", display="none", **small)
    figures = evaluate(tmp_path / "smax", task="smac/3m", episodes=2, envs=2)
    assert figures["policy"]["task"] == "smax/3m:layout=smac" and figures["task"] == "smac/3m"
    assert figures["greedy"]["episodes"] >= 2
    with pytest.raises(UserError, match="cannot play"):
        evaluate(tmp_path / "smax", task="smac/5m_vs_6m", episodes=2)


@pytest.mark.parametrize(
    ("break_it", "task", "message"),
    [
        (lambda root, env: env.setenv("SC2PATH", str(root / "nowhere")), "3m", "no StarCraft II"),
        (lambda root, env: (root / "Maps/SMAC_Maps/3m.SC2Map").unlink(), "3m", "install-maps"),
        (
            lambda root, env: (root / BINARY).write_bytes(b"MZ\0\0" * 8),
            "3m", "not a Linux x86-64 program",
        ),
        (lambda root, env: None, "3n", "did you mean"),
        (lambda root, env: None, "3m:step_mul=0", "step_mul is 0"),
        (lambda root, env: None, "3m:move_amount=far", "cannot be 'far'"),
        (lambda root, env: None, "3m:version=4.6.2", "4.6.2"),
        (
            lambda root, env: (root / BINARY).write_text("#!/bin/sh\nexit 9\n"),
            "3m", "exit code 9",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_played_is_refused(
    sc2, private_temp, tmp_path, monkeypatch, capsys, break_it, task, message
):  # fmt: skip
    break_it(sc2, monkeypatch)
    run_dir = tmp_path / "run"
    assert main(["train", "lica", f"smac/{task}", "--run-dir", str(run_dir)]) == 2
    assert message in capsys.readouterr().err
    assert not (run_dir / "config.json").exists() and not list(private_temp.iterdir())


def test_streams_are_refused(sc2, capsys):
    assert main(["train", "lica", "smac/3m", "--collect.mode", "steps"]) == 2
    assert "--collect.mode episode" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["lica", "qmix", "mappo", "coma"])
def test_presets_of_smac(name):
    spec = make_task("smac/5m_vs_6m").spec
    config = resolve(load_config(name, "smac/5m_vs_6m"), spec)
    assert config.collect.mode == "episode" and config.timeout_is_terminal
    if name != "mappo":
        paper = resolve(load_config(name, "smac/5m_vs_6m", preset="paper"), spec)
        smax = load_config(name, "smax/5m_vs_6m", preset="paper")
        assert (paper.algo, paper.collect.envs) == (smax.algo, 32)
        assert paper.hp.reward_scale == 1 and paper.total_steps == 64_000_000
    if name == "lica":
        assert paper.hp.entropy_coef == 0.11


def test_games_that_do_not_start_any_more_end_a_run_that_can_go_on(sc2, tmp_path, capsys):
    run_dir = tmp_path / "run"

    def find():
        set_faults(sc2, die_at_start=7)
        return living(sc2)[0]

    wait_for = kill_after(run_dir, 2, find)
    few = ["--eval.episodes", "2", "--eval.final-episodes", "2"]
    command = ["train", "lica", "smac/3m", "--envs", "2", *SIZES, *few, "--progress", "none"]
    assert main([*command, "--run-dir", str(run_dir)]) == 1
    assert wait_for()
    said = capsys.readouterr().err
    assert "exit code 7" in said and f"--resume --run-dir {run_dir}" in said
    set_faults(sc2)
    steps = str(read_rows(run_dir / "metrics.jsonl")[-1]["env_steps"] + 200)
    more = ["--resume", "--run-dir", str(run_dir), "--total-steps", steps, "--progress", "none"]
    assert main(["train", *more, "--task", "smac/3m:step_mul=4"]) == 2
    assert "step_mul=4" in capsys.readouterr().err
    # How long a game is waited for is no part of what is played.
    assert main(["train", *more, "--task", "smac/3m:start_timeout=300,call_timeout=90"]) == 0


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGKILL, -9)],
)
def test_a_stopped_run_leaves_nothing_behind_and_goes_on(sc2, private_temp, tmp_path, number, code):
    run_dir = tmp_path / "run"
    few = ["--eval.episodes", "2", "--eval.final-episodes", "2", "--checkpoint.every-seconds", "0"]
    command = [sys.executable, "-m", "lica_jax", "train", "lica", "smac/3m", "--envs", "2"]
    command += [*SIZES, *few, "--run-dir", str(run_dir), "--progress", "none"]
    trainer = subprocess.Popen(command, start_new_session=True)
    metrics = run_dir / "metrics.jsonl"
    assert wait_until(lambda: metrics.exists() and len(read_rows(metrics)) >= 4, 120)
    trainer.send_signal(number)
    assert trainer.wait(60) == code
    assert wait_until(lambda: not living(sc2)) and wait_until(
        lambda: not list(private_temp.iterdir())
    )
    before = max(row["update"] for row in read_rows(metrics))
    done = read_rows(metrics)[before - 1]["env_steps"]
    more = ["--resume", "--run-dir", str(run_dir), "--total-steps", str(done + 400)]
    assert main(["train", *more, "--progress", "none"]) == 0
    rows = read_rows(metrics)
    assert [row["update"] for row in rows] == list(range(1, len(rows) + 1)) and len(rows) > before
    assert "resumed" in json.loads((run_dir / "versions.json").read_text())


def test_returns_are_bounded_where_nothing_lost_comes_back():
    """Shields, Zerg and what a medivac heals come back, to be shot down again."""
    bounds = {name: make_task(f"smac/{name}").spec.max_return for name in MAPS}
    bounded = {name for name, bound in bounds.items() if bound is not None}
    assert bounded == {name for name in MAPS if name.endswith("m")}  # Terran, no medivacs
    assert {bounds[name] for name in bounded} == {20.0}
    assert make_task("smac/3m:reward_scale_rate=10").spec.max_return == 10
    for option in ("reward_sparse=true", "reward_scale=false"):
        assert make_task(f"smac/3m:{option}").spec.max_return is None
