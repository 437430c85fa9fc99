"""SMAX in SMAC's layout: sizes, orders and numbers of the real maps, and what orders do."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.envs import make_task
from lica_jax.envs.smax import scenarios as maps
from lica_jax.envs.smax.battle import Battle, State
from lica_jax.envs.smax.scenarios import SCENARIOS, SIZE, Scenario
from lica_jax.envs.smax.smac_layout import SmacLayout, SmaxAsSmac, as_in_smac
from lica_jax.envs.smax.units import JAXMARL, MARAUDER, MARINE, MEDIVAC, ZEALOT
from lica_jax.errors import UserError
from lica_jax.smac import layout, units
from lica_jax.smac.maps import MAPS, MapFacts
from lica_jax.smac.options import Options

KEY = jax.random.key(0)
GOLDENS = Path(__file__).parents[1] / "reference" / "goldens"
NO_OP, STOP, NORTH, SOUTH, EAST, WEST, FIRST = range(7)
FIRST_TYPE = 1000  # where the made-up map types of the allies begin
OTHER_IDS = {"zergling": 105, "hydralisk": 107, "spine_crawler": 98}


def layout_of(name, **changes):
    facts = MAPS[name]
    scenario = dataclasses.replace(as_in_smac(SCENARIOS[name], facts), **changes)
    return SmacLayout(Battle(scenario), facts)


def as_state(x, y, health, cooldown, last_action):
    """Arrays [U, B] and last actions [N, B] as a battle that can be looked at."""
    arrays = [np.asarray(v, np.float32) for v in (x, y, health, cooldown)]
    return State(*arrays, *[None] * 6, last_action=np.asarray(last_action, np.int32))


def looked_at(seen, state):
    """Observations, available actions and critic's states of a batch."""
    numbers = seen.battle.units(None)

    @jax.jit
    def run(state):
        return *seen.observe(numbers, state), seen.critic_state(numbers, state)

    return [np.asarray(v) for v in run(state)]


# --- sizes and orders ----------------------------------------------------------------------------

# Measured on SMAC: map, actions, observation, state.
SIZES = """
3m 9 30 48, 8m 14 80 168, 25m 31 250 950, 5m_vs_6m 12 55 98, 8m_vs_9m 15 85 179,
10m_vs_11m 17 105 243, 27m_vs_30m 36 285 1170, MMM 16 160 290, MMM2 18 176 322, 2s3z 11 80 120,
3s5z 14 128 216, 3s5z_vs_3s6z 15 136 230, 3s_vs_3z 9 36 54, 3s_vs_4z 10 42 61, 3s_vs_5z 11 48 68,
1c3s5z 15 162 270, 2m_vs_1z 7 16 26, corridor 30 156 282, 6h_vs_8z 14 78 140, 2s_vs_1sc 7 17 27,
so_many_baneling 38 202 397, bane_vs_bane 30 336 984, 2c_vs_64zg 70 332 342
"""


def test_sizes_of_all_maps():
    table = {name: map(int, sizes) for name, *sizes in map(str.split, SIZES.split(","))}
    assert table.keys() == MAPS.keys()
    for name, (n_actions, obs_size, state_size) in table.items():
        task = make_task(f"smax/{name}:layout=smac")
        spec, facts, seen = task.spec, MAPS[name], task._layout
        assert (spec.n_actions, spec.obs_size, spec.state_size) == (n_actions, obs_size, state_size)
        assert (spec.n_agents, spec.episode_limit) == (facts.n_agents, facts.limit)
        assert spec.state_has_actions
        zeros = np.zeros((task.battle.u, 3))
        state = as_state(zeros, zeros, zeros, zeros, zeros[: spec.n_agents])
        shapes = [
            jax.eval_shape(lambda s, f=f, b=task.battle: f(b.units(None), s), state)
            for f in (seen.observe, seen.critic_state)
        ]
        (obs, avail), critic = shapes
        assert obs.shape == (3, spec.n_agents, obs_size)
        assert avail.shape == (3, spec.n_agents, n_actions)
        assert critic.shape == (3, state_size)
        assert {obs.dtype, critic.dtype} == {jnp.dtype("float32")}


