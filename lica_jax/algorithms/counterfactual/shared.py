"""What COMA and LIIR share: policies with an epsilon floor, and a critic fitted backwards in time.

Both learn from fresh trajectories. A critic that all agents share reads, for every agent, the
state, that agent's observation and what the others do; it is regressed on TD(lambda) targets of
every agent. Then the actor takes one step along a policy gradient with advantages of every agent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.special import entr
from jaxtyping import Array, Bool, Float, Int, PyTree

from lica_jax.algorithms.actors import (
    Actor,
    ActorCarry,
    activation_bytes,
    actor_step,
    forget,
    make_actor,
    previous_actions,
    unroll_over,
)
from lica_jax.algorithms.counterfactual.settings import Config, HParams
from lica_jax.algorithms.heads import sample_index
from lica_jax.algorithms.settings import epsilon
from lica_jax.core.exploration import epsilon_floor
from lica_jax.core.losses import critic_loss, watched_sum
from lica_jax.core.masking import mask_logits, masked_mean, take_action
from lica_jax.core.optim import clipped_step, init_optimiser, periodic_copy
from lica_jax.networks.counterfactual import critic_inputs
from lica_jax.networks.layers import MLP
from lica_jax.types import (
    Acting,
    Algorithm,
    Insight,
    Outlook,
    TaskSpec,
    TimeStep,
    Trajectory,
)


@struct.dataclass
class Learner:
    """Everything that is learned."""

    actor: PyTree
    critic: PyTree
    target_critic: PyTree
    actor_opt: PyTree
    critic_opt: PyTree
    critic_steps: Int[Array, ""]
    last_copy: Int[Array, ""]


class Networks(NamedTuple):
    """The networks of one task, and the static choices behind them."""

    actor: Actor
    critic: MLP  # inputs of one agent -> its values
    config: Config
    spec: TaskSpec


def make_networks(config: Config, spec: TaskSpec, n_values: int) -> Networks:
    """The actor, and a critic of ``n_values`` outputs; initialises nothing."""
    actor = make_actor(spec, config)
    critic = MLP((config.critic_hidden, config.critic_hidden, n_values))
    return Networks(actor, critic, config, spec)


def algorithm(
    nets: Networks, init: Callable, update: Callable, hparams: PyTree, insight: Insight
) -> Algorithm:
    """The algorithm of some networks, ``init(nets, key)`` and ``update(nets, ...)``."""
    return Algorithm(
        init=partial(init, nets),
        initial_carry=nets.actor.initial_carry,
        act=partial(act, nets),
        update=partial(update, nets),
        policy=lambda learner: learner.actor,
        scratch_bytes=partial(scratch_bytes, nets),
        hparams=hparams,
        metrics=("entropy", "epsilon"),
        acting=acting(nets),
        insight=insight,
    )


def acting(nets: Networks) -> Acting:
    """`act` as data."""
    choice = "epsilon_floor" if nets.config.mask_before_softmax else "epsilon_floor_over_all"
    return replace(nets.actor.acting, choice=choice, number="epsilon_finish")


def n_critic_inputs(spec: TaskSpec) -> int:
    """F: how many numbers the critic reads of an agent, all `critic_inputs` together."""
    joint = spec.n_agents * spec.n_actions
    return spec.state_size + spec.obs_size + 2 * joint + spec.n_agents


def init_critic(nets: Networks, key: Array) -> PyTree:
    return nets.critic.init(key, jnp.zeros(n_critic_inputs(nets.spec)))


def scratch_bytes(nets: Networks, rows: int) -> dict[str, int]:
    """The critic's inputs, its activations and the actor's: float32, values and cotangents."""
    config, spec = nets.config, nets.spec
    joint, steps, rows = spec.n_agents * spec.n_actions, rows, rows * spec.n_agents
    own = spec.obs_size + joint + spec.n_agents  # the state and previous actions are of all
    at_once = 1 if config.critic_mode == "joint" else 0  # sequentially, only a target's pass is
    return {
        "the critic's inputs": 4 * (rows * own + steps * (spec.state_size + joint)),
        "the critic's activations": 4 * (1 + 2 * at_once) * rows * 2 * config.critic_hidden,
        "the actor's activations": activation_bytes(rows, config.hidden, spec.n_actions),
    }


# --- the policy ----------------------------------------------------------------------------------


def act(nets: Networks, params, carry: ActorCarry, ts: TimeStep, key, *, hp, progress, explore):
    """Samples the policy with its floor where ``explore``, else takes the best available action."""
    hidden, logits = actor_step(nets.actor, params, carry, ts.obs, ts.first)
    floor = epsilon(hp, progress)
    probs = epsilon_floor(logits, ts.avail, floor, nets.config.mask_before_softmax)
    tiny = jnp.finfo(probs.dtype).tiny
    sampled = sample_index(mask_logits(jnp.log(jnp.maximum(probs, tiny)), ts.avail), key)
    greedy = jnp.argmax(mask_logits(logits, ts.avail), axis=-1)
    action = jnp.where(explore[:, None], sampled, greedy).astype(jnp.int32)
    return ActorCarry(hidden=hidden, last_action=action), action, {}


def policy(
    nets: Networks, params: PyTree, traj: Trajectory, floor: Float[Array, ""]
) -> Float[Array, "T B N A"]:
    """The policy that `act` samples, at every transition of a trajectory."""
    logits = unroll_over(nets.actor, params, traj)[:-1]
    avail = traj.steps.avail[:-1]
    return epsilon_floor(logits, avail, floor, nets.config.mask_before_softmax)


def log_taken(probs: Float[Array, "T B N A"], traj: Trajectory) -> Float[Array, "T B N"]:
    """``log pi(u)`` of the actions that were played; 0 where no transition happened."""
    taken = take_action(probs, traj.action[:-1])
    return jnp.log(jnp.where(traj.valid[..., None], taken, 1))


def policy_gradient_loss(
    log_prob: Float[Array, "T B N"], advantage: Float[Array, "T B N"], valid: Bool[Array, "T B"]
) -> Float[Array, ""]:
    """``-E[A log pi(u)]`` over valid transitions and agents; A is held constant."""
    return -masked_mean(jax.lax.stop_gradient(advantage) * log_prob, valid)


def policy_metrics(probs: Float[Array, "T B N A"], advantage, valid) -> dict[str, Array]:
    """What there is to say about a policy and its advantages."""
    return {
        "advantage_mean": masked_mean(advantage, valid),
        "max_pi": masked_mean(jnp.max(probs, axis=-1), valid),
        "entropy": masked_mean(jnp.sum(entr(probs), axis=-1), valid),
    }


def update_actor(
    nets: Networks,
    learner: Learner,
    objective: Callable[[PyTree], tuple[Array, Any]],
    hp: HParams,
) -> tuple[Learner, Any, dict[str, Array]]:
    """One clipped step of the actor on ``objective(params) -> (loss, aux)``; also returns aux."""
    (loss, aux), grads = jax.value_and_grad(objective, has_aux=True)(learner.actor)
    params, opt, norm = clipped_step(
        nets.config.optimiser, learner.actor, grads, learner.actor_opt, hp.actor_lr,
        hp.grad_norm_clip, hp.rms,
    )  # fmt: skip
    learner = learner.replace(actor=params, actor_opt=opt)
    return learner, aux, {"actor_loss": loss, "actor_grad_norm": norm}


def look(
    nets: Networks, params: PyTree, critic: PyTree, carry: ActorCarry, ts: TimeStep, action: Array,
    hp: HParams,
) -> tuple[Outlook, Float[Array, "B N V"] | None]:  # fmt: skip
    """For `Insight.look`: the policies that are sampled, and the critic's values where there is
    one, of each agent's actions while the others do what they do."""
    _, logits = actor_step(nets.actor, params, carry, ts.obs, ts.first)
    mask_first = nets.config.mask_before_softmax
    probs = epsilon_floor(logits, ts.avail, hp.epsilon_finish, mask_first)
    out = Outlook(probs, jnp.sum(entr(probs), axis=-1))
    if critic is None:
        return out, None
    encode, dtype = nets.actor.head.encode, ts.obs.dtype
    previous = forget(nets.actor.head, carry.last_action, ts.first)
    parts = critic_inputs(ts.state, ts.obs, encode(action, dtype), encode(previous, dtype))
    return out, nets.critic.apply(critic, parts)


