"""Every fault of FakeSC2 is the fault it says: what a bare client meets."""

from __future__ import annotations

import math
import socket
import subprocess
import time

import pytest

from lica_jax.starcraft2.testing.install import make_install, set_faults, starts
from tests.starcraft2.bare import STOP, api, binary, game, sides, wait_until, websocket

DecodeError = pytest.importorskip("google.protobuf.message").DecodeError


@pytest.fixture
def tree(tmp_path):
    return make_install(tmp_path / "StarCraftII")


def struck(tree, fault: str, **details):
    """A game of 3m that meets the fault at loop 16."""
    set_faults(tree, **{f"{fault}_at_loop": 16}, **details)
    return game(tree)


def to_the_fault(bare):
    bare.start()
    bare.step()
    assert sides(bare.observe())[0]
    bare.socket.settimeout(0.3)
    return bare


def test_crash(tree):
    with struck(tree, "crash") as bare:
        with pytest.raises((websocket.WebSocketException, OSError)):
            to_the_fault(bare).step()
        assert bare.process.wait(5) == 134
        assert b"crash" in bare.process.stderr.read()


def test_crash_on_a_request(tree):
    set_faults(tree, crash_on="observation#3")
    with game(tree) as bare:
        bare.start()
        bare.observe()
        with pytest.raises((websocket.WebSocketException, OSError)):
            bare.observe()


@pytest.mark.parametrize("fault", ["hang", "huge_frame", "partial_frame"])
def test_no_whole_answer(tree, fault):
    with struck(tree, fault) as bare:
        with pytest.raises(websocket.WebSocketTimeoutException):
            to_the_fault(bare).step()
        assert bare.process.poll() is None


def test_drip(tree):
    """Every byte comes within a time-out that restarts with every byte: only a deadline helps."""
    with struck(tree, "drip", drip_seconds=0.1) as bare:
        bare = to_the_fault(bare)
        begin = time.monotonic()
        assert bare.step().HasField("step") and time.monotonic() - begin > 0.5


@pytest.mark.parametrize(
    "fault, details",
    [
        ("close", {}),
        ("partial_frame", {"partial_frame_closes": True}),
        ("endless", {"endless_mib": 8}),
    ],
)
def test_connection_is_closed(tree, fault, details):
    with struck(tree, fault, **details) as bare:
        with pytest.raises((websocket.WebSocketConnectionClosedException, OSError)):
            to_the_fault(bare).step()
        assert bare.process.poll() is None


@pytest.mark.parametrize("fault", ["garbage", "text"])
def test_no_message(tree, fault):
    with struck(tree, fault) as bare:
        bare = to_the_fault(bare)
        bare.send(step={"count": 8})
        data = bare.socket.recv()
        assert data == (b"\xff" * 64 if fault == "garbage" else "this is not a message")
        if fault == "garbage":
            with pytest.raises(DecodeError):
                api.Response.FromString(data)


def test_spoilt_answers(tree):
    with struck(tree, "error") as bare:
        answer = to_the_fault(bare).step()
        assert list(answer.error) == ["asked for by error"] and not answer.HasField("step")
        assert bare.step().HasField("step")  # once only
    with struck(tree, "error", error_text="no\n", error_repeat=1000) as bare:
        assert to_the_fault(bare).step().error[0] == "no\n" * 1000
    with struck(tree, "no_status") as bare:
        answer = to_the_fault(bare).step()
        assert answer.HasField("step") and not answer.HasField("status")
    with struck(tree, "wrong_id", repeat=True) as bare:
        bare = to_the_fault(bare)
        for _ in range(2):
            assert bare(step={"count": 8}, id=5).id == 1005
    with struck(tree, "wrong_kind") as bare:
        assert to_the_fault(bare).step().WhichOneof("response") == "ping"
    with struck(tree, "empty") as bare:
        assert to_the_fault(bare).step() == api.Response()
    with struck(tree, "twice") as bare:
        bare = to_the_fault(bare)
        assert bare.step() == bare.receive()
    with struck(tree, "out_of_order") as bare:
        bare = to_the_fault(bare)
        bare.send(step={"count": 8})
        assert bare(ping={}).HasField("ping")
        assert bare.receive().HasField("step")
    with struck(tree, "slow", slow_seconds=0.2) as bare:
        begin = time.monotonic()
        assert to_the_fault(bare).step().HasField("step") and time.monotonic() - begin > 0.2
    with struck(tree, "big_answer", big_answer_mib=3) as bare:
        assert len(to_the_fault(bare).step().SerializeToString()) > 3 << 20
    with struck(tree, "end") as bare:
        assert to_the_fault(bare).step().status == api.ended
        assert bare.step().error


