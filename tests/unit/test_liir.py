"""LIIR's pieces by hand, and which way its intrinsic rewards are moved."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.counterfactual import liir
from lica_jax.algorithms.counterfactual import shared as counterfactual
from lica_jax.envs import make_task
from lica_jax.types import Progress, TaskSpec, TimeStep, Trajectory
from tests.unit.test_ppo import drawn

START = Progress(np.zeros(()), np.int32(0), np.int32(0))
HP = liir.HParams(reward_scale=1.0, epsilon_start=0.3)


@pytest.fixture(autouse=True)
def _float64(x64):
    yield


# One program each for all tests with the same networks, which are static.
estimate, credit, update = (
    jax.jit(x, static_argnums=0) for x in (liir.estimate, liir.credit, liir.update)
)
update = partial(update, key=jax.random.key(0), progress=START)
make_networks = cache(liir.make_networks)


def new_learner(nets, dtype=np.float64, key=0):
    """The parameters are noise, too."""
    learner = jax.eval_shape(partial(liir.init, nets), jax.random.key(0))
    shapes = learner.actor, learner.critic
    actor, critic = jax.tree.map(lambda x: x.astype(dtype), drawn(shapes, seed=key))
    return jax.device_get(jax.jit(partial(liir.new_learner, nets))(actor, critic, critic))


def setting(n_agents=2, length=5, envs=3, n_actions=3, key=0, **config):
    """Networks, a learner and a trajectory of noise: two episodes, the second one cut."""
    spec = TaskSpec("noise", n_agents, n_actions, obs_size=4, state_size=2, episode_limit=9)
    config = {"meta": "paper", "standardise": "valid"} | config
    nets = make_networks(liir.Config(hidden=6, critic_hidden=5, **config), spec)
    rng = np.random.default_rng(key + 1)
    slots = (length + 1, envs)
    end = length // 2
    terminated, first = np.zeros((2, *slots), bool)
    terminated[end], first[end + 1], first[0] = length > 1, length > 1, True
    steps = TimeStep(
        obs=rng.normal(size=(*slots, n_agents, 4)), state=rng.normal(size=(*slots, 2)),
        avail=np.ones((*slots, n_agents, n_actions), bool), reward=rng.normal(size=slots),
        terminated=terminated, truncated=np.zeros(slots, bool), first=first,
        alive=np.ones((*slots, n_agents), bool), info={},
    )  # fmt: skip
    action = rng.integers(0, n_actions, (*slots, n_agents), np.int32)
    carry = jax.tree.map(
        lambda x: np.asarray(x, np.float64) if x.dtype == jnp.float32 else x,
        nets.actor.initial_carry(envs),
    )
    traj = Trajectory(steps, action, ~terminated[:-1], carry, {})
    return nets, new_learner(nets, key=key), traj


def noise(traj):
    """For each transition a number."""
    return np.random.default_rng(9).normal(size=traj.valid.shape)


def close(a, b, **how):
    jax.tree.map(partial(np.testing.assert_allclose, **({"rtol": 1e-9, "atol": 1e-14} | how)), a, b)


# --- returns and advantages ----------------------------------------------------------------------


def test_mixed_returns_by_hand():
    """gamma 0.5, lambda 1, weight 0.1: reward 1 at both steps, then a terminal state."""
    nets, learner, traj = setting(length=2, envs=1)
    slot = np.arange(3)[:, None]
    steps = traj.steps.replace(reward=np.ones((3, 1)), terminated=slot == 2, first=slot == 0)
    traj = traj.replace(steps=steps, valid=np.ones((2, 1), bool))
    features = np.random.default_rng(5).normal(size=(2, 1, 2, 5))
    params = jax.tree.map(np.zeros_like, learner.critic.heads)
    # r_in = 10 tanh(b / 10) for the actions by their index, whatever the features are.
    bias = np.array([0.0, 2.0, -3.0])
    params["params"]["r_in"]["bias"] = bias
    r_in = 10 * np.tanh(bias / 10)[traj.action[:2, 0]]
    hp = HP.replace(gamma=0.5, td_lambda=1.0, intrinsic_weight=0.1)
    mixed_returns = jax.jit(liir.mixed_returns, static_argnums=1)
    mixed, v_ex = mixed_returns(params, nets, features, np.zeros((3, 1, 2)), traj, hp)
    second = 1 + 0.1 * r_in[1]
    close(np.asarray(mixed)[:, 0], np.stack([1 + 0.1 * r_in[0] + 0.5 * second, second]))
    close(v_ex, np.zeros((2, 1)))


def test_advantages_are_standardised_over_what_counts():
    x = np.array([[1.0, 2.0, 6.0], [100.0, 3.0, -50.0]])[..., None] + np.array([0.0, 1.0])
    valid = np.array([[True, True, True], [False, True, False]])
    for standardise, part in (("valid", x[valid]), ("all", x)):
        nets, _, traj = setting(standardise=standardise)
        out = jax.jit(partial(liir.standard, nets))(x, traj.replace(valid=valid))
        close(out, (x - part.mean()) / (part.std(ddof=1) + 1e-8))


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
    estimates, advantage = estimate(nets, learner, traj, HP), noise(traj)

    @jax.jit
    def log_taken(actor):
        return liir.alive_log_taken(counterfactual.policy(nets, actor, traj, floor), traj)

    behaviour = log_taken(learner.actor)
    step = partial(inner_step, nets, learner, estimates, traj, floor, 0.1)

    def team_objective(params):
        return liir.extrinsic_objective(step(params), nets, behaviour, advantage, traj, floor)

    params = learner.critic.heads
    weight = credit(nets, learner.actor, jax.jit(step)(params), advantage, traj, floor)

    def meta(params):
        _, shown = liir.intrinsic_objective(params, nets, estimates, weight, traj, HP)
        return shown["meta_objective"]

    return jax.jit(team_objective), jax.device_get(jax.jit(jax.grad(meta))(params)), params


def test_paper_descends_the_negative_of_what_the_actors_step_makes_of_the_teams_objective():
    """Differentiated through the whole inner step, it is the same gradient, times lr and counts."""
    team_objective, grads, params = meta_case()
    true = jax.device_get(jax.jit(jax.grad(team_objective))(params))
    # The inner objective is a mean over 5 of 5 slots, the meta objective one over the 4 valid ones.
    expected = jax.tree.map(lambda g: -0.1 * (4 / 5) * g, grads)
    assert max(np.abs(g).max() for g in jax.tree.leaves(true)) > 1e-9
    close(true["params"]["r_in"], expected["params"]["r_in"])


def test_a_meta_step_of_the_paper_helps_the_team_and_the_repos_hurts_it():
    """One agent, one transition, no floor: both weights are the same number but for the sign."""
    outcomes = {}
    for kind in ("paper", "repo"):
        team_objective, grads, params = meta_case(1, 1, 1, floor=0.0, meta=kind)
        stepped = jax.tree.map(lambda p, g: p - 0.1 * g / (np.abs(g).max() or 1), params, grads)
        outcomes[kind] = float(team_objective(stepped) - team_objective(params)), grads
    close(outcomes["paper"][1], jax.tree.map(np.negative, outcomes["repo"][1]))
    assert outcomes["paper"][0] > 1e-9
    assert outcomes["repo"][0] < -1e-9


def test_credit_is_finite_where_a_policy_has_decided():
    """Action 0 is 1,000 logits ahead, the others' softmax 0, but the floor plays them."""
    nets, learner, traj = setting(meta="repo")
    actor = jax.tree.map(np.zeros_like, learner.actor)
    actor["params"]["fc2"]["bias"] = np.array([1000.0, 0.0, 0.0])
    log_prob = partial(liir.meta_log_prob, nets=nets, traj=traj, floor=0.3)
    value, pull = jax.vjp(jax.jit(log_prob), actor)
    played = [traj.valid[..., None] & (traj.action[:-1] == i) for i in range(3)]
    close(value, np.where(played[1] | played[2], -1000.0, 0.0))
    (gradient,) = pull(np.ones_like(value))
    one, two = played[1].sum(), played[2].sum()
    close(gradient["params"]["fc2"]["bias"], np.array([-one - two, one, two]))
    weight = credit(nets, actor, learner.actor, noise(traj), traj, 0.3)
    assert np.all(np.isfinite(weight)) and np.any(weight != 0)


