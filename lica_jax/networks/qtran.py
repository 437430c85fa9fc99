"""QTRAN's networks: values of joint actions and of states (Son et al., ICML 2019)."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from lica_jax.networks.layers import MLP

State = Float[Array, "*B S"]
Features = Float[Array, "*B N H"]  # of every agent's network
OneHot = Float[Array, "*B N A"]


class JointValue(nn.Module):
    """QTRAN-base: ``Q_jt(s, h, u)`` and ``V(s)``. Layers are named as in PyMARL.

    Attributes:
      embed: E, width of both networks.
      layers: their hidden layers (PyMARL's "small": 2, "big": 3).
      encode: read ``sum_i f(h_i, u_i)`` ("qtran_paper") or, without, all actions ("coma_critic").
      encoding: length of f's input and output, H + A.
    """

    embed: int
    layers: int
    encode: bool
    encoding: int

    def setup(self):
        widths = (*(self.embed,) * self.layers, 1)
        self.joint = MLP(widths, name="Q")
        self.state_value = MLP(widths, name="V")
        if self.encode:
            self.action_encoding = MLP((self.encoding, self.encoding))

    def __call__(self, state: State, features: Features, action: OneHot):
        """Both values, each ``[*B]``."""
        return self.q(state, features, action), self.v(state)

    def q(self, state: State, features: Features, action: OneHot) -> Float[Array, "*B"]:
        if self.encode:
            pairs = jnp.concatenate([features, action], axis=-1)
            played = jnp.sum(self.action_encoding(pairs), axis=-2)
        else:
            played = action.reshape(*action.shape[:-2], -1)
        return self.joint(jnp.concatenate([state, played], axis=-1))[..., 0]

    def v(self, state: State) -> Float[Array, "*B"]:
        return self.state_value(state)[..., 0]


class CounterfactualJointValue(nn.Module):
    """QTRAN-alt: ``Q_jt(s, h, (v, u_-i))`` for every agent i and action v, and ``V(s, h)``.

    Attributes:
      embed: E, width of both networks.
      features: H.
      n_actions: A.
    """

    embed: int
    features: int
    n_actions: int

    def setup(self):
        self.hidden_encoding = MLP((self.features, self.features))
        self.action_encoding = MLP((self.n_actions, self.n_actions))
        self.value_encoding = MLP((self.features, self.features))
        self.joint = MLP((self.embed, self.embed, self.n_actions), name="Q")
        self.state_value = MLP((self.embed, self.embed, 1), name="V")

    def __call__(self, state: State, features: Features, action: OneHot):
        """``(q [*B, N, A], v [*B])``."""
        return self.q(state, features, action), self.v(state, features)

    def q(self, state: State, features: Features, action: OneHot) -> OneHot:
        n = action.shape[-2]
        memory = jnp.sum(self.hidden_encoding(features), axis=-2)
        played = self.action_encoding(action)
        others = jnp.sum(played, axis=-2, keepdims=True) - played
        shared = jnp.concatenate([state, memory], axis=-1)[..., None, :]
        shared = jnp.broadcast_to(shared, (*others.shape[:-1], shared.shape[-1]))
        agent = jnp.broadcast_to(jnp.eye(n, dtype=state.dtype), (*others.shape[:-1], n))
        return self.joint(jnp.concatenate([shared, agent, others], axis=-1))

    def v(self, state: State, features: Features) -> Float[Array, "*B"]:
        memory = jnp.sum(self.value_encoding(features), axis=-2)
        return self.state_value(jnp.concatenate([state, memory], axis=-1))[..., 0]
