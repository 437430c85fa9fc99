"""LICA: Learning Implicit Credit Assignment (Zhou et al., NeurIPS 2020).

A centralised mixing critic Q(s, u) is fitted to TD(lambda) targets on the actions taken; the
decentralised policies then ascend Q at their own action *probabilities*, all agents at once, with
an entropy bonus whose strength adapts to the entropy itself.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
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
    joint_state,
    joint_state_size,
    make_actor,
    previous_actions,
    unroll_over,
)
from lica_jax.algorithms.lica.critics import make_critic
from lica_jax.algorithms.lica.insight import insight
from lica_jax.algorithms.lica.settings import Config, HParams
from lica_jax.algorithms.settings import for_task
from lica_jax.core import gaussian
from lica_jax.core.entropy import (
    categorical_entropy,
    categorical_kl,
    controlled,
    entropy_bonus,
    entropy_gap,
    kl_excess,
    undecided,
)
from lica_jax.core.gumbel import gumbel_softmax, straight_through
from lica_jax.core.losses import critic_loss, policy_value_loss, watched
from lica_jax.core.masking import explained, masked_mean, masked_softmax, take_action
from lica_jax.core.minibatches import stream_groups, take_streams
from lica_jax.core.optim import ADAM, adam_step, periodic_copy
from lica_jax.core.returns import (
    corrected_lambda_returns,
    lambda_returns,
    monte_carlo_returns,
    pymarl_lambda_returns,
    truncated_ratios,
)
from lica_jax.core.schedules import annealed
from lica_jax.networks.critics import (
    DuelingCritic,
    JointCritic,
    by_platform,
    with_one_replaced,
)
from lica_jax.types import Algorithm, Replay, TaskSpec, TimeStep, Trajectory

__all__ = ["Config", "HParams", "make"]


@struct.dataclass
class Learner:
    """Everything that LICA learns by its default settings; others add to it (`learner_with`)."""

    actor: PyTree
    critic: PyTree
    target_critic: PyTree  # () without one
    actor_opt: PyTree
    critic_opt: PyTree
    critic_steps: Int[Array, ""]
    last_copy: Int[Array, ""]


@cache
def learner_with(names: tuple[str, ...]) -> type[Learner]:
    """A learner with more arrays, a kind of its own for each configuration, so that a checkpoint
    holds nothing that it does not need:

    * ``average`` of the critic's parameters over batches (`critic_average`);
    * ``log_factor``: logarithm of the factor on xi, in entropy mode "target";
    * ``log_kl_factor``: of that on `kl_coef`, in KL mode "target".
    """
    annotations = dict.fromkeys(names, PyTree)
    return struct.dataclass(type("Learner", (Learner,), {"__annotations__": annotations}))


@struct.dataclass
class CriticBatch:
    """The critic's view of a trajectory; slots 0..T."""

    state: Float[Array, "T+1 B S"]
    action: Array  # taken: [T+1, B, N] indices or [T+1, B, N, D] points
    # The policies that took them, where they are asked for: [T+1, B, N, A], or [T+1, B, N, 2D].
    policy: Array | None
    valid: Bool[Array, "T B"]

    @property
    def mask(self) -> Float[Array, "T B"]:
        return self.valid.astype(self.state.dtype)


class Networks(NamedTuple):
    """The networks of one task, and the static choices behind them."""

    actor: Actor
    critic: JointCritic | DuelingCritic
    state_size: int  # of the critic's state
    config: Config
    spec: TaskSpec


def make_networks(config: Config, spec: TaskSpec) -> Networks:
    """Builds the actor and the critic; initialises nothing."""
    config = for_task(config, spec)
    actor = make_actor(spec, config)
    # A policy enters the critic as its parameters: A probabilities, or D means and D log-stds.
    joint = spec.n_agents * spec.n_actions * (2 if spec.continuous else 1)
    state_size = joint_state_size(actor, spec, config)
    if spec.continuous:  # every row uses all of W1(s)
        config = replace(config, critic_pass="dense")
    critic = make_critic(config, spec, state_size, joint)
    return Networks(actor, critic, state_size, config, spec)


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


def new_learner(actor: PyTree, critic: PyTree, target_critic: PyTree) -> Learner:
    """A learner with the given parameters before its first update."""
    return Learner(
        actor=actor,
        critic=critic,
        target_critic=target_critic,
        actor_opt=ADAM.init(actor),
        critic_opt=ADAM.init(critic),
        critic_steps=jnp.zeros((), jnp.int32),
        last_copy=jnp.zeros((), jnp.int32),
    )


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
    relaxation = draw_relaxation(nets, traj, key, hp, progress)
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


