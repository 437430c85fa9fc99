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

from lica_jax.algorithms.actors import ActorCarry, actor_step, state_now
from lica_jax.core import gaussian
from lica_jax.core.entropy import categorical_entropy
from lica_jax.core.masking import masked_softmax
from lica_jax.types import Insight, Outlook, TimeStep


def insight(nets: Any, critic: Callable[[Any], PyTree]) -> Insight:
    """Of LICA with the networks ``nets`` (`lica.Networks`); ``critic`` of a learner: what the actor
    climbs."""
    credit = "dQ/dμ" if nets.spec.continuous else "dQ/dπ"
    worth = None if nets.spec.continuous else partial(deviations, nets)
    return Insight(partial(look, nets), critic, "Q(s, π)", credit, worth)


def deviations(
    nets: Any, params: PyTree, critic: PyTree, carry: ActorCarry, ts: TimeStep, action: Array,
    hp: Any,
) -> Array:  # fmt: skip
    """`Insight.deviations`: Q(s, (a, u_-i)) [B, N, A]."""
    del params, hp
    state = state_now(nets.actor, carry, ts, nets.config)
    return nets.critic.apply(critic, state, action, method="at_deviations")


def look(
    nets: Any, params: PyTree, critic: PyTree, carry: ActorCarry, ts: TimeStep, action: Array,
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
