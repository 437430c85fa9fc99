"""Minibatches of whole streams, so that memories stay whole."""

from __future__ import annotations

import jax
from jaxtyping import Array, Int, PyTree


def stream_groups(
    key: Array, epochs: int, minibatches: int, streams: int
) -> Int[Array, "epochs*minibatches streams/minibatches"]:
    """The streams of every minibatch: each stream once in an epoch, shuffled anew for each."""
    keys = jax.random.split(key, epochs)
    order = jax.vmap(lambda k: jax.random.permutation(k, streams))(keys)
    return order.reshape(epochs * minibatches, streams // minibatches)


def take_streams(rows: PyTree, streams: Int[Array, " K"]) -> PyTree:
    """Some streams of arrays ``[T, B, ...]``."""
    return jax.tree.map(lambda x: x[:, streams], rows)
