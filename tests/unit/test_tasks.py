"""What every registered task must do, and what the adapters promise beyond it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.envs import describe_task, make_task, task_names
from lica_jax.envs.smax.scenarios import SCENARIOS
from lica_jax.errors import UserError
from lica_jax.testing import check_task

VARIANTS = (
    "mpe/simple_spread_n5",
    "smax/2s3z:backend=jaxmarl",
    "smax/MMM2:stats=sc2,reward=smac",
    "smax/MMM2:layout=smac",
)
QUICK_MAPS = ("2s3z", "MMM2", "2c_vs_64zg", "smacv2_5_units")
NAMES = [
    pytest.param(n, marks=pytest.mark.slow)
    if n.startswith("smax/") and n.partition("/")[2] not in QUICK_MAPS
    else n
    for n in task_names()
    if not n.startswith("smac/")  # not inside JAX: tests/starcraft2
] + list(VARIANTS)


@pytest.mark.parametrize("name", NAMES)
def test_conformance(name):
    task = make_task(name)
    assert task.spec.name == name
    check_task(task)


def test_every_smax_scenario_of_jaxmarl_is_registered():
    from lica_jax.envs.jaxmarl_import import jaxmarl

    theirs = jaxmarl.environments.smax.smax_env.MAP_NAME_TO_SCENARIO
    ours = {n: s for n, s in SCENARIOS.items() if s.source == "jaxmarl"}
    assert set(ours) == set(theirs)
    for name, s in ours.items():
        their = theirs[name]
        assert (len(s.allies), len(s.enemies)) == (their.num_allies, their.num_enemies)
        assert s.random == their.smacv2_position_generation == their.smacv2_unit_type_generation
        if not s.random:
            np.testing.assert_array_equal(s.allies + s.enemies, their.unit_types)


@pytest.fixture(scope="module", params=["native", "jaxmarl"])
def small_map(request):
    return make_task("smax/4m_vs_3m", backend=request.param)


def with_units(task, state, health=None, step=None):
    """The state with other health or at another step, for either backend."""
    if hasattr(state, "state"):
        changes = {} if step is None else {"step": step}
        if health is not None:
            changes |= {"unit_health": health, "unit_alive": health > 0}
        return state.replace(state=state.state.replace(**changes))
    changes = {"health": health, "step": step}
    return state.replace(**{k: v for k, v in changes.items() if v is not None})


@pytest.mark.parametrize(
    ("ally_health", "enemy_health", "won", "over"),
    [
        (45.0, 0.0, True, True),
        (0.0, 45.0, False, True),
        (0.0, 0.0, False, True),
        (45.0, 45.0, False, False),
    ],
)
def test_the_win_is_read_from_the_units(small_map, ally_health, enemy_health, won, over):
    """All enemies dead and an ally alive; a mutual kill ends the episode without a win."""
    state, _ = small_map.reset(jax.random.key(0))
    health = jnp.array([ally_health] * 4 + [enemy_health] * 3)
    state = with_units(small_map, state, health=health)
    _, ts = small_map.step(jax.random.key(1), state, jnp.full(4, 4))
    assert bool(ts.info["won"]) == won
    assert bool(ts.terminated) == over
    # The win bonus is 1, and the reward of the step is otherwise the damage (none at range 16).
    assert float(ts.reward) == pytest.approx(1.0 if won else 0.0)


def test_the_limit_truncates_exactly(small_map):
    state, _ = small_map.reset(jax.random.key(0))
    limit = small_map.spec.episode_limit
    for step, truncated in ((limit - 2, False), (limit - 1, True)):
        _, ts = small_map.step(
            jax.random.key(1), with_units(small_map, state, step=jnp.int32(step)), jnp.full(4, 4)
        )
        assert bool(ts.truncated) == truncated
        assert not bool(ts.terminated)


def test_the_critic_state_is_normalised(small_map):
    state, ts = small_map.reset(jax.random.key(0))
    units = np.asarray(ts.state).reshape(7, 5)
    np.testing.assert_allclose(units[:, :2], 1.0)  # full health, alive
    native = not hasattr(state, "state")
    positions = jnp.stack([state.x, state.y], -1) if native else state.state.unit_positions
    np.testing.assert_allclose(units[:, 2:4], np.asarray(positions) / 16 - 1, atol=1e-6)
    np.testing.assert_allclose(units[:, 4], 0.0)
    dead = with_units(small_map, state, health=jnp.full(7, 45.0).at[0].set(0.0))
    _, ts = small_map.step(jax.random.key(1), dead, jnp.full(4, 4))
    assert not np.any(np.asarray(ts.state).reshape(7, 5)[0])
    assert not bool(ts.alive[0])


def test_the_speaker_has_three_actions_and_padded_observations():
    task = make_task("mpe/simple_speaker_listener")
    _, ts = task.reset(jax.random.key(0))
    assert ts.avail.sum(-1).tolist() == [3, 5]
    assert not np.any(ts.obs[0, 3:])
    assert task.spec.state_size == 3 + 11


@pytest.mark.parametrize(
    "name", ["smax/3mm", "smax", "3m", "mpe/simple_spred", "mpe/simple_spread_n", ""]
)
def test_unknown_tasks_name_the_nearest(name):
    with pytest.raises(UserError, match="unknown task"):
        make_task(name)


def test_spread_needs_two_agents():
    with pytest.raises(UserError, match="2 to 100"):
        make_task("mpe/simple_spread_n1")


def test_every_task_is_described():
    assert all(describe_task(name) for name in task_names())
    for name, says in (
        ("mpe/cooperative_navigation_n7", "7 agents cover 7 landmarks"),
        ("mpe/simple_spread_n5", "5 agents cover 5 landmarks"),
        ("mpe/simple_spread_n12_continuous", "12 agents cover 12 landmarks, forces in"),
    ):
        assert describe_task(name).startswith(says)
    for name in ("mpe/no_such", "nowhere/3m", "3m", "mpe", "mpe/simple_spread_n" + "9" * 5000):
        with pytest.raises(UserError, match="unknown task"):
            describe_task(name)
        with pytest.raises(UserError, match="unknown task"):
            make_task(name)


def test_patience_is_no_part_of_a_task():
    from lica_jax.envs import same_task

    assert same_task("smac/3m", "smac/3m:start_timeout=600,pipeline=false")
    assert not same_task("smac/3m", "smac/3m:step_mul=4,start_timeout=600")
    assert not same_task("smac/3m", "smac/8m") and not same_task("smax/3m", "smac/3m")
    assert same_task("other/a", "other/a") and not same_task("other/a", "other/b")
