"""FakeSC2 itself, spoken to with a bare websocket: its answers, its battles and its own life."""

from __future__ import annotations

import ast
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lica_jax.starcraft2.testing import battle as toy
from lica_jax.starcraft2.testing import faults as fault_list
from lica_jax.starcraft2.testing.install import MARKER, living, make_install, set_faults, starts
from lica_jax.starcraft2.testing.scenarios import SCENARIOS, WALKABLE
from tests.starcraft2.bare import ATTACK, HEAL, MOVE, STOP, api, game, sides, wait_until, websocket

STARCRAFT2 = Path(fault_list.__file__).resolve().parents[1]
# Allies, enemies and kinds of allies as SMAC documents them, not as the double has them.
SIZES = {
    "3m": (3, 3, 1), "8m": (8, 8, 1), "25m": (25, 25, 1), "5m_vs_6m": (5, 6, 1),
    "8m_vs_9m": (8, 9, 1), "10m_vs_11m": (10, 11, 1), "27m_vs_30m": (27, 30, 1),
    "MMM": (10, 10, 3), "MMM2": (10, 12, 3), "2s3z": (5, 5, 2), "3s5z": (8, 8, 2),
    "3s5z_vs_3s6z": (8, 9, 2), "3s_vs_3z": (3, 3, 1), "3s_vs_4z": (3, 4, 1), "3s_vs_5z": (3, 5, 1),
    "1c3s5z": (9, 9, 3), "2m_vs_1z": (2, 1, 1), "corridor": (6, 24, 1), "6h_vs_8z": (6, 8, 1),
    "2s_vs_1sc": (2, 1, 1), "so_many_baneling": (7, 32, 1), "bane_vs_bane": (24, 24, 2),
    "2c_vs_64zg": (2, 64, 1),
}  # fmt: skip


@pytest.fixture
def tree(tmp_path):
    return make_install(tmp_path / "StarCraftII")


def test_it_says_what_it_is(tree):
    assert (tree / MARKER).is_file()
    with game(tree) as bare:
        ping = bare(ping={})
        assert "fake" in ping.ping.game_version and ping.ping.base_build == 75689
        assert ping.status == api.launched
        bare(quit={})
        assert bare.process.wait(5) == 0
        words = bare.process.stderr.read().decode()
    assert "not StarCraft II" in words and "meaningless" in words
    (start,) = starts(tree)
    assert start["argv"][:2] == ["-listen", "127.0.0.1"] and living(tree) == []


def test_starts_fast(tree):
    times = []
    for _ in range(3):
        begin = time.monotonic()
        with game(tree) as bare:
            bare(ping={})
            times.append(time.monotonic() - begin)
    assert min(times) < 1.0  # 0.1 s on an idle machine


def test_all_maps(tree):
    with game(tree) as bare:
        for name, (allies, enemies, kinds) in SIZES.items():
            own, foe = sides(bare.start(name))  # create_game is lawful in a game
            assert (len(own), len(foe)) == (allies, enemies), name
            types = sorted({unit.unit_type for unit in own})
            assert types == list(range(types[0], types[0] + kinds)) and types[0] > 1000
            stock = {4, 9, 48, 51, 54, 73, 74, 98, 105, 107}
            assert {unit.unit_type for unit in foe} <= stock
            assert len({unit.tag for unit in own + foe}) == allies + enemies
            assert all(unit.tag > 2**32 and unit.health == unit.health_max > 0 for unit in own)
            for unit in own + foe:
                assert WALKABLE[int(unit.pos.x)][int(unit.pos.y)], (name, unit.pos)
            assert bare.step().step.simulation_loop == 8
    assert set(SIZES) == set(SCENARIOS)


def test_ally_types_follow_the_catalogue(tree):
    """Stalkers before zealots, marauders before marines before medivacs, banelings first."""
    with game(tree) as bare:
        for name, healths in {
            "2s3z": [80, 80, 100, 100, 100],
            "1c3s5z": [200, 80, 80, 80, 100, 100, 100, 100, 100],
            "MMM": [125, 125, 45, 45, 45, 45, 45, 45, 45, 150],
            "bane_vs_bane": [30] * 4 + [35] * 20,
        }.items():
            own, _ = sides(bare.start(name))
            assert [u.health for u in sorted(own, key=lambda u: u.unit_type)] == healths


def decode(start_raw):
    """The walkable cells as [x][y], from either format."""
    width, height = start_raw.map_size.x, start_raw.map_size.y
    data = start_raw.pathing_grid.data
    if start_raw.pathing_grid.bits_per_pixel == 1:
        bits = [(byte >> i) & 1 for byte in data for i in range(7, -1, -1)]
        return [[bool(bits[y * width + x]) for y in range(height)] for x in range(width)]
    rows = [[data[(height - 1 - y) * width + x] for y in range(height)] for x in range(width)]
    return [[value == 0 for value in column] for column in rows]


