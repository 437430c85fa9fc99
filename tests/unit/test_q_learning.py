"""Exploration, targets and losses of the value-based algorithms, worked by hand."""

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

SPEC = TaskSpec("x", n_agents=2, n_actions=3, obs_size=4, state_size=2, episode_limit=9)


# --- exploration ---------------------------------------------------------------------------------


def test_epsilon_greedy_takes_the_best_and_explores_uniformly():
    q = jnp.array([1.0, 5.0, 9.0, 7.0])
    avail = jnp.array([True, True, False, True])
    draw = jax.vmap(lambda key, eps: epsilon_greedy(q, avail, eps, key), in_axes=(0, None))
    keys = jax.random.split(jax.random.key(0), 6000)
    assert np.all(draw(keys, 0.0) == 3)
    counts = np.bincount(draw(keys, 1.0), minlength=4)
    assert counts[2] == 0 and np.all(np.abs(counts[[0, 1, 3]] - 2000) < 150), counts
    mixed = np.bincount(draw(keys, 0.3), minlength=4) / 6000
    np.testing.assert_allclose(mixed, [0.1, 0.1, 0, 0.8], atol=0.02)


def test_epsilon_of_each_row():
    q, avail = jnp.zeros((2000, 2, 3)).at[..., 1].set(1.0), jnp.ones((2000, 2, 3), bool)
    epsilon = jnp.where(jnp.arange(2000) < 1000, 0.0, 1.0)[:, None]
    action = epsilon_greedy(q, avail, epsilon, jax.random.key(0))
    assert np.all(action[:1000] == 1)
    assert 0.28 < np.mean(action[1000:] == 1) < 0.38
    # Agents explore on their own.
    both = np.mean((action[1000:, 0] != 1) & (action[1000:, 1] != 1))
    assert 0.38 < both < 0.5


def test_nothing_available_is_action_zero():
    none = jnp.zeros((1, 3), bool)
    assert epsilon_greedy(jnp.ones((1, 3)), none, 1.0, jax.random.key(0))[0] == 0
    assert float(masked_max(jnp.ones((1, 3)), none)[0]) == 0.0


@pytest.mark.parametrize(
    ("before", "wanted"),
    # softmax([0, log 3, log 4]) = [1, 3, 4] / 8 over all, [1, 3] / 4 over the first two.
    [
        (False, [0.8 / 8 + 0.2 / 3, 0.8 * 3 / 8 + 0.2 / 3]),
        (True, [0.8 / 4 + 0.1, 0.8 * 3 / 4 + 0.1]),
    ],
)
def test_epsilon_floor(before, wanted):
    logits, avail = jnp.log(jnp.array([1.0, 3.0, 4.0])), jnp.array([True, True, False])
    probs = epsilon_floor(logits, avail, 0.2, before)
    np.testing.assert_allclose(probs, [*np.array(wanted) / sum(wanted), 0.0], rtol=1e-6)
    padding = jax.grad(lambda x: epsilon_floor(x, jnp.zeros(3, bool), 0.2, before)[0])(logits)
    np.testing.assert_array_equal(padding, np.zeros(3))


def test_exploration_follows_the_schedule():
    algo = make_algorithm("vdn", SPEC)
    hp = HParams(epsilon_start=1.0, epsilon_finish=0.1, epsilon_steps=100.0)
    for steps, wanted in ((0, 1.0), (50, 0.55), (100, 0.1), (1e6, 0.1)):
        progress = Progress(jnp.float32(steps), jnp.int32(0), jnp.int32(0))
        assert float(q_learning.epsilon(hp, progress)) == pytest.approx(wanted)
    assert algo.replay.unit == "segment" and algo.replay.capacity == 5000


# --- targets -------------------------------------------------------------------------------------


def flags(*columns):
    return jnp.array(columns, bool).T


def trajectory(reward, terminated, truncated, valid) -> Trajectory:
    """Only what targets are made of."""
    steps = SimpleNamespace(reward=reward, terminated=terminated, truncated=truncated)
    return Trajectory(steps=steps, action=None, valid=valid, carry=(), extras={})


