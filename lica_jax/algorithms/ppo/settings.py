"""The settings of IPPO and MAPPO: static choices and traced numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flax import struct

from lica_jax.algorithms.settings import (
    MOST_UPDATES,
    AgentSettings,
    Settings,
    StepSizes,
    minibatch_problems,
)
from lica_jax.types import Collect, TaskSpec, number


@dataclass(frozen=True)
class EpochSettings(Settings):
    """Settings of an algorithm that goes several times over every batch.

    Attributes:
      epochs: passes over every batch.
      minibatches: steps in a pass, each on an equal share of the streams.
    """

    epochs: int = number(15, 1, MOST_UPDATES)
    minibatches: int = 1

    def problems(self, spec: TaskSpec, collect: Collect) -> list[str]:
        shares = minibatch_problems("minibatches", self.minibatches, collect.envs)
        return super().problems(spec, collect) + shares


@dataclass(frozen=True)
class Config(EpochSettings, AgentSettings):
    """Static choices; changing one recompiles. Defaults are those of MAPPO's paper on SMAC.

    Attributes:
      actor: recurrent or feed-forward policies.
      critic: recurrent or feed-forward values; a network of its own, one for all agents.
      critic_hidden: width of the critic's layers and of its GRU.
      critic_layer_norm: normalise what goes into every ReLU of a feed-forward critic, somewhat as
        MAPPO's code does.
      agent_id: append the agent's one-hot index to the inputs of its policy and its value.
      last_action: append the agent's own previous action to its policy's input.
      death_masking: a dead agent's value is one of zeros and its index alone.
      value_norm: the critic learns returns of mean 0 and variance 1.
      normalise_advantage: to mean 0 and variance 1 in every batch.
    """

    actor: Literal["gru", "mlp"] = "gru"
    critic: Literal["gru", "mlp"] = "gru"
    critic_hidden: int = 64
    critic_layer_norm: bool = False
    last_action: bool = False
    death_masking: bool = True
    value_norm: bool = True
    normalise_advantage: bool = True

    def problems(self, spec: TaskSpec, collect: Collect) -> list[str]:
        out = super().problems(spec, collect)
        if self.critic_layer_norm and self.critic == "gru":
            out.append(
                'algo.critic_layer_norm is of the feed-forward critic: use algo.critic "mlp"'
            )
        return out

    def idle(self) -> dict[str, tuple[str, ...]]:
        names = ("hp.value_norm_decay",)
        return super().idle() | ({} if self.value_norm else {"algo.value_norm False": names})


@struct.dataclass
class HParams(StepSizes):
    """Traced numbers: they can be swept without recompiling. Defaults are those of MAPPO's paper.

    Attributes:
      actor_lr: Adam step size of the policies.
      critic_lr: Adam step size of the critic.
      gamma: discount.
      gae_lambda: lambda of the advantages and of the values' targets.
      clip: how far the ratio of new to old probabilities may leave 1 with a gradient.
      value_clip: how far values may move from the old ones with a gradient; in standard deviations
        of the return with ``value_norm``, else in units of scaled reward. Very large: no clipping.
      entropy_coef: weight of the entropy at the beginning.
      entropy_final: that weight from ``entropy_steps`` on; None keeps ``entropy_coef``.
      entropy_steps: env steps over which it goes there from ``entropy_coef`` in a straight
        line; 0 for a constant one.
      grad_norm_clip: largest gradient norm, of policies and critic separately.
      value_norm_decay: of the return's statistics, by batch.
      reward_scale: factor on rewards before learning; None takes the task's own.
    """

    actor_lr: float = number(5e-4, low=0)
    critic_lr: float = number(5e-4, low=0)
    gamma: float = number(0.99, 0, 1)
    gae_lambda: float = number(0.95, 0, 1)
    clip: float = number(0.2, low=1e-12)
    value_clip: float = number(0.2, low=1e-12)
    entropy_coef: float = number(0.01, low=0)
    entropy_final: float | None = number(None, low=0, start="entropy_coef", steps="entropy_steps")
    entropy_steps: float = number(0.0, low=0)
    grad_norm_clip: float = number(10.0, low=1e-12)
    value_norm_decay: float = number(0.99999, 0, 0.999999)
    reward_scale: float | None = number(None, low=1e-12)