def test_agents_are_units_of_the_kinds_of_smac():
    """Allied kinds come in the order of the map's own type ids, as SMAC sorts them."""
    for name, facts in MAPS.items():
        scenario = make_task(f"smax/{name}:layout=smac").battle.scenario
        kinds = [JAXMARL[i].name for i in scenario.allies]
        order = units.ALLY_KINDS[facts.map_type]
        assert kinds == sorted(kinds, key=order.index), name
        assert sorted(scenario.allies) == sorted(SCENARIOS[name].allies)
        assert sorted(scenario.enemies) == sorted(SCENARIOS[name].enemies)
    mmm2 = make_task("smax/MMM2:layout=smac").battle.scenario
    assert mmm2.allies == (MARAUDER,) * 2 + (MARINE,) * 7 + (MEDIVAC,)
    assert mmm2.enemies == (MARINE,) * 8 + (MARAUDER,) * 3 + (MEDIVAC,)


# --- numbers -------------------------------------------------------------------------------------


def scene_of_smac(seen, state, b):
    """Battle b of a batch as `smac.layout` takes it."""
    battle, facts = seen.battle, seen.facts
    ids = units.STOCK | OTHER_IDS | {"baneling": 9}
    kinds = units.ALLY_KINDS[facts.map_type]
    types = [FIRST_TYPE + kinds.index(t.name) for t in battle.types[: battle.n]]
    types += [ids[t.name] for t in battle.types[battle.n :]]
    shield_max = np.array([units.MAX_SHIELD.get(t.name, 0.0) for t in battle.types])
    health_max = np.array([t.health for t in battle.types]) - shield_max
    x, y, pool, cooldown = (
        np.asarray(v, np.float64)[:, b] for v in (state.x, state.y, state.health, state.cooldown)
    )
    share = np.clip(cooldown / [t.cooldown for t in battle.types], 0, 1)
    most = [units.MAX_COOLDOWN.get(t.name, units.OTHER_COOLDOWN) for t in battle.types]

    def side(part):
        return units.Side(
            health=np.minimum(pool, health_max)[part], health_max=health_max[part],
            shield=np.maximum(pool - health_max, 0)[part], shield_max=shield_max[part],
            x=x[part], y=y[part], cooldown=(share * most)[part], energy=cooldown[part],
            types=tuple(types[part]),
        )  # fmt: skip

    allies, enemies = side(slice(0, battle.n)), side(slice(battle.n, None))
    return layout.Scene(
        facts=facts,
        options=Options(),
        terrain=layout.Terrain(np.ones((32, 32), bool), None, (SIZE, SIZE)),
        roster=units.roster(facts, allies.types, enemies.types, FIRST_TYPE),
        allies=allies,
        enemies=enemies,
        last_action=np.eye(seen.n_actions)[np.asarray(state.last_action)[:, b]]
        * (np.asarray(state.last_action)[:, b, None] >= 0),
        time=0.0,
    )


@pytest.mark.parametrize("name", ["2s3z", "1c3s5z", "MMM2", "bane_vs_bane", "2m_vs_1z", "corridor"])
def test_numbers_are_those_of_smac(name):
    """Random battles, some units dead, some at the edge, through both layouts."""
    seen, batch, rng = layout_of(name, obstacles=()), 16, np.random.default_rng(1)
    battle = seen.battle
    numbers = battle.units(None)
    shape = (battle.u, batch)
    spread = rng.uniform(2, 16, batch)  # crowds and wide fields
    x, y = (np.clip(16 + rng.uniform(-spread, spread, shape), 0, SIZE) for _ in range(2))
    share = rng.choice([0.0, 0.2, 0.5, 0.9, 1.0], shape) * rng.uniform(0.5, 1, shape)
    health = np.where(share > 0.99, 1, share) * numbers.health
    cooldown = rng.uniform(-0.2, 1.2, shape) * numbers.cooldown
    state = as_state(x, y, health, cooldown, rng.integers(-1, seen.n_actions, (battle.n, batch)))
    obs, avail, critic = looked_at(seen, state)
    assert np.any(avail[..., FIRST:]) and np.any(avail[..., NO_OP])
    healers = np.array([t.heals for t in battle.types])[:, None]
    energy = state.replace(
        cooldown=np.where(healers, np.clip(state.cooldown, 0, 200), state.cooldown)
    )
    for b in range(batch):
        scene = scene_of_smac(seen, energy, b)
        np.testing.assert_array_equal(avail[b], scene.avail)
        np.testing.assert_allclose(obs[b], layout.observations(scene), atol=1e-6)
        np.testing.assert_allclose(critic[b], layout.state(scene), atol=1e-6)


