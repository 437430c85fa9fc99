"""Exploration, targets and losses of the value-based algorithms, worked by hand."""

from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms import make_algorithm
from lica_jax.algorithms.q_learning import qtran, qtran_alt
from lica_jax.algorithms.q_learning import shared as q_learning
from lica_jax.algorithms.q_learning.shared import HParams, td_targets
from lica_jax.core.exploration import epsilon_floor, epsilon_greedy
from lica_jax.core.masking import masked_max, take_action
from lica_jax.networks.mixers import MonotonicMixer
from lica_jax.types import Progress, TaskSpec, TimeStep, Trajectory
from tests.unit.test_ppo import drawn

SPEC = TaskSpec("x", n_agents=2, n_actions=3, obs_size=4, state_size=2, episode_limit=9)


# --- exploration ---------------------------------------------------------------------------------


def test_epsilon_greedy_takes_the_best_and_explores_uniformly():
    q = np.float32([1, 5, 9, 7])
    avail = np.array([True, True, False, True])
    one = jax.vmap(lambda key, eps: epsilon_greedy(q, avail, eps, key), in_axes=(0, None))
    draw = jax.jit(lambda eps: one(jax.random.split(jax.random.key(0), 6000), eps))
    assert np.all(np.asarray(draw(0.0)) == 3)
    counts = np.bincount(draw(1.0), minlength=4)
    assert counts[2] == 0 and np.all(np.abs(counts[[0, 1, 3]] - 2000) < 150), counts
    mixed = np.bincount(draw(0.3), minlength=4) / 6000
    np.testing.assert_allclose(mixed, [0.1, 0.1, 0, 0.8], atol=0.02)


def test_epsilon_of_each_row():
    q, avail = np.broadcast_to([0.0, 1.0, 0.0], (2000, 2, 3)), np.ones((2000, 2, 3), bool)
    epsilon = np.where(np.arange(2000) < 1000, 0.0, 1.0)[:, None]
    action = np.asarray(jax.jit(epsilon_greedy)(q, avail, epsilon, jax.random.key(0)))
    assert np.all(action[:1000] == 1)
    assert 0.28 < np.mean(action[1000:] == 1) < 0.38
    # Agents explore on their own.
    both = np.mean((action[1000:, 0] != 1) & (action[1000:, 1] != 1))
    assert 0.38 < both < 0.5


def test_nothing_available_is_action_zero():
    none, ones = np.zeros((1, 3), bool), np.ones((1, 3))
    assert np.asarray(jax.jit(epsilon_greedy)(ones, none, 1.0, jax.random.key(0)))[0] == 0
    assert np.asarray(jax.jit(masked_max)(ones, none))[0] == 0.0


@pytest.mark.parametrize(
    ("before", "wanted"),
    # softmax([0, log 3, log 4]) = [1, 3, 4] / 8 over all, [1, 3] / 4 over the first two.
    [
        (False, [0.8 / 8 + 0.2 / 3, 0.8 * 3 / 8 + 0.2 / 3]),
        (True, [0.8 / 4 + 0.1, 0.8 * 3 / 4 + 0.1]),
    ],
)
def test_epsilon_floor(before, wanted):
    logits, avail = np.log([1.0, 3.0, 4.0]), np.array([True, True, False])
    probs = jax.jit(epsilon_floor, static_argnums=3)(logits, avail, 0.2, before)
    np.testing.assert_allclose(probs, [*np.array(wanted) / sum(wanted), 0.0], rtol=1e-6)
    padding = jax.grad(lambda x: epsilon_floor(x, np.zeros(3, bool), 0.2, before)[0])
    np.testing.assert_array_equal(jax.jit(padding)(logits), np.zeros(3))


def test_exploration_follows_the_schedule():
    algo = make_algorithm("vdn", SPEC)
    hp = HParams(epsilon_start=1.0, epsilon_finish=0.1, epsilon_steps=100.0)
    for steps, wanted in ((0, 1.0), (50, 0.55), (100, 0.1), (1e6, 0.1)):
        progress = Progress(jnp.float32(steps), jnp.int32(0), jnp.int32(0))
        assert float(q_learning.epsilon(hp, progress)) == pytest.approx(wanted)
    assert algo.replay.unit == "segment" and algo.replay.capacity == 5000