def test_spoilt_observations(tree):
    def see(fault, **details):
        with struck(tree, fault, **details) as bare:
            to_the_fault(bare).step()
            return bare.observe()

    stub = see("stub")
    assert stub.observation.game_loop == 2**32 - 1 and stub.player_result
    assert not stub.observation.raw_data.units
    own, foe = sides(see("nan"))
    assert all(math.isnan(unit.pos.y) and not math.isfinite(unit.pos.x) for unit in own + foe)
    own, foe = sides(see("flood", flood_units=4000))
    assert len(own) + len(foe) == 4006
    own, foe = sides(see("duplicate"))
    assert len(own) == 6 and len({unit.tag for unit in own}) == 3
    assert not see("no_raw").observation.HasField("raw_data")
    assert all(unit.health_max == 0 for unit in sides(see("zero_max"))[0])
    strange = {unit.unit_type for side in sides(see("strange_types")) for unit in side}
    assert strange == {0, 9999, 2**32 - 1}


def test_spoilt_results_of_actions(tree):
    with struck(tree, "fail_actions", fail_code=214) as bare:
        own, _ = sides(to_the_fault(bare).observe())
        assert bare.order(own[0], STOP) == 1
        bare.step()
        assert bare.order(own[0], STOP) == 214
        assert bare.observe().action_errors[0].result == 214
        assert bare.order(own[0], STOP) == 1
    set_faults(tree, lose_results_on="action")
    with game(tree) as bare:
        own, _ = sides(bare.start())
        stop = {"ability_id": STOP, "unit_tags": [own[0].tag]}
        action = api.Action(action_raw={"unit_command": stop})
        assert len(bare(action={"actions": [action] * 3}).action.result) == 2


def test_errors_inside_the_answer(tree):
    set_faults(tree, create_game_error="InvalidMapData")
    with game(tree) as bare:
        answer = bare(create_game={})
        assert (
            answer.create_game.error == api.ResponseCreateGame.InvalidMapData and not answer.error
        )
    set_faults(tree, join_game_error="LaunchError")
    with game(tree) as bare, pytest.raises(AssertionError, match="LaunchError"):
        bare.start()


def test_units_come_late_or_never(tree):
    set_faults(tree, spawn_delay=5)
    with game(tree) as bare:
        seen = bare.start()
        for _ in range(2):  # in the first battle and in later ones
            own, foe = sides(seen)
            assert len(own) + len(foe) == 3
            bare.step(5)
            own, foe = sides(bare.observe())
            assert len(own) == len(foe) == 3
            bare.kill(own + foe)
            bare.step(2)
            seen = bare.observe()
    set_faults(tree, never_all=1)
    with game(tree) as bare:
        assert [len(side) for side in sides(bare.start("5m_vs_6m"))] == [5, 5]
        bare.step(200)
        assert len(sides(bare.observe())[1]) == 5


def test_malicious_ground(tree):
    set_faults(tree, map_size=[2**31 - 1, 2**31 - 1], pathing_bytes=1 << 20, bits_per_pixel=7)
    with game(tree) as bare:
        bare.start()
        ground = bare(game_info={}).game_info.start_raw
        assert ground.map_size.x == 2**31 - 1 and len(ground.pathing_grid.data) == 1 << 20
        assert ground.pathing_grid.bits_per_pixel == 7
    set_faults(tree, height_bytes=3, playable=[[4, 4], [4, 4]])
    with game(tree) as bare:
        bare.start()
        ground = bare(game_info={}).game_info.start_raw
        assert len(ground.terrain_height.data) == 3
        assert ground.playable_area.p0.x == ground.playable_area.p1.x


