"""The particle-task family: transitions, targets, gradients of each agent's own, behaviour."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms import make_algorithm
from lica_jax.algorithms.per_agent import coma_fc, ddpg, iddpg, maddpg, sqddpg
from lica_jax.algorithms.per_agent import shared as per_agent
from lica_jax.algorithms.per_agent.insight import look
from lica_jax.config import load_config, resolve
from lica_jax.envs import make_task
from lica_jax.errors import UserError
from lica_jax.policy import Policy
from lica_jax.runs.evaluating import check_sizes
from lica_jax.types import TaskSpec, TimeStep, Trajectory
from tests.step_sizes import check_half_way
from tests.unit.test_ppo import START, drawn

SPEC = TaskSpec("x", n_agents=3, n_actions=4, obs_size=5, state_size=15, episode_limit=9)
MODULES = {"iddpg": iddpg, "maddpg": maddpg, "sqddpg": sqddpg, "coma_fc": coma_fc}
K = 6


def networks(name, **config):
    module = MODULES[name]
    return module.make_networks(module.Config(hidden=8, **config), SPEC)


def new_params(nets):
    inits = nets.actor.init, nets.critic.init
    return per_agent.Params(
        *(drawn(jax.eval_shape(x, jax.random.key(0)), seed=i) for i, x in enumerate(inits))
    )


def draw(nets, key=2):
    """The noise of one pass of the critics."""
    return jax.jit(nets.method.draw, static_argnums=1)(jax.random.key(key), K)


def rows(key=0, k=K, n_valid=K):
    rng, shape = np.random.default_rng(key), (k, SPEC.n_agents)
    batch = per_agent.Rows(
        obs=rng.normal(size=(*shape, 5)), action=np.eye(4)[rng.integers(0, 4, shape)],
        reward=rng.normal(size=k), terminal=np.zeros(k, bool),
        next_obs=rng.normal(size=(*shape, 5)), mask=1.0 * (np.arange(k) < n_valid),
    )  # fmt: skip
    return jax.tree.map(lambda x: x.astype(np.float32) if x.dtype == float else x, batch)


def trajectory(t=2, b=3):
    """Rewards and flags that tell where they come from."""
    n = SPEC.n_agents
    terminated, truncated, off = np.zeros((3, t + 1, b), bool)
    terminated[1, 0] = truncated[1, 1] = True
    slot = np.float32(10.0 * np.arange(t + 1)[:, None] + np.arange(b))
    steps = TimeStep(
        obs=np.broadcast_to(slot[..., None, None], (t + 1, b, n, 5)),
        state=np.zeros((t + 1, b, 15)), avail=np.ones((t + 1, b, n, 4), bool), reward=slot,
        terminated=terminated, truncated=truncated, first=off,
        alive=np.ones((t + 1, b, n), bool), info={},
    )  # fmt: skip
    valid = np.ones((t, b), bool)
    valid[1, :2] = False
    action = np.broadcast_to(np.arange(n, dtype=np.int32), (t + 1, b, n))
    return Trajectory(steps, action, valid, per_agent.initial_carry(b), {})


def rows_of(traj):
    return jax.device_get(jax.jit(per_agent.rows_of, static_argnums=1)(traj, 4))


def test_transitions_of_a_trajectory():
    got = rows_of(trajectory())
    np.testing.assert_array_equal(got.obs[:, 0, 0], [0, 1, 2, 10, 11, 12])
    np.testing.assert_array_equal(got.next_obs[:, 0, 0], [10, 11, 12, 20, 21, 22])
    np.testing.assert_array_equal(got.reward, [10, 11, 12, 20, 21, 22])  # on arriving
    np.testing.assert_array_equal(got.terminal, [True, False, False, False, False, False])
    np.testing.assert_array_equal(got.mask, [1, 1, 1, 0, 0, 1])
    np.testing.assert_array_equal(got.action[0], np.eye(4)[:3])


@pytest.mark.parametrize("steps", [1, 8])
def test_a_fresh_batch_is_not_copied_for_every_step(steps):
    """What an update needs beside its arguments, of large batches, is that of one critic step."""
    nets, traj = networks("coma_fc", critic_steps=steps), trajectory()
    traj = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((x.shape[0], 20_000, *x.shape[2:]), x.dtype),
        traj.replace(carry=()),
    )
    learner = jax.eval_shape(lambda key: per_agent.init(nets, key), jax.random.key(0))
    update = partial(per_agent.update, nets, hp=ddpg.HParams(), progress=START)
    memory = jax.jit(update).lower(learner, traj, jax.random.key(0)).compile().memory_analysis()
    rows = 2 * 20_000
    reads = 4 * rows * nets.spec.n_agents * nets.method.n_inputs  # by one step, in bytes
    assert memory.temp_size_in_bytes < 8 * reads


def test_weights_that_were_played_stay_as_they_are():
    traj = trajectory()
    weights = np.random.default_rng(0).random((*traj.action.shape, 4), np.float32)
    got = rows_of(traj.replace(action=weights))
    np.testing.assert_array_equal(got.action, weights[:-1].reshape(-1, 3, 4))


@pytest.mark.parametrize("name", MODULES)
def test_targets_stop_at_terminal_states_only(name):
    nets = networks(name)
    critic, batch = new_params(nets).critic, rows()
    batch = batch.replace(terminal=np.arange(K) == 0)
    hp = ddpg.HParams(gamma=0.5)

    @jax.jit
    def targets(batch, noise):
        following = nets.method.values(nets, critic, batch.next_obs, batch.action, noise)
        return per_agent.td_targets(nets, critic, batch, batch.action, noise, hp), following

    y, following = jax.device_get(targets(batch, draw(nets, key=1)))
    np.testing.assert_allclose(y[0], np.full(3, batch.reward[0]), rtol=1e-6)
    wanted = batch.reward[1:, None] + 0.5 * following[1:]
    np.testing.assert_allclose(y[1:], wanted, rtol=1e-5)
    if name == "sqddpg":  # the team's value: the same for every agent
        np.testing.assert_allclose(y, y[:, :1] * np.ones(3), rtol=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_each_agent_gets_the_gradient_of_its_own_loss(name, x64):
    """The gradient of the sum, with others held constant, against N separate gradients."""
    nets = networks(name)
    params, batch = jax.tree.map(
        lambda x: x.astype(float) if x.dtype == np.float32 else x, (new_params(nets), rows())
    )
    noise, hp = draw(nets), ddpg.HParams()
    target = np.ones((K, 3))
    for losses, own, args in (
        (per_agent.critic_losses, params.critic, (batch, target, noise)),
        (per_agent.actor_losses, params.actor, (params.critic, batch, noise, hp)),
    ):
        values, grads, _ = jax.device_get(
            jax.jit(partial(per_agent.own_gradients, losses, nets))(own, *args)
        )
        assert values.shape == (3,)
        # With shared networks nothing is held constant: N full gradients, of which the own is one.
        full = nets._replace(config=type(nets.config)(hidden=8, share_params=True))

        def each(p, full=full, losses=losses, args=args):
            return losses(p, full, *args)[0]

        separate = jax.device_get(jax.jit(jax.jacrev(each))(own))
        for i in range(3):
            jax.tree.map(
                lambda g, s, i=i: np.testing.assert_allclose(g[i], s[i, i], rtol=1e-8, atol=1e-12),
                grads, separate,
            )  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_rows_that_do_not_count_have_no_influence(name):
    nets = networks(name)
    params = new_params(nets)
    noise, hp = draw(nets), ddpg.HParams(actor_lr=1e-2)
    few = rows(n_valid=4)
    wild = few.replace(obs=few.obs.copy(), reward=few.reward.copy())
    wild.obs[4:], wild.reward[4:] = 1e3, 1e6

    @jax.jit
    def both_steps(batch):
        learner = per_agent.new_learner(nets, params, params)
        y = per_agent.td_targets(nets, params.critic, batch, batch.action, noise, hp)
        after, _ = per_agent.critic_step(nets, learner, batch, y, noise, hp)
        return per_agent.actor_step(nets, after, batch, noise, hp)[0].params

    results = jax.device_get([both_steps(few), both_steps(wild)])
    jax.tree.map(np.testing.assert_array_equal, *results)
    moved = jax.tree.map(lambda a, b: np.any(a != b), results[0], params)
    assert all(jax.tree.leaves(moved))


def test_shared_networks_take_the_sum_of_all_agents_steps():
    """First Adam steps are sign(g) lr: three agents of one sign move three times as far."""
    nets = networks("maddpg", share_params=True)
    params = new_params(nets).actor
    grads = jax.tree.map(lambda x: np.full((3, *x.shape), 2, x.dtype), params)

    @jax.jit
    def step(params, grads):
        learner = per_agent.new_learner(nets, per_agent.Params(params, params), None)
        return per_agent.agents_step(nets, params, grads, learner.actor_opt, 0.1, 1.0)

    after, _, norm = jax.device_get(step(params, grads))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(b - a, 0.3, rtol=1e-4, atol=1e-6), after, params
    )
    count = sum(x.size for x in jax.tree.leaves(grads))
    np.testing.assert_allclose(norm, 2 * np.sqrt(count), rtol=1e-5)  # before the clamp


@pytest.mark.parametrize(("share", "kept"), [(False, 0.9), (True, 0.9**3)])
def test_targets_follow_every_other_update(share, kept):
    nets = networks("iddpg", share_params=share)
    ones = jax.tree.map(np.ones_like, new_params(nets).actor)
    zeros = jax.tree.map(np.zeros_like, ones)
    learner = per_agent.new_learner(
        nets, per_agent.Params(ones, ones), per_agent.Params(zeros, zeros)
    )
    hp = ddpg.HParams(target_rate=0.1, target_interval=2)
    copy = jax.jit(partial(per_agent.copy_if_due, nets))
    seen = []
    for updates in (1, 2, 3):
        learner = copy(learner.replace(updates=np.int32(updates)), hp)
        seen.append(np.asarray(jax.tree.leaves(learner.target)[0]).flat[0])
    np.testing.assert_allclose(seen, [0.0, 1 - kept, 1 - kept], rtol=1e-5)


def test_a_replayed_trajectory_holds_a_minibatch_for_every_step():
    """Rows of the last minibatch are the actor's: they do not reach the critics."""
    config = {"critic_steps": 2, "replay_batch": 4}
    algo = make_algorithm("iddpg", SPEC, iddpg.Config(hidden=8, **config))
    assert algo.replay.draws == 3 and algo.replay.unit == "transition"
    nets = networks("iddpg", **config)
    params, batch = new_params(nets), rows(k=12, n_valid=12)

    @jax.jit
    def update(batch, hp, progress):
        learner = per_agent.new_learner(nets, params, params)
        steps = TimeStep(
            obs=jnp.stack([batch.obs, batch.next_obs]), state=jnp.zeros((2, 12, 15)),
            avail=jnp.ones((2, 12, 3, 4), bool), reward=jnp.stack([batch.reward] * 2),
            terminated=jnp.stack([batch.terminal] * 2), truncated=jnp.zeros((2, 12), bool),
            first=jnp.zeros((2, 12), bool), alive=jnp.ones((2, 12, 3), bool), info={},
        )  # fmt: skip
        traj = Trajectory(steps, jnp.stack([batch.action] * 2), batch.mask[None] > 0, (), {})
        return algo.update(learner, traj, jax.random.key(1), hp=hp, progress=progress)

    def play(batch):
        return update(batch, hp=algo.hparams, progress=START)[0]

    check_half_way(partial(update, batch), algo.hparams, START)
    row = np.arange(12)[:, None, None]
    base, last, first = jax.device_get([
        play(batch), play(batch.replace(obs=batch.obs + np.float32(row >= 8))),
        play(batch.replace(obs=batch.obs + np.float32(row < 4))),
    ])  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, base.params.critic, last.params.critic)
    changed = jax.tree.map(lambda a, b: np.any(a != b), base.params.critic, first.params.critic)
    assert any(jax.tree.leaves(changed))
    changed = jax.tree.map(lambda a, b: np.any(a != b), base.params.actor, last.params.actor)
    assert any(jax.tree.leaves(changed))