# --- the critic ----------------------------------------------------------------------------------


@struct.dataclass
class Regression:
    """Rows for the critic to be fitted to; a cut along T is one too."""

    inputs: tuple[Float[Array, "T B #N F_p"], ...]  # `critic_inputs`
    column: Int[Array, "T B N"]  # which of the critic's outputs the target is for
    target: Float[Array, "T B N"]
    valid: Bool[Array, "T B"]


def inputs_over(nets: Networks, traj: Trajectory) -> tuple[Float[Array, "T+1 B #N F_p"], ...]:
    """`critic_inputs` at every slot of a trajectory."""
    steps, encode = traj.steps, nets.actor.head.encode
    dtype = steps.obs.dtype
    previous = previous_actions(nets.actor.head, traj)
    return critic_inputs(
        steps.state, steps.obs, encode(traj.action, dtype), encode(previous, dtype)
    )


def but_last(parts: tuple[Float[Array, "T+1 ..."], ...]) -> tuple[Float[Array, "T ..."], ...]:
    """Of the slots from which a transition was made."""
    return tuple(x[:-1] for x in parts)


def critic_objective(
    params: PyTree, nets: Networks, rows: Regression
) -> tuple[Float[Array, ""], tuple[Float[Array, "T B N K"], dict[str, Array]]]:
    """``E[(V - y)^2]`` over valid rows and agents, with all outputs of the critic."""
    outputs = nets.critic.apply(params, rows.inputs)
    value = take_action(outputs, rows.column)
    mask = jnp.broadcast_to(rows.valid[..., None], value.shape).astype(value.dtype)
    shown = {
        "td_error_abs": masked_mean(jnp.abs(value - rows.target), mask),
        "value_mean": masked_mean(value, mask),
        "target_mean": masked_mean(rows.target, mask),
    }
    return critic_loss(value, rows.target, mask), (outputs, shown)


