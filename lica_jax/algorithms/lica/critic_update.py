"""LICA's critic: its targets and its regression on them (Eq. 2), and the average of it that actors
may climb."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from lica_jax.algorithms.actors import unroll_over
from lica_jax.algorithms.lica.learner import CriticBatch, Learner, Networks
from lica_jax.algorithms.lica.settings import HParams
from lica_jax.core import gaussian
from lica_jax.core.losses import critic_loss
from lica_jax.core.masking import explained, masked_mean, masked_softmax, take_action
from lica_jax.core.minibatches import stream_groups, take_streams
from lica_jax.core.optim import adam_step, periodic_copy
from lica_jax.core.returns import (
    corrected_lambda_returns,
    lambda_returns,
    monte_carlo_returns,
    pymarl_lambda_returns,
    truncated_ratios,
)
from lica_jax.networks.critics import by_platform, with_one_replaced
from lica_jax.types import Trajectory


class Correction(NamedTuple):
    """What today's policies make of older batches: their probabilities, and importance weights."""

    policy: Float[Array, "T+1 B N A"]
    weight: Float[Array, "T+1 B"]


def correction(nets: Networks, actor: PyTree, batch: CriticBatch, traj: Trajectory) -> Correction:
    """Of the policies of ``actor``."""
    policy = masked_softmax(unroll_over(nets.actor, actor, traj), traj.steps.avail)
    return Correction(policy, importance(batch.action, batch.policy, policy))


def importance(
    action: Int[Array, "*B N"], before: Float[Array, "*B N A"], now: Float[Array, "*B N A"]
) -> Float[Array, "*B"]:
    """How much likelier a joint action is under policies ``now`` than ``before``, at most 1."""

    old, new = take_action(before, action), take_action(now, action)
    # Slots behind an episode's end hold actions that nobody chose.
    log_ratio = jnp.log(new) - jnp.log(jnp.where(old > 0, old, 1))
    return truncated_ratios(log_ratio, joint=True)[..., 0]


class Values(NamedTuple):
    """Q of what was done; all of it is fitted to the same targets.

    Attributes:
      taken: at the joint actions.
      policy: at the policies that drew them, which is where the actor will ask for gradients (of
        continuous actions), or V(s) (``dueling``); None where the critic is not asked there.
      soft: at the joint actions with one agent's replaced by its policy, for each of them; None
        without ``critic_soft_inputs``.
    """

    taken: Float[Array, "T B"]
    policy: Float[Array, "T B"] | None = None
    soft: Float[Array, "T B N"] | None = None

    @property
    def following(self) -> Float[Array, "T B"]:
        """What the targets look up."""
        return self.taken if self.policy is None else self.policy


def taken_values(
    nets: Networks,
    critic: PyTree,
    batch: CriticBatch,
    slots: slice,
    needed: Bool[Array, "T B"],
) -> Values:
    """Q of what was done in the slots, where needed."""
    state, action = batch.state[slots], batch.action[slots]
    config, continuous = nets.config, nets.spec.continuous
    if not continuous and not config.asks_policies:
        return Values(nets.critic.apply(critic, state, action, needed, method="at_actions"))
    policy = batch.policy[slots]
    u = gaussian.point_input(action) if continuous else nets.actor.head.encode(action, state.dtype)
    inputs = [x.reshape(*state.shape[:-1], 1, -1) for x in (u, policy)]
    if config.critic_soft_inputs:
        inputs.insert(1, with_one_replaced(u, policy[..., None, :])[..., 0, :])
    several = jnp.concatenate(inputs, axis=-2)
    q = nets.critic.apply(critic, state, several, method="at_several")
    return Values(
        q[..., 0],
        q[..., -1] if config.dueling or continuous else None,
        q[..., 1:-1] if config.critic_soft_inputs else None,
    )


def critic_targets(
    nets: Networks, critic: PyTree, batch: CriticBatch, traj: Trajectory, hp: HParams,
    corrected: Correction | None = None,
) -> Float[Array, "T B"]:  # fmt: skip
    """Targets of the critic's regression (Eq. 2), from the values of ``critic``, held constant;
    ``corrected`` where some of the batch was played by older policies."""
    reward, valid = traj.steps.reward[1:], traj.valid
    terminal, cut, _ = traj.endings()
    kind = nets.config.targets
    if kind == "monte_carlo":
        return monte_carlo_returns(reward, cut, valid, hp.gamma)
    # Slot t+1 is looked up for a transition that happened and did not end in a terminal state.
    needed = jnp.concatenate([jnp.zeros_like(valid[:1]), valid & ~terminal])
    if kind == "pymarl":
        # The official mask is 1 on the slot behind an episode that was cut, too.
        behind_cut = jnp.concatenate([jnp.zeros_like(valid[:1]), (valid & cut & ~terminal)[:-1]])
        q = taken_values(nets, critic, batch, slice(None), jnp.ones_like(needed)).following
        return pymarl_lambda_returns(
            q, jnp.where(valid, reward, 0), terminal & valid,
            (valid | behind_cut).astype(q.dtype), hp.gamma, hp.td_lambda,
        )  # fmt: skip
    q = taken_values(nets, critic, batch, slice(None), needed).following
    rest = reward, terminal, cut, valid, hp.gamma, hp.td_lambda
    if corrected is None:
        return lambda_returns(q, *rest)
    inputs = batch.state, corrected.policy, traj.steps.avail, needed
    now = nets.critic.apply(critic, *inputs, method="at_policies")
    return corrected_lambda_returns(q, now, corrected.weight, *rest)


