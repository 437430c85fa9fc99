"""What LICA-ADV's critics say of a moment: values, and what actions are worth."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from lica_jax.algorithms.actors import ActorCarry, actor_step, state_now
from lica_jax.algorithms.ppo import shared as ppo
from lica_jax.core.entropy import categorical_entropy
from lica_jax.core.masking import masked_softmax
from lica_jax.core.value_norm import ValueNorm, denormalise, statistics
from lica_jax.types import Insight, Outlook, TimeStep


def insight(nets: Any) -> Insight:
    """Of LICA-ADV with the networks ``nets`` (`lica_adv.Networks`)."""
    kind = nets.config.advantage
    of_state = "V(s, oᵢ)" if nets.config.value_obs else "V(s)"
    value = "Q(s, πᵢ, u₋ᵢ)" if kind == "soft" else of_state
    if kind == "state_value":
        return Insight(partial(look, nets), critics, value)
    deviations = partial(_credit, nets)
    return Insight(partial(look, nets), critics, value, "Q(s, a, u₋ᵢ)", deviations)


def _credit(nets: Any, *moment: Any) -> Array:
    """`Insight.deviations`: the credit that ``look`` shows."""
    return look(nets, *moment).credit


def critics(learner: PyTree) -> dict[str, PyTree]:
    """`Insight.critic`."""
    return {
        "value": learner.critic, "mixing": learner.mixing,
        "value_norm": learner.value_norm._asdict(),
    }  # fmt: skip


def look(
    nets: Any, params: PyTree, critic: PyTree, carry: ActorCarry, ts: TimeStep, action: Array,
    hp: Any,
) -> Outlook:  # fmt: skip
    """Policies; with critics the value [B, 1] (of agents [B, N]), and what each action of an agent
    is worth (beside a state's value: above it) while the others do what they do [B, N, A]."""
    del hp
    _, logits = actor_step(nets.actor, params, carry, ts.obs, ts.first)
    probs = masked_softmax(logits, ts.avail)
    out = Outlook(probs, categorical_entropy(logits, ts.avail))
    if critic is None:
        return out
    state = state_now(nets.actor, carry, ts, nets.config)
    norm = ValueNorm(**critic["value_norm"])
    if nets.config.advantage == "soft":
        worth = nets.mixing.apply(critic["value"], state, action, method="at_deviations")
        worth = denormalise(norm, worth)
        return out.replace(value=jnp.sum(probs * worth, axis=-1), credit=worth)
    agents = nets.config.value_obs
    view = ppo.agents_view(ts.obs, state, ts.alive) if agents else state
    value = nets.value.apply(critic["value"], view)
    out = out.replace(value=denormalise(norm, value[..., 0] if agents else value))
    if not nets.config.mixes_beside:
        return out
    above = nets.mixing.apply(critic["mixing"], state, action, method="at_deviations")
    return out.replace(credit=above * statistics(norm)[1])
