"""Remedies for LICA by hand: a value of the state apart, soft inputs, a target for entropy."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.lica import actor_update, critic_update, lica
from lica_jax.algorithms.lica.learner import Learner, critic_batch, make_networks
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
from tests.unit.test_ppo import SPEC, START, B, N, battle, drawn, learner_of, networks

HP = lica.HParams(reward_scale=1.0)
KEY = jax.random.key(7)
SMALL = lica.Config(actor="mlp", hidden=8, mixing_embed=4, hypernet_hidden=8, critic_pass="dense")

# Those of equal settings share their programs.
make_networks = cache(make_networks)
# Hundreds of operations on their own take several times as long to compile.
critic_batch = jax.jit(critic_batch, static_argnums=0)


class Plain(JointCritic):
    """``A(s, u) = u . w + 10 s``."""

    def setup(self):
        self.w = self.param("w", jax.nn.initializers.zeros, (4,))

    def __call__(self, state, u):
        return jnp.sum(u * self.w, axis=-1) + 10 * state[..., 0]


@pytest.fixture(scope="module")
def traj():
    """A batch with the policies that acted, as `act` keeps them: uniform over what is available."""
    traj = battle(networks(actor="mlp", critic="mlp"))
    avail = np.asarray(traj.steps.avail, np.float32)
    return traj.replace(extras={"policy": avail / avail.sum(-1, keepdims=True)})


def world(traj, **choices):
    nets = make_networks(replace(SMALL, **choices), SPEC)
    return nets, begun(nets), critic_batch(nets, traj)


def begun(nets):
    """A learner; as in `lica.init` what follows the critic is equal to it."""
    learner = learner_of(lica.init, nets, "actor", "critic")
    following = [name for name in ("target_critic", "average") if getattr(learner, name, ())]
    return learner.replace(**dict.fromkeys(following, learner.critic))


# --- a value of the state apart ------------------------------------------------------------------


def test_dueling_by_hand(x64):
    """Two agents with two actions: A(u) = 1 + 2 = 3, A(pi) = 2.5 - 1 = 1.5, whatever the state."""
    critic = DuelingCritic(Plain(4), hidden=3)
    state = np.array([[0.7]])
    taken, policy = np.array([[1.0, 0, 0, 1]]), np.array([[0.25, 0.75, 0.75, 0.25]])
    params = drawn(jax.eval_shape(critic.init, KEY, state, taken))
    params["params"]["advantage"]["w"] = np.array([1.0, 3.0, -2.0, 2.0])

    @jax.jit
    def found(params):
        several = partial(critic.apply, state=state, u=np.stack([taken, policy], axis=1))
        several = partial(several, method="at_several")
        values = [critic.apply(params, state, u) for u in (taken, policy)]
        slope = jax.grad(lambda u: critic.apply(params, state, u)[0])(policy)
        by_q, by_v = (jax.grad(lambda p, k=k: several(p)[0, k])(params)["params"] for k in (0, 1))
        return several(params), values, slope, by_q, by_v

    q, (value, same), slope, by_q, by_v = jax.device_get(found(params))
    assert same == value  # of u as policies: V(s)
    np.testing.assert_allclose(q, [[value[0] + 3 - 1.5, value[0]]], rtol=1e-12)
    # The actor climbs A, whose slope is w.
    np.testing.assert_allclose(slope, [[1, 3, -2, 2]])
    # What V leaves is A's to learn, and only that: d/dw (A(u) - A(pi)) = u - pi.
    np.testing.assert_allclose(by_q["advantage"]["w"], (taken - policy)[0])
    assert not any(np.any(x) for x in jax.tree.leaves((by_q["value"], by_v["advantage"])))
    assert any(np.any(x) for x in jax.tree.leaves(by_v["value"]))


def test_the_value_and_what_it_leaves_learn_from_one_return(traj):
    """Targets look V up; both errors are squared and averaged."""
    nets, learner, batch = world(traj, dueling=True)

    @jax.jit
    def found(learner, batch, traj):
        states = batch.state
        nobody = jnp.zeros((*states.shape[:-1], nets.critic.n_inputs))
        value = nets.critic.apply(learner.critic, states, nobody)
        want = critic_update.lambda_returns(
            value, traj.steps.reward[1:], *traj.endings(), HP.gamma, HP.td_lambda
        )
        target = critic_update.critic_targets(nets, learner.target_critic, batch, traj, HP)
        return (
            value,
            want,
            target,
            critic_update.critic_objective(learner.critic, nets, batch, target),
        )

    value, want, target, (loss, taken) = jax.device_get(found(learner, batch, traj))
    np.testing.assert_allclose(target, want, rtol=1e-4, atol=1e-5)
    valid = np.asarray(traj.valid)
    errors = [(x - target)[valid] for x in (taken, value[:-1])]
    assert loss == pytest.approx(np.mean([np.mean(e**2) for e in errors]), rel=1e-4)
    assert np.abs(errors[0] - errors[1]).max() > 1e-3  # actions have effects


def test_no_action_has_an_effect_before_it_has_been_learned(traj):
    nets, _, batch = world(traj, dueling=True, critic_zero_actions=True)
    learner = jax.jit(partial(lica.init, nets))(KEY)
    loss = jax.jit(jax.grad(actor_update.actor_objective, has_aux=True), static_argnums=1)
    still = HP.replace(entropy_coef=0.0)
    grads, shown = loss(learner.actor, nets, learner.critic, batch, traj, still)
    assert not any(np.any(x) for x in jax.tree.leaves(grads))
    state, policy = (np.asarray(x)[:-1] for x in (batch.state, batch.policy))
    value = jax.jit(nets.critic.apply)(learner.critic, state, policy.reshape(*state.shape[:-1], -1))
    want = np.mean(np.asarray(value)[np.asarray(traj.valid)])
    assert shown["q_policy_mean"] == pytest.approx(float(want))
    learner, _ = jax.jit(critic_update.update_critic, static_argnums=0)(
        nets, learner, batch, traj, still
    )
    grads, _ = loss(learner.actor, nets, learner.critic, batch, traj, still)
    assert any(np.any(x) for x in jax.tree.leaves(grads))


# --- soft inputs ---------------------------------------------------------------------------------


def test_one_agents_part_is_replaced_by_hand():
    u, by = np.array([[1.0, 2], [3, 4]]), np.array([[[5.0, 6]], [[7, 8]]])
    got = jax.jit(with_one_replaced)(u, by)
    np.testing.assert_array_equal(got, [[[5, 6, 3, 4]], [[1, 2, 7, 8]]])


@pytest.mark.parametrize("critic", [MixingCritic(6, 4, 2, 5), MLPCritic(6, 5)])
def test_several_inputs_are_one_after_the_other(critic, x64):
    rng = np.random.default_rng(7)
    state, u = rng.normal(size=(3, 2)), rng.uniform(size=(3, 4, 6))
    action = np.array([[0, 2], [1, 1], [2, 0]])
    one_hot = np.eye(3)[[[1, 2], [1, 1], [1, 0]]].reshape(3, 6)
    params = drawn(jax.eval_shape(critic.init, KEY, state, u[:, 0]))

    @jax.jit
    def found(params, state, u, action, one_hot):
        several = critic.apply(params, state, u, method="at_several")
        deviations = critic.apply(params, state, action, method="at_deviations")
        each = [critic.apply(params, state, x) for x in (*jnp.moveaxis(u, 1, 0), one_hot)]
        return several, deviations, each

    several, deviations, (*each, deviation) = jax.device_get(
        found(params, state, u, action, one_hot)
    )
    np.testing.assert_allclose(several, np.stack(each, axis=1), rtol=1e-12)
    # And so are all deviations of one agent: (a, u_-i) for two agents with three actions.
    np.testing.assert_allclose(deviations[:, 0, 1], deviation, rtol=1e-12)


def test_soft_inputs_are_fitted_to_the_same_return(traj):
    """Half the loss is that of the action taken, half the mean over agents."""
    nets, learner, batch = world(traj, critic_soft_inputs=True)
    plain = world(traj)[0]

    @jax.jit
    def found(learner, batch, traj):
        target, alone = (
            critic_update.critic_targets(x, learner.target_critic, batch, traj, HP)
            for x in (nets, plain)
        )
        args = learner.critic, batch.state[:-1], batch.action[:-1]
        soft = nets.critic.apply(*args, batch.policy[:-1], method="at_own_policies")
        taken = nets.critic.apply(*args, traj.valid, method="at_actions")
        loss, _ = critic_update.critic_objective(learner.critic, nets, batch, target)
        return target, alone, soft, taken, loss

    target, alone, soft, taken, loss = jax.device_get(found(learner, batch, traj))
    np.testing.assert_allclose(target, alone, rtol=1e-4, atol=1e-5)
    valid = np.asarray(traj.valid)
    errors = (np.mean((x - y)[valid] ** 2) for x, y in (
        (taken, target), (soft, target[..., None])))  # fmt: skip
    assert loss == pytest.approx(np.mean(list(errors)), rel=1e-4) and soft.shape[-1] == N


# --- entropy towards a target --------------------------------------------------------------------


def test_the_gap_by_hand(x64):
    """Of four agents one is dead, one may only wait: log 2 / log 4 = .5, and 0 of log 2."""
    choices, entropy = np.array([[[4, 2, 1, 0]]]), np.array([[[np.log(2), 0.0, 0.0, 9.0]]])
    one, gap = np.ones((1, 1)), jax.jit(entropy_gap)
    np.testing.assert_allclose(gap(entropy, choices, one, 0.6), [0.25, 0.35])
    np.testing.assert_allclose(gap(entropy, choices, 0 * one, 0.6), [0, 0])
    bonus, coef = jax.jit(partial(entropy_bonus, mode="target"))(entropy, choices, one, 0.1)
    np.testing.assert_allclose([bonus, coef], [0.1 * np.log(2) / 2, 0.1])


def test_xi_rises_while_the_entropy_is_too_low():
    assert controlled(1.0, 0.35, 0.1) == pytest.approx(1.035)
    assert controlled(6.9, 0.5, 9.0) == pytest.approx(7) and controlled(0.0, -1.0, 9.0) == -7


def test_xi_is_adjusted_in_an_update(traj):
    nets, learner, _ = world(traj, entropy_mode="target")
    hp = HP.replace(
        entropy_target=1.0, entropy_target_final=0.0, entropy_target_steps=10.0, entropy_rate=2.0
    )
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
    after, shown = update(learner, traj, KEY, hp=hp, progress=late)
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
    nets = make_networks(replace(SMALL, critic="mlp", mlp_hidden=50, critic_soft_inputs=True), SPEC)
    scratch = lica.scratch_bytes(nets, 100)
    assert scratch["the critic's hidden layers"] == 8 * 100 * (N + 2) * 4 * 50


def test_the_policies_that_acted_are_kept_only_where_they_are_asked_for(traj):
    ts = jax.tree.map(lambda x: np.asarray(x)[0], traj.steps)
    for choices, kept in (({}, False), ({"dueling": True}, True)):
        nets, learner, _ = world(traj, **choices)
        act = jax.jit(partial(lica.act, nets, hp=HP, progress=START))
        carry, explore = nets.actor.initial_carry(B), np.ones(B, bool)
        *_, extras = act(learner.actor, carry, ts, KEY, explore=explore)
        assert ("policy" in extras) == kept and type(learner) is Learner
    policy = np.asarray(extras["policy"])
    np.testing.assert_allclose(policy.sum(-1), 1, rtol=1e-5)
    assert not np.any(policy[~ts.avail])


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
