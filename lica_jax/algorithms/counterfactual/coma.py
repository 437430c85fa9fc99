"""COMA: counterfactual multi-agent policy gradients (Foerster et al., AAAI 2018), as in PyMARL."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from lica_jax.algorithms.counterfactual import shared
from lica_jax.algorithms.counterfactual.settings import Config, HParams
from lica_jax.algorithms.counterfactual.shared import Learner, Networks, Regression
from lica_jax.core.masking import take_action
from lica_jax.core.returns import lambda_returns
from lica_jax.types import Algorithm, Insight, Outlook, TaskSpec, Trajectory

__all__ = ["Config", "HParams", "make"]


def make(config: Config, spec: TaskSpec) -> Algorithm:
    """Builds COMA for a task."""
    nets = make_networks(config, spec)
    insight = Insight(
        partial(look, nets), lambda learner: learner.critic, "Σπ·Qₐ", "Qₐ",
        lambda *moment: look(nets, *moment).credit,
    )  # fmt: skip
    return shared.algorithm(nets, init, update, HParams(), insight)


def make_networks(config: Config, spec: TaskSpec) -> Networks:
    """The actor, and a critic with one value for every action of an agent."""
    return shared.make_networks(config, spec, spec.n_actions)


def init(nets: Networks, key: Array) -> Learner:
    """Fresh networks (PyTorch's default initialisation); the target equals the critic."""
    actor_key, critic_key = jax.random.split(key)
    critic = shared.init_critic(nets, critic_key)
    return new_learner(nets, nets.actor.init(actor_key), critic, critic)


def new_learner(nets: Networks, actor: PyTree, critic: PyTree, target_critic: PyTree) -> Learner:
    """A learner with the given parameters before its first update."""
    return Learner(**shared.start(nets, actor, critic, target_critic, fitted=critic))


def update(
    nets: Networks, learner: Learner, traj: Trajectory, key: Array, *, hp: HParams, progress: Any
) -> tuple[Learner, dict[str, Array]]:
    """The critic backwards through time, one step of the actor, a target copy if due."""
    del key
    hp = hp.at(progress.env_steps)
    rows = regression(nets, learner.target_critic, traj, hp)
    (critic, critic_opt), q, n_steps, metrics = shared.fit_critic(
        nets, learner.critic, learner.critic_opt, rows, hp
    )
    learner = learner.replace(critic=critic, critic_opt=critic_opt)
    floor = shared.epsilon(hp, progress)
    learner, shown, losses = shared.update_actor(
        nets, learner, lambda params: actor_objective(params, nets, q, traj, floor), hp
    )
    metrics |= shown | losses | {"epsilon": floor}
    return shared.finish(learner, n_steps, metrics, hp)


def regression(nets: Networks, target_critic: PyTree, traj: Trajectory, hp: HParams) -> Regression:
    """TD(lambda) targets of every agent's Q at its own action, from the target critic's."""
    inputs = shared.inputs_over(nets, traj)
    value = take_action(nets.critic.apply(target_critic, inputs), traj.action)
    parts = traj.steps.reward[1:], *traj.endings()
    target = lambda_returns(value, *parts, hp.gamma, hp.td_lambda)
    return Regression(shared.but_last(inputs), traj.action[:-1], target, traj.valid)


def counterfactual_advantage(
    q: Float[Array, "*B A"], probs: Float[Array, "*B A"], action: Array
) -> Float[Array, "*B"]:
    """``A_a = Q_a(u_a) - sum_u pi_a(u) Q_a(u)`` (COMA paper, Eq. 4).

    What an agent's action was worth above its policy's, while the others did what they did.
    """
    return take_action(q, action) - jnp.sum(probs * q, axis=-1)


def actor_objective(
    params: PyTree, nets: Networks, q: Float[Array, "T B N A"], traj: Trajectory, floor
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """``-E[A log pi(u)]``; the policy is the one with the floor, in A too (no gradient there)."""
    probs = shared.policy(nets, params, traj, floor)
    advantage = counterfactual_advantage(q, probs, traj.action[:-1])
    log_prob = shared.log_taken(probs, traj)
    loss = shared.policy_gradient_loss(log_prob, advantage, traj.valid)
    return loss, shared.policy_metrics(probs, advantage, traj.valid)


def look(nets: Networks, *moment: Any) -> Outlook:
    """`Insight.look`: Q of every agent's actions, and its mean over the agent's policy [B, N]."""
    out, q = shared.look(nets, *moment)
    if q is None:
        return out
    return out.replace(value=jnp.sum(out.policy * q, axis=-1), credit=q)
