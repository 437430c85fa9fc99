"""The games' tables, what their tasks show, and that Figure 5 plays by the same rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.envs import games, make_task
from lica_jax.errors import UserError
from lica_jax.reproduce import traffic_junction


def payoffs(task):
    """Every joint action's reward, played through the task."""
    n = task.spec.n_actions
    joint = jnp.array(list(np.ndindex(n, n)))
    state, _ = task.reset(jax.random.key(0))
    step = jax.vmap(lambda action: task.step(jax.random.key(0), state, action)[1])
    ts = jax.jit(step)(joint)
    assert np.all(ts.terminated) and not np.any(ts.truncated)
    return np.asarray(ts.reward).reshape(n, n)


@pytest.mark.parametrize(
    ("name", "table", "best"),
    [
        ("game/climbing", [[11, -30, 0], [-30, 7, 0], [0, 6, 5]], 11),
        ("game/penalty", [[10, 0, -100], [0, 2, 0], [-100, 0, 10]], 10),
        ("game/penalty:k=-25", [[10, 0, -25], [0, 2, 0], [-25, 0, 10]], 10),
        ("game/penalty:k=0", [[10, 0, 0], [0, 2, 0], [0, 0, 10]], 10),
        ("game/nonmonotonic", [[8, -12, -12], [-12, 0, 0], [-12, 0, 0]], 8),
        ("game/traffic_junction", [[0, 1], [1, 0]], 1),
    ],
)
def test_payoffs(name, table, best):
    task = make_task(name)
    assert task.spec.name == name
    assert task.spec.max_return == best == np.max(table)
    np.testing.assert_array_equal(payoffs(task), table)


@pytest.mark.parametrize(("choice", "table"), [(0, [[7, 7], [7, 7]]), (1, [[0, 1], [1, 8]])])
def test_the_two_step_game(choice, table):
    """Agent 0's first action alone decides what is played; everybody is shown it."""
    task = make_task("game/two_step")
    start, first = task.reset(jax.random.key(0))
    np.testing.assert_array_equal(first.obs, [[1, 0, 0]] * 2)
    for other in (0, 1):
        state, ts = task.step(jax.random.key(0), start, jnp.array([choice, other]))
        assert float(ts.reward) == 0 and not ts.terminated
        np.testing.assert_array_equal(ts.state, np.eye(3)[choice + 1])
        np.testing.assert_array_equal(ts.obs, [ts.state] * 2)
    for joint in np.ndindex(2, 2):
        _, last = task.step(jax.random.key(0), state, jnp.array(joint))
        assert float(last.reward) == table[joint[0]][joint[1]] and last.terminated
    assert task.spec.max_return == 8 and task.spec.episode_limit == 2


def test_agents_see_a_constant():
    for name in ("game/climbing", "game/traffic_junction"):
        task = make_task(name)
        state, first = task.reset(jax.random.key(0))
        _, last = task.step(jax.random.key(1), state, jnp.array([1, 0]))
        for ts in (first, last):
            np.testing.assert_array_equal(ts.obs, np.ones((2, 1)))
            np.testing.assert_array_equal(ts.state, np.ones(1))


def test_expected_reward_is_linear_in_each_agents_choice():
    """0.25 of 0.5 x 11 and so on: by hand, and one-hot vectors give the table back."""
    first, second = jnp.array([0.5, 0.5, 0.0]), jnp.array([0.0, 0.25, 0.75])
    wanted = 0.5 * (0.25 * -30 + 0.75 * 0) + 0.5 * (0.25 * 7 + 0.75 * 0)
    assert float(games.expected_reward(games.CLIMBING, first, second)) == pytest.approx(wanted)
    for joint in np.ndindex(3, 3):
        assert (
            float(games.reward(games.CLIMBING, jnp.array(joint)))
            == games.CLIMBING[joint[0]][joint[1]]
        )


def test_figure_5_plays_by_the_same_table():
    task = make_task("game/traffic_junction")
    played = payoffs(task)
    for joint, reward in zip(traffic_junction.JOINT, traffic_junction.REWARD, strict=True):
        assert played[tuple(joint)] == reward
        assert float(traffic_junction.expected_reward(jnp.array(joint, float))) == reward


def test_the_default_option_is_not_part_of_the_name():
    assert make_task("game/penalty:k=-100").spec.name == "game/penalty"
    assert make_task("game/penalty", k="-50").spec.name == "game/penalty:k=-50"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("game/penalty:k=-1", "unknown value of option k.*-100"),
        ("game/penalty:j=1", "unknown option of task game/penalty"),
        ("game/climbing:k=-100", "only penalty"),
        ("game/traffic_junction:k=0", "only penalty"),
        ("game/traffic_jam", "traffic_junction"),
        ("game/climbing_n3", "unknown task"),
    ],
)
def test_bad_names(name, said):
    with pytest.raises(UserError, match=said):
        make_task(name)


@pytest.mark.parametrize(
    ("action", "position"),
    [
        ([0, 0], [[-1, 0], [0, -1]]),
        ([1, 0], [[1, 0], [0, -1]]),
        ([0, 1], [[-1, 0], [0, 1]]),
        ([1, 1], [[-0.25, 0], [0, -0.25]]),
    ],
)
def test_frames_of_the_junction(action, position):
    task = make_task("game/traffic_junction")
    state, _ = task.reset(jax.random.key(0))
    frame = jax.jit(task.frames)(jax.random.key(1), state, jnp.array(action))
    np.testing.assert_array_equal(frame.position[0], np.array(position))
    for part in ("radius", "kind", "alive", "health", "energy", "target", "healing"):
        assert getattr(frame, part).shape == (1, len(task.scene.team)), part
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(frame))
    x0, y0, x1, y1 = task.scene.bounds
    assert x0 < frame.position[..., 0].min() and frame.position[..., 0].max() < x1
    assert y0 < frame.position[..., 1].min() and frame.position[..., 1].max() < y1
