"""Many games in lock step against FakeSC2: what is shown, what is lost, and what is left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from lica_jax.errors import UserError
from lica_jax.smac.options import Options
from lica_jax.starcraft2.errors import GameFailed
from lica_jax.starcraft2.fleet import shared_memory
from lica_jax.starcraft2.fleet.fleet import Fleet, GameSettings, check_memory
from lica_jax.starcraft2.game.process import LaunchSettings
from lica_jax.starcraft2.testing.install import living, set_faults
from tests.starcraft2.conftest import wait_until

ALL = np.ones(2, bool)


def fleet(root, n=2, map_name="3m", seed="test", options=None, **launch):
    settings = GameSettings(sc2_path=str(root), launch=LaunchSettings(**launch))
    return Fleet(map_name, n, options=options, seed=seed, settings=settings)


def choose(shown, rng):
    """Random available actions [n, N]; the first one where nothing is (a row that was lost)."""
    noise = rng.random(shown.avail.shape)
    return np.argmax(np.where(shown.avail, noise, -1.0), axis=-1).astype(np.int32)


def play(games, rng, steps, shown=None):
    """Steps whoever is in an episode; new episodes begin where one is over."""
    n = games.n
    shown = games.start(np.ones(n, bool)) if shown is None else shown
    seen = []
    for _ in range(steps):
        over = shown.terminated | shown.truncated | shown.lost
        if over.any():
            shown = games.start(over)
        shown = games.step(choose(shown, rng), np.ones(n, bool))
        seen.append(shown)
    return seen


def test_the_same_seeds_and_actions_give_the_same_episodes(sc2, private_temp):
    runs = []
    for _ in range(2):
        games = fleet(sc2, options=Options(obs_timestep_number=True))
        runs.append(play(games, np.random.default_rng(0), 40))
        games.close()
    for a, b in zip(*runs, strict=True):
        np.testing.assert_equal(a._asdict(), b._asdict())
    assert not np.array_equal(runs[0][-1].obs[0], runs[0][-1].obs[1]), "each game has its own seed"
    assert any(s.reward.any() for s in runs[0]) and runs[0][0].obs.shape == (2, 3, 31)
    assert not list(private_temp.iterdir())


def test_battles_terminate_and_time_outs_truncate(sc2):
    games = fleet(sc2, n=1)
    shown = play(games, np.random.default_rng(0), 60)
    games.close()
    assert any(s.terminated[0] for s in shown) and not any(s.truncated[0] for s in shown)
    games = fleet(sc2, n=1, map_name="2s_vs_1sc", options=Options(step_mul=1))
    shown, steps, one = games.start(np.ones(1, bool)), 0, np.ones(1, bool)
    while not (shown.terminated | shown.truncated).any():
        shown, steps = games.step(np.ones((1, 2), np.int32), one), steps + 1  # stop
    games.close()
    assert steps == 300 and shown.truncated[0] and not shown.terminated[0]
    assert not shown.info["won"][0]


def test_rows_that_are_not_asked_for_keep_what_they_showed(sc2):
    games = fleet(sc2)
    first = games.start(ALL)
    second = games.step(choose(first, np.random.default_rng(0)), np.array([True, False]))
    np.testing.assert_array_equal(first.obs[1], second.obs[1])
    assert not np.array_equal(first.state[0], second.state[0])
    assert not np.shares_memory(first.obs, second.obs)
    games.close()


@pytest.mark.parametrize("who", ["game", "worker"])
def test_what_dies_loses_one_episode_and_comes_back(sc2, who):
    games = fleet(sc2)
    rng = np.random.default_rng(1)
    shown = play(games, rng, 3)[-1]
    pids = games._rows["game_pid"].copy()
    victim = int(pids[1]) if who == "game" else games._workers[1].process.pid
    os.kill(victim, signal.SIGKILL)
    shown = games.step(choose(shown, rng), ALL)
    assert list(shown.lost) == [False, True]
    assert games.reason
    assert games._dead == (who == "worker")
    # The dead worker's game ends with it.
    assert wait_until(lambda: int(pids[1]) not in living(sc2))
    shown = games.start(np.array([False, True]))
    assert not shown.lost.any() and shown.avail[1].any() and not shown.terminated[1]
    assert games._rows["game_pid"][1] != pids[1] and games._rows["game_pid"][0] == pids[0]
    assert not any(s.lost.any() for s in play(games, rng, 3, shown))
    games.close()
    games.close()


def test_a_game_that_does_not_answer_is_given_up(sc2):
    games = fleet(sc2, call_timeout=3.0)
    shown = games.start(ALL)
    os.kill(int(games._rows["game_pid"][0]), signal.SIGSTOP)
    start = time.monotonic()
    shown = games.step(choose(shown, np.random.default_rng(0)), ALL)
    assert list(shown.lost) == [True, False] and time.monotonic() - start < 30
    assert not games.start(shown.lost).lost.any()
    games.close()


def test_a_worker_that_does_not_answer_is_given_up(sc2, monkeypatch):
    games = fleet(sc2)
    shown = games.start(ALL)
    monkeypatch.setattr(games, "_step_patience", lambda: 4.0)
    os.kill(games._workers[0].process.pid, signal.SIGSTOP)
    shown = games.step(choose(shown, np.random.default_rng(0)), ALL)
    assert list(shown.lost) == [True, False]
    games.close()


def test_games_that_never_start_again_end_the_run(sc2):
    games = fleet(sc2, attempts=2, start_timeout=20)
    shown = games.start(ALL)
    set_faults(sc2, die_at_start=7)
    os.kill(int(games._rows["game_pid"][0]), signal.SIGKILL)
    shown = games.step(choose(shown, np.random.default_rng(0)), ALL)
    with pytest.raises(GameFailed, match="did not start"):
        games.start(shown.lost)
    games.close()


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"die_at_start": 3}, "exit code 3"),
        ({"join_game_error": "MissingOptions"}, "join_game"),
        ({"never_all": 1}, "were never 3 allies"),
    ],
)
def test_a_game_that_cannot_be_played_is_refused_with_its_own_words(
    sc2, private_temp, faults, message
):
    set_faults(sc2, **faults)
    with pytest.raises(UserError, match=message) as error:
        fleet(sc2, start_timeout=30)
    assert "sc2 doctor" in str(error.value)
    assert wait_until(lambda: not living(sc2)) and not list(private_temp.iterdir())


def test_more_games_than_memory_are_refused_after_the_first(sc2, private_temp, monkeypatch):
    from lica_jax.starcraft2.fleet import fleet as module

    monkeypatch.setattr(module, "available_memory", lambda: 40 << 20)
    with pytest.raises(UserError, match=r"5 games need .* measured.*--envs"):
        fleet(sc2, n=5)
    assert wait_until(lambda: not living(sc2)) and not list(private_temp.iterdir())


def test_the_memory_check():
    check_memory(4, 1 << 30, free=4 << 30)
    check_memory(400, None, free=1)
    with pytest.raises(UserError, match="use at most 4"):
        check_memory(5, 1 << 30, free=4 << 30)


SCRIPT = """
    import os, signal, sys, time
    import numpy as np
    from lica_jax.starcraft2.fleet.fleet import Fleet, GameSettings
    def fork():
        if child := os.fork():
            print(child, flush=True)
        else:
            os.close(1), os.close(2), time.sleep(120), os._exit(0)
    games = Fleet("3m", 2, settings=GameSettings(sc2_path=sys.argv[1]))
    shown = games.start(np.ones(2, bool))
    print("ready", *(w.process.pid for w in games._workers), flush=True)
    {end}