@pytest.mark.parametrize("meta", ["paper", "repo"])
def test_the_dead_are_given_no_credit(meta):
    nets, learner, traj = setting(meta=meta)
    dead = traj.replace(steps=traj.steps.replace(alive=np.zeros_like(traj.steps.alive)))
    new = jax.tree.map(lambda x: 1.1 * x, learner.actor)
    for case, moves in ((traj, True), (dead, False)):
        weight = credit(nets, learner.actor, new, noise(traj), case, 0.3)
        assert np.any(np.asarray(weight) != 0) == moves


def bandit(reward_of, n=64):
    """One-step episodes of two agents who see nothing."""
    action = np.random.default_rng(3).integers(0, 2, (2, n, 2), np.int32)
    slot = np.broadcast_to(np.arange(2)[:, None], (2, n))
    reward = np.stack([np.zeros(n), reward_of(action[0])])
    steps = TimeStep(
        np.ones((2, n, 2, 1)), np.ones((2, n, 1)), np.ones((2, n, 2, 2), bool), reward,
        slot == 1, slot < 0, slot == 0, np.ones((2, n, 2), bool), {},
    )  # fmt: skip
    return partial(Trajectory, steps, action, np.ones((1, n), bool), extras={})


def test_the_intrinsic_reward_of_a_helpful_action_rises():
    """Reward: how many agents play 1. Seen from uniform play, the intrinsic reward follows."""
    config = liir.Config(hidden=8, critic_hidden=8, optimiser="adam", meta="paper")
    nets = make_networks(config, make_task("game/traffic_junction").spec)
    traj = bandit(lambda action: 1.0 * action.sum(-1))(carry=nets.actor.initial_carry(64))
    learner = new_learner(nets, np.float32)
    inputs = [x[0] for x in jax.jit(partial(counterfactual.inputs_over, nets))(traj)]

    @jax.jit
    def advantage_of_helping(learner):
        features = nets.critic.apply(learner.critic.value, tuple(inputs), features=True)[1]
        r_in, _ = liir.heads(nets).apply(learner.critic.heads, features)
        return jnp.mean(r_in[..., 1] - r_in[..., 0])

    # The actor stays where it is, so that every batch is on-policy.
    hp = HP.replace(
        critic_lr=1e-2, actor_lr=0.0, epsilon_start=1.0 - 1e-3, epsilon_finish=1.0 - 1e-3
    )
    before = advantage_of_helping(learner)
    for _ in range(30):
        learner, _ = update(nets, learner, traj, hp=hp)
    assert advantage_of_helping(learner) > before + 0.3


