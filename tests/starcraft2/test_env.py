"""Episodes, matches and games: what the environment does when all is well and when it is not."""

from __future__ import annotations

import contextlib
import random
import warnings

import numpy as np
import pytest

from lica_jax.errors import UserError
from lica_jax.smac.maps import MAPS
from lica_jax.smac.options import Options
from lica_jax.starcraft2.env.environment import StarCraft2Env
from lica_jax.starcraft2.env.matches import Lifetime, match_seed
from lica_jax.starcraft2.errors import GameError, GameFailed
from lica_jax.starcraft2.game import messages
from lica_jax.starcraft2.game.install import find_install
from lica_jax.starcraft2.game.process import Game, LaunchSettings
from lica_jax.starcraft2.testing.install import living, make_install
from tests.starcraft2.memory_game import MemoryGames

SETTINGS = LaunchSettings(start_timeout=20, call_timeout=2, quit_timeout=0.5, term_timeout=0.5)
IMPATIENT = Lifetime(spawn_loops=20)


@pytest.fixture
def world(tmp_path):
    """`world(map, options, corrupt=..., lifetime=..., **faults)`: an environment in memory."""

    def make(map_name="3m", options=Options(), corrupt=None, lifetime=IMPATIENT, **rest):  # noqa: B008
        names = {name: rest.pop(name) for name in ("seed", "pipeline", "map_data") if name in rest}
        launch = MemoryGames(tmp_path, corrupt, **rest)
        env = StarCraft2Env(map_name, options, launch=launch, lifetime=lifetime, **names)
        return env, launch

    return make


@pytest.fixture
def real(tmp_path):
    """`real(map, **faults)`: an environment whose games are processes; checks that none is left."""
    made = []

    def make(map_name="3m", lifetime=IMPATIENT, **faults):
        root = make_install(tmp_path / "sc2", **faults)
        install = find_install(str(root))
        env = StarCraft2Env(
            map_name,
            launch=lambda number: Game.launch(install, tmp_path, SETTINGS),
            lifetime=lifetime,
        )
        made.append((env, root))
        return env, root

    yield make
    for env, root in made:
        env.close()
        assert living(root) == []


def act(env, rng=None):
    """An available action for everybody: the last one, or a random one."""
    pick = rng.choice if rng else max
    return [int(pick(np.flatnonzero(row))) for row in env.avail()]


def play(env, rng=None):
    """A whole episode: rewards and the last info."""
    env.reset()
    rewards, over = [], False
    while not over:
        reward, over, info = env.step(act(env, rng))
        rewards.append(reward)
        check_shapes(env)
    return rewards, info


def check_shapes(env):
    assert env.obs().shape == (env.n_agents, env.obs_size) and env.obs().dtype == np.float32
    assert env.state().shape == (env.state_size,) and env.state().dtype == np.float32
    assert env.avail().shape == (env.n_agents, env.n_actions) and env.avail().dtype == bool
    assert env.alive().shape == (env.n_agents,) and env.alive().dtype == bool
    assert np.isfinite(env.obs()).all() and np.isfinite(env.state()).all()
    assert (env.avail()[:, 0] == ~env.alive()).all() and env.avail().any(axis=1).all()


# When all is well


@pytest.mark.parametrize("map_name", MAPS)
def test_an_episode_on_every_map(world, map_name):
    env, launch = world(map_name)
    _, info = play(env, random.Random(1))
    assert set(info) == {"battle_won", "dead_allies", "dead_enemies"}
    assert env.stats["episodes"] == env.stats["matches"] == len(launch.games) == 1
    assert env.is_fake and "fake" in env.game_version


def test_nothing_starts_before_it_is_needed(world):
    env, launch = world()
    assert launch.games == [] and env.is_fake is None and env.rss() is None
    for ask in (env.obs, env.state, env.avail, env.alive, lambda: env.step([1, 1, 1])):
        with pytest.raises(RuntimeError, match=r"call reset\(\) first"):
            ask()
    env.close()
    assert launch.games == []


