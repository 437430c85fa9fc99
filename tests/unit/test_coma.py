"""COMA's pieces, by hand where that is possible; most of them are LIIR's too."""

from functools import partial

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
from lica_jax.training.rollout import start_stream, unroll
from lica_jax.types import Collect, Progress, TimeStep

START = Progress(jnp.zeros(()), jnp.int32(0), jnp.int32(0))
HP = coma.HParams(reward_scale=1.0, target_interval=10)
SMALL = {"hidden": 8, "critic_hidden": 8}


def networks(task="mpe/simple_spread", **config):
    return coma.make_networks(coma.Config(**SMALL, **config), make_task(task).spec)


def segments(nets, task, length=10, envs=4, n=2):
    """Joined segments of a stream; the second may begin in the middle of an episode."""
    task = make_task(task)
    learner = coma.init(nets, jax.random.key(0))
    # Larger weights than the initial ones, so that memory and last actions matter.
    learner = learner.replace(actor=jax.tree.map(lambda x: 4 * x, learner.actor))
    explore = jnp.ones(envs, bool)
    act = partial(counterfactual.act, nets, learner.actor, hp=HP, progress=START, explore=explore)

    @jax.jit
    def play(stream, key):
        return unroll(task, act, stream, key, length, restart=True)[:2]

    stream, out = start_stream(task, nets.actor.initial_carry(envs), jax.random.key(1), envs), []
    for i in range(n):
        stream, traj = play(stream, jax.random.key(2 + i))
        out.append(traj)
    return learner, out


@pytest.fixture(scope="module")
def spread():
    nets = networks()
    return nets, *segments(nets, "mpe/simple_spread", n=4)


# --- the critic's view ---------------------------------------------------------------------------


def test_critic_inputs_by_hand():
    """Two agents, two actions: agent 0 plays 1 after 0, agent 1 plays 0 after nothing."""
    state, obs = jnp.array([7.0]), jnp.array([[1.0], [2.0]])
    action, previous = jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.array([[1.0, 0.0], [0.0, 0.0]])
    expected = [
        # state, own obs, actions of agents 0 and 1, previous actions of both, index
        [7, 1, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0],
        [7, 2, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1],
    ]
    inputs = critic_inputs(state, obs, action, previous)
    np.testing.assert_array_equal(inputs, expected)
    batched = jax.vmap(critic_inputs)(*(x[None] for x in (state, obs, action, previous)))
    np.testing.assert_array_equal(batched[0], expected)
    spec = make_task("smax/3m").spec
    assert counterfactual.n_critic_inputs(spec) == critic_inputs(
        jnp.zeros(spec.state_size), *(jnp.zeros((spec.n_agents, size)) for size in
        (spec.obs_size, spec.n_actions, spec.n_actions))
    ).shape[-1]  # fmt: skip


def test_own_actions_are_hidden_and_episodes_start_without_previous_ones(spread):
    nets, _, parts = spread
    n, a = nets.spec.n_agents, nets.spec.n_actions
    at = nets.spec.state_size + nets.spec.obs_size
    starts = 0
    for traj in parts:
        inputs = counterfactual.inputs_over(nets, traj)
        taken = inputs[..., at : at + n * a].reshape(*inputs.shape[:-1], n, a)
        own = taken[..., jnp.arange(n), jnp.arange(n), :]
        np.testing.assert_array_equal(own, 0)
        assert float(taken.sum()) == np.prod(taken.shape[:2]) * n * (n - 1)
        previous = inputs[..., at + n * a : at + 2 * n * a].sum(-1)
        np.testing.assert_array_equal(
            previous, jnp.where(traj.steps.first, 0, n)[..., None] + 0 * previous
        )
        starts += int(traj.steps.first.sum())
    assert starts > 4  # episodes also begin within segments


