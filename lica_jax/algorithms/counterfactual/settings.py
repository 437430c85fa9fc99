"""What the settings of COMA and LIIR share: static choices and traced numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flax import struct

from lica_jax.algorithms.settings import MOST_UPDATES, AgentSettings, StepSizes, idle_with_adam
from lica_jax.core.optim import RMSProp
from lica_jax.types import TaskSpec, number


@dataclass(frozen=True)
class Config(AgentSettings):
    """Static choices; changing one recompiles. Defaults are PyMARL's.

    Attributes:
      actor: recurrent ("gru") or feed-forward ("mlp") agents.
      critic_hidden: width of the critic's two hidden layers.
      critic_mode: one gradient step per time step, from the last to the first ("sequential", as in
        PyMARL), or one on all time steps together ("joint": faster, but not the published method).
      critic_steps: passes of the critic over each batch.
      mask_before_softmax: restrict the softmax and the epsilon floor to the available actions.
        Otherwise both cover all actions; the unavailable ones are then removed and the rest is
        renormalised.
      optimiser: "rmsprop" (PyTorch's variant) or "adam", for all networks.
    """

    actor: Literal["gru", "mlp"] = "gru"
    critic_hidden: int = 128
    critic_mode: Literal["sequential", "joint"] = "sequential"
    critic_steps: int = number(1, 1, MOST_UPDATES)
    mask_before_softmax: bool = False
    optimiser: Literal["rmsprop", "adam"] = "rmsprop"

    def idle(self, spec: TaskSpec, hp: Any) -> dict[str, tuple[str, ...]]:
        return super().idle(spec, hp) | idle_with_adam(self.optimiser)


@struct.dataclass
class HParams(StepSizes):
    """Traced numbers: they can be swept without recompiling. Defaults are PyMARL's.

    Attributes:
      actor_lr: learning rate of the actor.
      critic_lr: learning rate of the critic.
      gamma: discount factor.
      td_lambda: lambda of the TD(lambda) targets.
      grad_norm_clip: gradient clipping: maximum norm, for actor and critic separately.
      target_interval: gradient steps of the critic between two copies into the target critic.
      epsilon_start: initial epsilon, the weight of the uniform distribution that is mixed into the
        policy.
      epsilon_finish: epsilon from env step ``epsilon_steps`` on, and in sampled evaluation.
      epsilon_steps: env steps over which epsilon changes linearly from ``epsilon_start`` to
        ``epsilon_finish``.
      rms_decay: RMSprop's decay of the average of squared gradients (alpha in PyTorch).
      rms_eps: RMSprop's epsilon, added outside the square root.
      reward_scale: factor on rewards for learning; None: the task's own.
    """

    actor_lr: float = number(5e-4, low=0)
    critic_lr: float = number(5e-4, low=0)
    gamma: float = number(0.99, 0, 1)
    td_lambda: float = number(0.8, 0, 1)
    grad_norm_clip: float = number(10.0, low=1e-12)
    target_interval: int = number(200, low=1)
    epsilon_start: float = number(0.5, 0, 1, epsilon=True)
    epsilon_finish: float = number(0.01, 0, 1, epsilon=True)
    epsilon_steps: float = number(100_000.0, low=0)
    rms_decay: float = number(0.99, 0, 0.999999)
    rms_eps: float = number(1e-5, low=1e-12)
    reward_scale: float | None = number(None, low=1e-12)

    @property
    def rms(self) -> RMSProp:
        return RMSProp(self.rms_decay, self.rms_eps)
