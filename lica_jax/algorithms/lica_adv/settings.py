"""The settings of LICA-ADV: static choices and traced numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flax import struct

from lica_jax.algorithms.lica.settings import MixingSettings
from lica_jax.algorithms.ppo import settings as ppo
from lica_jax.algorithms.settings import MOST_UPDATES, AgentSettings, state_problems
from lica_jax.types import Collect, TaskSpec, number


@dataclass(frozen=True)
class Config(MixingSettings, ppo.EpochSettings, AgentSettings):
    """Static choices; changing one recompiles.

    Attributes:
      actor: recurrent or feed-forward policies.
      advantage: what every agent's action is held against: the state's value ("state_value"), that
        and the mixing critic's counterfactual ("counterfactual"), the mixing critic at the agent's
        own policy ("soft"), or the state's value with the mixing critic's effect of every action
        as a control variate ("doubly_robust").
      value_hidden: width of the two layers of V(s), which have layer norm.
      value_obs: V reads also the agent's own observation and index, of the dead the index alone,
        as MAPPO's does: a value V(s, o_i) of every agent in place of V(s).
      mixing_epochs: passes of the mixing critic over every batch, where it learns beside V(s);
        with ``refresh`` before every epoch.
      refresh: estimate advantages anew before every epoch, with truncated ratios; the statistics of
        returns then see the batch as often.
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

    def idle(self) -> dict[str, tuple[str, ...]]:
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
        return super().idle() | {f'algo.advantage "{self.advantage}"': tuple(names)}

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
      mixing_lr: Adam step size of the mixing critic where it learns beside V(s).
      mixing_lambda: lambda of the mixing critic's targets there.
      effect_weight: of the critic's own gradient in "doubly_robust", at the beginning: at 1 what it
        adds is cancelled on average by what it takes from the sampled part.
      effect_final: that weight from ``effect_steps`` on; None keeps ``effect_weight``.
      effect_steps: env steps over which ``effect_weight`` goes to ``effect_final`` in a straight
        line; 0 for a constant one.
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
