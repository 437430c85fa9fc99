"""TD(lambda) targets against hand-computed numbers and a loop written from the definition."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lica_jax.core.returns import corrected_lambda_returns, lambda_returns

returns, corrected = jax.jit(lambda_returns), jax.jit(corrected_lambda_returns)


def call(q, r, terminal, cut, valid, gamma=0.5, lam=0.5):
    q, r = (np.asarray(x, float)[:, None] for x in (q, r))
    flags = [np.asarray(x, bool)[:, None] for x in (terminal, cut, valid)]
    return np.asarray(returns(q, r, *flags, gamma, lam))[:, 0]


def test_two_steps_bootstrapped_at_the_end_of_the_batch():
    # G_1 = 2 + .5 (.5 * 4 + .5 * 4) = 4;  G_0 = 1 + .5 (.5 * 3 + .5 * 4) = 2.75
    got = call([9, 3, 4], [1, 2], [0, 0], [0, 0], [1, 1])
    np.testing.assert_allclose(got, [2.75, 4.0])


def test_a_terminal_step_is_worth_its_reward_alone():
    # G_1 = 2;  G_0 = 1 + .5 (.5 * 3 + .5 * 2) = 2.25
    got = call([9, 3, 4], [1, 2], [0, 1], [0, 1], [1, 1])
    np.testing.assert_allclose(got, [2.25, 2.0])


def test_a_time_limit_bootstraps_and_the_reset_transition_is_skipped():
    # Slot 1 is the last observation of episode 1 (limit), slot 2 the first of episode 2.
    # G_2 = 5 + .5 * 6 = 8;  G_1 = 0 (reset);  G_0 = 1 + .5 * q_1 = 1 + .5 * 3 = 2.5
    got = call([9, 3, 7, 6], [1, 99, 5], [0, 0, 0], [1, 0, 0], [1, 0, 1])
    np.testing.assert_allclose(got, [2.5, 0.0, 8.0])


def test_lambda_one_is_the_discounted_sum_and_lambda_zero_one_step():
    q, r = [9, 3, 7, 6], [1, 2, 4]
    ends = [0, 0, 1]
    np.testing.assert_allclose(call(q, r, ends, ends, [1, 1, 1], lam=1.0), [3, 4, 4])
    np.testing.assert_allclose(call(q, r, ends, ends, [1, 1, 1], lam=0.0), [2.5, 5.5, 4])


def test_targets_carry_no_gradient():
    args = (np.ones((2, 1)), *[np.zeros((2, 1), bool)] * 2, np.ones((2, 1), bool), 0.9, 0.8)
    grad = jax.jit(jax.grad(lambda q: lambda_returns(q, *args).sum()))(np.ones((3, 1)))
    assert not np.any(np.asarray(grad))


def by_definition(q, r, terminal, cut, valid, gamma, lam):
    """Sum of n-step returns, each from the definition: G = (1-lam) sum lam^(n-1) G^(n) + rest."""
    steps = len(r)
    out = np.zeros(steps)
    for t in range(steps):
        if not valid[t]:
            continue
        total, weight, reward_sum, discount = 0.0, 1.0, 0.0, 1.0
        for k in range(t, steps):
            reward_sum += discount * r[k]
            discount *= gamma
            n_step = reward_sum + (0.0 if terminal[k] else discount * q[k + 1])
            if terminal[k] or cut[k] or k == steps - 1:
                total += weight * n_step
                break
            total += (1 - lam) * weight * n_step
            weight *= lam
        out[t] = total
    return out


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31 - 1), st.integers(1, 9), st.floats(0, 1), st.floats(0, 1))
def test_any_mixture_of_endings_matches_the_definition(seed, steps, gamma, lam):
    rng = np.random.default_rng(seed)
    q, r = rng.normal(size=steps + 1), rng.normal(size=steps)
    ending = rng.choice(3, size=steps, p=[0.6, 0.2, 0.2])  # goes on, terminal, time limit
    valid = np.concatenate([[True], ending[:-1] == 0])  # behind an ending stands the reset
    ending = np.where(valid, ending, 0)
    args = (q, r, ending == 1, ending > 0, valid, gamma, lam)
    np.testing.assert_allclose(call(*args), by_definition(*args), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_any_batch_shape_gives_the_same_rows(batch):
    rng = np.random.default_rng(0)
    q, r = rng.normal(size=(5, *batch)), rng.normal(size=(4, *batch))
    terminal, truncated = rng.random((2, 4, *batch)) < 0.2
    rows = q, r, terminal, terminal | truncated, np.ones((4, *batch), bool)
    got = returns(*rows, 0.9, 0.7)
    flat = returns(*[x.reshape(x.shape[0], -1) for x in rows], 0.9, 0.7)
    np.testing.assert_allclose(np.asarray(got).reshape(4, -1), flat, rtol=1e-5, atol=1e-6)


# --- corrected to today's policies ---------------------------------------------------------------


def test_corrected_returns_by_hand(x64):
    """Three steps without an end; gamma .5, lambda .8, weights 1, .5 and 0 where it looks."""
    q, now = np.array([[9.0], [4.0], [2.0], [6.0]]), np.array([[9.0], [8.0], [6.0], [3.0]])
    weight, reward = np.array([[0.3], [1.0], [0.5], [0.0]]), np.array([[1.0], [1.0], [1.0]])
    no, yes, slot = np.zeros((3, 1), bool), np.ones((3, 1), bool), np.arange(3)[:, None]
    cut = slot == 2
    got = np.asarray(corrected(q, now, weight, reward, no, cut, yes, 0.5, 0.8))[:, 0]
    last = 1 + 0.5 * 3  # nobody would do that now: what they do instead is worth 3
    middle = 1 + 0.5 * (4 + 0.8 * 0.5 * (last - 2))  # half of 2, half of 6
    first = 1 + 0.5 * (4 + 0.8 * (middle - 4))  # as on-policy
    np.testing.assert_allclose(got, [first, middle, last])
    ends = np.asarray(corrected(q, now, weight, reward, cut, cut, yes, 0.5, 0.8))
    assert ends[2, 0] == 1
    none = np.asarray(corrected(q, now, weight, reward, no, cut, slot != 1, 0.5, 0.8))
    assert none[1, 0] == 0


def test_weights_of_one_change_nothing(x64):
    rng = np.random.default_rng(0)
    q, now = rng.normal(size=(2, 9, 5))
    terminal = rng.random((8, 5)) < 0.2
    cut, valid = terminal | (rng.random((8, 5)) < 0.2), rng.random((8, 5)) < 0.9
    rest = rng.normal(size=(8, 5)), terminal, cut, valid, 0.9, 0.7
    got = np.asarray(corrected(q, now, np.ones((9, 5)), *rest))
    np.testing.assert_allclose(got, returns(q, *rest))
    assert np.abs(np.asarray(corrected(q, now, np.zeros((9, 5)), *rest)) - got).max() > 0.1
