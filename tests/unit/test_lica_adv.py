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
from tests.unit.test_ppo import SPEC, START, B, N, battle, networks

HP = lica_adv.HParams(reward_scale=1.0)
KINDS = ("state_value", "counterfactual", "soft", "doubly_robust")

# Hundreds of operations on their own take several times as long to compile.
make_batch = jax.jit(lica_adv.make_batch, static_argnums=0)
log_policies = jax.jit(lica_adv.log_policies, static_argnums=0)

# --- traces --------------------------------------------------------------------------------------


def test_truncated_ratios_by_hand(x64):
    ratio = jnp.array([[0.5, 2.0], [0.5, 0.5], [1.5, 1.0]])
    # .5 min(1.02, 2) = .51 and 2 * .5 = 1; .5 * .5 twice; 1.5 -> 1 and 1 min(1.02, 1.5) -> 1
    want = [[0.51, 1.0], [0.25, 0.25], [1.0, 1.0]]
    np.testing.assert_allclose(truncated_ratios(jnp.log(ratio)), want)
    joint = truncated_ratios(jnp.log(ratio), joint=True)
    np.testing.assert_allclose(joint, [[1.0], [0.25], [1.0]])


def test_truncated_advantages_by_hand(x64):
    value = jnp.array([9.0, 3.0, 4.0])[:, None, None] * jnp.ones(2)
    off, on = jnp.zeros((2, 1), bool), jnp.ones((2, 1), bool)
    trace = jnp.array([[[0.1, 0.1]], [[1.0, 0.5]]])
    args = jnp.array([[1.0], [2.0]]), off, off, on, trace, 0.5, 0.5
    advantage, target = truncated_gae(value, *args)
    # delta_1 = 2 + .5 * 4 - 3 = 1;  delta_0 = 1 + .5 * 3 - 9 = -6.5;  A_0 = -6.5 + .25 c_1
    np.testing.assert_allclose(advantage[:, 0], [[-6.25, -6.375], [1.0, 1.0]])
    np.testing.assert_allclose(target[:, 0], [[2.75, 2.625], [4.0, 4.0]])


def test_policies_that_have_not_moved_have_plain_advantages():
    traj = battle(networks(critic="mlp"))
    value = jax.random.normal(jax.random.key(1), (*traj.steps.first.shape, N))
    parts = traj.steps.reward[1:], *traj.endings()
    want = gae(value, *parts, 0.9, 0.8)
    got = truncated_gae(value, *parts, jnp.ones((*traj.valid.shape, N)), 0.9, 0.8)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), got, want)


# --- advantages ----------------------------------------------------------------------------------


def rows(advantage, action, living, avail=None):
    """A batch [1, rows, 1 agent, 2 actions] of what the advantages are made of."""
    shape = (1, len(action), 1)
    nothing = dict.fromkeys(("obs", "previous", "first", "carry", "view", "value", "target"), ())
    return advantages.Batch(
        **nothing, advantage=jnp.array(advantage).reshape(shape), valid=(), old=(), effect=(),
        action=jnp.array(action).reshape(shape), living=jnp.array(living).reshape(shape),
        log_prob=(), avail=jnp.ones((*shape, 2), bool) if avail is None else avail,
    )  # fmt: skip


Q = jnp.array([[[[1.0, 3.0]], [[0.0, 2.0]], [[5.0, -5.0]]]])
PROBS = jnp.array([[[[0.25, 0.75]], [[0.5, 0.5]], [[0.5, 0.5]]]])


def test_plain_advantages_are_standardised_over_the_living(x64):
    got = advantages.plain(rows([1.0, 3.0, 100.0], [0, 1, 0], [1.0, 1.0, 0.0])).advantage
    np.testing.assert_allclose(got[0, :2, 0], [-1, 1], rtol=1e-4)


