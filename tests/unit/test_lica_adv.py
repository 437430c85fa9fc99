"""LICA-ADV by hand: traces, advantages of every kind, the critic's two passes, whole updates."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.lica_adv import advantages, lica_adv
from lica_jax.algorithms.ppo import shared as ppo
from lica_jax.config import load_config, resolve
from lica_jax.core.losses import critic_loss
from lica_jax.core.returns import gae, truncated_gae, truncated_ratios
from lica_jax.core.value_norm import denormalise, statistics
from lica_jax.envs import make_task
from lica_jax.errors import UserError
from lica_jax.networks import critics
from lica_jax.networks.critics import MixingCritic, joint_one_hot
from lica_jax.runs.messages import without_effect
from lica_jax.types import Collect, TaskSpec
from tests.step_sizes import check_half_way
from tests.unit.test_ppo import SPEC, START, B, N, battle, drawn, learner_of, networks

HP = lica_adv.HParams(reward_scale=1.0)
# Schedules that end where they start: those of the tests need no program of their own.
HP = HP.replace(entropy_final=HP.entropy_coef, effect_final=HP.effect_weight)
KINDS = ("state_value", "counterfactual", "soft", "doubly_robust")

# Hundreds of operations on their own take several times as long to compile.
make_batch = jax.jit(lica_adv.make_batch, static_argnums=0)
log_policies = jax.jit(lica_adv.log_policies, static_argnums=0)
update = jax.jit(lica_adv.update, static_argnums=0)

# --- traces --------------------------------------------------------------------------------------


def test_truncated_ratios_by_hand(x64):
    ratio = np.array([[0.5, 2.0], [0.5, 0.5], [1.5, 1.0]])
    # .5 min(1.02, 2) = .51 and 2 * .5 = 1; .5 * .5 twice; 1.5 -> 1 and 1 min(1.02, 1.5) -> 1
    want = [[0.51, 1.0], [0.25, 0.25], [1.0, 1.0]]
    np.testing.assert_allclose(jax.jit(truncated_ratios)(np.log(ratio)), want)
    joint = jax.jit(partial(truncated_ratios, joint=True))(np.log(ratio))
    np.testing.assert_allclose(joint, [[1.0], [0.25], [1.0]])


def test_truncated_advantages_by_hand(x64):
    value = np.array([9.0, 3.0, 4.0])[:, None, None] * np.ones(2)
    off, on = np.zeros((2, 1), bool), np.ones((2, 1), bool)
    trace = np.array([[[0.1, 0.1]], [[1.0, 0.5]]])
    args = np.array([[1.0], [2.0]]), off, off, on, trace, 0.5, 0.5
    advantage, target = jax.jit(truncated_gae)(value, *args)
    # delta_1 = 2 + .5 * 4 - 3 = 1;  delta_0 = 1 + .5 * 3 - 9 = -6.5;  A_0 = -6.5 + .25 c_1
    np.testing.assert_allclose(advantage[:, 0], [[-6.25, -6.375], [1.0, 1.0]])
    np.testing.assert_allclose(target[:, 0], [[2.75, 2.625], [4.0, 4.0]])


def test_policies_that_have_not_moved_have_plain_advantages():
    traj = battle(networks(critic="mlp"))
    value = np.random.default_rng(1).normal(size=(*traj.steps.first.shape, N)).astype(np.float32)

    @jax.jit
    def found(value, traj):
        parts, ones = (traj.steps.reward[1:], *traj.endings()), jnp.ones((*traj.valid.shape, N))
        return gae(value, *parts, 0.9, 0.8), truncated_gae(value, *parts, ones, 0.9, 0.8)

    want, got = found(value, traj)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), got, want)


# --- advantages ----------------------------------------------------------------------------------


def rows(advantage, action, living, avail=None):
    """A batch [1, rows, 1 agent, 2 actions] of what the advantages are made of."""
    shape = (1, len(action), 1)
    nothing = dict.fromkeys(("obs", "previous", "first", "carry", "view", "value", "target"), ())
    return advantages.Batch(
        **nothing, advantage=np.array(advantage).reshape(shape), valid=(), old=(), effect=(),
        action=np.array(action).reshape(shape), living=np.array(living).reshape(shape),
        log_prob=(), avail=np.ones((*shape, 2), bool) if avail is None else avail,
    )  # fmt: skip


Q = np.array([[[[1.0, 3.0]], [[0.0, 2.0]], [[5.0, -5.0]]]])
PROBS = np.array([[[[0.25, 0.75]], [[0.5, 0.5]], [[0.5, 0.5]]]])
counterfactual, doubly_robust = map(jax.jit, (advantages.counterfactual, advantages.doubly_robust))


def test_plain_advantages_are_standardised_over_the_living(x64):
    got = jax.jit(advantages.plain)(rows([1.0, 3.0, 100.0], [0, 1, 0], [1.0, 1.0, 0.0])).advantage
    np.testing.assert_allclose(got[0, :2, 0], [-1, 1], rtol=1e-4)


def test_counterfactual_advantages_by_hand(x64):
    # sum_a pi q: 2.5 and 1, so that 4 and 6 become 1.5 and 5: 3.25 -+ 1.75
    batch = rows([4.0, 6.0, 0.0], [0, 1, 0], [1.0, 1.0, 0.0])
    got = counterfactual(batch, Q, PROBS)
    np.testing.assert_allclose(got.advantage[0, :2, 0], [-1, 1], rtol=1e-4)
    swapped = rows([6.0, 4.0, 0.0], [0, 1, 0], [1.0, 1.0, 0.0])  # 3.5 and 3
    got = counterfactual(swapped, Q, PROBS)
    np.testing.assert_allclose(got.advantage[0, :2, 0], [1, -1], rtol=1e-4)


def test_doubly_robust_advantages_by_hand(x64):
    """effect: (-1.5, .5) and (-1, 1); what is left of 4 and 6: 5.5 and 5, or +-.25.

    Variance of the effects: (.25 * 2.25 + .75 * .25 + 1) / 2 = .875; of what is left .0625.
    """
    batch = rows([4.0, 6.0, 0.0], [0, 1, 0], [1.0, 1.0, 0.0])
    got = doubly_robust(batch, Q, PROBS)
    std = np.sqrt(0.875 + 0.0625)
    np.testing.assert_allclose(got.advantage[0, :2, 0] * std, [0.25, -0.25], rtol=1e-6)
    np.testing.assert_allclose(got.effect[0, :2, 0] * std, [[-1.5, 0.5], [-1, 1]], rtol=1e-6)


def test_unavailable_actions_have_no_effect(x64):
    avail, probs = np.ones((1, 3, 1, 2), bool), PROBS.copy()
    avail[0, 0, 0, 1], probs[0, 0, 0] = False, [1, 0]
    batch = rows([4.0, 6.0, 0.0], [0, 1, 0], [1.0, 1.0, 1.0], avail)
    got = doubly_robust(batch, Q, probs)
    np.testing.assert_array_equal(got.effect[0, 0, 0], [0, 0])


@pytest.fixture(scope="module")
def nets():
    config = lica_adv.Config(
        actor="mlp", hidden=8, value_hidden=8, mixing_embed=8, hypernet_hidden=8, minibatches=2,
        epochs=2, mixing_epochs=1,
    )  # fmt: skip
    return {kind: lica_adv.make_networks(replace(config, advantage=kind), SPEC) for kind in KINDS}


@pytest.fixture(scope="module")
def learners(nets):
    """Fresh ones of every kind, with the same parameters."""

    @jax.jit
    def fresh(key):
        start = lica_adv.init(nets["doubly_robust"], key)
        parts = {kind: (start.critic, start.mixing) for kind in KINDS}
        parts |= {"state_value": (start.critic, ()), "soft": (start.mixing, ())}
        return {kind: lica_adv.new_learner(start.actor, *x) for kind, x in parts.items()}

    return fresh(jax.random.key(0))


@pytest.fixture(scope="module")
def traj():
    return battle(networks(actor="mlp", critic="mlp"))


def test_the_critics_errors_cancel(nets, x64):
    """Over all actions of a uniform policy the gradient is the same whatever the critic says."""
    n_actions = SPEC.n_actions
    shape = (1, n_actions, N)
    batch = advantages.Batch(
        obs=np.ones((*shape, SPEC.obs_size)), previous=-np.ones(shape, np.int32),
        avail=np.ones((*shape, n_actions), bool), first=np.ones((1, n_actions), bool),
        carry=nets["doubly_robust"].actor.initial_carry(n_actions), view=(), value=(), target=(),
        action=np.broadcast_to(np.arange(n_actions)[:, None], shape),
        log_prob=np.full(shape, -np.log(n_actions)), valid=(), living=np.ones(shape),
        old=np.full((*shape, n_actions), -np.log(n_actions)), effect=(),
        advantage=np.broadcast_to(np.array([3.0, -1, 0, 2, 0.5])[:, None], shape),
    )  # fmt: skip
    actor = learner_of(lica_adv.init, nets["doubly_robust"]).actor  # zeros
    probs = np.exp(batch.old)

    @jax.jit
    def gradient(q, weight):
        credited = advantages.doubly_robust(batch, q, probs)
        loss = partial(
            lica_adv.actor_objective, nets=nets["doubly_robust"], batch=credited, hp=HP, coef=0.0,
            weight=weight,
        )  # fmt: skip
        grads = jax.grad(lambda p: loss(p)[0])(actor)
        # Undo the division by the joint standard deviation.
        rest = batch.advantage - advantages.take_action(q - q.mean(-1, keepdims=True), batch.action)
        rest = rest - rest.mean()
        std = jnp.sqrt(jnp.mean(rest**2) + jnp.mean(jnp.var(q, axis=-1)))
        return jax.tree.leaves(jax.tree.map(lambda g: g * std, grads))

    # What one critic says of every row, as the same state and actions of others would have it.
    q = np.broadcast_to(np.random.default_rng(1).normal(size=(N, n_actions)), batch.old.shape)
    plain, wrong = gradient(0 * q, 1.0), gradient(q, 1.0)
    assert any(np.any(np.abs(x) > 1e-3) for x in plain)
    for x, y in zip(plain, wrong, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-7)
    assert any(not np.allclose(x, y) for x, y in zip(plain, gradient(q, 3.0), strict=True))


# --- the critic's passes -------------------------------------------------------------------------


def test_the_critic_where_one_agent_deviates(x64):
    critic = MixingCritic(6, 4, 2, 5)
    rng = np.random.default_rng(0)
    state, action = rng.normal(size=(7, 3)), rng.integers(-1, 3, size=(7, 2))  # -1: no action
    probs = rng.dirichlet(np.ones(3), size=(7, 2))
    params = drawn(jax.eval_shape(critic.init, jax.random.key(3), state, np.zeros((7, 6))))

    @jax.jit
    def asked(params, state, action, probs):
        every = critic.apply(params, state, action, method="at_deviations")
        own = critic.apply(params, state, action, probs, method="at_own_policies")
        return every, own, joint_one_hot(action, 3, float)

    every, own, joint = jax.device_get(asked(params, state, action, probs))
    value = jax.jit(critic.apply)
    for i in range(2):
        u = joint.reshape(7, 2, 3).copy()
        u[:, i] = probs[:, i]
        np.testing.assert_allclose(own[:, i], value(params, state, u.reshape(7, 6)), rtol=1e-8)
        for a in range(3):
            u[:, i] = np.eye(3)[a]
            want = value(params, state, u.reshape(7, 6))
            np.testing.assert_allclose(every[:, i, a], want, rtol=1e-8)


def test_no_action_has_an_effect_before_anything_is_known(nets, learners):
    mixing = nets["doubly_robust"].mixing
    params = learners["doubly_robust"].mixing
    size = nets["doubly_robust"].state_size
    state = np.random.default_rng(1).normal(size=(4, size)).astype(np.float32)
    action = np.zeros((4, N), np.int32)
    q = np.asarray(jax.jit(partial(mixing.apply, method="at_deviations"))(params, state, action))
    np.testing.assert_array_equal(q, np.broadcast_to(q[:, :1, :1], q.shape))
    ones = np.ones((4, N * 5), np.float32)
    grads = jax.jit(jax.grad(lambda p: jnp.sum(mixing.apply(p, state, ones))))(params)
    last = grads["params"]["hyper_w_1"]["layer_1"]
    assert np.any(np.asarray(last["weight"]) != 0)  # but it can learn one


# --- whole updates -------------------------------------------------------------------------------


def padded(traj):
    """The same batch with other rewards and actions where nothing happened."""
    padding = ~np.asarray(traj.valid)
    assert np.any(padding)
    reward, action = np.array(traj.steps.reward), np.array(traj.action)
    reward[1:] += 1e3 * padding
    action[:-1][padding] = 0
    return traj.replace(steps=traj.steps.replace(reward=reward), action=action)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing_and_every_kind_learns(kind, nets, learners, traj):
    learner = learners[kind]
    (after, shown), (other, _) = (
        update(nets[kind], learner, x, jax.random.key(5), hp=HP, progress=START)
        for x in (traj, padded(traj))
    )
    assert np.isfinite(shown["loss"])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-3, atol=2e-5), after, other)
    check_half_way(partial(update, nets[kind], learner, traj, jax.random.key(5)), HP, START)
    for part in ("actor", "critic", "mixing"):
        before, now = (jax.tree.leaves(getattr(x, part)) for x in (learner, after))
        changed = [np.any(np.asarray(x) != y) for x, y in zip(before, now, strict=True)]
        # The hypernetworks of an all-dead agent's share may stand still.
        moved = any if kind == "soft" and part == "critic" else all
        assert moved(changed)


def test_a_refreshed_first_epoch_is_any_first_epoch(nets, learners, traj):
    """Before the policies have moved, traces are ones; behind that they are not."""
    net, learner = nets["soft"], learners["soft"]

    def updated(**changes):
        changed = net._replace(config=replace(net.config, **changes))
        return update(changed, learner, traj, jax.random.key(5), hp=HP, progress=START)[0].actor

    same = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
    jax.tree.map(same, updated(epochs=1), updated(epochs=1, refresh=True))
    once, anew = (jax.tree.leaves(updated(epochs=2, refresh=x)) for x in (False, True))
    assert not all(np.allclose(x, y, atol=1e-7) for x, y in zip(once, anew, strict=True))


def test_refreshed_advantages_are_of_the_policies_as_they_are_now(nets, learners, traj):
    """Behind an epoch policies have moved: values are at theirs, ratios to those that acted."""
    net, before = nets["soft"], learners["soft"]
    fresh = net._replace(config=replace(net.config, refresh=True))
    moved = before.replace(actor=jax.tree.map(lambda x: 2 * x, before.actor))
    acted, now = (log_policies(net, x.actor, traj) for x in (before, moved))
    key = jax.random.key(1)
    _, batch, _ = make_batch(fresh, moved, traj, acted, key, HP)
    _, unmoved, _ = make_batch(net, moved, traj, now, key, HP)
    assert not np.allclose(acted, now, atol=1e-3)
    jax.tree.map(
        np.testing.assert_array_equal, (batch.view, batch.value), (unmoved.view, unmoved.value)
    )
    np.testing.assert_array_equal(batch.old, acted[:-1])
    assert not np.allclose(batch.advantage, unmoved.advantage, atol=1e-4)  # ratios of less than 1


def test_the_value_of_a_state_is_one_number_and_of_agents_one_each(nets, learners, traj):
    for kind, k in (("state_value", 1), ("soft", N)):
        net = nets[kind]

        def valued(learner, traj, net=net):
            log_policy = lica_adv.log_policies(net, learner.actor, traj)
            view = lica_adv.value_view(net, traj, log_policy)
            return lica_adv.values(net, learner.critic, view)

        got = jax.eval_shape(valued, learners[kind], traj)
        assert got.shape == (*traj.steps.first.shape, k)
    assert traj.steps.first.shape[1] == B


@pytest.mark.parametrize("kind", ["state_value", "doubly_robust"])
def test_values_of_agents(nets, learners, traj, kind):
    """V(s, o_i): an agent's observation moves its own value alone, and none once it is dead; the
    advantages are against it, and the mixing critic learns what is above the values' mean."""
    net = nets[kind]._replace(config=replace(nets[kind].config, value_obs=True))
    learner = learner_of(lica_adv.init, net, "actor", "critic")
    learner = learner.replace(mixing=learners[kind].mixing)
    steps = jax.device_get(traj.steps)
    alive = steps.alive.copy()
    alive[:, :, 1] = False

    @jax.jit
    def values(learner, steps):
        view = lica_adv.value_view(net, traj.replace(steps=steps), None)
        return lica_adv.values(net, learner.critic, view)

    def valued(obs):
        return np.asarray(values(learner, steps.replace(obs=obs, alive=alive)))

    value = valued(steps.obs)
    assert value.shape == (*steps.first.shape, N)
    for agent, moved in ((0, [0]), (1, [])):
        change = np.abs(valued(steps.obs + (np.arange(N) == agent)[:, None]) - value)
        assert [i for i in range(N) if change[..., i].max() > 1e-6] == moved
    acted = log_policies(net, learner.actor, traj)
    hp, key = HP.replace(mixing_lr=0.0), jax.random.key(1)
    whole = net._replace(config=replace(net.config, minibatches=1))
    after, batch, shown = make_batch(whole, learner, traj, acted, key, hp)
    own = values(learner, steps)

    @jax.jit
    def by_hand(learner, after, batch, own):
        worth = denormalise(learner.value_norm, own)
        ends, std = traj.endings(), statistics(after.value_norm)[1]
        raw, above = (
            gae(worth, traj.steps.reward[1:], *ends, hp.gamma, x)[0] / std
            for x in (hp.gae_lambda, hp.mixing_lambda)
        )
        if kind == "state_value":
            return raw, None
        asked = learner.mixing, batch.view[0], batch.action, traj.valid
        q = net.mixing.apply(*asked, method="at_actions")
        return raw, critic_loss(q, jnp.mean(above, axis=-1), traj.valid.astype(above.dtype))

    raw, loss = jax.device_get(by_hand(learner, after, batch, own))
    assert np.ptp(raw[np.asarray(traj.valid)], axis=-1).max() > 1e-3
    # (The mixing critic has learned nothing yet: actions make no difference to it.)
    living = np.asarray(batch.living) > 0
    want = raw - np.mean(raw, where=living)
    ratio = (np.asarray(batch.advantage) / want)[living]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
    if kind == "doubly_robust":  # its first step's error is all of what it is to learn
        np.testing.assert_allclose(shown["mixing_loss"], loss, rtol=1e-4)
    changed, shown = update(net, learner, traj, key, hp=HP, progress=START)
    assert np.isfinite(shown["loss"]) and np.isfinite(shown["explained"])
    for before, now in zip(
        jax.tree.leaves(learner.critic), jax.tree.leaves(changed.critic), strict=True
    ):
        assert not np.array_equal(before, now)
    before, now = (
        lica_adv.scratch_bytes(n, 100) for n in (nets[kind], net)
    )  # fmt: skip
    width = net.state_size + SPEC.obs_size + N
    assert {k: v for k, v in now.items() if k not in before} == {
        "the agents' values' inputs": 4 * 100 * N * width
    }


