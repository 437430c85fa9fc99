"""Drawing actions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms import heads
from lica_jax.core.masking import mask_logits


def test_samples_follow_the_softmax():
    logits = np.float32([0.3, -1.0, 2.0, 0.0, -30.0])
    avail = np.array([True, True, True, False, True])
    n = 40_000
    masked = np.broadcast_to(mask_logits(logits, avail), (n, 5))
    drawn = np.asarray(jax.jit(heads.sample_index)(masked, jax.random.key(0)))
    odds = np.exp(logits) * avail
    expected = odds / odds.sum()
    share = np.bincount(drawn, minlength=5) / n
    # 4 standard errors.
    np.testing.assert_allclose(share, expected, atol=4 * np.sqrt(0.25 / n))
    assert share[3] == share[4] == 0


@pytest.mark.parametrize("unit", [0.0, 0.5, 1 - 2.0**-24, 1.0])
def test_a_masked_action_is_never_drawn(unit, monkeypatch):
    """Whatever number is drawn, and wherever the available actions are."""
    shapes = []

    def draw(key, shape, dtype):
        shapes.append(shape)
        return jnp.full(shape, unit, dtype)

    monkeypatch.setattr(jax.random, "uniform", draw)
    rng = np.random.default_rng(0)
    avail = rng.random((5000, 3, 37)) < 0.1
    avail[..., 0] |= ~avail.any(-1)
    logits = mask_logits(jnp.asarray(10 * rng.standard_normal(avail.shape), jnp.float32), avail)
    action = heads.sample_index(logits, jax.random.key(0))
    assert shapes == [(5000, 3, 1)]
    assert np.take_along_axis(avail, np.asarray(action)[..., None], axis=-1).all()


def test_a_row_with_one_action_takes_it():
    logits = np.asarray(mask_logits(np.zeros((6, 6), np.float32), np.eye(6, dtype=bool)))
    drawn = jax.jit(heads.sample_index)(logits, jax.random.key(1))
    np.testing.assert_array_equal(drawn, np.arange(6))
