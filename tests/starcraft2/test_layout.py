"""What agents see, may do and earn, against SMAC's own numbers and by hand."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lica_jax.errors import UserError
from lica_jax.smac import layout, rewards
from lica_jax.smac.layout import Scene, Terrain
from lica_jax.smac.maps import MAPS, MapFacts, map_facts
from lica_jax.smac.options import Options
from lica_jax.smac.units import ALLY_KINDS, STOCK, Side, UnknownUnits, roster
from lica_jax.starcraft2.env import answers
from lica_jax.starcraft2.game import messages

GOLDENS = Path(__file__).parent.parent / "reference" / "goldens"
FIRST = 1900  # any id will do for the map's first type of its own
SIZES = {  # of SMAC: observation, state, actions
    "3m": (30, 48, 9),
    "8m": (80, 168, 14),
    "25m": (250, 950, 31),
    "5m_vs_6m": (55, 98, 12),
    "8m_vs_9m": (85, 179, 15),
    "10m_vs_11m": (105, 243, 17),
    "27m_vs_30m": (285, 1170, 36),
    "MMM": (160, 290, 16),
    "MMM2": (176, 322, 18),
    "2s3z": (80, 120, 11),
    "3s5z": (128, 216, 14),
    "3s5z_vs_3s6z": (136, 230, 15),
    "3s_vs_3z": (36, 54, 9),
    "3s_vs_4z": (42, 61, 10),
    "3s_vs_5z": (48, 68, 11),
    "1c3s5z": (162, 270, 15),
    "2m_vs_1z": (16, 26, 7),
    "corridor": (156, 282, 30),
    "6h_vs_8z": (78, 140, 14),
    "2s_vs_1sc": (17, 27, 7),
    "so_many_baneling": (202, 397, 38),
    "bane_vs_bane": (336, 984, 30),
    "2c_vs_64zg": (332, 342, 70),
}


@pytest.fixture
def golden_path(request):
    """The path of a reference file, here or in `--goldens DIR`; skips where DIR lacks it."""
    folder = request.config.getoption("--goldens")

    def find(name: str) -> Path:
        path = Path(folder or GOLDENS) / name
        if folder and not path.exists():
            pytest.skip(f"{path} does not exist")
        return path

    return find


# Maps and sizes


def test_every_map_has_smacs_sizes():
    assert list(MAPS) == list(SIZES)
    for name, facts in MAPS.items():
        options = Options()
        sizes = (layout.obs_size(facts, options), layout.state_size(facts, options))
        assert (*sizes, layout.n_actions(facts)) == SIZES[name], name


def test_maps_are_smacs(golden_path):
    registry = json.loads(golden_path("smac_map_registry.json").read_text())
    names = {"a_race": "ally_race", "b_race": "enemy_race", "unit_type_bits": "type_bits"}
    for name, facts in registry.items():
        given = {names.get(key, key): value for key, value in facts.items()}
        assert given == dataclasses.asdict(MAPS[name]), name
    assert set(registry) == set(MAPS)


def options_of(title):
    """The options that a title of smac_sizes.json names, as in ``..._obs_last_action_True``."""
    values = {}
    for name, value in re.findall(r"((?:obs|state)_last_action|timestep)_(True|False)", title):
        both = ("obs_timestep_number", "state_timestep_number") if name == "timestep" else (name,)
        values |= dict.fromkeys(both, value == "True")
    assert values or title.endswith("_default_args"), title
    return Options(**values)


def races(ally_shield, enemy_shield):
    return "TP"[bool(ally_shield)], "TP"[bool(enemy_shield)]


def test_sizes_with_options_are_smacs(golden_path):
    """From the numbers beside them alone: a file of other maps will do."""
    for title, maps in json.loads(golden_path("smac_sizes.json").read_text()).items():
        options = options_of(title)
        for name, want in maps.items():
            shields = want["shield_bits_ally"], want["shield_bits_enemy"]
            size = want["n_agents"], want["n_enemies"], want["episode_limit"]
            facts = MapFacts(*size, *races(*shields), want["unit_type_bits"], "marines")
            assert layout.n_actions(facts) == want["n_actions"]
            assert layout.obs_size(facts, options) == want["obs_size"], (title, name)
            assert layout.state_size(facts, options) == want["state_size"], (title, name)
            parts = layout.obs_parts(facts, options)
            assert parts.move == want["obs_move"]
            assert list(parts.enemy) == want["obs_enemy"]
            assert list(parts.ally) == want["obs_ally"]
            assert parts.own == want["obs_own"]
            nobody = Side(*np.zeros((8, facts.n_enemies)), types=())
            assert rewards.max_reward(facts, options, nobody) == want["max_reward"]
            ally = 4 + facts.ally_shield + facts.type_bits
            assert ally == len(want["ally_state_attr_names"])
            enemy = 3 + facts.enemy_shield + facts.type_bits
            assert enemy == len(want["enemy_state_attr_names"])
            if name in MAPS:
                ours = MAPS[name]
                assert (ours.ally_shield, ours.enemy_shield) == shields
                assert (ours.n_agents, ours.n_enemies, ours.limit) == size
                assert ours.type_bits == facts.type_bits


def test_an_unknown_map_is_named_with_its_neighbours():
    with pytest.raises(UserError, match="unknown SMAC map '5m_vs_5m'; did you mean 5m_vs_6m"):
        map_facts("5m_vs_5m")


def test_bad_options_are_all_named():
    assert Options().problems() == []
    found = Options(step_mul=0, difficulty="8.", obs_all_health=1, move_amount=math.nan).problems()
    text = "\n".join(found)
    for name in ("step_mul", "difficulty", "obs_all_health", "move_amount"):
        assert name in text
    assert len(found) == 4
    assert "whole number" in Options(move_amount=1.5, obs_pathing_grid=True).problems()[0]
    assert Options(reward_win=-1).problems() and Options(reward_scale_rate=0).problems()
    assert Options(reward_defeat=1).problems() and Options(difficulty=[]).problems()


# Against arrays that SMAC's code made


def test_features_and_rewards_are_smacs(golden_path):
    with np.load(golden_path("smac_features.npz"), allow_pickle=False) as file:
        arrays = dict(file)
    names = {key.split(".")[0] for key in arrays}
    assert names
    for name in names:
        prefix = f"{name}."
        given = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        facts = facts_of(given)
        if name in MAPS:
            want = MAPS[name]
            shields = want.ally_shield, want.enemy_shield
            assert (facts.ally_shield, facts.enemy_shield) == shields
            assert (facts.type_bits, facts.map_type) == (want.type_bits, want.map_type)
        check_features(name, facts, given)


def facts_of(given):
    """The facts that follow from the arrays themselves."""
    n, m = given["ally"].shape[1], given["enemy"].shape[1]
    ally_shield, enemy_shield = (int(given[side][..., 3].any()) for side in ("ally", "enemy"))
    untyped = 4 + m * (5 + enemy_shield) + (n - 1) * (5 + ally_shield) + 1 + ally_shield
    type_bits, rest = divmod(given["obs"].shape[-1] - untyped, n + m)
    assert rest == 0
    kinds = {str(kind) for kind in given["ally_type_name"]}
    (map_type,) = [key for key, members in ALLY_KINDS.items() if set(members) == kinds]
    return MapFacts(n, m, 100, *races(ally_shield, enemy_shield), type_bits, map_type)


def check_features(name, facts, given):
    options = Options()
    steps, n_agents, n_enemies = len(given["ally"]), facts.n_agents, facts.n_enemies
    kinds = ALLY_KINDS[facts.map_type]
    stock = STOCK | {"zergling": 105}
    ally_types = tuple(FIRST + kinds.index(str(kind)) for kind in given["ally_type_name"])
    enemy_types = tuple(stock.get(str(kind), 999) for kind in given["enemy_type_name"])
    cast = roster(facts, ally_types, enemy_types, FIRST)
    assert (cast.ally_cooldown == given["ally_max_cooldown"]).all()
    if facts.type_bits:
        assert (cast.ally_onehot.argmax(axis=1) == given["ally_type_id"]).all()
        assert (cast.enemy_onehot.argmax(axis=1) == given["enemy_type_id"]).all()
    assert given["pathing_grid"].shape == (given["map_x"], given["map_y"])
    ground = Terrain(given["pathing_grid"], None, tuple(given["max_distance"]))
    fallen = (np.zeros(n_agents, bool), np.zeros(n_enemies, bool))
    before = None
    negative = Options(reward_only_positive=False)
    for t in range(steps):
        now = (Side(*given["ally"][t].T, ally_types), Side(*given["enemy"][t].T, enemy_types))
        scene = Scene(facts, options, ground, cast, *now, given["last_action"][t], 0.0)
        assert (scene.avail == given["avail"][t]).all(), (name, t)
        assert (layout.observations(scene) == given["obs"][t]).all(), (name, t)
        assert (layout.state(scene) == given["state"][t]).all(), (name, t)
        if before is None:
            largest = rewards.max_reward(facts, options, now[1])
            assert largest == given["max_reward"]
        else:
            reward = rewards.battle_reward(options, before, now, fallen)
            assert reward == given["reward_only_positive"][t]
            scaled = rewards.scaled(options, reward, largest)
            np.testing.assert_allclose(scaled, given["reward_scaled"][t], rtol=1e-14)
            reward = rewards.battle_reward(negative, before, now, fallen)
            assert reward == given["reward_with_negative"][t]
        fallen = tuple(old | (side.health == 0) for old, side in zip(fallen, now, strict=True))
        before = now


# By hand


def side(*units, types=None):
    """Units as (x, y, health, shield) with 45 at most, 50 of shields at most."""
    rows = [(hp, 45.0, shield, 50.0, x, y, 7.5, 50.0) for x, y, hp, shield in units]
    return Side(*np.array(rows, np.float64).T, types=types or (FIRST,) * len(units))


def open_ground(size=32):
    return Terrain(np.ones((size, size), bool), np.zeros((size, size)), (24.0, 16.0))


def scene(map_name, allies, enemies, options=Options(), ground=None, time=0.0, last_action=None):  # noqa: B008
    facts = MAPS[map_name]
    cast = roster(facts, allies.types, enemies.types, FIRST)
    if last_action is None:
        last_action = np.zeros((facts.n_agents, layout.n_actions(facts)))
    ground = ground or open_ground()
    return Scene(facts, options, ground, cast, allies, enemies, last_action, time)


def marines(*health):
    """Three marines in a row, three cells apart."""
    return side(*[(10.0 + 3 * k, 16.0, hp, 0.0) for k, hp in enumerate(health)])


FOES = [(16.0, 16.0, 45.0, 0.0), (16.25, 16.0, 9.0, 0.0), (19.0, 16.0, 45.0, 0.0)]


def test_one_observation_by_hand():
    foes = side(*FOES, types=(48,) * 3)
    found = layout.observations(scene("3m", marines(45.0, 0.0, 9.0), foes))
    moves = [1, 1, 1, 1]
    # In range at exactly 6, not a bit beyond; in sight below 9, not at 9.
    near = [1, 6 / 9, 6 / 9, 0, 1]
    beyond = [0, 6.25 / 9, 6.25 / 9, 0, 0.2]
    ally = [1, 6 / 9, 6 / 9, 0, 0.2]
    want = [*moves, *near, *beyond, *[0] * 5, *[0] * 5, *ally, 1]
    assert (found[0] == np.array(want, np.float32)).all()
    assert (found[1] == 0).all()  # dead
    assert found.dtype == np.float32


def test_agents_see_each_other_below_9():
    allies = side((10.0, 16.0, 45.0, 0.0), (19.0, 16.0, 45.0, 0.0), (18.75, 16.0, 45.0, 0.0))
    found = layout.observations(scene("3m", allies, side(*FOES, types=(48,) * 3)))
    rows = found[0, 4 + 15 : -1].reshape(2, 5)
    assert (rows == np.array([[0] * 5, [1, 8.75 / 9, 8.75 / 9, 0, 1]], np.float32)).all()


def test_enemies_keep_the_games_order_and_allies_are_sorted():
    """By type, x and y; whatever their tags are."""
    answer = messages.Response()
    raw = answer.observation.observation.raw_data
    answer.observation.observation.game_loop = 1
    ours = [(9, 2, 5, 5), (3, 1, 7, 2), (8, 1, 7, 1)]
    theirs = [(6, 48, 1, 1), (2, 48, 9, 9), (7, 48, 4, 4)]
    for owner, units in ((1, ours), (2, theirs)):
        for tag, kind, x, y in units:
            unit = raw.units.add(tag=tag, owner=owner, unit_type=kind, health=1, health_max=1)
            unit.pos.x, unit.pos.y = x, y
    allies, enemies = answers.assign(MAPS["3m"], answers.observed(answer))
    assert allies.tags == (8, 3, 9) and enemies.tags == (6, 2, 7)
    assert enemies.side.x.tolist() == [1, 9, 4]


def test_one_state_by_hand():
    foes = side(*FOES, types=(48,) * 3)
    acted = np.eye(9)[[1, 0, 6]]
    found = layout.state(scene("3m", marines(45.0, 0.0, 9.0), foes, last_action=acted))
    allies = [1, 0.5, -6 / 24, 0, 0, 0, 0, 0, 0.2, 0.5, 0, 0]
    enemies = [1, 0, 0, 0.2, 0.25 / 24, 0, 1, 3 / 24, 0]
    assert (found == np.array([*allies, *enemies, *acted.ravel()], np.float32)).all()


def test_the_dead_do_nothing_and_the_living_something():
    foes = side(*FOES, types=(48,) * 3)
    found = scene("3m", marines(45.0, 0.0, 9.0), foes).avail
    assert found[1].tolist() == [True] + [False] * 8
    assert found[0].tolist() == [False, True, True, True, True, True, True, False, False]


def test_moves_stop_at_walls_and_at_the_edge():
    ground = open_ground()
    ground.pathing[11, 16] = False
    ally = side((10.2, 16.7, 45.0, 0.0), (31.5, 0.3, 45.0, 0.0), (0.4, 31.5, 45.0, 0.0))
    found = scene("3m", ally, side(*FOES, types=(48,) * 3), ground=ground).avail
    north, south, east, west = 2, 3, 4, 5
    assert not found[0, east] and found[0, [north, south, west]].all()
    # Positions are cut off towards zero, so half a cell outside still counts as inside.
    assert found[1, south] and not found[1, east] and found[1, [north, west]].all()
    assert found[2, west] and not found[2, north] and found[2, [south, east]].all()


def test_medivacs_heal_agents():
    kinds = {kind: FIRST + place for place, kind in enumerate(ALLY_KINDS["MMM"])}
    allies = [(10.0 + k, 16.0, 45.0, 0.0) for k in range(10)]
    allies[4] = (14.0, 16.0, 0.0, 0.0)
    types = (kinds["marauder"],) * 2 + (kinds["marine"],) * 7 + (kinds["medivac"],)
    foes = side(*[(9.0, 16.0, 45.0, 0.0)] * 10, types=(51,) * 2 + (48,) * 7 + (54,))
    now = scene("MMM", side(*allies, types=types), foes)
    # Within 6, alive, no medivac; being unhurt does not matter.
    assert np.flatnonzero(now.avail[9]).tolist() == [
        1,
        2,
        3,
        4,
        5,
        *(6 + k for k in (3, 5, 6, 7, 8)),
    ]
    assert now.avail[0, 6:].all()
    # Its weapon column is energy; its row of enemy 3 tells that agent 3 can be healed.
    assert layout.state(now)[9 * 7 + 1] == np.float32(50 / 200)
    rows = layout.observations(now)[9, 4 : 4 + 10 * 8].reshape(10, 8)
    assert (rows[:, 1] == 0).all()  # 10 away: not seen at all
    close = scene("MMM", side(*allies, types=types), foes._replace(x=np.full(10, 14.0)))
    rows = layout.observations(close)[9, 4 : 4 + 10 * 8].reshape(10, 8)
    assert rows[:, 0].tolist() == [0, 0, 0, 1, 0, 1, 1, 1, 1, 0]


def test_one_hots_of_stalkers_and_zealots_are_turned_around():
    cast = roster(MAPS["2s3z"], (FIRST, FIRST, *[FIRST + 1] * 3), (74, 74, 73, 73, 73), FIRST)
    assert cast.ally_onehot.argmax(axis=1).tolist() == [0, 0, 1, 1, 1]
    assert cast.enemy_onehot.argmax(axis=1).tolist() == [1, 1, 0, 0, 0]
    assert cast.ally_shield.tolist() == [80, 80, 50, 50, 50] == cast.enemy_shield.tolist()


def test_the_rules_stand_alone():
    """SMAC's rules are known without jax and without the game's side."""
    code = (
        "import sys, pkgutil, importlib, lica_jax.smac as smac\n"
        "for m in pkgutil.iter_modules(smac.__path__, 'lica_jax.smac.'):\n"
        "    importlib.import_module(m.name)\n"
        "heavy = ('jax', 'flax', 'lica_jax.starcraft2', 'lica_jax.envs')\n"
        "print([m for m in sys.modules if m.startswith(heavy)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_types_without_a_place_are_refused():
    with pytest.raises(UnknownUnits):
        roster(MAPS["2s3z"], (FIRST,) * 5, (74, 74, 73, 73, 72), FIRST)
    with pytest.raises(UnknownUnits):
        roster(MAPS["2s3z"], (FIRST, FIRST + 2, FIRST, FIRST, FIRST), (73,) * 5, FIRST)
    with pytest.raises(UnknownUnits):
        roster(MAPS["2m_vs_1z"], (FIRST,) * 2, (48,), FIRST)
    assert roster(MAPS["3m"], (FIRST,) * 3, (7,) * 3, FIRST).enemy_onehot.shape == (3, 0)


def test_time_stands_in_its_slot_even_for_the_dead():
    options = Options(obs_timestep_number=True, state_timestep_number=True)
    foes = side(*FOES, types=(48,) * 3)
    now = scene("3m", marines(45.0, 0.0, 9.0), foes, options, time=0.25)
    found = layout.observations(now)
    assert found.shape == (3, layout.obs_size(MAPS["3m"], options)) == (3, 31)
    assert (found[:, -1] == 0.25).all() and (found[1, :-1] == 0).all()
    assert layout.state(now)[-1] == 0.25


def test_cells_around():
    options = Options(obs_pathing_grid=True, obs_terrain_height=True)
    ground = open_ground()
    ground.pathing[14, 16] = False  # two moves east
    ground.height[12, 18] = 0.5  # north-east
    ground.height[10, 16] = 0.25  # here
    ally = side((10.9, 16.9, 45.0, 0.0), (0.5, 0.5, 45.0, 0.0), (20.0, 20.0, 0.0, 0.0))
    now = scene("3m", ally, side(*FOES, types=(48,) * 3), options, ground)
    pathing = layout.observations(now)[:, 4:12]
    height = layout.observations(now)[:, 12:21]
    assert pathing[0].tolist() == [1, 1, 0, 1, 1, 1, 1, 1]
    assert height[0].tolist() == [0, 0, 0, 0, 0.5, 0, 0, 0, 0.25]
    # Outside the map counts as walkable and as high as can be.
    assert pathing[1].tolist() == [1] * 8
    assert height[1].tolist() == [0, 1, 0, 1, 0, 1, 1, 1, 0]
    assert (layout.observations(now)[2] == 0).all()


def test_observations_can_be_the_state():
    options = Options(obs_instead_of_state=True)
    now = scene("3m", marines(45.0, 0.0, 9.0), side(*FOES, types=(48,) * 3), options)
    assert layout.state(now).shape == (layout.state_size(MAPS["3m"], options),) == (90,)
    assert (layout.state(now).reshape(3, 30) == layout.observations(now)).all()


def test_every_size_is_what_comes_out():
    flags = [name for name in Options.__dataclass_fields__ if name.startswith(("obs_", "state_"))]
    for name in ("MMM2", "3s5z_vs_3s6z", "2m_vs_1z", "bane_vs_bane", "6h_vs_8z"):
        facts = MAPS[name]
        kinds = ALLY_KINDS[facts.map_type]
        types = tuple(FIRST + k % len(kinds) for k in range(facts.n_agents))
        allies = side(
            *[(9.0, 9.0 + 0.1 * k, 45.0, 9.0) for k in range(facts.n_agents)], types=types
        )
        foes = [(10.0, 9.0 + 0.1 * k, 45.0, 9.0) for k in range(facts.n_enemies)]
        foes = side(*foes, types=(73,) * facts.n_enemies)
        for flag in flags:
            options = Options(**{flag: not getattr(Options(), flag)})
            now = scene(name, allies, foes, options)
            assert layout.observations(now).shape == (
                facts.n_agents,
                layout.obs_size(facts, options),
            )
            assert layout.state(now).shape == (layout.state_size(facts, options),)


# Rewards and the end


def reward(options, before, now, fallen=None):
    fallen = fallen or tuple(np.zeros(len(one.health), bool) for one in now)
    return rewards.battle_reward(options, before, now, fallen)


def test_damage_and_kills_earn():
    allies = side((0.0, 0.0, 45.0, 0.0))
    before = (allies, side((0.0, 0.0, 45.0, 20.0), (0.0, 0.0, 30.0, 0.0)))
    now = (allies, side((0.0, 0.0, 45.0, 5.0), (0.0, 0.0, 0.0, 0.0)))
    assert reward(Options(), before, now) == 15 + 30 + 10
    counted = (np.zeros(1, bool), np.array([False, True]))
    assert reward(Options(), before, now, counted) == 15
    assert reward(Options(reward_sparse=True), before, now) == 0


def test_shields_that_grow_back_earn_under_the_bars_only():
    allies = side((0.0, 0.0, 45.0, 0.0))
    foes = [side((0.0, 0.0, 45.0, shield)) for shield in (20.0, 28.0)]
    before, now = ((allies, one) for one in foes)
    assert reward(Options(), before, now) == 8
    assert reward(Options(reward_only_positive=False), before, now) == -8


def test_losses_cost_unless_only_positive():
    foes = side((0.0, 0.0, 45.0, 0.0))
    before = (side((0.0, 0.0, 45.0, 4.0), (0.0, 0.0, 30.0, 0.0)), foes)
    now = (side((0.0, 0.0, 45.0, 0.0), (0.0, 0.0, 0.0, 0.0)), foes)
    assert reward(Options(), before, now) == 0
    assert reward(Options(reward_only_positive=False), before, now) == -0.5 * (4 + 30 + 10)


@pytest.mark.parametrize(
    ("allies", "enemies", "want"),
    [
        ((45.0, 0.0, 0.0), (45.0, 0.0, 0.0), None),
        ((0.0, 0.0, 0.0), (45.0, 0.0, 0.0), "lost"),
        ((45.0, 0.0, 0.0), (0.0, 0.0, 0.0), "won"),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), "draw"),
    ],
)
def test_how_a_battle_ends(allies, enemies, want):
    foes = marines(*enemies)._replace(types=(48,) * 3)
    assert rewards.outcome(scene("3m", marines(*allies), foes)) == want


def test_medivacs_do_not_fight_on():
    types = (FIRST,) * 2 + (FIRST + 1,) * 7 + (FIRST + 2,)
    stock = (51,) * 2 + (48,) * 7 + (54,)

    def outcome(allies, enemies):
        ours = side(*[(9.0, 9.0, 45.0 * (k in allies), 0.0) for k in range(10)], types=types)
        foes = side(*[(9.0, 9.0, 45.0 * (k in enemies), 0.0) for k in range(10)], types=stock)
        return rewards.outcome(scene("MMM", ours, foes))

    assert outcome({0, 9}, {3, 9}) is None
    assert outcome({9}, {3}) == "lost"
    assert outcome({3}, {9}) == "won"
    assert outcome({3}, {8}) is None
    assert outcome({9}, {9}) == outcome(set(), set()) == outcome({9}, set()) == "lost"


def test_the_reward_of_a_whole_won_battle_is_the_scale():
    foes = side(*FOES, types=(48,) * 3)
    largest = rewards.max_reward(MAPS["3m"], Options(), foes)
    assert largest == 3 * 10 + 200 + 3 * (45 + 50)
    assert rewards.scaled(Options(), largest, largest) == 20
    assert rewards.scaled(Options(reward_scale=False), 7.0, largest) == 7


# The message package


@pytest.fixture
def fresh(monkeypatch):
    """The message module as if nothing had been loaded, with a choice of installed packages."""
    messages.load.cache_clear()
    installed = {}
    monkeypatch.setattr(messages, "distribution_version", installed.get)
    yield installed
    messages.load.cache_clear()


def break_import(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr(messages.importlib, "import_module", fail)


def test_two_message_packages_are_one_too_many(fresh):
    fresh |= {"pys2clientprotocol": "1.0.2", "s2clientprotocol": "5.0.14", "protobuf": "7.0"}
    with pytest.raises(UserError, match="pip uninstall -y s2clientprotocol pys2clientprotocol &&"):
        messages.load()


def test_a_missing_message_package_names_the_extra(fresh, monkeypatch):
    break_import(monkeypatch, ModuleNotFoundError("No module named 's2clientprotocol'"))
    with pytest.raises(UserError, match=r'pip install "lica_jax\[sc2\]"'):
        messages.load()


@pytest.mark.parametrize("error", [TypeError("Descriptors cannot be created"), RuntimeError()])
def test_an_old_protobuf_names_the_upgrade(fresh, monkeypatch, error):
    fresh |= {"pys2clientprotocol": "1.0.2", "protobuf": "6.30.2"}
    break_import(monkeypatch, error)
    with pytest.raises(UserError, match=r"protobuf 6.30.2.*pip install -U .protobuf>=6.31.1,<8"):
        messages.load()


def test_messages_have_plain_names():
    assert messages.Request().HasField("step") is False
    assert messages.Participant == 1
    with pytest.raises(AttributeError, match="NoSuchMessage"):
        _ = messages.NoSuchMessage
