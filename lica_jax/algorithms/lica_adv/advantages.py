"""Every agent's advantage, from what is known of the team's return.

All functions take a batch whose advantages are ``G - V(s)``, the same for every agent (or for
"soft" ``G_i - V_i``), in standard deviations of the return, and put others in their place.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from lica_jax.algorithms.ppo import shared as ppo
from lica_jax.core.masking import masked_mean, take_action
from lica_jax.core.returns import standardised


@struct.dataclass
class Batch(ppo.Batch):
    """What the epochs learn from. ``view`` is what the values are functions of.

    ``value``, ``target`` and ``valid`` are ``[T, B, K]``: K = 1 for V(s), N for values of agents.
    """

    old: Float[Array, "T B N A"]  # log-probabilities of all actions, of the policies that acted
    effect: Float[Array, "T B N A"] | tuple[()]  # of every action, see `doubly_robust`


def plain(batch: Batch) -> Batch:
    """Advantages as they are, of mean 0 and variance 1 over the living."""
    return batch.replace(advantage=standardised(batch.advantage, batch.living))


def counterfactual(
    batch: Batch, q: Float[Array, "T B N A"], probs: Float[Array, "T B N A"]
) -> Batch:
    """``A_i = G - V(s) - sum_a pi_i(a) q_i(a)``, standardised as in ``plain``.

    COMA's baseline (Foerster et al., AAAI 2018) with the return in place of its Q: what agent i's
    policy was expected to be worth above V(s), given what the others did.

    Args:
      q: the mixing critic at (s, (a, u_-i)), which is about what is above V(s).
      probs: the policies.
    """
    return plain(batch.replace(advantage=batch.advantage - jnp.sum(probs * q, axis=-1)))


def doubly_robust(
    batch: Batch, q: Float[Array, "T B N A"], probs: Float[Array, "T B N A"]
) -> Batch:
    """The critic's effect of every action, and what the sampled one was worth beside it.

    ``effect_i(a) = q_i(a) - sum_b pi_i(b) q_i(b)`` is weighed by the policy; the sampled action's
    advantage becomes ``G - V(s) - effect_i(u_i)``, less its mean. The policies' gradient is their
    sum: the critic's errors cancel on average, so that it is a control variate (as in Q-Prop, Gu et
    al., ICLR 2017). Both are divided by the root of the sum of their variances.
    """
    effect = q - jnp.sum(probs * q, axis=-1, keepdims=True)
    effect = jnp.where(batch.avail, effect, 0)
    rest = batch.advantage - take_action(effect, batch.action)
    rest = rest - masked_mean(rest, batch.living)
    of_effects = masked_mean(jnp.sum(probs * jnp.square(effect), axis=-1), batch.living)
    std = jnp.sqrt(of_effects + masked_mean(jnp.square(rest), batch.living) + 1e-10)
    return batch.replace(advantage=rest / std, effect=effect / std)
