"""LICA-ADV: every agent's advantage from LICA's mixing critic, climbed in clipped steps.

LICA's policies follow the gradient of Q at their own probabilities. Here the critic says how much
better an agent's sampled action was than what its policy would have done, all else equal, and the
policies take PPO's clipped steps on large batches (`algorithms/ppo`) of a stream.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PyTree

from lica_jax.algorithms.actors import (
    Actor,
    joint_state,
    joint_state_size,
    make_actor,
    previous_actions,
    unroll_over,
)
from lica_jax.algorithms.lica.critics import mixing_critic
from lica_jax.algorithms.lica.lica import act
from lica_jax.algorithms.lica_adv import advantages
from lica_jax.algorithms.lica_adv.advantages import Batch
from lica_jax.algorithms.lica_adv.insight import insight
from lica_jax.algorithms.lica_adv.settings import Config, HParams
from lica_jax.algorithms.ppo import shared as ppo
from lica_jax.algorithms.settings import for_task
from lica_jax.core.losses import clipped_policy_loss, clipped_value_loss, critic_loss
from lica_jax.core.masking import mask_logits, take_action
from lica_jax.core.minibatches import stream_groups, take_streams
from lica_jax.core.optim import ADAM, adam_step
from lica_jax.core.returns import truncated_gae, truncated_ratios
from lica_jax.core.schedules import annealed
from lica_jax.core.value_norm import denormalise, normalise, statistics, update_value_norm
from lica_jax.networks.critics import MixingCritic, by_platform, in_chunks
from lica_jax.networks.layers import MLP
from lica_jax.types import Algorithm, TaskSpec, Trajectory

__all__ = ["Config", "HParams", "make"]


@struct.dataclass
class Learner(ppo.Learner):
    """Everything that is learned.

    ``critic`` is V, or for "soft" the mixing critic.
    """

    mixing: PyTree  # of what actions are worth above V(s); () where there is none
    mixing_opt: PyTree


class Networks(NamedTuple):
    """The networks of one task, and the static choices behind them."""

    actor: Actor
    value: MLP
    mixing: MixingCritic
    state_size: int
    config: Config
    spec: TaskSpec


def make_networks(config: Config, spec: TaskSpec) -> Networks:
    """Builds the actor and the critics; initialises nothing."""
    config = for_task(config, spec)
    actor = make_actor(spec, config)
    size = joint_state_size(actor, spec, config)
    value = MLP((config.value_hidden, config.value_hidden, 1), layer_norm=True)
    joint = spec.n_agents * spec.n_actions
    mixing = mixing_critic(config, spec, size, joint, zero_actions=True)
    return Networks(actor, value, mixing, size, config, spec)


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds LICA-ADV for a task."""
    nets = make_networks(config, spec)
    return Algorithm(
        init=partial(init, nets),
        initial_carry=nets.actor.initial_carry,
        act=partial(act, nets),
        update=partial(update, nets),
        policy=lambda learner: learner.actor,
        scratch_bytes=partial(scratch_bytes, nets),
        hparams=HParams(),
        metrics=("entropy", "explained"),
        acting=nets.actor.acting,
        insight=insight(nets),
    )


def init(nets: Networks, key: Array) -> Learner:
    """Fresh networks: PyTorch's default initialisation, but no action has an effect at first."""
    actor_key, value_key, mixing_key = jax.random.split(key, 3)
    state, joint = jnp.zeros(nets.state_size), jnp.zeros(nets.mixing.n_inputs)
    actor, mixing = nets.actor.init(actor_key), nets.mixing.init(mixing_key, state, joint)
    if nets.config.advantage == "soft":
        return new_learner(actor, mixing, ())
    if nets.config.value_obs:
        state = jnp.zeros(view_size(nets))
    value = nets.value.init(value_key, state)
    return new_learner(actor, value, mixing if nets.config.mixes_beside else ())


def new_learner(actor: PyTree, critic: PyTree, mixing: PyTree) -> Learner:
    """A learner with the given parameters before its first update."""
    base = ppo.new_learner(actor, critic)
    return Learner(
        base.actor, base.critic, base.actor_opt, base.critic_opt, base.value_norm, mixing,
        ADAM.init(mixing) if jax.tree.leaves(mixing) else (),
    )  # fmt: skip


# --- an update -----------------------------------------------------------------------------------


