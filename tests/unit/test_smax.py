"""The SMAX simulation where JaxMARL cannot be asked: new units, rewards, obstacles, frames."""

import itertools
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.core import bits
from lica_jax.envs import make_task
from lica_jax.envs.smax import fight, simulation
from lica_jax.envs.smax import scenarios as maps
from lica_jax.envs.smax.battle import ALLIES, DT, ENEMIES, STOP, Battle
from lica_jax.envs.smax.heuristic import heuristic, initial_memory
from lica_jax.envs.smax.native import Smax
from lica_jax.envs.smax.observe import observe
from lica_jax.envs.smax.scenarios import SCENARIOS, Scenario
from lica_jax.envs.smax.spawn import random_types, start
from lica_jax.envs.smax.units import (
    BANELING,
    COLOSSUS,
    MARAUDER,
    MARINE,
    MEDIVAC,
    SC2,
    STALKER,
    ZEALOT,
    ZERGLING,
    damage,
)
from lica_jax.errors import UserError
from lica_jax.training.rollout import select_env, step_batch, step_or_reset

KEY = jax.random.key(0)
KEYS = KEY[None]
GOLDENS = Path(__file__).parents[1] / "reference" / "goldens"


# One program for all tests of the same battle, which is static.
begin = jax.jit(start, static_argnums=0)


@partial(jax.jit, static_argnums=0)
def compiled_tick(battle, state, attack):
    aim, _ = fight.aims(battle, state, attack)
    now = state.replace(attack=attack)
    return simulation.tick(battle, battle.units(None), aim, now, bits.as_key(KEYS))


@partial(jax.jit, static_argnums=0)
def compiled_script(battle, state):
    key = bits.as_key(KEYS)
    return heuristic(battle, battle.units(None), state, state.enemy, key, ENEMIES)[0]


@partial(jax.jit, static_argnums=(0, 3))
def compiled_reward(battle, before, after, kind):
    return simulation.reward(battle, battle.units(None), before, after, kind)


def scene(allies, enemies, positions, **changes):
    """A task and a batch of one battle with units where the test wants them."""
    scenario = Scenario(allies, enemies, limit=50, source="extended", **changes)
    task = Smax("smax/test", scenario)
    x, y = np.array(positions, np.float32).T[..., None]
    return task, jax.device_get(begin(task.battle, KEYS)).replace(x=x, y=y)


def replaced(x, at, value):
    """A copy of an array with another value at an index."""
    x = np.array(x)
    x[at] = value
    return x


def stay(n):
    """Orders ``[1, n]`` to stop."""
    return np.full((1, n), STOP)


def one_tick(task, state, actions):
    """Health lost by every unit, and the state, after one tick of these orders of both teams."""
    attack = np.array(actions, np.int32)[:, None]
    attack = np.where(attack > STOP, attack, 0)
    after = jax.device_get(compiled_tick(task.battle, state, attack))
    return np.asarray(state.health - after.health)[:, 0], after


# --- splash --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dx", "dy", "hit"),
    [
        (0.0, 0.8, [1, 1, 1, 1, 1]),  # 1.6 from the middle: 0.2 outside the line, radius 0.375
        (0.0, 0.9, [0, 1, 1, 1, 0]),  # 1.8: 0.4 outside
        (0.8, 0.0, [0, 0, 1, 0, 0]),  # along the shot: 0.65 outside
        (0.5, 0.0, [0, 1, 1, 1, 0]),  # 0.35 outside
    ],
)
def test_a_colossus_hits_a_line_across_its_shot(dx, dy, hit):
    row = [(10 + k * dx, 16 + k * dy) for k in range(-2, 3)]
    task, state = scene((COLOSSUS,), (ZERGLING,) * 5, [(5, 16), *row])
    lost, _ = one_tick(task, state, [5 + 2, *[STOP] * 5])
    np.testing.assert_allclose(lost[1:], 30.0 * np.array(hit))  # 2 x (10 + 5 against light)
    assert lost[0] == 0


def test_the_line_turns_with_the_shot():
    row = [(10 + 0.8 * k, 10 - 0.8 * k) for k in range(-2, 3)]  # across a diagonal shot
    task, state = scene((COLOSSUS,), (ZERGLING,) * 5, [(6, 6), *row])
    lost, _ = one_tick(task, state, [5 + 2, *[STOP] * 5])
    np.testing.assert_allclose(lost[1:], 30.0 * np.array([0, 1, 1, 1, 0]))  # 1.13 and 2.26


def test_splash_spares_friends_the_dead_and_the_air_and_needs_no_direction():
    at = (10, 16)
    task, state = scene((COLOSSUS, ZERGLING), (*(ZERGLING,) * 3, MEDIVAC), [at] * 6)
    state = state.replace(health=replaced(state.health, 4, 0.0))
    lost, after = one_tick(task, state, [5, *[STOP] * 5])
    np.testing.assert_allclose(lost, [0, 0, 30, 30, 0, 0])
    assert np.all(np.isfinite(after.x))