GOLDEN_MAPS = ("5m_vs_6m", "2s3z", "1c3s5z", "MMM2", "2c_vs_64zg", "3s5z_vs_3s6z")


@pytest.mark.parametrize("name", GOLDEN_MAPS)
def test_numbers_are_those_of_smacs_own_code(name, request):
    """Arrays that SMAC itself computed, but for what the terrain decides and for health and shields
    on Protoss sides: in them shields need not be lost first."""
    path = Path(request.config.getoption("--goldens") or GOLDENS) / "smac_features.npz"
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    data = np.load(path, allow_pickle=False)
    ids = {t.name: i for i, t in enumerate(JAXMARL)}
    allies, enemies = (
        tuple(ids[str(kind)] for kind in data[f"{name}.{side}_type_name"])
        for side in ("ally", "enemy")
    )
    seen = layout_of(name, allies=allies, enemies=enemies)
    facts, n = seen.facts, len(allies)
    rows = np.concatenate([data[f"{name}.ally"], data[f"{name}.enemy"]], axis=1)  # [T, U, 8]
    health, _, shield, _, x, y, weapon, energy = np.moveaxis(rows, -1, 0).swapaxes(1, 2)
    most = np.ones((seen.battle.u, 1))
    most[:n, 0] = data[f"{name}.ally_max_cooldown"]
    heals = seen.battle.healer[:, None]
    cooldown = np.where(heals, energy, weapon / most * seen.battle.units(None).cooldown)
    last = data[f"{name}.last_action"]
    last = np.where(last.any(-1), last.argmax(-1), -1).T
    state = as_state(x, y, np.where(health > 0, health + shield, 0), cooldown, last)
    obs, avail, critic = looked_at(seen, state)
    here = np.array([NO_OP, STOP, *range(FIRST, seen.n_actions)])
    np.testing.assert_array_equal(avail[..., here], data[f"{name}.avail"][..., here])
    theirs = data[f"{name}.obs"]
    parts = layout.obs_parts(facts, Options())
    begin = parts.move
    for (count, width), shielded in (
        (parts.enemy, facts.enemy_shield),
        (parts.ally, facts.ally_shield),
    ):
        end = begin + count * width
        a, b = (v[..., begin:end].reshape(*v.shape[:2], count, width) for v in (obs, theirs))
        compared = [k for k in range(width) if not (shielded and k in (4, 5))]
        np.testing.assert_allclose(a[..., compared], b[..., compared], atol=1e-6)
        begin = end
    skipped = 2 * facts.ally_shield
    np.testing.assert_allclose(
        obs[..., begin + skipped :], theirs[..., begin + skipped :], atol=1e-6
    )
    theirs, scale = data[f"{name}.state"], data[f"{name}.max_distance"] / SIZE
    bits, begin = facts.type_bits, 0
    for count, at, shielded in (
        (n, 2, facts.ally_shield), (seen.battle.m, 1, facts.enemy_shield),
    ):  # fmt: skip
        width = at + 2 + shielded + bits
        end = begin + count * width
        a, b = (v[..., begin:end].reshape(-1, count, width) for v in (critic, theirs.copy()))
        b[..., at : at + 2] *= scale
        compared = [k for k in range(width) if not (shielded and k in (0, at + 2))]
        np.testing.assert_allclose(a[..., compared], b[..., compared], atol=1e-6)
        begin = end
    np.testing.assert_array_equal(critic[:, begin:], theirs[:, begin:])


def test_shields_are_lost_first():
    seen = layout_of("2s3z")
    pool = np.tile([[160.0], [60.0], [120.0], [100.0], [0.0]], (2, 3))
    at = np.full((10, 3), 16.0)
    obs, _, _ = looked_at(seen, as_state(at, at, pool, at * 0, np.full((5, 3), -1)))
    own = obs[0, :, -4:]  # health, shield, stalker, zealot
    np.testing.assert_allclose(
        own,
        [[1, 1, 1, 0], [60 / 80, 0, 1, 0], [1, 20 / 50, 0, 1], [1, 0, 0, 1], [0, 0, 0, 0]],
        atol=1e-6,
    )
    # Of the enemies the zealot comes first.
    np.testing.assert_array_equal(obs[0, 0, 4 : 4 + 8][-2:], [0, 1])


