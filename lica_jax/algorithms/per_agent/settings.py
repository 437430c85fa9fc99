"""Settings of IDDPG, MADDPG, SQDDPG and COMA on particle tasks: static choices, traced numbers."""

from __future__ import annotations

from dataclasses import dataclass

from flax import struct

from lica_jax.algorithms.settings import MOST_UPDATES, Settings, StepSizes
from lica_jax.types import Collect, TaskSpec, number


@dataclass(frozen=True)
class Config(Settings):
    """Static choices; changing one recompiles. Defaults are the SQDDPG repository's.

    Attributes:
      hidden: width of the hidden layers of actors and critics.
      share_params: one actor and one critic shared by all agents, instead of one each. Shared
        networks still take a step for every agent's loss.
      critic_steps: gradient steps of the critics per update.
    """

    hidden: int = 128
    share_params: bool = False
    critic_steps: int = number(10, 1, MOST_UPDATES)

    def problems(self, spec: TaskSpec, collect: Collect) -> list[str]:
        out = super().problems(spec, collect)
        if spec.obs_size == 0:
            out.append(
                f"{spec.name} has no observations, which are all that these policies read: use "
                "another algorithm"
            )
        if spec.masks_actions:
            out.append(
                f"{spec.name} makes some actions unavailable, which these networks cannot see: use "
                "a task where every action always is (mpe/*, game/*, probe/*), or another "
                "algorithm (lica, coma, qmix, vdn, mappo)"
            )
        return out


@struct.dataclass
class HParams(StepSizes):
    """Traced numbers: they can be swept without recompiling. Defaults are the SQDDPG repository's.

    Attributes:
      actor_lr: learning rate of the actors (Adam).
      critic_lr: learning rate of the critics (Adam).
      gamma: discount factor.
      entropy_coef: entropy coefficient. The entropy is *summed* over the rows of a batch, while the
        losses are means: per row, the coefficient is effectively multiplied by the number of rows.
      grad_clamp: gradient clipping by value: every element is clipped to [-``grad_clamp``,
        ``grad_clamp``].
      target_interval: updates between two soft updates of the target networks.
      target_rate: rate (tau) of a soft update: the weight of the new parameters in it.
      reward_scale: factor on rewards for learning; None: the task's own.
    """

    actor_lr: float = number(1e-4, low=0)
    critic_lr: float = number(5e-4, low=0)
    gamma: float = number(0.99, 0, 1)
    entropy_coef: float = number(1e-3, low=0)
    grad_clamp: float = number(1.0, low=1e-12)
    target_interval: int = number(2, low=1)
    target_rate: float = number(0.1, 0, 1)
    reward_scale: float | None = number(None, low=1e-12)
