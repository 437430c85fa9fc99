"""Squashed Gaussian policies: densities, entropies, and what LICA makes of them."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from lica_jax.algorithms.heads import make_head
from lica_jax.algorithms.lica import actor_update, critic_update, lica
from lica_jax.algorithms.lica.learner import CriticBatch, make_networks
from lica_jax.config import load_config
from lica_jax.core import gaussian
from lica_jax.core.entropy import entropy_bonus
from lica_jax.envs import make_task
from lica_jax.policy import Policy, header
from lica_jax.types import TaskSpec
from tests.unit.test_lica_remedies import begun

SPEC = TaskSpec(
    "x", n_agents=2, n_actions=3, obs_size=4, state_size=5, episode_limit=6, continuous=True
)


entropy = jax.jit(gaussian.entropy)
split_outputs = jax.jit(gaussian.split_outputs)
policy_input = jax.jit(gaussian.policy_input)


@jax.jit
def log_prob(action, mean, log_std):
    """Log-density of an action, summed over dimensions, in nats."""
    x = jnp.arctanh(action)
    z = (x - mean) / jnp.exp(log_std)
    each = -0.5 * (jnp.square(z) + jnp.log(2 * jnp.pi)) - log_std
    each = each - gaussian.log_one_minus_tanh_squared(x)
    return jnp.sum(each, axis=-1)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.06), (0.0, 0.87), (2.0, 1.6), (-1.0, 0.3)])
def test_entropy_is_the_integral_over_the_density(x64, mean, std):
    mu, log_std = np.array([mean]), np.log([std])

    def minus_p_log_p(a):
        log_p = float(log_prob(np.array([a]), mu, log_std))
        return -np.exp(log_p) * log_p

    exact = quad(minus_p_log_p, -1, 1, points=[np.tanh(mean)], limit=200)[0]
    assert float(entropy(mu, log_std)) == pytest.approx(exact, abs=2e-3)


def test_dimensions_add_up(x64):
    mu, log_std = np.array([0.3, -1.0]), np.array([-0.5, -2.0])
    parts = [float(entropy(mu[i : i + 1], log_std[i : i + 1])) for i in range(2)]
    np.testing.assert_allclose(entropy(mu, log_std), sum(parts))


def test_outputs_stay_in_range_and_zero_is_nearly_uniform():
    mean, log_std = split_outputs(np.float32([1e9, -1e9, 1e9, -1e9]))
    np.testing.assert_allclose(mean, [gaussian.MEAN_MAX, -gaussian.MEAN_MAX])
    np.testing.assert_allclose(log_std, [gaussian.LOG_STD_MAX, gaussian.LOG_STD_MIN], rtol=1e-6)
    nearly = entropy(*split_outputs(np.zeros(2, np.float32)))
    assert np.log(2) - 0.02 < float(nearly) < np.log(2)


def test_the_derivative_of_the_squashing_without_cancellation():
    x = np.float32([0.0, 1.0, 30.0, -30.0])
    expected = [0.0, np.log(1 - np.tanh(1.0) ** 2), 2 * np.log(2) - 60, 2 * np.log(2) - 60]
    got = jax.jit(gaussian.log_one_minus_tanh_squared)(x)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["global", "agent", "sample"])
def test_the_adaptive_rule_is_safe_for_negative_entropies(mode):
    """The bonus pushes every entropy up, harder where it is lower, and is bounded everywhere."""
    lowest = float(entropy(np.float32([gaussian.MEAN_MAX]), np.float32([-3.0])))
    assert lowest < -4

    def bonus(h):
        entropy = jnp.full((1, 1, 2), h)
        scale = lambda x: gaussian.entropy_scale(x, 1)  # noqa: E731
        return entropy_bonus(entropy, jnp.full((1, 1, 2), 2), jnp.ones((1, 1)), 1.0, mode, scale)[0]

    slope = jax.jit(jax.grad(bonus))
    slopes = [float(slope(h)) for h in (0.69, 0.0, -1.0, lowest)]
    assert all(0 < a < b for a, b in pairwise(slopes))
    assert slopes[0] == pytest.approx(1 / np.log(1 + np.exp(0.69)), rel=1e-5)
    assert slopes[-1] < 100


def test_sampling_explores_only_where_asked():
    head = make_head(SPEC)
    outputs = np.random.default_rng(0).normal(size=(2, 2, 6)).astype(np.float32)
    explore, choose = np.array([True, False]), jax.jit(head.choose)
    a, b = (np.asarray(choose(outputs, None, jax.random.key(k), explore)) for k in (1, 2))
    assert a.shape == (2, 2, 3) and np.all(np.abs(a) < 1)
    assert np.all(a[0] != b[0])
    np.testing.assert_array_equal(a[1], b[1])
    np.testing.assert_allclose(a[1], np.tanh(np.asarray(split_outputs(outputs)[0])[1]), rtol=1e-6)


def test_a_critic_reads_a_point_as_the_narrowest_policy_there():
    action = np.float32([0.5, -0.2])
    narrow = policy_input(np.arctanh(action), np.full(2, gaussian.LOG_STD_MIN, np.float32))
    np.testing.assert_allclose(jax.jit(gaussian.point_input)(action), narrow, atol=1e-6)


def test_the_critic_learns_from_the_action_and_from_the_policy():
    """Moving what was done moves Q; Q's gradient reaches mean and log-std of every agent."""
    nets = make_networks(lica.Config(hidden=8, mixing_embed=8, hypernet_hidden=8), SPEC)
    assert nets.critic.n_inputs == 2 * 2 * 3
    critic = begun(nets).critic
    rng = np.random.default_rng(1)
    outputs, state = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((1, 1, 2, 6), (2, 1, nets.state_size))
    )
    ones, avail = np.ones((1, 1), bool), np.ones((1, 1, 2, 3), bool)

    def batch(action=None, policy=None):
        return CriticBatch(state, action, policy, ones)

    def value(outputs):
        return actor_update._point_terms(nets, critic, batch(), outputs, avail, None)[0].sum()

    assert np.all(np.asarray(jax.jit(jax.grad(value))(outputs)) != 0)
    action, policy = np.zeros((2, 1, 2, 3), np.float32), np.zeros((2, 1, 2, 6), np.float32)

    @jax.jit
    def taken(action):
        return critic_update.taken_values(nets, critic, batch(action, policy), slice(-1), ones)

    both = [taken(a) for a in (action, action + np.float32(0.5))]
    assert both[0][0] != both[1][0] and both[0][1] == both[1][1]


