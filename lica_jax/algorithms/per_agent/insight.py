"""What the per-agent critics say of a moment: Q_i of what all do, and its slope along agent i's."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from lica_jax.core.entropy import categorical_entropy
from lica_jax.core.masking import masked_softmax
from lica_jax.types import Insight, Outlook, TimeStep


def insight(nets: Any) -> Insight:
    """Of the networks ``nets`` (`shared.Networks`)."""
    return Insight(
        partial(look, nets), lambda learner: learner.params.critic, "Qᵢ(o, u)", "dQᵢ/duᵢ"
    )


def look(
    nets: Any, params: PyTree, critic: PyTree, carry: Array, ts: TimeStep, action: Array, hp: Any
) -> Outlook:
    """Policies; with critics Q_i [B, N] of the actions that all agents chose, and how it changes
    with agent i's own [B, N, A] (of COMA: the value of each of its actions)."""
    del carry, hp
    logits = nets.actor.apply(params, ts.obs)
    out = Outlook(masked_softmax(logits, ts.avail), categorical_entropy(logits, ts.avail))
    if critic is None:
        return out
    if jnp.issubdtype(action.dtype, jnp.integer):
        action = jax.nn.one_hot(action, logits.shape[-1], dtype=logits.dtype)
    noise = nets.method.draw(jax.random.key(0), action.shape[0])
    each = nets.method.each or nets.method.values

    def answers(u):
        return each(nets, critic, ts.obs, u, noise)

    slopes = [
        jax.grad(lambda u, i=i: jnp.sum(answers(u)[:, i]))(action)[:, i]
        for i in range(action.shape[1])
    ]
    return out.replace(value=answers(action), credit=jnp.stack(slopes, axis=1))