def test_a_baneling_hits_all_around_itself_and_dies():
    """Everything whose disc (radius 0.5) meets the circle of 2.2 around it."""
    positions = [(10.5, 16), (12.69, 16), (12.71, 16), (10, 13.31), (10, 16)]
    task, state = scene((ZEALOT,) * 4, (BANELING,), positions)
    # Enemies count their targets downwards: action 5 is the last ally, 8 the first.
    lost, _ = one_tick(task, state, [STOP] * 4 + [5 + 3])
    np.testing.assert_allclose(lost, [35, 35, 0, 35, 30])  # 20 + 15 against light
    lost, _ = one_tick(task, state, [STOP] * 4 + [5])  # out of reach: nothing happens
    assert not lost.any()


# --- healing -------------------------------------------------------------------------------------


def heal_scene(health, energy=50.0, away=1.0):
    task, state = scene((MEDIVAC, MARAUDER), (MARINE,), [(8, 16), (8 + away, 16), (30, 16)])
    return task, state.replace(
        health=replaced(state.health, 1, health), cooldown=replaced(state.cooldown, 0, energy)
    )


def heal_for_a_tick(task, state):
    _, after = one_tick(task, state, [5 + 1, STOP, STOP])
    return float(after.health[1, 0]), float(after.cooldown[0, 0])


def test_a_tick_of_healing():
    health, energy = heal_for_a_tick(*heal_scene(60.0))
    assert health == pytest.approx(60 + 12.6 / 16, abs=1e-5)
    assert energy == pytest.approx(50 - 12.6 / 16 / 3 + 0.7875 / 16, abs=1e-5)


def test_healing_stops_at_full_health_and_spares_energy():
    health, energy = heal_for_a_tick(*heal_scene(124.9))
    assert health == pytest.approx(125.0, abs=1e-5)
    assert energy == pytest.approx(50 - 0.1 / 3 + 0.7875 / 16, abs=1e-4)


@pytest.mark.parametrize(
    ("health", "energy", "away", "why"),
    [
        (0.0, 50.0, 1.0, "the dead stay dead"),
        (60.0, 4.9, 1.0, "starting takes 5 energy"),
        (60.0, 50.0, 4.1, "out of range"),
    ],
)
def test_no_healing(health, energy, away, why):
    after, left = heal_for_a_tick(*heal_scene(health, energy, away))
    assert after == health, why
    assert left == pytest.approx(energy + 0.7875 / 16, abs=1e-4)


def test_repeating_a_refused_order_does_not_start_healing():
    """Below 5 energy nothing starts, however often it is asked for; what goes on needs no 5."""
    task, state = heal_scene(60.0, energy=1.0)
    still = np.array([[5 + 1, STOP]])
    step = jax.jit(task.step_batch)
    for _ in range(3):
        state, _ = step(KEYS, state, still)
    assert float(state.health[1, 0]) == 60.0
    state = state.replace(cooldown=replaced(state.cooldown, 0, 5.0))
    for _ in range(6):
        state, _ = step(KEYS, state, still)
    # 3 seconds: all energy, and what came back meanwhile.
    assert float(state.health[1, 0]) == pytest.approx(60 + 3 * (5 + 3 * 0.7875), abs=0.2)


def test_energy_bounds_what_can_be_healed():
    """50 energy are 150 health, and 3 for each that comes back meanwhile; going on needs no 5."""
    task, state = heal_scene(1.0)
    units, battle = task.battle.units(None), task.battle
    attack = jnp.array([[6], [0], [0]], jnp.int32)

    def step(state, _):
        # Damage keeps the patient low.
        before = state.replace(health=state.health.at[1].set(10.0), attack=attack)
        aim, _ = fight.aims(battle, before, attack)
        after = simulation.tick(battle, units, aim, before, bits.as_key(KEYS))
        return after, (after.health[1, 0] - 10, after.cooldown[0, 0])

    ticks = 16 * 20
    _, (healed, energy) = jax.lax.scan(step, state, None, length=ticks)
    healed, energy = np.asarray(healed), np.asarray(energy)
    at = int(np.argmax(energy < 0.3))
    assert 0 < at < ticks
    expected = 3 * (50 - energy[at] + 0.7875 / 16 * (at + 1))
    assert healed[: at + 1].sum() == pytest.approx(expected, rel=1e-3)
    # From then on it trickles at the rate at which energy comes back.
    assert healed[at + 16 :].mean() == pytest.approx(3 * 0.7875 / 16, rel=0.05)
    assert energy.min() >= 0


