"""COMA and LIIR learn within seconds: probes and games, three seeds each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax import train
from lica_jax.algorithms.counterfactual import coma, liir
from lica_jax.config import load_config
from lica_jax.envs import make_task
from lica_jax.networks.counterfactual import critic_inputs
from tests.conftest import AT_THE_END, new_session

SEEDS = (0, 1, 2)

SLOW = pytest.mark.slow


def trained(algorithm, task, steps, **overrides):
    overrides = {"eval": AT_THE_END} | overrides
    config = load_config(algorithm, task, seeds=SEEDS, total_steps=steps, **overrides)
    session = new_session(config)
    session.run()
    return session


def returns(summary, mode="greedy"):
    return [f[mode]["return_mean"] for f in summary["final"]]


def played(algorithm, task, steps, **overrides):
    overrides = {"eval": AT_THE_END} | overrides
    run = train(algorithm, task, seeds=SEEDS, total_steps=steps, display="none", **overrides)
    return run.summary


def q_values(session, cue, time, previous):
    """Q ``[seed, agent, action]`` while both agents play action 0."""
    algo = session.plan.config.algo
    nets = coma.make_networks(algo, make_task(session.plan.config.task).spec)
    state = jnp.array([cue, time], float)
    action = jnp.zeros(2, jnp.int32)
    inputs = critic_inputs(
        state, jnp.stack([state, state]), jax.nn.one_hot(action, 2),
        jax.nn.one_hot(jnp.array(previous), 2),
    )  # fmt: skip
    critic = session.state.learner.critic
    return np.asarray(jax.vmap(nets.critic.apply, in_axes=(0, None))(critic, inputs))


@pytest.mark.parametrize("critic_mode", ["sequential", pytest.param("joint", marks=SLOW)])
def test_coma_two_step_discount(critic_mode):
    """Reward 1 on the second step only: worth gamma on the first, for every action."""
    session = trained(
        "coma", "probe/two_step", 20_000, hp={"gamma": 0.5}, algo={"critic_mode": critic_mode}
    )
    first, second = (q_values(session, 1, t, p) for t, p in ((0, [-1, -1]), (1, [0, 0])))
    # Actions that the policy has given up are not seen any more.
    likely = np.abs(first - 0.5).min(-1), np.abs(second - 1).min(-1)
    assert max(np.max(x) for x in likely) < 0.1, (first, second)


def test_coma_counts_what_the_other_agent_does():
    """In `match` an agent that plays the cue earns 1 where the other does, else nothing."""
    session = trained("coma", "probe/match", 10_000, hp={"actor_lr": 0.0, "epsilon_steps": 1e9})
    both_zero, both_wrong = (q_values(session, cue, 0, [-1, -1]) for cue in (-1, 1))
    np.testing.assert_allclose(both_zero, np.broadcast_to([1.0, 0.0], both_zero.shape), atol=0.15)
    np.testing.assert_allclose(both_wrong, np.zeros(both_wrong.shape), atol=0.15)


@pytest.mark.parametrize(
    ("algorithm", "task"),
    [
        pytest.param("coma", "match", marks=SLOW),
        pytest.param("coma", "private", marks=SLOW),
        ("coma", "memory"),
        ("liir", "match"),
        pytest.param("liir", "private", marks=SLOW),
        pytest.param("liir", "memory", marks=SLOW),
    ],
)
def test_probes(algorithm, task):
    summary = played(algorithm, f"probe/{task}", 20_000, **(
        # The agent's own last actions cannot hold the cue for it.
        {"algo": {"last_action": False}} if task == "memory" else {}
    ))  # fmt: skip
    assert min(returns(summary)) >= 0.98, returns(summary)
    assert min(returns(summary, "sampled")) >= 0.95, returns(summary, "sampled")
    assert summary["random"]["return_mean"] < 0.55  # 1 in 4; of `memory` 1 in 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "overrides"),
    [
        ("coma", {"algo": {"actor": "mlp", "share_params": False, "mask_before_softmax": True}}),
        ("coma", {"algo": {"critic_mode": "joint", "critic_steps": 8}}),
        ("coma", {"algo": {"optimiser": "rmsprop"}, "collect": {"mode": "episode", "envs": 128}}),
        ("liir", {"algo": {"meta": "paper", "standardise": "valid"}}),
        ("liir", {"collect": {"mode": "episode", "envs": 128}}),
    ],
    ids=["own_mlps", "joint", "rmsprop_episodes", "chain_rule", "liir_episodes"],
)
def test_every_variant_learns_to_match(algorithm, overrides):
    summary = played(algorithm, "probe/match", 30_000, **overrides)
    assert min(returns(summary)) >= 0.98, returns(summary)


@pytest.mark.parametrize("algorithm", [pytest.param(n, marks=SLOW) for n in ("coma", "liir")])
def test_the_junction_needs_different_actions(algorithm):
    summary = played(algorithm, "game/traffic_junction", 30_000)
    assert min(returns(summary)) == 1.0, returns(summary)


def test_liir_rewards_the_helpful_action_for_itself():
    """In `match` playing the cue is what helps; the code's gradient hardly says so."""
    gaps = []
    session = trained("liir", "probe/match", 10_000, algo={"meta": "paper"})
    nets = liir.make_networks(session.plan.config.algo, make_task("probe/match").spec)
    for cue in (0, 1):
        state = jnp.array([2.0 * cue - 1, 0.0])
        one_hot = jax.nn.one_hot(jnp.array([cue, cue]), 2)
        inputs = critic_inputs(state, jnp.stack([state, state]), one_hot, jnp.zeros((2, 2)))

        def intrinsic(critic, inputs=inputs):
            features = nets.critic.apply(critic.value, inputs, features=True)[1]
            return liir.heads(nets).apply(critic.heads, features)[0]

        r_in = jax.vmap(intrinsic)(session.state.learner.critic)
        gaps.append(r_in[..., cue] - r_in[..., 1 - cue])
    assert np.mean(gaps, axis=(0, 2)).min() > 0.1, gaps


@pytest.mark.parametrize("algorithm", ["coma", "liir"])
def test_a_learning_rate_of_zero_learns_nothing(algorithm):
    """The tests above can fail."""
    summary = played(algorithm, "probe/match", 5_000, hp={"actor_lr": 0.0, "critic_lr": 0.0})
    assert max(returns(summary, "sampled")) < 0.6