# --- whole updates -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sequential", "joint"])
def test_each_optimiser_moves_its_own(mode):
    """The actor's step size moves the actor, the critic's the values and, unclipped, the heads."""
    nets, learner, traj = setting(critic_mode=mode)
    new, metrics = update(nets, learner, traj, hp=HP)
    assert all(np.isfinite(x) for x in metrics.values())
    moved = jax.tree.map(lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b))), new, learner)
    assert all(jax.tree.leaves((moved.actor, moved.critic)))
    assert not any(jax.tree.leaves(moved.target_critic))
    still, _ = update(nets, learner, traj, hp=HP.replace(critic_lr=0.0))
    close(still.critic, learner.critic, rtol=0, atol=0)
    clipped, _ = update(nets, learner, traj, hp=HP.replace(grad_norm_clip=1e-9))
    close((clipped.actor, clipped.critic.value), (learner.actor, learner.critic.value), atol=1e-6)
    # The extrinsic value is fitted alike, whatever the clip.
    v_ex = [x.critic.heads["params"]["v_ex"] for x in (clipped, new)]
    close(*v_ex, rtol=1e-12)


def test_update_of_several_runs_is_that_of_each():
    nets, learner, traj = setting()
    hps = HP, jax.tree.map(lambda x: type(x)(x / 2), HP)
    both = jax.tree.map(lambda *x: np.array(x), *hps)
    together = jax.jit(jax.vmap(lambda hp: update(nets, learner, traj, hp=hp)))(both)
    for i, hp in enumerate(hps):
        mine = jax.tree.map(lambda x, i=i: np.asarray(x)[i], together)
        close(mine, update(nets, learner, traj, hp=hp), rtol=1e-7, atol=1e-12)