def critic_objective(
    params: PyTree, nets: Networks, batch: CriticBatch, target: Float[Array, "T B"]
) -> tuple[Float[Array, ""], Float[Array, "T B"]]:
    """The critic's loss (Eq. 2; the mean of all `Values`' losses), and Q at the actions taken."""
    values = taken_values(nets, params, batch, slice(-1), batch.valid)
    losses = [
        critic_loss(q, target, batch.mask) for q in (values.taken, values.policy) if q is not None
    ]
    if values.soft is not None:
        each = jax.vmap(critic_loss, in_axes=(-1, None, None))(values.soft, target, batch.mask)
        losses.append(jnp.mean(each))
    return sum(losses) / len(losses), values.taken


def update_critic(
    nets: Networks, learner: Learner, batch: CriticBatch, traj: Trajectory, hp: HParams,
    key: Array | None = None,
) -> tuple[Learner, dict[str, Array]]:  # fmt: skip
    """Adam steps towards one set of targets, then a target copy if due.

    `critic_steps` on the whole batch, or as many passes over it in `critic_minibatches` steps each,
    for which ``key`` shuffles the streams.
    """
    has_target = nets.config.keeps_target
    bootstrap = learner.target_critic if has_target else learner.critic
    corrected = correction(nets, learner.actor, batch, traj) if nets.config.corrects else None
    target = critic_targets(nets, bootstrap, batch, traj, hp, corrected)

    def gradient(critic, params, batch, target):
        own = nets._replace(critic=critic)
        return jax.value_and_grad(critic_objective, has_aux=True)(params, own, batch, target)

    gradient = by_platform(nets.critic, gradient)
    rows = batch, target

    def step(carry, streams):
        params, opt = carry
        batch, target = rows if streams is None else take_streams(rows, streams)
        (loss, q), grads = gradient(params, batch, target)
        params, opt, norm = adam_step(params, grads, opt, hp.critic_lr, hp.grad_norm_clip)
        return (params, opt), {
            "critic_loss": loss,
            "critic_grad_norm": norm,
            "td_error_abs": masked_mean(jnp.abs(q - target), batch.mask),
            "explained": explained(q - target, target, batch.mask),
            "q_taken_mean": masked_mean(q, batch.mask),
        }

    start, groups = (learner.critic, learner.critic_opt), None
    passes, parts = nets.config.critic_steps, nets.config.critic_minibatches
    if parts > 1:
        groups = stream_groups(key, passes, parts, target.shape[1])
    n = passes * parts
    (params, opt), metrics = jax.lax.scan(step, start, groups, length=n)
    steps = learner.critic_steps + n
    learner = learner.replace(critic=params, critic_opt=opt, critic_steps=steps)
    if has_target:
        target_params, last_copy = periodic_copy(
            params, learner.target_critic, steps, learner.last_copy, hp.target_interval
        )
        learner = learner.replace(target_critic=target_params, last_copy=last_copy)
    # The first pass meets every row before the critic has been fitted to it; the largest norm tells
    # whether any step went wrong.
    shown = {name: jnp.mean(value[:parts]) for name, value in metrics.items()}
    shown["critic_grad_norm"] = jnp.max(metrics["critic_grad_norm"])
    if corrected is not None:
        older = slice(-nets.config.replay_batch, None)
        weight, mask = corrected.weight[:-1, older], batch.mask[:, older]
        shown["importance_weight"] = masked_mean(weight, mask)
    return learner, shown | {"target_mean": masked_mean(target, batch.mask)}


def averaged(learner: Learner, decay: Float[Array, ""], batches: Int[Array, ""]) -> PyTree:
    """The average of the critic's parameters, a batch later; ``batches``: learned from before it.

    The first batches count for more, so that a critic that knows nothing yet is soon forgotten.
    """
    decay = jnp.minimum(decay, (1 + batches) / (10 + batches))
    return jax.tree.map(lambda a, c: decay * a + (1 - decay) * c, learner.average, learner.critic)