def test_the_ground(tree):
    with game(tree) as bare:
        bare.start()
        info = bare(game_info={}).game_info
    set_faults(tree, pathing_8bit=True)
    with game(tree) as bare:
        bare.start()
        old = bare(game_info={}).game_info
    assert old.start_raw.pathing_grid.bits_per_pixel == 8
    grid = decode(info.start_raw)
    assert grid == decode(old.start_raw) == WALKABLE
    side = range(32)
    for other in (
        [[grid[y][x] for y in side] for x in side],
        [[grid[31 - x][y] for y in side] for x in side],
        [[grid[x][31 - y] for y in side] for x in side],
    ):
        assert other != grid
    assert len(set(info.start_raw.terrain_height.data)) > 20
    p0, p1 = info.start_raw.playable_area.p0, info.start_raw.playable_area.p1
    assert p1.x - p0.x != p1.y - p0.y
    assert info.player_info[1].difficulty == api.VeryHard


def test_same_seed_same_battle(tree):
    def play(bare, seed):
        seen = bare.start("2s3z", seed)
        record = []
        for t in range(30):
            own, foe = sides(seen)
            for i, unit in enumerate(own):
                if foe and t % 3:
                    bare.order(unit, ATTACK, target_unit_tag=foe[(i + t) % len(foe)].tag)
                else:
                    at = {"x": unit.pos.x + 2, "y": unit.pos.y}
                    bare.order(unit, MOVE, target_world_space_pos=at)
            bare.step()
            seen = bare.observe()
            record.append(seen.SerializeToString(deterministic=True))
        return record

    with game(tree) as one, game(tree) as other:
        first = play(one, 5)
        assert first == play(other, 5) == play(one, 5)
        assert first != play(other, 6)


def test_fake_kill_all_spawns_again(tree):
    with game(tree) as bare:
        before = bare.start("MMM")
        own, foe = sides(before)
        bare.kill(own)
        bare.step(2)
        left_own, left_foe = sides(bare.observe())
        assert not left_own and len(left_foe) == 10  # one side is not enough
        bare.kill(foe)
        bare.step(2)
        after = bare.observe()
        new_own, new_foe = sides(after)
        assert (len(new_own), len(new_foe)) == (10, 10)
        assert not {u.tag for u in new_own + new_foe} & {u.tag for u in own + foe}
        assert set(after.observation.raw_data.event.dead_units) == {u.tag for u in foe}


def test_orders_and_their_results(tree):
    with game(tree) as bare:
        own, foe = sides(bare.start("MMM"))
        marauder, marine, medivac = (
            min(own, key=lambda u, h=h: abs(u.health - h)) for h in (125, 45, 150)
        )
        enemy_medivac = next(u for u in foe if u.unit_type == 54)
        point = {"x": 9.0, "y": 18.0}
        assert bare.order(marine, STOP) == 1
        assert bare.order(marine, MOVE, target_world_space_pos=point) == 1
        assert bare.order(marine, ATTACK, target_unit_tag=foe[0].tag) == 1
        assert bare.order(medivac, HEAL, target_unit_tag=marine.tag) == 1
        assert bare.order(marauder, ATTACK, target_unit_tag=enemy_medivac.tag) == 113
        assert bare.order(medivac, HEAL, target_unit_tag=medivac.tag) == 36
        assert bare.order(marine, HEAL, target_unit_tag=marauder.tag) == 2
        assert bare.order(foe[0], STOP) == 87
        assert bare.order(marine, ATTACK, target_unit_tag=12345) == 36
        assert bare.order(type(marine)(tag=99), STOP) == 3
        assert len(bare.observe().action_errors) == 6


def test_movement_is_where_it_was_sent(tree):
    with game(tree) as bare:
        own, _ = sides(bare.start())
        unit = own[0]
        at = {"x": unit.pos.x, "y": unit.pos.y + 2}
        bare.order(unit, MOVE, target_world_space_pos=at)
        bare.step()
        moved = next(u for u in sides(bare.observe())[0] if u.tag == unit.tag)
        assert moved.pos.x == unit.pos.x
        assert moved.pos.y - unit.pos.y == pytest.approx(8 * 0.14, abs=1e-4)