def test_counterfactual_advantages_by_hand(x64):
    # sum_a pi q: 2.5 and 1, so that 4 and 6 become 1.5 and 5: 3.25 -+ 1.75
    batch = rows([4.0, 6.0, 0.0], [0, 1, 0], [1.0, 1.0, 0.0])
    got = advantages.counterfactual(batch, Q, PROBS)
    np.testing.assert_allclose(got.advantage[0, :2, 0], [-1, 1], rtol=1e-4)
    swapped = rows([6.0, 4.0, 0.0], [0, 1, 0], [1.0, 1.0, 0.0])  # 3.5 and 3
    got = advantages.counterfactual(swapped, Q, PROBS)
    np.testing.assert_allclose(got.advantage[0, :2, 0], [1, -1], rtol=1e-4)


def test_doubly_robust_advantages_by_hand(x64):
    """effect: (-1.5, .5) and (-1, 1); what is left of 4 and 6: 5.5 and 5, or +-.25.

    Variance of the effects: (.25 * 2.25 + .75 * .25 + 1) / 2 = .875; of what is left .0625.
    """
    batch = rows([4.0, 6.0, 0.0], [0, 1, 0], [1.0, 1.0, 0.0])
    got = advantages.doubly_robust(batch, Q, PROBS)
    std = np.sqrt(0.875 + 0.0625)
    np.testing.assert_allclose(got.advantage[0, :2, 0] * std, [0.25, -0.25], rtol=1e-6)
    np.testing.assert_allclose(got.effect[0, :2, 0] * std, [[-1.5, 0.5], [-1, 1]], rtol=1e-6)


def test_unavailable_actions_have_no_effect(x64):
    avail = jnp.ones((1, 3, 1, 2), bool).at[0, 0, 0, 1].set(False)
    batch = rows([4.0, 6.0, 0.0], [0, 1, 0], [1.0, 1.0, 1.0], avail)
    got = advantages.doubly_robust(batch, Q, PROBS.at[0, 0, 0].set(jnp.array([1.0, 0.0])))
    np.testing.assert_array_equal(got.effect[0, 0, 0], [0, 0])


@pytest.fixture(scope="module")
def nets():
    config = lica_adv.Config(
        actor="mlp", hidden=8, value_hidden=8, mixing_embed=8, hypernet_hidden=8, minibatches=2,
        epochs=2, mixing_epochs=1,
    )  # fmt: skip
    return {kind: lica_adv.make_networks(replace(config, advantage=kind), SPEC) for kind in KINDS}


@pytest.fixture(scope="module")
def traj():
    return battle(networks(actor="mlp", critic="mlp"))


def test_the_critics_errors_cancel(nets, x64):
    """Over all actions of a uniform policy the gradient is the same whatever the critic says."""
    n_actions = SPEC.n_actions
    shape = (1, n_actions, N)
    batch = advantages.Batch(
        obs=jnp.ones((*shape, SPEC.obs_size)), previous=-jnp.ones(shape, jnp.int32),
        avail=jnp.ones((*shape, n_actions), bool), first=jnp.ones((1, n_actions), bool),
        carry=nets["doubly_robust"].actor.initial_carry(n_actions), view=(), value=(), target=(),
        action=jnp.broadcast_to(jnp.arange(n_actions)[:, None], shape),
        log_prob=jnp.full(shape, -jnp.log(n_actions)), valid=(), living=jnp.ones(shape),
        old=jnp.full((*shape, n_actions), -jnp.log(n_actions)), effect=(),
        advantage=jnp.broadcast_to(jnp.array([3.0, -1, 0, 2, 0.5])[:, None], shape),
    )  # fmt: skip
    actor = jax.tree.map(jnp.zeros_like, nets["doubly_robust"].actor.init(jax.random.key(0)))
    probs = jnp.exp(batch.old)

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
    q = jnp.broadcast_to(jax.random.normal(jax.random.key(1), (N, n_actions)), batch.old.shape)
    plain, wrong = gradient(0 * q, 1.0), gradient(q, 1.0)
    assert any(np.any(np.abs(x) > 1e-3) for x in plain)
    for x, y in zip(plain, wrong, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-7)
    assert any(not np.allclose(x, y) for x, y in zip(plain, gradient(q, 3.0), strict=True))