def test_the_requests_of_two_episodes(world):
    env, launch = world()
    rewards, _ = play(env)
    env.reset()
    start = ["ping", "create_game", "join_game", "game_info", "observation"]
    step = ["action", "step", "observation"]
    again = ["debug", "step", "observation"]
    assert launch.last.kinds() == start + step * len(rewards) + again
    assert launch.last.trips == len(start) + len(rewards) + 1


def test_create_and_join_say_what_smac_says(world):
    env, launch = world("2s_vs_1sc", Options(difficulty="A"), seed=3, map_data=b"MPQ\x1amap")
    env.reset()
    create, join = launch.last.asked[1].create_game, launch.last.asked[2].join_game
    assert create.local_map.map_path == "SMAC_Maps/2s_vs_1sc.SC2Map"
    assert create.local_map.map_data == b"MPQ\x1amap"
    assert [player.type for player in create.player_setup] == [1, 2]
    assert create.player_setup[1].race == messages.Zerg
    assert create.player_setup[1].difficulty == messages.CheatInsane
    assert create.random_seed == match_seed(3, 0, 0) and not create.realtime
    assert join.race == messages.Protoss and join.options.raw and not join.options.score


def test_without_pipelining_the_same_episode(world):
    one, launch = world(seed=7)
    other, single = world(seed=7, pipeline=False)
    assert play(one, random.Random(2)) == play(other, random.Random(2))
    assert single.last.trips == len(single.last.asked) > launch.last.trips


def test_actions_that_are_not_available_change_nothing(world):
    env, launch = world()
    env.reset()
    asked = len(launch.last.asked)
    for actions, words in (
        ([1, 1], "2 actions for 3 agents"),
        ([1, 1, 9], "agent 2: action 9; use 0 to 8"),
        ([1, -1, 1], "agent 1: action -1"),
        ([0, 1, 1], r"agent 0 cannot perform action 0, only \[1, "),
    ):
        with pytest.raises(ValueError, match=words):
            env.step(actions)
    assert len(launch.last.asked) == asked
    env.step([1, 1, 1])


def test_an_episode_that_is_over_is_over(world):
    env, launch = world()
    env.reset()
    launch.last.kill(2)
    _, over, info = env.step([1, 1, 1])
    assert over and info == {"battle_won": True, "dead_allies": 0, "dead_enemies": 3}
    with pytest.raises(RuntimeError, match=r"call reset\(\) first"):
        env.step([1, 1, 1])


def test_orders_of_one_step(world):
    env, launch = world("MMM")
    env.reset()
    env.step([1, 2, 3, 4, 5, 1, 1, 1, 1, 12])  # the medivac, last, heals agent 6
    units = {unit.tag: unit for unit in launch.last.session.battle.units()}
    request = next(r for r in reversed(launch.last.asked) if r.HasField("action"))
    commands = [action.action_raw.unit_command for action in request.action.actions]
    assert [command.ability_id for command in commands] == [4, 16, 16, 16, 16, 4, 4, 4, 4, 386]
    assert all(len(command.unit_tags) == 1 and not command.queue_command for command in commands)
    assert units[commands[9].target_unit_tag].owner == 1
    assert commands[9].target_unit_tag == commands[6].unit_tags[0]
    assert env.stats["failed_orders"] == 0


def test_moves_go_two_cells(world):
    env, launch = world()
    env.reset()
    before = {unit.tag: (unit.x, unit.y) for unit in launch.last.session.battle.units()}
    env.step([2, 5, 1])
    request = next(r for r in reversed(launch.last.asked) if r.HasField("action"))
    north, west, _ = (action.action_raw.unit_command for action in request.action.actions)
    for command, dx, dy in ((north, 0, 2), (west, -2, 0)):
        x, y = before[command.unit_tags[0]]
        point = command.target_world_space_pos
        assert (point.x, point.y) == pytest.approx((x + dx, y + dy), abs=1e-5)