def test_targets_of_a_stream_by_hand():
    """gamma 0.5, lambda 1: an episode ends at slot 2, slot 3 begins another one."""
    nets = networks("probe/constant")
    n = 2
    zeros = jnp.zeros(5)
    steps = TimeStep(
        obs=jnp.zeros((5, 1, n, 2)), state=jnp.zeros((5, 1, 2)), avail=jnp.ones((5, 1, n, 2), bool),
        reward=jnp.array([0.0, 1.0, 2.0, 0.0, 4.0])[:, None],
        terminated=jnp.array([0, 0, 1, 0, 0], bool)[:, None], truncated=(zeros > 0)[:, None],
        first=jnp.array([1, 0, 0, 1, 0], bool)[:, None], alive=jnp.ones((5, 1, n), bool), info={},
    )  # fmt: skip
    traj = counterfactual.Trajectory(
        steps, jnp.zeros((5, 1, n), jnp.int32), jnp.array([1, 1, 0, 1], bool)[:, None],
        nets.actor.initial_carry(1), {},
    )  # fmt: skip
    critic = counterfactual.init_critic(nets, jax.random.key(0))
    critic["params"]["layer_2"] = {"kernel": jnp.zeros((8, 2)), "bias": jnp.array([8.0, 3.0])}
    hp = HP.replace(gamma=0.5, td_lambda=1.0)
    rows = coma.regression(nets, critic, traj, hp)
    # The last transition is bootstrapped from Q = 8 at slot 4; the reset between is worth nothing.
    expected = [1 + 0.5 * 2, 2, 0, 4 + 0.5 * 8]
    np.testing.assert_allclose(rows.target[:, 0], np.repeat(np.array(expected)[:, None], n, 1))


def test_returns_of_each_agent_match_returns_of_one_and_have_a_gradient(x64):
    keys = jax.random.split(jax.random.key(0), 4)
    q, reward = jax.random.normal(keys[0], (6, 3, 2)), jax.random.normal(keys[1], (5, 3))
    terminal, truncated = (jax.random.bernoulli(k, 0.2, (5, 3)) for k in keys[2:])
    rest = reward, terminal, terminal | truncated, jnp.ones((5, 3), bool), 0.9, 0.7
    together = lambda_returns(q, *rest)
    for i in range(2):
        np.testing.assert_allclose(together[..., i], lambda_returns(q[..., i], *rest))

    def first(reward):
        return differentiable_lambda_returns(q, reward, *rest[1:])[0].sum()

    # Reward k reaches the return of slot 0 with (gamma lambda)^k until an episode ends.
    goes_on = jnp.cumprod(jnp.concatenate([jnp.ones((1, 3)), 1.0 - rest[2][:-1]]), axis=0)
    expected = 2 * goes_on * 0.63 ** jnp.arange(5)[:, None]
    np.testing.assert_allclose(jax.grad(first)(reward), expected, atol=1e-12)
    assert not jax.grad(lambda r: lambda_returns(q, r, *rest[1:]).sum())(reward).any()


# --- the critic's steps --------------------------------------------------------------------------


def test_sweep_is_one_step_per_time_step_from_the_last(spread):
    nets, learner, parts = spread
    rows = coma.regression(nets, learner.target_critic, parts[1], HP)
    (params, opt), (q, taken, _) = counterfactual.sweep_critic(
        nets, learner.critic, learner.critic_opt, rows, HP
    )
    assert taken.all()
    critic, state = learner.critic, learner.critic_opt
    for t in reversed(range(len(taken))):
        piece = jax.tree.map(lambda x, t=t: x[t : t + 1], rows)
        # Values are those before the step on their own rows.
        np.testing.assert_allclose(nets.critic.apply(critic, piece.inputs)[0], q[t], atol=1e-5)
        grads = jax.grad(counterfactual.critic_objective, has_aux=True)(critic, nets, piece)[0]
        critic, state, _ = clipped_step(
            "rmsprop", critic, grads, state, HP.critic_lr, HP.grad_norm_clip, HP.rms
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params, critic)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), opt, state)


