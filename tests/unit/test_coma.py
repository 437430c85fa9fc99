"""COMA's pieces, by hand where that is possible; most of them are LIIR's too."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms import algorithm_module
from lica_jax.algorithms.actors import actor_step
from lica_jax.algorithms.counterfactual import coma, liir
from lica_jax.algorithms.counterfactual import shared as counterfactual
from lica_jax.config import ablation_names, load_config
from lica_jax.core.exploration import epsilon_floor
from lica_jax.core.optim import clipped_step
from lica_jax.core.returns import differentiable_lambda_returns, lambda_returns
from lica_jax.envs import make_task
from lica_jax.networks.counterfactual import critic_inputs
from lica_jax.training.memory import tree_bytes
from lica_jax.training.rollout import start_stream, unroll
from lica_jax.types import Collect, Progress, TimeStep
from tests.reference.counterfactual import joined
from tests.unit.test_ppo import drawn

START = Progress(jnp.zeros(()), jnp.int32(0), jnp.int32(0))
HP = coma.HParams(reward_scale=1.0, target_interval=10)
SMALL = {"hidden": 8, "critic_hidden": 8}

# One program each for all tests with the same networks, which are static.
inputs_over, policy, act, sweep_critic, fit_critic = (
    jax.jit(getattr(counterfactual, name), static_argnums=0)
    for name in ("inputs_over", "policy", "act", "sweep_critic", "fit_critic")
)
regression, update = (jax.jit(x, static_argnums=0) for x in (coma.regression, coma.update))
update = partial(update, key=jax.random.key(0), progress=START)
start = jax.jit(start_stream, static_argnums=(0, 3))
make_networks = cache(coma.make_networks)


def networks(task="mpe/simple_spread", **config):
    return make_networks(coma.Config(**SMALL, **config), make_task(task).spec)


def new_actor(nets, scale=1.0):
    return drawn(jax.eval_shape(nets.actor.init, jax.random.key(0)), scale=scale)


def new_critic(nets):
    init = partial(counterfactual.init_critic, nets)
    return drawn(jax.eval_shape(init, jax.random.key(0)), seed=1)


def segments(nets, task, length=10, envs=4, n=2):
    """Joined segments of a stream; the second may begin in the middle of an episode."""
    task, critic = make_task(task), new_critic(nets)
    # Larger weights than the initial ones, so that memory and last actions matter.
    actor = new_actor(nets, scale=4.0)
    explore = np.ones(envs, bool)
    act = partial(counterfactual.act, nets, actor, hp=HP, progress=START, explore=explore)

    @jax.jit
    def play(stream, key):
        return unroll(task, act, stream, key, length, restart=True)[:2]

    stream, out = start(task, nets.actor.initial_carry(envs), jax.random.key(1), envs), []
    for i in range(n):
        stream, traj = play(stream, jax.random.key(2 + i))
        out.append(jax.device_get(traj))
    return coma.new_learner(nets, actor, critic, critic), out


def replaced(x, at, value):
    """A copy of an array with another value at an index."""
    x = np.array(x)
    x[at] = value
    return x


@pytest.fixture(scope="module")
def spread():
    nets = networks()
    return nets, *segments(nets, "mpe/simple_spread", n=4)


# --- the critic's view ---------------------------------------------------------------------------


def test_critic_inputs_by_hand():
    """Two agents, two actions: agent 0 plays 1 after 0, agent 1 plays 0 after nothing."""
    state, obs = np.array([7.0]), np.array([[1.0], [2.0]])
    action, previous = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 0.0]])
    expected = [
        # state, own obs, actions of agents 0 and 1, previous actions of both, index
        [7, 1, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0],
        [7, 2, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1],
    ]
    inputs = joined(jax.jit(critic_inputs)(state, obs, action, previous))
    np.testing.assert_array_equal(inputs, expected)
    batched = jax.jit(jax.vmap(critic_inputs))(*(x[None] for x in (state, obs, action, previous)))
    np.testing.assert_array_equal(joined(batched)[0], expected)
    spec = make_task("smax/3m").spec
    parts = jax.eval_shape(
        critic_inputs, np.zeros(spec.state_size), *(np.zeros((spec.n_agents, size)) for size in
        (spec.obs_size, spec.n_actions, spec.n_actions))
    )  # fmt: skip
    assert counterfactual.n_critic_inputs(spec) == sum(x.shape[-1] for x in parts)


def test_what_all_agents_share_is_held_once(spread):
    """As the estimate of memory says."""
    nets, _, parts = spread
    inputs = jax.eval_shape(partial(counterfactual.inputs_over, nets), parts[0])
    rows = np.prod(inputs[0].shape[:2])
    assert [x.shape[2] for x in inputs] == [1, nets.spec.n_agents] * 2
    assert counterfactual.scratch_bytes(nets, rows)["the critic's inputs"] == tree_bytes(inputs)


def test_own_actions_are_hidden_and_episodes_start_without_previous_ones(spread):
    nets, _, parts = spread
    n, a = nets.spec.n_agents, nets.spec.n_actions
    at = nets.spec.state_size + nets.spec.obs_size
    starts = 0
    for traj in parts:
        inputs = joined(inputs_over(nets, traj))
        taken = inputs[..., at : at + n * a].reshape(*inputs.shape[:-1], n, a)
        own = taken[..., np.arange(n), np.arange(n), :]
        np.testing.assert_array_equal(own, 0)
        assert float(taken.sum()) == np.prod(taken.shape[:2]) * n * (n - 1)
        previous = inputs[..., at + n * a : at + 2 * n * a].sum(-1)
        np.testing.assert_array_equal(
            previous, np.where(traj.steps.first, 0, n)[..., None] + 0 * previous
        )
        starts += int(traj.steps.first.sum())
    assert starts > 4  # episodes also begin within segments


def test_targets_of_a_stream_by_hand():
    """gamma 0.5, lambda 1: an episode ends at slot 2, slot 3 begins another one."""
    nets = networks("probe/constant")
    n = 2
    zeros = np.zeros(5)
    steps = TimeStep(
        obs=np.zeros((5, 1, n, 2)), state=np.zeros((5, 1, 2)), avail=np.ones((5, 1, n, 2), bool),
        reward=np.array([0.0, 1.0, 2.0, 0.0, 4.0])[:, None],
        terminated=np.array([0, 0, 1, 0, 0], bool)[:, None], truncated=(zeros > 0)[:, None],
        first=np.array([1, 0, 0, 1, 0], bool)[:, None], alive=np.ones((5, 1, n), bool), info={},
    )  # fmt: skip
    traj = counterfactual.Trajectory(
        steps, np.zeros((5, 1, n), np.int32), np.array([1, 1, 0, 1], bool)[:, None],
        nets.actor.initial_carry(1), {},
    )  # fmt: skip
    critic = new_critic(nets)
    critic["params"]["layer_2"] = {"kernel": np.zeros((8, 2)), "bias": np.array([8.0, 3.0])}
    hp = HP.replace(gamma=0.5, td_lambda=1.0)
    rows = jax.device_get(regression(nets, critic, traj, hp))
    # The last transition is bootstrapped from Q = 8 at slot 4; the reset between is worth nothing.
    expected = [1 + 0.5 * 2, 2, 0, 4 + 0.5 * 8]
    np.testing.assert_allclose(rows.target[:, 0], np.repeat(np.array(expected)[:, None], n, 1))


def test_returns_of_each_agent_match_returns_of_one_and_have_a_gradient(x64):
    rng = np.random.default_rng(0)
    q, reward = rng.normal(size=(6, 3, 2)), rng.normal(size=(5, 3))
    terminal, truncated = rng.random((2, 5, 3)) < 0.2
    rest = reward, terminal, terminal | truncated, np.ones((5, 3), bool), 0.9, 0.7
    assert 0 < rest[2].sum() < rest[2].size
    returns = jax.jit(lambda_returns)
    together = np.asarray(returns(q, *rest))
    for i in range(2):
        np.testing.assert_allclose(together[..., i], returns(q[..., i], *rest))

    def first(reward):
        return differentiable_lambda_returns(q, reward, *rest[1:])[0].sum()

    def all_of_the_others(reward):
        return lambda_returns(q, reward, *rest[1:]).sum()

    # Reward k reaches the return of slot 0 with (gamma lambda)^k until an episode ends.
    goes_on = np.cumprod(np.concatenate([np.ones((1, 3)), 1.0 - rest[2][:-1]]), axis=0)
    expected = 2 * goes_on * 0.63 ** np.arange(5)[:, None]
    gradient, none = jax.jit(lambda r: (jax.grad(first)(r), jax.grad(all_of_the_others)(r)))(reward)
    np.testing.assert_allclose(gradient, expected, atol=1e-12)
    assert not np.any(none)


# --- the critic's steps --------------------------------------------------------------------------


@partial(jax.jit, static_argnums=0)
def expected_step(nets, critic, state, piece):
    """The critic's values before one step on a piece of the rows, and what it is after it."""
    values = nets.critic.apply(critic, piece.inputs)
    grads = jax.grad(counterfactual.critic_objective, has_aux=True)(critic, nets, piece)[0]
    critic, state, _ = clipped_step(
        "rmsprop", critic, grads, state, HP.critic_lr, HP.grad_norm_clip, HP.rms
    )
    return values, critic, state


