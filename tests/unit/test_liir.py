"""LIIR's pieces by hand, and which way its intrinsic rewards are moved."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.counterfactual import liir
from lica_jax.algorithms.counterfactual import shared as counterfactual
from lica_jax.envs import make_task
from lica_jax.types import Progress, TaskSpec, TimeStep, Trajectory

START = Progress(jnp.zeros(()), jnp.int32(0), jnp.int32(0))
HP = liir.HParams(reward_scale=1.0, epsilon_start=0.3)


@pytest.fixture(autouse=True)
def _float64(x64):
    yield


def setting(n_agents=2, length=5, envs=3, n_actions=3, key=0, **config):
    """Networks, a learner and a trajectory of noise: two episodes, the second one cut."""
    spec = TaskSpec("noise", n_agents, n_actions, obs_size=4, state_size=2, episode_limit=9)
    config = {"meta": "paper", "standardise": "valid"} | config
    nets = liir.make_networks(liir.Config(hidden=6, critic_hidden=5, **config), spec)
    learner = jax.tree.map(
        lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x,
        liir.init(nets, jax.random.key(key)),
    )
    keys = iter(jax.random.split(jax.random.key(key + 1), 9))
    slots = (length + 1, envs)
    end = length // 2
    terminated = jnp.zeros(slots, bool).at[end].set(length > 1)
    steps = TimeStep(
        obs=jax.random.normal(next(keys), (*slots, n_agents, 4)),
        state=jax.random.normal(next(keys), (*slots, 2)),
        avail=jnp.ones((*slots, n_agents, n_actions), bool),
        reward=jax.random.normal(next(keys), slots),
        terminated=terminated, truncated=jnp.zeros(slots, bool),
        first=jnp.zeros(slots, bool).at[0].set(True).at[end + 1].set(length > 1),
        alive=jnp.ones((*slots, n_agents), bool), info={},
    )  # fmt: skip
    action = jax.random.randint(next(keys), (*slots, n_agents), 0, n_actions)
    carry = jax.tree.map(
        lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x,
        nets.actor.initial_carry(envs),
    )
    return nets, learner, Trajectory(steps, action, ~terminated[:-1], carry, {})


def close(a, b, **how):
    jax.tree.map(partial(np.testing.assert_allclose, **({"rtol": 1e-9, "atol": 1e-14} | how)), a, b)


# --- returns and advantages ----------------------------------------------------------------------


def test_mixed_returns_by_hand():
    """gamma 0.5, lambda 1, weight 0.1: reward 1 at both steps, then a terminal state."""
    nets, learner, traj = setting(length=2, envs=1)
    flags = jnp.zeros((3, 1), bool)
    steps = traj.steps.replace(
        reward=jnp.ones((3, 1)), terminated=flags.at[2].set(True), first=flags.at[0].set(True)
    )
    traj = traj.replace(steps=steps, valid=jnp.ones((2, 1), bool))
    features = jax.random.normal(jax.random.key(5), (2, 1, 2, 5))
    params = jax.tree.map(jnp.zeros_like, learner.critic.heads)
    # r_in = 10 tanh(b / 10) for the actions by their index, whatever the features are.
    bias = jnp.array([0.0, 2.0, -3.0])
    params["params"]["r_in"]["bias"] = bias
    r_in = np.asarray(10 * jnp.tanh(bias / 10))[np.asarray(traj.action[:2, 0])]
    hp = HP.replace(gamma=0.5, td_lambda=1.0, intrinsic_weight=0.1)
    mixed, v_ex = liir.mixed_returns(params, nets, features, jnp.zeros((3, 1, 2)), traj, hp)
    second = 1 + 0.1 * r_in[1]
    close(mixed[:, 0], np.stack([1 + 0.1 * r_in[0] + 0.5 * second, second]))
    close(v_ex, np.zeros((2, 1)))


def test_advantages_are_standardised_over_what_counts():
    x = jnp.array([[1.0, 2.0, 6.0], [100.0, 3.0, -50.0]])[..., None] + jnp.array([0.0, 1.0])
    valid = jnp.array([[True, True, True], [False, True, False]])
    counted = np.asarray(x)[np.asarray(valid)]
    for standardise, part in (("valid", counted), ("all", np.asarray(x))):
        nets, _, traj = setting(standardise=standardise)
        out = liir.standard(nets, x, traj.replace(valid=valid))
        close(out, (np.asarray(x) - part.mean()) / (part.std(ddof=1) + 1e-8))


# --- the meta gradient ---------------------------------------------------------------------------


def inner_step(nets, learner, estimates, traj, floor, lr, params):
    """theta' as a function of the heads: a plain step along E[log pi G_mix]."""
    mixed, _ = liir.mixed_returns(params, nets, estimates.features, estimates.v_mix, traj, HP)

    def objective(actor):
        probs = counterfactual.policy(nets, actor, traj, floor)
        return jnp.mean(
            jnp.where(traj.valid[..., None], mixed, 0) * liir.alive_log_taken(probs, traj)
        )

    grads = jax.grad(objective)(learner.actor)
    return jax.tree.map(lambda p, g: p + lr * g, learner.actor, grads)


