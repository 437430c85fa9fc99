"""PPO by hand: clipping, advantages, normalised values, minibatches, and who is learned from."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lica_jax.algorithms.actors import actor_step
from lica_jax.algorithms.ppo import ippo, mappo
from lica_jax.algorithms.ppo import shared as ppo
from lica_jax.config import load_config, resolve
from lica_jax.core.losses import clipped_policy_loss, clipped_value_loss, critic_loss
from lica_jax.core.masking import mask_logits
from lica_jax.core.minibatches import stream_groups
from lica_jax.core.returns import gae, standardised
from lica_jax.core.value_norm import (
    denormalise,
    new_value_norm,
    normalise,
    statistics,
    update_value_norm,
)
from lica_jax.envs import make_task
from lica_jax.errors import UserError
from lica_jax.types import Collect, Progress, TaskSpec, TimeStep, Trajectory
from tests.step_sizes import check_half_way

HP = ppo.HParams(reward_scale=1.0)
START = Progress(jnp.zeros(()), jnp.int32(0))

# Hundreds of operations on their own take several times as long to compile.
make_batch = jax.jit(ppo.make_batch, static_argnums=0)
update = jax.jit(ppo.update, static_argnums=0)
actor_objective = jax.jit(ppo.actor_objective, static_argnums=1)
advantages = jax.jit(gae)
policy_slope = jax.jit(jax.value_and_grad(clipped_policy_loss))
value_slope = jax.jit(jax.value_and_grad(clipped_value_loss))

# --- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.1, 2.0, -2.2, -2.2),  # inside: -rho A, and d rho / d log pi = rho
        (1.5, 2.0, -2.4, 0.0),  # already likelier by more than 20 %: 1.2 A, no gradient
        (1.5, -2.0, 3.0, 3.0),  # likelier although bad: not clipped
        (0.5, 2.0, -1.0, -1.0),  # rarer although good: not clipped
        (0.5, -2.0, 1.6, 0.0),  # already rarer by more than 20 %: 0.8 A, no gradient
    ],
)
def test_the_ratio_is_clipped_where_it_has_gone_far_enough(ratio, advantage, loss, gradient):
    log_prob, one = np.float32([-1 + np.log(ratio)]), np.ones(1, np.float32)
    got, grad = policy_slope(log_prob, -one, advantage * one, one, 0.2)
    assert got == pytest.approx(loss, rel=1e-5)
    assert grad[0] == pytest.approx(gradient, rel=1e-5)


def test_a_masked_ratio_that_overflows_has_no_say():
    ones = np.ones(2, np.float32)
    got, grad = policy_slope(np.float32([0, 1e6]), 0 * ones, ones, np.float32([1, 0]), 0.2)
    assert got == -1.0
    np.testing.assert_array_equal(grad, [-1.0, 0.0])


@pytest.mark.parametrize(
    ("value", "target", "loss", "gradient"),
    [
        (1.1, 2.0, 0.81, -1.8),  # inside: (1.1 - 2)^2
        (1.5, 2.0, 0.64, 0.0),  # has moved up by more than 0.2 towards 2: (1.2 - 2)^2, no gradient
        (1.5, 0.0, 2.25, 3.0),  # has moved away from 0: its own error
        (0.5, 0.0, 0.64, 0.0),  # has moved down by more than 0.2 towards 0: (0.8 - 0)^2
        (0.5, 2.0, 2.25, -3.0),  # has moved away from 2
    ],
)
def test_values_are_clipped_where_they_have_gone_far_enough(value, target, loss, gradient):
    one = np.ones(1, np.float32)
    got, grad = value_slope(value * one, one, target * one, one, 0.2)
    assert got == pytest.approx(loss, rel=1e-5)
    assert grad[0] == pytest.approx(gradient, rel=1e-5, abs=1e-6)


def test_a_large_value_clip_is_none():
    v, old, y, mask = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    mask = (mask > 0).astype(np.float32)
    assert clipped_value_loss(v, old, y, mask, 1e9) == pytest.approx(critic_loss(v, y, mask))


# --- advantages ----------------------------------------------------------------------------------


def one_stream(value, reward, terminal, cut, valid, gamma=0.5, lam=0.5):
    value = np.asarray(value, np.float32)[:, None, None]
    reward = np.asarray(reward, np.float32)[:, None]
    flags = [np.asarray(x, bool)[:, None] for x in (terminal, cut, valid)]
    return [np.asarray(x)[:, 0, 0] for x in advantages(value, reward, *flags, gamma, lam)]


def test_advantages_of_two_steps_by_hand():
    # delta_1 = 2 + .5 * 4 - 3 = 1;  delta_0 = 1 + .5 * 3 - 9 = -6.5;  A_0 = -6.5 + .25 * 1
    advantage, target = one_stream([9, 3, 4], [1, 2], [0, 0], [0, 0], [1, 1])
    np.testing.assert_allclose(advantage, [-6.25, 1.0])
    np.testing.assert_allclose(target, [2.75, 4.0])


def test_a_time_limit_bootstraps_and_a_terminal_state_does_not():
    truncated, _ = one_stream([9, 3, 4], [1, 2], [0, 0], [0, 1], [1, 1])
    terminal, _ = one_stream([9, 3, 4], [1, 2], [0, 1], [0, 1], [1, 1])
    np.testing.assert_allclose(truncated, [-6.25, 1.0])
    np.testing.assert_allclose(terminal, [-6.75, -1.0])  # delta_1 = 2 - 3


def naive_gae(value, reward, terminal, cut, valid, gamma, lam):
    """For every step the sum of discounted TD errors to the end of its episode."""
    steps = len(reward)
    out = np.zeros(steps)
    for t in range(steps):
        for k in range(t, steps if valid[t] else t):
            after = 0.0 if terminal[k] else value[k + 1]
            out[t] += (gamma * lam) ** (k - t) * (reward[k] + gamma * after - value[k])
            if cut[k]:
                break
    return out


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31 - 1), st.integers(1, 12), st.floats(0, 1), st.floats(0, 1))
def test_episodes_in_one_segment_match_a_naive_loop(seed, steps, gamma, lam):
    rng = np.random.default_rng(seed)
    value, reward = rng.normal(size=steps + 1), rng.normal(size=steps)
    ending = rng.choice(3, size=steps, p=[0.5, 0.25, 0.25])  # goes on, terminal, time limit
    valid = np.ones(steps, bool)
    for t in range(1, steps):  # behind an ending stands the reset, which ends nothing
        valid[t] = not (valid[t - 1] and ending[t - 1] > 0)
    ending = np.where(valid, ending, 0)
    args = (value, reward, ending == 1, ending > 0, valid, gamma, lam)
    advantage, _ = one_stream(*args)
    np.testing.assert_allclose(advantage, naive_gae(*args), rtol=2e-4, atol=2e-4)


def test_every_agent_has_its_own_advantage_of_the_same_reward():
    value = np.float32([[[1, 2]], [[3, 5]]])
    off, on = np.zeros((1, 1), bool), np.ones((1, 1), bool)
    advantage, target = advantages(value, np.float32([[1]]), off, off, on, 1.0, 0.9)
    np.testing.assert_allclose(advantage[0, 0], [3.0, 4.0])
    np.testing.assert_allclose(target[0, 0], [4.0, 6.0])


def test_standardised_over_the_mask():
    of = jax.jit(standardised)
    got = of(np.array([1.0, 3.0, 100.0]), np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(got[:2], [-1, 1], rtol=1e-4)
    assert np.all(np.isfinite(of(np.ones(3), np.zeros(3))))


# --- value normalisation -------------------------------------------------------------------------

learned = jax.jit(update_value_norm)
mean_and_std = jax.jit(statistics)


def test_the_first_batch_is_normalised_by_itself():
    norm = learned(new_value_norm(), np.array([2.0, 6.0, 99.0]), np.array([1, 1, 0]), 0.9)
    mean, std = mean_and_std(norm)
    assert mean == pytest.approx(4.0, rel=1e-5) and std == pytest.approx(2.0, rel=1e-5)
    np.testing.assert_allclose(normalise(norm, np.array([2.0, 6.0])), [-1, 1], rtol=1e-5)


def test_statistics_of_two_batches_by_hand():
    # Weights .09 and .1 of .19: mean (.09 * 1 + .1 * 3) / .19, square (.09 * 1 + .1 * 9) / .19
    norm, ones = new_value_norm(), np.ones(4)
    norm = learned(norm, ones, ones, 0.9)
    norm = learned(norm, 3 * ones, ones, 0.9)
    mean, std = mean_and_std(norm)
    assert mean == pytest.approx(0.39 / 0.19, rel=1e-5)
    assert std == pytest.approx(np.sqrt(0.99 / 0.19 - (0.39 / 0.19) ** 2), rel=1e-4)


def test_statistics_of_nothing_and_of_equal_targets():
    norm = new_value_norm()
    assert mean_and_std(norm) == (0, 1)
    untouched = learned(norm, np.ones(3), np.zeros(3), 0.9)
    assert mean_and_std(untouched) == (0, 1)
    mean, std = mean_and_std(learned(norm, 5 * np.ones(3), np.ones(3), 0.99999))
    assert mean == pytest.approx(5, rel=1e-4) and std == pytest.approx(0.1, rel=1e-4)  # floored


@pytest.mark.parametrize(
    ("decay", "mean", "updates"), [(0.99, -5000.0, 2_000), (0.99999, -200.0, 800_000)]
)
def test_statistics_keep_their_precision(decay, mean, updates):
    """In float32, far from 0 and for long: a mean square would lose the variance to rounding."""
    target = mean + np.array([-5.0, 5.0], np.float32)
    ones = np.ones(2, np.float32)
    decay = np.float32(decay)

    @jax.jit
    def long(norm):
        step = lambda _, norm: update_value_norm(norm, target, ones, decay)  # noqa: E731
        return statistics(jax.lax.fori_loop(0, updates, step, norm))

    got = long(new_value_norm())
    np.testing.assert_allclose(got, [mean, 5], rtol=1e-3)


def test_denormalise_undoes_normalise():
    norm = learned(new_value_norm(), np.array([-3.0, 8.0, 1.0]), np.ones(3), 0.99999)
    x = np.array([-7.0, 0.0, 20.0])
    np.testing.assert_allclose(denormalise(norm, normalise(norm, x)), x, rtol=1e-5, atol=1e-5)


# --- minibatches ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("epochs", "minibatches", "streams"), [(3, 4, 12), (2, 1, 5), (1, 6, 6)])
def test_every_stream_once_per_epoch(epochs, minibatches, streams):
    groups = stream_groups(jax.random.key(0), epochs, minibatches, streams)
    assert groups.shape == (epochs * minibatches, streams // minibatches)
    for epoch in groups.reshape(epochs, streams):
        assert sorted(epoch.tolist()) == list(range(streams))


def test_epochs_are_shuffled_anew():
    first, second = stream_groups(jax.random.key(0), 2, 1, 64)
    assert not np.array_equal(first, second) and not np.array_equal(first, np.arange(64))


def test_minibatches_that_do_not_divide_the_environments_are_refused():
    config = load_config("mappo", "probe/match", algo={"minibatches": 5}, collect={"envs": 32})
    with pytest.raises(UserError, match=r"algo.minibatches 5 must divide collect.envs 32.*4 or 8"):
        resolve(config, make_task("probe/match").spec)
    assert not ppo.Config(minibatches=8).problems(make_task("probe/match").spec, Collect(envs=32))
    with pytest.raises(UserError, match=r"minibatches 99 .*use 32"):
        resolve(
            load_config("ippo", "probe/match", algo={"minibatches": 99}, collect={"envs": 32}),
            make_task("probe/match").spec,
        )


def test_a_task_without_a_state_is_refused_by_mappo_only():
    spec = replace(make_task("probe/match").spec, state_size=0)
    assert any("use ippo" in line for line in mappo.Config().problems(spec, Collect()))
    assert not ippo.Config().problems(spec, Collect())


# --- whole updates -------------------------------------------------------------------------------

SIZES = {"hidden": 8, "critic_hidden": 8, "epochs": 2}
SPEC = TaskSpec("battle", n_agents=3, n_actions=5, obs_size=4, state_size=6, episode_limit=8)
T, B, N = 12, 4, SPEC.n_agents


@cache  # those of equal settings share their programs
def networks(name="mappo", **choices):
    module = {"ippo": ippo, "mappo": mappo}[name]
    config = module.Config(**{**SIZES, **choices})
    view = module.make(config, SPEC).update.args[0].view
    return ppo.make_networks(config, SPEC, view)


def battle(nets, *, restart=True, seed=0):
    """A made-up batch in which agents die one by one and episodes end within the segment.

    Streams begin in the middle of episodes, with memories; without ``restart`` they begin at an
    episode's start, and what is behind its end is padding.
    """
    rng = np.random.default_rng(seed)
    alive, flags = np.ones((T + 1, B, N), bool), np.zeros((4, T + 1, B), bool)
    first, terminated, truncated, over = flags
    first[0] = not restart
    for t, b in np.ndindex(T, B):
        over[t + 1, b] = over[t, b] and not restart
        first[t + 1, b] = restart and (terminated[t, b] or truncated[t, b])
        alive[t + 1, b] = first[t + 1, b] | (alive[t, b] & (rng.random(N) < 0.85))
        if not (over[t + 1, b] or first[t + 1, b]):
            kind = rng.choice(3, p=[0.8, 0.1, 0.1])
            terminated[t + 1, b], truncated[t + 1, b] = kind == 1, kind == 2
        over[t + 1, b] |= (terminated[t + 1, b] or truncated[t + 1, b]) and not restart
    ended = terminated | truncated | over
    avail = rng.random((T + 1, B, N, SPEC.n_actions)) < 0.6
    avail[..., 0] = True  # waiting; the dead can do nothing else
    avail[..., 1:] &= alive[..., None]
    action = np.argmax(np.where(avail, rng.random(avail.shape), -1), axis=-1)
    carry = ppo.initial_carry(nets, B)
    if restart:
        hidden, critic = jax.tree.map(
            lambda x: rng.normal(size=x.shape), (carry.hidden, carry.critic)
        )
        carry = ppo.Carry(hidden, jnp.asarray(action[-1]), critic)
    size = (T + 1, B)
    steps = TimeStep(
        obs=rng.normal(size=(*size, N, SPEC.obs_size)),
        state=rng.normal(size=(*size, SPEC.state_size)), avail=avail,
        reward=rng.normal(size=size), terminated=terminated, truncated=truncated,
        first=first, alive=alive, info={},
    )  # fmt: skip
    traj = Trajectory(steps, action.astype(np.int32), ~ended[:-1], carry, {})
    return jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32 if x.dtype == float else x.dtype), traj
    )


def drawn(shapes, seed=0, scale=1.0):
    """Parameters of these shapes, drawn by NumPy: JAX's own draws take a second to compile."""
    rng = np.random.default_rng(seed)

    def draw(x):
        bound = scale * x.shape[0] ** -0.5
        return rng.uniform(-bound, bound, x.shape).astype(x.dtype)

    return jax.tree.map(draw, shapes)


