"""Policy entropy and LICA's adaptive entropy regularisation (paper section 3.3, Eq. 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lica_jax.core.masking import mask_logits, masked_mean

EntropyMode = Literal["global", "agent", "sample", "constant", "target"]

# A policy that has become deterministic would divide by zero; the official code has no guard.
MIN_ENTROPY = 1e-6
# How far a controlled weight may leave the one that is set: a factor of about 1,000 either way.
MOST_LOG_FACTOR = 7.0


def categorical_entropy(
    logits: Float[Array, "... A"], avail: Bool[Array, "... A"]
) -> Float[Array, "..."]:
    """Entropy in nats of the policy over the available actions: ``-sum_k pi_k log pi_k``."""
    log_probs = jax.nn.log_softmax(mask_logits(logits, avail))
    return -jnp.sum(jnp.where(avail, jnp.exp(log_probs) * log_probs, 0), axis=-1)


def categorical_kl(
    old: Float[Array, "... A"], new: Float[Array, "... A"], avail: Bool[Array, "... A"]
) -> Float[Array, "..."]:
    """``KL(old || new)`` in nats of two policies' logits, over the available actions."""
    old, new = (jax.nn.log_softmax(mask_logits(x, avail)) for x in (old, new))
    return jnp.sum(jnp.where(avail, jnp.exp(old) * (old - new), 0), axis=-1)


def entropy_bonus(
    entropy: Float[Array, "T B N"],
    choices: Float[Array, "T B N"],
    mask: Float[Array, "T B"],
    coef: Float[Array, ""],
    mode: EntropyMode,
    scale: Callable[[Float[Array, "..."]], Float[Array, "..."]] = lambda h: h,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The entropy term of the objective and its effective strength.

    Eq. 6 weighs agent a's entropy H by ``xi / stop_gradient(H)``. The modes differ in what H is
    averaged over before the division:

    * ``"global"``: one scalar over agents, time and batch (the official code);
    * ``"agent"``: per agent, over time and batch;
    * ``"sample"``: nothing is averaged, Eq. 6 read literally; samples with fewer than two
      available actions have no entropy to regulate and are left out;
    * ``"constant"``: the plain bonus ``beta * H`` with ``coef`` as beta;
    * ``"target"``: the same, H averaged as in "sample"; whoever calls changes ``coef`` so that H
      comes to where it shall be (``controlled``).

    Args:
      entropy: H of every agent's policy, in nats.
      choices: number of available actions of each agent.
      mask: 1 for valid transitions.
      coef: xi (or beta).
      mode: what H is averaged over.
      scale: what xi is divided by, as a function of H; for entropies that may be negative
        (`core/gaussian.py`).

    Returns:
      ``(bonus, effective_coef)``: the scalar to maximise and the mean weight on the entropy.
    """
    chex.assert_equal_shape([entropy, choices])
    chex.assert_equal_shape_prefix([entropy, mask], 2)
    mean_entropy = masked_mean(entropy, mask)
    if mode == "constant":
        return coef * mean_entropy, coef
    if mode == "global":
        weight = coef / jnp.maximum(jax.lax.stop_gradient(scale(mean_entropy)), MIN_ENTROPY)
        return weight * mean_entropy, weight
    if mode == "agent":
        per_agent = jax.vmap(masked_mean, in_axes=(-1, None))(entropy, mask)
        weight = coef / jnp.maximum(jax.lax.stop_gradient(scale(per_agent)), MIN_ENTROPY)
        return jnp.mean(weight * per_agent), jnp.mean(weight)
    counted = undecided(choices, mask)
    if mode == "target":
        return coef * masked_mean(entropy, counted), coef
    if mode == "sample":
        floor = jnp.maximum(jax.lax.stop_gradient(scale(entropy)), MIN_ENTROPY)
        weight = coef / floor
        return masked_mean(weight * entropy, counted), masked_mean(weight, counted)
    raise ValueError(f"entropy mode {mode!r} is not one of {get_args(EntropyMode)}")


def undecided(choices: Float[Array, "T B N"], mask: Float[Array, "T B"]) -> Float[Array, "T B N"]:
    """1 where an agent has something to choose: neither the dead nor those without a choice."""
    return mask[..., None] * (choices >= 2)


def entropy_gap(
    entropy: Float[Array, "T B N"],
    choices: Float[Array, "T B N"],
    mask: Float[Array, "T B"],
    target: Float[Array, ""],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """``(fraction, gap)``: the mean of ``H / log(choices)`` over those with a choice, and how much
    it lacks to the target, a fraction itself; a gap of 0 where nobody has a choice."""
    fraction = entropy / jnp.log(jnp.maximum(choices, 2))
    counted = undecided(choices, mask)
    return masked_mean(fraction, counted), masked_mean(target - fraction, counted)


def controlled(
    log_factor: Float[Array, ""], gap: Float[Array, ""], rate: Float[Array, ""]
) -> Float[Array, ""]:
    """The logarithm of the factor on a weight after a batch: ``+ rate * gap``, within bounds.

    An integral controller: xi, for one, rises as long as the entropy is too low. That is the
    gradient of SAC's temperature loss in log xi (Haarnoja et al., 2018), without the factor xi.
    """
    return jnp.clip(log_factor + rate * gap, -MOST_LOG_FACTOR, MOST_LOG_FACTOR)


def kl_excess(kl: Float[Array, ""], target: Float[Array, ""]) -> Float[Array, ""]:
    """What the logarithm of a KL penalty's weight is raised by: log 2 where policies moved by more
    than 1.5 times the ``target``, -log 2 by less than it over 1.5 (Schulman et al., 2017, sec. 4).
    """
    return jnp.log(2.0) * jnp.where(kl > 1.5 * target, 1, jnp.where(kl < target / 1.5, -1, 0))