def test_two_healers_on_one_patient_do_not_add_up():
    task, state = scene(
        (MEDIVAC, MEDIVAC, MARAUDER), (MARINE,), [(8, 16), (10, 18), (9, 16), (30, 16)]
    )
    state = state.replace(health=replaced(state.health, 2, 60.0))
    lost, after = one_tick(task, state, [5 + 2, 5 + 2, STOP, STOP])
    assert lost[2] == pytest.approx(-12.6 / 16, abs=1e-5)
    np.testing.assert_allclose(
        after.cooldown[:2, 0], [50 - 0.2625 + 0.7875 / 16, 50 + 0.7875 / 16], atol=1e-4
    )


def scripted(task, state):
    """What the scripted enemies do in this state."""
    return np.asarray(compiled_script(task.battle, state))[:, 0]


def test_the_scripted_medivac_heals_the_lowest_and_follows_the_fighters():
    """Two hurt team-mates within 9, the farther one out of its range of 4; and nobody hurt."""
    at = [(2, 2), (24, 16), (26, 16), (24, 22)]
    task, state = scene((MARINE,), (MEDIVAC, MARINE, MARAUDER), at)
    hurt = state.replace(health=replaced(state.health, [2, 3], [[40.0], [60.0]]))
    assert scripted(task, hurt)[0] == 5 + 1
    after = jax.device_get(jax.jit(task.step_batch)(KEYS, hurt, stay(1))[0])
    assert 40.5 < float(after.health[2, 0]) <= 45.0
    assert float(after.health[3, 0]) == 60.0
    alone = jax.tree.map(lambda x: x[..., 0], hurt)
    frames = task.frames(KEY, alone, np.array([STOP]))
    assert np.asarray(frames.target)[0, 1] == 2
    assert np.asarray(frames.healing)[0].tolist() == [False, True, False, False]
    hurt = state.replace(health=replaced(state.health, 3, 30.0))
    assert scripted(task, hurt)[0] == 0  # northwards, to the marauder
    assert scripted(task, state)[0] == STOP  # within 3 of the marine
    far = state.replace(x=replaced(state.x, [2, 3], 30.0))
    assert scripted(task, far)[0] == 1  # eastwards


def test_a_scripted_unit_shoots_at_what_it_can_hit():
    """A marauder with a medivac in front of it shoots at the marine behind."""
    task, state = scene((MEDIVAC, MARINE), (MARAUDER,), [(15, 16), (12, 16), (17, 16)])
    assert scripted(task, state)[0] == 5  # downwards: the last ally comes first


# --- who may do what -----------------------------------------------------------------------------


def test_masks_of_healers_and_of_units_that_cannot_shoot_up():
    task, state = scene(
        (MEDIVAC, MARAUDER, MARINE), (MEDIVAC, MARINE),
        [(8, 16), (9, 16), (10, 16), (11, 16), (11, 17)],
    )  # fmt: skip
    look = jax.jit(lambda state: observe(task.battle, task.battle.units(None), state))
    _, avail = look(state)
    assert avail.shape == (1, 3, 5 + 3)  # a slot per ally: there are more of them than of enemies
    targets = np.asarray(avail)[0, :, 5:]
    np.testing.assert_array_equal(targets, [[0, 1, 1], [0, 1, 0], [1, 1, 0]])


def test_a_marauders_shot_at_a_medivac_does_nothing():
    task, state = scene((MARAUDER,), (MEDIVAC, MARINE), [(8, 16), (10, 16), (30, 16)])
    lost, after = one_tick(task, state, [5, STOP, STOP])
    assert not lost.any()
    assert float(after.cooldown[0, 0]) < 0  # it did not even try


def test_a_team_of_healers_alone_has_lost():
    task, state = scene((MARINE,), (MEDIVAC, MARINE), [(8, 16), (10, 16), (30, 16)])
    state = state.replace(health=replaced(state.health, 2, 0.0))
    ts = jax.device_get(jax.jit(task.step_batch)(KEYS, state, stay(1))[1])
    assert bool(ts.info["won"][0])
    assert bool(ts.terminated[0])


def test_layers_do_not_push_each_other():
    same = [(8.0, 16.0), (8.1, 16.0), (8.2, 16.0), (30, 16)]
    task, state = scene((COLOSSUS, MEDIVAC, MARINE), (MARINE,), same)
    _, after = one_tick(task, state, [STOP] * 4)
    np.testing.assert_allclose(after.x[:3, 0], [8.0, 8.1, 8.2], atol=1e-6)
    task, state = scene((MARINE, MARINE), (MARINE,), [(8.0, 16.0), (8.1, 16.0), (30, 16)])
    _, after = one_tick(task, state, [STOP] * 3)
    assert float(after.x[0, 0]) < 8.0 < 8.1 < float(after.x[1, 0])


def test_nobody_is_pushed_further_than_its_radius():
    crowd = [(8 + 0.001 * i, 16) for i in range(12)]
    task, state = scene((ZERGLING,) * 12, (BANELING,), [*crowd, (30, 16)])
    _, after = one_tick(task, state, [STOP] * 13)
    moved = np.hypot(after.x - state.x, after.y - state.y)[:12, 0]
    assert moved.max() <= 0.375 + 1e-5
    assert moved.max() > 0.3


