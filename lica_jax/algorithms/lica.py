"""LICA: Learning Implicit Credit Assignment (Zhou et al., NeurIPS 2020).

A centralised mixing critic Q(s, u) is fitted to TD(lambda) targets on the actions taken; the
decentralised policies then ascend Q at their own action *probabilities*, all agents at once, with
an entropy bonus whose strength adapts to the entropy itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from lica_jax.algorithms.actors import (
    Actor,
    ActorCarry,
    actor_step,
    make_actor,
    previous_actions,
)
from lica_jax.core.entropy import ENTROPY_MODES, categorical_entropy, entropy_bonus
from lica_jax.core.losses import critic_loss, policy_value_loss
from lica_jax.core.masking import mask_logits, masked_mean, masked_softmax
from lica_jax.core.optim import ADAM, adam_step, periodic_copy
from lica_jax.core.returns import lambda_returns
from lica_jax.networks.critics import MixingCritic
from lica_jax.types import Algorithm, TaskSpec, TimeStep, Trajectory

PyTree = Any


@dataclass(frozen=True)
class Config:
    """Static choices; changing one recompiles. Defaults are the official code's.

    Attributes:
      actor: recurrent or feed-forward agents.
      hidden: width of the agents' layers and of the GRU.
      share_params: one network for all agents, or one each.
      agent_id: append the agent's one-hot index to its input.
      last_action: append the agent's own previous action to its input.
      state_last_action: append all agents' previous actions to the critic's state.
      mixing_embed: E, width of the mixing critic.
      hypernet_layers: 1 or 2.
      hypernet_hidden: width of W1's hypernetwork: "full" (N*A*E, the paper's code) or a number.
      critic_steps: gradient steps of the critic on each batch.
      entropy_mode: what the entropy is averaged over before it divides xi.
    """

    actor: Literal["gru", "mlp"] = "gru"
    hidden: int = 64
    share_params: bool = True
    agent_id: bool = True
    last_action: bool = True
    state_last_action: bool = True
    mixing_embed: int = 64
    hypernet_layers: Literal[1, 2] = 2
    hypernet_hidden: int | Literal["full"] = "full"
    critic_steps: int = 1
    entropy_mode: Literal["global", "agent", "sample", "constant"] = "global"

    def problems(self) -> list[str]:
        """What is wrong with these values, one line each."""
        out = []
        for name in ("hidden", "mixing_embed", "critic_steps"):
            if getattr(self, name) < 1:
                out.append(f"algo.{name} must be at least 1, got {getattr(self, name)}")
        if self.hypernet_layers not in (1, 2):
            out.append(f"algo.hypernet_layers must be 1 or 2, got {self.hypernet_layers}")
        width = self.hypernet_hidden
        if width != "full" and (not isinstance(width, int) or width < 1):
            out.append(f'algo.hypernet_hidden must be "full" or at least 1, got {width!r}')
        if self.actor not in ("gru", "mlp"):
            out.append(f'algo.actor must be "gru" or "mlp", got {self.actor!r}')
        if self.entropy_mode not in ENTROPY_MODES:
            out.append(
                f"algo.entropy_mode must be one of {ENTROPY_MODES}, got {self.entropy_mode!r}"
            )
        return out


@struct.dataclass
class HParams:
    """Traced numbers: they can be swept without recompiling. Defaults are the official code's.

    Attributes:
      actor_lr: Adam step size of the actor.
      critic_lr: Adam step size of the critic.
      gamma: discount.
      td_lambda: lambda of the TD(lambda) targets.
      entropy_coef: xi of Eq. 6 (beta in entropy mode "constant").
      grad_norm_clip: largest gradient norm, of actor and critic separately.
      target_interval: critic gradient steps between copies into the target critic.
      reward_scale: factor on rewards before learning; None takes the task's own.
    """

    actor_lr: float = 2.5e-3
    critic_lr: float = 5e-4
    gamma: float = 0.99
    td_lambda: float = 0.8
    entropy_coef: float = 0.06
    grad_norm_clip: float = 10.0
    target_interval: int = 200
    reward_scale: float | None = None


@struct.dataclass
class Learner:
    """Everything LICA learns."""

    actor: PyTree
    critic: PyTree
    target_critic: PyTree
    actor_opt: PyTree
    critic_opt: PyTree
    critic_steps: Int[Array, ""]
    last_copy: Int[Array, ""]


@struct.dataclass
class CriticBatch:
    """The critic's view of a trajectory; slots 0..T."""

    state: Float[Array, "T+1 B S"]
    action: Float[Array, "T+1 B M"]  # one-hot joint action, agent-major
    mask: Float[Array, "T B"]


class Networks(NamedTuple):
    """The networks of one task, and the static choices behind them."""

    actor: Actor
    critic: MixingCritic
    config: Config
    spec: TaskSpec


