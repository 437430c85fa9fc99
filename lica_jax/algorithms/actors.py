"""Decentralised actors: what every policy-based algorithm here shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from lica_jax.networks.agents import FeedForwardAgent, RecurrentAgent
from lica_jax.types import TaskSpec, Trajectory

PyTree = Any
NO_ACTION = -1  # "no previous action"; its one-hot is all zeros


@struct.dataclass
class ActorCarry:
    """A policy's memory between steps."""

    hidden: Float[Array, "B N H"]
    last_action: Int[Array, "B N"]


class Actor(NamedTuple):
    """An agent network for all N agents at once.

    Attributes:
      init: ``key -> params``.
      initial_carry: ``batch -> ActorCarry``.
      unroll: ``(params, obs[T, B, N, O], last_action[T, B, N], first[T, B], hidden[B, N, H]) ->
        (hidden, outputs[T, B, N, A])``.
    """

    init: Callable[[Array], PyTree]
    initial_carry: Callable[[int], ActorCarry]
    unroll: Callable[..., tuple[Array, Array]]


def make_actor(
    spec: TaskSpec, *, network: str, hidden: int, share_params: bool, agent_id: bool,
    last_action: bool,
) -> Actor:  # fmt: skip
    """Builds the actor of PyMARL's agents: input ``[obs, one-hot last action, one-hot id]``.

    With ``share_params`` one network serves all agents; otherwise every leaf of the parameters has
    a leading axis N.
    """
    n, n_actions = spec.n_agents, spec.n_actions
    recurrent = network == "gru"
    module = (RecurrentAgent if recurrent else FeedForwardAgent)(n_actions, hidden)
    # A feed-forward agent has no memory; width 1, since checkpoints hold no arrays of size zero.
    hidden_size = hidden if recurrent else 1

    def inputs(obs, previous):
        parts = [obs]
        if last_action:
            parts.append(jax.nn.one_hot(previous, n_actions, dtype=obs.dtype))
        if agent_id:
            parts.append(jnp.broadcast_to(jnp.eye(n, dtype=obs.dtype), (*obs.shape[:-1], n)))
        return jnp.concatenate(parts, axis=-1)

    def init(key):
        obs, previous = jnp.zeros((1, 1, n, spec.obs_size)), jnp.zeros((1, 1, n), jnp.int32)
        x, h = inputs(obs, previous)[:, :, 0], jnp.zeros((1, hidden_size))
        first = jnp.ones((1, 1), bool)

        def init_one(key):
            return module.init(key, x, h, first)

        return init_one(key) if share_params else jax.vmap(init_one)(jax.random.split(key, n))

    def initial_carry(batch):
        return ActorCarry(
            hidden=jnp.zeros((batch, n, hidden_size)),
            last_action=jnp.full((batch, n), NO_ACTION, jnp.int32),
        )

    def unroll(params, obs, previous, first, h):
        x = inputs(obs, previous)
        if share_params:
            return module.apply(params, x, h, jnp.broadcast_to(first[..., None], x.shape[:-1]))
        per_agent = jax.vmap(module.apply, in_axes=(0, 2, 1, None), out_axes=(1, 2))
        return per_agent(params, x, h, first)

    return Actor(init, initial_carry, unroll)


def previous_actions(traj: Trajectory) -> Int[Array, "T+1 B N"]:
    """The joint action before each slot; ``NO_ACTION`` at the start of an episode."""
    previous = jnp.concatenate([traj.carry.last_action[None], traj.action[:-1]])
    return jnp.where(traj.steps.first[..., None], NO_ACTION, previous)


def actor_step(
    actor: Actor, params: PyTree, carry: ActorCarry, obs: Float[Array, "B N O"],
    first: Bool[Array, " B"],
) -> tuple[Float[Array, "B N H"], Float[Array, "B N A"]]:  # fmt: skip
    """One time step of ``actor.unroll``: returns the new hidden state and the outputs."""
    previous = jnp.where(first[:, None], NO_ACTION, carry.last_action)
    h, out = actor.unroll(params, obs[None], previous[None], first[None], carry.hidden)
    return h, out[0]
