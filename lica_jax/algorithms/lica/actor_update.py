"""LICA's actor climbs the critic at all agents' policies, with an entropy bonus (Eq. 3, 4, 6)."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from lica_jax.algorithms.actors import previous_actions, unroll_over
from lica_jax.algorithms.lica.learner import CriticBatch, Learner, Networks, climbed
from lica_jax.algorithms.lica.settings import HParams
from lica_jax.core import gaussian
from lica_jax.core.entropy import (
    categorical_entropy,
    categorical_kl,
    entropy_bonus,
    entropy_gap,
    undecided,
)
from lica_jax.core.gumbel import gumbel_softmax, straight_through
from lica_jax.core.losses import policy_value_loss
from lica_jax.core.masking import masked_mean, masked_softmax
from lica_jax.core.optim import adam_step
from lica_jax.core.schedules import annealed
from lica_jax.types import Trajectory


class Relaxation(NamedTuple):
    """What Gumbel-Softmax samples are drawn from."""

    uniform: Float[Array, "T B N A"]
    temperature: Float[Array, ""]


def draw_relaxation(
    nets: Networks, traj: Trajectory, key: Array, hp: HParams, progress: Any
) -> Relaxation | None:
    """Fresh noise for every transition and agent; None where probabilities are used."""
    if nets.config.policy_input == "probs":
        return None
    shape = traj.steps.avail[:-1].shape
    temperature = annealed(
        hp.temperature, hp.temperature_final, hp.temperature_steps, progress.env_steps
    )
    return Relaxation(jax.random.uniform(key, shape, traj.steps.obs.dtype), temperature)


def actor_objective(
    params: PyTree,
    nets: Networks,
    critic: PyTree,
    batch: CriticBatch,
    traj: Trajectory,
    hp: HParams,
    relaxation: Relaxation | None = None,
    old: Float[Array, "T B N A"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The actor's loss (Eq. 3, 4 and 6): Q at all agents' policies, and entropy.

    ``critic`` are constants here: the gradient goes through the policies only. With the logits of
    ``old`` policies also ``kl_coef`` times the mean of KL(old || new).
    """
    steps = jax.tree.map(lambda x: x[:-1], traj.steps)
    previous = previous_actions(nets.actor.head, traj)[:-1]
    _, outputs = nets.actor.unroll(params, steps.obs, previous, steps.first, traj.carry.hidden)
    actor_terms = _point_terms if nets.spec.continuous else _choice_terms
    q, entropy, choices, scale, metrics = actor_terms(
        nets, critic, batch, outputs, steps.avail, relaxation
    )
    mode = nets.config.entropy_mode
    bonus, coef = entropy_bonus(entropy, choices, batch.mask, hp.entropy_coef, mode, scale)
    if mode == "target":
        fraction, gap = entropy_gap(entropy, choices, batch.mask, hp.entropy_target)
        metrics |= {"entropy_fraction": fraction, "entropy_gap": gap}
    metrics |= {
        "entropy": masked_mean(entropy, batch.mask),
        "entropy_coef_effective": coef,
        "q_policy_mean": masked_mean(q, batch.mask),
    }
    loss = policy_value_loss(q, bonus, batch.mask)
    if nets.config.kl_mode == "target":
        metrics["kl_coef_effective"] = hp.kl_coef
    if old is not None:
        kl = masked_mean(categorical_kl(old, outputs, steps.avail), batch.mask)
        loss, metrics["kl"] = loss + hp.kl_coef * kl, kl
    return loss, metrics


def _choice_terms(nets, critic, batch, logits, avail, relaxation):
    """Discrete policies: ``(Q, entropy, number of choices, entropy scale, metrics)``."""
    probs = masked_softmax(logits, avail)
    choices = jnp.sum(avail, axis=-1)
    metrics = {"max_pi": masked_mean(jnp.max(probs, axis=-1), undecided(choices, batch.mask))}
    u = probs
    if relaxation is not None:
        u = gumbel_softmax(logits, avail, *relaxation)
        metrics["temperature"] = relaxation.temperature
        if nets.config.policy_input == "straight_through":
            u = straight_through(u)
    q = nets.critic.apply(critic, batch.state[:-1], u, avail, batch.valid, method="at_policies")
    return q, categorical_entropy(logits, avail), choices, lambda h: h, metrics