def test_only_kinds_that_need_a_second_critic_have_one(nets):
    for kind in KINDS:
        learner = jax.eval_shape(partial(lica_adv.init, nets[kind]), jax.random.key(0))
        has = bool(jax.tree.leaves(learner.mixing))
        assert has == (kind in ("counterfactual", "doubly_robust"))


def test_what_cannot_be_learned_is_refused():
    spec = replace(make_task("probe/match").spec, state_size=0)
    assert any("use ippo" in line for line in lica_adv.Config().problems(spec, Collect()))
    config = load_config(
        "lica_adv", "probe/match", algo={"minibatches": 5}, collect={"envs": 32}
    )  # fmt: skip
    for kind in ("soft", "state_value"):
        grouped = lica_adv.Config(advantage=kind, critic_pass="grouped")
        assert any(
            "grouped" in x for x in grouped.problems(make_task("probe/match").spec, Collect())
        )
    with pytest.raises(UserError, match=r"algo.minibatches 5 must divide collect.envs 32"):
        resolve(config, make_task("probe/match").spec)


def test_the_mixing_critic_learns_whose_action_pays(nets, learners, traj):
    """Where agent 0's action 1 is worth 1 more than its others, and nobody else's matters."""
    net, learner = nets["doubly_robust"], learners["doubly_robust"]
    shape = traj.action[:-1].shape
    action = np.random.default_rng(1).integers(SPEC.n_actions, size=shape)
    traj = traj.replace(action=np.concatenate([action, traj.action[-1:]]).astype(np.int32))
    acted = log_policies(net, learner.actor, traj)
    _, batch, _ = make_batch(net, learner, traj, acted, jax.random.key(2), HP)
    pays = np.float32(action[..., 0] == 1)
    target, hp = pays - pays.mean(), HP.replace(mixing_lr=3e-3)

    @jax.jit
    def fitted(learner, batch, target, keys):
        step = partial(lica_adv.fit_mixing, net, batch=batch, target=target, hp=hp)
        learner, shown = jax.lax.scan(lambda c, key: step(c, key=key), learner, keys)
        return shown, lica_adv.deviations(net, learner.mixing, batch)

    shown, q = fitted(learner, batch, target, jax.random.split(jax.random.key(3), 400))
    q = np.asarray(q)[np.asarray(traj.valid)]
    # The batch is small: how much is learned is not the point, but of whom, and which way.
    effect = q - q.mean(-1, keepdims=True)
    pays = effect[:, 0, 1].mean()
    assert pays > 0.1 and pays > 3 * np.abs(np.delete(effect.mean(0), 0, axis=0)).max()
    loss = np.asarray(shown["mixing_loss"])
    assert loss[-1] < 0.3 * loss[0]