# --- obstacles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("deadly", [False, True])
def test_obstacles_stop_walkers_only(deadly):
    box = ((15.5, 4.0, 16.5, 28.0),)
    task, state = scene(
        (COLOSSUS, ZERGLING, MEDIVAC), (MARINE,), [(14, 16), (14, 10), (14, 22), (30, 30)],
        obstacles=box, deadly_walls=deadly,
    )  # fmt: skip
    east, step = np.array([[1, 1, 1]]), jax.jit(task.step_batch)
    for _ in range(4):
        state, _ = step(KEYS, state, east)
    x = np.asarray(state.x)[:3, 0]
    assert x[0] > 16.5
    assert x[2] > 16.5
    assert x[1] == pytest.approx(15.5 - 0.375, abs=1e-4)


def test_scripted_walkers_find_their_way_round():
    """Zerglings on the far side of the cliff reach the Colossi's start, and never stand in it."""
    task = make_task("smax/2c_vs_64zg")
    state = jax.device_get(begin(task.battle, jax.random.split(KEY, 2)))
    # The Colossi are out of reach, so that nothing but the way matters.
    far = state.replace(x=replaced(state.x, [0, 1], 1.0), y=replaced(state.y, [0, 1], 31.0))

    def step(state, key):
        keys = jax.random.split(key, 2)
        state, _ = task.step_batch(keys, state, jnp.full((2, 2), STOP))
        state = state.replace(health=state.health.at[:2].set(350.0))
        (x0, y0, x1, y1), r = task.battle.scenario.obstacles[0], 0.375
        dx = state.x - jnp.clip(state.x, x0, x1)
        dy = state.y - jnp.clip(state.y, y0, y1)
        inside = (jnp.hypot(dx, dy) < r - 1e-4)[2:] & state.alive[2:]
        return state, jnp.any(inside)

    state, inside = jax.jit(lambda s, k: jax.lax.scan(step, s, jax.random.split(k, 60)))(far, KEY)
    assert not np.any(inside)
    assert np.mean(np.asarray(state.x)[2:] < 15.5) > 0.95


# --- whole battles -------------------------------------------------------------------------------


def random_battles(name, envs, steps, **options):
    """Legal random play with resets; states and time steps ``[T, ...]``."""
    task = make_task(name, **options)

    def step(carry, key):
        state, ts = carry
        act_key, step_key, reset_key = jax.random.split(key, 3)
        noise = jax.random.uniform(act_key, ts.avail.shape)
        # Attacks twice as likely, so that battles happen.
        action = jnp.argmax(jnp.where(ts.avail, noise + (jnp.arange(noise.shape[-1]) > 4), -1), -1)
        over = ts.terminated | ts.truncated
        after = step_or_reset(task, step_key, reset_key, over, state, action)
        return after, (after, over)

    @jax.jit
    def run(key):
        start = task.reset_batch(jax.random.split(key, envs))
        return start, jax.lax.scan(step, start, jax.random.split(key, steps))[1]

    return task, *run(KEY)


QUICK = ("smax/MMM2", "smax/smacv2_5_units")
OTHERS = [f"smax/{n}" for n in SCENARIOS if f"smax/{n}" not in QUICK]


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)]
)
def test_invariants_under_random_play(name):
    """2000 steps: health in [0, max], energy in [0, 200], the dead neither move nor come back, all
    inside the map."""
    envs = 4
    task, (first, _), ((states, ts), over) = random_battles(name, envs, 500)
    battle = task.battle
    states = jax.tree.map(lambda a, b: np.concatenate([a[None], b]), first, states)
    over = np.asarray(over)[:, None]
    units = battle.units(
        None if states.kind is None else jnp.asarray(states.kind).reshape(-1, envs)
    )
    full = 160.0 if battle.scenario.random else np.asarray(units.health)
    for v in (states.x, states.y, states.health, states.cooldown):
        assert np.all(np.isfinite(v))
    assert np.all((states.health >= 0) & (states.health <= full))
    if not battle.scenario.random:
        healer = np.array([t.heals for t in battle.types])
        energy = states.cooldown[:, healer]
        assert np.all((energy >= 0) & (energy <= 200))
    alive = states.health > 0
    going_on = ~over
    assert not np.any(alive[1:] & ~alive[:-1] & going_on), "somebody came back"
    still = ~alive[:-1] & going_on
    for v in (states.x, states.y):
        assert not np.any((np.diff(v, axis=0) != 0) & still), "a dead unit moved"
    assert not np.any((np.diff(states.health, axis=0) != 0) & still)
    # A push may leave a unit less than its own size outside until the next tick kills it, and
    # JaxMARL's random positions lie up to 2 outside.
    outside = 3 if battle.scenario.random else 1.5 if battle.scenario.deadly_walls else 0
    for v in (states.x, states.y):
        assert np.all((v >= -outside) & (v <= 32 + outside))
    assert over.sum() >= 2, "no battle ended"
    assert np.all(np.asarray(ts.reward) >= 0)