def learner_of(init, nets, *parts, **choices):
    """What an algorithm's ``init`` makes of its networks, with other parameters of ``parts``."""
    shapes = jax.eval_shape(partial(init, nets), jax.random.key(0))
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    return zeros.replace(**{name: drawn(getattr(zeros, name), **choices) for name in parts})


begun = partial(learner_of, ppo.init)
PARTS = "actor", "critic"


def scaled(nets):
    """A learner with larger weights than the initial ones, so that memories matter."""
    return begun(nets, *PARTS, scale=3.0)


@pytest.mark.parametrize("kind", ["gru", "mlp"])
def test_old_policies_and_values_are_those_that_acted(kind):
    """Unrolled from stored memories, through deaths, ends of episodes and the seam."""
    nets = networks(actor=kind, critic=kind, last_action=True)
    learner = scaled(nets)
    traj = battle(nets)
    batch = jax.device_get(make_batch(nets, learner, traj, HP)[0])
    params = {"actor": learner.actor, "critic": learner.critic}

    @jax.jit
    def looked(carry, ts, key):
        _, logits = actor_step(nets.actor, learner.actor, carry, ts.obs, ts.first)
        log_probs = jax.nn.log_softmax(mask_logits(logits, ts.avail))
        view = ppo.critic_inputs(nets, ts.obs, ts.state, ts.alive)[None]
        value = ppo.values(nets, learner.critic, view, ts.first[None], carry.critic)
        acted = ppo.act(
            nets, params, carry, ts, key, hp=HP, progress=START, explore=jnp.zeros(B, bool)
        )
        return log_probs, value, acted

    steps, action = jax.device_get((traj.steps, traj.action))
    carry = traj.carry
    for t in range(T):
        ts = jax.tree.map(lambda x, t=t: x[t], steps)
        before = carry.critic
        log_probs, (memory, value), (carry, greedy, _) = looked(carry, ts, jax.random.key(0))
        want = np.take_along_axis(np.asarray(log_probs), action[t][..., None], -1)
        np.testing.assert_allclose(batch.log_prob[t], want[..., 0], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(greedy, np.argmax(log_probs, axis=-1))
        if kind == "gru":  # the value of slot t is read off the memory that `act` went on with
            assert np.any(np.asarray(carry.critic) != before)
            np.testing.assert_allclose(memory, carry.critic, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(batch.value[t], value[0], rtol=1e-4, atol=1e-5)
        carry = carry.replace(last_action=action[t])


def test_only_a_recurrent_critic_travels_with_the_policy():
    for kind, holds in (("gru", True), ("mlp", False)):
        nets = networks(critic=kind)
        learner = begun(nets)
        assert ("critic" in ppo.policy(nets, learner)) is holds
        assert bool(jax.tree.leaves(ppo.initial_carry(nets, 2).critic)) is holds


@pytest.fixture(scope="module")
def batch():
    nets = networks(actor="mlp", critic="mlp")
    learner = scaled(nets)
    return nets, learner, make_batch(nets, learner, battle(nets), HP)[0]


def test_dead_agents_and_padding_contribute_nothing_to_the_policies_loss(batch):
    nets, learner, b = batch
    b = jax.device_get(b)
    gone = b.living == 0
    assert np.any(gone & (b.valid > 0))  # somebody has died within an episode
    changed = b.replace(
        obs=np.where(gone[..., None], np.float32(7), b.obs),
        advantage=np.where(gone, np.float32(1e3), b.advantage),
        log_prob=np.where(gone, np.float32(-5), b.log_prob),
        avail=b.avail | gone[..., None],
    )
    gradient = jax.jit(jax.grad(lambda p, x: ppo.actor_objective(p, nets, x, HP, 0.1)[0]))
    grads = gradient(learner.actor, b), gradient(learner.actor, changed)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), *grads)
    alive = b.replace(advantage=b.advantage + np.float32(1e3) * ~gone)
    moved = gradient(learner.actor, alive)
    assert not all(map(np.array_equal, *map(jax.tree.leaves, (moved, grads[0]))))


