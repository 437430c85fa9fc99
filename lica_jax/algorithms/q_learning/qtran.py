"""QTRAN-base: learning to factorise with transformation (Son et al., ICML 2019), as in PyMARL.

A joint value Q_jt(s, u) is learned from rewards without any restriction; the agents' utilities
need not add up to it, only to rank joint actions as it does: equal to it at the greedy joint action
and nowhere below it, up to V(s).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lica_jax.algorithms.actors import features_over, joint_state, joint_state_size, make_actor
from lica_jax.algorithms.q_learning import settings, shared
from lica_jax.algorithms.q_learning.shared import Networks, Params, greedy, td_targets
from lica_jax.algorithms.settings import for_task, state_problems
from lica_jax.core.masking import masked_mean, take_action
from lica_jax.networks.qtran import JointValue
from lica_jax.types import Algorithm, Collect, TaskSpec, Trajectory, number


@dataclass(frozen=True)
class SharedConfig(settings.Config):
    """Choices of both QTRANs.

    Attributes:
      mixing_embed: E, width of the hidden layers of the joint networks Q_jt and V.
    """

    mixing_embed: int = 64

    def problems(self, spec: TaskSpec, collect: Collect) -> list[str]:
        own = state_problems(spec, self.state_obs, "mixing network", "iql or vdn")
        return super().problems(spec, collect) + own


@dataclass(frozen=True)
class Config(SharedConfig):
    """Q-learning's choices, and the joint network's.

    Attributes:
      network_size: hidden layers of the joint networks Q_jt and V: 2 ("small") or 3 ("big").
      joint_input: what Q_jt reads in addition to the state: an encoding of every agent's features
        and action, summed over agents ("encoded", PyMARL's qtran_paper), or all one-hot actions
        ("actions", PyMARL's coma_critic).
    """

    network_size: Literal["small", "big"] = "small"
    joint_input: Literal["encoded", "actions"] = "encoded"


@struct.dataclass
class HParams(settings.HParams):
    """Q-learning's numbers, and the weights of the three losses (the TD loss has weight 1).

    Attributes:
      opt_weight: weight of the loss at the greedy joint action (L_opt); the TD loss has weight 1.
      nopt_weight: weight of the loss at the joint actions taken (L_nopt): 0.1 in PyMARL, 1 in the
        paper.
    """

    opt_weight: float = number(1.0, low=0)
    nopt_weight: float = number(0.1, low=0)


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds QTRAN-base for a task."""
    return shared.algorithm(make_networks(config, spec), HParams())


def make_networks(config: Config, spec: TaskSpec) -> Networks:
    """The networks of QTRAN-base; initialises nothing."""
    joint = JointValue(
        config.mixing_embed,
        {"small": 2, "big": 3}[config.network_size],
        config.joint_input == "encoded",
        config.hidden + spec.n_actions,
    )
    return networks(config, spec, joint, objective)


def networks(config: SharedConfig, spec: TaskSpec, joint, objective) -> Networks:
    """Agents and a joint network with the methods ``q`` and ``v``."""
    config = for_task(config, spec)
    agent = make_actor(spec, config)
    size = joint_state_size(agent, spec, config)
    n = spec.n_agents

    def init(key):
        zeros = jnp.zeros(size), jnp.zeros((n, config.hidden)), jnp.zeros((n, spec.n_actions))
        return joint.init(key, **dict(zip(("state", "features", "action"), zeros, strict=True)))

    return Networks(agent, joint, objective, init, config, spec, size)


class Unrolled(NamedTuple):
    """What both objectives are made of; slots 0..T."""

    q: Float[Array, "T+1 B N A"]  # utilities
    features: Float[Array, "T+1 B N H"]
    target_features: Float[Array, "T+1 B N H"]
    state: Float[Array, "T+1 B S"]
    best: Int[Array, "T+1 B N"]  # the greedy joint action of the utilities
    following: Int[Array, "T+1 B N"]  # the joint action that targets look up


def unroll_agents(params: Params, nets: Networks, target: Params, traj: Trajectory) -> Unrolled:
    """Unrolls online and target agents."""
    q, features = features_over(nets.agent, params.agent, traj)
    target_q, target_features = features_over(nets.agent, target.agent, traj)
    state = joint_state(nets.agent, traj, nets.config)
    best = greedy(jax.lax.stop_gradient(q), traj.steps.avail)
    following = best if nets.config.double_q else greedy(target_q, traj.steps.avail)
    return Unrolled(q, features, target_features, state, best, following)


def one_hot(action: Int[Array, "*B N"], nets: Networks, dtype) -> Float[Array, "*B N A"]:
    return jax.nn.one_hot(action, nets.spec.n_actions, dtype=dtype)


def weighted(
    errors: tuple[Array, Array, Array], mask: Array, hp: HParams
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """``L_td + w_opt L_opt + w_nopt L_nopt``, each a mean of squared errors."""
    losses = [masked_mean(jnp.square(e), mask) for e in errors]
    weights = 1.0, hp.opt_weight, hp.nopt_weight
    named = dict(zip(("td_loss", "opt_loss", "nopt_loss"), losses, strict=True))
    return sum(w * x for w, x in zip(weights, losses, strict=True)), named


def objective(
    params: Params, nets: Networks, target: Params, traj: Trajectory, hp: HParams
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The losses of the paper's Eq. 3 to 5 (QTRAN-base).

    ``L_td = (Q_jt(u) - y)^2`` with ``y = r + gamma Q'_jt(s', u*')``;
    ``L_opt = (sum_i max Q_i - Q_jt(u*) + V)^2``;
    ``L_nopt = min(0, sum_i Q_i(u_i) - Q_jt(u) + V)^2``.
    Q_jt is a constant in the latter two. Its gradient reaches the agents through their features.
    """
    unrolled = unroll_agents(params, nets, target, traj)
    dtype = unrolled.q.dtype

    def joint(params, features, action):
        actions = one_hot(action, nets, dtype)
        return nets.mixer.apply(params.mixer, unrolled.state, features, actions, method="q")

    constant = jax.lax.stop_gradient
    taken = joint(params, unrolled.features, traj.action)[:-1]
    best = constant(joint(params, unrolled.features, unrolled.best))[:-1]
    following = joint(target, unrolled.target_features, unrolled.following)
    y = td_targets(following[..., None], traj, hp)[..., 0]
    v = nets.mixer.apply(params.mixer, unrolled.state, method="v")[:-1]
    at_best = jnp.sum(take_action(unrolled.q, unrolled.best), axis=-1)[:-1]
    at_taken = jnp.sum(take_action(unrolled.q, traj.action), axis=-1)[:-1]

    opt = at_best - best + v
    nopt = jnp.minimum(at_taken - constant(taken) + v, 0)
    loss, metrics = weighted((taken - y, opt, nopt), traj.valid, hp)
    return loss, metrics | {
        "td_error_abs": masked_mean(jnp.abs(taken - y), traj.valid),
        "q_taken_mean": masked_mean(taken, traj.valid),
        "target_mean": masked_mean(y, traj.valid),
        "v_mean": masked_mean(v, traj.valid),
    }
