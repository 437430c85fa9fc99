"""The particle-task family: probes within seconds, and the paper's task in a slow test."""

import pytest

from lica_jax import train

SEEDS = (0, 1, 2)
ALGORITHMS = ("iddpg", "maddpg", "sqddpg", "coma_fc")


def trained(algorithm, task, **overrides):
    return train(algorithm, task, seeds=SEEDS, display="none", **overrides).summary


def returns(summary, mode="greedy"):
    return [f[mode]["return_mean"] for f in summary["final"]]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_both_agents_must_match(algorithm):
    summary = trained(algorithm, "probe/match")
    assert min(returns(summary)) >= 0.98, returns(summary)
    assert min(returns(summary, "sampled")) >= 0.55
    assert 0.15 < summary["random"]["return_mean"] < 0.35  # 1 in 4


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_private_bits(algorithm):
    """Each agent plays the bit that only it sees."""
    summary = trained(algorithm, "probe/private")
    assert min(returns(summary)) >= 0.98, returns(summary)


@pytest.mark.parametrize("algorithm", ["maddpg", "coma_fc"])
def test_shared_networks_cannot_tell_agents_apart(algorithm):
    """One network, one constant observation, no index: both vehicles do the same."""
    shared = trained(algorithm, "game/traffic_junction", algo={"share_params": True})
    assert max(returns(shared)) == 0, returns(shared)


def test_a_learning_rate_of_zero_learns_nothing():
    """The tests above can fail."""
    still = {"actor_lr": 0.0, "critic_lr": 0.0}
    summary = trained("maddpg", "probe/match", total_steps=10_000, hp=still)
    assert max(returns(summary, "sampled")) < 0.6