def test_advantages_are_standardised_over_the_living(batch):
    _, _, b = batch
    x = np.asarray(b.advantage)[np.asarray(b.living) > 0]
    assert x.mean() == pytest.approx(0, abs=1e-4) and x.std() == pytest.approx(1, rel=1e-2)


def test_the_entropy_bonus_counts_living_agents_with_a_choice(batch):
    nets, learner, b = batch
    zeros = jax.tree.map(np.zeros_like, learner.actor)
    _, shown = actor_objective(zeros, nets, b, HP, 0.0)
    choices = np.asarray(b.avail).sum(-1)
    counted = (np.asarray(b.living) > 0) & (choices >= 2)
    assert shown["entropy"] == pytest.approx(np.log(choices[counted]).mean(), rel=1e-5)


def test_a_dead_agent_is_valued_by_its_index_alone():
    obs = np.ones((2, 3, SPEC.obs_size), np.float32)
    state = 2 * np.ones((2, SPEC.state_size), np.float32)
    alive = np.array([[True, True, True], [True, False, True]])
    critic_inputs = jax.jit(ppo.critic_inputs, static_argnums=0)
    view = np.asarray(critic_inputs(networks(), obs, state, alive))
    assert view.shape[-1] == SPEC.obs_size + SPEC.state_size + 3
    np.testing.assert_array_equal(view[..., -3:], np.broadcast_to(np.eye(3), (2, 3, 3)))
    assert not np.any(view[1, 1, :-3]) and np.all(view[1, 0, :-3] > 0) and np.all(view[0] >= 0)
    seen = np.asarray(critic_inputs(networks(death_masking=False), obs, state, alive))
    np.testing.assert_array_equal(seen[1, 1, :-3], view[1, 0, :-3])
    alone = np.asarray(critic_inputs(networks("ippo", agent_id=False), obs, state, alive))
    np.testing.assert_array_equal(alone[0], obs[0])
    central = np.asarray(critic_inputs(networks(critic_obs=False), obs, state, alive))
    np.testing.assert_array_equal(
        central[0, :, :-3], np.broadcast_to(state[:1], (3, SPEC.state_size))
    )


