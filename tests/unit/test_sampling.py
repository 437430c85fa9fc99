"""Draws without replacement: Floyd's loop in a few passes, and what it draws."""

import jax
import numpy as np
import pytest
from scipy.stats import chisquare

from lica_jax.core.sampling import distinct, occurred_before, without_repeats


def floyd(numbers, first: int) -> list[int]:
    """The loop as it was published."""
    sample = []
    for j, number in enumerate(numbers):
        sample.append(first + j if number in sample else int(number))
    return sample


@pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 2), (0, 65), (3, 64), (10_000, 37)])
def test_it_is_floyds_sample(first, count):
    """With the fewest numbers to draw from, chains of causes are longest."""
    rng = np.random.default_rng(count)
    numbers = rng.integers(0, first + 1 + np.arange(count), (200, count), dtype=np.int32)
    got = jax.jit(jax.vmap(without_repeats, (0, None)))(numbers, np.int32(first))
    np.testing.assert_array_equal(got, [floyd(row, first) for row in numbers])


def test_the_longest_chain_of_causes():
    """Every number but the first two is what the one before it was replaced by."""
    count = 66
    numbers = np.maximum(np.arange(count, dtype=np.int32) - 1, 0)
    got = jax.jit(without_repeats)(numbers, np.int32(0))
    np.testing.assert_array_equal(got, np.arange(count))
    assert floyd(numbers, 0) == list(range(count))


def test_repeats_by_hand():
    seen = jax.jit(occurred_before)(np.int32([4, 1, 4, 0, 1, 4]))
    np.testing.assert_array_equal(seen, [False, False, True, False, True, True])


def draws(size: int, count: int, n: int) -> np.ndarray:
    keys = jax.random.split(jax.random.key(size), n)
    return np.asarray(jax.jit(jax.vmap(lambda key: distinct(key, size, count)))(keys))


@pytest.mark.parametrize(("size", "count", "sets"), [(5, 1, 5), (5, 3, 10), (6, 5, 6), (9, 2, 36)])
def test_all_sets_are_equally_likely(size, count, sets):
    at = np.sort(draws(size, count, 20_000), axis=1)
    assert np.all(np.diff(at) > 0), "a number was drawn twice"
    kinds, counts = np.unique(at, axis=0, return_counts=True)
    assert len(kinds) == sets and at.min() == 0 and at.max() == size - 1
    assert chisquare(counts).pvalue > 1e-3


def test_a_large_draw_is_even_over_a_large_range():
    at = draws(1_000_000, 1024, 100)
    assert all(len(set(row)) == 1024 for row in at)
    counts, _ = np.histogram(at, 50, (0, 1_000_000))
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("size", [0, 3, 8])
def test_of_too_few_numbers_it_is_the_first_ones(size):
    """What is drawn from a replay that is not ready lies within it."""
    assert np.all(np.sort(draws(size, 8, 50), axis=1) == np.arange(8))