def update(
    nets: Networks, learner: Learner, traj: Trajectory, key: Array, *, hp: HParams, progress: Any
) -> tuple[Learner, dict[str, Array]]:
    """``epochs`` times ``minibatches`` steps of policies and values on one batch.

    Its advantages are estimated once, or before every epoch (``refresh``).
    """
    config, hp = nets.config, hp.at(progress.env_steps)
    coef = ppo.entropy_coef(hp, progress)
    weight = annealed(hp.effect_weight, hp.effect_final, hp.effect_steps, progress.env_steps)
    acted = log_policies(nets, learner.actor, traj)
    rounds = config.epochs if config.refresh else 1

    def step(learner, part):
        return minibatch_step(nets, learner, part, hp, coef, weight)

    def one_round(learner, x):
        streams, key = x[0], jax.random.clone(x[1])  # as in `unroll`
        learner, batch, shown = make_batch(nets, learner, traj, acted, key, hp)
        learner, metrics = ppo.take_steps(step, learner, batch, streams)
        return learner, metrics | shown

    order_key, fit_key = jax.random.split(key)
    groups = stream_groups(order_key, config.epochs, config.minibatches, traj.valid.shape[1])
    groups = groups.reshape(rounds, -1, groups.shape[-1])
    learner, metrics = jax.lax.scan(one_round, learner, (groups, jax.random.split(fit_key, rounds)))
    metrics = jax.tree.map(jnp.mean, metrics)
    return learner, ppo.finish(metrics | {"entropy_coef": coef})


def log_policies(nets: Networks, params: PyTree, traj: Trajectory) -> Float[Array, "T+1 B N A"]:
    """Log-probabilities of every action at every slot."""
    logits = unroll_over(nets.actor, params, traj)
    return jax.nn.log_softmax(mask_logits(logits, traj.steps.avail))


def make_batch(
    nets: Networks, learner: Learner, traj: Trajectory, acted: Float[Array, "T+1 B N A"],
    key: Array, hp: HParams,
) -> tuple[Learner, Batch, dict[str, Array]]:  # fmt: skip
    """Advantages and targets, by a learner whose statistics and mixing critic then know the batch.

    Args:
      acted: log-probabilities of the policies that acted; the learner's may have moved on.
    """
    steps, done, norm = traj.steps, traj.action[:-1], learner.value_norm
    now = log_policies(nets, learner.actor, traj) if nets.config.refresh else acted
    log_prob = take_action(acted[:-1], done)
    view = value_view(nets, traj, now)
    if nets.config.advantage == "soft":
        value = asked(nets, learner.critic, "at_own_policies", *view)
    else:
        value = values(nets, learner.critic, view)
    worth, ends = denormalise(norm, value), traj.endings()
    trace = truncated_ratios(take_action(now[:-1], done) - log_prob, joint=value.shape[-1] == 1)
    advantage, target = truncated_gae(
        worth, steps.reward[1:], *ends, trace, hp.gamma, hp.gae_lambda
    )  # fmt: skip
    valid = jnp.broadcast_to(traj.valid[..., None], target.shape).astype(target.dtype)
    shown = ppo.value_metrics(advantage, target, valid)
    norm = update_value_norm(norm, target, valid, hp.value_norm_decay)
    batch = Batch(
        obs=steps.obs[:-1], previous=previous_actions(nets.actor.head, traj)[:-1],
        avail=steps.avail[:-1], first=steps.first[:-1], carry=traj.carry, action=done,
        view=jax.tree.map(lambda x: x[:-1], view), log_prob=log_prob, value=value[:-1],
        advantage=jnp.broadcast_to(advantage, log_prob.shape) / statistics(norm)[1],
        target=normalise(norm, target), valid=valid,
        living=traj.valid[..., None] * steps.alive[:-1].astype(target.dtype),
        old=acted[:-1], effect=(),
    )  # fmt: skip
    learner = learner.replace(value_norm=norm)
    if not nets.config.mixes_beside:
        return learner, advantages.plain(batch), shown
    above, _ = truncated_gae(worth, steps.reward[1:], *ends, trace, hp.gamma, hp.mixing_lambda)
    above = jnp.mean(above, axis=-1) / statistics(norm)[1]
    learner, fitted = fit_mixing(nets, learner, batch, above, key, hp)
    q = deviations(nets, learner.mixing, batch)
    robust = nets.config.advantage == "doubly_robust"
    credited = advantages.doubly_robust if robust else advantages.counterfactual
    return learner, credited(batch, q, jnp.exp(now[:-1])), shown | fitted


def minibatch_step(
    nets: Networks, learner: Learner, batch: Batch, hp: HParams, coef: Float[Array, ""],
    weight: Float[Array, ""],
) -> tuple[Learner, dict[str, Array]]:  # fmt: skip
    """One Adam step of the policies and one of their values."""

    def actor_loss(params):
        return actor_objective(params, nets, batch, hp, coef, weight)

    def value_loss(params):
        value = values(nets, params, batch.view)
        return clipped_value_loss(value, batch.value, batch.target, batch.valid, hp.value_clip)

    return ppo.descend(learner, actor_loss, value_loss, hp)


def actor_objective(
    params: PyTree, nets: Networks, batch: Batch, hp: HParams, coef: Float[Array, ""],
    weight: Float[Array, ""],
) -> tuple[Float[Array, ""], dict[str, Array]]:  # fmt: skip
    """PPO's clipped surrogate; in "doubly_robust" also the critic's effect of *every* action.

    The latter is clipped in the same way and averaged over the policies that acted.
    """
    log_prob, logits = ppo.log_probs(nets, params, batch)
    loss, metrics = ppo.policy_loss(log_prob, logits, batch, hp, coef)
    if nets.config.advantage != "doubly_robust":
        return loss, metrics
    every = jax.nn.log_softmax(mask_logits(logits, batch.avail))
    share = batch.living[..., None] * jnp.exp(batch.old)  # of each action in the mean
    expected = clipped_policy_loss(every, batch.old, batch.effect, share, hp.clip)
    return loss + weight * expected, metrics


