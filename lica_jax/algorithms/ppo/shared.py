"""What IPPO and MAPPO share: proximal policy optimisation of agents with a team's reward.

Every agent has a policy of its own observation and a value of what its critic sees; the algorithms
differ in the latter alone. A batch is a segment (or a whole episode) of every stream; it is learned
from for several epochs, in minibatches of whole streams, so that memories stay whole.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PyTree

from lica_jax.algorithms.actors import (
    Actor,
    ActorCarry,
    activation_bytes,
    actor_step,
    make_actor,
    previous_actions,
)
from lica_jax.algorithms.ppo.settings import Config, HParams
from lica_jax.core.entropy import categorical_entropy
from lica_jax.core.losses import clipped_policy_loss, clipped_value_loss, watched_sum
from lica_jax.core.masking import explained, mask_logits, masked_mean, masked_softmax, take_action
from lica_jax.core.minibatches import stream_groups, take_streams
from lica_jax.core.optim import ADAM, adam_step
from lica_jax.core.returns import gae, standardised
from lica_jax.core.schedules import annealed
from lica_jax.core.value_norm import (
    ValueNorm,
    denormalise,
    new_value_norm,
    normalise,
    update_value_norm,
)
from lica_jax.networks.agents import FeedForwardAgent, RecurrentAgent
from lica_jax.types import Algorithm, Insight, Outlook, TaskSpec, TimeStep, Trajectory

# (obs [*B, N, O], state [*B, S]) -> [*B, N, V]: what a critic sees of every agent.
View = Callable[[Array, Array], Array]


@struct.dataclass
class Carry(ActorCarry):
    """The policies' memory, and the critic's where it has one."""

    critic: Float[Array, "B N H"] | tuple[()]


@struct.dataclass
class Learner:
    """Everything that is learned."""

    actor: PyTree
    critic: PyTree
    actor_opt: PyTree
    critic_opt: PyTree
    value_norm: ValueNorm


@struct.dataclass
class Batch:
    """What the epochs learn from: slots 0..T-1 of a trajectory, and what was worth what."""

    obs: Float[Array, "T B N O"]
    previous: Int[Array, "T B N"]  # actions
    avail: Bool[Array, "T B N A"]
    first: Bool[Array, "T B"]
    carry: Carry  # before slot 0, leaves [B, ...]
    action: Int[Array, "T B N"]
    view: Float[Array, "T B N C"]  # the critic's inputs
    log_prob: Float[Array, "T B N"]  # of the actions, under the policy that took them
    value: Float[Array, "T B N"]  # of the critic before the update; normalised
    advantage: Float[Array, "T B N"]
    target: Float[Array, "T B N"]  # normalised
    valid: Float[Array, "T B N"]
    living: Float[Array, "T B N"]  # valid, and the agent is alive


class Networks(NamedTuple):
    """The networks of one task, what the critic sees, and the static choices behind them."""

    actor: Actor
    critic: Any  # a flax module
    view: View
    config: Config
    spec: TaskSpec


def make_networks(config: Config, spec: TaskSpec, view: View) -> Networks:
    """The networks of PPO whose critic sees ``view(obs, state)``; initialises nothing."""
    actor = make_actor(spec, config)
    critic = (
        RecurrentAgent(1, config.critic_hidden)
        if config.critic == "gru"
        else FeedForwardAgent(1, config.critic_hidden, config.critic_layer_norm)
    )
    return Networks(actor, critic, view, config, spec)


def make(config: Config, spec: TaskSpec, view: View) -> Algorithm:
    """PPO whose critic sees ``view(obs, state)``, beside the agent's index."""
    nets = make_networks(config, spec, view)
    return Algorithm(
        init=partial(init, nets),
        initial_carry=partial(initial_carry, nets),
        act=partial(act, nets),
        update=partial(update, nets),
        policy=partial(policy, nets),
        scratch_bytes=partial(scratch_bytes, nets),
        hparams=HParams(),
        metrics=("entropy", "clip_fraction"),
        acting=nets.actor.acting.under("actor"),
        insight=Insight(partial(look, nets), critic_values, "V"),
    )


def init(nets: Networks, key: Array) -> Learner:
    """Fresh networks (PyTorch's default initialisation) before their first update."""
    actor_key, critic_key = jax.random.split(key)
    n, hidden = nets.spec.n_agents, initial_carry(nets, 1).critic
    view, first = jnp.zeros((1, 1, n, view_size(nets))), jnp.ones((1, 1, n), bool)
    critic = nets.critic.init(critic_key, view, hidden, first)
    return new_learner(nets.actor.init(actor_key), critic)


def new_learner(actor: PyTree, critic: PyTree) -> Learner:
    """A learner with the given parameters before its first update."""
    return Learner(actor, critic, ADAM.init(actor), ADAM.init(critic), new_value_norm())


