"""The settings of LICA-ADV: static choices and traced numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flax import struct

from lica_jax.algorithms.lica.settings import MixingSettings
from lica_jax.algorithms.ppo import settings as ppo
from lica_jax.algorithms.settings import MOST_UPDATES, AgentSettings, state_problems
from lica_jax.types import Collect, TaskSpec, number


@dataclass(frozen=True)
class Config(MixingSettings, ppo.EpochSettings, AgentSettings):
    """Static choices; changing one recompiles.

    Attributes:
      actor: recurrent ("gru") or feed-forward ("mlp") policies.
      advantage: what every agent's action is compared with: the state's value ("state_value"); the
        state's value and the mixing critic's counterfactual baseline ("counterfactual"); the mixing
        critic's value at the agent's own policy ("soft"); or the state's value, with the mixing
        critic's effect of every action as a control variate ("doubly_robust").
      value_hidden: width of the two hidden layers of V(s), which have layer norm.
      value_obs: V also reads the agent's own observation and index, as MAPPO's critic does: every
        agent has a value V(s, o_i) instead of a common V(s). Once an agent is dead, only its index
        is read.
      mixing_epochs: passes of the mixing critic over each batch with advantage "counterfactual" or
        "doubly_robust", where it is learned beside V(s); with ``refresh``, this many before every
        epoch.
      refresh: re-estimate the advantages before every epoch, with truncated importance ratios. The
        statistics of returns by which values are normalised are then also updated before every
        epoch.
    """

    actor: Literal["gru", "mlp"] = "gru"
    advantage: Literal["state_value", "counterfactual", "soft", "doubly_robust"] = "doubly_robust"
    value_hidden: int = 64
    value_obs: bool = False
    hypernet_hidden: int | Literal["full"] = 64
    epochs: int = number(4, 1, MOST_UPDATES)
    minibatches: int = 4
    mixing_epochs: int = number(2, 1, MOST_UPDATES)
    refresh: bool = False

    @property
    def mixes_beside(self) -> bool:
        """Whether a mixing critic of advantages is learned beside the value of the state."""
        return self.advantage in ("counterfactual", "doubly_robust")

    def idle(self, spec: TaskSpec, hp: Any) -> dict[str, tuple[str, ...]]:
        """Settings without effect beside the others."""
        names = []
        if self.advantage == "state_value":
            names += ["algo.mixing_embed", "algo.hypernet_layers", "algo.hypernet_hidden"]
            names += ["algo.hypernet_views"]
        if self.advantage == "soft":
            names += ["algo.value_hidden", "algo.value_obs"]
        if not self.mixes_beside:
            names += ["algo.mixing_epochs", "hp.mixing_lr", "hp.mixing_lambda"]
        if self.advantage != "doubly_robust":
            names += ["hp.effect_weight", "hp.effect_final", "hp.effect_steps"]
        idle = super().idle(spec, hp) | {f'algo.advantage "{self.advantage}"': tuple(names)}
        return idle | ({"algo.epochs 1": ("algo.refresh",)} if self.epochs == 1 else {})

    def problems(self, spec: TaskSpec, collect: Collect) -> list[str]:
        """What is wrong with these values, alone and together; one line each."""
        out = super().problems(spec, collect)
        out += state_problems(spec, self.state_obs, "value", "ippo")
        if self.critic_pass == "grouped" and not self.mixes_beside:
            out.append(
                'algo.critic_pass "grouped" is about the actions that were taken, of which algo.'
                f"advantage {self.advantage!r} makes no pass"
            )
        return out


@struct.dataclass
class HParams(ppo.HParams):
    """PPO's numbers with other defaults, and the mixing critic's.

    Attributes:
      mixing_lr: learning rate (Adam) of the mixing critic with ``algo.advantage`` "counterfactual"
        or "doubly_robust", where it is learned beside V(s); with "soft" it is ``critic_lr``.
      mixing_lambda: lambda of the mixing critic's targets with ``algo.advantage`` "counterfactual"
        or "doubly_robust".
      effect_weight: with ``algo.advantage`` "doubly_robust", initial weight of the loss term that
        follows the mixing critic's own estimates. At 1, the critic's errors in it and in the
        sampled part cancel on average.
      effect_final: weight of that term from env step ``effect_steps`` on; None: ``effect_weight``.
      effect_steps: env steps over which that weight changes linearly from ``effect_weight`` to
        ``effect_final``; 0: constant.
    """

    actor_lr: float = number(1e-3, low=0)
    critic_lr: float = number(1e-3, low=0)
    entropy_coef: float = number(0.05, low=0)
    entropy_final: float | None = number(0.0, low=0, start="entropy_coef", steps="entropy_steps")
    entropy_steps: float = number(600_000.0, low=0)
    value_norm_decay: float = number(0.99, 0, 0.999999)
    mixing_lr: float = number(2e-4, low=0)
    mixing_lambda: float = number(0.8, 0, 1)
    effect_weight: float = number(1.0, low=0)
    effect_final: float | None = number(None, low=0, start="effect_weight", steps="effect_steps")
    effect_steps: float = number(0.0, low=0)
