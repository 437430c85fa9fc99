"""What LICA learns, the networks behind it, and how its critic reads a trajectory."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PyTree

from lica_jax.algorithms.actors import Actor, joint_state, joint_state_size, make_actor
from lica_jax.algorithms.lica.critics import make_critic
from lica_jax.algorithms.lica.settings import Config
from lica_jax.algorithms.settings import for_task
from lica_jax.core.optim import ADAM
from lica_jax.networks.critics import DuelingCritic, JointCritic
from lica_jax.types import TaskSpec, Trajectory


@struct.dataclass
class Learner:
    """Everything that LICA learns by its default settings; others add to it (`learner_with`)."""

    actor: PyTree
    critic: PyTree
    target_critic: PyTree  # () without one
    actor_opt: PyTree
    critic_opt: PyTree
    critic_steps: Int[Array, ""]
    last_copy: Int[Array, ""]


@cache
def learner_with(names: tuple[str, ...]) -> type[Learner]:
    """A learner with more arrays, a kind of its own for each configuration, so that a checkpoint
    holds nothing that it does not need:

    * ``average`` of the critic's parameters over batches (`critic_average`);
    * ``log_factor``: logarithm of the factor on xi, in entropy mode "target";
    * ``log_kl_factor``: of that on `kl_coef`, in KL mode "target".
    """
    annotations = dict.fromkeys(names, PyTree)
    return struct.dataclass(type("Learner", (Learner,), {"__annotations__": annotations}))


@struct.dataclass
class CriticBatch:
    """The critic's view of a trajectory; slots 0..T."""

    state: Float[Array, "T+1 B S"]
    action: Array  # taken: [T+1, B, N] indices or [T+1, B, N, D] points
    # The policies that took them, where they are asked for: [T+1, B, N, A], or [T+1, B, N, 2D].
    policy: Array | None
    valid: Bool[Array, "T B"]

    @property
    def mask(self) -> Float[Array, "T B"]:
        return self.valid.astype(self.state.dtype)


class Networks(NamedTuple):
    """The networks of one task, and the static choices behind them."""

    actor: Actor
    critic: JointCritic | DuelingCritic
    state_size: int  # of the critic's state
    config: Config
    spec: TaskSpec


def make_networks(config: Config, spec: TaskSpec) -> Networks:
    """Builds the actor and the critic; initialises nothing."""
    config = for_task(config, spec)
    actor = make_actor(spec, config)
    # A policy enters the critic as its parameters: A probabilities, or D means and D log-stds.
    joint = spec.n_agents * spec.n_actions * (2 if spec.continuous else 1)
    state_size = joint_state_size(actor, spec, config)
    if spec.continuous:  # every row uses all of W1(s)
        config = replace(config, critic_pass="dense")
    critic = make_critic(config, spec, state_size, joint)
    return Networks(actor, critic, state_size, config, spec)


def new_learner(actor: PyTree, critic: PyTree, target_critic: PyTree) -> Learner:
    """A learner with the given parameters before its first update."""
    return Learner(
        actor=actor,
        critic=critic,
        target_critic=target_critic,
        actor_opt=ADAM.init(actor),
        critic_opt=ADAM.init(critic),
        critic_steps=jnp.zeros((), jnp.int32),
        last_copy=jnp.zeros((), jnp.int32),
    )


def critic_batch(nets: Networks, traj: Trajectory) -> CriticBatch:
    """States (with all agents' previous actions where configured) and joint actions."""
    state = joint_state(nets.actor, traj, nets.config)
    return CriticBatch(state, traj.action, traj.extras.get("policy"), traj.valid)


def climbed(learner: Learner) -> PyTree:
    """The critic's parameters whose slopes the actor follows: their average, or the newest."""
    return getattr(learner, "average", learner.critic)