# --- the critic's passes -------------------------------------------------------------------------


def test_the_critic_where_one_agent_deviates(x64):
    critic = MixingCritic(6, 4, 2, 5)
    state = jax.random.normal(jax.random.key(0), (7, 3))
    action = jax.random.randint(jax.random.key(1), (7, 2), -1, 3)  # -1: no action
    probs = jax.nn.softmax(jax.random.normal(jax.random.key(2), (7, 2, 3)))
    params = critic.init(jax.random.key(3), state, jnp.zeros((7, 6)))
    value = jax.jit(critic.apply)
    every = critic.apply(params, state, action, method="at_deviations")
    own = critic.apply(params, state, action, probs, method="at_own_policies")
    done = joint_one_hot(action, 3, float).reshape(7, 2, 3)
    for i in range(2):
        u = done.at[:, i].set(probs[:, i]).reshape(7, 6)
        np.testing.assert_allclose(own[:, i], value(params, state, u), rtol=1e-8)
        for a in range(3):
            u = done.at[:, i].set(jax.nn.one_hot(a, 3)).reshape(7, 6)
            np.testing.assert_allclose(every[:, i, a], value(params, state, u), rtol=1e-8)


def test_no_action_has_an_effect_before_anything_is_known(nets):
    mixing = nets["doubly_robust"].mixing
    params = lica_adv.init(nets["doubly_robust"], jax.random.key(0)).mixing
    size = nets["doubly_robust"].state_size
    state = jax.random.normal(jax.random.key(1), (4, size))
    action = jnp.zeros((4, N), jnp.int32)
    q = mixing.apply(params, state, action, method="at_deviations")
    np.testing.assert_array_equal(q, jnp.broadcast_to(q[:, :1, :1], q.shape))
    grads = jax.grad(lambda p: jnp.sum(mixing.apply(p, state, jnp.ones((4, N * 5)))))(params)
    last = grads["params"]["hyper_w_1"]["layer_1"]
    assert np.any(np.asarray(last["weight"]) != 0)  # but it can learn one


# --- whole updates -------------------------------------------------------------------------------


def padded(traj):
    """The same batch with other rewards and actions where nothing happened."""
    padding = ~traj.valid
    assert bool(jnp.any(padding))
    reward = traj.steps.reward.at[1:].add(jnp.where(padding, 1e3, 0))
    action = traj.action.at[:-1].set(jnp.where(padding[..., None], 0, traj.action[:-1]))
    return traj.replace(steps=traj.steps.replace(reward=reward), action=action)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing_and_every_kind_learns(kind, nets, traj):
    learner = lica_adv.init(nets[kind], jax.random.key(0))
    update = jax.jit(partial(lica_adv.update, nets[kind], hp=HP, progress=START))
    (after, shown), (other, _) = (
        update(learner, x, jax.random.key(5)) for x in (traj, padded(traj))
    )
    assert np.isfinite(shown["loss"])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-3, atol=2e-5), after, other)
    for part in ("actor", "critic", "mixing"):
        changed = jax.tree.map(
            lambda x, y: bool(jnp.any(x != y)), getattr(after, part), getattr(learner, part)
        )
        # The hypernetworks of an all-dead agent's share may stand still.
        moved = any if kind == "soft" and part == "critic" else all
        assert moved(jax.tree.leaves(changed))


def test_a_refreshed_first_epoch_is_any_first_epoch(nets, traj):
    """Before the policies have moved, traces are ones; behind that they are not."""
    net = nets["soft"]
    learner = lica_adv.init(net, jax.random.key(0))

    def updated(**changes):
        changed = net._replace(config=replace(net.config, **changes))
        update = jax.jit(partial(lica_adv.update, changed, hp=HP, progress=START))
        return update(learner, traj, jax.random.key(5))[0].actor

    same = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
    jax.tree.map(same, updated(epochs=1), updated(epochs=1, refresh=True))
    once, anew = (jax.tree.leaves(updated(epochs=2, refresh=x)) for x in (False, True))
    assert not all(np.allclose(x, y, atol=1e-7) for x, y in zip(once, anew, strict=True))