def test_the_mixing_critic_is_held_against_returns(nets, learners, traj):
    """Taught by one batch over and over it says of the actions taken what `G - V` says."""
    net, plain = nets["counterfactual"], nets["state_value"]
    learner = learners["counterfactual"]
    hp = HP.replace(mixing_lr=3e-3, mixing_lambda=HP.gae_lambda)
    acted = log_policies(net, learner.actor, traj)
    for key in jax.random.split(jax.random.key(1), 300):
        learner, batch, _ = make_batch(net, learner, traj, acted, key, hp)
    at_actions = jax.jit(partial(net.mixing.apply, method="at_actions"))
    taken = at_actions(learner.mixing, batch.view[0], batch.action, traj.valid)
    held = learner.replace(mixing=(), mixing_opt=())
    _, known, _ = make_batch(plain, held, traj, acted, jax.random.key(1), hp)
    known = np.asarray(known.advantage)
    valid = np.asarray(traj.valid)
    seen = np.corrcoef(np.asarray(taken)[valid], known[..., 0][valid])[0, 1]
    assert seen > 0.7
    # ... and the policies learn from what is left beside its expectation.
    still = hp.replace(mixing_lr=0.0)
    after, got, _ = make_batch(net, learner, traj, acted, jax.random.key(1), still)

    @jax.jit
    def credited(learner, after, got):
        value = lica_adv.values(net, learner.critic, lica_adv.value_view(net, traj, None))
        worth = denormalise(learner.value_norm, value)
        raw, _ = gae(worth, traj.steps.reward[1:], *traj.endings(), hp.gamma, hp.gae_lambda)
        raw = jnp.broadcast_to(raw / statistics(after.value_norm)[1], got.advantage.shape)
        q = lica_adv.deviations(net, learner.mixing, got)
        return advantages.counterfactual(got.replace(advantage=raw), q, jnp.exp(acted[:-1]))

    by_hand = credited(learner, after, got)
    living = np.asarray(got.living) > 0
    mine, theirs = (np.asarray(x.advantage)[living] for x in (got, by_hand))
    np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)
    assert not np.allclose(mine, known[living], atol=0.05)


