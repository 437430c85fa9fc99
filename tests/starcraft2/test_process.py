"""Games as processes: how they start, how they fail to, and that none is left."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lica_jax.starcraft2.errors import GameError, GameFailed, GameTimeout
from lica_jax.starcraft2.game import messages, process, procfs
from lica_jax.starcraft2.game.install import find_install
from lica_jax.starcraft2.game.process import BECOME, Game, LaunchSettings
from lica_jax.starcraft2.game.temp import temp_root
from lica_jax.starcraft2.testing.install import living, make_install, set_faults, starts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="games run on Linux")

BRIEF = LaunchSettings(start_timeout=20, call_timeout=5, quit_timeout=0.5, term_timeout=0.5)


@pytest.fixture
def tree(tmp_path):
    root = make_install(tmp_path / "game")
    yield root
    left = living(root)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


@pytest.fixture
def temp(tmp_path):
    path = tmp_path / "temp"
    path.mkdir()
    yield path
    assert list(path.iterdir()) == []


def ping(game, **kwargs):
    return game.client.call(messages.Request(ping={}), **kwargs).ping


def eventually(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            return result
        time.sleep(0.02)
    return result


def alive(pid):
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return line.rpartition(")")[2].split()[0] not in "ZX"


# --- starting ------------------------------------------------------------------------------------


def test_flags_environment_and_directory(tree, temp, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/somewhere/lib")
    install = find_install(str(tree), "4.10")
    with Game.launch(install, temp, BRIEF, extra_env={"FAKE_SC2_LIFETIME": "60"}) as game:
        assert "fake" in ping(game).game_version
        (start,) = starts(tree)
        assert start["pid"] == game.pid
        assert start["argv"] == [
            *("-listen", "127.0.0.1", "-port", str(game.port), "-dataDir", f"{tree}/"),
            *("-tempDir", f"{game.directory}/", "-dataVersion", install.data_version),
        ]
        assert start["library_path"] == f"/somewhere/lib:{tree}/Libs/"
        assert game.directory.parent == temp
        assert stat.S_IMODE(game.directory.stat().st_mode) == 0o700
        assert os.getsid(game.pid) == os.getpgid(game.pid) == game.pid
        assert game.rss() > 1_000_000
        assert game.alive()
        assert "FakeSC2" in game.stderr_tail()
        assert procfs.listens_beyond_loopback(game.pid, game.port) is False
        game.close()
        assert not game.alive()
        assert game.rss() is None
        game.close()


def test_no_data_version_unless_asked_for(tree, temp):
    with Game.launch(find_install(str(tree)), temp, BRIEF):
        assert "-dataVersion" not in starts(tree)[0]["argv"]


def test_a_slow_game_is_waited_for(tree, temp):
    set_faults(tree, startup_delay=0.5, not_ready=0.7)
    with Game.launch(find_install(str(tree)), temp, BRIEF) as game:
        assert ping(game)
    assert len(starts(tree)) == 1


@pytest.mark.parametrize("faults", [{"startup_delay": 60}, {"silent": True}, {"not_ready": 60}])
def test_starting_is_bounded(tree, temp, faults):
    set_faults(tree, **faults)
    start = time.monotonic()
    settings = LaunchSettings(start_timeout=1, term_timeout=0.5)
    with pytest.raises(GameFailed, match="did not start"):
        Game.launch(find_install(str(tree)), temp, settings)
    assert time.monotonic() - start < 6
    assert len(starts(tree)) <= 1


def test_a_game_that_dies_is_tried_again_and_quoted(tree, temp):
    set_faults(tree, die_at_start=3)
    with pytest.raises(GameFailed) as caught:
        Game.launch(find_install(str(tree)), temp, BRIEF)
    text = str(caught.value)
    assert "attempt 3 of 3" in text and "exit code 3" in text and "e_fileCorruptRepairable" in text
    assert len(starts(tree)) == 3


@pytest.mark.parametrize(
    "faults",
    [{"die_at_start": 1}, {"port_clash": "exit"}, {"port_clash": "refuse"}, {"not_websocket": 1}],
)
def test_a_failure_that_passes_is_survived(tree, temp, faults, monkeypatch):
    set_faults(tree, once=True, **faults)
    asked, free_port = [], process.free_port
    monkeypatch.setattr(process, "free_port", lambda: asked.append(free_port()) or asked[-1])
    with Game.launch(find_install(str(tree)), temp, BRIEF) as game:
        assert ping(game)
    # A port of its own for each, which the system may well give twice.
    assert len(asked) == 2 and [start["argv"][3] for start in starts(tree)] == [*map(str, asked)]


def test_a_port_that_another_process_has_is_left_alone(tree, temp, monkeypatch):
    """The game is never looked for behind a port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], process.free_port()]
        monkeypatch.setattr(process, "free_port", lambda: ports.pop(0))
        set_faults(tree, startup_delay=0.3)
        with Game.launch(find_install(str(tree)), temp, BRIEF) as game:
            assert ping(game)
        taken.settimeout(0)
        with pytest.raises(BlockingIOError):
            taken.accept()