def test_joint_mode_is_one_step_on_everything(spread):
    _, learner, parts = spread
    nets = networks(critic_mode="joint")
    rows = coma.regression(nets, learner.target_critic, parts[1], HP)
    (params, _), q, n_steps, _ = counterfactual.fit_critic(
        nets, learner.critic, learner.critic_opt, rows, HP
    )
    assert n_steps == 1
    np.testing.assert_allclose(q, nets.critic.apply(learner.critic, rows.inputs), atol=1e-6)
    grads = jax.grad(counterfactual.critic_objective, has_aux=True)(learner.critic, nets, rows)[0]
    expected, *_ = clipped_step(
        "rmsprop", learner.critic, grads, learner.critic_opt, HP.critic_lr, HP.grad_norm_clip,
        HP.rms,
    )  # fmt: skip
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), params, expected)


def padded(traj, n):
    """``n`` more slots behind a trajectory, full of nonsense and not valid."""

    def longer(x):
        return jnp.concatenate([x, jnp.repeat(x[-1:], n, axis=0)])

    carry = traj.carry
    traj = jax.tree.map(longer, traj.replace(carry=()))
    steps = traj.steps.replace(
        reward=traj.steps.reward.at[-n:].set(99.0), obs=traj.steps.obs.at[-n:].set(99.0),
        avail=traj.steps.avail.at[-n:].set(False), first=traj.steps.first.at[-n:].set(False),
    )  # fmt: skip
    return traj.replace(steps=steps, carry=carry, valid=traj.valid.at[-n:].set(False))


@pytest.mark.parametrize("optimiser", ["rmsprop", "adam"])
def test_padding_changes_nothing(spread, optimiser):
    """Time steps without a valid row take no step, not even of the optimiser's moments."""
    _, learner, parts = spread
    nets = networks(optimiser=optimiser)
    learner = coma.new_learner(nets, learner.actor, learner.critic, learner.target_critic)
    traj = parts[1]
    # The last transition is terminal: nothing is bootstrapped from the slot behind it.
    traj = traj.replace(steps=traj.steps.replace(terminated=traj.steps.terminated.at[-1].set(True)))
    update = jax.jit(partial(coma.update, nets, key=jax.random.key(0), hp=HP, progress=START))
    short, metrics = update(learner, traj)
    long, padded_metrics = update(learner, padded(traj, 3))
    assert short.critic_steps == long.critic_steps == traj.valid.shape[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), short, long)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), metrics, padded_metrics
    )


def test_target_is_copied_by_critic_steps(spread):
    """Ten transitions per update, interval 20: the target follows at every second update."""
    nets, learner, parts = spread
    hp = HP.replace(target_interval=20)
    update = jax.jit(partial(coma.update, nets, key=jax.random.key(0), hp=hp, progress=START))
    once, _ = update(learner, parts[0])
    jax.tree.map(np.testing.assert_array_equal, once.target_critic, learner.target_critic)
    twice, _ = update(once, parts[1])
    jax.tree.map(np.testing.assert_array_equal, twice.target_critic, twice.critic)
    assert (int(twice.critic_steps), int(twice.last_copy)) == (20, 20)


# --- the policy ----------------------------------------------------------------------------------


def test_counterfactual_advantage_by_hand():
    q, probs = jnp.array([1.0, 3.0, 8.0]), jnp.array([0.5, 0.25, 0.25])
    expected = np.array([1, 3, 8]) - (0.5 + 0.75 + 2)
    for action in range(3):
        a = coma.counterfactual_advantage(q, probs, jnp.int32(action))
        np.testing.assert_allclose(a, expected[action])
    assert abs(float(probs @ expected)) < 1e-6  # a baseline: its mean under the policy is 0