# --- targets -------------------------------------------------------------------------------------


def flags(*columns):
    return np.array(columns, bool).T


def trajectory(reward, terminated, truncated, valid) -> Trajectory:
    """Only what targets are made of."""
    steps = SimpleNamespace(reward=reward, terminated=terminated, truncated=truncated)
    return Trajectory(steps=steps, action=None, valid=valid, carry=(), extras={})


def targets(value, *parts):
    hp = HParams(gamma=0.5)
    of = jax.jit(lambda value, *parts: td_targets(value, trajectory(*parts), hp))
    return np.asarray(of(value, *parts))


def test_one_step_targets():
    """r + gamma V(next): nothing behind a terminal state, bootstrapped at a limit, 0 in padding."""
    reward = np.array([[0.0, 1, 2], [0.0, 1, 2], [0.0, 1, 9]]).T
    ended, running = flags([0, 0, 1], [0, 0, 0], [0, 1, 1]), flags([0, 0, 0], [0, 0, 1], [0, 0, 0])
    valid = flags([1, 1], [1, 1], [1, 0])
    value = np.array([[5.0, 6, 7]] * 3).T
    y = targets(value[..., None], reward, ended, running, valid)[..., 0]
    np.testing.assert_allclose(y.T, [[1 + 3, 2], [1 + 3, 2 + 3.5], [1, 0]])


def test_independent_values_share_the_teams_reward():
    reward = np.array([[0.0], [1.0]])
    off = np.zeros((2, 1), bool)
    value = np.array([[[0.0, 0.0]], [[2.0, 4.0]]])
    y = targets(value, reward, off, off, np.ones((1, 1), bool))
    np.testing.assert_allclose(y[0, 0], [2.0, 3.0])


def test_monotonic():
    """No utility can rise and lower the team's value, whatever the state."""
    mixer = MonotonicMixer(8, 2, 8)
    shapes = jax.eval_shape(mixer.init, jax.random.key(0), np.zeros(3), np.zeros(5))
    params, rng = drawn(shapes), np.random.default_rng(1)

    def slope(q, state):
        return jax.grad(lambda q: mixer.apply(params, q, state)[0])(q)

    q, state = 5 * rng.normal(size=(200, 3)), rng.normal(size=(200, 5))
    slopes = np.asarray(jax.jit(jax.vmap(slope))(q, state))
    assert np.all(slopes >= 0)
    assert np.any(slopes > 1e-3)


def test_double_q_judges_the_online_choice():
    """Target utilities [4, 9] and online ones [1, 0]: the online best is worth 4, not 9."""
    for double, wanted in ((True, 4.0), (False, 9.0)):
        nets = make_nets(double)
        batch = one_transition()
        online, target = constant_agent(nets, [1.0, 0.0, -9]), constant_agent(nets, [4.0, 9.0, -9])
        hp = HParams(gamma=1.0)
        objective = jax.jit(q_learning.td_objective, static_argnums=1)
        _, metrics = objective(online, nets, target, batch, hp)
        # Two agents: the sum of both.
        assert float(metrics["target_mean"]) == pytest.approx(2 * wanted)


@cache
def make_nets(double=True):
    from lica_jax.networks.mixers import SumMixer

    config = q_learning.Config(hidden=4, double_q=double)
    return q_learning.make_networks(config, SPEC, SumMixer())


def new_params(nets):
    agent = drawn(jax.eval_shape(nets.agent.init, jax.random.key(0)))
    return q_learning.Params(
        agent, drawn(jax.eval_shape(nets.init_mixer, jax.random.key(1)), seed=1)
    )


def constant_agent(nets, q):
    """Parameters whose utilities are ``q`` whatever is seen."""
    params = jax.tree.map(np.zeros_like, new_params(nets))
    params.agent["params"]["fc2"]["bias"] = np.float32(q)
    return params


def one_transition(batch=1):
    off = np.zeros((2, batch), bool)
    steps = TimeStep(
        obs=np.zeros((2, batch, 2, 4)), state=np.zeros((2, batch, 2)),
        avail=np.ones((2, batch, 2, 3), bool), reward=np.zeros((2, batch)), terminated=off,
        truncated=off, first=~off & [[True], [False]], alive=np.ones((2, batch, 2), bool), info={},
    )  # fmt: skip
    carry = make_nets().agent.initial_carry(batch)
    action = np.zeros((2, batch, 2), np.int32)
    return Trajectory(steps, action, np.ones((1, batch), bool), carry, {})