@pytest.mark.parametrize("answer", ["nobody", "unknown"])
def test_where_the_owner_of_a_port_cannot_be_known(tree, temp, monkeypatch, answer):
    monkeypatch.setattr(process, "port_owner", lambda pid, port: answer)
    with Game.launch(find_install(str(tree)), temp, BRIEF) as game:
        assert ping(game)


def test_a_port_that_another_process_takes_at_the_last_moment(tree, temp, monkeypatch):
    answers = ["nobody", "other"]
    monkeypatch.setattr(process, "port_owner", lambda *_: answers.pop(0) if answers else "own")
    monkeypatch.setattr(process, "Client", lambda *a, **k: type("C", (), {"close": lambda s: 0})())
    with pytest.raises(GameFailed, match=r"attempt 1 of 1.*another process took port"):
        Game.launch(find_install(str(tree)), temp, LaunchSettings(attempts=1, term_timeout=0.5))


def test_a_binary_that_cannot_run(tree, temp):
    install = find_install(str(tree))
    install.binary.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(11) + b"\x3e\x00" + bytes(100))
    with pytest.raises(GameFailed, match=r"cannot run .*SC2_x64: Exec format error"):
        Game.launch(find_install(str(tree)), temp, BRIEF)


def test_the_game_inherits_no_ignored_signals():
    code = (
        "import signal, subprocess, sys, os\n"
        "for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):\n"
        "    signal.signal(n, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "subprocess.run([sys.executable, '-ISc', sys.argv[1], str(os.getpid()), '/x',\n"
        "                '/bin/cat', '/proc/self/status'])\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, BECOME], capture_output=True, text=True, timeout=20
    ).stdout
    fields = dict(line.split(":\t", 1) for line in out.splitlines() if ":\t" in line)
    # Signals 32 and 33 are the C library's own: nobody can set them, but some shells pass them on.
    ours = sum(1 << (n - 1) for n in signal.valid_signals())
    assert int(fields["SigIgn"], 16) & ours == 0 and int(fields["SigBlk"], 16) & ours == 0


def test_the_game_dies_with_its_parent_by_itself():
    """Without the sweeper, that is: the death signal is the game's own."""
    code = (
        "import os, subprocess, sys, time\n"
        "become = [sys.executable, '-ISc', sys.argv[1], str(os.getpid()), '/x']\n"
        "print(subprocess.Popen([*become, '/bin/sleep', '60']).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, BECOME], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    assert eventually(lambda: Path(f"/proc/{pid}/comm").read_text().strip() == "sleep")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert eventually(lambda: not procfs.running(pid))


def test_the_launcher_does_not_become_a_game_whose_parent_is_gone():
    done = subprocess.run(
        [sys.executable, "-ISc", BECOME, "1", "/x", "/bin/echo", "hello"],
        capture_output=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (1, b"")


# --- running -------------------------------------------------------------------------------------


def test_a_game_that_talks_a_lot_is_neither_blocked_nor_kept(tree, temp):
    set_faults(tree, stderr_mib=4)
    with Game.launch(find_install(str(tree)), temp, BRIEF) as game:
        assert ping(game)
        assert len(game._output._kept) <= BRIEF.output_bytes
        assert len(game.stderr_tail()) < 10_000


def test_a_game_survives_the_thread_that_launched_it(tree, temp):
    games = []
    thread = threading.Thread(
        target=lambda: games.append(Game.launch(find_install(str(tree)), temp, BRIEF))
    )
    thread.start()
    thread.join(20)
    time.sleep(0.3)
    with games[0] as game:
        assert ping(game)


def test_memory_is_that_of_all_its_processes(tree, temp):
    with Game.launch(find_install(str(tree)), temp, BRIEF) as game:
        alone = game.rss()
    set_faults(tree, child_process=True)
    with Game.launch(find_install(str(tree)), temp, BRIEF) as game:
        assert eventually(lambda: game.rss() > alone + 1_000_000)


@pytest.mark.parametrize(
    "faults, error",
    [
        ({"crash_on": "ping"}, GameError),
        ({"hang_on": "ping"}, GameTimeout),
        ({"garbage_on": "ping"}, GameError),
        ({"wrong_id_on": "ping"}, GameError),
        ({"wrong_kind_on": "ping"}, GameError),
        ({"partial_frame_on": "ping"}, GameTimeout),
        ({"huge_frame_on": "ping"}, GameTimeout),
        ({"endless_on": "ping"}, GameError),
        ({"drip_on": "ping"}, GameTimeout),
        ({"error_on": "ping"}, GameError),
        ({"text_on": "ping"}, GameError),
    ],
)
def test_faults_of_answers(tree, temp, faults, error):
    set_faults(tree, **faults)
    with Game.launch(find_install(str(tree)), temp, BRIEF) as game:
        start = time.monotonic()
        with pytest.raises(error):
            ping(game, timeout=0.5)
        assert time.monotonic() - start < 6
        if "crash_on" in faults:
            assert eventually(lambda: not game.alive())


# --- ending --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "faults",
    [
        {},
        {"linger": 60},
        {"ignore_quit": True},
        {"ignore_quit": True, "ignore_sigterm": True},
        {"child_process": True},
        {"child_process": True, "ignore_quit": True, "ignore_sigterm": True},
    ],
)
def test_close_ends_the_game_and_what_it_started(tree, temp, faults):
    set_faults(tree, **faults)
    game = Game.launch(find_install(str(tree)), temp, BRIEF)
    family = list(procfs.members(game.pid))
    assert len(family) == 1 + faults.get("child_process", False)
    start = time.monotonic()
    game.close()
    assert time.monotonic() - start < 6
    assert not any(alive(pid) for pid in family)


def test_close_of_a_game_that_hangs_or_crashed(tree, temp):
    set_faults(tree, hang_on="ping", ignore_sigterm=True)
    game = Game.launch(find_install(str(tree)), temp, BRIEF)
    with pytest.raises(GameTimeout):
        ping(game, timeout=0.2)
    game.close()
    game = Game.launch(find_install(str(tree)), temp, BRIEF)
    os.kill(game.pid, signal.SIGKILL)
    assert eventually(lambda: not game.alive())
    game.close()


def test_a_forgotten_game_is_ended(tree, temp):
    game = Game.launch(find_install(str(tree)), temp, BRIEF)
    pid = game.pid
    del game
    assert not alive(pid)


LAUNCH = """
import os, signal, sys, time
from pathlib import Path
from lica_jax.starcraft2.game.install import find_install
from lica_jax.starcraft2.game.process import Game
from lica_jax.starcraft2.game.temp import temp_root

with temp_root() as root:
    game = Game.launch(find_install(sys.argv[1]), root)
    print(game.pid, root, flush=True)
    {then}
"""


@pytest.mark.parametrize(
    "then, number",
    [
        ("time.sleep(60)", signal.SIGKILL),
        ("time.sleep(60)", signal.SIGTERM),
        ("time.sleep(60)", signal.SIGINT),
        ("os._exit(3)", None),
        ("sys.exit(3)", None),
        ("raise ValueError", None),
    ],
)
def test_no_game_and_no_file_outlives_us(tree, then, number):
    set_faults(tree, ignore_sigterm=True, ignore_quit=True)
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCH.format(then=then), str(tree)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as worker:
        pid, root = worker.stdout.readline().split()
        if number is not None:
            assert alive(int(pid)) and Path(root).is_dir()
            worker.send_signal(number)
        worker.wait(20)
    assert eventually(lambda: not alive(int(pid)))
    assert eventually(lambda: not Path(root).exists())


def test_a_game_behind_a_script_that_does_not_become_it(tree):
    script = find_install(str(tree)).binary
    script.write_text(script.read_text().replace("\nexec ", "\n") + "exit 0\n")
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCH.format(then="time.sleep(60)"), str(tree)],
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        pid, root = worker.stdout.readline().split()
        family = list(procfs.members(int(pid)))
        assert len(family) == 2
        worker.kill()
    assert eventually(lambda: not any(alive(pid) for pid in family))
    assert eventually(lambda: not Path(root).exists())


def test_a_forked_copy_does_not_end_the_game(tree):
    then = (
        "if os.fork() == 0:\n        sys.exit()\n"
        "    os.wait()\n"
        "    print(game.alive(), game.directory.is_dir(), flush=True)\n"
        "    game.close()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LAUNCH.format(then=then), str(tree)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout.splitlines()[1:] == ["True True"], done.stderr


def test_temp_root_is_private_and_goes():
    with temp_root() as root:
        assert stat.S_IMODE(root.stat().st_mode) == 0o700
        (root / "x").write_text("x")
    assert not root.exists()
