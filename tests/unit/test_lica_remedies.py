"""Remedies for LICA by hand: a value of the state apart, soft inputs, a target for entropy."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.lica import lica
from lica_jax.config import load_config, resolve
from lica_jax.core.entropy import controlled, entropy_bonus, entropy_gap
from lica_jax.envs import make_task
from lica_jax.errors import UserError
from lica_jax.networks.critics import (
    DuelingCritic,
    JointCritic,
    MixingCritic,
    MLPCritic,
    with_one_replaced,
)
from tests.glossary import check_figures
from tests.unit.test_ppo import SPEC, START, B, N, battle, networks

HP = lica.HParams(reward_scale=1.0)
KEY = jax.random.key(7)
SMALL = lica.Config(actor="mlp", hidden=8, mixing_embed=4, hypernet_hidden=8, critic_pass="dense")


class Plain(JointCritic):
    """``A(s, u) = u . w + 10 s``, with w = (1, 3, -2, 2) at first."""

    def setup(self):
        self.w = self.param("w", lambda _: jnp.array([1.0, 3.0, -2.0, 2.0]))

    def __call__(self, state, u):
        return jnp.sum(u * self.w, axis=-1) + 10 * state[..., 0]


@pytest.fixture(scope="module")
def traj():
    """A batch with the policies that acted, as `act` keeps them: uniform over what is available."""
    traj = battle(networks(actor="mlp", critic="mlp"))
    avail = traj.steps.avail.astype(jnp.float32)
    return traj.replace(extras={"policy": avail / avail.sum(-1, keepdims=True)})


def world(traj, **choices):
    nets = lica.make_networks(replace(SMALL, **choices), SPEC)
    learner = lica.init(nets, jax.random.key(0))
    return nets, learner, lica.critic_batch(nets, traj)


# --- a value of the state apart ------------------------------------------------------------------


def test_dueling_by_hand(x64):
    """Two agents with two actions: A(u) = 1 + 2 = 3, A(pi) = 2.5 - 1 = 1.5, whatever the state."""
    critic = DuelingCritic(Plain(4), hidden=3)
    state = jnp.array([[0.7]])
    taken, policy = jnp.array([[1.0, 0, 0, 1]]), jnp.array([[0.25, 0.75, 0.75, 0.25]])
    both = jnp.stack([taken, policy], axis=1)
    params = critic.init(KEY, state, taken)
    value = critic.apply(params, state, taken)  # of u as policies: V(s)
    several = partial(critic.apply, method="at_several")
    q = several(params, state, both)
    np.testing.assert_allclose(q, [[value[0] + 3 - 1.5, value[0]]], rtol=1e-12)
    assert critic.apply(params, state, policy) == value
    # The actor climbs A, whose slope is w.
    slope = jax.grad(lambda u: critic.apply(params, state, u)[0])(policy)
    np.testing.assert_allclose(slope, [[1, 3, -2, 2]])
    # What V leaves is A's to learn, and only that: d/dw (A(u) - A(pi)) = u - pi.
    by_q, by_v = (
        jax.grad(lambda p, k=k: several(p, state, both)[0, k])(params)["params"] for k in (0, 1)
    )
    np.testing.assert_allclose(by_q["advantage"]["w"], (taken - policy)[0])
    assert not any(np.any(x) for x in jax.tree.leaves((by_q["value"], by_v["advantage"])))
    assert any(np.any(x) for x in jax.tree.leaves(by_v["value"]))


def test_the_value_and_what_it_leaves_learn_from_one_return(traj):
    """Targets look V up; both errors are squared and averaged."""
    nets, learner, batch = world(traj, dueling=True)
    states = batch.state
    value = nets.critic.apply(
        learner.critic, states, jnp.zeros((*states.shape[:-1], nets.critic.n_inputs))
    )
    want = lica.lambda_returns(
        value, traj.steps.reward[1:], *traj.endings(), HP.gamma, HP.td_lambda
    )
    target = lica.critic_targets(nets, learner.target_critic, batch, traj, HP)
    np.testing.assert_allclose(target, want, rtol=1e-4, atol=1e-5)
    loss, taken = lica.critic_objective(learner.critic, nets, batch, target)
    valid = np.asarray(traj.valid)
    errors = [np.asarray(x - target)[valid] for x in (taken, value[:-1])]
    assert loss == pytest.approx(np.mean([np.mean(e**2) for e in errors]), rel=1e-4)
    assert np.abs(errors[0] - errors[1]).max() > 1e-3  # actions have effects


def test_no_action_has_an_effect_before_it_has_been_learned(traj):
    nets, learner, batch = world(traj, dueling=True, critic_zero_actions=True)
    loss = jax.jit(jax.grad(lica.actor_objective, has_aux=True), static_argnums=1)
    still = HP.replace(entropy_coef=0.0)
    grads, shown = loss(learner.actor, nets, learner.critic, batch, traj, still)
    assert not any(np.any(x) for x in jax.tree.leaves(grads))
    value = nets.critic.apply(learner.critic, batch.state[:-1], batch.policy[:-1].reshape(
        *batch.state[:-1].shape[:-1], -1))  # fmt: skip
    assert shown["q_policy_mean"] == pytest.approx(float(lica.masked_mean(value, batch.mask)))
    learner, _ = jax.jit(lica.update_critic, static_argnums=0)(nets, learner, batch, traj, still)
    grads, _ = loss(learner.actor, nets, learner.critic, batch, traj, still)
    assert any(np.any(x) for x in jax.tree.leaves(grads))


# --- soft inputs ---------------------------------------------------------------------------------


def test_one_agents_part_is_replaced_by_hand():
    u, by = jnp.array([[1.0, 2], [3, 4]]), jnp.array([[[5.0, 6]], [[7, 8]]])
    np.testing.assert_array_equal(with_one_replaced(u, by), [[[5, 6, 3, 4]], [[1, 2, 7, 8]]])


@pytest.mark.parametrize("critic", [MixingCritic(6, 4, 2, 5), MLPCritic(6, 5)])
def test_several_inputs_are_one_after_the_other(critic, x64):
    state, u = jax.random.normal(KEY, (3, 2)), jax.random.uniform(KEY, (3, 4, 6))
    params = critic.init(KEY, state, u[:, 0])
    want = jnp.stack([critic.apply(params, state, u[:, k]) for k in range(4)], axis=1)
    got = critic.apply(params, state, u, method="at_several")
    np.testing.assert_allclose(got, want, rtol=1e-12)
    # And so are all deviations of one agent: (a, u_-i) for two agents with three actions.
    action = jnp.array([[0, 2], [1, 1], [2, 0]])
    got = critic.apply(params, state, action, method="at_deviations")
    one_hot = jax.nn.one_hot(jnp.array([[1, 2], [1, 1], [1, 0]]), 3).reshape(3, 6)
    np.testing.assert_allclose(got[:, 0, 1], critic.apply(params, state, one_hot), rtol=1e-12)


def test_soft_inputs_are_fitted_to_the_same_return(traj):
    """Half the loss is that of the action taken, half the mean over agents."""
    nets, learner, batch = world(traj, critic_soft_inputs=True)
    target = lica.critic_targets(nets, learner.target_critic, batch, traj, HP)
    plain = world(traj)[0]
    alone = lica.critic_targets(plain, learner.target_critic, batch, traj, HP)
    np.testing.assert_allclose(target, alone, rtol=1e-4, atol=1e-5)
    state, valid = batch.state[:-1], np.asarray(traj.valid)
    args = state, batch.action[:-1], batch.policy[:-1]
    soft = nets.critic.apply(learner.critic, *args, method="at_own_policies")
    taken = nets.critic.apply(learner.critic, *args[:2], traj.valid, method="at_actions")
    errors = (np.mean(np.asarray(x - y)[valid] ** 2) for x, y in (
        (taken, target), (soft, target[..., None])))  # fmt: skip
    loss, _ = lica.critic_objective(learner.critic, nets, batch, target)
    assert loss == pytest.approx(np.mean(list(errors)), rel=1e-4) and soft.shape[-1] == N


# --- entropy towards a target --------------------------------------------------------------------


def test_the_gap_by_hand(x64):
    """Of four agents one is dead, one may only wait: log 2 / log 4 = .5, and 0 of log 2."""
    choices, entropy = jnp.array([[[4, 2, 1, 0]]]), jnp.array([[[np.log(2), 0.0, 0.0, 9.0]]])
    got = entropy_gap(entropy, choices, jnp.ones((1, 1)), 0.6)
    np.testing.assert_allclose(got, [0.25, 0.35])
    np.testing.assert_allclose(entropy_gap(entropy, choices, jnp.zeros((1, 1)), 0.6), [0, 0])
    bonus, coef = entropy_bonus(entropy, choices, jnp.ones((1, 1)), 0.1, "target")
    np.testing.assert_allclose([bonus, coef], [0.1 * np.log(2) / 2, 0.1])


def test_xi_rises_while_the_entropy_is_too_low():
    assert controlled(1.0, 0.35, 0.1) == pytest.approx(1.035)
    assert controlled(6.9, 0.5, 9.0) == pytest.approx(7) and controlled(0.0, -1.0, 9.0) == -7


def test_xi_is_adjusted_in_an_update(traj):
    nets, learner, _ = world(traj, entropy_mode="target")
    hp = HP.replace(entropy_target=1.0, entropy_rate=2.0)
    update = jax.jit(partial(lica.update, nets))
    after, one = update(learner, traj, KEY, hp=hp, progress=START)
    assert one["entropy_coef_effective"] == pytest.approx(hp.entropy_coef)
    assert one["entropy_gap"] == pytest.approx(1 - float(one["entropy_fraction"]), rel=1e-3)
    assert (
        after.log_factor == pytest.approx(2 * float(one["entropy_gap"])) and one["entropy_gap"] > 0
    )
    _, two = update(after, traj, KEY, hp=hp, progress=START)
    want = hp.entropy_coef * np.exp(float(after.log_factor))
    assert two["entropy_coef_effective"] == pytest.approx(want, rel=1e-5)
    # Behind the end of the target's schedule it is the last one that counts.
    late = START.replace(env_steps=jnp.float32(10))
    falling = hp.replace(entropy_target_final=0.0, entropy_target_steps=10.0)
    after, shown = update(learner, traj, KEY, hp=falling, progress=late)
    assert after.log_factor == pytest.approx(-2 * float(shown["entropy_fraction"]), rel=1e-4)


# --- all together --------------------------------------------------------------------------------


def test_a_whole_update_with_all_of_it(traj):
    choices = {
        "dueling": True, "critic_soft_inputs": True, "critic_zero_actions": True,
        "entropy_mode": "target", "critic_minibatches": 2, "critic_layer_norm": True,
        "critic_average": True, "state_obs": True, "hypernet_views": True,
    }  # fmt: skip
    nets, learner, _ = world(traj, **choices)
    hp = HP.replace(td_lambda=0.95)
    update = jax.jit(partial(lica.update, nets, hp=hp, progress=START))
    after, shown = update(learner, traj, KEY)
    assert np.isfinite(shown["loss"]) and after.critic_steps == 2
    assert {*vars(after)} - {*vars(world(traj)[1])} == {"average", "log_factor"}
    check_figures("lica", list(shown))
    scratch = lica.scratch_bytes(nets, 100)
    assert scratch["the critic's joint inputs"] == 8 * 100 * (N + 2) * (nets.critic.n_inputs + 8)
    # C_MLP is gone through anew at each of them.
    nets = lica.make_networks(
        replace(SMALL, critic="mlp", mlp_hidden=50, critic_soft_inputs=True), SPEC
    )
    scratch = lica.scratch_bytes(nets, 100)
    assert scratch["the critic's hidden layers"] == 8 * 100 * (N + 2) * 4 * 50


def test_the_policies_that_acted_are_kept_only_where_they_are_asked_for(traj):
    ts = jax.tree.map(lambda x: x[0], traj.steps)
    for choices, kept in (({}, False), ({"dueling": True}, True)):
        nets, learner, _ = world(traj, **choices)
        carry, explore = nets.actor.initial_carry(B), jnp.ones(B, bool)
        *_, extras = lica.act(
            nets, learner.actor, carry, ts, KEY, hp=HP, progress=START, explore=explore
        )
        assert ("policy" in extras) == kept and type(learner) is lica.Learner
    np.testing.assert_allclose(extras["policy"].sum(-1), 1, rtol=1e-5)
    assert not np.any(extras["policy"][~ts.avail])


@pytest.mark.parametrize(
    ("task", "algo", "said"),
    [
        ("probe/match", {"dueling": True, "critic_pass": "grouped"}, "dueling fits the critic at"),
        ("probe/match", {"critic": "mlp", "critic_zero_actions": True}, "critic_zero_actions is"),
        ("probe/match", {"hypernet_views": True}, "reads what algo.state_obs appends"),
        (
            "probe/match",
            {"hypernet_views": True, "state_obs": True, "critic": "mlp"},
            "hypernet_views is about the mixing critic",
        ),
        (
            "probe/match",
            {"hypernet_views": True, "state_obs": True, "critic_pass": "grouped"},
            "hypernet_views computes all",
        ),
        ("probe/aim", {"entropy_mode": "target"}, 'entropy_mode "target" is a fraction'),
    ],
)
def test_contradictions_are_refused(task, algo, said):
    with pytest.raises(UserError, match=said):
        resolve(load_config("lica", task, algo=algo), make_task(task).spec)