@pytest.mark.parametrize(
    "name",
    ["smax/2s3z", pytest.param("smax/MMM", marks=pytest.mark.slow),
     pytest.param("smax/1c3s5z", marks=pytest.mark.slow),
     pytest.param("smax/bane_vs_bane", marks=pytest.mark.slow)],
)  # fmt: skip
def test_mirror_matches_are_even(name):
    """The scripted policy against itself: half of 512 battles, give or take 4 standard errors."""
    envs = 512
    task = make_task(name)
    battle, units = task.battle, task.battle.units(None)

    def step(carry, key):
        (state, ts), memory = carry
        act_key, step_key = jax.random.split(key)
        keys = bits.as_key(jax.random.split(act_key, envs))
        action, memory = heuristic(battle, units, state, memory, keys, ALLIES)
        after = step_batch(task, step_key, state, action.T)
        over = ts.terminated | ts.truncated
        return (select_env(task, over, (state, ts), after), memory), None

    @jax.jit
    def run(key):
        start = task.reset_batch(jax.random.split(key, envs)), initial_memory(battle.n, (envs,))
        keys = jax.random.split(key, task.spec.episode_limit)
        return jax.lax.scan(step, start, keys)[0][0][1]

    ts = jax.device_get(run(KEY))
    assert np.all(ts.terminated | ts.truncated)
    assert float(np.mean(ts.info["won"])) == pytest.approx(0.5, abs=4 * 0.5 / envs**0.5)


def test_step_or_reset_is_a_step_or_a_reset():
    """Whoever is over: new battles are made in groups of 8."""
    task, envs = make_task("smax/4m_vs_3m"), 37
    keys, other = jax.random.split(KEY, envs), jax.random.split(jax.random.key(1), envs)
    state, ts = jax.device_get(jax.jit(task.reset_batch)(keys))
    action = ts.avail.argmax(axis=-1)
    share = np.array([0.0, 0.03, 0.3, 0.9, 1.0])
    over = np.random.default_rng(0).random(envs) < share[:, None]
    assert len(set(over.sum(1).tolist())) == 5

    def both(over):
        stepped = task.step_batch(other, state, action)
        mine = task.step_or_reset_batch(other, keys, over, state, action)
        return mine, select_env(task, over, task.reset_batch(keys), stepped)

    mine, expected = jax.jit(jax.vmap(both))(over)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), mine, expected)


# --- rewards, stats, maps ------------------------------------------------------------------------


def after_damage(reward, lost):
    """Reward of a step in which two marines lost that much health (one of them had 10 left)."""
    battle = Battle(Scenario((MARINE,), (MARINE, MARINE), 10))
    before = jax.device_get(begin(battle, KEYS))
    before = before.replace(health=replaced(before.health, 2, 10.0))
    left = before.health[1:, 0] - np.float32(lost)
    after = before.replace(health=replaced(before.health, (slice(1, None), 0), left))
    return float(compiled_reward(battle, before, after, reward)[0])


def test_rewards():
    assert after_damage("smax", [9.0, 0.0]) == pytest.approx(9 / 45 / 2)
    assert after_damage("smax", [9.0, 10.0]) == pytest.approx(19 / 45 / 2)
    assert after_damage("smax", [45.0, 10.0]) == pytest.approx(55 / 45 / 2 + 1)
    most = 2 * 45 + 2 * 10 + 200
    assert after_damage("smac", [9.0, 0.0]) == pytest.approx(20 * 9 / most)
    assert after_damage("smac", [9.0, 10.0]) == pytest.approx(20 * (19 + 10) / most)
    assert after_damage("smac", [45.0, 10.0]) == pytest.approx(20 * (55 + 20 + 200) / most)
    # What a healer gives back costs nothing and pays nothing.
    assert after_damage("smax", [-5.0, 0.0]) == after_damage("smac", [-5.0, 0.0]) == 0


def test_a_won_battle_of_smac_reward_returns_20():
    task, _, ((_, ts), _) = random_battles("smax/2m_vs_1z", 8, 400, reward="smac")
    assert task.spec.max_return == 20
    reward, won = np.asarray(ts.reward), np.asarray(ts.info["won"])
    first = np.asarray(ts.first)
    for env in range(8):
        starts = np.flatnonzero(first[:, env])
        for a, b in itertools.pairwise(starts):
            if won[b - 1, env]:
                assert reward[a:b, env].sum() == pytest.approx(20.0, rel=1e-4)
                return
    pytest.fail("no battle was won")


