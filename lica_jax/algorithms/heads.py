"""What an agent's outputs mean: a choice among A actions, or a point in (-1, 1)^D."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

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
    encode: Callable[..., Float[Array, ...]]
    choose: Callable[..., Array]


def make_head(spec: TaskSpec) -> Head:
    """The head that fits a task's actions."""
    size = spec.n_actions
    if spec.continuous:
        return Head(2 * size, size, 0.0, (size,), jnp.float32, _as_is, _choose_point)
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
    # Gumbel-max on the masked logits, as the official selector does in training.
    sampled = jax.random.categorical(key, logits)
    greedy = jnp.argmax(logits, axis=-1)
    return jnp.where(explore[:, None], sampled, greedy).astype(jnp.int32)


def _choose_point(outputs, avail, key, explore):
    del avail
    mean, log_std = gaussian.split_outputs(outputs)
    noise = jax.random.normal(key, mean.shape, mean.dtype) * explore[:, None, None]
    return gaussian.sample(mean, log_std, noise)
