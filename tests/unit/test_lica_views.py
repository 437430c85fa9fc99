"""What LICA's critic reads, and the average of it that the actor climbs, by hand."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.actors import joint_state, joint_state_size, state_now
from lica_jax.algorithms.lica import actor_update, critic_update, lica
from lica_jax.algorithms.lica.learner import (
    Learner,
    climbed,
    critic_batch,
    learner_with,
    new_learner,
)
from lica_jax.algorithms.q_learning import qmix, shared
from lica_jax.core.optim import ADAM
from lica_jax.networks.critics import MixingCritic, Views
from lica_jax.networks.layers import MLP
from tests.unit.test_lica_remedies import HP, KEY, SMALL, world
from tests.unit.test_lica_remedies import traj as traj  # a fixture
from tests.unit.test_ppo import SPEC, START, B, N, T, drawn

VIEWS = {"state_obs": True, "hypernet_views": True}

update = jax.jit(lica.update, static_argnums=0)
averaged = jax.jit(critic_update.averaged)


# --- observations in the state -------------------------------------------------------------------


@pytest.mark.parametrize("last_action", [False, True])
def test_the_state_is_the_tasks_then_what_is_seen_then_what_was_done(traj, last_action):
    nets, _, batch = world(traj, state_obs=True, state_last_action=last_action)
    traj, batch = jax.device_get((traj, batch))
    steps = traj.steps
    rows = [steps.state, steps.obs.reshape(T + 1, B, -1)]
    if last_action:
        previous = np.concatenate([traj.carry.last_action[None], traj.action[:-1]])
        previous = np.where(steps.first[..., None], -1, previous)
        rows.append((previous[..., None] == np.arange(SPEC.n_actions)).reshape(T + 1, B, -1))
    np.testing.assert_array_equal(batch.state, np.concatenate(rows, axis=-1))
    assert batch.state.shape[-1] == nets.state_size
    now = jax.tree.map(lambda x: x[0], steps)
    seen = jax.jit(lambda carry, now: state_now(nets.actor, carry, now, nets.config))
    np.testing.assert_array_equal(seen(traj.carry, now), batch.state[0])


def test_mixers_read_observations_too(traj):
    config = qmix.Config(hidden=4, agent="mlp", state_obs=True)
    nets = qmix.make(config, SPEC).update.args[0]
    state = jax.eval_shape(lambda x: joint_state(nets.agent, x, config), traj)
    assert state.shape[-1] == joint_state_size(nets.agent, SPEC, config)
    plain = joint_state_size(nets.agent, SPEC, replace(config, state_obs=False))
    assert state.shape[-1] == plain + N * SPEC.obs_size
    # And they learn from them: what is seen has weights of its own, which an objective moves.
    shapes = jax.eval_shape(lambda key: (nets.agent.init(key), nets.init_mixer(key)), KEY)
    params = shared.Params(*drawn(shapes))

    def objective(p, params, traj):
        return shared.td_objective(p, nets, params, traj, qmix.HParams())[0]

    grads = jax.jit(jax.grad(objective))(params, params, traj).mixer
    seen = slice(SPEC.state_size, SPEC.state_size + N * SPEC.obs_size)
    first = [np.asarray(x) for x in jax.tree.leaves(grads) if x.shape[:1] == state.shape[-1:]]
    assert first and all(np.any(x[seen]) for x in first)


# --- one hypernetwork for all agents -------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2])
def test_an_agents_rows_are_made_of_what_it_sees(layers, x64):
    """Two agents with three actions: W1_i = g(o_i, s, i), and Q is the mixture of all rows."""
    views = Views(start=2, n_agents=2, size=3)
    critic = MixingCritic(6, 4, layers, 5, views=views)
    rng = np.random.default_rng(7)
    state, u = rng.normal(size=(7, 2 + 6 + 1)), rng.uniform(size=(7, 6))
    params = drawn(jax.eval_shape(critic.init, KEY, state, u))
    mlp = MLP((5, 12) if layers == 2 else (12,), last_by_output=True)

    @jax.jit
    def mixture(params):
        made = [
            mlp.apply(
                {"params": params["params"]["hyper_w_1"]},
                np.concatenate([
                    state[:, 2 + 3 * i : 5 + 3 * i], state[:, :2],
                    np.broadcast_to(np.eye(2)[i], (7, 2)),
                ], axis=-1),
            ).reshape(7, 3, 4)
            for i in range(2)
        ]  # fmt: skip
        bound = critic.bind(params)
        w2, b1, b2 = bound.hyper_w_final(state), bound.hyper_b_1(state), bound.hyper_b_2(state)
        mixed = jnp.einsum("rm,rme->re", u, jnp.concatenate(made, axis=1)) + b1
        return jnp.sum(jnp.maximum(mixed, 0) * w2, axis=-1) + b2[:, 0]

    value = jax.jit(critic.apply)
    np.testing.assert_allclose(value(params, state, u), mixture(params), rtol=1e-12)
    # Every other way to ask agrees, also where some rows are not needed.
    action = np.array([[0, 2]] * 7)
    taken = np.asarray(value(params, state, np.eye(3)[action].reshape(7, 6)))
    needed = np.arange(7) != 3

    def loss(params, critic, state, action, needed):
        q = critic.apply(params, state, action, needed, method="at_actions")
        return jnp.sum(jnp.where(needed, q, 0) ** 2), q

    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
    asked, results = (state, action, needed), []
    for grouped in (False, True):
        (_, got), grads = gradient(params, critic.clone(grouped_actions=grouped), *asked)
        np.testing.assert_allclose(np.asarray(got)[needed], taken[needed], rtol=1e-12)
        results.append(grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), *results)
    got = np.asarray(jax.jit(partial(critic.apply, method="at_deviations"))(params, state, action))
    np.testing.assert_allclose(got[:, 0, 0], taken, rtol=1e-12)
    np.testing.assert_allclose(got[:, 1, 2], taken, rtol=1e-12)


def test_agents_that_see_the_same_differ_by_their_index_alone():
    critic = MixingCritic(6, 4, 2, 5, views=Views(1, 2, 3))
    state = np.float32([[0.3, 1.0, -1.0, 0.5, 1.0, -1.0, 0.5]])
    ask = np.full((1, 6), 1 / 3, np.float32)
    params = drawn(jax.eval_shape(critic.init, KEY, state, ask))
    kernel = params["params"]["hyper_w_1"]["layer_0"]["kernel"]
    assert kernel.shape == (3 + 1 + 2, 5)
    slope = jax.jit(jax.grad(lambda u, p: critic.apply(p, state, u)[0]))
    one, other = np.asarray(slope(ask, params)).reshape(2, 3)
    assert np.any(one != other)
    kernel[4:] = 0
    one, other = np.asarray(slope(ask, params)).reshape(2, 3)
    np.testing.assert_array_equal(one, other)


def test_an_update_with_views_changes_everything(traj):
    nets, learner, _ = world(traj, **VIEWS, critic_average=True)
    new, shown = jax.device_get(update(nets, learner, traj, KEY, hp=HP, progress=START))
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
    one = np.ones(1, np.float32)
    plain = new_learner({"w": one}, {"w": 10 * one}, ())
    learner = learner_with(("average",))(**vars(plain), average={"w": one})
    got = averaged(learner, jnp.float32(0.8), jnp.int32(batches))
    np.testing.assert_allclose(got["w"], [kept * 1 + (1 - kept) * 10], rtol=1e-6)


def test_batches_that_were_only_stored_are_none(traj):
    """Collections before a replay was ready do not make the first batch count for less."""
    nets, learner, _ = world(traj, critic_average=True)
    first, late = (
        update(nets, learner, traj, KEY, hp=HP, progress=replace(START, updates=jnp.int32(n)))[0]
        for n in (0, 19)
    )
    jax.tree.map(np.testing.assert_array_equal, first.average, late.average)
    moved = jax.tree.leaves(jax.tree.map(np.subtract, first.average, first.critic))
    far = jax.tree.leaves(jax.tree.map(np.subtract, learner.average, first.critic))
    for got, whole in zip(moved, far, strict=True):
        np.testing.assert_allclose(got, 0.1 * whole, atol=1e-6)


def test_the_actor_climbs_the_average(traj):
    """With a decay of 0 that is the newest critic. The critic itself learns as without it."""
    plain, start, _ = world(traj)
    nets, learner, _ = world(traj, critic_average=True)
    assert type(start) is Learner and climbed(start) is start.critic
    far = jax.tree.map(lambda x: x + 0.5, learner.critic)
    learner = learner.replace(average=far)
    want, _ = update(plain, start, traj, KEY, hp=HP, progress=START)
    none, held = (
        update(nets, learner, traj, KEY, hp=HP.replace(average_decay=d), progress=START)[0]
        for d in (0.0, 0.999)
    )
    for got in (none, held):
        jax.tree.map(np.testing.assert_array_equal, got.critic, want.critic)
    jax.tree.map(np.testing.assert_array_equal, none.average, want.critic)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), none.actor, want.actor)
    assert not all(map(np.array_equal, *map(jax.tree.leaves, (held.actor, want.actor))))

    # By hand: an Adam step along the slope of the average.
    @jax.jit
    def stepped(learner, traj):
        average = critic_update.averaged(learner, 0.999, 0)
        slope = jax.grad(actor_update.actor_objective, has_aux=True)
        batch = critic_batch(nets, traj)
        grads, _ = slope(learner.actor, nets, average, batch, traj, HP)
        way, _ = ADAM.update(grads, learner.actor_opt)
        return jax.tree.map(lambda p, u: p - HP.actor_lr * u, learner.actor, way)

    by_hand = stepped(learner.replace(critic=want.critic), traj)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), held.actor, by_hand)
    # It is also what `diagnose` and `render` show.
    shown = lica.make(replace(SMALL, critic_average=True), SPEC).insight.critic
    assert shown(learner) is far and shown(start) is start.critic