def test_sc2_damage():
    marine, marauder, stalker, zealot = (SC2[i] for i in (MARINE, MARAUDER, STALKER, ZEALOT))
    zergling, colossus = SC2[ZERGLING], SC2[COLOSSUS]
    assert damage(marine, zergling) == 6
    assert damage(marine, zealot) == 5  # armour 1
    assert damage(zealot, marauder) == 2 * (8 - 1)
    assert damage(marauder, stalker) == 10 + 10 - 1
    assert damage(stalker, marauder) == 13 + 5 - 1
    assert damage(colossus, zealot) == 2 * (10 + 5 - 1)
    assert damage(zergling, colossus) == 4


@pytest.mark.parametrize(("stats", "expected"), [("jaxmarl", 9.0), ("sc2", 6.0)])
def test_stats_reach_the_simulation(stats, expected):
    task = make_task("smax/4m_vs_3m", stats=stats)
    assert task.spec.name == "smax/4m_vs_3m" + (":stats=sc2" if stats == "sc2" else "")
    state = jax.device_get(begin(task.battle, KEYS))
    state = state.replace(x=state.x * 0 + 16, y=np.arange(8, 15, dtype=np.float32)[:, None])
    lost, _ = one_tick(task, state, [STOP] * 3 + [5] + [STOP] * 3)
    np.testing.assert_allclose(lost, [0, 0, 0, 0, expected, 0, 0])


def test_types_do_not_depend_on_jaxs_default():
    """Under jax_enable_x64 a step returns what a reset returns, or no scan would take it."""
    for name in ("smax/smacv2_5_units", "smax/MMM2"):
        with jax.enable_x64(True):
            task = make_task(name)
            keys = jax.random.split(KEY, 3)
            start = jax.eval_shape(task.reset_batch, keys)
            action = jnp.zeros((3, task.spec.n_agents), jnp.int32)
            after = jax.eval_shape(task.step_batch, keys, start[0], action)
        assert [x.dtype for x in jax.tree.leaves(start)] == [
            x.dtype for x in jax.tree.leaves(after)
        ]


def test_every_map_of_smac_is_here():
    registry = json.loads((GOLDENS / "smac_map_registry.json").read_text())
    assert len(registry) == 23
    for name, facts in registry.items():
        s = SCENARIOS[name]
        assert (len(s.allies), len(s.enemies), s.limit) == (
            facts["n_agents"], facts["n_enemies"], facts["limit"],
        ), name  # fmt: skip


@pytest.mark.parametrize(
    ("name", "obs", "actions"),
    [("1c3s5z", 177, 14), ("2c_vs_64zg", 591, 69), ("MMM2", 217, 17), ("2s3z", 127, 10)],
)
def test_sizes(name, obs, actions):
    spec = make_task(f"smax/{name}").spec
    assert (spec.obs_size, spec.n_actions) == (obs, actions)


MARINES = (MARINE,) * 3


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (Scenario((), MARINES, 60), "there are no allies"),
        (Scenario(MARINES, (), 60), "there are no enemies"),
        (Scenario(MARINES, (99,), 60), "unit type 99"),
        (Scenario((MEDIVAC,), MARINES, 60), "nobody can fight"),
        (Scenario(MARINES, MARINES, 60, source="mine"), "source must be one of"),
        (Scenario(MARINES, MARINES, 60, obstacles=((1, 2, 3),)), "not a box"),
        (Scenario(MARINES, MARINES, 0), "limit must be at least 1"),
        (Scenario(MARINES, MARINES, 60, n_actions=7), "at least 8 actions"),
        (Scenario((MEDIVAC, *MARINES), MARINES, 60, n_actions=8), "at least 9 actions"),
        (Scenario(MARINES, MARINES, 60, obstacles=((15, 4, 16, 40),)), "inside the map"),
        (Scenario(MARINES, MARINES, 60, obstacles=((16, 4, 15, 20),)), "inside the map"),
        (Scenario(MARINES, MARINES, 60, obstacles=((10, 10, 12, 20),)), "team's start"),
        (Scenario((COLOSSUS,), MARINES, 60, random=True), "six types"),
        (Scenario(MARINES, MARINES, 60, random=True, obstacles=((15, 4, 16, 5),)), "obstacles"),
    ],
)
def test_scenarios_that_make_no_sense(scenario, message):
    with pytest.raises(UserError, match=message):
        maps.register_scenario("nonsense", scenario)
    assert "nonsense" not in SCENARIOS


def test_scenarios_take_lists_and_arrays_of_whole_numbers():
    listed = Scenario([MARINE] * 3, np.array([MARINE] * 3, np.uint8), np.int64(60))
    assert listed == Scenario(MARINES, MARINES, 60)
    for units, limit in (((0.5,), 60), (MARINES, "60"), (MARINES, 60.5), (7, 60)):
        with pytest.raises(UserError, match="takes unit type ids"):
            Scenario(units, MARINES, limit)