def test_padding_has_no_influence():
    """Behind an episode's end nothing is available, and whatever stands there is not read."""
    for module, name in ((None, "vdn"), (qtran, "qtran"), (qtran_alt, "qtran_alt")):
        nets = (
            make_nets() if module is None else module.make_networks(module.Config(hidden=4), SPEC)
        )
        hp = HParams() if module is None else module.HParams()
        params = new_params(nets)
        gone = np.array([False, True])[None, :, None, None]
        batch = one_transition(2)
        batch = batch.replace(valid=batch.valid & ~gone[..., 0, 0])
        empty = batch.replace(steps=batch.steps.replace(avail=batch.steps.avail & ~gone))
        wild = empty.replace(
            steps=empty.steps.replace(
                obs=np.where(gone, 1e6, empty.steps.obs),
                reward=np.where(gone[..., 0, 0], 1e6, empty.steps.reward),
            )
        )

        @jax.jit
        def gradient(batch, nets=nets, params=params, hp=hp):
            return jax.grad(nets.objective, has_aux=True)(params, nets, params, batch, hp)[0]

        results = jax.device_get([gradient(b) for b in (batch, empty, wild)])
        for other in results[1:]:
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8),
                results[0], other,
            )  # fmt: skip
        assert any(np.any(x != 0) for x in jax.tree.leaves(results[0])), name


# --- QTRAN-alt -----------------------------------------------------------------------------------


def test_counterfactual_values_depend_on_the_others_actions_only():
    nets = qtran_alt.make_networks(qtran_alt.Config(hidden=4, mixing_embed=4), SPEC)
    params = new_params(nets).mixer
    state = np.ones(nets.state_size, np.float32)
    features = np.random.default_rng(1).random((2, 4), np.float32)
    apply = jax.jit(lambda one_hot: nets.mixer.apply(params, state, features, one_hot, method="q"))

    def values(*actions):
        return np.asarray(apply(np.eye(3)[list(actions)]))

    np.testing.assert_allclose(values(0, 1)[0], values(2, 1)[0])
    assert np.all(values(0, 1)[1] != values(2, 1)[1])


def test_the_worst_available_alternative():
    x = np.array([[3.0, -5.0, 1.0], [3.0, -5.0, 1.0], [3.0, -5.0, 1.0]])
    avail = np.array([[True, True, True], [True, False, True], [False, False, False]])
    np.testing.assert_array_equal(qtran_alt.smallest_available(x, avail), [-5.0, 1.0, 0.0])


def test_qtran_alt_losses_by_hand():
    """All utilities and joint values are constants, so every loss is a number."""
    nets = qtran_alt.make_networks(qtran_alt.Config(hidden=4, mixing_embed=4), SPEC)
    params = constant_agent(nets, [1.0, 2.0, 4.0])
    params.mixer["params"]["Q"]["layer_2"]["bias"] = np.float32([10, 20, 30])
    params.mixer["params"]["V"]["layer_2"]["bias"] = np.float32([3])
    batch = one_transition()  # both play action 0, the best is action 2
    hp = qtran_alt.HParams(gamma=0.5, nopt_weight=0.25, opt_weight=2.0)
    objective = jax.jit(nets.objective, static_argnums=1)
    loss, metrics = objective(params, nets, params, batch, hp)
    # TD: Q(0) = 10 against 0 + 0.5 * Q(2) = 15. Opt: 4 + 4 - 30 + 3. Nopt: v in 0, 1, 2 gives
    # 1 + 1 - 10 + 3, 2 + 1 - 20 + 3, 4 + 1 - 30 + 3.
    assert float(metrics["td_loss"]) == pytest.approx(25.0)
    assert float(metrics["opt_loss"]) == pytest.approx(19.0**2)
    assert float(metrics["nopt_loss"]) == pytest.approx(22.0**2)
    assert float(loss) == pytest.approx(25 + 2 * 19**2 + 0.25 * 22**2)


def test_take_action_reads_the_entry():
    x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(take_action(x, jnp.array([1, -1])), [2.0, 3.0])