def test_moves_end_at_the_edge_and_at_obstacles():
    """Obstacles stop walkers; on 2c_vs_64zg Colossi cross them."""
    x = np.array([[0.0, 14.9, 31.2], [16.0, 14.0, 15.4]])
    y = np.array([[16.0, 8.0, 31.5], [16.0, 8.0, 3.5]])

    def moves(name):
        seen = layout_of(name)
        others = np.full((seen.battle.u - 2, 3), 20.0)
        at = [np.concatenate([v, others]) for v in (x, y)]
        health = np.ones_like(at[0])
        state = as_state(*at, health, health * 0, np.full((seen.battle.n, 3), -1))
        return looked_at(seen, state)[1][:, :2, NORTH : WEST + 1].astype(int).tolist()

    corridor = moves("corridor")  # boxes x in [15.5, 16.5], y below 14 and above 18
    assert [agents[0] for agents in corridor] == [[1, 1, 1, 0], [1, 1, 0, 1], [0, 1, 0, 1]]
    assert [agents[1] for agents in corridor] == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 1]]
    assert moves("2c_vs_64zg")[1][0] == [1, 1, 1, 1]


# --- orders --------------------------------------------------------------------------------------

# Slots: 0 marauder, 1 and 2 marines, 3 medivac; the enemies' places 0 to 3 are the test's.
FACTS = MapFacts(4, 4, 50, "T", "T", 3, "MMM")
SMALL = Scenario((MEDIVAC, MARINE, MARAUDER, MARINE), (MARINE,) * 3 + (MEDIVAC,), 50)


@pytest.fixture(scope="module")
def small():
    """A task of 4 against 4, its compiled reset and step, and the start of 8 battles."""
    task = SmaxAsSmac("smax/small", SMALL, FACTS, reward="smac")
    reset, step = jax.jit(task.reset_batch), jax.jit(task.step_batch)
    keys = jax.random.split(KEY, 8)
    return task, lambda *args: jax.device_get(step(*args)), keys, *jax.device_get(reset(keys))


def test_agents_begin_sorted_by_type_x_and_y(small):
    task, _, _, state, ts = small
    assert task.battle.scenario.allies == (MARAUDER, MARINE, MARINE, MEDIVAC)
    assert np.all(state.x[1] <= state.x[2])
    assert np.any(state.y[1] > state.y[2])  # y goes with its x
    own = np.asarray(ts.obs)[:, :, -4:]  # health, marauder, marine, medivac
    np.testing.assert_array_equal(own[0], np.eye(4)[[0, 1, 1, 2]][:, [3, 0, 1, 2]] + [1, 0, 0, 0])
    actions = ts.state[:, -4 * task.spec.n_actions :]
    assert not np.any(actions)


def put(state, positions, **changes):
    """Everybody where the test wants them, in all battles."""
    x, y = (
        np.tile(np.array(v, np.float32)[:, None], state.x.shape[1])
        for v in zip(*positions, strict=True)
    )
    return state.replace(x=x, y=y, **changes)


def replaced(x, at, value):
    """A copy of an array with other values at an index."""
    x = np.array(x)
    x[at] = value
    return x


FAR = [(31, 2 + 3 * k) for k in range(4)]  # enemies where nobody sees anybody


def test_actions_are_smacs(small):
    """A battle per action of the first marine; nobody fights."""
    _, step, keys, state, _ = small
    state = put(state, [(4, 4), (8, 16), (4, 8), (4, 12), *FAR])
    order = np.full((8, 4), STOP)
    order[:, 1] = [NO_OP, STOP, NORTH, SOUTH, EAST, WEST, STOP, STOP]
    after, ts = step(keys, state, order)
    way = 3.15 / 2
    moved = [(0, 0), (0, 0), (0, way), (0, -way), (way, 0), (-way, 0), (0, 0), (0, 0)]
    np.testing.assert_allclose(after.x[1], 8 + np.array(moved)[:, 0], atol=1e-4)
    np.testing.assert_allclose(after.y[1], 16 + np.array(moved)[:, 1], atol=1e-4)
    last = np.asarray(ts.state)[:, -4 * 10 :].reshape(8, 4, 10)
    np.testing.assert_array_equal(last.argmax(-1), order)
    np.testing.assert_array_equal(last.sum(-1), 1)
    # The living may stop and move, but not do nothing.
    np.testing.assert_array_equal(ts.avail[0, 1], [0, 1, 1, 1, 1, 1, 0, 0, 0, 0])