def test_sweep_is_one_step_per_time_step_from_the_last(spread):
    nets, learner, parts = spread
    rows = jax.device_get(regression(nets, learner.target_critic, parts[1], HP))
    (params, opt), (q, taken, _) = jax.device_get(
        sweep_critic(nets, learner.critic, learner.critic_opt, rows, HP)
    )
    assert taken.all()
    critic, state = learner.critic, learner.critic_opt
    for t in reversed(range(len(taken))):
        piece = jax.tree.map(lambda x, t=t: x[t : t + 1], rows)
        values, critic, state = expected_step(nets, critic, state, piece)
        # Values are those before the step on their own rows.
        np.testing.assert_allclose(values, q[t : t + 1], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params, critic)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), opt, state)


def test_joint_mode_is_one_step_on_everything(spread):
    _, learner, parts = spread
    nets = networks(critic_mode="joint")
    rows = regression(nets, learner.target_critic, parts[1], HP)
    (params, _), q, n_steps, _ = fit_critic(nets, learner.critic, learner.critic_opt, rows, HP)
    assert n_steps == 1
    values, expected, _ = expected_step(nets, learner.critic, learner.critic_opt, rows)
    np.testing.assert_allclose(q, values, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), params, expected)


def padded(traj, n):
    """``n`` more slots behind a trajectory, full of nonsense and not valid."""

    def longer(x):
        return np.concatenate([x, np.repeat(x[-1:], n, axis=0)])

    carry = traj.carry
    traj = jax.tree.map(longer, traj.replace(carry=()))
    steps, behind = traj.steps, np.s_[-n:]
    steps = steps.replace(
        reward=replaced(steps.reward, behind, 99.0), obs=replaced(steps.obs, behind, 99.0),
        avail=replaced(steps.avail, behind, False), first=replaced(steps.first, behind, False),
    )  # fmt: skip
    return traj.replace(steps=steps, carry=carry, valid=replaced(traj.valid, behind, False))


