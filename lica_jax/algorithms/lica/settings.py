"""LICA's settings: static choices and traced numbers, and which of them go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flax import struct

from lica_jax.algorithms.settings import (
    MOST_UPDATES,
    AgentSettings,
    ReplaySettings,
    Settings,
    StepSizes,
    idle_in_one_layer,
    minibatch_problems,
)
from lica_jax.core.entropy import EntropyMode
from lica_jax.types import Collect, TaskSpec, number


@dataclass(frozen=True)
class MixingSettings(Settings):
    """Settings of LICA's mixing critic, for `mixing_critic`. Defaults are the official code's.

    Attributes:
      state_last_action: append all agents' previous actions to the critic's state, unless the
        task's state already contains them.
      state_obs: append all agents' observations to the critic's state.
      hypernet_views: generate each agent's rows of W1 with one hypernetwork, shared by all agents,
        that reads this agent's observation and index and the task's state. Otherwise one
        hypernetwork of the whole state generates the rows of all agents. Needs ``state_obs``.
      mixing_embed: E, width of the mixing critic.
      hypernet_layers: number of linear layers in the hypernetworks of W1 and w2.
      hypernet_hidden: hidden width of W1's hypernetwork: a number, or "full": N*A*E, as in the
        official code (A*E with ``hypernet_views``).
      critic_pass: how W1(s) is computed: in full ("dense"), or only the rows that are used
        ("grouped"); the results agree up to rounding. "auto" takes the faster one on the backend.
    """

    state_last_action: bool = True
    state_obs: bool = False
    hypernet_views: bool = False
    mixing_embed: int = 64
    hypernet_layers: Literal[1, 2] = 2
    hypernet_hidden: int | Literal["full"] = "full"
    critic_pass: Literal["auto", "dense", "grouped"] = "auto"

    @property
    def asks_policies(self) -> bool:
        """Whether the critic is fitted at the policies that acted."""
        return False

    @property
    def keeps_policies(self) -> bool:
        """Whether the policies that acted are kept beside the actions."""
        return self.asks_policies

    def problems(self, spec: TaskSpec, collect: Collect) -> list[str]:
        """What is wrong with these values, alone and together; one line each."""
        out = super().problems(spec, collect)
        if self.hypernet_views and not self.state_obs:
            out.append("algo.hypernet_views reads what algo.state_obs appends: set both")
        if self.hypernet_views and self.critic_pass == "grouped":
            out.append(
                "algo.hypernet_views computes all of W1(s) at policies: use algo.critic_pass "
                '"dense" or "auto"'
            )
        return out

    def idle(self, spec: TaskSpec, hp: Any) -> dict[str, tuple[str, ...]]:
        return super().idle(spec, hp) | idle_in_one_layer(self.hypernet_layers)


@dataclass(frozen=True)
class Config(MixingSettings, AgentSettings, ReplaySettings):
    """Static choices; changing one recompiles. Defaults are the official code's.

    Attributes:
      actor: recurrent ("gru") or feed-forward ("mlp") agents.
      critic: the mixing critic with its hypernetwork ("mixing"), or the paper's ablation C_MLP
        ("mlp", section 4.3.2).
      mlp_hidden: width of C_MLP; "matched" gives it the mixing critic's number of parameters.
      critic_steps: passes of the critic over each batch.
      critic_minibatches: minibatches (gradient steps) per pass of the critic, each an equal share
        of the batch's segments.
      critic_layer_norm: layer norm before every ReLU of the mixing critic: in its hypernetworks (of
        the state) and in its mixing layer (of the actions).
      critic_zero_actions: start with W1(s) of the mixing critic at zero, so that no action has an
        effect before anything has been learned about it.
      dueling: Q(s, u) = V(s) + A(s, u) - A(s, pi). V, a value of the state, is fitted to the
        targets, and the critic A to what V leaves unexplained. The actor climbs A.
      critic_average: the actor climbs a moving average of the critic's parameters over batches
        (Polyak and Juditsky, 1992; see ``hp.average_decay``) instead of the latest ones.
      critic_soft_inputs: fit the critic also at joint actions in which one agent's action is
        replaced by its policy.
      actor_steps: gradient steps of the actor on each batch; see ``hp.kl_coef``.
      kl_mode: "constant": ``hp.kl_coef`` stays as it is; "target": it is doubled or halved from
        update to update, so that each update moves the policies by about ``hp.kl_target``.
      trust_region: if an update moved the policies further than ``hp.kl_limit``, move the actor
        back towards where it was before the batch.
      target_critic: compute the targets with a target critic, a periodic copy of the critic.
      targets: TD(lambda) ("td_lambda", Eq. 2), PyMARL's unmasked recursion for it ("pymarl"), or
        Monte-Carlo returns ("monte_carlo").
      policy_input: what the actor's loss feeds to the critic: action probabilities ("probs", Eq.
        4), Gumbel-Softmax samples ("gumbel_softmax"), or such samples with a straight-through
        argmax ("straight_through", Fig. 6).
      entropy_mode: what the entropy that divides xi is averaged over: time, batch and agents
        ("global"), time and batch ("agent"), or nothing ("sample"). "constant": xi is not divided.
        "target": it is not divided, but adapted until the entropy is ``hp.entropy_target``.
      replay_capacity: size of the replay buffer from which the batches of critic and actor are
        drawn, in segments (in episode mode: whole episodes). 0: no replay, every batch is the fresh
        one, as in the paper.
      replay_for: what learns from replayed data: critic and actor, instead of from the fresh batch
        and without off-policy correction ("critic_and_actor"); or the critic alone, in addition to
        the fresh batch and with importance weights truncated at 1 ("critic").
    """

    actor: Literal["gru", "mlp"] = "gru"
    critic: Literal["mixing", "mlp"] = "mixing"
    mlp_hidden: int | Literal["matched"] = 64
    critic_steps: int = number(1, 1, MOST_UPDATES)
    critic_minibatches: int = 1
    critic_layer_norm: bool = False
    critic_zero_actions: bool = False
    dueling: bool = False
    critic_average: bool = False
    critic_soft_inputs: bool = False
    actor_steps: int = number(1, 1, MOST_UPDATES)
    kl_mode: Literal["constant", "target"] = "constant"
    trust_region: bool = False
    target_critic: bool = True
    targets: Literal["td_lambda", "pymarl", "monte_carlo"] = "td_lambda"
    policy_input: Literal["probs", "gumbel_softmax", "straight_through"] = "probs"
    entropy_mode: EntropyMode = "global"
    replay_capacity: int = number(0, low=0)
    replay_for: Literal["critic_and_actor", "critic"] = "critic_and_actor"

    def problems(self, spec: TaskSpec, collect: Collect) -> list[str]:
        """What is wrong with these values, alone and together; one line each."""
        streams: tuple[Any, ...] = (collect.envs,)
        if self.corrects:
            what = "environments and segments that are drawn"
            streams = collect.envs + self.replay_batch, "collect.envs + algo.replay_batch", what
        elif self.replay_capacity:
            streams = self.replay_batch, "algo.replay_batch", "segments that are drawn"
        sizes = minibatch_problems("critic_minibatches", self.critic_minibatches, *streams)
        sizes += self.replay_problems("segment", spec, collect) or self._no_room(collect)
        return super().problems(spec, collect) + sizes + self._contradictions(spec, collect)

    def idle(self, spec: TaskSpec, hp: Any) -> dict[str, tuple[str, ...]]:
        """Settings without effect beside the others."""
        numbers = ("temperature", "temperature_final", "temperature_steps")
        targets = ("target", "target_final", "target_steps", "rate")
        mixing = ["algo.mixing_embed", "algo.hypernet_layers", "algo.hypernet_hidden"]
        return super().idle(spec, hp) | {
            reason: tuple(names)
            for reason, names, idle in (
                ('algo.policy_input "probs"', [f"hp.{x}" for x in numbers],
                 self.policy_input == "probs"),
                (f'algo.entropy_mode "{self.entropy_mode}"', [f"hp.entropy_{x}" for x in targets],
                 self.entropy_mode != "target"),
                ("hp.entropy_coef 0", ["algo.entropy_mode"],
                 not hp.entropy_coef and not hp.entropy_final),
                ("algo.critic_average False", ["hp.average_decay"], not self.critic_average),
                ("algo.actor_steps 1", ["hp.kl_coef"], self.actor_steps == 1),
                ('algo.kl_mode "constant"', ["hp.kl_target"], self.kl_mode == "constant"),
                ("algo.trust_region False", ["hp.kl_limit"], not self.trust_region),
                ('algo.targets "monte_carlo"',
                 ["hp.td_lambda", "hp.target_interval", "timeout_is_terminal"],
                 self.targets == "monte_carlo"),
                ('algo.critic "mixing"', ["algo.mlp_hidden"], self.critic == "mixing"),
                ('algo.critic "mlp"', mixing,
                 self.critic == "mlp" and self.mlp_hidden != "matched"),
                ("algo.target_critic False", ["hp.target_interval"],
                 not self.target_critic and self.targets != "monte_carlo"),
            )
            if idle
        }  # fmt: skip

    @property
    def keeps_target(self) -> bool:
        """Whether there is a target critic: Monte-Carlo returns need none."""
        return self.target_critic and self.targets != "monte_carlo"

    @property
    def asks_policies(self) -> bool:
        return self.dueling or self.critic_soft_inputs

    @property
    def corrects(self) -> bool:
        """Whether the critic learns from older batches, too, with importance weights."""
        return self.replay_capacity > 0 and self.replay_for == "critic"

    @property
    def keeps_policies(self) -> bool:
        return self.asks_policies or self.corrects

    @property
    def of_replay(self) -> tuple[str, ...]:
        return *super().of_replay, "algo.replay_for"

    def _no_room(self, collect: Collect) -> list[str]:
        """Older segments are drawn from beside the fresh ones, which have taken their places."""
        least = collect.envs + self.replay_batch
        if not self.corrects or self.replay_capacity >= least:
            return []
        return [
            f"algo.replay_capacity {self.replay_capacity} has no room for a batch of older "
            f"segments beside the fresh ones: with algo.replay_for critic it must be at least "
            f"{least} (collect.envs {collect.envs} + algo.replay_batch {self.replay_batch})"
        ]

    def _contradictions(self, spec: TaskSpec, collect: Collect) -> list[str]:
        out = []
        if spec.state_size == 0 and not (self.state_last_action or self.state_obs):
            out.append(
                f"{spec.name} has no state, and without algo.state_last_action or algo.state_obs "
                "the critic has nothing to be a function of beside the actions"
            )
        if spec.continuous and self.policy_input != "probs":
            out.append(
                f"algo.policy_input {self.policy_input!r} relaxes a choice among actions; "
                f"{spec.name} has continuous actions, whose policy parameters are fed to the "
                'critic as they are: use "probs"'
            )
        if spec.continuous and self.actor_steps > 1:
            out.append(
                f"algo.actor_steps {self.actor_steps} holds policies by the divergence of a choice "
                f"among actions; {spec.name} has continuous actions: use 1"
            )
        if spec.continuous and self.kl_mode == "target":
            out.append(
                'algo.kl_mode "target" is about the divergence of a choice among actions; '
                f'{spec.name} has continuous actions: use "constant"'
            )
        elif self.kl_mode == "target" and self.actor_steps == 1:
            out.append(
                'algo.kl_mode "target" adjusts a weight that has no effect on the first of an '
                'update\'s steps: set algo.actor_steps above 1, or algo.kl_mode "constant"'
            )
        if spec.continuous and self.trust_region:
            out.append(
                "algo.trust_region limits the divergence of a choice among actions; "
                f"{spec.name} has continuous actions: leave it False"
            )
        if spec.continuous and self.entropy_mode == "target":
            out.append(
                'algo.entropy_mode "target" is a fraction of the largest entropy of a choice; '
                f"{spec.name} has continuous actions, whose entropy has no such bound: use another"
            )
        others = {
            "continuous actions": spec.continuous,
            "algo.dueling": self.dueling,
            "algo.critic_soft_inputs": self.critic_soft_inputs,
            f'algo.targets "{self.targets}"': self.targets != "td_lambda",
            f"algo.updates_per_collect {self.updates_per_collect}": self.updates_per_collect > 1,
        }
        if self.corrects and any(others.values()):
            out.append(
                'algo.replay_for "critic" corrects TD(lambda) targets of choices among actions, '
                "and its actor learns once from each fresh batch: not together with "
                f'{", ".join(x for x in others if others[x])}; use "critic_and_actor"'
            )
        if self.targets != "td_lambda" and collect.mode == "steps":
            reason = {
                "pymarl": "its recursion does not know where an episode ends inside a segment",
                "monte_carlo": "a segment that stops within an episode has no complete return",
            }.get(self.targets, "")
            out.append(f'algo.targets {self.targets!r} needs collect.mode "episode": {reason}')
        if self.critic_pass == "grouped" and self.critic == "mlp":
            out.append(
                'algo.critic_pass "grouped" is about the hypernetwork; algo.critic "mlp" has none'
            )
        if self.critic_layer_norm and (self.critic == "mlp" or self.critic_pass == "grouped"):
            out.append(
                "algo.critic_layer_norm is about the mixing critic and computes all of W1(s): use "
                'algo.critic "mixing" and algo.critic_pass "dense" or "auto"'
            )
        if self.critic_zero_actions and self.critic == "mlp":
            out.append(
                'algo.critic_zero_actions is about W1(s) of the mixing critic; algo.critic "mlp" '
                "has none"
            )
        if self.hypernet_views and self.critic == "mlp":
            out.append(
                'algo.hypernet_views is about the mixing critic; algo.critic "mlp" has no '
                "hypernetwork"
            )
        if self.asks_policies and self.critic_pass == "grouped":
            which = "dueling" if self.dueling else "critic_soft_inputs"
            out.append(
                f"algo.{which} fits the critic at policies, which takes all of W1(s): use "
                'algo.critic_pass "dense" or "auto"'
            )
        if self.critic_pass == "grouped" and spec.continuous:
            out.append(
                f'algo.critic_pass "grouped" groups rows by chosen action; {spec.name} has '
                "continuous actions"
            )
        return out


@struct.dataclass
class HParams(StepSizes):
    """Traced numbers: they can be swept without recompiling. Defaults are the official code's.

    Attributes:
      actor_lr: learning rate of the actor (Adam).
      critic_lr: learning rate of the critic (Adam).
      gamma: discount factor.
      td_lambda: lambda of the TD(lambda) targets.
      entropy_coef: initial entropy coefficient: xi of Eq. 6 (beta with ``algo.entropy_mode``
        "constant").
      entropy_final: entropy coefficient from env step ``entropy_steps`` on; None: ``entropy_coef``.
      entropy_steps: env steps over which the entropy coefficient changes linearly from
        ``entropy_coef`` to ``entropy_final``; 0: constant.
      entropy_target: with ``algo.entropy_mode`` "target", the initial target of the entropy: a
        fraction of log(number of available actions), averaged over agents with a choice.
        ``entropy_coef`` is then the initial xi.
      entropy_target_final: target of the entropy from env step ``entropy_target_steps`` on; None:
        ``entropy_target``.
      entropy_target_steps: env steps over which the target of the entropy changes linearly from
        ``entropy_target`` to ``entropy_target_final``; 0: constant.
      entropy_rate: with ``algo.entropy_mode`` "target", how fast xi adapts: per update, log xi
        rises by this times the amount by which the entropy falls short of its target.
      average_decay: with ``algo.critic_average``, the decay per batch of the moving average of the
        critic's parameters.
      kl_coef: weight of KL(old policies || new ones) in the actor's loss; without effect on the
        first of ``algo.actor_steps``. With ``algo.kl_mode`` "target", the initial weight (1 if this
        is 0).
      kl_target: with ``algo.kl_mode`` "target", the value at which the metric `kl` of an update is
        held: KL(old policies || new ones), averaged over steps and agents, including agents without
        a choice (whose KL is 0). With ``algo.trust_region``, policies move no further than about
        ``kl_limit``, even if the target is above it.
      kl_limit: with ``algo.trust_region``, the KL(old policies || new ones) that an update is
        scaled back to (to second order) where it went further, averaged over steps and agents,
        including agents without a choice (whose KL is 0).
      grad_norm_clip: gradient clipping: maximum norm, for actor and critic separately.
      target_interval: gradient steps of the critic between two copies into the target critic.
      temperature: initial temperature of the Gumbel-Softmax samples.
      temperature_final: temperature from env step ``temperature_steps`` on; None: ``temperature``.
      temperature_steps: env steps over which the temperature changes linearly from ``temperature``
        to ``temperature_final``; 0: constant.
      reward_scale: factor on rewards for learning; None: the task's own.
    """

    actor_lr: float = number(2.5e-3, low=0)
    critic_lr: float = number(5e-4, low=0)
    gamma: float = number(0.99, 0, 1)
    td_lambda: float = number(0.8, 0, 1)
    entropy_coef: float = number(0.06, low=0)
    entropy_final: float | None = number(None, low=0, start="entropy_coef", steps="entropy_steps")
    entropy_steps: float = number(0.0, low=0)
    entropy_target: float = number(0.5, 0, 1)
    entropy_target_final: float | None = number(
        None, 0, 1, start="entropy_target", steps="entropy_target_steps"
    )
    entropy_target_steps: float = number(0.0, low=0)
    entropy_rate: float = number(0.05, low=0)
    average_decay: float = number(0.9, 0, 0.999999)
    kl_coef: float = number(0.0, low=0)
    kl_target: float = number(0.005, low=1e-12)
    kl_limit: float = number(0.01, low=1e-12)
    grad_norm_clip: float = number(10.0, low=1e-12)
    target_interval: int = number(200, low=1)
    temperature: float = number(1.0, low=1e-3)
    temperature_final: float | None = number(
        None, low=1e-3, start="temperature", steps="temperature_steps"
    )
    temperature_steps: float = number(0.0, low=0)
    reward_scale: float | None = number(None, low=1e-12)