def test_a_normalised_critic_does_not_know_the_scale_of_its_first_layer():
    shape = (1, 2, N, SPEC.obs_size + SPEC.state_size + N)
    view = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    for layer_norm in (True, False):
        nets = networks(critic="mlp", critic_layer_norm=layer_norm)
        params = begun(nets, *PARTS).critic
        apply = jax.jit(nets.critic.apply)
        larger = jax.tree.map(lambda x: x, params)
        first = larger["params"]["mlp"]["layer_0"]
        first |= {name: 10 * x for name, x in first.items()}
        plain, scaled_up = (apply(p, view, (), None)[1] for p in (params, larger))
        assert np.allclose(plain, scaled_up, atol=1e-3) == layer_norm
    algo = {"critic": "gru", "critic_layer_norm": True}
    with pytest.raises(UserError, match=r'critic_layer_norm is .* use algo.critic "mlp"'):
        resolve(load_config("ippo", "smax/3m", algo=algo), SPEC)


@pytest.mark.parametrize("name", ["ippo", "mappo"])
@pytest.mark.parametrize("mode", ["steps", "episode"])
def test_padding_changes_nothing(name, mode):
    """Rewards and actions of transitions that did not happen are not learned from."""
    nets = networks(name, actor="mlp", critic="mlp", minibatches=2)
    learner = scaled(nets)
    traj = battle(nets, restart=mode == "steps")
    padding = ~np.asarray(traj.valid)
    assert np.any(padding)
    reward, action = np.array(traj.steps.reward), np.array(traj.action)
    reward[1:] += 1e3 * padding
    action[:-1][padding] = 0
    steps = traj.steps.replace(reward=reward)
    got = [
        update(nets, learner, x, jax.random.key(5), hp=HP, progress=START)
        for x in (traj, traj.replace(steps=steps, action=action))
    ]
    assert np.isfinite(got[0][1]["loss"])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-6), got[0][0], got[1][0])
    check_half_way(partial(update, nets, learner, traj, jax.random.key(5)), HP, START)


