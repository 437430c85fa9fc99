"""The critics of a configuration."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lica_jax.algorithms.lica.settings import Config, MixingSettings
from lica_jax.networks.critics import (
    ON_CPU,
    DuelingCritic,
    JointCritic,
    MixingCritic,
    MLPCritic,
    Views,
    matched_hidden,
)
from lica_jax.types import TaskSpec

WIDE = 2**22  # numbers in the hypernetwork's last matrix


def make_critic(
    config: Config, spec: TaskSpec, state_size: int, joint: int
) -> JointCritic | DuelingCritic:
    """LICA's critic of a task, for states and joint actions of the given lengths."""
    critic = joint_critic(config, spec, state_size, joint)
    return DuelingCritic(critic) if config.dueling else critic


def joint_critic(config: Config, spec: TaskSpec, state_size: int, joint: int) -> JointCritic:
    """The function of state and joint action that the actor climbs."""
    mixing = mixing_critic(
        config, spec, state_size, joint, zero_actions=config.critic_zero_actions,
        layer_norm=config.critic_layer_norm,
    )  # fmt: skip
    if config.critic == "mixing":
        return mixing
    if config.mlp_hidden != "matched":
        return MLPCritic(joint, config.mlp_hidden)
    zeros = jnp.zeros(state_size), jnp.zeros(joint)
    shapes = jax.eval_shape(mixing.init, jax.random.key(0), *zeros)
    wanted = sum(x.size for x in jax.tree.leaves(shapes))
    return MLPCritic(joint, matched_hidden(state_size, joint, wanted))


def mixing_critic(
    config: MixingSettings, spec: TaskSpec, state_size: int, joint: int, *,
    zero_actions: bool = False, layer_norm: bool = False,
) -> MixingCritic:  # fmt: skip
    """The mixing critic; ``zero_actions`` and ``layer_norm`` as its attributes."""
    width = joint * config.mixing_embed
    hidden = width if config.hypernet_hidden == "full" else config.hypernet_hidden
    into_last = hidden if config.hypernet_layers == 2 else state_size
    critic_pass = "dense" if layer_norm or config.asks_policies else config.critic_pass
    passes = grouped_passes(critic_pass, into_last * width)
    views = None
    if config.hypernet_views:
        views = Views(spec.state_size, spec.n_agents, spec.obs_size)
        passes = passes[0], False
    return MixingCritic(
        joint, config.mixing_embed, config.hypernet_layers, config.hypernet_hidden, *passes,
        zero_actions, layer_norm, views,
    )  # fmt: skip


def grouped_passes(critic_pass: str, hyper_weights: int) -> tuple[bool | str, bool | str]:
    """Whether, or on which platform, to group the critic's passes at actions and at policies.

    Measured on CPU: at actions it is the faster one at every width, at policies only where the
    hypernetwork is wide. Accelerators get one large product.
    """
    if critic_pass != "auto":
        return critic_pass == "grouped", critic_pass == "grouped"
    return ON_CPU, ON_CPU if hyper_weights >= WIDE else False
