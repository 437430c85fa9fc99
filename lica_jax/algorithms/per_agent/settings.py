"""Settings of IDDPG, MADDPG, SQDDPG and COMA on particle tasks: static choices, traced numbers."""

from __future__ import annotations

from dataclasses import dataclass

from flax import struct

from lica_jax.algorithms.settings import Settings
from lica_jax.types import Collect, TaskSpec


@dataclass(frozen=True)
class Config(Settings):
    """Static choices; changing one recompiles. Defaults are the SQDDPG repository's.

    Attributes:
      hidden: width of actors and critics.
      share_params: one actor and one critic for all agents, or one each. Shared ones still take a
        step for every agent's loss.
      critic_steps: gradient steps of the critics in each update.
    """

    hidden: int = 128
    share_params: bool = False
    critic_steps: int = 10

    def problems(self, spec: TaskSpec, collect: Collect) -> list[str]:
        out = super().problems(spec, collect)
        if spec.masks_actions:
            out.append(
                f"{spec.name} makes some actions unavailable, which these networks cannot see: use "
                "a task where every action always is (mpe/*, game/*, probe/*), or another "
                "algorithm (lica, coma, qmix, vdn, mappo)"
            )
        return out


@struct.dataclass
class HParams:
    """Traced numbers: they can be swept without recompiling. Defaults are the SQDDPG repository's.

    Attributes:
      actor_lr: Adam step size of the actors.
      critic_lr: Adam step size of the critics.
      gamma: discount.
      entropy_coef: weight of the entropy, which is *summed* over the rows of a batch while the
        losses are means; per row it is the number of rows times as strong.
      grad_clamp: largest size of one element of a gradient.
      target_interval: updates between two soft copies into the targets.
      target_rate: share of the new parameters in a soft copy.
      reward_scale: factor on rewards before learning; None takes the task's own.
    """

    actor_lr: float = 1e-4
    critic_lr: float = 5e-4
    gamma: float = 0.99
    entropy_coef: float = 1e-3
    grad_clamp: float = 1.0
    target_interval: int = 2
    target_rate: float = 0.1
    reward_scale: float | None = None