def test_one_minibatch_of_all_streams_is_the_whole_batch(batch):
    nets, learner, b = batch
    step = jax.jit(partial(ppo.minibatch_step, nets))
    shuffled = jax.jit(ppo.minibatch)(b, np.array([2, 0, 3, 1]))
    whole, mixed = (step(learner, x, HP, 0.01)[0] for x in (b, shuffled))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-6), whole, mixed)


def test_the_first_step_has_ratio_one(batch):
    nets, learner, b = batch
    _, shown = actor_objective(learner.actor, nets, b, HP, 0.0)
    assert shown["clip_fraction"] == 0 and abs(float(shown["approx_kl"])) < 1e-6


@pytest.mark.parametrize("change", [0.5, -0.5])
def test_the_divergence_of_policies_that_have_moved(batch, change):
    """Every ratio is e^change: ratio - 1 - log ratio, positive both ways (Schulman, 2020)."""
    nets, learner, b = batch
    log_prob = b.log_prob - np.float32(change)
    _, shown = actor_objective(learner.actor, nets, b.replace(log_prob=log_prob), HP, 0.0)
    assert shown["approx_kl"] == pytest.approx(np.exp(change) - 1 - change, rel=1e-4)
    assert shown["clip_fraction"] == 1


def test_values_of_the_dead_are_learned(batch):
    """Their error is in the critic's loss as that of the living is; padding's is not."""
    nets, learner, b = batch
    b, hp = jax.device_get(b), HP.replace(value_clip=100.0)
    dead = (b.living == 0) & (b.valid > 0)
    loss = jax.jit(lambda b: ppo.critic_objective(learner.critic, nets, b, hp))
    _, value = ppo.values(nets, learner.critic, b.view, b.first, b.carry.critic)
    met = b.replace(target=np.asarray(value))  # nobody is wrong
    wrong = met.replace(target=met.target + np.float32(2) * dead)
    assert dead.any() and loss(met) == pytest.approx(0, abs=1e-8)
    share = dead.sum() / b.valid.sum()
    assert loss(wrong) == pytest.approx(4 * share, rel=1e-4)