def test_forces_are_jaxmarls():
    """A force of (x, y) is JaxMARL's five numbers; a full one is what its directions do."""
    task, discrete = make_task("mpe/simple_spread_continuous"), make_task("mpe/simple_spread")
    assert task.spec.continuous and task.spec.n_actions == 2
    env, _ = jax.jit(task.reset)(jax.random.key(0))
    # JaxMARL: 1 is -x, 2 is +x, 3 is -y, 4 is +y.
    force = np.float32([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    _, ours = jax.jit(task.step)(jax.random.key(1), env, force)
    _, theirs = jax.jit(discrete.step)(jax.random.key(1), env, np.int32([1, 2, 4]))
    np.testing.assert_allclose(ours.obs, theirs.obs, atol=1e-6)
    assert float(ours.reward) == pytest.approx(float(theirs.reward), rel=1e-5)


def test_a_policy_file_of_continuous_actions():
    nets = make_networks(lica.Config(hidden=8), SPEC)
    policy = Policy(begun(nets).actor, header("lica", nets.config, lica.HParams(), SPEC))
    action, carry = policy.act(np.zeros((2, 4)))
    assert action.shape == (2, 3) and action.dtype == np.float32
    again, _ = policy.act(np.zeros((2, 4)), carry=carry, key=jax.random.key(0))
    assert np.all(np.abs(again) < 1) and np.all(again != action)


def test_the_random_policy_is_nearly_uniform():
    """All-zero parameters, as `evaluation.random_params` makes them."""
    nets = make_networks(lica.Config(hidden=8), SPEC)
    choose, outputs = jax.jit(nets.actor.head.choose), np.zeros((4096, 2, 6), np.float32)
    action = np.asarray(choose(outputs, None, jax.random.key(0), np.ones(4096, bool)))
    shares = np.histogram(action, bins=4, range=(-1, 1))[0] / action.size
    np.testing.assert_allclose(shares, 0.25, atol=0.04)


def test_actions_never_reach_the_ends():
    """tanh rounds to 1 in float32, where the density has no value."""
    far = jax.jit(gaussian.sample)(np.float32(2.0), np.float32(0.5), np.float32([-9.0, 9.0]))
    far = np.asarray(far)
    assert np.all(np.abs(far) < 1) and np.all(np.abs(far) > 0.999)


def test_tasks_of_any_number_of_agents_share_a_preset():
    several = load_config("lica", "mpe/simple_spread_n5_continuous")
    assert several.hp == load_config("lica", "mpe/simple_spread_continuous").hp
    assert several.hp != load_config("lica", "mpe/simple_spread").hp