@pytest.mark.parametrize("optimiser", ["rmsprop", "adam"])
def test_padding_changes_nothing(spread, optimiser):
    """Time steps without a valid row take no step, not even of the optimiser's moments."""
    _, learner, parts = spread
    nets = networks(optimiser=optimiser)
    learner = coma.new_learner(nets, learner.actor, learner.critic, learner.target_critic)
    traj = parts[1]
    # The last transition is terminal: nothing is bootstrapped from the slot behind it.
    terminated = replaced(traj.steps.terminated, -1, True)
    traj = traj.replace(steps=traj.steps.replace(terminated=terminated))
    short, metrics = update(nets, learner, traj, hp=HP)
    long, padded_metrics = update(nets, learner, padded(traj, 3), hp=HP)
    assert short.critic_steps == long.critic_steps == traj.valid.shape[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), short, long)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), metrics, padded_metrics
    )


def test_target_is_copied_by_critic_steps(spread):
    """Ten transitions per update, interval 20: the target follows at every second update."""
    nets, learner, parts = spread
    hp = HP.replace(target_interval=20)
    once, _ = update(nets, learner, parts[0], hp=hp)
    jax.tree.map(np.testing.assert_array_equal, once.target_critic, learner.target_critic)
    twice, _ = update(nets, once, parts[1], hp=hp)
    jax.tree.map(np.testing.assert_array_equal, twice.target_critic, twice.critic)
    assert (int(twice.critic_steps), int(twice.last_copy)) == (20, 20)


# --- the policy ----------------------------------------------------------------------------------


def test_counterfactual_advantage_by_hand():
    q, probs = np.array([1.0, 3.0, 8.0]), np.array([0.5, 0.25, 0.25])
    expected = np.array([1, 3, 8]) - (0.5 + 0.75 + 2)
    advantage = jax.jit(coma.counterfactual_advantage)
    for action in range(3):
        a = advantage(q, probs, np.int32(action))
        np.testing.assert_allclose(a, expected[action])
    assert abs(float(probs @ expected)) < 1e-6  # a baseline: its mean under the policy is 0


