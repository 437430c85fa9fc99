"""One small network per agent, all of them in one call (the SQDDPG repository's networks)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PyTree

from lica_jax.networks.layers import product_of_parts, uniform_fan
from lica_jax.types import Layer

INIT_STD = 0.1


class NormalLinear(nn.Module):
    """``y = x W + b``, W ~ N(0, 0.1^2), b ~ U(-1/sqrt(I), 1/sqrt(I)) (torch's default).

    x is given in parts; see `product_of_parts`.
    """

    features: int

    @nn.compact
    def __call__(self, *parts: Float[Array, "... I"]) -> Float[Array, "... F"]:
        size = sum(x.shape[-1] for x in parts)
        init = nn.initializers.normal(INIT_STD)
        kernel = self.param("kernel", init, (size, self.features))
        bias = self.param("bias", uniform_fan(size), (self.features,))
        out = product_of_parts(parts, kernel)
        return out + jnp.broadcast_to(bias, out.shape)


class NormalMLP(nn.Module):
    """Linear - ReLU - Linear - ReLU - Linear over the concatenation of ``parts``."""

    hidden: int
    features: int
    layers = tuple(Layer("linear", f"layer_{i}", relu=i < 2) for i in range(3))

    @nn.compact
    def __call__(self, *parts: Float[Array, "... I"]) -> Float[Array, "... F"]:
        x = nn.relu(NormalLinear(self.hidden, name="layer_0")(*parts))
        x = nn.relu(NormalLinear(self.hidden, name="layer_1")(x))
        return NormalLinear(self.features, name="layer_2")(x)


class AgentNetwork(NamedTuple):
    """N networks of one shape.

    Attributes:
      init: ``key -> params``; every leaf has a leading axis N, unless all agents share one network.
      apply: ``(params, *parts [..., N, I_p]) -> [..., N, F]``; other leading axes of the parts
        broadcast.
    """

    init: Callable[[Array], PyTree]
    apply: Callable[..., Float[Array, "... N F"]]


def agent_network(
    n_agents: int, n_inputs: int, hidden: int, n_outputs: int, share_params: bool
) -> AgentNetwork:
    """A `NormalMLP` of ``n_inputs`` numbers for each of N agents, or one for all of them."""
    module = NormalMLP(hidden, n_outputs)

    def init_one(key):
        return module.init(key, jnp.zeros((1, n_inputs)))

    if share_params:
        return AgentNetwork(init_one, module.apply)

    def init(key):
        return jax.vmap(init_one)(jax.random.split(key, n_agents))

    def apply(params, *parts):
        axes = (0, *(-2 for _ in parts))
        return jax.vmap(module.apply, in_axes=axes, out_axes=-2)(params, *parts)

    return AgentNetwork(init, apply)