def test_faults_at_start(tree):
    set_faults(tree, die_at_start=3)
    with game(tree, connect=False) as bare:
        assert bare.process.wait(5) == 3
        assert b"e_fileCorruptRepairable" in bare.process.stderr.read()
    set_faults(tree, port_clash="exit")
    with game(tree, connect=False) as bare:
        assert bare.process.wait(5) == 1
        assert b"cannot listen" in bare.process.stderr.read()
    set_faults(tree, startup_delay=0.6)
    begin = time.monotonic()
    with game(tree):
        assert time.monotonic() - begin > 0.6
    set_faults(tree, not_ready=0.5)
    with game(tree, connect=False) as bare:
        with pytest.raises(websocket.WebSocketBadStatusException, match="404"):
            bare.connect()
        time.sleep(0.6)
        bare.connect()
    set_faults(tree, port_clash="refuse")
    dropped = pytest.raises((websocket.WebSocketException, ConnectionResetError))
    with game(tree, connect=False) as bare, dropped:
        bare.connect()
    set_faults(tree, silent=True)
    silence = pytest.raises((websocket.WebSocketTimeoutException, TimeoutError))
    with game(tree, connect=False) as bare, silence:
        bare.connect(timeout=0.3)
    set_faults(tree, not_websocket=True)
    page = pytest.raises(websocket.WebSocketBadStatusException, match="200")
    with game(tree, connect=False) as bare, page:
        bare.connect()


def test_endless_handshake(tree):
    set_faults(tree, handshake_mib=2)
    with game(tree, connect=False) as bare:
        wait_until(lambda: starts(tree))
        with socket.socket() as sock:
            wait_until(lambda: sock.connect_ex(("127.0.0.1", bare.port)) == 0)
            sock.sendall(b"GET /sc2api HTTP/1.1\r\n\r\n")
            size = 0
            while data := sock.recv(1 << 16):
                size += len(data)
        assert size > 2 << 20


def test_noise_on_stderr(tree):
    set_faults(tree, stderr_mib=2, die_at_start=1)
    result = subprocess.run([str(binary(tree)), "-dataDir", str(tree)], capture_output=True)
    assert result.returncode == 1 and len(result.stderr) > 2 << 20


def test_a_port_that_is_taken(tree):
    with game(tree) as one:
        flags = ["-port", str(one.port), "-dataDir", f"{tree}/"]
        second = subprocess.run([str(binary(tree)), *flags], capture_output=True)
        assert second.returncode == 1 and b"cannot listen" in second.stderr


def test_no_tree(tree, tmp_path):
    result = subprocess.run([str(binary(tree))], capture_output=True, cwd=tmp_path)
    assert result.returncode == 2 and b"-dataDir" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [tree.name]


def test_only_the_first_process(tree):
    set_faults(tree, die_at_start=3, once=True)
    with game(tree, connect=False) as bare:
        assert bare.process.wait(5) == 3
    with game(tree) as bare:
        assert bare(ping={}).ping.game_version
    environment = {"FAKE_SC2_FAULTS": '{"die_at_start": 4, "only": [1]}'}
    with game(tree, env=environment) as bare:
        assert bare(ping={}).ping.game_version
    with game(tree, env=environment, connect=False) as bare:
        assert bare.process.wait(5) == 4
    assert len(starts(tree)) == 4


def test_unknown_faults_are_refused(tree):
    with pytest.raises(ValueError, match="crash_at_lop"):
        make_install(tree, crash_at_lop=3)
    with game(tree, env={"FAKE_SC2_FAULTS": '{"crsh": 1}'}, connect=False) as bare:
        assert bare.process.wait(5) == 2
        assert b"crsh" in bare.process.stderr.read()