def test_the_value_of_a_state_is_one_number_and_of_agents_one_each(nets, traj):
    for kind, k in (("state_value", 1), ("soft", N)):
        net = nets[kind]
        learner = lica_adv.init(net, jax.random.key(0))
        log_policy = log_policies(net, learner.actor, traj)
        view = lica_adv.value_view(net, traj, log_policy)
        got = lica_adv.values(net, learner.critic, view)
        assert got.shape == (*traj.steps.first.shape, k)
    assert traj.steps.first.shape[1] == B


@pytest.mark.parametrize("kind", ["state_value", "doubly_robust"])
def test_values_of_agents(nets, traj, kind):
    """V(s, o_i): an agent's observation moves its own value alone, and none once it is dead; the
    advantages are against it, and the mixing critic learns what is above the values' mean."""
    net = nets[kind]._replace(config=replace(nets[kind].config, value_obs=True))
    learner = lica_adv.init(net, jax.random.key(0))
    steps = traj.steps
    alive = steps.alive.at[:, :, 1].set(False)

    def valued(obs):
        seen = traj.replace(steps=steps.replace(obs=obs, alive=alive))
        return lica_adv.values(net, learner.critic, lica_adv.value_view(net, seen, None))

    value = valued(steps.obs)
    assert value.shape == (*steps.first.shape, N)
    for agent, moved in ((0, [0]), (1, [])):
        change = np.abs(valued(steps.obs.at[:, :, agent].add(1.0)) - value)
        assert [i for i in range(N) if change[..., i].max() > 1e-6] == moved
    acted = log_policies(net, learner.actor, traj)
    hp, key = HP.replace(mixing_lr=0.0), jax.random.key(1)
    after, batch, _ = make_batch(net, learner, traj, acted, key, hp)
    own = lica_adv.values(net, learner.critic, lica_adv.value_view(net, traj, None))
    worth = denormalise(learner.value_norm, own)
    raw, _ = gae(worth, steps.reward[1:], *traj.endings(), hp.gamma, hp.gae_lambda)
    raw = raw / statistics(after.value_norm)[1]
    assert np.ptp(np.asarray(raw)[np.asarray(traj.valid)], axis=-1).max() > 1e-3
    # (The mixing critic has learned nothing yet: actions make no difference to it.)
    want = raw - jnp.mean(raw, where=batch.living > 0)
    living = np.asarray(batch.living) > 0
    ratio = np.asarray(batch.advantage / want)[living]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
    if kind == "doubly_robust":  # its first step's error is all of what it is to learn
        whole = net._replace(config=replace(net.config, minibatches=1))
        _, _, shown = make_batch(whole, learner, traj, acted, key, hp)
        ends = traj.endings()
        above, _ = gae(worth, steps.reward[1:], *ends, hp.gamma, hp.mixing_lambda)
        above = jnp.mean(above, axis=-1) / statistics(after.value_norm)[1]
        asked = learner.mixing, batch.view[0], batch.action, traj.valid
        q = net.mixing.apply(*asked, method="at_actions")
        loss = critic_loss(q, above, traj.valid.astype(above.dtype))
        np.testing.assert_allclose(shown["mixing_loss"], loss, rtol=1e-4)
    update = jax.jit(partial(lica_adv.update, net, hp=HP, progress=START))
    changed, shown = update(learner, traj, key)
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


