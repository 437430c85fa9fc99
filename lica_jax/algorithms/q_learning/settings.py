"""What the settings of IQL, VDN, QMIX and QTRAN share: static choices and traced numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flax import struct

from lica_jax.algorithms.settings import AgentSettings, ReplaySettings, StepSizes, idle_with_adam
from lica_jax.types import Collect, TaskSpec, number


@dataclass(frozen=True)
class Config(AgentSettings, ReplaySettings):
    """Static choices; changing one recompiles. Defaults are PyMARL's.

    Attributes:
      agent: recurrent ("gru") or feed-forward ("mlp") agents.
      state_last_action: append all agents' previous actions to the mixer's state, unless the task's
        state already contains them.
      state_obs: append all agents' observations to the mixer's state.
      double_q: double Q-learning: choose the next actions with the online networks and evaluate
        them with the target networks.
      optimiser: "rmsprop" (PyTorch's variant) or "adam".
    """

    agent: Literal["gru", "mlp"] = "gru"
    state_last_action: bool = True
    state_obs: bool = False
    double_q: bool = True
    optimiser: Literal["rmsprop", "adam"] = "rmsprop"

    @property
    def network(self) -> str:
        return self.agent

    def idle(self, spec: TaskSpec, hp: Any) -> dict[str, tuple[str, ...]]:
        return super().idle(spec, hp) | idle_with_adam(self.optimiser)

    def problems(self, spec: TaskSpec, collect: Collect) -> list[str]:
        return super().problems(spec, collect) + self.replay_problems("segment", spec, collect)


@dataclass(frozen=True)
class StatelessConfig(Config):
    """Of a method whose mixer is no function of the state."""

    def idle(self, spec: TaskSpec, hp: Any) -> dict[str, tuple[str, ...]]:
        names = ("algo.state_last_action", "algo.state_obs")
        return super().idle(spec, hp) | {"utilities that no state mixes": names}


@struct.dataclass
class HParams(StepSizes):
    """Traced numbers: they can be swept without recompiling. Defaults are PyMARL's.

    Attributes:
      lr: learning rate.
      gamma: discount factor.
      td_lambda: lambda of the targets: 0 is one-step Q-learning, above 0 is Peng's Q(lambda).
      grad_norm_clip: gradient clipping: maximum norm.
      target_interval: number of finished *episodes* (not updates) between two copies into the
        target networks.
      epsilon_start: initial epsilon, the probability of a random action.
      epsilon_finish: epsilon from env step ``epsilon_steps`` on, and in sampled evaluation.
      epsilon_steps: env steps over which epsilon changes linearly from ``epsilon_start`` to
        ``epsilon_finish``.
      rms_decay: RMSprop's decay of the average of squared gradients (alpha in PyTorch).
      rms_eps: RMSprop's epsilon, added outside the square root.
      reward_scale: factor on rewards for learning; None: the task's own.
    """

    lr: float = number(5e-4, low=0)
    gamma: float = number(0.99, 0, 1)
    td_lambda: float = number(0.0, 0, 1)
    grad_norm_clip: float = number(10.0, low=1e-12)
    target_interval: int = number(200, low=1)
    epsilon_start: float = number(1.0, 0, 1, epsilon=True)
    epsilon_finish: float = number(0.05, 0, 1, epsilon=True)
    epsilon_steps: float = number(50_000.0, low=0)
    rms_decay: float = number(0.99, 0, 0.999999)
    rms_eps: float = number(1e-5, low=1e-12)
    reward_scale: float | None = number(None, low=1e-12)
