"""LICA-ADV learns within seconds what isolates a part of it. Three seeds each."""

import pytest

from lica_jax import train
from tests.conftest import AT_THE_END

SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "advantage",
    ["doubly_robust", *(pytest.param(x, marks=SLOW) for x in
                        ("state_value", "counterfactual", "soft"))],
)  # fmt: skip
def test_private_bits(advantage):
    """Each agent plays the bit that only it sees; the state holds both."""
    result = train(
        "lica_adv", "probe/private", seeds=(0, 1, 2), total_steps=8_000, display="none",
        collect={"envs": 32}, log_interval=2_048, eval=AT_THE_END,
        algo={"advantage": advantage, "hidden": 32, "mixing_embed": 32, "hypernet_hidden": 32},
    )  # fmt: skip
    final = result.summary["final"]
    greedy, sampled = ([f[m]["return_mean"] for f in final] for m in ("greedy", "sampled"))
    assert min(greedy) >= 0.98, greedy
    assert min(sampled) >= 0.85, sampled
    assert 0.15 < result.summary["random"]["return_mean"] < 0.35  # 1 in 4


@SLOW
def test_tuned_wins_2s3z_as_soon_as_it_says():
    """.95 of sampled battles within 0.45 M env steps; five seeds were at .95 to 1.00 there."""
    result = train(
        "lica_adv", "smax/2s3z", preset="tuned", seeds=(0, 1), total_steps=450_000, display="none",
        eval={"interval": 10**9, "episodes": 64, "final_episodes": 512},
    )  # fmt: skip
    for final in result.summary["final"]:
        assert final["greedy"]["win_rate"] >= 0.95, final
        assert final["sampled"]["win_rate"] >= 0.9, final