"""
ENDS = {
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "terminated": "os.kill(os.getpid(), signal.SIGTERM)",
    "exits": "sys.exit(0)",
    "raises": "raise ValueError('a bug')",
    # A forked child holds what it inherits open, longer than anybody waits.
    "killed beside a child": "fork(); os.kill(os.getpid(), signal.SIGKILL)",
    "workers killed too": "[w.process.kill() for w in games._workers]; "
    "os.kill(os.getpid(), signal.SIGKILL)",
}


@pytest.mark.parametrize("how", ENDS)
def test_nothing_is_left_however_the_trainer_ends(sc2, private_temp, how):
    script = textwrap.dedent(SCRIPT).format(end=ENDS[how])
    done = subprocess.run(
        [sys.executable, "-c", script, str(sc2)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.startswith("ready"), done.stderr
    lines = done.stdout.splitlines()
    workers = [int(pid) for pid in lines[0].split()[1:]]
    assert wait_until(lambda: not living(sc2)), how
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers)), how
    for child in lines[1:]:  # whose end the folder waits for
        os.kill(int(child), signal.SIGKILL)
    assert wait_until(lambda: not list(private_temp.iterdir())), list(private_temp.iterdir())


def test_replays_are_stored(sc2, tmp_path):
    games = fleet(sc2)
    games.start(ALL)
    paths, problem = games.save_replays(tmp_path / "replays")
    assert [Path(p).name for p in paths] == ["3m-0.SC2Replay", "3m-1.SC2Replay"]
    assert all(Path(p).stat().st_size for p in paths) and problem == ""
    # What is missing has a reason: a file in the way, a game that has ended.
    (tmp_path / "file").write_text("")
    paths, problem = games.save_replays(tmp_path / "file" / "replays")
    assert paths == [] and "file" in problem
    os.kill(games._workers[0].process.pid, signal.SIGKILL)
    paths, problem = games.save_replays(tmp_path / "more")
    assert [Path(p).name for p in paths] == ["3m-1.SC2Replay"]
    assert problem.startswith("game worker 0 died (signal 9")
    paths, problem = games.save_replays(tmp_path / "again")
    assert len(paths) == 1 and problem == "1 game(s) not running"
    games.close()


def test_workers_that_are_killed_leave_nothing_and_are_told_of(sc2, private_temp):
    games, rng = fleet(sc2), np.random.default_rng(0)
    shown = games.start(ALL)
    (root,) = private_temp.iterdir()
    for _ in range(2):
        games._workers[0].process.kill()
        shown = games.step(choose(shown, rng), ALL)
        assert games.reason == "game worker 0 died (signal 9, as when memory runs out)"
        assert len(list(root.iterdir())) == 1
        shown = games.start(shown.lost)
    games.close()
    with pytest.raises(RuntimeError, match="these games are closed"):
        games.step(choose(shown, rng), ALL)


def test_a_path_that_python_passes_over(sc2, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, Path.cwd()])
    games = fleet(sc2, n=1)
    assert not games.start(np.ones(1, bool)).lost.any()
    games.close()


def test_workers_import_no_jax():
    code = (
        "import sys, lica_jax.starcraft2.fleet.worker; "
        "print([m for m in sys.modules if 'jax' == m[:3]])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rows_of_the_shared_memory_do_not_overlap():
    sizes = (3, 9, 31, 48)
    fd = shared_memory.create(4, sizes)
    mine, theirs = (shared_memory.views(fd, 4, sizes) for _ in range(2))
    for i, name in enumerate(mine):
        mine[name][...] = i % 2 if mine[name].dtype == bool else i
    for i, name in enumerate(theirs):
        assert (theirs[name] == (i % 2 if theirs[name].dtype == bool else i)).all()
        assert theirs[name].flags.aligned and theirs[name].shape[0] == 4


def test_another_metric_is_one_line(monkeypatch):
    """The environment's info is all that it comes from, whatever the width of its numbers."""
    metric = shared_memory.Metric("dead_enemies", np.int64)
    monkeypatch.setitem(shared_memory.METRICS, "kills", metric)
    sizes = (3, 9, 31, 48)
    fd = shared_memory.create(2, sizes)
    mine, theirs = (shared_memory.views(fd, 2, sizes) for _ in range(2))
    row = {name: array[1, ...] for name, array in mine.items()}
    shared_memory.write_info(row, {"battle_won": True, "dead_enemies": 3, "dead_allies": 2})
    shown = {name: array.tolist() for name, array in shared_memory.info_of(theirs).items()}
    assert shown == {"won": [False, True], "kills": [0, 3]}
    assert all(array.flags.aligned for array in theirs.values())
    shared_memory.write_info(row, {})  # an episode that begins
    assert not any(array.any() for array in shared_memory.info_of(theirs).values())


