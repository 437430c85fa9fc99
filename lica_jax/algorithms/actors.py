"""Decentralised actors: what every policy-based algorithm here shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PyTree

from lica_jax.algorithms.heads import Head, make_head
from lica_jax.algorithms.settings import AgentSettings
from lica_jax.core.parts import unrolling
from lica_jax.networks.agents import FeedForwardAgent, RecurrentAgent
from lica_jax.types import Acting, TaskSpec, TimeStep, Trajectory


@struct.dataclass
class ActorCarry:
    """A policy's memory between steps."""

    hidden: Float[Array, "B N H"]
    last_action: Array  # as `Trajectory.action`, without time


class Actor(NamedTuple):
    """An agent network for all N agents at once.

    Attributes:
      init: ``key -> params``.
      initial_carry: ``batch -> ActorCarry``.
      unroll: ``(params, obs[T, B, N, O], last_action[T, B, N], first[T, B], hidden[B, N, H]) ->
        (hidden, outputs[T, B, N, P])``, P numbers per policy.
      features: as ``unroll``, with a third result: what the outputs are made of ``[T, B, N, H]``
        (of a recurrent agent its hidden states).
      head: what the outputs mean.
      acting: the same as data, for those who sample from the head.
    """

    init: Callable[[Array], PyTree]
    initial_carry: Callable[[int], ActorCarry]
    unroll: Callable[..., tuple[Array, Array]]
    features: Callable[..., tuple[Array, Array, Array]]
    head: Head
    acting: Acting


def make_actor(spec: TaskSpec, config: AgentSettings) -> Actor:
    """Builds the actor of PyMARL's agents: input ``[obs, one-hot last action, one-hot id]``.

    Continuous actions enter as they are.

    With shared parameters one network serves all agents; otherwise every leaf of the parameters has
    a leading axis N.
    """
    n, head = spec.n_agents, make_head(spec)
    recurrent, hidden = config.network == "gru", config.hidden
    kind = RecurrentAgent if recurrent else FeedForwardAgent
    module = kind(head.n_outputs, hidden)
    # A feed-forward agent has no memory; of width 1, as its checkpoints and exports have it.
    hidden_size = hidden if recurrent else 1

    def inputs(obs, previous):
        parts = [obs]
        if config.last_action:
            parts.append(head.encode(previous, obs.dtype))
        if config.agent_id:
            parts.append(jnp.broadcast_to(jnp.eye(n, dtype=obs.dtype), (*obs.shape[:-1], n)))
        return jnp.concatenate(parts, axis=-1)

    def init(key):
        obs = jnp.zeros((1, 1, n, spec.obs_size))
        previous = jnp.zeros((1, 1, n, *head.shape), head.dtype)
        x, h = inputs(obs, previous)[:, :, 0], jnp.zeros((1, hidden_size))
        first = jnp.ones((1, 1), bool)

        def init_one(key):
            return module.init(key, x, h, first)

        return (
            init_one(key) if config.share_params else jax.vmap(init_one)(jax.random.split(key, n))
        )

    def initial_carry(batch):
        return ActorCarry(
            hidden=jnp.zeros((batch, n, hidden_size)),
            last_action=jnp.full((batch, n, *head.shape), head.no_action, head.dtype),
        )

    @unrolling()
    def features(params, obs, previous, first, h):
        x = inputs(obs, previous)
        if config.share_params:
            return module.apply(params, x, h, jnp.broadcast_to(first[..., None], x.shape[:-1]))
        per_agent = jax.vmap(module.apply, in_axes=(0, 2, 1, None), out_axes=(1, 2, 2))
        return per_agent(params, x, h, first)

    def unroll(*args):
        return features(*args)[:2]

    choice = "gaussian" if spec.continuous else "softmax"
    acting = Acting(kind.layers, config.share_params, config.last_action, config.agent_id, choice)
    return Actor(init, initial_carry, unroll, features, head, acting.under("params"))