# --- acting --------------------------------------------------------------------------------------


def initial_carry(nets: Networks, batch: int) -> Carry:
    """No memory. A feed-forward critic never has one."""
    shape = batch, nets.spec.n_agents, nets.config.critic_hidden
    actor = nets.actor.initial_carry(batch)
    critic = jnp.zeros(shape) if nets.config.critic == "gru" else ()
    return Carry(actor.hidden, actor.last_action, critic)


def policy(nets: Networks, learner: Learner) -> PyTree:
    """What `act` needs: the policies, and a critic whose memory must be kept up."""
    critic = {"critic": learner.critic} if nets.config.critic == "gru" else {}
    return {"actor": learner.actor, **critic}


def act(nets: Networks, params, carry: Carry, ts: TimeStep, key, *, hp, progress, explore):
    """Samples from the policies where ``explore``, else takes their most likely actions."""
    del hp, progress
    hidden, logits = actor_step(nets.actor, params["actor"], carry, ts.obs, ts.first)
    action = nets.actor.head.choose(logits, ts.avail, key, explore)
    critic = carry.critic
    if "critic" in params:
        view = critic_inputs(nets, ts.obs, ts.state, ts.alive)[None]
        critic, _ = values(nets, params["critic"], view, ts.first[None], critic)
    return Carry(hidden, action, critic), action, {}


def critic_values(learner: Learner) -> dict[str, PyTree]:
    """`Insight.critic`: what values are computed with."""
    return {"critic": learner.critic, "value_norm": learner.value_norm._asdict()}


def look(
    nets: Networks, params: PyTree, critic: PyTree, carry: Carry, ts: TimeStep, action: Array,
    hp: HParams,
) -> Outlook:  # fmt: skip
    """`Insight.look`: the policies, and every agent's value [B, N]."""
    del action, hp
    _, logits = actor_step(nets.actor, params["actor"], carry, ts.obs, ts.first)
    out = Outlook(masked_softmax(logits, ts.avail), categorical_entropy(logits, ts.avail))
    if critic is None:
        return out
    view = critic_inputs(nets, ts.obs, ts.state, ts.alive)[None]
    _, value = values(nets, critic["critic"], view, ts.first[None], carry.critic)
    if nets.config.value_norm:
        value = denormalise(ValueNorm(**critic["value_norm"]), value)
    return out.replace(value=value[0])


# --- learning ------------------------------------------------------------------------------------


def update(
    nets: Networks, learner: Learner, traj: Trajectory, key: Array, *, hp: HParams, progress: Any
) -> tuple[Learner, dict[str, Array]]:
    """``epochs`` times ``minibatches`` steps of policies and critic on one batch."""
    hp = hp.at(progress.env_steps)
    batch, value_norm, shown = make_batch(nets, learner, traj, hp)
    coef = entropy_coef(hp, progress)
    config = nets.config
    streams = stream_groups(key, config.epochs, config.minibatches, traj.valid.shape[1])

    def step(learner, part):
        return minibatch_step(nets, learner, part, hp, coef)

    learner = learner.replace(value_norm=value_norm)
    learner, metrics = take_steps(step, learner, batch, streams)
    return learner, finish(metrics | shown | {"entropy_coef": coef})


def take_steps(
    step: Callable[[PyTree, Batch], tuple[PyTree, dict[str, Array]]], learner: PyTree,
    batch: Batch, streams: Int[Array, "steps K"],
) -> tuple[PyTree, dict[str, Array]]:  # fmt: skip
    """``step`` on every minibatch of ``streams`` in turn; metrics are means over the steps.

    Of norms too: one that is not finite stays so.
    """
    whole = streams.shape[1] == batch.first.shape[1]

    def on_minibatch(learner, some):
        return step(learner, batch if whole else minibatch(batch, some))

    learner, metrics = jax.lax.scan(on_minibatch, learner, streams)
    return learner, jax.tree.map(jnp.mean, metrics)


def finish(metrics: dict[str, Array]) -> dict[str, Array]:
    """Metrics of an update with the loss to watch, of everything that is minimised."""
    return metrics | {"loss": watched_sum(metrics)}


def entropy_coef(hp: HParams, progress: Any) -> Float[Array, ""]:
    """The weight of the entropy at this point of training."""
    return annealed(hp.entropy_coef, hp.entropy_final, hp.entropy_steps, progress.env_steps)


def minibatch(batch: Batch, streams: Int[Array, " K"]) -> Batch:
    """Some streams of a batch, from their stored memories on."""
    carry = jax.tree.map(lambda x: x[streams], batch.carry)
    return take_streams(batch.replace(carry=()), streams).replace(carry=carry)