RUN_ONE = """
import sys, numpy as np
from lica_jax.starcraft2.fleet.fleet import Fleet, GameSettings
games = Fleet("3m", 1, settings=GameSettings(sc2_path=sys.argv[1]))
print(games.start(np.ones(1, bool)).lost.any())
games.close()
"""


def test_workers_find_modules_where_the_trainer_does(sc2, tmp_path):
    """Neither the working directory nor a folder beside the package comes before them."""
    (tmp_path / "enum.py").write_text("raise RuntimeError('shadowed')")
    (tmp_path / "websocket.py").write_text("raise RuntimeError('shadowed')")
    (tmp_path / "script").mkdir()
    script = tmp_path / "script" / "one.py"
    script.write_text(RUN_ONE)
    done = subprocess.run(
        [sys.executable, str(script), str(sc2)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


def test_standard_input_may_be_closed(sc2):
    command = f"exec {sys.executable} -c '{RUN_ONE}' {sc2} <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


def test_games_that_hang_do_not_hold_up_the_end(sc2):
    games = fleet(sc2)
    games.start(ALL)
    for pid in games._rows["game_pid"]:
        os.kill(int(pid), signal.SIGSTOP)
    start = time.monotonic()
    games.close()
    assert time.monotonic() - start < 25


def test_why_a_worker_cannot_begin_is_told(sc2):
    games = fleet(sc2)
    games.start(ALL)
    (sc2 / "Maps" / "SMAC_Maps" / "3m.SC2Map").unlink()
    games._workers[1].process.kill()
    shown = games.step(np.ones((2, 3), np.int32), ALL)
    assert shown.lost[1]
    with pytest.raises(GameFailed, match="install-maps"):
        games.start(shown.lost)
    games.close()


def test_memory_that_cannot_be_shared_is_a_clear_message(monkeypatch):
    def full(fd, offset, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"No space left.*--envs"):
        shared_memory.create(4, (3, 9, 31, 48))


def test_all_games_are_replaced_together_when_they_have_played_enough(sc2):
    settings = GameSettings(sc2_path=str(sc2), steps=5)
    games = Fleet("3m", 2, settings=settings)
    rng = np.random.default_rng(0)
    shown = games.start(ALL)
    pids = games._rows["game_pid"].copy()
    for _ in range(6):
        shown = games.step(choose(shown, rng), ALL)
    assert not games.start(np.array([True, False])).lost.any()  # not in the middle of a batch
    assert (games._rows["game_pid"] == pids).all()
    assert not games.start(ALL).lost.any()
    assert (games._rows["game_pid"] != pids).all() and not games._played.any()
    games.close()


def test_the_games_counters_are_summed(sc2):
    games = fleet(sc2)
    play(games, np.random.default_rng(0), 100)
    stats = games.stats()
    assert stats["episodes"] >= 2 and stats["matches"] == 2 and stats["dead_workers"] == 0
    assert {"restarts", "failed_orders", "timeouts"} <= set(stats)
    games.close()