def test_the_mixing_critic_learns_whose_action_pays(nets, traj):
    """Where agent 0's action 1 is worth 1 more than its others, and nobody else's matters."""
    net = nets["doubly_robust"]
    learner = lica_adv.init(net, jax.random.key(0))
    shape = traj.action[:-1].shape
    action = jax.random.randint(jax.random.key(1), shape, 0, SPEC.n_actions)
    traj = traj.replace(action=traj.action.at[:-1].set(action))
    acted = log_policies(net, learner.actor, traj)
    _, batch, _ = make_batch(net, learner, traj, acted, jax.random.key(2), HP)
    target = (action[..., 0] == 1) - jnp.mean(action[..., 0] == 1)
    hp = HP.replace(mixing_lr=3e-3)

    @jax.jit
    def fitted(learner, keys):
        step = partial(lica_adv.fit_mixing, net, batch=batch, target=target, hp=hp)
        return jax.lax.scan(lambda c, key: step(c, key=key), learner, keys)

    learner, shown = fitted(learner, jax.random.split(jax.random.key(3), 400))
    q = lica_adv.deviations(net, learner.mixing, batch)
    q = np.asarray(q)[np.asarray(traj.valid)]
    # The batch is small: how much is learned is not the point, but of whom, and which way.
    effect = q - q.mean(-1, keepdims=True)
    pays = effect[:, 0, 1].mean()
    assert pays > 0.1 and pays > 3 * np.abs(np.delete(effect.mean(0), 0, axis=0)).max()
    assert shown["mixing_loss"][-1] < 0.3 * shown["mixing_loss"][0]


def test_the_mixing_critic_is_held_against_returns(nets, traj):
    """Taught by one batch over and over it says of the actions taken what `G - V` says."""
    net, plain = nets["counterfactual"], nets["state_value"]
    learner = lica_adv.init(net, jax.random.key(0))
    hp = HP.replace(mixing_lr=3e-3, mixing_lambda=HP.gae_lambda)
    acted = log_policies(net, learner.actor, traj)

    @jax.jit
    def taught(learner, keys):
        def step(learner, key):
            learner, batch, _ = make_batch(net, learner, traj, acted, key, hp)
            return learner, batch

        return jax.lax.scan(step, learner, keys)

    learner, batches = taught(learner, jax.random.split(jax.random.key(1), 300))
    batch = jax.tree.map(lambda x: x[-1], batches)
    held = learner.replace(mixing=(), mixing_opt=())
    _, known, _ = make_batch(plain, held, traj, acted, jax.random.key(1), hp)
    valid = np.asarray(traj.valid)
    taken = net.mixing.apply(
        learner.mixing, batch.view[0], batch.action, traj.valid, method="at_actions"
    )  # fmt: skip
    seen = np.corrcoef(np.asarray(taken)[valid], np.asarray(known.advantage[..., 0])[valid])[0, 1]
    assert seen > 0.7
    # ... and the policies learn from what is left beside its expectation.
    still = hp.replace(mixing_lr=0.0)
    after, got, _ = make_batch(net, learner, traj, acted, jax.random.key(1), still)
    value = lica_adv.values(net, learner.critic, lica_adv.value_view(net, traj, None))
    worth = denormalise(learner.value_norm, value)
    ends = traj.endings()
    raw, _ = gae(worth, traj.steps.reward[1:], *ends, hp.gamma, hp.gae_lambda)
    raw = jnp.broadcast_to(raw / statistics(after.value_norm)[1], got.advantage.shape)
    q = lica_adv.deviations(net, learner.mixing, got)
    by_hand = advantages.counterfactual(got.replace(advantage=raw), q, jnp.exp(acted[:-1]))
    living = np.asarray(got.living) > 0
    mine, theirs = (np.asarray(x.advantage)[living] for x in (got, by_hand))
    np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)
    assert not np.allclose(mine, np.asarray(known.advantage)[living], atol=0.05)


@pytest.mark.parametrize("name", ["entropy_coef", "effect_weight"])
def test_schedules_at_their_ends(nets, traj, name):
    """Behind the end of a schedule an update is that of a constant number."""
    net = nets["doubly_robust"]
    what = name.rpartition("_")[0]
    start, final, steps = name, f"{what}_final", f"{what}_steps"
    learner = lica_adv.init(net, jax.random.key(0))
    learner = learner.replace(mixing=jax.tree.map(lambda x: x + 0.1, learner.mixing))
    update = jax.jit(partial(lica_adv.update, net))
    late = START.replace(env_steps=jnp.float32(2e6))
    constant = HP.replace(**{start: 0.3, final: 0.3, steps: 0.0})
    falling = HP.replace(**{start: 9.0, final: 0.3, steps: 1e6})
    one, two, early = (
        update(learner, traj, jax.random.key(5), hp=hp, progress=at)[0].actor
        for hp, at in ((constant, late), (falling, late), (falling, START))
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), one, two)
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(early), strict=True)
    assert not all(np.allclose(x, y, atol=1e-6) for x, y in pairs)


