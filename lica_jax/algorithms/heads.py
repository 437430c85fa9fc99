"""What an agent's outputs mean: a choice among A actions, or a point in (-1, 1)^D."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lica_jax.core import gaussian
from lica_jax.core.masking import mask_logits
from lica_jax.types import TaskSpec

NO_ACTION = -1  # "no previous action" among discrete ones; its encoding is all zeros


class Head(NamedTuple):
    """One kind of policy.

    Attributes:
      n_outputs: numbers that an agent's network puts out.
      n_encoded: length of an action as networks read it.
      no_action: what stands for "no previous action"; encoded as zeros.
      shape: of one agent's action.
      dtype: of actions.
      encode: ``(action, dtype) -> [..., n_encoded]``: one-hot, or the action itself.
      choose: ``(outputs, avail, key, explore [B, 1]) -> action``: sampled where ``explore``, else
        the most likely one (continuous: the mode before squashing).
    """

    n_outputs: int
    n_encoded: int
    no_action: float
    shape: tuple[int, ...]
    dtype: type
    encode: Callable[..., Float[Array, "..."]]
    choose: Callable[..., Array]


def make_head(spec: TaskSpec) -> Head:
    """The head that fits a task's actions."""
    size = spec.n_actions
    if spec.continuous:
        return Head(2 * size, size, 0.0, (size,), float, _as_is, _choose_point)
    return Head(size, size, NO_ACTION, (), jnp.int32, _one_hot(size), _choose_index)


def _one_hot(n_actions):
    return lambda action, dtype: jax.nn.one_hot(action, n_actions, dtype=dtype)


def _as_is(action, dtype):
    return action.astype(dtype)


def _choose_index(
    outputs: Float[Array, "B N A"], avail: Bool[Array, "B N A"], key: Array,
    explore: Bool[Array, " B"],
) -> Array:  # fmt: skip
    logits = mask_logits(outputs, avail)
    sampled = sample_index(logits, key)
    greedy = jnp.argmax(logits, axis=-1)
    return jnp.where(explore[:, None], sampled, greedy).astype(jnp.int32)


def sample_index(logits: Float[Array, "*B A"], key: Array) -> Int[Array, "*B"]:
    """A draw from the softmax, by inverting the cumulated probabilities.

    One random number per row instead of one per action as `jax.random.categorical` takes, which
    was over a quarter of a rollout step on CPU. Actions of weight 0 (masked ones) are never drawn,
    however the sums are rounded.
    """
    weight = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    below = jnp.cumsum(weight, axis=-1)
    at = jax.random.uniform(key, (*logits.shape[:-1], 1), logits.dtype) * below[..., -1:]
    reached = (below > at) & (weight > 0)
    # The product may round up to the sum of all: then none is reached, and the
    # most likely one is taken.
    first = jnp.argmax(reached, axis=-1)
    return jnp.where(jnp.any(reached, axis=-1), first, jnp.argmax(logits, axis=-1))


def _choose_point(outputs, avail, key, explore):
    del avail
    mean, log_std = gaussian.split_outputs(outputs)
    noise = jax.random.normal(key, mean.shape, mean.dtype) * explore[:, None, None]
    return gaussian.sample(mean, log_std, noise)
