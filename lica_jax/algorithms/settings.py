"""What the settings of algorithms share: checks, the agents' networks, the replay, step sizes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self, get_args, get_origin, get_type_hints

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from lica_jax.core.schedules import annealed, linear
from lica_jax.types import MANY, Collect, Progress, Replay, TaskSpec, number, numbers

MOST_UPDATES = 100_000  # in one call that is compiled


@dataclass(frozen=True)
class Settings:
    """Static choices of an algorithm. Whole numbers are counts or widths, at least 1 where their
    `number` says no other bound."""

    def problems(self, spec: TaskSpec, collect: Collect) -> list[str]:
        """What is wrong with these values, alone and together; one line each."""
        del spec, collect
        out, facts = [], numbers(type(self))
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            least, most = facts[name].low, facts[name].high or MANY
            if hint is int and value < (least := 1 if least is None else least):
                out.append(f"algo.{name} must be at least {least:g}, got {value}")
            if isinstance(value, int) and value > most:
                out.append(f"algo.{name} must be at most {most:,}, got {value}")
            allowed = get_args(hint)
            words = all(isinstance(a, (str, int)) for a in allowed)
            if allowed and words and value not in allowed:
                out.append(f"algo.{name} must be one of {list(allowed)}, got {value!r}")
            # A width with a word for a special one: `int | Literal["full"]`.
            special = [w for a in allowed if get_origin(a) is not None for w in get_args(a)]
            if (
                int in allowed
                and value not in special
                and not (isinstance(value, int) and value >= 1)
            ):
                said = " or ".join(f'"{w}"' for w in special)
                out.append(f"algo.{name} must be {said} or at least 1, got {value!r}")
        return out

    def idle(self, spec: TaskSpec, hp: Any) -> dict[str, tuple[str, ...]]:
        """Settings without effect beside the others: the choice that makes them so, such as
        ``algo.critic "mlp"``, and their names, such as ``hp.temperature``."""
        del spec, hp
        return {}


@struct.dataclass
class StepSizes:
    """Traced numbers of an algorithm whose learning rates may decay: its fields `lr` and `*_lr`.

    Attributes:
      lr_end: fraction of every learning rate that is left from env step ``lr_steps`` on.
      lr_steps: env steps over which the learning rates decay linearly to the fraction ``lr_end``;
        0: constant.
    """

    lr_end: float = number(1.0, low=0, steps="lr_steps")
    lr_steps: float = number(0.0, low=0)

    def at(self, env_steps: Float[Array, ""]) -> Self:
        """The same numbers with the step sizes of this point of training."""
        left = annealed(1.0, self.lr_end, self.lr_steps, env_steps)
        names = [f.name for f in fields(self) if f.name == "lr" or f.name.endswith("_lr")]
        # In the precision of the step size: a share of float32 would round one of float64.
        sizes = {name: jnp.asarray(getattr(self, name)) for name in names}
        return self.replace(**{name: lr * left.astype(lr.dtype) for name, lr in sizes.items()})


def epsilon(hp: Any, progress: Progress) -> Float[Array, ""]:
    """How much is explored now, by the numbers ``epsilon_start``, ``_finish`` and ``_steps``."""
    return linear(hp.epsilon_start, hp.epsilon_finish, hp.epsilon_steps, progress.env_steps)


@dataclass(frozen=True)
class AgentSettings(Settings):
    """Settings of an algorithm whose agents act on what they observe themselves, for `make_actor`.

    Whether the network is recurrent is a field of the algorithm's own: ``actor``, or whatever
    ``network`` answers.

    Attributes:
      hidden: width of the agents' linear layers and GRU.
      share_params: one network shared by all agents, instead of one network per agent.
      agent_id: append the agent's one-hot index to the input of its network.
      last_action: append the agent's own previous action to the input of its network.
    """

    hidden: int = 64
    share_params: bool = True
    agent_id: bool = True
    last_action: bool = True

    @property
    def network(self) -> str:
        """The kind of the agents' network, "gru" or "mlp"."""
        return self.actor


