"""The particle-task family: probes within seconds, and the paper's task in a slow test."""

import pytest

from lica_jax import train
from tests.conftest import AT_THE_END

SEEDS = (0, 1, 2)
ALGORITHMS = ("iddpg", "maddpg", "sqddpg", "coma_fc")


def quick(*names):
    """All algorithms, those not named here in the slow tests."""
    return [n if n in names else pytest.param(n, marks=pytest.mark.slow) for n in ALGORITHMS]


def trained(algorithm, task, **overrides):
    overrides = {"eval": AT_THE_END} | overrides
    return train(algorithm, task, seeds=SEEDS, display="none", **overrides).summary


def returns(summary, mode="greedy"):
    return [f[mode]["return_mean"] for f in summary["final"]]


@pytest.mark.parametrize("algorithm", quick("maddpg"))
def test_both_agents_must_match(algorithm):
    summary = trained(algorithm, "probe/match")
    assert min(returns(summary)) >= 0.98, returns(summary)
    assert min(returns(summary, "sampled")) >= 0.55
    assert 0.15 < summary["random"]["return_mean"] < 0.35  # 1 in 4


@pytest.mark.parametrize("algorithm", quick("sqddpg"))
def test_private_bits(algorithm):
    """Each agent plays the bit that only it sees."""
    summary = trained(algorithm, "probe/private", total_steps=30_000)
    assert min(returns(summary)) >= 0.98, returns(summary)


@pytest.mark.parametrize("algorithm", ["maddpg", pytest.param("coma_fc", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_shared_networks_cannot_tell_agents_apart(algorithm):
    """One network, one constant observation, no index: both vehicles do the same."""
    shared = trained(algorithm, "game/traffic_junction", algo={"share_params": True})
    assert max(returns(shared)) == 0, returns(shared)


def test_a_learning_rate_of_zero_learns_nothing():
    """The tests above can fail."""
    still = {"actor_lr": 0.0, "critic_lr": 0.0}
    summary = trained("maddpg", "probe/match", total_steps=5_000, hp=still)
    assert max(returns(summary, "sampled")) < 0.6


@pytest.mark.slow
def test_shared_networks_learn_what_they_can_see():
    summary = trained("coma_fc", "probe/match", total_steps=30_000, algo={"share_params": True})
    assert min(returns(summary)) >= 0.98, returns(summary)


@pytest.mark.parametrize("algorithm", quick("coma_fc"))
def test_values_of_two_steps(algorithm):
    """Reward 1 on the second step: worth gamma on the first: a mean of (gamma + 1) / 2."""
    result = train(
        algorithm, "probe/two_step", seeds=SEEDS, total_steps=20_000, hp={"gamma": 0.5},
        display="none", eval=AT_THE_END,
    )  # fmt: skip
    assert result.metrics[-1]["q_taken_mean"] == pytest.approx(0.75, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["iddpg", "coma_fc"])
def test_one_of_two_best_joint_actions(algorithm):
    """Either of two joint actions pays 10; mixing them up pays nothing."""
    summary = trained(algorithm, "game/penalty:k=0")
    assert returns(summary) == [10.0] * 3


# --- minutes -------------------------------------------------------------------------------------

SHORT = {"interval": 200_000, "final_episodes": 128}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "limit"), [("iddpg", 25), ("maddpg", 30), ("sqddpg", 35), ("coma_fc", 80)]
)
def test_predator_prey(algorithm, limit):
    """Steps to the catch, where a random policy needs 140 (seen at most: 13, 15, 19 and 54)."""
    summary = trained(algorithm, "mpe/predator_prey", total_steps=200_000, eval=SHORT)
    steps = [f["sampled"]["episode_length_mean"] for f in summary["final"]]
    assert max(steps) < limit, steps
    assert summary["random"]["episode_length_mean"] > 120


@pytest.mark.slow
def test_cooperative_navigation():
    """From a random policy's -2,400 to above -1,400 (seen: -1,210)."""
    summary = trained("maddpg", "mpe/cooperative_navigation", total_steps=200_000, eval=SHORT)
    assert min(returns(summary, "sampled")) > -1_400, returns(summary, "sampled")
    assert summary["random"]["return_mean"] < -2_200
