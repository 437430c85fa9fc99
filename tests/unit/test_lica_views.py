"""What LICA's critic reads, and the average of it that the actor climbs, by hand."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.actors import joint_state, joint_state_size, state_now
from lica_jax.algorithms.lica import lica
from lica_jax.algorithms.q_learning import qmix, shared
from lica_jax.core.optim import ADAM
from lica_jax.networks.critics import MixingCritic, Views
from lica_jax.networks.layers import MLP
from tests.unit.test_lica_remedies import HP, KEY, SMALL, world
from tests.unit.test_lica_remedies import traj as traj  # a fixture
from tests.unit.test_ppo import SPEC, START, B, N, T

VIEWS = {"state_obs": True, "hypernet_views": True}


# --- observations in the state -------------------------------------------------------------------


@pytest.mark.parametrize("last_action", [False, True])
def test_the_state_is_the_tasks_then_what_is_seen_then_what_was_done(traj, last_action):
    nets, _, batch = world(traj, state_obs=True, state_last_action=last_action)
    steps = traj.steps
    rows = [steps.state, steps.obs.reshape(T + 1, B, -1)]
    if last_action:
        previous = jnp.concatenate([traj.carry.last_action[None], traj.action[:-1]])
        previous = jnp.where(steps.first[..., None], -1, previous)
        rows.append(jax.nn.one_hot(previous, SPEC.n_actions).reshape(T + 1, B, -1))
    np.testing.assert_array_equal(batch.state, jnp.concatenate(rows, axis=-1))
    assert batch.state.shape[-1] == nets.state_size
    now = jax.tree.map(lambda x: x[0], steps)
    np.testing.assert_array_equal(
        state_now(nets.actor, traj.carry, now, nets.config), batch.state[0]
    )


def test_mixers_read_observations_too(traj):
    config = qmix.Config(hidden=4, agent="mlp", state_obs=True)
    nets = qmix.make(config, SPEC).update.args[0]
    state = joint_state(nets.agent, traj, config)
    assert state.shape[-1] == joint_state_size(nets.agent, SPEC, config)
    plain = joint_state_size(nets.agent, SPEC, replace(config, state_obs=False))
    assert state.shape[-1] == plain + N * SPEC.obs_size
    # And they learn from them: what is seen has weights of its own, which an objective moves.
    params = shared.Params(nets.agent.init(KEY), nets.init_mixer(KEY))
    objective = jax.grad(lambda p: shared.td_objective(p, nets, params, traj, qmix.HParams())[0])
    grads = objective(params).mixer
    seen = slice(SPEC.state_size, SPEC.state_size + N * SPEC.obs_size)
    first = [x for x in jax.tree.leaves(grads) if x.shape[:1] == state.shape[-1:]]
    assert first and all(np.any(x[seen]) for x in first)


# --- one hypernetwork for all agents -------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2])
def test_an_agents_rows_are_made_of_what_it_sees(layers, x64):
    """Two agents with three actions: W1_i = g(o_i, s, i), and Q is the mixture of all rows."""
    views = Views(start=2, n_agents=2, size=3)
    critic = MixingCritic(6, 4, layers, 5, views=views)
    state, u = jax.random.normal(KEY, (7, 2 + 6 + 1)), jax.random.uniform(KEY, (7, 6))
    params = critic.init(KEY, state, u)
    mlp = MLP((5, 12) if layers == 2 else (12,), last_by_output=True)
    made = [
        mlp.apply(
            {"params": params["params"]["hyper_w_1"]},
            jnp.concatenate([
                state[:, 2 + 3 * i : 5 + 3 * i], state[:, :2],
                jnp.broadcast_to(jnp.eye(2)[i], (7, 2)),
            ], axis=-1),
        ).reshape(7, 3, 4)
        for i in range(2)
    ]  # fmt: skip
    bound = critic.bind(params)
    w2, b1, b2 = bound.hyper_w_final(state), bound.hyper_b_1(state), bound.hyper_b_2(state)[:, 0]
    mixed = jnp.einsum("rm,rme->re", u, jnp.concatenate(made, axis=1)) + b1
    want = jnp.sum(jnp.maximum(mixed, 0) * w2, axis=-1) + b2
    np.testing.assert_allclose(critic.apply(params, state, u), want, rtol=1e-12)
    # Every other way to ask agrees, also where some rows are not needed.
    action = jnp.array([[0, 2]] * 7)
    one_hot = jax.nn.one_hot(action, 3).reshape(7, 6)
    taken = critic.apply(params, state, one_hot)
    needed = jnp.arange(7) != 3

    def loss(params, critic):
        q = critic.apply(params, state, action, needed, method="at_actions")
        return jnp.sum(jnp.where(needed, q, 0) ** 2), q

    results = []
    for grouped in (False, True):
        asked = critic.clone(grouped_actions=grouped)
        (_, got), grads = jax.value_and_grad(loss, has_aux=True)(params, asked)
        np.testing.assert_allclose(got[needed], taken[needed], rtol=1e-12)
        results.append(grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), *results)
    got = critic.apply(params, state, action, method="at_deviations")
    np.testing.assert_allclose(got[:, 0, 0], taken, rtol=1e-12)
    np.testing.assert_allclose(got[:, 1, 2], taken, rtol=1e-12)


def test_agents_that_see_the_same_differ_by_their_index_alone():
    critic = MixingCritic(6, 4, 2, 5, views=Views(1, 2, 3))
    state = jnp.array([[0.3, 1.0, -1.0, 0.5, 1.0, -1.0, 0.5]])
    params = critic.init(KEY, state, jnp.zeros((1, 6)))
    kernel = params["params"]["hyper_w_1"]["layer_0"]["kernel"]
    assert kernel.shape == (3 + 1 + 2, 5)
    slope = jax.grad(lambda u, p: critic.apply(p, state, u)[0])
    ask = jnp.full((1, 6), 1 / 3)
    one, other = slope(ask, params).reshape(2, 3)
    assert np.any(one != other)
    params["params"]["hyper_w_1"]["layer_0"]["kernel"] = kernel.at[4:].set(0.0)
    one, other = slope(ask, params).reshape(2, 3)
    np.testing.assert_array_equal(one, other)


def test_an_update_with_views_changes_everything(traj):
    nets, learner, _ = world(traj, **VIEWS, critic_average=True)
    step = jax.jit(lica.update, static_argnums=0)
    new, shown = step(nets, learner, traj, KEY, hp=HP, progress=START)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(shown))
    for name in ("actor", "critic", "average"):
        before, after = (jax.tree.leaves(getattr(x, name)) for x in (learner, new))
        assert all(np.any(a != b) for a, b in zip(before, after, strict=True)), name


# --- the average of the critic -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batches", "kept"),
    [(0, 0.1), (5, 0.4), (90, 0.8)],  # 1 / 10, 6 / 15, then the decay
)
def test_the_average_by_hand(batches, kept):
    plain = lica.new_learner({"w": jnp.ones(1)}, {"w": jnp.array([10.0])}, ())
    learner = lica.learner_with(("average",))(**vars(plain), average={"w": jnp.ones(1)})
    got = lica.averaged(learner, jnp.float32(0.8), jnp.int32(batches))
    np.testing.assert_allclose(got["w"], [kept * 1 + (1 - kept) * 10], rtol=1e-6)


def test_the_actor_climbs_the_average(traj):
    """With a decay of 0 that is the newest critic. The critic itself learns as without it."""
    step = jax.jit(lica.update, static_argnums=0)
    plain, start, _ = world(traj)
    nets, learner, _ = world(traj, critic_average=True)
    assert type(start) is lica.Learner and lica.climbed(start) is start.critic
    far = jax.tree.map(lambda x: x + 0.5, learner.critic)
    learner = learner.replace(average=far)
    want, _ = step(plain, start, traj, KEY, hp=HP, progress=START)
    none, held = (
        step(nets, learner, traj, KEY, hp=HP.replace(average_decay=d), progress=START)[0]
        for d in (0.0, 0.999)
    )
    for got in (none, held):
        jax.tree.map(np.testing.assert_array_equal, got.critic, want.critic)
    jax.tree.map(np.testing.assert_array_equal, none.average, want.critic)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), none.actor, want.actor)
    moved = [np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (held.actor, want.actor)),
                                            strict=True)]  # fmt: skip
    assert any(moved)
    # By hand: an Adam step along the slope of the average.
    batch = lica.critic_batch(nets, traj)
    average = lica.averaged(learner.replace(critic=want.critic), 0.999, 0)
    grads = jax.grad(lica.actor_objective, has_aux=True)(
        learner.actor, nets, average, batch, traj, HP
    )[0]
    update, _ = ADAM.update(grads, learner.actor_opt)
    by_hand = jax.tree.map(lambda p, u: p - HP.actor_lr * u, learner.actor, update)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), held.actor, by_hand)
    # It is also what `diagnose` and `render` show.
    shown = lica.make(replace(SMALL, critic_average=True), SPEC).insight.critic
    assert shown(learner) is far and shown(start) is start.critic