def test_refused_orders_are_counted(world):
    env, _ = world(fail_actions_on="action")
    env.reset()
    env.step([1, 1, 1])
    assert env.stats["failed_orders"] == 3
    env.step([1, 1, 1])
    assert env.stats["failed_orders"] == 3


def test_a_time_out_is_marked_only_if_asked(world):
    for continuing in (False, True):
        env, _ = world("2s_vs_1sc", Options(continuing_episode=continuing, step_mul=1))
        env.reset()
        for _ in range(env.limit):
            _, over, info = env.step([1, 1])
        assert over and env.stats["timeouts"] == 1 and env.stats["draws"] == 0
        assert info.get("episode_limit", False) is continuing
        assert not info["battle_won"]


def test_a_draw_ends_without_a_reward(world):
    env, launch = world(options=Options(reward_sparse=True, reward_scale=False))
    env.reset()
    launch.last.kill(1)
    launch.last.kill(2)
    assert env.step([1, 1, 1]) == (
        0.0, True, {"battle_won": False, "dead_allies": 3, "dead_enemies": 3}
    )  # fmt: skip
    assert env.stats["draws"] == 1 and env.stats["won"] == 0


@pytest.mark.parametrize(("owner", "want"), [(2, 1.0), (1, -1.0)])
def test_sparse_rewards(world, owner, want):
    env, launch = world(options=Options(reward_sparse=True, reward_scale=False))
    env.reset()
    assert env.step([1, 1, 1])[0] == 0
    launch.last.kill(owner)
    assert env.step([1, 1, 1])[:2] == (want, True)


def test_last_actions_are_in_the_state_of_the_next_step(world):
    env, launch = world()
    env.reset()
    assert (env.state()[-27:] == 0).all()
    env.step([1, 2, 3])
    assert (env.state()[-27:].reshape(3, 9).argmax(axis=1) == [1, 2, 3]).all()
    launch.last.kill(1, 1)
    env.step([1, 1, 1])
    dead = int(np.flatnonzero(~env.alive())[0])
    actions = [1, 1, 1]
    actions[dead] = 0
    env.step(actions)
    last = env.state()[-27:].reshape(3, 9)
    assert last[dead].tolist() == [1] + [0] * 8
    assert (env.obs()[dead] == 0).all()


def test_the_heuristic_attacks_and_wins_more_than_it_is_told(world):
    env, launch = world("MMM2", Options(heuristic_ai=True))
    env.reset()
    over = False
    while not over:
        alive = env.alive()
        _, over, _ = env.step([0] * 10)
        assert all(
            chosen == 0 for chosen, lives in zip(env.chosen, alive, strict=True) if not lives
        )
    assert any(action >= 6 for action in env.chosen)
    abilities = {
        action.action_raw.unit_command.ability_id
        for request in launch.last.asked
        for action in request.action.actions
    }
    assert abilities == {23, 386}


def test_the_heuristic_walks_where_it_may_not_attack(world):
    env, _ = world("3m", Options(heuristic_ai=True, heuristic_rest=True))
    env.reset()
    assert not env.avail()[:, 6:].any()
    env.step([1, 1, 1])
    assert set(env.chosen) <= {2, 3, 4, 5}


def test_a_replay_is_a_whole_file_or_none(world, tmp_path):
    env, _ = world()
    with pytest.raises(GameError, match="no game"):
        env.save_replay(tmp_path / "a.SC2Replay")
    env.reset()
    env.save_replay(tmp_path / "new" / "a.SC2Replay")
    assert (tmp_path / "new" / "a.SC2Replay").read_bytes().startswith(b"MPQ")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.SC2Replay"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the replay"):
        env.save_replay(tmp_path / "file" / "a.SC2Replay")
    env.step([1, 1, 1])


