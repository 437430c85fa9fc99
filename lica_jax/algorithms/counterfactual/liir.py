"""LIIR: learning individual intrinsic rewards (Du et al., NeurIPS 2019).

Every agent is trained on the team's reward plus an intrinsic reward of its own. The intrinsic
rewards are learned too, by a gradient through the actor's step: so that the policy *after* it earns
more of the team's reward (with ``algo.meta paper``; the authors' code, the default, has its sign
the other way round and steers little).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, PyTree

from lica_jax.algorithms.actors import unroll_over
from lica_jax.algorithms.counterfactual import settings, shared
from lica_jax.algorithms.counterfactual.shared import Networks, Regression
from lica_jax.core.losses import critic_loss
from lica_jax.core.masking import mask_logits, masked_mean, take_action
from lica_jax.core.optim import init_optimiser, optimiser_step
from lica_jax.core.returns import (
    differentiable_lambda_returns,
    lambda_returns,
    standardised,
)
from lica_jax.networks.counterfactual import IntrinsicHeads
from lica_jax.types import Algorithm, Insight, Outlook, TaskSpec, Trajectory, number

__all__ = ["Config", "HParams", "make"]


@dataclass(frozen=True)
class Config(settings.Config):
    """COMA's choices, and how the intrinsic rewards are learned.

    Attributes:
      meta: gradient by which the intrinsic rewards are learned: that of the authors' code, sign
        included ("repo"), or the paper's chain rule through the actor's step ("paper"); see
        docs/algorithms/liir.md.
      standardise: advantages are standardised over all entries, padding included, as in the
        authors' code ("all"), or over valid transitions only ("valid").
    """

    meta: Literal["paper", "repo"] = "repo"
    standardise: Literal["valid", "all"] = "all"


@struct.dataclass
class HParams(settings.HParams):
    """COMA's numbers, and these. Defaults are the authors' code's.

    Attributes:
      epsilon_steps: env steps over which epsilon changes linearly from ``epsilon_start`` to
        ``epsilon_finish``.
      intrinsic_weight: weight of the intrinsic rewards, which are added to the team's reward
        (lambda in the paper).
      value_coef: weight of the extrinsic value's squared error in the loss of the critic's heads
        (intrinsic rewards, extrinsic value).
    """

    epsilon_steps: float = number(50_000.0, low=0)
    intrinsic_weight: float = number(0.01, low=0)
    value_coef: float = number(1.0, low=0)


@struct.dataclass
class Critic:
    """The critic's parameters, by the optimiser that moves them."""

    value: PyTree  # two layers and the value v_mix of every agent
    heads: PyTree  # on those layers: intrinsic rewards and the extrinsic value