def test_the_entropy_coefficient_follows_env_steps_only():
    hp = HP.replace(entropy_coef=0.05, entropy_final=0.01, entropy_steps=100.0)
    at = [float(ppo.entropy_coef(hp, Progress(jnp.float32(t), 0))) for t in (0, 50, 100, 1e6)]
    np.testing.assert_allclose(at, [0.05, 0.03, 0.01, 0.01], rtol=1e-6)
    assert ppo.entropy_coef(HP, START) == pytest.approx(0.01)


def test_a_final_entropy_without_steps_is_refused():
    config = load_config("ippo", "probe/match", hp={"entropy_final": 0.5, "entropy_steps": 0})
    with pytest.raises(UserError, match=r"hp.entropy_final needs hp.entropy_steps"):
        resolve(config, make_task("probe/match").spec)


def test_infinite_gradients_show_in_the_loss():
    nets = networks("mappo", actor="mlp", critic="mlp", minibatches=2)
    learner = begun(nets, *PARTS)
    traj = battle(nets)
    bad = traj.replace(steps=traj.steps.replace(obs=np.inf * np.asarray(traj.steps.obs)))
    _, metrics = update(nets, learner, bad, jax.random.key(0), hp=HP, progress=START)
    assert not np.isfinite(metrics["loss"])


