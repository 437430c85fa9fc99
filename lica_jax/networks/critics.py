"""Centralised critics."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from lica_jax.networks.layers import MLP, Linear


class MixingCritic(nn.Module):
    """LICA's critic: a hypernetwork maps the state to a network over all agents' actions.

    ``Q = relu(u W1(s) + b1(s)) . w2(s) + b2(s)`` (paper, Fig. 1b), with u the concatenation over
    agents of one-hot actions or action probabilities, M = N * A long. No absolute values: the
    critic is not monotonic in the actions.

    Attributes:
      embed: E, width of the mixing layer.
      layers: 1 or 2 linear layers in the hypernetworks of W1 and w2. The official code runs only
        with 2; with 1 its w2 has the wrong size, which is mended here.
      hyper_hidden: width of W1's hypernetwork; ``"full"`` is M * E as in the official code.
    """

    embed: int = 64
    layers: int = 2
    hyper_hidden: int | str = 64

    @nn.compact
    def __call__(self, state: Float[Array, "*B S"], u: Float[Array, "*B M"]) -> Float[Array, "*B"]:
        m, e = u.shape[-1], self.embed
        hidden = m * e if self.hyper_hidden == "full" else self.hyper_hidden
        deep = self.layers == 2
        w1 = MLP((hidden, m * e) if deep else (m * e,), name="hyper_w_1")(state)
        w2 = MLP((e, e) if deep else (e,), name="hyper_w_final")(state)
        b1 = Linear(e, name="hyper_b_1")(state)
        b2 = MLP((e, 1), name="hyper_b_2")(state)[..., 0]
        w1 = w1.reshape(*w1.shape[:-1], m, e)
        hidden_values = nn.relu(jnp.einsum("...m,...me->...e", u, w1) + b1)
        return jnp.sum(hidden_values * w2, axis=-1) + b2