def activation_bytes(rows: int, hidden: int, n_outputs: int) -> int:
    """About what a recurrent network holds over so many rows while it is learned: float32.

    Gates, hidden states and inputs of a GRU are ten times its width, once as values and once as
    cotangents.
    """
    return 2 * 4 * rows * (10 * hidden + 2 * n_outputs)


def features_over(
    actor: Actor, params: PyTree, traj: Trajectory
) -> tuple[Float[Array, "T+1 B N P"], Float[Array, "T+1 B N H"]]:
    """Outputs and features at every slot of a trajectory, given the actions played in it."""
    previous = previous_actions(actor.head, traj)
    steps = traj.steps
    return actor.features(params, steps.obs, previous, steps.first, traj.carry.hidden)[1:]


def unroll_over(actor: Actor, params: PyTree, traj: Trajectory) -> Float[Array, "T+1 B N P"]:
    """The outputs at every slot of a trajectory, given the actions played in it."""
    return features_over(actor, params, traj)[0]


class StateSettings(Protocol):
    """What a critic's or mixer's state has behind the task's own."""

    @property
    def state_last_action(self) -> bool: ...
    @property
    def state_obs(self) -> bool: ...


def joint_state(actor: Actor, traj: Trajectory, config: StateSettings) -> Float[Array, "T+1 B S"]:
    """The critic's state: the task's, with all agents' observations and previous actions behind it
    where ``config`` asks for them."""
    previous = previous_actions(actor.head, traj) if config.state_last_action else None
    return _with_views(actor.head, traj.steps, previous, config.state_obs)


def state_now(
    actor: Actor, carry: ActorCarry, ts: TimeStep, config: StateSettings
) -> Float[Array, "B S"]:
    """`joint_state` of one moment, of which ``carry`` is the memory from before it."""
    wanted = config.state_last_action
    previous = forget(actor.head, carry.last_action, ts.first) if wanted else None
    return _with_views(actor.head, ts, previous, config.state_obs)


def _with_views(head: Head, ts: TimeStep, previous: Array | None, obs: bool) -> Array:
    parts = [ts.state]
    if obs:
        parts.append(ts.obs)
    if previous is not None:
        parts.append(head.encode(previous, ts.state.dtype))
    rows = ts.state.shape[:-1]
    return jnp.concatenate([x.reshape(*rows, -1) for x in parts], axis=-1)


def joint_state_size(actor: Actor, spec: TaskSpec, config: StateSettings) -> int:
    """S of `joint_state`."""
    actions = actor.head.n_encoded if config.state_last_action else 0
    return spec.state_size + spec.n_agents * (actions + config.state_obs * spec.obs_size)


def previous_actions(head: Head, traj: Trajectory) -> Array:
    """The joint action before each slot ``[T+1, B, N, ...]``; none at the start of an episode."""
    previous = jnp.concatenate([traj.carry.last_action[None], traj.action[:-1]])
    return forget(head, previous, traj.steps.first)


def forget(head: Head, previous: Array, first: Bool[Array, "*B"]) -> Array:
    """Previous actions ``[*B, N, ...]`` with those from before an episode's start struck out."""
    start = first.reshape(first.shape + (1,) * (previous.ndim - first.ndim))
    return jnp.where(start, jnp.asarray(head.no_action, previous.dtype), previous)


def actor_step(
    actor: Actor, params: PyTree, carry: ActorCarry, obs: Float[Array, "B N O"],
    first: Bool[Array, " B"],
) -> tuple[Float[Array, "B N H"], Float[Array, "B N P"]]:  # fmt: skip
    """One time step of ``actor.unroll``: returns the new hidden state and the outputs."""
    previous = forget(actor.head, carry.last_action, first)
    h, out = actor.unroll(params, obs[None], previous[None], first[None], carry.hidden)
    return h, out[0]
