"""What Q-learning says of a moment: every agent's utilities, and their mixer's value."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import entr
from jaxtyping import Array, PyTree

from lica_jax.algorithms.actors import ActorCarry, actor_step, state_now
from lica_jax.core.masking import mask_logits, masked_max
from lica_jax.types import Insight, Outlook, TimeStep


def insight(nets: Any, mixes: bool) -> Insight:
    """Of the networks ``nets`` (`shared.Networks`), whose mixer joins utilities if it ``mixes``."""
    critic = (lambda learner: learner.params.mixer) if mixes else (lambda learner: {})
    return Insight(partial(look, nets, mixes), critic, "Q at the best actions" * mixes, "Qᵢ")


def look(
    nets: Any, mixes: bool, params: PyTree, critic: PyTree, carry: ActorCarry, ts: TimeStep,
    action: Array, hp: Any,
) -> Outlook:  # fmt: skip
    """The epsilon-greedy policies and the utilities [B, N, A]; with a mixer its value [B, K] at the
    best actions and dQ/dQ_i [B, N]."""
    del action
    _, q = actor_step(nets.agent, params, carry, ts.obs, ts.first)
    best = jax.nn.one_hot(jnp.argmax(mask_logits(q, ts.avail), axis=-1), q.shape[-1])
    count = jnp.maximum(jnp.sum(ts.avail, axis=-1, keepdims=True), 1)
    policy = (1 - hp.epsilon_finish) * best + hp.epsilon_finish * ts.avail / count
    out = Outlook(policy, jnp.sum(entr(policy), axis=-1), credit=q)
    if critic is None or not mixes:
        return out
    state = state_now(nets.agent, carry, ts, nets.config)

    def total(best_q):
        value = nets.mixer.apply(critic, best_q, state)
        return jnp.sum(value), value

    weight, value = jax.grad(total, has_aux=True)(masked_max(q, ts.avail))
    return out.replace(value=value, weight=weight)