@pytest.mark.parametrize("mask_before_softmax", [False, True])
def test_the_learner_sees_the_policy_that_played(mask_before_softmax):
    """From the stored memory and last action, through episode ends and unavailable actions."""
    nets = networks("smax/3m", mask_before_softmax=mask_before_softmax)
    learner, parts = segments(nets, "smax/3m", length=40, n=2)
    floor = counterfactual.epsilon(HP, START)
    assert floor == HP.epsilon_start
    step = jax.jit(partial(actor_step, nets.actor, learner.actor))
    policy = jax.jit(counterfactual.policy, static_argnums=0)
    for traj in parts:
        seen = policy(nets, learner.actor, traj, floor)
        carry = traj.carry
        for t in range(40):
            hidden, logits = step(carry, traj.steps.obs[t], traj.steps.first[t])
            avail = traj.steps.avail[t]
            probs = epsilon_floor(logits, avail, floor, mask_before_softmax)
            np.testing.assert_allclose(seen[t], probs, atol=1e-5)
            carry = carry.replace(hidden=hidden, last_action=traj.action[t])
        log_prob = counterfactual.log_taken(seen, traj)
        assert jnp.isfinite(log_prob).all() and (log_prob[~np.asarray(traj.valid)] == 0).all()
    assert int(parts[-1].steps.first.sum()) > 0
    assert not np.asarray(traj.steps.avail).all()


def test_act_samples_the_floor_and_plays_greedily_without_it():
    nets = networks("game/climbing")
    params = jax.tree.map(jnp.zeros_like, nets.actor.init(jax.random.key(0)))
    params["params"]["fc2"]["bias"] = jnp.array([0.0, 3.0, 2.0])
    batch = 4000
    avail = jnp.broadcast_to(jnp.array([True, False, True]), (batch, 2, 3))
    none = jnp.zeros(batch)
    ts = TimeStep(
        jnp.zeros((batch, 2, 1)), jnp.zeros((batch, 1)), avail, none, none > 0, none > 0,
        none == 0, jnp.ones((batch, 2), bool), {},
    )  # fmt: skip
    explore = jnp.arange(batch) < batch // 2
    hp = HP.replace(epsilon_start=0.6)
    _, action, _ = counterfactual.act(
        nets, params, nets.actor.initial_carry(batch), ts, jax.random.key(0), hp=hp,
        progress=START, explore=explore,
    )  # fmt: skip
    # Softmax and floor over all three actions, then renormalised over the two.
    weight = 0.4 * jax.nn.softmax(jnp.array([0.0, 3.0, 2.0])) + 0.2
    expected = weight[0] / (weight[0] + weight[2])
    sampled = np.asarray(action)[: batch // 2]
    assert set(np.unique(sampled)) == {0, 2}
    assert abs(float((sampled == 0).mean()) - float(expected)) < 0.03
    assert (action[batch // 2 :] == 2).all()


# --- whole updates -------------------------------------------------------------------------------


def test_update_of_several_runs_is_that_of_each(spread):
    nets, learner, parts = spread
    hps = jax.tree.map(lambda x: jnp.array([x, x / 2]), HP)
    one = partial(coma.update, nets, learner, parts[1], jax.random.key(0), progress=START)
    update = jax.jit(lambda hp: one(hp=hp))
    together = jax.jit(jax.vmap(update))(hps)
    for i in range(2):
        mine = jax.tree.map(lambda x, i=i: x[i], (together, hps))
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), mine[0], update(mine[1])
        )


def test_an_infinite_gradient_shows_in_the_loss(spread):
    nets, learner, parts = spread
    steps = parts[1].steps
    traj = parts[1].replace(steps=steps.replace(reward=steps.reward.at[3].set(1e30)))
    update = jax.jit(partial(coma.update, nets, key=jax.random.key(0), hp=HP, progress=START))
    assert not jnp.isfinite(update(learner, traj)[1]["loss"])
    assert jnp.isfinite(update(learner, parts[1])[1]["loss"])


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
