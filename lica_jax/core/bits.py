"""Random bits for batches laid out with the batch last: the same ones as ``jax.random``'s.

`jax.random` on CPU runs threefry's rounds as a loop over short arrays. Here they are unrolled and
element-wise, about four times as fast, and keys of every shape need no `vmap`. For threefry keys
(with jax_threefry_partitionable, the default) ``split(key, i)`` is ``jax.random.split(key, n)[i]``,
``uniform`` draws what ``jax.random.uniform`` draws, to the bit on [0, 1), and ``randint`` what
``jax.random.randint`` does. Of keys of another kind the first two words are used.

``quick_uniform`` draws others of the same distribution, one short hash of a key and a counter
each, for simulations that owe nobody the bits of `jax.random`.

Sources: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; the hash is
C. Wellons' "lowbias32" (2018).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Integer, PRNGKeyArray, UInt32

from lica_jax.core.barriers import held

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


class Key(NamedTuple):
    """Two words of a key, arrays of one shape."""

    high: UInt32[Array, "..."]
    low: UInt32[Array, "..."]


def as_key(keys: PRNGKeyArray | Key) -> Key:
    """The words of keys ``[...]``, new style or old."""
    if isinstance(keys, Key):
        return keys
    typed = jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    words = jax.random.key_data(keys) if typed else keys
    return Key(words[..., 0], words[..., 1])


def split(key: Key, i) -> Key:
    """Entry ``i`` of ``jax.random.split(key, n)``, for any n > i; i broadcasts against the key."""
    return held(Key(*_threefry(key, np.uint32(0), jnp.asarray(i, jnp.uint32))))


def uniform(
    key: Key, i, low: float, high: float, dtype: DTypeLike = jnp.float32
) -> Float[Array, "..."]:
    """Entry ``i`` (C order) of ``jax.random.uniform(key, shape, dtype, low, high)``."""
    return _between(_words(key, i, jnp.finfo(dtype).bits), low, high, dtype)


def quick_uniform(key: Key, i, low: float, high: float) -> Float[Array, "..."]:
    """Number ``i`` of a key's own sequence on [low, high), float32; i broadcasts against the key.

    Keys must themselves be random, as those of `split` are: related ones give related numbers.
    """
    counter = jnp.asarray(i, jnp.uint32) * np.uint32(0x9E3779B9)
    return _between(_hash(_hash(counter ^ key.high) ^ key.low), low, high, jnp.float32)


def _between(bits, low, high, dtype):
    info = jnp.finfo(dtype)
    one = np.array(1, dtype).view(bits.dtype)
    one_to_two = (bits >> bits.dtype.type(info.bits - info.nmant)) | one
    low, high = (np.array(end, dtype) for end in (low, high))
    unit = jax.lax.bitcast_convert_type(one_to_two, dtype) - np.array(1, dtype)
    return held(jnp.maximum(low, unit * (high - low) + low))


def randint(key: Key, i, end: int, dtype: DTypeLike = jnp.int32) -> Int[Array, "..."]:
    """Entry ``i`` (C order) of ``jax.random.randint(key, shape, 0, end, dtype)``, for ``end`` up to
    2^16 (of 64 bits 2^32): beyond, JAX's own multiplier overflows."""
    size = jnp.iinfo(dtype).bits
    above, below = (_words(split(key, half), i, size) for half in (0, 1))
    span, shift = above.dtype.type(end), above.dtype.type(2**size % end)
    return held(((above % span * shift + below % span) % span).astype(dtype))


def _words(key: Key, i, size: int) -> Integer[Array, "..."]:
    """Entry ``i`` of 32 or 64 random bits."""
    a, b = _threefry(key, np.uint32(0), jnp.asarray(i, jnp.uint32))
    return a ^ b if size == 32 else (a.astype(jnp.uint64) << np.uint64(32)) | b.astype(jnp.uint64)


def _hash(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """lowbias32: every bit of the result depends on every bit of ``x``."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


@jax.jit  # traced once for all draws of a shape: they are a third of a battle's operations
def _threefry(key: Key, x0, x1):
    words = (key.high, key.low, key.high ^ key.low ^ _PARITY)
    x0, x1 = x0 + words[0], x1 + words[1]
    for i in range(5):
        for r in _ROTATIONS[i % 2]:
            x0 = x0 + x1
            x1 = (x1 << np.uint32(r)) | (x1 >> np.uint32(32 - r))
            x1 = x0 ^ x1
        x0, x1 = x0 + words[(i + 1) % 3], x1 + words[(i + 2) % 3] + np.uint32(i + 1)
    return x0, x1
