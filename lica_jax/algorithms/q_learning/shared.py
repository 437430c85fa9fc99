"""What IQL, VDN, QMIX and QTRAN share: recurrent Q-learning of agents from replayed episodes.

Every agent has a utility Q_i(o_i, u_i) from which it chooses epsilon-greedily. The algorithms
differ in their loss: `td_objective` with a mixer, or an objective of their own. All of them take
one clipped optimiser step per minibatch and copy everything into a target once in a while.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, PyTree

from lica_jax.algorithms.actors import (
    Actor,
    ActorCarry,
    activation_bytes,
    actor_step,
    joint_state,
    joint_state_size,
    make_actor,
    unroll_over,
)
from lica_jax.algorithms.q_learning.insight import insight
from lica_jax.algorithms.q_learning.settings import Config, HParams
from lica_jax.algorithms.settings import epsilon, for_task
from lica_jax.core.exploration import epsilon_greedy
from lica_jax.core.losses import critic_loss, watched
from lica_jax.core.masking import mask_logits, masked_mean, take_action
from lica_jax.core.optim import RMSProp, clipped_step, init_optimiser, periodic_copy
from lica_jax.core.returns import lambda_returns
from lica_jax.types import Algorithm, TaskSpec, TimeStep, Trajectory


@struct.dataclass
class Params:
    """The agents' network and whatever joins their values."""

    agent: PyTree
    mixer: PyTree


@struct.dataclass
class Learner:
    """Everything that is learned."""

    params: Params
    target: Params
    opt: PyTree
    last_copy: Int[Array, ""]  # episodes that had finished then


class Networks(NamedTuple):
    """The networks of one task, the loss, and the static choices behind them."""

    agent: Actor
    mixer: Any  # a flax module
    objective: Callable[..., tuple[Array, dict[str, Array]]]
    init_mixer: Callable[[Array], PyTree]
    config: Config
    spec: TaskSpec
    state_size: int  # of `joint_state`


def make(config: Config, spec: TaskSpec, mixer: Any) -> Algorithm:
    """Q-learning with ``mixer(q [T, B, N], state [T, B, S]) -> [T, B, K]``."""
    return algorithm(make_networks(config, spec, mixer))


def make_networks(config: Config, spec: TaskSpec, mixer: Any) -> Networks:
    """The networks of Q-learning with a mixer; initialises nothing."""
    config = for_task(config, spec)
    agent = make_actor(spec, config)
    size = joint_state_size(agent, spec, config)
    zeros = jnp.zeros(spec.n_agents), jnp.zeros(size)
    return Networks(
        agent, mixer, td_objective, lambda key: mixer.init(key, *zeros), config, spec, size
    )


def algorithm(nets: Networks, hparams: Any = None) -> Algorithm:
    """The algorithm of some networks and their objective."""
    return Algorithm(
        init=partial(init, nets),
        initial_carry=nets.agent.initial_carry,
        act=partial(act, nets),
        update=partial(update, nets),
        policy=lambda learner: learner.params.agent,
        scratch_bytes=partial(scratch_bytes, nets),
        hparams=HParams() if hparams is None else hparams,
        metrics=("epsilon", "q_taken_mean"),
        replay=nets.config.replay("segment"),
        acting=replace(nets.agent.acting, choice="epsilon_greedy", number="epsilon_finish"),
        insight=insight(nets, mixes=nets.objective is td_objective),
    )


def init(nets: Networks, key: Array) -> Learner:
    """Fresh networks (PyTorch's default initialisation); the targets equal them."""
    agent_key, mixer_key = jax.random.split(key)
    params = Params(nets.agent.init(agent_key), nets.init_mixer(mixer_key))
    return new_learner(nets, params, params)


def new_learner(nets: Networks, params: Params, target: Params) -> Learner:
    """A learner with the given parameters before its first update."""
    opt = init_optimiser(nets.config.optimiser, params)
    return Learner(params, target, opt, jnp.zeros((), jnp.int32))


