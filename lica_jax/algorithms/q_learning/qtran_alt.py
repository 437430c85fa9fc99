"""QTRAN-alt: QTRAN with counterfactual joint values (Son et al., ICML 2019, section 4.3).

One pass of the joint network gives ``Q_jt(s, (v, u_-i))`` for every action v of agent i, so that
the utilities can be held to it at the *worst* alternative of every agent instead of at the joint
action that happened to be taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from lica_jax.algorithms.q_learning import qtran, shared
from lica_jax.algorithms.q_learning.shared import Networks, Params, td_targets
from lica_jax.core.masking import masked_mean, take_action
from lica_jax.networks.qtran import CounterfactualJointValue
from lica_jax.types import Algorithm, TaskSpec, Trajectory, number


@dataclass(frozen=True)
class Config(qtran.SharedConfig):
    """Q-learning's choices, and ``mixing_embed``."""


@struct.dataclass
class HParams(qtran.HParams):
    """QTRAN's numbers; both weights are the paper's.

    Attributes:
      nopt_weight: weight of the loss at every agent's worst alternative action (L_nopt).
    """

    nopt_weight: float = number(1.0, low=0)


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds QTRAN-alt for a task."""
    return shared.algorithm(make_networks(config, spec), HParams())


def make_networks(config: Config, spec: TaskSpec) -> Networks:
    """The networks of QTRAN-alt; initialises nothing."""
    joint = CounterfactualJointValue(config.mixing_embed, config.hidden, spec.n_actions)
    return qtran.networks(config, spec, joint, objective)


def objective(
    params: Params, nets: Networks, target: Params, traj: Trajectory, hp: HParams
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The losses of QTRAN-alt, each a mean over transitions and agents.

    ``L_td`` and ``L_opt`` are QTRAN-base's for every agent's own joint value. ``L_nopt`` is the
    square of ``min_v [Q_i(v) + sum_{j != i} Q_j(u_j) - Q_jt,i(v, u_-i) + V]`` over the available
    actions v, not clipped at 0.
    """
    unrolled = qtran.unroll_agents(params, nets, target, traj)
    constant = jax.lax.stop_gradient

    def joint(params, features, action):
        actions = qtran.one_hot(action, nets, unrolled.q.dtype)
        return nets.mixer.apply(params.mixer, unrolled.state, features, actions, method="q")

    alternatives = joint(params, unrolled.features, traj.action)[:-1]  # [T, B, N, A]
    taken = take_action(alternatives, traj.action[:-1])
    at_greedy = joint(params, unrolled.features, unrolled.best)
    best = constant(take_action(at_greedy, unrolled.best))[:-1]
    following = joint(target, unrolled.target_features, unrolled.following)
    y = td_targets(take_action(following, unrolled.following), traj, hp)
    v = nets.mixer.apply(params.mixer, unrolled.state, unrolled.features, method="v")[:-1, :, None]
    q = unrolled.q[:-1]
    at_best = jnp.sum(take_action(q, unrolled.best[:-1]), axis=-1, keepdims=True)
    mine = take_action(q, traj.action[:-1])
    others = jnp.sum(mine, axis=-1, keepdims=True) - mine

    gap = q + (others + v)[..., None] - constant(alternatives)
    worst = smallest_available(gap, traj.steps.avail[:-1])
    loss, metrics = qtran.weighted((taken - y, at_best - best + v, worst), traj.valid, hp)
    return loss, metrics | {
        "td_error_abs": masked_mean(jnp.abs(taken - y), traj.valid),
        "q_taken_mean": masked_mean(taken, traj.valid),
        "target_mean": masked_mean(y, traj.valid),
        "v_mean": masked_mean(v[..., 0], traj.valid),
    }


def smallest_available(x: Float[Array, "... A"], avail) -> Float[Array, "..."]:
    """The smallest available entry; 0 for a row without one (padding)."""
    smallest = jnp.min(jnp.where(avail, x, jnp.inf), axis=-1)
    return jnp.where(jnp.any(avail, axis=-1), smallest, 0)