def averaged(learner: Learner, decay: Float[Array, ""], batches: Int[Array, ""]) -> PyTree:
    """The average of the critic's parameters, a batch later; ``batches``: learned from before it.

    The first batches count for more, so that a critic that knows nothing yet is soon forgotten.
    """
    decay = jnp.minimum(decay, (1 + batches) / (10 + batches))
    return jax.tree.map(lambda a, c: decay * a + (1 - decay) * c, learner.average, learner.critic)


def climbed(learner: Learner) -> PyTree:
    """The critic's parameters whose slopes the actor follows: their average, or the newest."""
    return getattr(learner, "average", learner.critic)


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


# --- critic --------------------------------------------------------------------------------------


def critic_batch(nets: Networks, traj: Trajectory) -> CriticBatch:
    """States (with all agents' previous actions where configured) and joint actions."""
    state = joint_state(nets.actor, traj, nets.config)
    return CriticBatch(state, traj.action, traj.extras.get("policy"), traj.valid)


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
    joint = [x.reshape(*state.shape[:-1], -1) for x in (u, policy)]
    if not config.asks_policies:
        return Values(*(nets.critic.apply(critic, state, x) for x in joint))
    inputs = [x[..., None, :] for x in joint]
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
        target_params, last_copy, _ = periodic_copy(
            params, learner.target_critic, steps, learner.last_copy, hp.target_interval
        )
        learner = learner.replace(target_critic=target_params, last_copy=last_copy)
    # The first step's figures are those of the critic that the batch met; the largest norm tells
    # whether any step went wrong.
    shown = {name: value[0] for name, value in metrics.items()}
    shown["critic_grad_norm"] = jnp.max(metrics["critic_grad_norm"])
    if corrected is not None:
        older = slice(-nets.config.replay_batch, None)
        weight, mask = corrected.weight[:-1, older], batch.mask[:, older]
        shown["importance_weight"] = masked_mean(weight, mask)
    return learner, shown | {"target_mean": masked_mean(target, batch.mask)}


# --- actor ---------------------------------------------------------------------------------------


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
    if nets.config.trust_region:
        params, held = within(hp.kl_limit, nets, learner.actor, params, old, traj, batch.mask)
        metrics |= held
    return learner.replace(actor=params, actor_opt=opt), metrics


def within(
    limit: Float[Array, ""],
    nets: Networks,
    before: PyTree,
    after: PyTree,
    old: Float[Array, "T B N A"],
    traj: Trajectory,
    mask: Float[Array, "T B"],
) -> tuple[PyTree, dict[str, Array]]:
    """The actor on its way from ``before`` to ``after``, where KL(old || new) is ``limit``.

    To second order KL is the square of the way: where it is more than ``limit``, that is ``before +
    sqrt(limit / KL) (after - before)`` (as Schulman et al., 2015, scale a natural step).
    """
    new = unroll_over(nets.actor, after, traj)[:-1]
    kl = masked_mean(categorical_kl(old, new, traj.steps.avail[:-1]), mask)
    share = jnp.sqrt(jnp.where(kl > limit, limit / jnp.where(kl > limit, kl, 1), 1))

    def part(x, y):
        return jnp.where(share < 1, x + share * (y - x), y)

    return jax.tree.map(part, before, after), {"kl": kl, "kl_share": share}


def scratch_bytes(nets: Networks, rows: int) -> dict[str, int]:
    """The critic's largest temporaries and the actor's: float32, values and cotangents."""
    config, n = nets.config, nets.spec.n_agents
    # See `taken_values`: two passes, or one of several inputs, which W1(s) serves together.
    several = 2 + (n if config.critic_soft_inputs else 0)
    together = config.asks_policies and config.critic == "mixing"
    passes = several if config.asks_policies or nets.spec.continuous else 1
    sizes = nets.critic.scratch_numbers(rows if together else passes * rows)
    if config.asks_policies:
        width = nets.critic.n_inputs + 2 * config.mixing_embed
        sizes["the critic's joint inputs"] = rows * several * width
    actor = activation_bytes(rows * n, config.hidden, nets.actor.head.n_outputs)
    if config.state_obs:
        sizes["the critic's states"] = rows * nets.state_size
    critic = {name: 2 * 4 * size for name, size in sizes.items()}
    return critic | {"the actor's activations": actor}