# --- behaviour -----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["mpe/predator_prey", "probe/match"])
def test_behaviour_is_what_the_task_takes(task):
    spec = make_task(task).spec
    algo = make_algorithm("maddpg", spec)
    _, ts = jax.jit(jax.vmap(make_task(task).reset))(jax.random.split(jax.random.key(0), 8))
    explore = np.arange(8) >= 4
    shapes = jax.eval_shape(lambda key: algo.policy(algo.init(key)), jax.random.key(1))
    params = drawn(shapes, scale=0.1)  # else one action is as good as certain
    call = jax.jit(lambda key: algo.act(
        params, algo.initial_carry(8), ts, key, hp=algo.hparams, progress=None, explore=explore
    )[1])  # fmt: skip
    one, two = jax.device_get([call(jax.random.key(2)), call(jax.random.key(3))])
    assert np.array_equal(one[:4], two[:4]) and not np.array_equal(one[4:], two[4:])
    if spec.weighs_actions:
        assert one.shape == (8, spec.n_agents, spec.n_actions)
        np.testing.assert_allclose(np.sum(one, axis=-1), 1, rtol=1e-5)
        assert np.all(np.isin(one[:4], (0.0, 1.0))) and not np.all(np.isin(one[4:], (0.0, 1.0)))
    else:
        assert one.shape == (8, spec.n_agents) and one.dtype == jnp.int32