def test_a_bad_step_of_the_mixing_critic_is_seen(nets, traj):
    """The run stops: a clipped infinite gradient would be a step of nothing."""
    net = nets["doubly_robust"]
    learner = lica_adv.init(net, jax.random.key(0))
    bad = learner.replace(mixing=jax.tree.map(lambda x: x.at[...].set(jnp.inf), learner.mixing))
    update = jax.jit(partial(lica_adv.update, net, hp=HP, progress=START))
    assert not np.isfinite(update(bad, traj, jax.random.key(5))[1]["loss"])


def test_policies_take_ppos_steps(nets, traj):
    """With V(s) alone the surrogate is PPO's own."""
    net = nets["state_value"]
    learner = lica_adv.init(net, jax.random.key(0))
    acted = log_policies(net, learner.actor, traj)
    make_batch = jax.jit(partial(lica_adv.make_batch, net, hp=HP))
    _, batch, _ = make_batch(learner, traj, acted, jax.random.key(0))
    mine = lica_adv.actor_objective(learner.actor, net, batch, HP, 0.1, 1.0)
    theirs = ppo.actor_objective(learner.actor, net, batch, HP, 0.1)
    jax.tree.map(np.testing.assert_array_equal, mine, theirs)


def test_settings_without_effect_are_named():
    """Those that are not at their defaults, and nothing else."""
    algo, hp = {"advantage": "state_value", "mixing_epochs": 7}, {"effect_weight": 3.0}
    config = load_config("lica_adv", "smax/3m", algo=algo, hp=hp)
    said = without_effect(resolve(config, SPEC))
    assert said == [
        "algo.mixing_epochs 7, hp.effect_weight 3.0 have no effect with "
        'algo.advantage "state_value"'
    ]
    of_lica = load_config("lica", "smax/3m", hp={"kl_coef": 1.0, "entropy_target": 0.2})
    assert without_effect(resolve(of_lica, SPEC)) == [
        'hp.entropy_target 0.2 has no effect with algo.entropy_mode "global"',
        "hp.kl_coef 1.0 has no effect with algo.actor_steps 1",
    ]  # fmt: skip
    for kind in KINDS:
        config = load_config("lica_adv", "smax/3m", algo={"advantage": kind})
        assert without_effect(resolve(config, SPEC)) == []


# --- memory --------------------------------------------------------------------------------------


def test_a_whole_batch_is_asked_for_in_pieces_that_fit(nets, traj, monkeypatch):
    net = nets["soft"]
    mixing = lica_adv.init(net, jax.random.key(0)).critic
    mixing = jax.tree.map(lambda x: x + 0.1, mixing)
    view = lica_adv.value_view(net, traj, jnp.log(traj.steps.avail / 2 + 0.1))
    asked = partial(lica_adv.asked, net, mixing, "at_own_policies")
    whole = asked(*view)
    np.testing.assert_allclose(whole, lica_adv.values(net, mixing, view), rtol=1e-5)
    assert "scan" not in str(jax.make_jaxpr(asked)(*view))
    # What W1(s) is computed from may be the wider: 1,000 numbers a row, of 24.
    assert MixingCritic(6, 4, 2, 1000).n_chunks(2**20) == 16
    monkeypatch.setattr(critics, "MAX_HYPER_WEIGHTS", 7 * net.mixing.n_inputs * 8)
    assert net.mixing.n_chunks(whole[..., 0].size) > 5
    assert "scan" in str(jax.make_jaxpr(lambda *x: asked(*x))(*view))
    np.testing.assert_allclose(asked(*view), whole, rtol=1e-4, atol=1e-5)


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