def act(nets: Networks, params, carry: ActorCarry, ts: TimeStep, key, *, hp, progress, explore):
    """Epsilon-greedily where ``explore``, else the best available action."""
    hidden, q = actor_step(nets.agent, params, carry, ts.obs, ts.first)
    rate = jnp.where(explore, epsilon(hp, progress), 0)[:, None]
    action = epsilon_greedy(q, ts.avail, rate, key)
    return ActorCarry(hidden=hidden, last_action=action), action, {}


def update(
    nets: Networks, learner: Learner, traj: Trajectory, key: Array, *, hp: HParams, progress: Any
) -> tuple[Learner, dict[str, Array]]:
    """One step on a minibatch, then a target copy if due."""
    del key
    hp = hp.at(progress.env_steps)
    gradient = jax.value_and_grad(nets.objective, has_aux=True)
    (loss, metrics), grads = gradient(learner.params, nets, learner.target, traj, hp)
    params, opt, norm = clipped_step(
        nets.config.optimiser, learner.params, grads, learner.opt, hp.lr, hp.grad_norm_clip,
        RMSProp(hp.rms_decay, hp.rms_eps),
    )  # fmt: skip
    target, last_copy = periodic_copy(
        params, learner.target, progress.episodes, learner.last_copy, hp.target_interval
    )
    metrics |= {"grad_norm": norm, "epsilon": epsilon(hp, progress)}
    metrics["loss"] = watched(loss, norm)
    return Learner(params, target, opt, last_copy), metrics


# --- the loss ------------------------------------------------------------------------------------


def greedy(q: Float[Array, "... A"], avail) -> Int[Array, "..."]:
    """The best available action; 0 in padding, where none is."""
    return jnp.argmax(mask_logits(q, avail), axis=-1)


def td_targets(
    value: Float[Array, "T+1 B K"], traj: Trajectory, hp: HParams
) -> Float[Array, "T B K"]:
    """``r_t + gamma (1 - d_t) value_{t+1}`` at lambda 0; the team's reward for each of K values."""
    reward = traj.steps.reward[1:]
    return lambda_returns(value, reward, *traj.endings(), hp.gamma, hp.td_lambda)


def td_objective(
    params: Params, nets: Networks, target: Params, traj: Trajectory, hp: HParams
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The mean squared TD error of the mixed values (QMIX paper, Eq. 6).

    The next joint action is every agent's best one: by the online utilities with double Q (van
    Hasselt et al., AAAI 2016), by the target's without.
    """
    q = unroll_over(nets.agent, params.agent, traj)
    target_q = unroll_over(nets.agent, target.agent, traj)
    state = joint_state(nets.agent, traj, nets.config)
    best = greedy(jax.lax.stop_gradient(q) if nets.config.double_q else target_q, traj.steps.avail)
    taken = nets.mixer.apply(params.mixer, take_action(q, traj.action)[:-1], state[:-1])
    following = nets.mixer.apply(target.mixer, take_action(target_q, best), state)
    y = td_targets(following, traj, hp)
    mask = traj.valid.astype(q.dtype)[..., None]
    shown = {
        "td_error_abs": masked_mean(jnp.abs(taken - y), mask),
        "q_taken_mean": masked_mean(taken, mask),
        "target_mean": masked_mean(y, mask),
    }
    return critic_loss(taken, y, jnp.broadcast_to(mask, y.shape)), shown


def scratch_bytes(nets: Networks, rows: int) -> dict[str, int]:
    """The agents' activations, online and, without cotangents, target; and long states."""
    one = activation_bytes(rows * nets.spec.n_agents, nets.config.hidden, nets.spec.n_actions)
    states = {"the mixer's states": 4 * rows * nets.state_size} if nets.config.state_obs else {}
    return {f"the agents' activations over {rows} rows": one + one // 2} | states