def test_a_map_of_your_own():
    maps.register_scenario("1c_vs_8z", Scenario((COLOSSUS,), (ZERGLING,) * 8, 90, n_actions=20))
    try:
        task = make_task("smax/1c_vs_8z")
        _, ts = task.reset(KEY)
        assert ts.avail.shape == (1, 20)
        assert not np.any(ts.avail[:, 13:])
        with pytest.raises(UserError, match="exists already"):
            maps.register_scenario("1c_vs_8z", Scenario((MARINE,), (MARINE,), 9))
        with pytest.raises(UserError, match="cannot be the name"):
            maps.register_scenario("a/b", Scenario((MARINE,), (MARINE,), 9))
    finally:
        del SCENARIOS["1c_vs_8z"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smax/MMM3", "did you mean smax/MMM"),
        ("smax/2s3z:backend=jaxmrl", "did you mean jaxmarl"),
        ("smax/2s3z:backnd=jaxmarl", "did you mean backend"),
        ("smax/2s3z:jaxmarl", "written as"),
        ("smax/MMM2:backend=jaxmarl", "JaxMARL cannot play"),
        ("smax/2s3z:backend=jaxmarl,stats=sc2", "own stats, reward"),
        ("smax/2s3z:backend=jaxmarl,rng=fast", "layout and rng only"),
        ("smax/2s3z:rng=quick", "unknown value of option rng"),
        ("smax/smacv2_5_units:stats=sc2", "fixed units"),
        ("smax/2s3z:stats=4.10", "unknown value of option stats"),
    ],
)
def test_bad_names_and_options(name, message):
    with pytest.raises(UserError, match=message):
        make_task(name)


def test_options_are_in_the_name():
    assert make_task("smax/3m:backend=native").spec.name == "smax/3m"
    assert make_task("smax/3m", reward="smac").spec.name == "smax/3m:reward=smac"
    assert make_task("smax/3m:backend=jaxmarl").spec.name == "smax/3m:backend=jaxmarl"


@pytest.mark.parametrize("rng", ["jaxmarl", "fast"])
def test_every_unit_draws_its_own_number(rng):
    battle, keys = make_task("smax/3m", rng=rng).battle, jax.random.split(KEY, 20_000)
    draw = jax.jit(lambda keys: battle.draw(bits.as_key(keys), battle.u, -DT, 2 * DT))
    drawn = np.asarray(draw(keys), float)
    assert drawn.shape == (6, 20_000)
    assert -DT <= drawn.min() < -0.99 * DT and 1.99 * DT < drawn.max() < 2 * DT
    np.testing.assert_allclose(drawn.mean(axis=1), DT / 2, atol=5 * 3 * DT / np.sqrt(12 * 20_000))
    between = np.corrcoef(drawn) - np.eye(6)
    assert np.abs(between).max() < 5 / np.sqrt(20_000)


def battles(name, keys):
    """Of battles of a fixed policy: who won, return, length; ``[B]`` each."""
    task, count = make_task(name), keys.shape[0]

    def step(carry, key):
        state, avail, over, won, total, length = carry
        shots = avail[..., STOP + 1 :]
        target = jnp.argmax(shots, axis=-1) + STOP + 1
        action = jnp.where(jnp.any(shots, axis=-1), target, 1)  # attack, or go east
        state, ts = task.step_batch(jax.random.split(key, count), state, action)
        total, length = total + jnp.where(over, 0, ts.reward), length + ~over
        won = won | (ts.info["won"] & ~over)
        return (state, ts.avail, over | ts.terminated | ts.truncated, won, total, length), None

    @jax.jit
    def play():
        state, ts = task.reset_batch(keys)
        no = jnp.zeros(count, bool)
        start = (state, ts.avail, no, no, jnp.zeros(count), jnp.zeros(count, int))
        last, _ = jax.lax.scan(step, start, jax.random.split(KEY, task.spec.episode_limit))
        return last[3:]

    return [np.asarray(x, float) for x in play()]


def test_fast_random_numbers_make_the_same_game():
    """rng=fast: same starts, other jitter and other enemies' choices, the same chances."""
    keys = jax.random.split(jax.random.key(5), 4096)
    theirs, ours = battles("smax/3m", keys), battles("smax/3m:rng=fast", keys)
    assert 0.05 < theirs[0].mean() < 0.95  # chance has its say
    for a, b in zip(theirs, ours, strict=True):
        assert np.any(a != b)
        assert abs(a.mean() - b.mean()) < 4 * np.sqrt((a.var() + b.var()) / len(a))


@pytest.mark.parametrize("layout", ["smax", "smac"])
def test_fast_random_numbers_leave_the_start_alone(layout):
    plain, fast = (make_task("smax/3m", layout=layout, rng=rng) for rng in ("jaxmarl", "fast"))
    assert fast.spec.name.endswith("rng=fast") and "rng" not in plain.spec.name
    (a, _), (b, _) = plain.reset(KEY), fast.reset(KEY)
    np.testing.assert_array_equal(a.x, b.x)
    assert fast.battle.quick_draws and not plain.battle.quick_draws


# --- frames --------------------------------------------------------------------------------------