# --- values --------------------------------------------------------------------------------------


def value_view(nets: Networks, traj: Trajectory, log_policy: Float[Array, "T+1 B N A"]) -> PyTree:
    """What the values are functions of, behind the state: for "soft" actions and policies, with
    ``value_obs`` what every agent's value reads."""
    state = joint_state(nets.actor, traj, nets.config)
    if nets.config.advantage == "soft":
        return state, traj.action, jnp.exp(log_policy)
    if nets.config.value_obs:
        return state, ppo.agents_view(traj.steps.obs, state, traj.steps.alive)
    return (state,)


def values(nets: Networks, params: PyTree, view: PyTree) -> Float[Array, "T B K"]:
    """V(s) (K = 1), or of every agent ``Q(s, pi_i, u_-i)`` or V(s, o_i) (K = N); normalised."""
    if nets.config.advantage == "soft":
        return nets.mixing.apply(params, *view, method="at_own_policies")
    value = nets.value.apply(params, view[-1])
    return value[..., 0] if nets.config.value_obs else value


def view_size(nets: Networks) -> int:
    """C of `ppo.agents_view`."""
    return nets.state_size + nets.spec.obs_size + nets.spec.n_agents


def fit_mixing(
    nets: Networks, learner: Learner, batch: Batch, target: Float[Array, "T B"], key: Array,
    hp: HParams,
) -> tuple[Learner, dict[str, Array]]:  # fmt: skip
    """Adam steps of the mixing critic towards what the actions taken were worth above V(s)."""
    config = nets.config
    rows = batch.view[0], batch.action, target, batch.valid[..., 0]

    def gradient(mixing, params, state, action, target, valid):
        def loss_of(params):
            value = mixing.apply(params, state, action, valid > 0, method="at_actions")
            return critic_loss(value, target, valid)

        return jax.value_and_grad(loss_of)(params)

    gradient = by_platform(nets.mixing, gradient)

    def step(carry, streams):
        loss, grads = gradient(carry[0], *take_streams(rows, streams))
        *carry, norm = adam_step(carry[0], grads, carry[1], hp.mixing_lr, hp.grad_norm_clip)
        return tuple(carry), (loss, norm)

    groups = stream_groups(key, config.mixing_epochs, config.minibatches, target.shape[1])
    (mixing, opt), (loss, norm) = jax.lax.scan(step, (learner.mixing, learner.mixing_opt), groups)
    # The first pass meets every row as a new one. The largest norm: whether any step went wrong.
    first = loss[: config.minibatches]
    shown = {"mixing_loss": jnp.mean(first), "mixing_grad_norm": jnp.max(norm)}
    return learner.replace(mixing=mixing, mixing_opt=opt), shown


def deviations(nets: Networks, mixing: PyTree, batch: Batch) -> Float[Array, "T B N A"]:
    """What the mixing critic says of every action of an agent, given what the others did."""
    return asked(nets, mixing, "at_deviations", batch.view[0], batch.action)


def asked(nets: Networks, mixing: PyTree, method: str, *args: Array) -> Float[Array, "T B ..."]:
    """The mixing critic of arrays ``[T, B, ...]``, without a gradient: in pieces that fit."""
    time, batch = args[0].shape[:2]
    flat = tuple(x.reshape(time * batch, *x.shape[2:]) for x in args)
    of_rows = partial(nets.mixing.apply, mixing, method=method)
    out = in_chunks(of_rows, flat, nets.mixing.n_chunks(2 * time * batch))
    return out.reshape(time, batch, *out.shape[1:])


def scratch_bytes(nets: Networks, rows: int) -> dict[str, int]:
    """Activations of the policies, and the mixing critic's weights W1(s): float32.

    What is learned from a minibatch is there as values and cotangents; a whole batch is `asked`
    for, piece by piece, with what its others did beside each weight.
    """
    config, spec = nets.config, nets.spec
    per_step = -(-rows // config.minibatches)
    out = ppo.policy_scratch(config.hidden, spec, per_step)
    if config.value_obs and config.advantage != "soft":
        out["the agents' values' inputs"] = 4 * rows * spec.n_agents * view_size(nets)
    if config.state_obs:
        out["the critics' states"] = 2 * 4 * rows * nets.state_size
    if config.advantage != "state_value":
        piece = -(-rows // max(nets.mixing.n_chunks(2 * rows), 1))
        sizes = nets.mixing.scratch_numbers(max(per_step, piece))
        out |= {name: 2 * 4 * size for name, size in sizes.items()}
    return out
