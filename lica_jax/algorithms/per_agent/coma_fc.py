"""COMA with feed-forward networks for particle tasks, as the SQDDPG repository has it.

Counterfactual multi-agent policy gradients (Foerster et al., AAAI 2018): critic i answers the value
of each of agent i's actions, given what everybody else did, and the advantage of the action taken
is its value less the mean over agent i's policy. On-policy, one-step targets, no epsilon.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, PyTree

from lica_jax.algorithms.heads import make_head, sample_index
from lica_jax.algorithms.per_agent import shared
from lica_jax.algorithms.per_agent.shared import Config, Method, Networks, Rows
from lica_jax.types import Algorithm, TaskSpec, TimeStep, number

__all__ = ["Config", "HParams", "make"]


@struct.dataclass
class HParams(shared.HParams):
    """The family's numbers, with the step sizes of this algorithm in the SQDDPG repository."""

    actor_lr: float = number(1e-3, low=0)
    critic_lr: float = number(1e-4, low=0)


def action_values(
    nets: Networks, critic: PyTree, obs: Float[Array, "K N O"], action: Float[Array, "K N A"]
) -> Float[Array, "K N A"]:
    """``Q_i(o_1 .. o_N, o_i, u_-i)``, one number for each of agent i's actions."""
    k, n = obs.shape[:2]
    everything = jnp.broadcast_to(obs.reshape(k, 1, -1), (k, n, obs[0].size))
    others = np.array([[j for j in range(n) if j != i] for i in range(n)], int)
    return nets.critic.apply(critic, everything, obs, action[:, others].reshape(k, n, -1))


def values(nets, critic, obs, action, noise) -> Float[Array, "K N"]:
    """``Q_i`` at the agents' own actions."""
    del noise
    return jnp.sum(action_values(nets, critic, obs, action) * action, axis=-1)


def next_action(logits: Float[Array, "K N A"], key: Array) -> Float[Array, "K N A"]:
    """One-hot samples of the target policies."""
    return jax.nn.one_hot(sample_index(logits, key), logits.shape[-1], dtype=logits.dtype)


def policy_losses(
    nets: Networks, critic: PyTree, logits: Float[Array, "K N A"], rows: Rows, noise: PyTree
) -> Float[Array, "K N"]:
    """``-A_i log pi_i(u_i)``, ``A_i = Q_i(u_i) - sum_a pi_i(a) Q_i(a)`` held constant."""
    del noise
    q = action_values(nets, critic, rows.obs, rows.action)
    advantage = jnp.sum(q * (rows.action - jax.nn.softmax(logits)), axis=-1)
    log_prob = jnp.sum(rows.action * jax.nn.log_softmax(logits), axis=-1)
    return -jax.lax.stop_gradient(advantage) * log_prob


def act(nets: Networks, params, carry, ts: TimeStep, key, *, hp, progress, explore):
    """Samples from the policy where ``explore``, else takes its most likely action."""
    del hp, progress
    logits = nets.actor.apply(params, ts.obs)
    return carry, make_head(nets.spec).choose(logits, ts.avail, key, explore), {}


def make_networks(config: Config, spec: TaskSpec) -> Networks:
    n, o, a = spec.n_agents, spec.obs_size, spec.n_actions
    method = Method((n + 1) * o + (n - 1) * a, a, values, next_action, policy_losses)
    return shared.make_networks(config, spec, method)


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds COMA for a task."""
    return shared.algorithm(make_networks(config, spec), act, HParams())