def test_a_policy_that_plays_weights_is_kept_from_tasks_that_take_indices():
    """Although the sizes of observations, agents and actions are the same."""
    task, other = (make_task(f"mpe/{name}") for name in ("cooperative_navigation", "simple_spread"))
    config = resolve(load_config("maddpg", task.spec.name), task.spec)
    algo = make_algorithm("maddpg", task.spec, config.algo)
    params = algo.policy(jax.jit(algo.init)(jax.random.key(0)))
    policy = Policy.of(config, task.spec, params)
    assert policy.plays_weights
    check_sizes(policy, task)
    with pytest.raises(UserError, match=r"plays weights of actions.*cannot play mpe/simple_spread"):
        check_sizes(policy, other)


@pytest.mark.parametrize(
    ("name", "task", "overrides", "match"),
    [
        ("maddpg", "smax/3m", {}, "smax/3m makes some actions unavailable.*lica"),
        ("coma_fc", "smax/3m", {}, "smax/3m makes some actions unavailable.*coma"),
        ("iddpg", "probe/match", {"algo": {"behaviour": "soft"}}, 'use "hard" or "auto"'),
        ("sqddpg", "mpe/predator_prey", {"algo": {"coalitions": 0}}, "coalitions must be at least"),
        ("iddpg", "mpe/predator_prey", {"algo": {"replay_capacity": 99}}, "smaller than one batch"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(name, task, overrides, match):
    with pytest.raises(UserError, match=match):
        resolve(load_config(name, task, **overrides), make_task(task).spec)


@pytest.mark.parametrize("share", [False, True])
def test_replays_show_what_every_critic_answers(share):
    """Of SQDDPG, too, whose regression fits the sum of all of them."""
    nets = networks("sqddpg", share_params=share)
    critic, actor = new_params(nets).critic, new_params(nets).actor
    first = rows()
    ts = TimeStep(
        obs=first.obs, state=jnp.zeros((K, 1)), avail=jnp.ones((K, SPEC.n_agents, 4), bool),
        reward=jnp.zeros(K), terminated=jnp.zeros(K, bool), truncated=jnp.zeros(K, bool),
        first=jnp.zeros(K, bool), alive=jnp.ones((K, SPEC.n_agents), bool), info={},
    )  # fmt: skip
    noise = nets.method.draw(jax.random.key(0), K)

    def own(action):
        view = per_agent.view_of_each(action)
        read = partial(sqddpg.read, nets.config.permutation)
        return ddpg.critic_values(read, nets, critic, first.obs, view, noise)

    seen = look(nets, actor, critic, None, ts, first.action, None)
    want = own(first.action)
    np.testing.assert_allclose(seen.value, want, rtol=1e-5)
    assert np.ptp(np.asarray(seen.value), axis=1).max() > 1e-3  # N numbers, not one N times
    slopes = jax.jacobian(lambda u: own(u).sum(0))(first.action)  # [N, K, N, A]
    for i in range(SPEC.n_agents):
        np.testing.assert_allclose(seen.credit[:, i], slopes[i, :, i], rtol=1e-4, atol=1e-6)
    fitted = nets.method.values(nets, critic, first.obs, first.action, noise)
    np.testing.assert_allclose(fitted, np.repeat(want.sum(1)[:, None], SPEC.n_agents, 1), rtol=1e-5)