def make_networks(config: Config, spec: TaskSpec) -> Networks:
    """Builds the actor and the mixing critic; initialises nothing."""
    actor = make_actor(
        spec, network=config.actor, hidden=config.hidden, share_params=config.share_params,
        agent_id=config.agent_id, last_action=config.last_action,
    )  # fmt: skip
    critic = MixingCritic(config.mixing_embed, config.hypernet_layers, config.hypernet_hidden)
    return Networks(actor, critic, config, spec)


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
        metrics=("entropy",),
    )


def init(nets: Networks, key: Array) -> Learner:
    """Fresh networks (PyTorch's default initialisation); the target equals the critic."""
    actor_key, critic_key = jax.random.split(key)
    joint = nets.spec.n_agents * nets.spec.n_actions
    state_size = nets.spec.state_size + (joint if nets.config.state_last_action else 0)
    actor = nets.actor.init(actor_key)
    critic = nets.critic.init(critic_key, jnp.zeros(state_size), jnp.zeros(joint))
    return new_learner(actor, critic, critic)


def new_learner(actor: PyTree, critic: PyTree, target_critic: PyTree) -> Learner:
    """A learner with the given parameters before its first update."""
    return Learner(
        actor=actor,
        critic=critic,
        # A copy: the loop donates its buffers, and one buffer cannot be donated twice.
        target_critic=jax.tree.map(jnp.copy, target_critic),
        actor_opt=ADAM.init(actor),
        critic_opt=ADAM.init(critic),
        critic_steps=jnp.zeros((), jnp.int32),
        last_copy=jnp.zeros((), jnp.int32),
    )


def act(nets: Networks, params, carry: ActorCarry, ts: TimeStep, key, *, hp, progress, explore):
    """Samples from the masked policy where ``explore``, else takes its most likely action."""
    del hp, progress
    hidden, logits = actor_step(nets.actor, params, carry, ts.obs, ts.first)
    logits = mask_logits(logits, ts.avail)
    # Gumbel-max on the masked logits, as the official selector does in training.
    sampled = jax.random.categorical(key, logits)
    greedy = jnp.argmax(logits, axis=-1)
    action = jnp.where(explore[:, None], sampled, greedy).astype(jnp.int32)
    return ActorCarry(hidden=hidden, last_action=action), action, {}


def update(
    nets: Networks, learner: Learner, traj: Trajectory, key: Array, *, hp: HParams, progress: Any
) -> tuple[Learner, dict[str, Array]]:
    """Critic first, then the actor with the just-updated critic (the official order)."""
    del key, progress
    batch = critic_batch(nets, traj)
    learner, critic_metrics = update_critic(nets, learner, batch, traj, hp)
    learner, actor_metrics = update_actor(nets, learner, batch, traj, hp)
    metrics = critic_metrics | actor_metrics
    # Norms too: an infinite gradient may hide behind a finite loss.
    loss = metrics["critic_loss"] + metrics["actor_loss"]
    guard = metrics["critic_grad_norm"] + metrics["actor_grad_norm"]
    return learner, metrics | {"loss": jnp.where(jnp.isfinite(guard), loss, jnp.nan)}


# --- critic --------------------------------------------------------------------------------------


def critic_batch(nets: Networks, traj: Trajectory) -> CriticBatch:
    """States (with all agents' previous actions where configured) and one-hot joint actions."""
    state, n_actions = traj.steps.state, nets.spec.n_actions
    one_hot = joint_one_hot(traj.action, n_actions, state.dtype)
    if nets.config.state_last_action:
        previous = joint_one_hot(previous_actions(traj), n_actions, state.dtype)
        state = jnp.concatenate([state, previous], axis=-1)
    return CriticBatch(state=state, action=one_hot, mask=traj.valid.astype(state.dtype))


def joint_one_hot(action: Int[Array, "*B N"], n_actions: int, dtype: Any) -> Float[Array, "*B M"]:
    """Concatenated one-hot actions of all agents, agent-major; ``NO_ACTION`` gives zeros."""
    one_hot = jax.nn.one_hot(action, n_actions, dtype=dtype)
    return one_hot.reshape(*action.shape[:-1], -1)


def critic_targets(
    nets: Networks, target_critic: PyTree, batch: CriticBatch, traj: Trajectory, hp: HParams
) -> Float[Array, "T B"]:
    """TD(lambda) targets (Eq. 2) of the target critic at the stored joint actions."""
    q = nets.critic.apply(target_critic, batch.state, batch.action)
    terminal, truncated = traj.steps.terminated[1:], traj.steps.truncated[1:]
    return lambda_returns(
        q, traj.steps.reward[1:], terminal, terminal | truncated, traj.valid,
        hp.gamma, hp.td_lambda,
    )  # fmt: skip


