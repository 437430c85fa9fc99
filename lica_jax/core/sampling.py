"""Draws without replacement whose cost grows with what is drawn, not with what it is drawn from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray


def distinct(key: PRNGKeyArray, size: Int[Array, ""], count: int) -> Int[Array, " K"]:
    """``count`` of the numbers below ``size``, none of them twice.

    All such sets are equally likely, the orders of one are not. If there are fewer numbers it is
    those below ``count``.
    """
    first = jnp.maximum(size, count) - count
    last = first + jnp.arange(count, dtype=jnp.int32)
    return without_repeats(jax.random.randint(key, (count,), 0, last + 1, jnp.int32), first)


def without_repeats(numbers: Int[Array, " K"], first: Int[Array, ""]) -> Int[Array, " K"]:
    """Floyd's sample (Bentley & Floyd, CACM 30(9), 1987) without its loop.

    The loop takes ``numbers[j]``, uniform on 0 .. first + j, unless it is in the sample already;
    else ``first + j``, which cannot be. In the sample are the numbers before j, and what was taken
    instead of repeats. So a number is a repeat if it is one of those before it, or if it is
    ``first + i`` of an earlier i whose own number is a repeat.
    """
    count = numbers.shape[0]
    turn = jnp.arange(count, dtype=jnp.int32)
    repeated = occurred_before(numbers)
    cause = jnp.where(numbers >= first, numbers - first, turn)  # itself if there is no such i
    for _ in range((count - 1).bit_length()):  # chains of causes, of twice the length each time
        repeated, cause = repeated | repeated[cause], cause[cause]
    return jnp.where(repeated, first + turn, numbers)


def occurred_before(numbers: Int[Array, " K"]) -> Bool[Array, " K"]:
    """Whether the same number stands further in front."""
    order = jnp.argsort(numbers, stable=True)
    ranked = numbers[order]
    again = jnp.concatenate([jnp.zeros(1, bool), ranked[1:] == ranked[:-1]])
    return jnp.zeros_like(again).at[order].set(again)
