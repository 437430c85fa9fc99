"""LICA learns a SMAX map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax import train
from lica_jax.envs import make_task
from lica_jax.training.evaluation import play_episodes


@pytest.mark.slow
def test_lica_wins_4m_vs_3m():
    """Above 90 % greedy within 150 k env steps, three seeds, from a random policy's 0 %."""
    result = train("lica", "smax/4m_vs_3m", seeds=(0, 1, 2), total_steps=80_000, display="none")
    assert max(result.summary["env_steps"]) <= 150_000
    greedy = [f["greedy"]["win_rate"] for f in result.summary["final"]]
    assert min(greedy) > 0.9, greedy
    assert all(f["greedy"]["episodes"] >= 512 for f in result.summary["final"])
    assert result.summary["random"]["win_rate"] < 0.01
    assert result.summary["reward_scale"] == 10.0
    # Returns are reported on SMAX's own scale.
    assert all(r["eval/return_mean"] <= 2.001 for r in result.evaluations)


def test_the_random_policy_is_uniform_over_available_actions(tiny):
    """Zero parameters stand in for it; here it is played from its definition."""
    task = make_task("smax/4m_vs_3m")

    def act(carry, ts, key):
        return carry, jax.random.categorical(key, jnp.where(ts.avail, 0.0, -1e10)), {}

    episodes = jax.jit(lambda k: play_episodes(task, act, (), k, 256))(jax.random.key(0))
    result = train(
        "lica", "smax/4m_vs_3m", display="none",
        **tiny | {"total_steps": 128, "eval": {"episodes": 128, "final_episodes": 256}},
    )  # fmt: skip
    zero = result.summary["random"]
    for name, values in (
        ("return_mean", episodes.returns),
        ("episode_length_mean", episodes.length),
    ):
        values = np.asarray(values, float)
        spread = values.std() / np.sqrt(256)
        assert abs(zero[name] - values.mean()) < 5 * spread, name