def meta_case(n_agents=2, length=5, envs=3, floor=0.3, **config):
    """``(J_ex of theta'(heads), gradient of the meta objective at theta', heads)``."""
    nets, learner, traj = setting(n_agents, length, envs, **config)
    estimates = jax.jit(partial(liir.estimate, nets))(learner, traj, HP)
    advantage = jax.random.normal(jax.random.key(9), traj.valid.shape)

    @jax.jit
    def log_taken(actor):
        return liir.alive_log_taken(counterfactual.policy(nets, actor, traj, floor), traj)

    behaviour = log_taken(learner.actor)
    step = partial(inner_step, nets, learner, estimates, traj, floor, 0.1)

    def team_objective(params):
        return liir.extrinsic_objective(step(params), nets, behaviour, advantage, traj, floor)

    params = learner.critic.heads
    weight = jax.jit(partial(liir.credit, nets))(
        learner.actor, jax.jit(step)(params), advantage, traj, floor
    )

    def meta(params):
        _, shown = liir.intrinsic_objective(params, nets, estimates, weight, traj, HP)
        return shown["meta_objective"]

    return jax.jit(team_objective), jax.jit(jax.grad(meta))(params), params


def test_paper_descends_the_negative_of_what_the_actors_step_makes_of_the_teams_objective():
    """Differentiated through the whole inner step, it is the same gradient, times lr and counts."""
    team_objective, grads, params = meta_case()
    true = jax.jit(jax.grad(team_objective))(params)
    # The inner objective is a mean over 5 of 5 slots, the meta objective one over the 4 valid ones.
    expected = jax.tree.map(lambda g: -0.1 * (4 / 5) * g, grads)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(true)) > 1e-9
    close(true["params"]["r_in"], expected["params"]["r_in"])


def test_a_meta_step_of_the_paper_helps_the_team_and_the_repos_hurts_it():
    """One agent, one transition, no floor: both weights are the same number but for the sign."""
    outcomes = {}
    for kind in ("paper", "repo"):
        team_objective, grads, params = meta_case(1, 1, 1, floor=0.0, meta=kind)
        stepped = jax.tree.map(lambda p, g: p - 0.1 * g / jnp.abs(g).max(), params, grads)
        outcomes[kind] = float(team_objective(stepped) - team_objective(params)), grads
    close(outcomes["paper"][1], jax.tree.map(jnp.negative, outcomes["repo"][1]))
    assert outcomes["paper"][0] > 1e-9
    assert outcomes["repo"][0] < -1e-9


@pytest.mark.parametrize("meta", ["paper", "repo"])
def test_the_dead_are_given_no_credit(meta):
    nets, learner, traj = setting(meta=meta)
    dead = traj.replace(steps=traj.steps.replace(alive=jnp.zeros_like(traj.steps.alive)))
    advantage = jax.random.normal(jax.random.key(9), traj.valid.shape)
    new = jax.tree.map(lambda x: 1.1 * x, learner.actor)
    for case, moves in ((traj, True), (dead, False)):
        weight = liir.credit(nets, learner.actor, new, advantage, case, 0.3)
        assert bool(jnp.any(weight != 0)) == moves