def test_bad_settings_are_refused_before_a_game_starts(world):
    for bad in ({"map_name": "3n"}, {"seed": -1}, {"options": Options(step_mul=0)}):
        with pytest.raises(UserError):
            world(**bad)


# Where SMAC goes wrong


def won_at_once(env, launch):
    """The reward of an episode in which all enemies die at once: everything there is to earn."""
    env.reset()
    launch.last.kill(2)
    reward, over, info = env.step([1, 1, 1])
    assert over and info["battle_won"]
    return reward


def test_a_reset_at_the_start_of_an_episode_is_none(world):
    env, launch = world()
    env.reset()
    asked, before = len(launch.last.asked), env.obs()
    env.reset()
    assert len(launch.last.asked) == asked and (env.obs() == before).all()


def test_the_scale_survives_crashes_resets_and_late_units(world):
    env, launch = world(crash_on=None)
    env.reset()
    env.step([1, 1, 1])
    launch.last.corrupt = fail
    with pytest.raises(GameError):
        env.step([1, 1, 1])
    assert won_at_once(env, launch) == pytest.approx(20)
    assert [game.closed for game in launch.games] == [True, False]
    assert env.stats["restarts"] == env.stats["lost"] == 1
    late, launch = world(spawn_delay=5)
    assert won_at_once(late, launch) == pytest.approx(20)
    assert won_at_once(late, launch) == pytest.approx(20)
    early, launch = world()
    early.reset()
    early.step([1, 1, 1])
    early.reset()  # in the middle of the first episode
    assert won_at_once(early, launch) == pytest.approx(20)
    assert len(launch.games) == 1


def fail(kind, response):
    raise GameError("asked for")


def test_seeds_differ_after_a_relaunch_and_in_a_new_match(world):
    env, launch = world(lifetime=Lifetime(match_loops=0))
    for corrupt in (None, None, fail):
        env.reset()
        launch.last.corrupt = corrupt
        try:
            launch.last.kill(2)
            env.step([1, 1, 1])
        except GameError:
            pass
    env.reset()
    seeds = [
        request.create_game.random_seed
        for game in launch.games
        for request in game.asked
        if request.HasField("create_game")
    ]
    assert seeds == [
        match_seed(0, 0, 0),
        match_seed(0, 0, 1),
        match_seed(0, 0, 2),
        match_seed(0, 1, 0),
    ]
    assert len(set(seeds)) == 4


def test_units_that_never_come_end_in_an_error(world):
    env, launch = world(never_all=1)
    with pytest.raises(GameFailed, match="3 games in a row could not start an episode on 3m") as at:
        env.reset()
    assert "words of a game in memory" in str(at.value)
    assert len(launch.games) == 3 and all(game.closed for game in launch.games)
    assert all(game.kinds().count("step") <= IMPATIENT.spawn_loops for game in launch.games)
    assert env.stats["episodes"] == env.stats["lost"] == 0


def test_late_units_are_waited_for(world):
    env, launch = world(spawn_delay=9)
    play(env)
    play(env)
    assert env.stats["restarts"] == 0 and len(launch.games) == 1


# Matches and games end between episodes


def test_a_new_match_comes_before_the_loops_run_out(world):
    lifetime = Lifetime(match_loops=2000, spawn_loops=20)
    env, launch = world(lifetime=lifetime, match_loops=2000)
    for _ in range(12):
        play(env)
    assert env.stats["lost"] == env.stats["restarts"] == 0
    assert env.stats["matches"] > 1 and len(launch.games) == 1
    assert env.stats["episodes"] == 12


def test_a_refused_match_costs_the_game(world):
    env, launch = world(lifetime=Lifetime(match_loops=0), error_on="create_game#2")
    env.reset()
    env.step([1, 1, 1])
    env.reset()
    assert len(launch.games) == 2 and launch.games[0].closed
    assert env.stats["restarts"] == 1 and env.stats["lost"] == 0