def test_frames_are_the_ticks_of_the_step():
    task = make_task("smax/MMM2")
    state, ts = jax.device_get(task.reset(KEY))
    action = ts.avail.argmax(axis=-1)
    frames, (after, _) = jax.device_get(
        (task.frames(KEY, state, action), task.step(KEY, state, action))
    )
    scene = task.scene
    assert frames.position.shape == (8, 22, 2)
    np.testing.assert_allclose(frames.position[-1, :, 0], after.x, atol=1e-5)
    np.testing.assert_allclose(frames.position[-1, :, 1], after.y, atol=1e-5)
    full = np.asarray(task.battle.units(None).health)[:, 0]
    np.testing.assert_allclose(frames.health[-1], np.asarray(after.health) / full, atol=1e-5)
    assert [scene.kinds[k] for k in frames.kind[0, :4]] == [
        "medivac",
        "marauder",
        "marauder",
        "marine",
    ]
    assert scene.team == (0,) * 10 + (1,) * 12
    np.testing.assert_allclose(frames.energy[0, [0, 10]], 0.25, atol=0.01)


def test_frames_show_a_trickle_of_healing():
    """A healer without energy heals what comes back, though its energy does not fall."""
    task, state = heal_scene(60.0, energy=0.05)
    state = state.replace(attack=replaced(state.attack, 0, 6))  # it goes on
    frames = task.frames(KEY, jax.tree.map(lambda x: x[..., 0], state), np.array([6, STOP]))
    assert np.all(np.asarray(frames.healing)[:, 0])


def test_frames_of_the_jaxmarl_backend():
    task = make_task("smax/4m_vs_3m:backend=jaxmarl")
    state, ts = jax.jit(task.reset)(KEY)
    action = np.asarray(ts.avail).argmax(axis=-1)
    frames = jax.device_get(jax.jit(task.frames)(KEY, state, action))
    after, _ = jax.jit(task.step)(KEY, state, action)
    np.testing.assert_allclose(frames.position[-1], after.state.unit_positions, atol=2e-5)
    assert task.scene.kinds[0] == "marine"


def test_frames_show_shots_and_heals():
    task, state = scene_of_shots()
    alone = jax.tree.map(lambda x: x[..., 0], state)
    frames = task.frames(KEY, alone, np.array([5 + 1, 5]))
    target, healing = np.asarray(frames.target), np.asarray(frames.healing)
    assert target[0].tolist()[:2] == [1, 2]  # the medivac heals ally 1, the marine shoots
    assert healing[0].tolist()[:2] == [True, False]
    assert np.sum(target[:, 1] == 2) == 1  # one shot within half a second at cooldown 0.61
    assert np.all(target[:, 0] == 1)


def scene_of_shots():
    task, state = scene((MEDIVAC, MARINE), (MARINE,), [(8, 16), (9, 16), (12, 16)])
    return task, state.replace(health=replaced(state.health, 1, 20.0))


def test_ticks_are_sixteenths_of_a_second():
    assert DT * 8 == 0.5


@pytest.mark.parametrize(("n", "m"), [(4, 6), (1, 3), (6, 4), (5, 5)])
def test_random_units_are_uniform_on_both_sides(n, m):
    """Also the enemies beyond the number of allies, who are all Marines in JaxMARL."""
    from lica_jax.envs.jaxmarl_import import jaxmarl

    keys = jax.random.split(jax.random.key(7), 600)
    kinds = np.asarray(jax.jit(jax.vmap(partial(random_types, n, m)))(keys))
    shares = np.stack([(kinds == kind).mean(axis=0) for kind in range(6)])
    # Four standard deviations of a share of 1/6 among 600.
    assert np.all(np.abs(shares - 1 / 6) < 4 * np.sqrt(5 / 36 / 600)), shares
    common = min(n, m)
    np.testing.assert_array_equal(kinds[:, n : n + common], kinds[:, :common])
    if m <= n:  # bitwise JaxMARL's
        types = jaxmarl.environments.smax.distributions.UniformUnitTypeDistribution
        theirs = jax.jit(jax.vmap(types(n, m, 32, 32, 6).generate))(keys)
        np.testing.assert_array_equal(kinds, theirs)


def test_jaxmarl_refuses_uneven_random_teams(monkeypatch):
    from lica_jax.envs.smax import scenarios

    for name, enemies in (("more", 6), ("fewer", 3)):
        made = scenarios.Scenario((0,) * 4, (0,) * enemies, 50, random=True)
        monkeypatch.setitem(scenarios.SCENARIOS, name, made)
    with pytest.raises(UserError, match="beyond the number of allies Marines"):
        make_task("smax/more:backend=jaxmarl")
    assert make_task("smax/fewer:backend=jaxmarl").spec.n_agents == 4
    kinds = begin(make_task("smax/more").battle, jax.random.split(KEY, 400)).kind
    share = np.mean(np.asarray(kinds)[8:] == 0)
    assert abs(share - 1 / 6) < 0.06
