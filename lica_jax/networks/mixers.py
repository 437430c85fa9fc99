"""Mixers: individual values of all agents to values of the team."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from lica_jax.networks.layers import MLP


class NoMixer(nn.Module):
    """Independent learning: every agent's value is a value of its own, K = N."""

    def __call__(
        self, q: Float[Array, "*B N"], state: Float[Array, "*B S"]
    ) -> Float[Array, "*B N"]:
        del state
        return q


class SumMixer(nn.Module):
    """VDN: ``Q_tot = sum_i Q_i`` (Sunehag et al., AAMAS 2018), K = 1."""

    def __call__(
        self, q: Float[Array, "*B N"], state: Float[Array, "*B S"]
    ) -> Float[Array, "*B 1"]:
        del state
        return jnp.sum(q, axis=-1, keepdims=True)


class MonotonicMixer(nn.Module):
    """QMIX: ``Q_tot = |w2(s)|^T elu(|W1(s)|^T q + b1(s)) + V(s)``, K = 1.

    Rashid et al., ICML 2018. The absolute values make Q_tot increase with every Q_i. Layers are
    named as in PyMARL.

    Attributes:
      embed: E, width of the mixing network.
      hypernet_layers: 1 or 2, of the hypernetworks that make W1 and w2.
      hypernet_hidden: their width where they have two layers.
    """

    embed: int = 32
    hypernet_layers: int = 2
    hypernet_hidden: int = 64

    @nn.compact
    def __call__(
        self, q: Float[Array, "*B N"], state: Float[Array, "*B S"]
    ) -> Float[Array, "*B 1"]:
        n, embed = q.shape[-1], self.embed
        hidden = (self.hypernet_hidden,) * (self.hypernet_layers - 1)
        w1 = jnp.abs(MLP((*hidden, n * embed), name="hyper_w_1")(state))
        b1 = MLP((embed,), name="hyper_b_1")(state)
        w2 = jnp.abs(MLP((*hidden, embed), name="hyper_w_final")(state))
        v = MLP((embed, 1), name="V")(state)
        # N is small: a sum of products beats a batch of tiny matrix products.
        mixed = jnp.sum(q[..., None] * w1.reshape(*q.shape, embed), axis=-2)
        return jnp.sum(nn.elu(mixed + b1) * w2, axis=-1, keepdims=True) + v