def make_batch(
    nets: Networks, learner: Learner, traj: Trajectory, hp: HParams
) -> tuple[Batch, ValueNorm, dict[str, Array]]:
    """Log-probabilities, values, advantages and targets of what was done, and new statistics.

    The learner's parameters are those that acted: unrolling them from the stored memories gives the
    very policies that were sampled from, so nothing but actions need be stored.
    """
    steps, norm = traj.steps, learner.value_norm
    view = critic_inputs(nets, steps.obs, steps.state, steps.alive)
    _, value = values(nets, learner.critic, view, steps.first, traj.carry.critic)
    worth = denormalise(norm, value) if nets.config.value_norm else value
    ends = traj.endings()
    advantage, target = gae(worth, steps.reward[1:], *ends, hp.gamma, hp.gae_lambda)
    valid = jnp.broadcast_to(traj.valid[..., None], target.shape).astype(target.dtype)
    living = valid * steps.alive[:-1]
    shown = value_metrics(advantage, target, valid)
    if nets.config.value_norm:
        norm = update_value_norm(norm, target, valid, hp.value_norm_decay)
        target = normalise(norm, target)
    if nets.config.normalise_advantage:
        advantage = standardised(advantage, living)
    batch = Batch(
        obs=steps.obs[:-1], previous=previous_actions(nets.actor.head, traj)[:-1],
        avail=steps.avail[:-1], first=steps.first[:-1], carry=traj.carry,
        action=traj.action[:-1], view=view[:-1], log_prob=jnp.zeros_like(target),
        value=value[:-1], advantage=advantage, target=target, valid=valid, living=living,
    )  # fmt: skip
    log_prob, _ = log_probs(nets, learner.actor, batch)
    return batch.replace(log_prob=log_prob), norm, shown


def value_metrics(
    advantage: Float[Array, "T B N"], target: Float[Array, "T B N"], valid: Float[Array, "T B N"]
) -> dict[str, Array]:
    """How much the values knew before the update: ``explained`` of the targets' variance."""
    return {
        "td_error_abs": masked_mean(jnp.abs(advantage), valid),
        "target_mean": masked_mean(target, valid),
        "explained": explained(advantage, target, valid),
    }


def minibatch_step(
    nets: Networks, learner: Learner, batch: Batch, hp: HParams, coef: Float[Array, ""]
) -> tuple[Learner, dict[str, Array]]:
    """One Adam step of the policies and one of the critic."""

    def actor_loss(params):
        return actor_objective(params, nets, batch, hp, coef)

    def critic_loss(params):
        return critic_objective(params, nets, batch, hp)

    return descend(learner, actor_loss, critic_loss, hp)


def descend(
    learner: Learner, actor_loss: Callable[[PyTree], tuple[Array, dict[str, Array]]],
    critic_loss: Callable[[PyTree], Array], hp: HParams,
) -> tuple[Learner, dict[str, Array]]:  # fmt: skip
    """One Adam step down each loss, which are functions of its parameters alone."""
    (actor_loss, metrics), grads = jax.value_and_grad(actor_loss, has_aux=True)(learner.actor)
    actor, actor_opt, actor_norm = adam_step(
        learner.actor, grads, learner.actor_opt, hp.actor_lr, hp.grad_norm_clip
    )
    critic_loss, grads = jax.value_and_grad(critic_loss)(learner.critic)
    critic, critic_opt, critic_norm = adam_step(
        learner.critic, grads, learner.critic_opt, hp.critic_lr, hp.grad_norm_clip
    )
    metrics |= {
        "actor_loss": actor_loss, "actor_grad_norm": actor_norm,
        "critic_loss": critic_loss, "critic_grad_norm": critic_norm,
    }  # fmt: skip
    learner = learner.replace(
        actor=actor, critic=critic, actor_opt=actor_opt, critic_opt=critic_opt
    )
    return learner, metrics


def log_probs(
    nets: Networks, params: PyTree, batch: Batch
) -> tuple[Float[Array, "T B N"], Float[Array, "T B N A"]]:
    """Log-probabilities of the actions that were taken, and the logits."""
    _, logits = nets.actor.unroll(
        params, batch.obs, batch.previous, batch.first, batch.carry.hidden
    )
    return take_action(jax.nn.log_softmax(mask_logits(logits, batch.avail)), batch.action), logits