def test_one_step_targets():
    """r + gamma V(next): nothing behind a terminal state, bootstrapped at a limit, 0 in padding."""
    reward = jnp.array([[0.0, 1, 2], [0.0, 1, 2], [0.0, 1, 9]]).T
    ended, running = flags([0, 0, 1], [0, 0, 0], [0, 1, 1]), flags([0, 0, 0], [0, 0, 1], [0, 0, 0])
    valid = flags([1, 1], [1, 1], [1, 0])
    value = jnp.array([[5.0, 6, 7]] * 3).T
    y = td_targets(value[..., None], trajectory(reward, ended, running, valid), HParams(gamma=0.5))[
        ..., 0
    ]
    np.testing.assert_allclose(y.T, [[1 + 3, 2], [1 + 3, 2 + 3.5], [1, 0]])


def test_independent_values_share_the_teams_reward():
    reward = jnp.array([[0.0], [1.0]])
    off = jnp.zeros((2, 1), bool)
    value = jnp.array([[[0.0, 0.0]], [[2.0, 4.0]]])
    traj = trajectory(reward, off, off, jnp.ones((1, 1), bool))
    np.testing.assert_allclose(td_targets(value, traj, HParams(gamma=0.5))[0, 0], [2.0, 3.0])


def test_monotonic():
    """No utility can rise and lower the team's value, whatever the state."""
    mixer = MonotonicMixer(8, 2, 8)
    q, state = jnp.zeros(3), jnp.zeros(5)
    params = mixer.init(jax.random.key(0), q, state)
    keys = jax.random.split(jax.random.key(1), 200)

    def slopes(key):
        q_key, s_key = jax.random.split(key)
        q, state = 5 * jax.random.normal(q_key, (3,)), jax.random.normal(s_key, (5,))
        return jax.grad(lambda q: mixer.apply(params, q, state)[0])(q)

    assert np.all(jax.vmap(slopes)(keys) >= 0)
    assert np.any(jax.vmap(slopes)(keys) > 1e-3)


def test_double_q_judges_the_online_choice():
    """Target utilities [4, 9] and online ones [1, 0]: the online best is worth 4, not 9."""
    for double, wanted in ((True, 4.0), (False, 9.0)):
        nets = make_nets(double)
        batch = one_transition()
        online, target = constant_agent(nets, [1.0, 0.0, -9]), constant_agent(nets, [4.0, 9.0, -9])
        hp = HParams(gamma=1.0)
        _, metrics = q_learning.td_objective(online, nets, target, batch, hp)
        # Two agents: the sum of both.
        assert float(metrics["target_mean"]) == pytest.approx(2 * wanted)


def make_nets(double=True):
    from lica_jax.networks.mixers import SumMixer

    config = q_learning.Config(hidden=4, double_q=double)
    return q_learning.make_networks(config, SPEC, SumMixer())


def constant_agent(nets, q):
    """Parameters whose utilities are ``q`` whatever is seen."""
    params = q_learning.Params(nets.agent.init(jax.random.key(0)), {})
    params = jax.tree.map(jnp.zeros_like, params)
    params.agent["params"]["fc2"]["bias"] = jnp.array(q)
    return params


def one_transition(batch=1):
    off = jnp.zeros((2, batch), bool)
    steps = TimeStep(
        obs=jnp.zeros((2, batch, 2, 4)), state=jnp.zeros((2, batch, 2)),
        avail=jnp.ones((2, batch, 2, 3), bool), reward=jnp.zeros((2, batch)), terminated=off,
        truncated=off, first=off.at[0].set(True), alive=jnp.ones((2, batch, 2), bool), info={},
    )  # fmt: skip
    carry = make_nets().agent.initial_carry(batch)
    action = jnp.zeros((2, batch, 2), jnp.int32)
    return Trajectory(steps, action, jnp.ones((1, batch), bool), carry, {})