def test_attacks_out_of_reach_walk_there(small):
    """A marine (range 5) 5.9 from its target walks until it reaches it, and shoots; the marauder
    (range 6) stands and shoots. A medivac (range 4) walks to its patient and heals it."""
    task, step, keys, state, _ = small
    enemies = [(13.9, 16), (31, 5), (31, 8), (31, 11)]
    state = put(state, [(8, 16), (8, 18), (8, 26), (8, 20.5), *enemies])
    state = state.replace(
        x=replaced(state.x, 1, 13.9 - 5.5),
        health=replaced(state.health, 2, 10.0),
        cooldown=replaced(state.cooldown, 4, 9.0),  # the enemy does not shoot back
    )
    order = np.array([[FIRST, FIRST, STOP, FIRST + 2]] * 8)
    seen, avail, _ = looked_at(task._layout, state)
    assert np.all(avail[:, [0, 1], FIRST]) and np.all(avail[:, 3, FIRST + 2])
    after, _ = step(keys, state, order)
    np.testing.assert_allclose(after.x[0], 8)
    distance = np.hypot(after.x[1] - after.x[4], after.y[1] - after.y[4])
    assert np.all(distance < 5) and np.all(after.x[1] > state.x[1])
    assert np.all(state.health[4] - after.health[4] >= 19)  # 10 and 9
    assert np.all(after.y[3] > 21.9) and np.all(after.health[2] > 10)
    assert np.all(seen[:, 0, 4] == 1)


def test_nobody_walks_to_the_dead(small):
    _, step, keys, state, _ = small
    state = put(state, [(8, 16), (8, 20), (8, 26), (8, 30), (13.9, 16), *FAR[:3]])
    state = state.replace(health=replaced(state.health, [0, 4], 0.0))
    after, ts = step(keys, state, np.array([[NO_OP, FIRST, STOP, FIRST]] * 8))
    np.testing.assert_allclose(after.x[:4], state.x[:4])
    np.testing.assert_allclose(after.y[:4], state.y[:4])
    np.testing.assert_array_equal(ts.avail[:, 0], np.eye(10, dtype=bool)[[NO_OP] * 8])
    assert not np.any(ts.obs[:, 0])


def test_the_edge_stops(small):
    task, step, keys, state, _ = small
    state = put(state, [(0.5, 16), (16, 31.8), (8, 3), (8, 8), *FAR])
    after, ts = step(keys, state, np.array([[WEST, NORTH, STOP, STOP]] * 8))
    np.testing.assert_allclose((after.x[0], after.y[1]), [[0] * 8, [SIZE] * 8], atol=1e-5)
    assert np.all(ts.alive)
    assert task.spec.max_return is None  # what a medivac heals can be shot away again


def test_frames_take_smacs_actions(small):
    task, _, _, state, _ = small
    state = put(state, [(4, 4), (8, 16), (4, 8), (4, 12), *FAR])
    alone = jax.tree.map(lambda v: v[..., 0], state)
    frames = task.frames(KEY, alone, np.array([STOP, EAST, STOP, STOP]))
    np.testing.assert_allclose(np.asarray(frames.position)[-1, 1], [8 + 3.15 / 2, 16], atol=1e-4)


# --- options -------------------------------------------------------------------------------------


def test_the_option_is_in_the_name_and_off_by_default():
    task = make_task("smax/2s3z:layout=smac,reward=smac")
    assert task.spec.name == "smax/2s3z:reward=smac,layout=smac"
    assert make_task("smax/2s3z:layout=smax").spec == make_task("smax/2s3z").spec
    assert not make_task("smax/2s3z").spec.state_has_actions


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smax/smacv2_5_units:layout=smac", "random units"),
        ("smax/4m_vs_3m:layout=smac", "SMAC has no map of that name"),
        ("smax/2s3z:layout=smac,backend=jaxmarl", "own stats, reward, layout"),
        ("smax/2s3z:layout=smacv2", "did you mean smac"),
    ],
)
def test_maps_without_smacs_layout(name, message):
    with pytest.raises(UserError, match=message):
        make_task(name)


def test_a_map_of_your_own_has_no_smac_layout():
    maps.register_scenario("2m_vs_2z", Scenario((MARINE,) * 2, (ZEALOT,) * 2, 90))
    try:
        with pytest.raises(UserError, match="SMAC has no map of that name"):
            make_task("smax/2m_vs_2z", layout="smac")
    finally:
        del SCENARIOS["2m_vs_2z"]