@pytest.mark.parametrize("mask_before_softmax", [False, True])
def test_the_learner_sees_the_policy_that_played(mask_before_softmax):
    """From the stored memory and last action, through episode ends and unavailable actions."""
    nets = networks("smax/3m", mask_before_softmax=mask_before_softmax)
    learner, parts = segments(nets, "smax/3m", length=40, n=2)
    floor = jax.jit(counterfactual.epsilon)(HP, START)
    assert floor == HP.epsilon_start

    @jax.jit
    def step(carry, obs, first, avail):
        hidden, logits = actor_step(nets.actor, learner.actor, carry, obs, first)
        return hidden, epsilon_floor(logits, avail, floor, mask_before_softmax)

    log_taken = jax.jit(counterfactual.log_taken)
    for traj in parts:
        seen = np.asarray(policy(nets, learner.actor, traj, floor))
        carry, steps = traj.carry, traj.steps
        for t in range(40):
            hidden, probs = step(carry, steps.obs[t], steps.first[t], steps.avail[t])
            np.testing.assert_allclose(seen[t], probs, atol=1e-5)
            carry = carry.replace(hidden=hidden, last_action=traj.action[t])
        log_prob = np.asarray(log_taken(seen, traj))
        assert np.isfinite(log_prob).all() and (log_prob[~traj.valid] == 0).all()
    assert int(parts[-1].steps.first.sum()) > 0
    assert not traj.steps.avail.all()


def test_act_samples_the_floor_and_plays_greedily_without_it():
    nets = networks("game/climbing")
    params = jax.tree.map(np.zeros_like, new_actor(nets))
    params["params"]["fc2"]["bias"] = np.array([0.0, 3.0, 2.0], np.float32)
    batch = 4000
    avail = np.broadcast_to([True, False, True], (batch, 2, 3))
    none = np.zeros(batch)
    ts = TimeStep(
        np.zeros((batch, 2, 1)), np.zeros((batch, 1)), avail, none, none > 0, none > 0,
        none == 0, np.ones((batch, 2), bool), {},
    )  # fmt: skip
    explore = np.arange(batch) < batch // 2
    hp = HP.replace(epsilon_start=0.6)
    _, action, _ = act(
        nets, params, nets.actor.initial_carry(batch), ts, jax.random.key(0), hp=hp,
        progress=START, explore=explore,
    )  # fmt: skip
    action = np.asarray(action)
    # Softmax and floor over all three actions, then renormalised over the two.
    odds = np.exp([0.0, 3.0, 2.0])
    weight = 0.4 * odds / odds.sum() + 0.2
    expected = weight[0] / (weight[0] + weight[2])
    sampled = action[: batch // 2]
    assert set(np.unique(sampled)) == {0, 2}
    assert abs(float((sampled == 0).mean()) - float(expected)) < 0.03
    assert (action[batch // 2 :] == 2).all()


# --- whole updates -------------------------------------------------------------------------------


def test_update_of_several_runs_is_that_of_each(spread):
    nets, learner, parts = spread
    hps = HP, jax.tree.map(lambda x: type(x)(x / 2), HP)
    both = jax.tree.map(lambda *x: np.array(x), *hps)
    together = jax.jit(jax.vmap(lambda hp: update(nets, learner, parts[1], hp=hp)))(both)
    for i, hp in enumerate(hps):
        mine = jax.tree.map(lambda x, i=i: np.asarray(x)[i], together)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), mine,
            update(nets, learner, parts[1], hp=hp),
        )  # fmt: skip


def test_an_infinite_gradient_shows_in_the_loss(spread):
    nets, learner, parts = spread
    steps = parts[1].steps
    traj = parts[1].replace(steps=steps.replace(reward=replaced(steps.reward, 3, 1e30)))
    assert not np.isfinite(update(nets, learner, traj, hp=HP)[1]["loss"])
    assert np.isfinite(update(nets, learner, parts[1], hp=HP)[1]["loss"])


def test_settings_are_checked():
    spec = make_task("probe/match").spec
    found = coma.Config(critic_mode="both", critic_steps=0).problems(spec, Collect())
    assert len(found) == 2 and "sequential" in found[0] and "critic_steps" in found[1]


@pytest.mark.parametrize("name", ["coma", "liir"])
def test_the_paper_preset_holds_the_reference_codes_numbers(name):
    module = algorithm_module(name)
    for task, steps in (("5m_vs_6m", 64_000_000), ("2s3z", 32_000_000)):
        config = load_config(name, f"smax/{task}", preset="paper")
        assert (config.algo, config.hp) == (module.Config(), module.HParams())
        assert (config.collect.mode, config.collect.envs) == ("episode", 32)
        assert (config.total_steps, config.eval.interval) == (steps, 320_000)
    assert (coma.HParams().epsilon_steps, liir.HParams().epsilon_steps) == (100_000, 50_000)
    for change in ablation_names(name):
        assert load_config(name, "smax/3m", preset=f"fast+{change}").algo != module.Config()