@struct.dataclass
class Learner(shared.Learner):
    """Everything that is learned; ``critic`` and ``target_critic`` are each a `Critic`."""

    intrinsic_opt: PyTree


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds LIIR for a task."""
    nets = make_networks(config, spec)
    insight = Insight(partial(look, nets), lambda learner: learner.critic.value, "V_mix")
    return shared.algorithm(nets, init, update, HParams(), insight)


def make_networks(config: Config, spec: TaskSpec) -> Networks:
    """The actor, and a critic with one value v_mix for every agent; for the rest see `heads`."""
    return shared.make_networks(config, spec, 1)


def heads(nets: Networks) -> IntrinsicHeads:
    return IntrinsicHeads(nets.spec.n_actions)


def init(nets: Networks, key: Array) -> Learner:
    """Fresh networks (PyTorch's default initialisation); the target equals the critic."""
    actor_key, value_key, heads_key = jax.random.split(key, 3)
    features = jnp.zeros((nets.spec.n_agents, nets.config.critic_hidden))
    critic = Critic(shared.init_critic(nets, value_key), heads(nets).init(heads_key, features))
    return new_learner(nets, nets.actor.init(actor_key), critic, critic)


def new_learner(nets: Networks, actor: PyTree, critic: Critic, target_critic: Critic) -> Learner:
    """A learner with the given parameters before its first update."""
    return Learner(
        **shared.start(nets, actor, critic, target_critic, fitted=critic.value),
        intrinsic_opt=init_optimiser(nets.config.optimiser, critic.heads),
    )


def update(
    nets: Networks, learner: Learner, traj: Trajectory, key: Array, *, hp: HParams, progress: Any
) -> tuple[Learner, dict[str, Array]]:
    """The critic backwards through time, one step of the actor, one of the intrinsic rewards.

    Targets and intrinsic heads judge by the critic as it was before, the policies by its values on
    the way backwards, as COMA's do (the reference's order).
    """
    del key
    hp = hp.at(progress.env_steps)
    estimates = estimate(nets, learner, traj, hp)
    rows = regression(estimates, traj)
    (value, critic_opt), outputs, n_steps, metrics = shared.fit_critic(
        nets, learner.critic.value, learner.critic_opt, rows, hp
    )
    advantage = standard(nets, rows.target - outputs[..., 0], traj)
    floor = shared.epsilon(hp, progress)
    old_actor = learner.actor
    learner, shown, losses = shared.update_actor(
        nets, learner, lambda params: actor_objective(params, nets, advantage, traj, floor), hp
    )
    weight = credit(nets, old_actor, learner.actor, estimates.advantage, traj, floor)
    head_params, intrinsic_opt, intrinsic = update_heads(nets, learner, estimates, weight, traj, hp)
    learner = learner.replace(
        critic=Critic(value, head_params), critic_opt=critic_opt, intrinsic_opt=intrinsic_opt
    )
    metrics |= shown | losses | intrinsic | {"epsilon": floor}
    return shared.finish(learner, n_steps, metrics, hp)


# --- values and returns --------------------------------------------------------------------------


class Estimates(NamedTuple):
    """What the critics make of a trajectory before an update."""

    inputs: tuple[Float[Array, "T+1 B #N F_p"], ...]  # `critic_inputs`
    features: Float[Array, "T B N H"]  # online
    v_mix: Float[Array, "T+1 B N"]  # the target critic's
    mixed: Float[Array, "T B N"]  # G_mix
    extrinsic: Float[Array, "T B"]  # G_ex
    advantage: Float[Array, "T B"]  # G_ex - v_ex, standardised


def estimate(nets: Networks, learner: Learner, traj: Trajectory, hp: HParams) -> Estimates:
    """Features, values and returns; what the target critic has a part in is constant."""
    inputs, target = shared.inputs_over(nets, traj), learner.target_critic
    before = shared.but_last(inputs)
    features = nets.critic.apply(learner.critic.value, before, features=True)[1]
    v_mix, target_features = nets.critic.apply(target.value, inputs, features=True)
    target_v_ex = heads(nets).apply(target.heads, target_features)[1]
    parts = traj.steps.reward[1:], *traj.endings()
    extrinsic = lambda_returns(target_v_ex, *parts, hp.gamma, hp.td_lambda)
    mixed, v_ex = mixed_returns(learner.critic.heads, nets, features, v_mix[..., 0], traj, hp)
    advantage = standard(nets, extrinsic - v_ex, traj)
    return Estimates(inputs, features, v_mix[..., 0], mixed, extrinsic, advantage)


def mixed_returns(
    params: PyTree, nets: Networks, features: Array, v_mix: Array, traj: Trajectory, hp: HParams
) -> tuple[Float[Array, "T B N"], Float[Array, "T B"]]:
    """``G_mix``, TD(lambda) returns of ``r + weight r_in(u)``, and the online ``v_ex``.

    The gradient to the parameters of the intrinsic rewards goes through every later reward.
    """
    r_in, v_ex = heads(nets).apply(params, features)
    intrinsic = take_action(r_in, traj.action[:-1])
    reward = traj.steps.reward[1:, :, None] + hp.intrinsic_weight * intrinsic
    parts = reward, *traj.endings()
    return differentiable_lambda_returns(v_mix, *parts, hp.gamma, hp.td_lambda), v_ex


def regression(estimates: Estimates, traj: Trajectory) -> Regression:
    """v_mix of every agent is fitted to G_mix."""
    inputs, action = shared.but_last(estimates.inputs), traj.action[:-1]
    return Regression(inputs, jnp.zeros_like(action), estimates.mixed, traj.valid)


def standard(nets: Networks, x: Float[Array, "T B ..."], traj: Trajectory) -> Array:
    """``x`` with mean 0 and (unbiased) standard deviation 1 over what `Config` says."""
    counted = traj.valid if nets.config.standardise == "valid" else jnp.ones_like(traj.valid)
    return standardised(x, counted, eps=1e-8, ddof=1)


# --- the actor -----------------------------------------------------------------------------------


def alive_log_taken(probs: Float[Array, "T B N A"], traj: Trajectory) -> Float[Array, "T B N"]:
    """``log pi(u)``; 0 of the dead, whose actions do nothing."""
    return shared.log_taken(probs, traj) * traj.steps.alive[:-1]


def actor_objective(
    params: PyTree, nets: Networks, advantage: Float[Array, "T B N"], traj: Trajectory, floor
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """``-E[A log pi(u)]`` with the policy's floor; the dead count in the mean, as 0."""
    probs = shared.policy(nets, params, traj, floor)
    loss = shared.policy_gradient_loss(alive_log_taken(probs, traj), advantage, traj.valid)
    return loss, shared.policy_metrics(probs, advantage, traj.valid)


# --- the intrinsic rewards -----------------------------------------------------------------------


def meta_log_prob(
    params: PyTree, nets: Networks, traj: Trajectory, floor: Float[Array, ""]
) -> Float[Array, "T B N"]:
    """``log pi(u)`` as the meta gradient reads it.

    In "paper" that is the policy which plays and is trained. The authors' code takes the plain
    softmax: no floor, and not renormalised over the available actions.
    """
    if nets.config.meta == "paper":
        return alive_log_taken(shared.policy(nets, params, traj, floor), traj)
    logits = unroll_over(nets.actor, params, traj)[:-1]
    if nets.config.mask_before_softmax:
        logits = mask_logits(logits, traj.steps.avail[:-1])
    # Without a floor a probability may be 0 in float32, and its logarithm would have no gradient.
    taken = take_action(jax.nn.log_softmax(logits), traj.action[:-1])
    return jnp.where(traj.valid[..., None] & traj.steps.alive[:-1], taken, 0)


def extrinsic_objective(
    params: PyTree,
    nets: Networks,
    behaviour: Float[Array, "T B N"],
    advantage: Float[Array, "T B"],
    traj: Trajectory,
    floor: Float[Array, ""],
) -> Float[Array, ""]:
    """``E[A_ex prod_a pi(u) / pi_old(u)]``, the team's reward under a policy beside the old one.

    ``behaviour`` is log pi_old(u), with the floor.
    """
    log_ratio = jnp.sum(meta_log_prob(params, nets, traj, floor) - behaviour, axis=-1)
    return masked_mean(advantage * jnp.exp(log_ratio), traj.valid)


def credit(
    nets: Networks,
    old: PyTree,
    new: PyTree,
    advantage: Float[Array, "T B"],
    traj: Trajectory,
    floor: Float[Array, ""],
) -> Float[Array, "T B N"]:
    """What more return ``G_ta`` (of G_mix) is worth to the team: the weights of the meta gradient.

    The actor steps to ``theta' = theta + alpha E[grad log pi_ta G_ta]``, so the team's objective
    moves with ``dJ_ex(theta') / dG_ta ~ <grad log pi_ta(theta), grad J_ex(theta')> = w_ta``: the
    paper's chain rule, a directional derivative of log pi. Step sizes, clipping and the
    standardised advantage are left out, as in the paper. The authors' code has one weight for all,
    ``-<E[grad log pi], grad J_ex(theta')>``; the minus is its sign, with which J_ex descends.
    """
    behaviour = alive_log_taken(shared.policy(nets, old, traj, floor), traj)
    direction = jax.grad(extrinsic_objective)(new, nets, behaviour, advantage, traj, floor)
    log_prob = partial(meta_log_prob, nets=nets, traj=traj, floor=floor)
    weight = jax.jvp(log_prob, (old,), (direction,))[1]
    if nets.config.meta == "paper":
        return weight
    return jnp.broadcast_to(-masked_mean(weight, traj.valid), weight.shape)


def intrinsic_objective(
    params: PyTree,
    nets: Networks,
    estimates: Estimates,
    weight: Float[Array, "T B N"],
    traj: Trajectory,
    hp: HParams,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """``-E[w G_mix] + value_coef E[(v_ex - G_ex)^2]``; ``params`` are those of the heads alone."""
    mixed, v_ex = mixed_returns(params, nets, estimates.features, estimates.v_mix, traj, hp)
    meta = -masked_mean(weight * mixed, traj.valid)
    value = critic_loss(v_ex, estimates.extrinsic, traj.valid)
    return meta + hp.value_coef * value, {"meta_objective": meta, "v_ex_error": value}


def update_heads(
    nets: Networks,
    learner: Learner,
    estimates: Estimates,
    weight: Float[Array, "T B N"],
    traj: Trajectory,
    hp: HParams,
) -> tuple[PyTree, PyTree, dict[str, Array]]:
    """One step of the heads at the critic's step size, not clipped (the reference's)."""
    gradient = jax.value_and_grad(intrinsic_objective, has_aux=True)
    (loss, shown), grads = gradient(learner.critic.heads, nets, estimates, weight, traj, hp)
    params, opt = optimiser_step(
        nets.config.optimiser, learner.critic.heads, grads, learner.intrinsic_opt, hp.critic_lr,
        hp.rms,
    )  # fmt: skip
    norm = optax.tree.norm(grads)
    return params, opt, shown | {"intrinsic_loss": loss, "intrinsic_grad_norm": norm}


def look(nets: Networks, *moment: Any) -> Outlook:
    """`Insight.look`: every agent's value v_mix [B, N]."""
    out, value = shared.look(nets, *moment)
    return out if value is None else out.replace(value=value[..., 0])