def bandit(reward_of, n=64):
    """One-step episodes of two agents who see nothing."""
    action = jax.random.randint(jax.random.key(3), (2, n, 2), 0, 2)
    flags = jnp.zeros((2, n), bool)
    reward = jnp.stack([jnp.zeros(n), reward_of(action[0])])
    steps = TimeStep(
        jnp.ones((2, n, 2, 1)), jnp.ones((2, n, 1)), jnp.ones((2, n, 2, 2), bool), reward,
        flags.at[1].set(True), flags, flags.at[0].set(True), jnp.ones((2, n, 2), bool), {},
    )  # fmt: skip
    return partial(Trajectory, steps, action, jnp.ones((1, n), bool), extras={})


def test_the_intrinsic_reward_of_a_helpful_action_rises():
    """Reward: how many agents play 1. Seen from uniform play, the intrinsic reward follows."""
    config = liir.Config(hidden=8, critic_hidden=8, optimiser="adam", meta="paper")
    nets = liir.make_networks(config, make_task("game/traffic_junction").spec)
    traj = bandit(lambda action: 1.0 * action.sum(-1))(carry=nets.actor.initial_carry(64))
    learner = liir.init(nets, jax.random.key(0))
    inputs = counterfactual.inputs_over(nets, traj)[0]

    def advantage_of_helping(learner):
        features = nets.critic.apply(learner.critic.value, inputs, features=True)[1]
        r_in, _ = liir.heads(nets).apply(learner.critic.heads, features)
        return float(jnp.mean(r_in[..., 1] - r_in[..., 0]))

    # The actor stays where it is, so that every batch is on-policy.
    hp = HP.replace(
        critic_lr=1e-2, actor_lr=0.0, epsilon_start=1.0 - 1e-3, epsilon_finish=1.0 - 1e-3
    )
    update = jax.jit(partial(liir.update, nets, key=jax.random.key(0), hp=hp, progress=START))
    before = advantage_of_helping(learner)
    for _ in range(30):
        learner, _ = update(learner, traj)
    assert advantage_of_helping(learner) > before + 0.3


# --- whole updates -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sequential", "joint"])
def test_each_optimiser_moves_its_own(mode):
    """The actor's step size moves the actor, the critic's the values and, unclipped, the heads."""
    nets, learner, traj = setting(critic_mode=mode)
    update = jax.jit(partial(liir.update, nets, key=jax.random.key(0), progress=START))
    new, metrics = update(learner, traj, hp=HP)
    assert all(jnp.isfinite(x) for x in metrics.values())
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), new, learner)
    assert all(jax.tree.leaves((moved.actor, moved.critic)))
    assert not any(jax.tree.leaves(moved.target_critic))
    still, _ = update(learner, traj, hp=HP.replace(critic_lr=0.0))
    close(still.critic, learner.critic, rtol=0, atol=0)
    clipped, _ = update(learner, traj, hp=HP.replace(grad_norm_clip=1e-9))
    close((clipped.actor, clipped.critic.value), (learner.actor, learner.critic.value), atol=1e-6)
    # The extrinsic value is fitted alike, whatever the clip.
    v_ex = [x.critic.heads["params"]["v_ex"] for x in (clipped, new)]
    close(*v_ex, rtol=1e-12)


def test_update_of_several_runs_is_that_of_each():
    nets, learner, traj = setting()
    hps = jax.tree.map(lambda x: jnp.array([x, x / 2]), HP)
    update = jax.jit(
        lambda hp: liir.update(nets, learner, traj, jax.random.key(0), hp=hp, progress=START)
    )
    together = jax.jit(jax.vmap(update))(hps)
    for i in range(2):
        mine, hp = jax.tree.map(lambda x, i=i: x[i], (together, hps))
        close(mine, update(hp), rtol=1e-7, atol=1e-12)