def sweep_critic(
    nets: Networks, params: PyTree, opt: PyTree, rows: Regression, hp: HParams
) -> tuple[tuple[PyTree, PyTree], tuple[Array, Bool[Array, " P"], dict[str, Array]]]:
    """Goes through the rows once, backwards in time: P gradient steps, T of them or one.

    A piece without a valid row is skipped, optimiser state and all, and its outputs are 0.

    Returns:
      ``(params, opt)``; the outputs ``[T, B, N, K]``, each made by the critic just before the step
      on its own rows, so *after* those on later ones (PyMARL's); which steps were taken; their
      figures ``[P]``.
    """
    length = rows.valid.shape[0]
    n_pieces = length if nets.config.critic_mode == "sequential" else 1
    steps = length // n_pieces  # not -1: a task without a state has rows of no numbers
    pieces = jax.tree.map(lambda x: x.reshape(n_pieces, steps, *x.shape[1:]), rows)

    def step(state, piece: Regression):
        needed = jnp.any(piece.valid)
        gradient = jax.value_and_grad(critic_objective, has_aux=True)
        (loss, (outputs, shown)), grads = gradient(state[0], nets, piece)
        *after, norm = clipped_step(
            nets.config.optimiser, state[0], grads, state[1], hp.critic_lr, hp.grad_norm_clip,
            hp.rms,
        )  # fmt: skip
        state = jax.tree.map(lambda new, old: jnp.where(needed, new, old), tuple(after), state)
        shown |= {"critic_loss": loss, "critic_grad_norm": norm}
        return state, (jnp.where(needed, outputs, 0), needed, shown)

    state, (outputs, taken, shown) = jax.lax.scan(step, (params, opt), pieces, reverse=True)
    return state, (outputs.reshape(length, *outputs.shape[2:]), taken, shown)


def fit_critic(
    nets: Networks, params: PyTree, opt: PyTree, rows: Regression, hp: HParams
) -> tuple[tuple[PyTree, PyTree], Float[Array, "T B N K"], Int[Array, ""], dict[str, Array]]:
    """``critic_steps`` sweeps.

    Returns ``(params, opt)``, the outputs of the last sweep, the number of gradient steps, and
    figures as means over them.
    """

    def again(state, _):
        return sweep_critic(nets, *state, rows, hp)

    n = nets.config.critic_steps
    state, (outputs, taken, shown) = jax.lax.scan(again, (params, opt), None, length=n)
    shown = {name: masked_mean(x, taken) for name, x in shown.items()}
    return state, outputs[-1], jnp.sum(taken, dtype=jnp.int32), shown


def finish(
    learner: Learner, n_steps: Int[Array, ""], metrics: dict[str, Array], hp: HParams
) -> tuple[Learner, dict[str, Array]]:
    """Counts the critic's steps, copies into the target if due, and gives the loss to watch."""
    steps = learner.critic_steps + n_steps
    target, last_copy = periodic_copy(
        learner.critic, learner.target_critic, steps, learner.last_copy, hp.target_interval
    )
    learner = learner.replace(target_critic=target, critic_steps=steps, last_copy=last_copy)
    return learner, metrics | {"loss": watched_sum(metrics)}


def start(
    nets: Networks, actor: PyTree, critic: PyTree, target_critic: PyTree, fitted: PyTree
) -> dict[str, PyTree]:
    """The fields of a `Learner` before its first update; ``fitted``: what `fit_critic` fits."""
    return {
        "actor": actor,
        "critic": critic,
        "target_critic": target_critic,
        "actor_opt": init_optimiser(nets.config.optimiser, actor),
        "critic_opt": init_optimiser(nets.config.optimiser, fitted),
        "critic_steps": jnp.zeros((), jnp.int32),
        "last_copy": jnp.zeros((), jnp.int32),
    }