@dataclass(frozen=True)
class ReplaySettings(Settings):
    """Settings of an algorithm that learns from a replay, or may: a capacity of 0, where it is
    allowed, is none.

    Attributes:
      replay_capacity: size of the replay buffer, in segments (in episode mode: whole episodes).
      replay_batch: size of a minibatch, in segments (in episode mode: whole episodes).
      updates_per_collect: updates after each collection of experience.
    """

    replay_capacity: int = 5000
    replay_batch: int = 32
    updates_per_collect: int = number(1, 1, MOST_UPDATES)

    @property
    def of_replay(self) -> tuple[str, ...]:
        """What has no effect without a replay."""
        return "algo.replay_batch", "algo.updates_per_collect"

    def idle(self, spec: TaskSpec, hp: Any) -> dict[str, tuple[str, ...]]:
        idle = {} if self.replay_capacity else {"algo.replay_capacity 0": self.of_replay}
        return super().idle(spec, hp) | idle

    def replay(self, unit: str, draws: int = 1) -> Replay | None:
        """What is kept of items of a ``unit``, and how it is drawn; None where nothing is."""
        if not self.replay_capacity:
            return None
        return Replay(
            unit, self.replay_capacity, self.replay_batch, draws, self.updates_per_collect
        )

    def replay_problems(self, unit: str, spec: TaskSpec, collect: Collect) -> list[str]:
        """What is wrong with the replay of items of a ``unit``; nothing where there is none."""
        if self.replay_capacity < 1:
            return []
        out = []
        if self.replay_capacity < self.replay_batch:
            out.append(
                f"algo.replay_capacity {self.replay_capacity} is smaller than one batch "
                f"(algo.replay_batch {self.replay_batch}): a batch is drawn without replacement"
            )
        length, what = collect.length, f"collect.length {collect.length}"
        if collect.mode == "episode":
            length, what = spec.episode_limit, f"episodes of up to {spec.episode_limit} steps"
        fresh = collect.envs * (length if unit == "transition" else 1)
        if self.replay_capacity < fresh:
            out.append(
                f"algo.replay_capacity {self.replay_capacity} is smaller than one collection of "
                f"{fresh} {unit}s (collect.envs {collect.envs}, {what})"
            )
        return out


def idle_with_adam(optimiser: str) -> dict[str, tuple[str, ...]]:
    """`Settings.idle` of an algorithm that has RMSprop's numbers."""
    return {'algo.optimiser "adam"': ("hp.rms_decay", "hp.rms_eps")} if optimiser == "adam" else {}


def idle_in_one_layer(hypernet_layers: int) -> dict[str, tuple[str, ...]]:
    """`Settings.idle` of an algorithm with a hypernetwork."""
    names = ("algo.hypernet_hidden",)
    return {"algo.hypernet_layers 1": names} if hypernet_layers == 1 else {}


def for_task(config: Any, spec: TaskSpec) -> Any:
    """``config`` without ``state_last_action`` where the task's state holds the last actions."""
    return replace(config, state_last_action=False) if spec.state_has_actions else config


def minibatch_problems(
    name: str, minibatches: int, streams: int, whose: str = "collect.envs",
    what: str = "environments",
) -> list[str]:  # fmt: skip
    """What is wrong with as many minibatches, as ``algo.{name}`` says, of the streams of an update:
    those of ``collect.envs``, or of another setting, ``whose``, which counts ``what``."""
    if minibatches < 1 or streams < 1 or streams % minibatches == 0:
        return []
    fits = [n for n in range(1, streams + 1) if streams % n == 0]
    below = max(n for n in fits if n < minibatches)
    above = [n for n in fits if n > minibatches][:1]
    near = " or ".join(str(n) for n in [below, *above])
    return [
        f"algo.{name} {minibatches} must divide {whose} {streams}: a minibatch is an equal share "
        f"of the {what}; use {near}"
    ]


def state_problems(spec: TaskSpec, state_obs: bool, what: str, instead: str) -> list[str]:
    """For an algorithm ``what`` of which is a function of the state, with the observations
    beside it where ``state_obs``; ``instead`` names those that need none."""
    if spec.state_size > 0 or state_obs:
        return []
    return [
        f"{spec.name} has no state, of which the {what} is a function: add the observations with "
        f"algo.state_obs true, or use {instead}"
    ]