@pytest.mark.parametrize("name", ["entropy_coef", "effect_weight"])
def test_schedules_at_their_ends(nets, traj, name):
    """Behind the end of a schedule an update is that of a constant number."""
    net = nets["doubly_robust"]
    what = name.rpartition("_")[0]
    start, final, steps = name, f"{what}_final", f"{what}_steps"
    learner = learner_of(lica_adv.init, net, "actor", "critic", "mixing")
    late = START.replace(env_steps=jnp.float32(2e6))
    constant = HP.replace(**{start: 0.3, final: 0.3, steps: 0.0})
    falling = HP.replace(**{start: 9.0, final: 0.3, steps: 1e6})
    one, two, early = (
        update(net, learner, traj, jax.random.key(5), hp=hp, progress=at)[0].actor
        for hp, at in ((constant, late), (falling, late), (falling, START))
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), one, two)
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(early), strict=True)
    assert not all(np.allclose(x, y, atol=1e-6) for x, y in pairs)


def test_the_loss_is_of_all_that_is_minimised(nets, learners, traj):
    net, learner = nets["doubly_robust"], learners["doubly_robust"]
    _, shown = update(net, learner, traj, jax.random.key(5), hp=HP, progress=START)
    parts = [float(shown[f"{of}_loss"]) for of in ("actor", "critic", "mixing")]
    assert shown["loss"] == pytest.approx(sum(parts), rel=1e-6) and parts[2] > 1e-3