def test_toy_combat():
    """Shields regenerate, medivacs heal, units without orders do not fight, the dead vanish."""
    fight = toy.Battle(SCENARIOS["3s_vs_3z"], 1)
    stalker = fight.sides[1][0]
    fight.kill([unit.tag for unit in fight.sides[2]])
    stalker.hurt(30, fight.loop)
    for _ in range(toy.SHIELD_DELAY - 1):
        fight.advance()
    assert stalker.shield == 50
    for _ in range(100):
        fight.advance()
    assert stalker.shield == pytest.approx(50 + 100 * toy.SHIELD_RATE, abs=0.2)

    fight = toy.Battle(SCENARIOS["MMM"], 1)
    fight.kill([unit.tag for unit in fight.sides[2]])
    marine = next(u for u in fight.sides[1] if u.name == "marine")
    medivac = next(u for u in fight.sides[1] if u.name == "medivac")
    marine.health = 10
    medivac.command(toy.HEAL, marine)
    for _ in range(40):
        fight.advance()
    assert marine.health > 20 and medivac.energy < 50

    fight = toy.Battle(SCENARIOS["3m"], 1)
    for _ in range(400):
        fight.advance()
    assert fight.sides[1] == [] and len(fight.sides[2]) == 3
    assert all(unit.health == 45 for unit in fight.sides[2])


def play_3m(seed: int, focus: bool) -> bool:
    fight = toy.Battle(SCENARIOS["3m"], seed)
    for _ in range(60):
        own, foe = fight.sides[1], fight.sides[2]
        if not own or not foe or fight.spawns > 1:
            break
        for unit in own:
            near = [e for e in foe if math.hypot(e.x - unit.x, e.y - unit.y) <= 6]
            moves = [(0, 2), (0, -2), (2, 0), (-2, 0)]
            choice = fight.random.randrange(5 + len(near)) if not focus else 5
            if choice >= 5 and near:
                weakest = min(near, key=lambda e: (e.health, e.index))
                unit.command(toy.ATTACK, weakest if focus else near[choice - 5])
            elif 1 <= choice < 5:
                dx, dy = moves[choice - 1]
                unit.command(toy.MOVE, None, unit.x + dx, unit.y + dy)
            else:
                unit.command(toy.IDLE)
        for _ in range(8):
            fight.advance()
    return bool(fight.sides[1]) and not fight.sides[2]


def test_focused_fire_beats_chance():
    focused = sum(play_3m(seed, True) for seed in range(40))
    chance = sum(play_3m(seed, False) for seed in range(40))
    assert focused > 30 and chance < 10, (focused, chance)


def test_states_and_errors(tree):
    with game(tree) as bare:
        for request in ("observation", "step", "action", "game_info", "join_game"):
            answer = bare(**{request: {}}, id=7)
            assert answer.error and answer.WhichOneof("response") is None and answer.id == 7
        wrong = api.ResponseCreateGame
        setup = [api.PlayerSetup(type=api.Participant)]
        for create, error in (
            ({}, wrong.MissingMap),
            ({"local_map": {"map_path": "SMAC_Maps/none.SC2Map"}}, wrong.InvalidMapPath),
            ({"local_map": {"map_path": "a", "map_data": b"zip"}}, wrong.InvalidMapData),
            ({"local_map": {"map_path": "a", "map_data": b"MPQ\x1a"}}, wrong.InvalidMapName),
            ({"local_map": {"map_path": "SMAC_Maps/3m.SC2Map"}}, wrong.MissingPlayerSetup),
            (
                {"local_map": {"map_path": "SMAC_Maps/3m.SC2Map"}, "player_setup": setup},
                wrong.InvalidPlayerSetup,
            ),
        ):
            answer = bare(create_game=create)
            assert answer.create_game.error == error and answer.status == api.launched
        bare.start()
        assert bare(leave_game={}).status == api.launched
        bare.start()
        assert bare(restart_game={}).status == api.in_game
        assert bare(query={}).error  # a request it does not have
        bare.socket.send_binary(b"\xff\xff")
        assert bare.receive().error


def test_match_end_and_replay(tree):
    set_faults(tree, match_loops=100)
    with game(tree) as bare:
        bare.start()
        assert bare.step(96).status == api.in_game
        data = bare(save_replay={}).save_replay.data
        assert data.startswith(b"MPQ\x1b") and b"not a StarCraft II replay" in data
        answer = bare.step(8)
        assert answer.status == api.ended and answer.step.simulation_loop == 100
        assert bare.observe().player_result[0].result == api.Tie
        assert bare.step().error
        assert len(sides(bare.start())[0]) == 3
    assert fault_list.OPTIONS["match_loops"] == 2**19


# The websocket


def test_only_the_path_of_the_api(tree):
    with game(tree, connect=False) as bare:
        with pytest.raises(websocket.WebSocketBadStatusException, match="404"):
            bare.connect("/other")
        bare.connect()