def test_old_games_are_replaced(world):
    env, launch = world(lifetime=Lifetime(steps=30))
    for _ in range(3):
        play(env)
    assert len(launch.games) == env.stats["recycled"] + 1 > 1
    assert env.stats["restarts"] == env.stats["lost"] == 0
    assert [game.closed for game in launch.games[:-1]] == [True] * env.stats["recycled"]


def test_grown_games_are_replaced(world):
    env, launch = world(lifetime=Lifetime(growth=1000))
    play(env)
    launch.last.memory += 1000
    play(env)
    assert env.stats["recycled"] == 0
    launch.last.memory += 1
    play(env)
    assert env.stats["recycled"] == 1 and len(launch.games) == 2
    launch.last.memory = None  # not known on this platform
    play(env)
    assert env.stats["recycled"] == 1


def test_real_memory_is_watched(real):
    env, _ = real(lifetime=Lifetime(growth=20 << 20), memory_growth_mib=16)
    for _ in range(4):
        play(env)
    assert env.stats["recycled"] >= 1 and env.stats["lost"] == 0


# Games that fail

LOST = (
    "crash", "hang", "close", "garbage", "empty", "text", "partial_frame", "huge_frame", "error",
    "wrong_id", "wrong_kind", "out_of_order", "end", "stub", "nan", "flood", "duplicate", "no_raw",
    "zero_max", "big_answer",
)  # fmt: skip


@pytest.mark.parametrize("fault", LOST)
def test_a_lost_game_costs_one_episode(real, fault):
    env, root = real(once=True, **{f"{fault}_at_loop": 30})
    env.reset()
    with pytest.raises(GameError):
        for _ in range(60):
            env.step(act(env))
    assert env.stats["lost"] == 1 and env.stats["episodes"] == 0
    assert living(root) == []
    with pytest.raises(RuntimeError, match=r"call reset\(\) first"):
        env.step([1, 1, 1])
    _, info = play(env)
    assert "battle_won" in info
    assert env.stats["episodes"] == env.stats["restarts"] == 1
    assert len(living(root)) == 1


@pytest.mark.parametrize(
    "request_kind", ["ping", "create_game", "join_game", "game_info", "observation"]
)
def test_a_game_that_fails_at_the_start_is_replaced(real, request_kind):
    env, root = real(once=True, crash_on=request_kind)
    play(env)
    assert env.stats["lost"] == 0 and env.stats["restarts"] == 1 and env.stats["episodes"] == 1
    assert len(living(root)) == 1


def test_a_game_that_fails_between_episodes_is_replaced(real):
    env, _ = real(once=True, crash_on="debug")
    play(env)
    play(env)
    assert env.stats["lost"] == 0 and env.stats["restarts"] == 1 and env.stats["episodes"] == 2


def test_games_that_always_fail_are_given_up_with_their_words(real):
    env, root = real(crash_on="join_game")
    with pytest.raises(GameFailed, match="crash asked for"):
        env.reset()
    assert living(root) == []


def test_an_error_of_the_launcher_passes_through(tmp_path):
    def launch(number):
        raise UserError("no such thing")

    with pytest.raises(UserError, match="no such thing"):
        StarCraft2Env("3m", launch=launch).reset()


# Answers that are wrong in what they say


def ground(change):
    """Changes the answer to game_info."""

    def corrupt(kind, response):
        if kind == "game_info":
            change(response.game_info.start_raw)

    return corrupt


def clear(name):
    return lambda raw: raw.ClearField(name)


def put(name, **values):
    def change(raw):
        for key, value in values.items():
            setattr(getattr(raw, name), key, value)

    return change


def big(raw):
    raw.map_size.x = raw.map_size.y = 1 << 20
    raw.pathing_grid.data = bytes(1 << 10)


