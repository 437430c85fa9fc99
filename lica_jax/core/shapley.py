"""Coalitions for sampled Shapley values (Shapley, 1953; SQDDPG, Wang et al., AAAI 2020).

Agents join one after another in a random order. An agent's coalition is itself and everybody before
it; its Shapley value is its marginal contribution on joining, in the mean over orders.
"""

from __future__ import annotations

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Permutation = Literal["fixed", "repo2020"]


def draw_positions(key: Array, shape: tuple[int, ...], n_agents: int) -> Int[Array, "*B N"]:
    """Uniform random orders: ``positions[..., i]`` is agent i's place, 0 for who joins first."""
    luck = jax.random.uniform(key, (*shape, n_agents))
    mine, others = luck[..., :, None], luck[..., None, :]
    lower = jnp.broadcast_to(jnp.tri(n_agents, k=-1, dtype=bool), (*shape, n_agents, n_agents))
    # Ranks by comparison, since N is small; equal draws are told apart by index.
    before = (others < mine) | ((others == mine) & lower)
    return jnp.sum(before, axis=-1, dtype=jnp.int32)


def coalition_slots(
    positions: Int[Array, "*B N"], permutation: Permutation
) -> Bool[Array, "*B N N N"]:
    """``[..., i, k, j]``: whether slot k of agent i's coalition holds agent j.

    Slots are filled in the order of joining, and those behind agent i's own stay empty:
    ``positions[j] = k <= positions[i]``.

    With ``permutation`` "repo2020" the same numbers are read in two ways, as the SQDDPG repository
    did until March 2022 (a27c2e7): slot k holds agent ``positions[k]``, and still k <=
    positions[i] is kept. An agent is then missing from its own coalition in 3 of 18 cases with
    three agents.
    """
    slot = jnp.broadcast_to(jnp.arange(positions.shape[-1]), positions.shape)
    if permutation == "fixed":
        holds = positions[..., None, :] == slot[..., None]  # [..., k, j]
    elif permutation == "repo2020":
        holds = positions[..., :, None] == slot[..., None, :]
    else:
        raise ValueError(f"permutation {permutation!r} is not one of {get_args(Permutation)}")
    joined = slot[..., None, :] <= positions[..., None]  # [..., i, k]
    return holds[..., None, :, :] & joined[..., None]


def coalition_actions(
    slots: Bool[Array, "*B N N N"], action: Float[Array, "*#B N N A"]
) -> Float[Array, "*B N N A"]:
    """``[..., i, k]``: the action in slot k of agent i's coalition; zeros where it is empty.

    ``action[..., i, j]`` is agent j's action as agent i's critic reads it.
    """
    return jnp.einsum("...ikj,...ija->...ika", slots.astype(action.dtype), action)