def test_second_client_is_dropped(tree):
    with game(tree) as bare:
        bare(ping={})
        with pytest.raises((websocket.WebSocketException, OSError)):
            websocket.create_connection(f"ws://127.0.0.1:{bare.port}/sc2api", timeout=2)
        assert bare(ping={}).status == api.launched
        bare.socket.close()
        bare.connect()  # but after the first has left, another may come
        assert bare(ping={}).status == api.launched


def test_frames_of_all_lengths(tree):
    with game(tree) as bare:
        for size in (10, 200, 70_000, 300_000):  # 7, 16 and 64 bits of length
            stub = api.LocalMap(map_path="x", map_data=b"MPQ" + bytes(size))
            answer = bare(create_game={"local_map": stub})
            assert answer.create_game.error == api.ResponseCreateGame.InvalidMapName
        bare.socket.ping(b"hello")
        opcode, data = bare.socket.recv_data(control_frame=True)
        assert (opcode, data) == (websocket.ABNF.OPCODE_PONG, b"hello")
        ping = api.Request(ping={}).SerializeToString()
        abnf = websocket.ABNF
        bare.socket.send_frame(abnf.create_frame(ping[:1], abnf.OPCODE_BINARY, 0))
        bare.socket.send_frame(abnf.create_frame(ping[1:], abnf.OPCODE_CONT, 1))
        assert bare.receive().ping.game_version


def test_requests_may_be_queued(tree):
    with game(tree) as bare:
        bare.start()
        for number in range(50):
            bare.send(step={"count": 8}, id=number + 1)
            bare.send(observation={}, id=number + 1001)
        for number in range(50):
            assert bare.receive().id == number + 1
            answer = bare.receive()
            assert answer.id == number + 1001
            assert answer.observation.observation.game_loop == 8 * (number + 1)


def test_lawful_but_rare_answers(tree):
    set_faults(tree, fragments=5, ping_first=True, answer_delay=0.01)
    with game(tree) as bare:
        assert len(sides(bare.start())[0]) == 3


# Its own life


def test_sigterm_quit_and_lifetime(tree):
    with game(tree) as bare:
        bare.process.terminate()
        assert bare.process.wait(5) == -signal.SIGTERM
    set_faults(tree, ignore_sigterm=True, ignore_quit=True, lifetime=1.0)
    with game(tree) as bare:
        bare.process.terminate()
        bare(quit={})
        time.sleep(0.2)
        assert bare.process.poll() is None and living(tree)
        assert bare.process.wait(5) == -signal.SIGALRM
    set_faults(tree, hang_on="ping", lifetime=0.5)
    with game(tree) as bare:
        bare.send(ping={})
        assert bare.process.wait(5) == -signal.SIGALRM


def test_ends_with_its_parent_when_asked(tree):
    binary = str(tree / "Versions/Base75689/SC2_x64")
    parent = f"""
import os, subprocess, time
from pathlib import Path
subprocess.Popen([{binary!r}, "-dataDir", {str(tree)!r}], stderr=subprocess.DEVNULL)
while not list(Path({str(tree)!r}).glob("starts/*")):
    time.sleep(0.01)
time.sleep(0.3)
os._exit(0)
"""
    env = {**os.environ, "FAKE_SC2_WATCH_PARENT": "1", "FAKE_SC2_LIFETIME": "30"}
    subprocess.run([sys.executable, "-c", parent], env=env, timeout=10, check=True)
    wait_until(lambda: not living(tree))


def test_helper_process(tree):
    set_faults(tree, child_process=True)
    with game(tree) as bare:
        wait_until(lambda: len(living(tree)) == 2)
        bare.process.kill()
        bare.process.wait(5)
        assert len(living(tree)) == 1  # only a kill of the whole group ends it
        os.killpg(bare.process.pid, signal.SIGKILL)
        wait_until(lambda: not living(tree))


def test_memory_growth(tree):
    set_faults(tree, memory_growth_mib=20, memory_limit_mib=50)

    def resident(bare):
        line = Path(f"/proc/{bare.process.pid}/statm").read_text()
        return int(line.split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

    with game(tree) as bare:
        sizes = [resident(bare)]
        bare.start()
        for _ in range(4):
            own, foe = sides(bare.observe())
            sizes.append(resident(bare))
            bare.kill(own + foe)
            bare.step(2)
    assert sizes[1] - sizes[0] >= 19 and sizes[2] - sizes[1] >= 19
    assert sizes[4] - sizes[0] < 75


def test_its_numbers_stay_here():
    """The library may build a tree with it, but not read its units, ground or protocol."""
    for path in STARCRAFT2.rglob("*.py"):
        if "testing" in path.relative_to(STARCRAFT2).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                prefix = "lica_jax.starcraft2.testing"
                if name.startswith(prefix):
                    assert name.startswith(f"{prefix}.install"), (path, name)
