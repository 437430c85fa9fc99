"""Masks, entropy, losses and optimiser steps, by hand-computed numbers."""

from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.core import bits
from lica_jax.core.entropy import EntropyMode, categorical_entropy, entropy_bonus
from lica_jax.core.intervals import student_t_of, wilson
from lica_jax.core.losses import critic_loss, policy_value_loss, watched_sum
from lica_jax.core.masking import explained, masked_mean, masked_softmax
from lica_jax.core.optim import ADAM, adam_step, clip_by_global_norm, periodic_copy

LOG2, LOG3 = np.log(2.0), np.log(3.0)


@pytest.mark.filterwarnings("error")
def test_arrays_of_numpy_are_taken_without_a_word():
    logits, avail = np.zeros((2, 3)), np.array([[True, True, False]] * 2)
    np.testing.assert_allclose(masked_softmax(logits, avail), [[0.5, 0.5, 0.0]] * 2)
    np.testing.assert_allclose(categorical_entropy(logits, avail), np.log(2), rtol=1e-6)


def test_masked_mean_weighs_selected_entries_only():
    x = jnp.array([[1.0, 2.0], [jnp.nan, 4.0]])
    assert masked_mean(x, jnp.array([[1, 1], [0, 1]])) == pytest.approx(7 / 3)
    assert masked_mean(x, jnp.zeros((2, 2))) == 0


def test_explained_by_hand():
    """Targets 1, 3 (variance 1), values off by 1 and by 0: half; what is masked does not count."""
    target, mask = jnp.array([1.0, 3.0, 99.0]), jnp.array([1, 1, 0])
    assert explained(jnp.array([1.0, 0.0, 9.0]), target, mask) == pytest.approx(0.5)
    assert explained(target - 2, target, mask) == pytest.approx(0)  # a constant: their mean
    assert explained(jnp.array([2.0, 2.0, 0.0]), target, mask) == pytest.approx(-3)
    assert np.isfinite(explained(jnp.ones(3), jnp.ones(3), mask))  # they do not differ


def test_masked_mean_broadcasts_the_mask_over_agents():
    x = jnp.arange(12.0).reshape(2, 2, 3)
    mask = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    assert masked_mean(x, mask) == pytest.approx((0 + 1 + 2 + 9 + 10 + 11) / 6)


def test_masked_mean_of_nothing_has_a_finite_gradient():
    mean_and_slope = jax.jit(jax.value_and_grad(masked_mean))
    value, slope = mean_and_slope(np.float32([np.inf, 1]), np.zeros(2, np.float32))
    assert value == 0.0
    np.testing.assert_array_equal(slope, [0.0, 0.0])
    value, slope = mean_and_slope(np.float32([np.inf, 1]), np.float32([0, 1]))
    assert value == 1.0
    np.testing.assert_array_equal(slope, [0.0, 1.0])


def test_unavailable_actions_have_probability_zero():
    logits = jnp.log(jnp.array([[1.0, 2.0, 5.0]]))
    probs = masked_softmax(logits, jnp.array([[True, True, False]]))
    np.testing.assert_allclose(probs, [[1 / 3, 2 / 3, 0]], rtol=1e-6)


def test_a_row_with_nothing_available_is_zero_with_zero_gradient():
    nothing, ones = np.zeros((1, 3), bool), np.ones((1, 3), np.float32)
    assert not np.any(jax.jit(masked_softmax)(ones, nothing))
    for fn in (masked_softmax, categorical_entropy):
        grad = jax.jit(jax.grad(lambda z, fn=fn: jnp.sum(fn(z, nothing) ** 2)))(ones)
        np.testing.assert_array_equal(grad, np.zeros((1, 3)))


def test_entropy_of_known_policies():
    avail = jnp.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]], bool)
    got = categorical_entropy(jnp.zeros((3, 3)), avail)
    np.testing.assert_allclose(got, [LOG3, LOG2, 0.0], atol=1e-6)


# One time step, one environment, two agents with entropies 0.2 and 0.6.
ENTROPY = np.float32([[[0.2, 0.6]]])
CHOICES = np.full((1, 1, 2), 3)
ONE = np.ones((1, 1), np.float32)

bonus_of = jax.jit(entropy_bonus, static_argnums=4)


@partial(jax.jit, static_argnums=3)
def bonus_gradient(entropy, choices, mask, mode):
    return jax.grad(lambda h: entropy_bonus(h, choices, mask, 0.3, mode)[0])(entropy)


@pytest.mark.parametrize(
    ("mode", "bonus", "coef", "gradient"),
    [
        # xi / H is 0.3 / 0.4 for the mean; every mode but the constant one is worth xi.
        ("global", 0.3, 0.75, [0.375, 0.375]),
        ("agent", 0.3, (1.5 + 0.5) / 2, [0.75, 0.25]),
        ("sample", 0.3, (1.5 + 0.5) / 2, [0.75, 0.25]),
        ("constant", 0.12, 0.3, [0.15, 0.15]),
    ],
)
def test_entropy_modes_by_hand(mode, bonus, coef, gradient):
    got, got_coef = bonus_of(ENTROPY, CHOICES, ONE, 0.3, mode)
    assert got == pytest.approx(bonus)
    assert got_coef == pytest.approx(coef)
    grad = np.asarray(bonus_gradient(ENTROPY, CHOICES, ONE, mode))
    np.testing.assert_allclose(grad[0, 0], gradient, rtol=1e-6)