def test_a_bad_step_of_the_mixing_critic_is_seen(nets, learners, traj):
    """The run stops: a clipped infinite gradient would be a step of nothing."""
    net, learner = nets["doubly_robust"], learners["doubly_robust"]
    bad = learner.replace(
        mixing=jax.tree.map(lambda x: np.full(x.shape, np.inf, x.dtype), learner.mixing)
    )
    _, shown = update(net, bad, traj, jax.random.key(5), hp=HP, progress=START)
    assert not np.isfinite(shown["loss"])


def test_policies_take_ppos_steps(nets, learners, traj):
    """With V(s) alone the surrogate is PPO's own."""
    net, learner = nets["state_value"], learners["state_value"]
    acted = log_policies(net, learner.actor, traj)
    _, batch, _ = make_batch(net, learner, traj, acted, jax.random.key(0), HP)
    mine, theirs = (
        jax.jit(partial(objective, nets=net, batch=batch, hp=HP, coef=0.1))(learner.actor)
        for objective in (partial(lica_adv.actor_objective, weight=1.0), ppo.actor_objective)
    )
    jax.tree.map(np.testing.assert_array_equal, mine, theirs)


def test_settings_without_effect_are_named():
    """Those that are not at their defaults, and nothing else."""
    algo, hp = {"advantage": "state_value", "mixing_epochs": 7}, {"effect_weight": 3.0}
    config = load_config("lica_adv", "smax/3m", algo=algo, hp=hp)
    said = without_effect(resolve(config, SPEC), SPEC)
    assert said == [
        "algo.mixing_epochs 7, hp.effect_weight 3.0 have no effect with "
        'algo.advantage "state_value"'
    ]
    of_lica = load_config("lica", "smax/3m", hp={"kl_coef": 1.0, "entropy_target": 0.2})
    assert without_effect(resolve(of_lica, SPEC), SPEC) == [
        'hp.entropy_target 0.2 has no effect with algo.entropy_mode "global"',
        "hp.kl_coef 1.0 has no effect with algo.actor_steps 1",
    ]  # fmt: skip
    for kind in KINDS:
        config = load_config("lica_adv", "smax/3m", algo={"advantage": kind})
        assert without_effect(resolve(config, SPEC), SPEC) == []