def actor_objective(
    params: PyTree, nets: Networks, batch: Batch, hp: HParams, coef: Float[Array, ""]
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The clipped surrogate of every living agent, and the entropy of those with a choice."""
    return policy_loss(*log_probs(nets, params, batch), batch, hp, coef)


def policy_loss(
    log_prob: Float[Array, "T B N"], logits: Float[Array, "T B N A"], batch: Batch, hp: HParams,
    coef: Float[Array, ""],
) -> tuple[Float[Array, ""], dict[str, Array]]:  # fmt: skip
    """`actor_objective` of policies with these logits, and log-probabilities of what was done."""
    undecided = batch.living * (jnp.sum(batch.avail, axis=-1) >= 2)
    entropy = masked_mean(categorical_entropy(logits, batch.avail), undecided)
    loss = clipped_policy_loss(log_prob, batch.log_prob, batch.advantage, batch.living, hp.clip)
    change = jnp.where(batch.living > 0, log_prob - batch.log_prob, 0)
    ratio = jnp.exp(change)
    metrics = {
        "entropy": entropy,
        "clip_fraction": masked_mean(jnp.abs(ratio - 1) > hp.clip, undecided),
        "approx_kl": masked_mean(ratio - 1 - change, undecided),
    }
    return loss - coef * entropy, metrics


def critic_objective(params: PyTree, nets: Networks, batch: Batch, hp: HParams) -> Float[Array, ""]:
    """The clipped error of the values of all agents.

    Dead agents too: the advantages of their last steps are built on what is worth how much then.
    """
    _, value = values(nets, params, batch.view, batch.first, batch.carry.critic)
    return clipped_value_loss(value, batch.value, batch.target, batch.valid, hp.value_clip)


# --- values --------------------------------------------------------------------------------------


def critic_inputs(
    nets: Networks, obs: Float[Array, "*B N O"], state: Float[Array, "*B S"],
    alive: Bool[Array, "*B N"],
) -> Float[Array, "*B N C"]:  # fmt: skip
    """What the critic reads of every agent: the algorithm's view and the agent's index.

    With death masking (MAPPO paper, appendix) a dead agent's view is zeros: the index alone.
    """
    view = nets.view(obs, state)
    if nets.config.death_masking:
        view = jnp.where(alive[..., None], view, 0)
    return indexed_view(view) if nets.config.agent_id else view


def central_view(
    obs: Float[Array, "*B N O"], state: Float[Array, "*B S"]
) -> Float[Array, "*B N S+O"]:
    """The state as every agent's critic reads it, with its own observation behind."""
    state = jnp.broadcast_to(state[..., None, :], (*obs.shape[:-1], state.shape[-1]))
    return jnp.concatenate([state, obs], axis=-1)


def agents_view(
    obs: Float[Array, "*B N O"], state: Float[Array, "*B S"], alive: Bool[Array, "*B N"]
) -> Float[Array, "*B N C"]:
    """State, own observation and index; of the dead the index alone."""
    return indexed_view(jnp.where(alive[..., None], central_view(obs, state), 0))


def indexed_view(view: Float[Array, "*B N C"]) -> Float[Array, "*B N C+N"]:
    """With the agent's one-hot index behind."""
    n = view.shape[-2]
    index = jnp.broadcast_to(jnp.eye(n, dtype=view.dtype), (*view.shape[:-1], n))
    return jnp.concatenate([view, index], axis=-1)


def view_size(nets: Networks) -> int:
    """C of `critic_inputs`."""
    spec = nets.spec
    obs, state = jnp.zeros((spec.n_agents, spec.obs_size)), jnp.zeros(spec.state_size)
    alive = jnp.ones(spec.n_agents, bool)
    return jax.eval_shape(partial(critic_inputs, nets), obs, state, alive).shape[-1]


def values(
    nets: Networks, params: PyTree, view: Float[Array, "T B N C"], first: Bool[Array, "T B"],
    hidden: PyTree,
) -> tuple[PyTree, Float[Array, "T B N"]]:  # fmt: skip
    """The critic's memory behind the last slot, and its (normalised) values."""
    first = jnp.broadcast_to(first[..., None], view.shape[:-1])
    hidden, value, _ = nets.critic.apply(params, view, hidden, first)
    return hidden, value[..., 0]


def scratch_bytes(nets: Networks, rows: int) -> dict[str, int]:
    """The critic's inputs over the whole batch: float32; activations over a minibatch."""
    config, n = nets.config, nets.spec.n_agents
    part = -(-rows // config.minibatches)
    return policy_scratch(config.hidden, nets.spec, part) | {
        f"the critic's inputs over {rows} rows": 4 * rows * n * view_size(nets),
        f"the critic's activations over {part} rows": activation_bytes(
            part * n, config.critic_hidden, 1
        ),
    }


def policy_scratch(hidden: int, spec: TaskSpec, rows: int) -> dict[str, int]:
    """Activations of policies of that width: float32, with cotangents."""
    size = activation_bytes(rows * spec.n_agents, hidden, spec.n_actions)
    return {f"the policies' activations over {rows} rows": size}
