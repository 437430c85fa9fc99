"""IPPO and MAPPO learn within seconds what isolates a part of them each. Three seeds each."""

import numpy as np
import pytest

from lica_jax import train
from tests.conftest import AT_THE_END

SEEDS = (0, 1, 2)


def trained(algorithm, task, steps=10_000, **overrides):
    result = train(
        algorithm, task, seeds=SEEDS, total_steps=steps, display="none", eval=AT_THE_END,
        **overrides
    )  # fmt: skip
    return result.summary


def returns(summary, mode="greedy"):
    return [f[mode]["return_mean"] for f in summary["final"]]


@pytest.mark.parametrize(
    ("algorithm", "overrides"),
    [
        ("ippo", {}),
        pytest.param(
            "mappo",
            {"algo": {"critic": "gru"}, "collect": {"mode": "episode", "envs": 128}},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "mappo",
            {"algo": {"actor": "mlp", "share_params": False, "value_norm": False}},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["ippo", "mappo_episodes", "mappo_own_mlps"],
)
def test_both_agents_must_match(algorithm, overrides):
    summary = trained(algorithm, "probe/match", **overrides)
    assert min(returns(summary)) >= 0.98, returns(summary)
    assert min(returns(summary, "sampled")) >= 0.9, returns(summary, "sampled")
    assert 0.15 < summary["random"]["return_mean"] < 0.35  # 1 in 4


@pytest.mark.slow
def test_recurrent_agents_remember():
    """The cue of step 1 is played at step 3; the critic reads it off the state."""
    summary = trained("mappo", "probe/memory", 40_000)
    assert min(returns(summary)) >= 0.95, returns(summary)
    assert min(returns(summary, "sampled")) >= 0.85, returns(summary, "sampled")


@pytest.mark.slow
def test_agents_without_memory_forget():
    summary = trained("mappo", "probe/memory", 40_000, algo={"actor": "mlp"})
    assert max(returns(summary)) < 0.6, returns(summary)


@pytest.mark.slow
def test_private_bits():
    """Each agent plays the bit that only it sees; the state holds both."""
    summary = trained("mappo", "probe/private", 30_000)
    assert min(returns(summary)) >= 0.98, returns(summary)
    assert min(returns(summary, "sampled")) >= 0.85, returns(summary, "sampled")


@pytest.mark.slow
def test_roles_are_told_apart_by_the_index():
    """Exactly one agent must pass, and nothing else is to be seen than one's index."""
    summary = trained("ippo", "game/traffic_junction")
    assert min(returns(summary)) >= 0.98, returns(summary)
    blind = trained("ippo", "game/traffic_junction", algo={"agent_id": False})
    assert max(returns(blind)) < 0.6, returns(blind)


def test_a_learning_rate_of_zero_learns_nothing():
    """The tests above can fail."""
    summary = trained("mappo", "probe/match", 5_000, hp={"actor_lr": 0.0, "critic_lr": 0.0})
    assert np.max(returns(summary, "sampled")) < 0.6
