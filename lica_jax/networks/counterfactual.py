"""What the critics of COMA and LIIR read, and what LIIR's makes of it beside values."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from lica_jax.networks.layers import Linear

MAX_INTRINSIC = 10.0  # bound of an intrinsic reward before its weight, as in the LIIR code


def critic_inputs(
    state: Float[Array, "*B S"],
    obs: Float[Array, "*B N O"],
    action: Float[Array, "*B N A"],
    previous: Float[Array, "*B N A"],
) -> tuple[Float[Array, "*B #N F_p"], ...]:
    """``state; own obs, all actions, the own one zeroed; all previous actions; one-hot index``.

    One row per agent: what its values of *its* actions may depend on. Actions are one-hot. State
    and previous actions are the same for all agents and stand in one row (`product_of_parts`).
    """
    n, size = action.shape[-2:]
    eye = jnp.eye(n, dtype=obs.dtype)
    batch = obs.shape[:-2]
    others = action[..., None, :, :] * (1 - eye).reshape((1,) * len(batch) + (n, n, 1))
    return (
        state[..., None, :],
        jnp.concatenate([obs, others.reshape(*batch, n, n * size)], axis=-1),
        previous.reshape(*batch, 1, n * size),
        jnp.broadcast_to(eye, (*batch, n, n)),
    )


class IntrinsicHeads(nn.Module):
    """LIIR's heads on the features of its critic (Du et al., NeurIPS 2019).

    ``r_in = 10 tanh(W h_a / 10)``, an intrinsic reward of every action of every agent, and
    ``v_ex = w . [h_1; ...; h_N]``, the extrinsic value of the team.
    """

    n_actions: int

    @nn.compact
    def __call__(
        self, features: Float[Array, "*B N H"]
    ) -> tuple[Float[Array, "*B N A"], Float[Array, "*B"]]:
        r_in = Linear(self.n_actions, name="r_in")(features)
        joined = features.reshape(*features.shape[:-2], -1)
        v_ex = Linear(1, name="v_ex")(joined)[..., 0]
        return MAX_INTRINSIC * nn.tanh(r_in / MAX_INTRINSIC), v_ex
