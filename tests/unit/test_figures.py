"""Intervals of evaluated policies, by hand."""

import numpy as np
import pytest

from lica_jax.training.figures import over_seeds, with_intervals


def figures(win, mean, std=0.5, episodes=512):
    return {
        "win_rate": win, "return_mean": mean, "return_std": std, "episode_length_mean": 10.0,
        "episodes": episodes,
    }  # fmt: skip


def test_of_one_policy_over_its_episodes():
    """Wilson's of 279 of 512, and Student's: 1.9646 * .5 / sqrt(512)."""
    got = with_intervals(figures(279 / 512, 1.5))
    np.testing.assert_allclose(got["win_rate_ci95"], [0.5016, 0.5876], atol=2e-4)
    half = 1.9646 * 0.5 / 512**0.5
    np.testing.assert_allclose(got["return_mean_ci95"], [1.5 - half, 1.5 + half], rtol=2e-3)
    sure = with_intervals(figures(1.0, 2.0, 0.0))["win_rate_ci95"]
    assert sure[1] == pytest.approx(1) and 0.99 < sure[0] < 1


def test_over_seeds_are_means_and_their_spread():
    """Student's of three seeds, 4.3027 s / sqrt(3), cut at 0 and 1; not the episodes' own."""
    got = over_seeds([figures(w, 2 * w) for w in (0.5, 0.6, 0.7)])
    half = 4.3027 * 0.1 / 3**0.5
    assert got["win_rate"] == pytest.approx(0.6) and got["seeds"] == 3
    np.testing.assert_allclose(got["win_rate_ci95"], [0.6 - half, 0.6 + half], rtol=1e-3)
    np.testing.assert_allclose(got["return_mean_ci95"], [1.2 - 2 * half, 1.2 + 2 * half], rtol=1e-3)
    assert got["episodes"] == 1536
    wide = over_seeds([figures(w, w) for w in (0.0, 0.5, 1.0)])
    assert wide["win_rate_ci95"] == [0.0, 1.0] and wide["return_mean_ci95"][0] < 0
