"""Building blocks with PyTorch's default initialisation, which the reference code relies on."""

from __future__ import annotations

import math
from functools import reduce
from itertools import accumulate
from operator import add

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float


def uniform_fan(fan: int):
    """Initialiser U(-1/sqrt(fan), 1/sqrt(fan))."""
    bound = fan**-0.5

    def init(key, shape, dtype=float):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def product_of_parts(
    parts: tuple[Float[Array, "... I_p"], ...], kernel: Float[Array, "I F"]
) -> Float[Array, "... F"]:
    """``x W`` of the concatenation x of ``parts``, which is never built: each is multiplied with
    its rows of W and the products are added.

    So a part that is the same for many rows of another, with an axis of length 1, is multiplied
    once.
    """
    *ends, _ = accumulate(x.shape[-1] for x in parts)

    def product(x, w):
        # Rows are flattened so that the weight gradient is one plain matrix product: with several
        # leading axes XLA's CPU backend is over twice as slow.
        *rows, size = x.shape
        return (x.reshape(math.prod(rows), size) @ w).reshape(*rows, w.shape[-1])

    return reduce(add, map(product, parts, jnp.split(kernel, ends)))


class Linear(nn.Module):
    """``y = x W + b`` with weights and bias ~ U(-1/sqrt(in), 1/sqrt(in)) (torch.nn.Linear).

    x may be given in parts; see `product_of_parts`.

    Attributes:
      features: length of y.
      by_output: keep W^T ("weight", [features, in]) instead of W ("kernel"), so that the weights
        of one output are neighbours in memory: for matrices that are used in parts.
      zero: weights and bias begin at 0 instead.
    """

    features: int
    by_output: bool = False
    zero: bool = False

    @nn.compact
    def __call__(self, *parts: Float[Array, "... I"]) -> Float[Array, "... F"]:
        fan_in = sum(x.shape[-1] for x in parts)
        init = nn.initializers.zeros if self.zero else uniform_fan(fan_in)
        if self.by_output:
            # Drawn as a kernel is, so that a seed means the same numbers in both layouts.
            kernel = self.param("weight", lambda k: init(k, (fan_in, self.features)).T).T
        else:
            kernel = self.param("kernel", init, (fan_in, self.features))
        bias = self.param("bias", init, (self.features,))
        out = product_of_parts(parts, kernel)
        return (out.reshape(-1, self.features) + bias[None]).reshape(out.shape)


class MLP(nn.Module):
    """Linear layers of the given widths with ReLU between them, none behind the last.

    Attributes:
      widths: of the layers.
      last_by_output: see ``Linear.by_output``.
      last_zero: see ``Linear.zero``.
      layer_norm: normalise what goes into each ReLU (Ba et al., 2016).
    """

    widths: tuple[int, ...]
    last_by_output: bool = False
    last_zero: bool = False
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x, features: bool = False):
        """The output at x, an array or a tuple of its parts (`product_of_parts`); with ``features``
        also what the last layer reads."""
        for i, width in enumerate(self.widths):
            if i > 0 and self.layer_norm:
                x = nn.LayerNorm(param_dtype=float, name=f"norm_{i - 1}")(x)
            read = x if i == 0 else nn.relu(x)
            last = i == len(self.widths) - 1
            by_output, zero = self.last_by_output and last, self.last_zero and last
            parts = read if isinstance(read, tuple) else (read,)
            x = Linear(width, by_output, zero, name=f"layer_{i}")(*parts)
        return (x, read) if features else x


class GRU(nn.Module):
    """A GRU unrolled over time, restarted where an episode begins (torch.nn.GRUCell).

    ``r = s(W_ir x + b_ir + W_hr h + b_hr)``, z likewise,
    ``n = tanh(W_in x + b_in + r (W_hn h + b_hn))``, ``h' = (1 - z) n + z h``. Gates are packed
    (reset, update, new). Both bias vectors are kept although one is redundant for r and z: under
    Adam two copies of a bias move twice as far as one, and parity would be lost.
    """

    features: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "T *B I"], h: Float[Array, "*B H"], first: Bool[Array, "T *B"]
    ) -> tuple[Float[Array, "*B H"], Float[Array, "T *B H"]]:
        """Returns the last hidden state and all hidden states ``[T, *B, H]``."""
        size = self.features
        init = uniform_fan(size)  # torch uses the hidden size for all six matrices
        w_ih = self.param("kernel_ih", init, (x.shape[-1], 3 * size))
        b_ih = self.param("bias_ih", init, (3 * size,))
        w_hh = self.param("kernel_hh", init, (size, 3 * size))
        b_hh = self.param("bias_hh", init, (3 * size,))
        time, *batch = first.shape
        # All time steps in one matrix product; rows flattened as in `Linear`.
        gates_x = (x.reshape(-1, x.shape[-1]) @ w_ih + b_ih[None]).reshape(time, -1, 3 * size)

        def step(h, inputs):
            gx, start = inputs
            h = jnp.where(start[:, None], 0, h)
            xr, xz, xn = jnp.split(gx, 3, axis=-1)
            hr, hz, hn = jnp.split(h @ w_hh + b_hh[None], 3, axis=-1)
            r, z = nn.sigmoid(xr + hr), nn.sigmoid(xz + hz)
            h = (1 - z) * jnp.tanh(xn + r * hn) + z * h
            return h, h

        last, hs = jax.lax.scan(step, h.reshape(-1, size), (gates_x, first.reshape(time, -1)))
        return last.reshape(*batch, size), hs.reshape(time, *batch, size)
