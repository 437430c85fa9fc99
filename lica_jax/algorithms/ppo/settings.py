"""The settings of IPPO and MAPPO: static choices and traced numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

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
      epochs: passes over each batch.
      minibatches: minibatches (gradient steps) per epoch, each an equal share of the environments.
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
      actor: recurrent ("gru") or feed-forward ("mlp") policies.
      critic: recurrent ("gru") or feed-forward ("mlp") critic; a network of its own, shared by all
        agents.
      critic_hidden: width of the critic's linear layers and GRU.
      critic_layer_norm: layer norm before every ReLU of a feed-forward critic, similar to MAPPO's
        code.
      agent_id: append the agent's one-hot index to the inputs of policy and critic.
      last_action: append the agent's own previous action to the input of its policy.
      death_masking: once an agent is dead, the critic reads zeros and the agent's index for it.
      value_norm: normalise the critic's targets, the returns, to mean 0 and variance 1.
      normalise_advantage: normalise the advantages of each batch to mean 0 and variance 1.
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

    def idle(self, spec: TaskSpec, hp: Any) -> dict[str, tuple[str, ...]]:
        names = ("hp.value_norm_decay",)
        idle = {} if self.value_norm else {"algo.value_norm False": names}
        return super().idle(spec, hp) | idle


@struct.dataclass
class HParams(StepSizes):
    """Traced numbers: they can be swept without recompiling. Defaults are those of MAPPO's paper.

    Attributes:
      actor_lr: learning rate of the policies (Adam).
      critic_lr: learning rate of the critic (Adam).
      gamma: discount factor.
      gae_lambda: lambda of generalised advantage estimation (GAE) and of the value targets.
      clip: PPO's clip range c: probability ratios are clipped to [1 - c, 1 + c].
      value_clip: clip range of the value loss: how far values may move from the old ones; in
        standard deviations of the return if values are normalised, else in units of scaled reward.
        Very large: no clipping.
      entropy_coef: initial entropy coefficient.
      entropy_final: entropy coefficient from env step ``entropy_steps`` on; None: ``entropy_coef``.
      entropy_steps: env steps over which the entropy coefficient changes linearly from
        ``entropy_coef`` to ``entropy_final``; 0: constant.
      grad_norm_clip: gradient clipping: maximum norm, for policies and critic separately.
      value_norm_decay: decay, per batch, of the moving averages by which values are normalised
        (mean and variance of the returns).
      reward_scale: factor on rewards for learning; None: the task's own.
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
