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
      hidden: width of actors and critics.
      share_params: one actor and one critic for all agents, or one each. Shared ones still take a
        step for every agent's loss.
      critic_steps: gradient steps of the critics in each update.
    """

    hidden: int = 128
    share_params: bool = False
    critic_steps: int = number(10, 1, MOST_UPDATES)

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
class HParams(StepSizes):
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

    actor_lr: float = number(1e-4, low=0)
    critic_lr: float = number(5e-4, low=0)
    gamma: float = number(0.99, 0, 1)
    entropy_coef: float = number(1e-3, low=0)
    grad_clamp: float = number(1.0, low=1e-12)
    target_interval: int = number(2, low=1)
    target_rate: float = number(0.1, 0, 1)
    reward_scale: float | None = number(None, low=1e-12)