@pytest.mark.parametrize("kind", ["gru", "mlp"])
def test_zero_parameters_are_the_uniform_policy(kind):
    nets = networks(actor=kind, critic=kind)
    zeros = ppo.policy(nets, begun(nets))
    _, logits = jax.jit(partial(actor_step, nets.actor))(
        zeros["actor"], ppo.initial_carry(nets, 1),
        np.ones((1, 3, SPEC.obs_size), np.float32), np.ones(1, bool),
    )  # fmt: skip
    assert not np.any(logits)


@pytest.mark.parametrize("share", [True, False])
def test_vmap_over_runs_is_each_run_alone(share):
    nets = networks(
        share_params=share, actor="gru" if share else "mlp", critic="mlp", minibatches=2
    )
    learners = [begun(nets, *PARTS, seed=i) for i in range(2)]
    trajs = [battle(nets, seed=i) for i in range(2)]
    hps = [HP, HP.replace(clip=0.1, actor_lr=1e-3)]
    keys = jax.random.split(jax.random.key(4), 2)

    def updated(learner, traj, key, hp):
        return update(nets, learner, traj, key, hp=hp, progress=START)

    stack = partial(jax.tree.map, lambda *x: np.stack(x))
    alone = [updated(*x) for x in zip(learners, trajs, keys, hps, strict=True)]
    both = jax.jit(jax.vmap(updated))(stack(*learners), stack(*trajs), keys, stack(*hps))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-6), stack(*alone), both)