GROUNDS = {
    "no_size": clear("map_size"),
    "no_area": clear("playable_area"),
    "no_pathing": clear("pathing_grid"),
    "no_height": clear("terrain_height"),
    "negative": lambda raw: setattr(raw.map_size, "x", -32),
    "giant": big,
    "half": put("pathing_grid", data=bytes(64)),
    "too_long": put("pathing_grid", data=bytes(4096)),
    "odd_bits": put("pathing_grid", bits_per_pixel=32),
    "no_bits": put("pathing_grid", bits_per_pixel=0),
    "byte_grid_with_bits": put("pathing_grid", bits_per_pixel=8),
    "half_height": put("terrain_height", data=bytes(7)),
    "flat_area": lambda raw: setattr(raw.playable_area.p1, "x", raw.playable_area.p0.x),
    "wide_area": lambda raw: setattr(raw.playable_area.p1, "x", 2**31 - 1),
    "empty": lambda raw: raw.Clear(),
}


@pytest.mark.parametrize("name", GROUNDS)
def test_impossible_maps_are_refused(world, name):
    options = Options(obs_terrain_height=True)
    env, launch = world("3m", options, corrupt=ground(GROUNDS[name]))
    with pytest.raises(GameFailed):
        env.reset()
    assert len(launch.games) == 3


def test_a_map_that_is_not_square_is_read_by_rows(world):
    def change(raw):
        raw.map_size.x, raw.map_size.y = 40, 32
        rows = np.zeros((32, 40), bool)
        rows[16, 9:12] = True  # y, x
        raw.pathing_grid.data = np.packbits(rows).tobytes()

    env, _ = world(corrupt=ground(change))
    env.reset()
    pathing = env._scene.terrain.pathing
    assert pathing.shape == (40, 32) and pathing[9:12, 16].all() and pathing.sum() == 3


def test_a_seat_that_is_not_ours_is_refused(world):
    def corrupt(kind, response):
        if kind == "join_game":
            response.join_game.player_id = 2

    env, _ = world(corrupt=corrupt)
    with pytest.raises(GameFailed, match="joined as player 2"):
        env.reset()


def first_unit(player, /, **values):
    """Changes the first unit of a player."""

    def change(raw):
        unit = next(unit for unit in raw.units if unit.owner == player)
        for name, value in values.items():
            if name in ("x", "y"):
                setattr(unit.pos, name, value)
            else:
                setattr(unit, name, value)

    return change


def repeat_unit(raw):
    copied = next(unit for unit in raw.units if unit.owner == 2)
    raw.units.add().CopyFrom(copied)


def many_units(raw):
    for number in range(2000):
        raw.units.add(tag=10**6 + number, owner=16)


UNITS = {
    **{
        f"{name}_{value}": first_unit(owner, **{name: float(value)})
        for owner, name in (
            (1, "x"),
            (2, "y"),
            (1, "health"),
            (2, "shield"),
            (1, "weapon_cooldown"),
        )
        for value in ("nan", "inf", "-inf", "1e30")
    },
    "negative_health": first_unit(1, health=-1.0),
    "no_health_max": first_unit(2, health_max=0.0),
    "tiny_health_max": first_unit(1, health_max=1e-40),
    "infinite_health_max": first_unit(2, health_max=float("inf")),
    "other_side": first_unit(2, owner=1),
    "our_unit_is_theirs": first_unit(1, owner=2),
    "unknown_enemy": first_unit(2, unit_type=4_000_000_000),
    "unknown_ally": first_unit(1, unit_type=4_000_000_000),
    "twice": repeat_unit,
    "too_many": many_units,
}


@pytest.mark.parametrize("name", UNITS)
def test_impossible_units_cost_the_episode(world, name):
    env, launch = world("3s5z_vs_3s6z")
    env.reset()

    def corrupt(kind, response):
        if kind == "observation":
            UNITS[name](response.observation.observation.raw_data)

    launch.last.corrupt = corrupt
    with pytest.raises(GameError):
        env.step([1] * 8)
    env.reset()
    env.step([1] * 8)
    assert env.stats["lost"] == env.stats["restarts"] == 1