def test_agent_mode_averages_over_time_before_dividing():
    entropy = np.float32([[[0.2, 0.6]], [[0.6, 0.6]]])  # agent 0: mean 0.4
    mask, choices = np.ones((2, 1)), np.full((2, 1, 2), 3)
    grad = np.asarray(bonus_gradient(entropy, choices, mask, "agent"))
    # d/dh of mean_a xi/sg(H_a) H_a: xi / H_a / (agents * steps)
    np.testing.assert_allclose(grad[:, 0, 0], [0.3 / 0.4 / 4] * 2, rtol=1e-6)


def test_sample_mode_leaves_out_agents_without_a_choice():
    choices = np.array([[[3, 1]]])
    grad = np.asarray(bonus_gradient(np.float32([[[0.2, 0.0]]]), choices, ONE, "sample"))
    np.testing.assert_allclose(grad[0, 0], [0.3 / 0.2, 0.0], rtol=1e-6)


@pytest.mark.parametrize("mode", get_args(EntropyMode))
def test_a_deterministic_policy_does_not_divide_by_zero(mode):
    bonus, coef = bonus_of(0 * ENTROPY, CHOICES, ONE, 0.3, mode)
    assert np.isfinite(bonus) and np.isfinite(coef)


def test_an_unknown_entropy_mode_is_an_error():
    with pytest.raises(ValueError, match="entropy mode"):
        entropy_bonus(ENTROPY, CHOICES, ONE, 0.3, "nothing")


def test_losses_by_hand():
    q, target = jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 2.5]])
    mask = jnp.array([[1.0, 1.0]])
    assert critic_loss(q, target, mask) == pytest.approx((4 + 0.25) / 2)
    assert critic_loss(q, target, jnp.array([[0.0, 1.0]])) == pytest.approx(0.25)
    assert policy_value_loss(q, jnp.float32(0.1), mask) == pytest.approx(-1.5 - 0.1)


def test_clipping_is_pytorchs():
    grads = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    clipped, norm = clip_by_global_norm(grads, 1.0)
    assert norm == pytest.approx(5.0)
    np.testing.assert_allclose(clipped["a"], 3 / (5 + 1e-6), rtol=1e-6)
    same, _ = clip_by_global_norm(grads, 10.0)
    assert same["b"] == 4.0


def test_two_adam_steps_by_hand(x64):
    p, g1, g2, lr = 1.0, 0.5, -0.25, 0.1
    m, v = 0.1 * g1, 0.001 * g1**2
    p1 = p - lr * (m / 0.1) / (np.sqrt(v / 0.001) + 1e-8)
    m, v = 0.9 * m + 0.1 * g2, 0.999 * v + 0.001 * g2**2
    p2 = p1 - lr * (m / (1 - 0.9**2)) / (np.sqrt(v / (1 - 0.999**2)) + 1e-8)
    params, step = {"w": np.array(p)}, jax.jit(adam_step)
    state = ADAM.init(params)
    params, state, _ = step(params, {"w": np.array(g1)}, state, lr, 10.0)
    np.testing.assert_allclose(params["w"], p1, rtol=1e-12)
    params, state, norm = step(params, {"w": np.array(g2)}, state, lr, 10.0)
    np.testing.assert_allclose(params["w"], p2, rtol=1e-12)
    assert norm == 0.25


def test_the_target_is_copied_once_the_interval_has_passed():
    online, target = jnp.array(1.0), jnp.array(0.0)
    copied_at = []
    last = jnp.int32(0)
    for steps in range(4, 41, 4):
        got, last = periodic_copy(online, target, jnp.int32(steps), last, jnp.int32(10))
        assert got == (1.0 if last == steps else 0.0)
        copied_at += [steps] if got else []
    assert copied_at == [12, 24, 36]


def test_intervals_against_published_values():
    """Wilson: Brown, Cai and DasGupta's formula at 8 of 10; Student: the table's 4.303 at 2."""
    assert wilson(0.8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0.0, 20) == pytest.approx((0, 0.1611252), abs=1e-6)
    assert wilson(1.0, 20)[1] == 1.0 and wilson(0.5, 0) is None
    for n in range(1, 600):
        assert wilson(0.0, n)[0] == 0 and wilson(1.0, n)[1] == 1
    low, high = student_t_of([1.0, 2.0, 3.0])
    assert (low + high) / 2 == pytest.approx(2)
    assert high - 2 == pytest.approx(4.302653 / 3**0.5)
    assert student_t_of([1.0]) is None


def test_intervals_cover():
    """95 % of them hold the truth, within 4 standard errors of 2,000 samples."""
    rng = np.random.default_rng(0)
    wins = rng.binomial(30, 0.9, 2000)
    held = [low <= 0.9 <= high for low, high in (wilson(k / 30, 30) for k in wins)]
    means = [student_t_of(x) for x in rng.normal(1.0, 2.0, (2000, 4))]
    inside = [low <= 1.0 <= high for low, high in means]
    assert abs(np.mean(inside) - 0.95) < 0.02
    assert np.mean(held) > 0.93


