"""Agent networks: observation (and memory) to one output per action."""

from __future__ import annotations

from flax import linen as nn
from jaxtyping import Array, Bool, Float

from lica_jax.networks.layers import GRU, MLP, Linear
from lica_jax.types import Layer


class RecurrentAgent(nn.Module):
    """PyMARL's agent: Linear - ReLU - GRU - Linear, unrolled over a whole segment."""

    n_outputs: int
    hidden: int = 64
    layers = Layer("linear", "fc1", relu=True), Layer("gru", "rnn"), Layer("linear", "fc2")

    @nn.compact
    def __call__(
        self, x: Float[Array, "T *B I"], h: Float[Array, "*B H"], first: Bool[Array, "T *B"]
    ) -> tuple[Float[Array, "*B H"], Float[Array, "T *B A"], Float[Array, "T *B H"]]:
        """Returns the last hidden state, the outputs, and the features they are made of."""
        x = nn.relu(Linear(self.hidden, name="fc1")(x))
        h, hs = GRU(self.hidden, name="rnn")(x, h, first)
        return h, Linear(self.n_outputs, name="fc2")(hs), hs


class FeedForwardAgent(nn.Module):
    """Linear - ReLU - Linear - ReLU - Linear; keeps the recurrent agent's signature.

    The hidden state is passed through untouched, so that callers need no second code path.

    Attributes:
      n_outputs: outputs of the last layer.
      hidden: width of the two layers before it.
      layer_norm: normalise what goes into each ReLU; `layers` does not know of it.
    """

    n_outputs: int
    hidden: int = 64
    layer_norm: bool = False
    layers = tuple(Layer("linear", f"mlp/layer_{i}", relu=i < 2) for i in range(3))

    @nn.compact
    def __call__(self, x, h, first):
        widths = self.hidden, self.hidden, self.n_outputs
        mlp = MLP(widths, layer_norm=self.layer_norm, name="mlp")
        return h, *mlp(x, features=True)
