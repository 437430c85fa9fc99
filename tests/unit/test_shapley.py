"""Coalitions: who is in them, in which slot, and how often."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.core.shapley import coalition_actions, coalition_slots, draw_positions


def test_orders_are_permutations_and_all_equally_likely():
    positions = np.asarray(draw_positions(jax.random.key(0), (6000,), 3))
    assert np.all(np.sort(positions, axis=-1) == [0, 1, 2])
    counts = [np.sum(np.all(positions == p, axis=-1)) for p in itertools.permutations(range(3))]
    assert np.all(np.abs(np.array(counts) - 1000) < 120), counts  # four standard deviations: 115


def test_slots_by_hand():
    """Agent 1 joins first, then agent 2, then agent 0."""
    slots = np.asarray(coalition_slots(jnp.array([2, 0, 1]), "fixed")).astype(int)
    everybody = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]  # slot k holds agent j
    np.testing.assert_array_equal(slots[0], everybody)
    np.testing.assert_array_equal(slots[1], [[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(slots[2], [[0, 1, 0], [0, 0, 1], [0, 0, 0]])


def test_actions_fill_the_slots_in_the_order_of_joining():
    action = jnp.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    slots = coalition_slots(jnp.array([2, 0, 1]), "fixed")
    joined = np.asarray(coalition_actions(slots, action[None]))
    np.testing.assert_array_equal(joined[0], [[2, 20], [3, 30], [1, 10]])
    np.testing.assert_array_equal(joined[1], [[2, 20], [0, 0], [0, 0]])


@pytest.mark.parametrize(("n", "missing", "of"), [(3, 3, 18), (5, 180, 600)])
def test_the_code_of_2020_loses_agents_from_their_own_coalitions(n, missing, of):
    """Over all orders 15 of 18 agents are in their own coalition with n = 3, 420 of 600 with 5."""
    orders = jnp.array(list(itertools.permutations(range(n))))
    for permutation, wanted in (("fixed", of), ("repo2020", of - missing)):
        slots = np.asarray(coalition_slots(orders, permutation))
        own = np.any(slots, axis=-2)[:, np.arange(n), np.arange(n)]
        assert own.size == of and own.sum() == wanted, permutation


def test_marginal_contributions_of_all_orders_sum_to_the_grand_coalition():
    """Efficiency of the Shapley value, with the exact game v(C) = (sum of C)^2."""
    worth = np.array([1.0, 2.0, 4.0])
    orders = jnp.array(list(itertools.permutations(range(3))))
    members = np.any(np.asarray(coalition_slots(orders, "fixed")), axis=-2)  # [P, i, j]
    with_i = (members * worth).sum(-1) ** 2
    without = ((members & ~np.eye(3, dtype=bool)) * worth).sum(-1) ** 2
    shapley = (with_i - without).mean(0)
    np.testing.assert_allclose(shapley.sum(), worth.sum() ** 2)
    # x_i (x_i + sum of the others) for a squared sum.
    np.testing.assert_allclose(shapley, worth * worth.sum())
