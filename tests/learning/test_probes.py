"""Learning within seconds: each probe isolates one part of the learner. Three seeds each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax import train
from lica_jax.algorithms import make_algorithm
from lica_jax.algorithms.lica import lica
from lica_jax.config import load_config
from lica_jax.envs import make_task
from lica_jax.envs.probe import Probe
from lica_jax.networks.critics import MixingCritic, joint_one_hot
from tests.conftest import AT_THE_END, new_session
from tests.glossary import entries

SEEDS = (0, 1, 2)
SLOW = pytest.mark.slow


def trained(task, steps, **overrides):
    config = load_config("lica", task, seeds=SEEDS, total_steps=steps, eval=AT_THE_END, **overrides)
    session = new_session(config)
    session.run()
    return session


def critic_values(session, state, action):
    """Q of every seed at one state and joint action (no previous action)."""
    algo = session.plan.config.algo
    critic = MixingCritic(4, algo.mixing_embed, algo.hypernet_layers, algo.hypernet_hidden)
    full = jnp.concatenate([jnp.asarray(state, float), jnp.zeros(4)])
    one_hot = joint_one_hot(jnp.array(action), 2, float)
    return np.asarray(jax.vmap(critic.apply, in_axes=(0, None, None))(
        session.state.learner.critic, full, one_hot
    ))  # fmt: skip


@pytest.mark.slow
def test_constant_reward():
    session = trained("probe/constant", 10_000)
    for cue in (-1, 1):
        for action in ([0, 0], [0, 1], [1, 1]):
            np.testing.assert_allclose(critic_values(session, [cue, 0], action), 1.0, atol=0.1)


@pytest.mark.slow
def test_state_dependent_reward():
    session = trained("probe/state", 20_000)
    np.testing.assert_allclose(critic_values(session, [-1, 0], [0, 1]), -1.0, atol=0.15)
    np.testing.assert_allclose(critic_values(session, [1, 0], [0, 1]), 1.0, atol=0.15)


@pytest.mark.parametrize("td_lambda", [0.8, *(pytest.param(x, marks=SLOW) for x in (0.0, 1.0))])
def test_two_step_discount(td_lambda):
    """Reward 1 on the second step: worth gamma on the first, whatever lambda is."""
    session = trained("probe/two_step", 20_000, hp={"gamma": 0.5, "td_lambda": td_lambda})
    algo_previous = critic_at_second_step(session)
    np.testing.assert_allclose(critic_values(session, [1, 0], [0, 1]), 0.5, atol=0.1)
    np.testing.assert_allclose(algo_previous, 1.0, atol=0.1)


def critic_at_second_step(session):
    algo = session.plan.config.algo
    critic = MixingCritic(4, algo.mixing_embed, algo.hypernet_layers, algo.hypernet_hidden)
    one_hot = joint_one_hot(jnp.array([0, 1]), 2, float)
    state = jnp.concatenate([jnp.array([1.0, 1.0]), one_hot])  # the first step's joint action
    params = session.state.learner.critic
    return np.asarray(jax.vmap(critic.apply, in_axes=(0, None, None))(params, state, one_hot))


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        pytest.param({"algo": {"actor": "mlp", "share_params": False}}, marks=SLOW),
        pytest.param({"algo": {"hypernet_layers": 1, "entropy_mode": "agent"}}, marks=SLOW),
        pytest.param({"algo": {"hypernet_hidden": "full", "entropy_mode": "sample"}}, marks=SLOW),
        pytest.param(
            {"algo": {"entropy_mode": "constant"}, "collect": {"mode": "episode", "envs": 128}},
            marks=SLOW,
        ),
    ],
    ids=["default", "own_mlps", "one_layer", "full_width", "constant_episodes"],
)
def test_both_agents_must_match(overrides):
    result = train(
        "lica", "probe/match", seeds=SEEDS, total_steps=20_000, display="none", eval=AT_THE_END,
        **overrides
    )  # fmt: skip
    greedy = [f["greedy"]["return_mean"] for f in result.summary["final"]]
    sampled = [f["sampled"]["return_mean"] for f in result.summary["final"]]
    assert min(greedy) >= 0.98, greedy
    assert min(sampled) >= 0.8, sampled
    assert 0.15 < result.summary["random"]["return_mean"] < 0.35  # 1 in 4


def test_continuous_actions_aim():
    """Both agents must put the same force, of the sign that the cue tells."""
    result = train(
        "lica", "probe/aim", seeds=SEEDS, total_steps=30_000, display="none", eval=AT_THE_END,
        algo={"hidden": 32, "mixing_embed": 32, "hypernet_hidden": 32},
    )  # fmt: skip
    greedy = [f["greedy"]["return_mean"] for f in result.summary["final"]]
    sampled = [f["sampled"]["return_mean"] for f in result.summary["final"]]
    assert min(greedy) > 0.88, greedy
    assert min(sampled) > 0.8, sampled
    assert "std" in result.metrics[-1] and result.metrics[-1].keys() <= entries()
    # Two uniform actions: 1 - (1/4 + 1/6) - 1/6.
    assert 0.3 < result.summary["random"]["return_mean"] < 0.5


def returns(session, mode="greedy"):
    return [f[mode]["return_mean"] for f in session.summary["final"]]


def test_recurrent_agents_remember():
    """The cue of step 1 is played at step 3; the agent's own last actions cannot hold it for it."""
    small = {"hidden": 32, "mixing_embed": 32, "hypernet_hidden": 32}
    session = trained("probe/memory", 20_000, algo={"last_action": False} | small)
    assert min(returns(session)) >= 0.95, returns(session)
    assert min(returns(session, "sampled")) >= 0.85
    assert 0.45 < session.summary["random"]["return_mean"] < 0.55


@pytest.mark.slow
def test_agents_without_memory_forget():
    session = trained("probe/memory", 30_000, algo={"actor": "mlp", "last_action": False})
    assert max(returns(session)) < 0.6, returns(session)


@pytest.mark.slow
def test_private_bits_are_credited_by_the_state():
    """Each agent plays the bit that only it sees."""
    session = trained("probe/private", 30_000)
    assert min(returns(session)) >= 0.98, returns(session)
    assert min(returns(session, "sampled")) >= 0.85
    assert 0.15 < session.summary["random"]["return_mean"] < 0.35  # 1 in 4


@pytest.mark.slow
def test_private_bits_stay_unlearned_where_the_state_hides_them(monkeypatch):
    """What the probe is for: the same game, agents and observations, but a critic that is blind."""
    shown = Probe._timestep

    def blind(self, *args, **kwargs):
        ts = shown(self, *args, **kwargs)
        return ts.replace(state=jnp.zeros_like(ts.state))

    monkeypatch.setattr(Probe, "_timestep", blind)
    session = trained("probe/private", 30_000)
    assert max(returns(session)) < 0.6, returns(session)


def test_a_learning_rate_of_zero_learns_nothing():
    """The tests above can fail."""
    task = make_task("probe/match")
    algo = make_algorithm(
        "lica", task.spec, lica.Config(hidden=8, mixing_embed=8, hypernet_hidden=8)
    )
    session = trained("probe/match", 10_000, hp={"actor_lr": 0.0, "critic_lr": 0.0})
    first = algo.policy(algo.init(jax.random.key(0)))
    assert jax.tree.structure(first) == jax.tree.structure(session.best.params)
    assert max(f["sampled"]["return_mean"] for f in session.summary["final"]) < 0.6