@pytest.mark.parametrize("wide", [False, True], ids=["32", "64"])
def test_bits_are_jax_randoms(wide):
    with jax.enable_x64(wide):
        real, whole = (jax.dtypes.canonicalize_dtype(kind) for kind in (float, int))
        keys = jax.random.split(jax.random.key(7), 5)
        ours, at = bits.as_key(keys), np.arange(6)[:, None]
        theirs = jax.vmap(lambda k: jax.random.split(k, 4))(keys)
        for i in range(4):
            split = jnp.stack(bits.split(ours, i), axis=-1)
            np.testing.assert_array_equal(split, jax.random.key_data(theirs[:, i]))
        drawn = jax.vmap(lambda k: jax.random.uniform(k, (3, 2)))(keys)
        mine = bits.uniform(ours, at, 0, 1, real)
        assert mine.dtype == drawn.dtype
        np.testing.assert_array_equal(mine, drawn.reshape(5, 6).T)
        # Scaling may be fused into one rounding.
        scaled = jax.vmap(lambda k: jax.random.uniform(k, (), minval=-2, maxval=3))(keys)
        np.testing.assert_allclose(bits.uniform(ours, 0, -2, 3, real), scaled, atol=1e-6)
        for end in (3, 5, 1000):
            drawn = jax.vmap(lambda k, end=end: jax.random.randint(k, (6,), 0, end))(keys)
            mine = bits.randint(ours, at, end, whole)
            assert mine.dtype == drawn.dtype
            np.testing.assert_array_equal(mine, drawn.T)


def test_draws_of_one_shape_are_traced_once():
    """A battle makes dozens; each would be a hundred operations to trace, to batch and to lower."""

    def several(keys):
        key = bits.as_key(keys)
        return [bits.uniform(bits.split(key, i), 0, 0, 1) for i in range(8)]

    program = jax.make_jaxpr(several)(jax.random.split(jax.random.key(0), 5))
    shared = [e.params["jaxpr"] for e in program.eqns if e.params.get("name") == "_threefry"]
    assert len(shared) == 16 and len(set(map(id, shared))) == 1


def test_quick_numbers_are_uniform_and_unrelated():
    """Over keys, over counters, and between neighbours of each; thresholds of five sigma."""
    keys = bits.as_key(jax.random.split(jax.random.key(3), 512))
    drawn = np.asarray(bits.quick_uniform(keys, np.arange(256)[:, None], -1.0, 3.0), float)
    assert drawn.min() >= -1 and drawn.max() < 3
    x = (drawn + 1) / 4
    flat = np.sort(x.ravel())
    gap = np.abs(flat - np.arange(1, flat.size + 1) / flat.size).max()
    assert gap * np.sqrt(flat.size) < 2.2  # Kolmogorov-Smirnov, exceeded once in 8,000 times
    for axis in (0, 1):  # every key's mean and every counter's
        means = x.mean(axis=axis)
        assert np.abs(means - 0.5).max() < 5 * np.sqrt(1 / 12 / x.shape[axis])
    z = (x - 0.5) * np.sqrt(12)
    for shift in ((1, 0), (0, 1), (2, 0), (8, 0), (1, 1)):
        assert abs(np.mean(z * np.roll(z, shift, (0, 1)))) < 5 / np.sqrt(z.size), shift
    words = (x * 2**23).astype(np.uint32)
    for bit in range(23):  # and every bit of the mantissa is even
        share = np.mean((words >> bit) & 1)
        assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(x.size), bit
    assert np.unique(words).size > 0.99 * words.size * (1 - words.size / 2**24)


def test_quick_numbers_depend_on_every_bit_of_the_key():
    key = bits.Key(jnp.uint32(0x12345678), jnp.uint32(0x9ABCDEF0))
    at = np.arange(64)

    def words(key):
        unit = bits.quick_uniform(key, at, 0.0, 1.0)
        return np.asarray(unit * 2**23).astype(np.uint32)

    before = words(key)
    flips = np.array([[(before ^ words(key._replace(**{word: old ^ np.uint32(1 << bit)}))) for bit
                       in range(32)] for word, old in key._asdict().items()])  # fmt: skip
    changed = np.unpackbits(flips.astype(">u4").view(np.uint8)).reshape(*flips.shape, 32)[..., 9:]
    assert np.abs(changed.mean(axis=(2, 3)) - 0.5).max() < 0.07  # 1,472 bits: 5 sigma


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_what_is_watched_sees_gradients_that_are_not_finite(bad):
    """Behind a finite loss, too; what is neither a loss nor a norm counts for nothing."""
    shown = {"actor_loss": 2.0, "critic_loss": -0.5, "actor_grad_norm": 3.0, "entropy": bad}
    assert watched_sum(shown) == 1.5
    assert np.isnan(watched_sum(shown | {"critic_grad_norm": bad}))