def _point_terms(nets, critic, batch, outputs, avail, relaxation):
    """Continuous policies: ``(Q, entropy, number of choices, entropy scale, metrics)``."""
    del relaxation
    mean, log_std = gaussian.split_outputs(outputs)
    u = gaussian.policy_input(mean, log_std)
    q = nets.critic.apply(critic, batch.state[:-1], u.reshape(*u.shape[:2], -1))
    scale = partial(gaussian.entropy_scale, n_dims=nets.spec.n_actions)
    choices = jnp.full(outputs.shape[:-1], 2)
    metrics = {"std": masked_mean(jnp.exp(log_std), batch.mask)}
    return q, gaussian.entropy(mean, log_std), choices, scale, metrics


def update_actor(
    nets: Networks,
    learner: Learner,
    batch: CriticBatch,
    traj: Trajectory,
    hp: HParams,
    relaxation: Relaxation | None = None,
) -> tuple[Learner, dict[str, Array]]:
    """`actor_steps` Adam steps of the actor under the current critic."""
    gradient = jax.value_and_grad(actor_objective, has_aux=True)
    constants = nets, climbed(learner), batch, traj, hp, relaxation

    def step(params, opt, old=None):
        (loss, metrics), grads = gradient(params, *constants, old)
        params, opt, norm = adam_step(params, grads, opt, hp.actor_lr, hp.grad_norm_clip)
        return (params, opt), metrics | {"actor_loss": loss, "actor_grad_norm": norm}

    start, n = (learner.actor, learner.actor_opt), nets.config.actor_steps
    if n > 1 or nets.config.trust_region:
        old = unroll_over(nets.actor, learner.actor, traj)[:-1]
    if n == 1:
        (params, opt), metrics = step(*start)
    else:
        (params, opt), metrics = jax.lax.scan(lambda x, _: step(*x, old), start, None, length=n)
        metrics = jax.tree.map(jnp.mean, metrics) | {"kl": metrics["kl"][-1]}
    if nets.config.trust_region or nets.config.kl_mode == "target":
        metrics["kl"] = moved_by(nets, params, old, traj, batch.mask)
    if nets.config.trust_region:
        params, share = within(hp.kl_limit, metrics["kl"], learner.actor, params)
        metrics["kl_share"] = share
    return learner.replace(actor=params, actor_opt=opt), metrics


def moved_by(
    nets: Networks,
    params: PyTree,
    old: Float[Array, "T B N A"],
    traj: Trajectory,
    mask: Float[Array, "T B"],
) -> Float[Array, ""]:
    """Mean KL(old || new) of a whole update, to the policies of ``params`` behind its last step."""
    new = unroll_over(nets.actor, params, traj)[:-1]
    return masked_mean(categorical_kl(old, new, traj.steps.avail[:-1]), mask)


def within(
    limit: Float[Array, ""], kl: Float[Array, ""], before: PyTree, after: PyTree
) -> tuple[PyTree, Float[Array, ""]]:
    """``(parameters, share of the way)`` from ``before`` to ``after``, as far as ``limit`` allows
    where all of it is a divergence of ``kl``.

    To second order KL is the square of the way: where it is more than ``limit``, that is ``before +
    sqrt(limit / KL) (after - before)`` (as Schulman et al., 2015, scale a natural step).
    """
    share = jnp.sqrt(jnp.where(kl > limit, limit / jnp.where(kl > limit, kl, 1), 1))

    def part(x, y):
        return jnp.where(share < 1, x + share * (y - x), y)

    return jax.tree.map(part, before, after), share
