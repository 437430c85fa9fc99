"""What LICA's critic says of a moment: Q at the policies, and the credit that is implicit in it.

The gradient dQ/dpi_a of the paper's section 3.2 is all that an agent's policy learns from: it is
given the actions whose entries lie above its policy's average, and loses those below.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from lica_jax.algorithms.actors import (
    ActorCarry,
    actor_step,
    joint_state,
    state_now,
    unroll_over,
)
from lica_jax.algorithms.lica.learner import Networks
from lica_jax.core import gaussian
from lica_jax.core.entropy import categorical_entropy
from lica_jax.core.masking import mask_logits, masked_softmax, take_action
from lica_jax.types import Climb, Insight, Outlook, TimeStep, Trajectory


def insight(nets: Networks, critic: Callable[[Any], PyTree]) -> Insight:
    """Of LICA with the networks ``nets``; ``critic`` of a learner: what the actor
    climbs."""
    credit = "dQ/dμ" if nets.spec.continuous else "dQ/dπ"
    if nets.spec.continuous:
        return Insight(partial(look, nets), critic, "Q(s, π)", credit)
    asked = partial(deviations, nets), partial(climb, nets)
    return Insight(partial(look, nets), critic, "Q(s, π)", credit, *asked)


def climb(nets: Networks, params: PyTree, critic: PyTree, traj: Trajectory) -> Climb:
    """`Insight.climb`: Q(s, pi) at every slot, also where training asks at samples of pi."""
    avail = traj.steps.avail
    logits = unroll_over(nets.actor, params, traj)
    state = joint_state(nets.actor, traj, nets.config)
    pi, everywhere = masked_softmax(logits, avail), jnp.ones(avail.shape[:2], bool)
    q = nets.critic.apply(critic, state, pi, avail, everywhere, method="at_policies")
    log_policy = take_action(jax.nn.log_softmax(mask_logits(logits, avail)), traj.action)
    # Slots without an action (padding) have none available either.
    log_policy = jnp.where(jnp.any(avail, axis=-1), log_policy, 0)
    entropy = categorical_entropy(logits, avail)
    return Climb(q, jnp.sum(log_policy, axis=-1), jnp.mean(entropy, axis=-1))


def deviations(
    nets: Networks, params: PyTree, critic: PyTree, carry: ActorCarry, ts: TimeStep, action: Array,
    hp: Any,
) -> Array:  # fmt: skip
    """`Insight.deviations`: Q(s, (a, u_-i)) [B, N, A]."""
    del params, hp
    state = state_now(nets.actor, carry, ts, nets.config)
    return nets.critic.apply(critic, state, action, method="at_deviations")


def look(
    nets: Networks, params: PyTree, critic: PyTree, carry: ActorCarry, ts: TimeStep, action: Array,
    hp: Any,
) -> Outlook:  # fmt: skip
    """Policies, and with a critic Q(s, pi) [B, 1] and dQ/dpi [B, N, A] (of continuous actions by
    their squashed means)."""
    del action, hp  # Q is asked at policies; what came of them does not matter
    _, outputs = actor_step(nets.actor, params, carry, ts.obs, ts.first)
    if nets.spec.continuous:
        mean, log_std = gaussian.split_outputs(outputs)
        u, entropy = gaussian.policy_input(mean, log_std), gaussian.entropy(mean, log_std)
    else:
        u = masked_softmax(outputs, ts.avail)
        entropy = categorical_entropy(outputs, ts.avail)
    policy = u[..., : nets.spec.n_actions]
    if critic is None:
        return Outlook(policy, entropy)
    state = state_now(nets.actor, carry, ts, nets.config)

    def total(u):
        q = nets.critic.apply(critic, state, u.reshape(u.shape[0], -1))
        return jnp.sum(q), q  # environments do not touch each other: one sum has all gradients

    slope, q = jax.grad(total, has_aux=True)(u)
    return Outlook(policy, entropy, q[:, None], slope[..., : nets.spec.n_actions])
