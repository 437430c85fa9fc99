"""LICA: Learning Implicit Credit Assignment (Zhou et al., NeurIPS 2020).

A centralised mixing critic Q(s, u) is fitted to TD(lambda) targets on the actions taken; the
decentralised policies then ascend Q at their own action *probabilities*, all agents at once, with
an entropy bonus whose strength adapts to the entropy itself.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lica_jax.algorithms.actors import ActorCarry, activation_bytes, actor_step
from lica_jax.algorithms.lica.actor_update import draw_relaxation, update_actor
from lica_jax.algorithms.lica.critic_update import averaged, update_critic
from lica_jax.algorithms.lica.insight import insight
from lica_jax.algorithms.lica.learner import (
    Learner,
    Networks,
    climbed,
    critic_batch,
    learner_with,
    make_networks,
    new_learner,
)
from lica_jax.algorithms.lica.settings import Config, HParams
from lica_jax.core import gaussian
from lica_jax.core.entropy import controlled, kl_excess
from lica_jax.core.losses import watched
from lica_jax.core.masking import masked_softmax
from lica_jax.core.schedules import annealed
from lica_jax.types import Algorithm, Replay, TaskSpec, TimeStep, Trajectory

__all__ = ["Config", "HParams", "make"]


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds LICA for a task."""
    nets = make_networks(config, spec)
    return Algorithm(
        init=partial(init, nets),
        initial_carry=nets.actor.initial_carry,
        act=partial(act, nets),
        update=partial(update, nets),
        policy=lambda learner: learner.actor,
        scratch_bytes=partial(scratch_bytes, nets),
        hparams=HParams(),
        metrics=("entropy",),
        replay=replay(config),
        acting=nets.actor.acting,
        insight=insight(nets, climbed),
    )


def replay(config: Config) -> Replay | None:
    """What is kept, and whether it is drawn beside the fresh batch or instead of it."""
    kept = config.replay("segment")
    return kept and replace(kept, beside=config.corrects)


def init(nets: Networks, key: Array) -> Learner:
    """Fresh networks (PyTorch's default initialisation); the target equals the critic."""
    actor_key, critic_key = jax.random.split(key)
    zeros = jnp.zeros(nets.state_size), jnp.zeros(nets.critic.n_inputs)
    critic = nets.critic.init(critic_key, *zeros)
    config, more = nets.config, {}
    learner = new_learner(nets.actor.init(actor_key), critic, critic if config.keeps_target else ())
    if config.entropy_mode == "target":
        more["log_factor"] = jnp.zeros(())
    if config.critic_average:
        more["average"] = critic
    if config.kl_mode == "target":
        more["log_kl_factor"] = jnp.zeros(())
    return learner_with(tuple(more))(**vars(learner), **more) if more else learner


def act(nets: Networks, params, carry: ActorCarry, ts: TimeStep, key, *, hp, progress, explore):
    """Samples from the policy where ``explore``, else takes its most likely action."""
    del hp, progress
    hidden, outputs = actor_step(nets.actor, params, carry, ts.obs, ts.first)
    action = nets.actor.head.choose(outputs, ts.avail, key, explore)
    extras = {}
    if nets.spec.continuous:
        extras = {"policy": policy_parameters(outputs)}
    elif nets.config.keeps_policies:
        extras = {"policy": masked_softmax(outputs, ts.avail)}
    return ActorCarry(hidden=hidden, last_action=action), action, extras


def policy_parameters(outputs: Float[Array, "... D2"]) -> Float[Array, "... D2"]:
    """A continuous policy as the critic reads it."""
    return gaussian.policy_input(*gaussian.split_outputs(outputs))


def update(
    nets: Networks, learner: Learner, traj: Trajectory, key: Array, *, hp: HParams, progress: Any
) -> tuple[Learner, dict[str, Array]]:
    """Critic first, then the actor with the just-updated critic (the official order)."""
    hp = hp.at(progress.env_steps)
    batch = critic_batch(nets, traj)
    learner, metrics = update_critic(nets, learner, batch, traj, hp, jax.random.fold_in(key, 1))
    if nets.config.critic_average:
        steps = nets.config.critic_steps * nets.config.critic_minibatches
        batches = learner.critic_steps // steps - 1  # learned from, not only stored
        learner = learner.replace(average=averaged(learner, hp.average_decay, batches))
    if nets.config.corrects:  # the actor learns on-policy
        traj = first_streams(traj, traj.valid.shape[1] - nets.config.replay_batch)
        batch = critic_batch(nets, traj)
    relaxation = draw_relaxation(nets, traj, jax.random.fold_in(key, 2), hp, progress)
    learner, actor_metrics = update_actor(
        nets, learner, batch, traj, scheduled(learner, hp, progress.env_steps), relaxation
    )
    if hasattr(learner, "log_factor"):
        log_factor = controlled(learner.log_factor, actor_metrics["entropy_gap"], hp.entropy_rate)
        learner = learner.replace(log_factor=log_factor)
    if hasattr(learner, "log_kl_factor"):
        excess = kl_excess(actor_metrics["kl"], hp.kl_target)
        learner = learner.replace(log_kl_factor=controlled(learner.log_kl_factor, excess, 1.0))
    metrics |= actor_metrics
    loss = metrics["critic_loss"] + metrics["actor_loss"]
    norms = metrics["critic_grad_norm"], metrics["actor_grad_norm"]
    return learner, metrics | {"loss": watched(loss, *norms)}


def first_streams(traj: Trajectory, n: int) -> Trajectory:
    """The first ``n`` streams of a trajectory: of one with draws beside it, the fresh ones."""
    carry = jax.tree.map(lambda x: x[:n], traj.carry)
    return jax.tree.map(lambda x: x[:, :n], traj.replace(carry=())).replace(carry=carry)


def scheduled(learner: Learner, hp: HParams, env_steps: Float[Array, ""]) -> HParams:
    """The numbers with xi, the entropy's target and the KL's weight as they are at this point of
    training."""
    xi = annealed(hp.entropy_coef, hp.entropy_final, hp.entropy_steps, env_steps)
    target = annealed(
        hp.entropy_target, hp.entropy_target_final, hp.entropy_target_steps, env_steps
    )
    if hasattr(learner, "log_factor"):
        xi = xi * jnp.exp(learner.log_factor)
    kl_coef = hp.kl_coef
    if hasattr(learner, "log_kl_factor"):
        kl_coef = jnp.where(kl_coef > 0, kl_coef, 1) * jnp.exp(learner.log_kl_factor)
    return hp.replace(entropy_coef=xi, entropy_target=target, kl_coef=kl_coef)


def scratch_bytes(nets: Networks, rows: int) -> dict[str, int]:
    """The critic's largest temporaries and the actor's: float32, values and cotangents."""
    config, n = nets.config, nets.spec.n_agents
    # See `taken_values`: one pass at the actions, or one of several inputs, which W1(s) serves
    # together.
    several = 2 + (n if config.critic_soft_inputs else 0)
    asks = config.asks_policies or nets.spec.continuous
    repeated = asks and config.critic != "mixing"
    sizes = nets.critic.scratch_numbers(several * rows if repeated else rows)
    if asks:
        width = nets.critic.n_inputs + 2 * config.mixing_embed
        sizes["the critic's joint inputs"] = rows * several * width
    actor = activation_bytes(rows * n, config.hidden, nets.actor.head.n_outputs)
    if config.state_obs:
        sizes["the critic's states"] = rows * nets.state_size
    critic = {name: 2 * 4 * size for name, size in sizes.items()}
    return critic | {"the actor's activations": actor}