@pytest.mark.parametrize("name", UNITS)
def test_impossible_units_at_the_start_cost_the_game(world, name):
    def corrupt(kind, response):
        if kind == "observation":
            UNITS[name](response.observation.observation.raw_data)

    env, _ = world("3s5z_vs_3s6z", corrupt=corrupt)
    with pytest.raises(GameFailed):
        env.reset()


def test_units_of_unknown_types_are_named(world):
    env, launch = world("3s5z_vs_3s6z")
    env.reset()

    def corrupt(kind, response):
        if kind == "observation":
            UNITS["unknown_enemy"](response.observation.observation.raw_data)

    launch.last.corrupt = corrupt
    with pytest.raises(GameError, match=r"unit types at places .* the map has 2 types"):
        env.step([1] * 8)
    env, _ = world("2m_vs_1z", corrupt=corrupt)
    with pytest.raises(
        GameFailed, match=r"unit types \[4000000000\] where Protoss units are expected"
    ):
        env.reset()


@pytest.mark.parametrize("missing", ["observation", "action", "ping", "join_game", "game_info"])
def test_an_answer_without_its_part_costs_the_game(world, missing):
    def corrupt(kind, response):
        if kind == missing:
            response.ClearField(missing)

    env, _ = world(corrupt=corrupt)
    with pytest.raises((GameError, GameFailed)):
        env.reset()
        env.step([1, 1, 1])


def scramble_bytes(rng, response):
    """The message with one byte changed; None where it is no message any more."""
    data = bytearray(response.SerializeToString())
    data[rng.randrange(len(data))] = rng.randrange(256)
    scrambled = messages.Response()
    try:
        scrambled.ParseFromString(bytes(data))
    except Exception:
        return None
    return scrambled


def scramble_field(rng, response):
    """The message with one field, somewhere in it, gone or extreme."""
    place = response
    while True:
        fields = place.ListFields()
        if not fields:
            return response
        field, value = rng.choice(fields)
        if hasattr(value, "append") or hasattr(value, "add"):  # repeated
            if field.message_type is None or rng.random() < 0.1:
                place.ClearField(field.name)
                return response
            place = rng.choice(value)
        elif field.message_type is not None and rng.random() < 0.9:
            place = value
        else:
            place.ClearField(field.name)
            extremes = (-(2**31), -1, 0, 1, 1e-40, 2**31 - 1, 2**64 - 1, 1e38, np.nan, np.inf)
            with contextlib.suppress(TypeError, ValueError, AttributeError, OverflowError):
                setattr(place, field.name, rng.choice(extremes))
            return response


@pytest.mark.parametrize("kind", ["game_info", "observation"])
@pytest.mark.parametrize("scramble", [scramble_bytes, scramble_field])
def test_scrambled_answers_end_in_errors_or_in_numbers(world, scramble, kind):
    """Real answers with random changes: nothing but errors of games comes out."""
    rng = random.Random(4)

    def corrupt(answered, response):
        if answered == kind:
            response = scramble(rng, response)
            if response is None:  # the client refuses these
                raise GameError("not a message")
        return response

    options = Options(obs_terrain_height=True, obs_pathing_grid=True)
    outcomes = []
    for _ in range(75):
        for map_name in ("MMM", "2s3z"):
            env, _ = world(map_name, options, corrupt, Lifetime(spawn_loops=3, attempts=1))
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    env.reset()
                    check_shapes(env)
                    env.step(act(env))
                    check_shapes(env)
                    outcomes.append("fine")
                except GameFailed:
                    outcomes.append("no start")
                except GameError:
                    outcomes.append("lost")
    assert {"fine", "no start"} <= set(outcomes)
    assert "lost" in outcomes or kind == "game_info"