def test_padding_has_no_influence():
    """Behind an episode's end nothing is available, and whatever stands there is not read."""
    for module, name in ((None, "vdn"), (qtran, "qtran"), (qtran_alt, "qtran_alt")):
        nets = (
            make_nets() if module is None else module.make_networks(module.Config(hidden=4), SPEC)
        )
        hp = HParams() if module is None else module.HParams()
        params = q_learning.Params(
            nets.agent.init(jax.random.key(0)), nets.init_mixer(jax.random.key(1))
        )
        batch = one_transition(2)
        batch = batch.replace(valid=batch.valid.at[:, 1].set(False))
        gone = jnp.array([False, True])[None, :, None, None]
        empty = batch.replace(steps=batch.steps.replace(avail=batch.steps.avail & ~gone))
        wild = empty.replace(
            steps=empty.steps.replace(
                obs=jnp.where(gone, 1e6, empty.steps.obs),
                reward=jnp.where(gone[..., 0, 0], 1e6, empty.steps.reward),
            )
        )

        @jax.jit
        def gradient(batch, nets=nets, params=params, hp=hp):
            return jax.grad(nets.objective, has_aux=True)(params, nets, params, batch, hp)[0]

        results = [gradient(b) for b in (batch, empty, wild)]
        for other in results[1:]:
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8),
                results[0], other,
            )  # fmt: skip
        assert any(np.any(x != 0) for x in jax.tree.leaves(results[0])), name


# --- QTRAN-alt -----------------------------------------------------------------------------------


def test_counterfactual_values_depend_on_the_others_actions_only():
    nets = qtran_alt.make_networks(qtran_alt.Config(hidden=4, mixing_embed=4), SPEC)
    params = nets.init_mixer(jax.random.key(0))
    state, features = jnp.ones(nets.state_size), jax.random.normal(jax.random.key(1), (2, 4))

    def values(*actions):
        one_hot = jax.nn.one_hot(jnp.array(actions), 3)
        return nets.mixer.apply(params, state, features, one_hot, method="q")

    np.testing.assert_allclose(values(0, 1)[0], values(2, 1)[0])
    assert np.all(values(0, 1)[1] != values(2, 1)[1])


def test_the_worst_available_alternative():
    x = jnp.array([[3.0, -5.0, 1.0], [3.0, -5.0, 1.0], [3.0, -5.0, 1.0]])
    avail = jnp.array([[True, True, True], [True, False, True], [False, False, False]])
    np.testing.assert_array_equal(qtran_alt.smallest_available(x, avail), [-5.0, 1.0, 0.0])


def test_qtran_alt_losses_by_hand():
    """All utilities and joint values are constants, so every loss is a number."""
    nets = qtran_alt.make_networks(qtran_alt.Config(hidden=4, mixing_embed=4), SPEC)
    params = q_learning.Params(
        nets.agent.init(jax.random.key(0)), nets.init_mixer(jax.random.key(1))
    )
    params = jax.tree.map(jnp.zeros_like, params)
    params.agent["params"]["fc2"]["bias"] = jnp.array([1.0, 2.0, 4.0])
    params.mixer["params"]["Q"]["layer_2"]["bias"] = jnp.array([10.0, 20.0, 30.0])
    params.mixer["params"]["V"]["layer_2"]["bias"] = jnp.array([3.0])
    batch = one_transition()  # both play action 0, the best is action 2
    hp = qtran_alt.HParams(gamma=0.5, nopt_weight=0.25, opt_weight=2.0)
    loss, metrics = nets.objective(params, nets, params, batch, hp)
    # TD: Q(0) = 10 against 0 + 0.5 * Q(2) = 15. Opt: 4 + 4 - 30 + 3. Nopt: v in 0, 1, 2 gives
    # 1 + 1 - 10 + 3, 2 + 1 - 20 + 3, 4 + 1 - 30 + 3.
    assert float(metrics["td_loss"]) == pytest.approx(25.0)
    assert float(metrics["opt_loss"]) == pytest.approx(19.0**2)
    assert float(metrics["nopt_loss"]) == pytest.approx(22.0**2)
    assert float(loss) == pytest.approx(25 + 2 * 19**2 + 0.25 * 22**2)


def test_take_action_reads_the_entry():
    x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(take_action(x, jnp.array([1, -1])), [2.0, 3.0])