# --- memory --------------------------------------------------------------------------------------


def test_a_whole_batch_is_asked_for_in_pieces_that_fit(nets, traj, monkeypatch):
    net = nets["soft"]
    mixing = learner_of(lica_adv.init, net, "critic").critic
    view = jax.jit(partial(lica_adv.value_view, net))(
        traj, np.log(np.asarray(traj.steps.avail, np.float32) / 2 + np.float32(0.1))
    )
    asked = partial(lica_adv.asked, net, mixing, "at_own_policies")
    whole = jax.jit(asked)(*view)
    values = jax.jit(partial(lica_adv.values, net))(mixing, view)
    np.testing.assert_allclose(whole, values, rtol=1e-5)
    assert "scan" not in str(jax.make_jaxpr(asked)(*view))
    # What W1(s) is computed from may be the wider: 1,000 numbers a row, of 24.
    assert MixingCritic(6, 4, 2, 1000).n_chunks(2**20) == 16
    monkeypatch.setattr(critics, "MAX_HYPER_WEIGHTS", 7 * net.mixing.n_inputs * 8)
    assert net.mixing.n_chunks(whole[..., 0].size) > 5
    assert "scan" in str(jax.make_jaxpr(lambda *x: asked(*x))(*view))
    pieces = jax.jit(lambda *x: asked(*x))(*view)
    np.testing.assert_allclose(pieces, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hidden", [8, 300])
def test_the_estimate_knows_the_pass_over_a_whole_batch(hidden):
    """Against the compiler's own figures, where W1(s) or its hidden layer is most of them."""
    spec = TaskSpec("wide", 4, 10, 3, 5, episode_limit=9)
    config = lica_adv.Config(
        actor="mlp", hidden=4, hypernet_hidden=hidden, mixing_embed=8, advantage="soft"
    )
    net = lica_adv.make_networks(config, spec)
    rows = 20, 32
    shapes = jax.eval_shape(
        lambda: (
            lica_adv.init(net, jax.random.key(0)).critic, jnp.zeros((*rows, net.state_size)),
            jnp.zeros((*rows, 4), jnp.int32), jnp.zeros((*rows, 4, 10)),
        )
    )  # fmt: skip
    program = jax.jit(lambda x, *view: lica_adv.asked(net, x, "at_own_policies", *view))
    told = program.lower(*shapes).compile().memory_analysis().temp_size_in_bytes
    estimate = lica_adv.scratch_bytes(net, 20 * 32)
    of_critic = sum(size for name, size in estimate.items() if "W1" in name)
    assert 0.4 * of_critic < told < 1.2 * of_critic, (told, estimate)