def critic_objective(
    params: PyTree, nets: Networks, batch: CriticBatch, target: Float[Array, "T B"]
) -> tuple[Float[Array, ""], Float[Array, "T B"]]:
    """The critic's loss (Eq. 2) and Q at the stored joint actions."""
    q = nets.critic.apply(params, batch.state[:-1], batch.action[:-1])
    return critic_loss(q, target, batch.mask), q


def update_critic(
    nets: Networks, learner: Learner, batch: CriticBatch, traj: Trajectory, hp: HParams
) -> tuple[Learner, dict[str, Array]]:
    """`critic_steps` Adam steps towards one set of targets, then a target copy if due."""
    target = critic_targets(nets, learner.target_critic, batch, traj, hp)
    gradient = jax.value_and_grad(critic_objective, has_aux=True)

    def step(carry, _):
        params, opt = carry
        (loss, q), grads = gradient(params, nets, batch, target)
        params, opt, norm = adam_step(params, grads, opt, hp.critic_lr, hp.grad_norm_clip)
        return (params, opt), {
            "critic_loss": loss,
            "critic_grad_norm": norm,
            "td_error_abs": masked_mean(jnp.abs(q - target), batch.mask),
            "q_taken_mean": masked_mean(q, batch.mask),
        }

    start, n = (learner.critic, learner.critic_opt), nets.config.critic_steps
    (params, opt), metrics = jax.lax.scan(step, start, None, length=n)
    steps = learner.critic_steps + n
    target_params, last_copy, _ = periodic_copy(
        params, learner.target_critic, steps, learner.last_copy, hp.target_interval
    )
    learner = learner.replace(
        critic=params, critic_opt=opt, target_critic=target_params,
        critic_steps=steps, last_copy=last_copy,
    )  # fmt: skip
    # The first step's figures are those of the critic that the batch met; the largest norm tells
    # whether any step went wrong.
    shown = {name: value[0] for name, value in metrics.items()}
    shown["critic_grad_norm"] = jnp.max(metrics["critic_grad_norm"])
    return learner, shown | {"target_mean": masked_mean(target, batch.mask)}


# --- actor ---------------------------------------------------------------------------------------


def actor_objective(
    params: PyTree,
    nets: Networks,
    critic: PyTree,
    batch: CriticBatch,
    traj: Trajectory,
    hp: HParams,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The actor's loss (Eq. 3, 4 and 6): Q at all agents' action probabilities, and entropy.

    ``critic`` are constants here: the gradient goes through the probabilities only.
    """
    steps = jax.tree.map(lambda x: x[:-1], traj.steps)
    previous = previous_actions(traj)[:-1]
    _, logits = nets.actor.unroll(params, steps.obs, previous, steps.first, traj.carry.hidden)
    probs = masked_softmax(logits, steps.avail)
    entropy = categorical_entropy(logits, steps.avail)
    choices = jnp.sum(steps.avail, axis=-1)
    q = nets.critic.apply(critic, batch.state[:-1], probs.reshape(*probs.shape[:2], -1))
    bonus, coef = entropy_bonus(
        entropy, choices, batch.mask, hp.entropy_coef, nets.config.entropy_mode
    )
    undecided = batch.mask[..., None] * (choices >= 2)
    return policy_value_loss(q, bonus, batch.mask), {
        "entropy": masked_mean(entropy, batch.mask),
        "entropy_coef_effective": coef,
        "q_policy_mean": masked_mean(q, batch.mask),
        "max_pi": masked_mean(jnp.max(probs, axis=-1), undecided),
    }


def update_actor(
    nets: Networks, learner: Learner, batch: CriticBatch, traj: Trajectory, hp: HParams
) -> tuple[Learner, dict[str, Array]]:
    """One Adam step of the actor under the current critic."""
    gradient = jax.value_and_grad(actor_objective, has_aux=True)
    (loss, metrics), grads = gradient(learner.actor, nets, learner.critic, batch, traj, hp)
    params, opt, norm = adam_step(
        learner.actor, grads, learner.actor_opt, hp.actor_lr, hp.grad_norm_clip
    )
    learner = learner.replace(actor=params, actor_opt=opt)
    return learner, metrics | {"actor_loss": loss, "actor_grad_norm": norm}


def scratch_bytes(nets: Networks, rows: int) -> dict[str, int]:
    """The critic's largest temporaries: float32, the value and its cotangent."""
    config = nets.config
    full = nets.spec.n_agents * nets.spec.n_actions * config.mixing_embed
    hidden = full if config.hypernet_hidden == "full" else config.hypernet_hidden
    return {
        "the critic's hyper-weights W1(s)": 2 * 4 * rows * full,
        "the hidden layer of W1's hypernetwork": 2 * 4 * rows * hidden,
    }
