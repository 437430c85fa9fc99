"""LICA on particle tasks: minutes, so not part of the quick run."""

import pytest

from lica_jax import train


@pytest.mark.slow
def test_continuous_simple_spread():
    """Three seeds from a random policy's -78 to above -70, greedy, within 400 k env steps."""
    result = train(
        "lica", "mpe/simple_spread_continuous", seeds=(0, 1, 2), total_steps=400_000,
        eval={"interval": 200_000}, display="none",
    )  # fmt: skip
    greedy = [f["greedy"]["return_mean"] for f in result.summary["final"]]
    assert min(greedy) > -70, greedy
    assert result.summary["random"]["return_mean"] < -74
