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
from lica_jax.types import Collect, TaskSpec, number


@dataclass(frozen=True)
class MixingSettings(Settings):
    """Settings of LICA's mixing critic, for `mixing_critic`. Defaults are the official code's.

    Attributes:
      state_last_action: append all agents' previous actions to the critic's state, where it
        does not hold them already.
      state_obs: append all agents' observations to it, too.
      hypernet_views: W1's rows of every agent come from one hypernetwork, which reads that agent's
        observation and index beside the task's state, instead of those of all agents from one that
        reads the whole state; needs ``state_obs``.
      mixing_embed: E, width of the mixing critic.
      hypernet_layers: 1 or 2.
      hypernet_hidden: width of W1's hypernetwork: "full" (N*A*E, the paper's code) or a number.
      critic_pass: how W1(s) is computed: all of it ("dense"), or only the rows that are used
        ("grouped"); the numbers are the same to rounding. "auto" takes the faster by backend.
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

    def idle(self) -> dict[str, tuple[str, ...]]:
        return super().idle() | idle_in_one_layer(self.hypernet_layers)


@dataclass(frozen=True)
class Config(MixingSettings, AgentSettings, ReplaySettings):
    """Static choices; changing one recompiles. Defaults are the official code's.

    Attributes:
      actor: recurrent or feed-forward agents.
      critic: the mixing critic with its hypernetwork, or the ablation C_MLP (section 4.3.2).
      mlp_hidden: width of C_MLP; "matched" gives it the mixing critic's number of parameters.
      critic_steps: passes of the critic over each batch.
      critic_minibatches: gradient steps in a pass, each on an equal share of the streams.
      critic_layer_norm: normalise what goes into every ReLU of the mixing critic: of the
        hypernetworks (embeddings of the state) and of the mixing layer (of the actions).
      critic_zero_actions: the mixing critic's W1(s) is zero at first, so that no action has an
        effect before anything has been learned of it.
      dueling: Q(s, u) = V(s) + A(s, u) - A(s, pi): a value of the state, fitted to the targets,
        beside the critic, which is fitted to what the value leaves and is what the actor climbs.
      critic_average: the actor climbs an average of the critic's parameters over batches (Polyak
        and Juditsky, 1992; see ``average_decay``) instead of the newest ones.
      critic_soft_inputs: fit the critic also where one agent's action is replaced by its policy.
      actor_steps: gradient steps of the actor on each batch; see ``kl_coef``.
      kl_mode: ``kl_coef`` as it is ("constant"), or doubled and halved from update to update until
        policies move by about ``hp.kl_target`` in each ("target").
      trust_region: the actor goes back towards where it was before the batch if its steps led
        further than ``hp.kl_limit``.
      target_critic: compute targets with a slowly updated copy of the critic.
      targets: TD(lambda) (Eq. 2), PyMARL's unmasked recursion of it, or Monte-Carlo returns.
      policy_input: what the actor's loss feeds to the critic: action probabilities (Eq. 4),
        Gumbel-Softmax samples, or those with a straight-through argmax (Fig. 6).
      entropy_mode: what the entropy is averaged over before it divides xi; nothing divides it in
        "constant", and in "target" xi is adjusted until the entropy is ``hp.entropy_target``.
      replay_capacity: how many segments (in episode mode whole episodes) are kept, from which the
        batches of critic and actor are drawn; 0: every batch is the fresh one, as in the paper.
      replay_for: who learns from what is drawn: critic and actor, instead of from the fresh batch
        and with nothing that corrects for it ("critic_and_actor"), or the critic alone, beside the
        fresh batch and with importance weights truncated at 1 ("critic").
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
    entropy_mode: Literal["global", "agent", "sample", "constant", "target"] = "global"
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
        sizes += self.replay_problems("segment", spec, collect)
        return super().problems(spec, collect) + sizes + self._contradictions(spec, collect)

    def idle(self) -> dict[str, tuple[str, ...]]:
        """Settings without effect beside the others."""
        numbers = ("temperature", "temperature_final", "temperature_steps")
        targets = ("target", "target_final", "target_steps", "rate")
        mixing = ["algo.mixing_embed", "algo.hypernet_layers", "algo.hypernet_hidden"]
        return super().idle() | {
            reason: tuple(names)
            for reason, names, idle in (
                ('algo.policy_input "probs"', [f"hp.{x}" for x in numbers],
                 self.policy_input == "probs"),
                (f'algo.entropy_mode "{self.entropy_mode}"', [f"hp.entropy_{x}" for x in targets],
                 self.entropy_mode != "target"),
                ("algo.critic_average False", ["hp.average_decay"], not self.critic_average),
                ("algo.actor_steps 1", ["hp.kl_coef"], self.actor_steps == 1),
                ('algo.kl_mode "constant"', ["hp.kl_target"], self.kl_mode == "constant"),
                ("algo.trust_region False", ["hp.kl_limit"], not self.trust_region),
                ('algo.targets "monte_carlo"', ["hp.td_lambda", "hp.target_interval"],
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
      actor_lr: Adam step size of the actor.
      critic_lr: Adam step size of the critic.
      gamma: discount.
      td_lambda: lambda of the TD(lambda) targets.
      entropy_coef: xi of Eq. 6 (beta in entropy mode "constant"), at the beginning.
      entropy_final: xi from ``entropy_steps`` on; None keeps ``entropy_coef``.
      entropy_steps: env steps over which it goes there from ``entropy_coef`` in a straight
        line; 0 for a constant one.
      entropy_target: in entropy mode "target", the mean entropy of agents with a choice, as a
        fraction of log(number of available actions), at the beginning; there ``entropy_coef`` is
        the xi that the adjustment starts from.
      entropy_target_final: that fraction from ``entropy_target_steps`` on; None keeps
        ``entropy_target``.
      entropy_target_steps: env steps over which ``entropy_target`` goes to
        ``entropy_target_final`` in a straight line; 0 for a constant.
      entropy_rate: how much log xi changes in an update for each unit that the entropy lacks.
      average_decay: what every batch leaves of the critic's average, with ``critic_average``.
      kl_coef: weight of KL(old policies || new ones) in the actor's loss; without effect on the
        first of its ``actor_steps``. In KL mode "target" what the adjustment starts from; 1
        where it is 0.
      kl_target: in KL mode "target", what the metric `kl` of an update is held at: KL(old policies
        || new ones), on average over steps and agents, those without a choice (KL 0) among them. A
        target above ``kl_limit`` is never reached.
      kl_limit: largest KL(old policies || new ones) of an update, with ``trust_region``; the
        average over steps and agents, those without a choice (KL 0) among them.
      grad_norm_clip: largest gradient norm, of actor and critic separately.
      target_interval: critic gradient steps between copies into the target critic.
      temperature: of Gumbel-Softmax samples, at the beginning.
      temperature_final: the temperature behind ``temperature_steps``; None keeps ``temperature``.
      temperature_steps: env steps over which ``temperature`` goes to ``temperature_final`` in a
        straight line; 0 for a constant temperature.
      reward_scale: factor on rewards before learning; None takes the task's own.
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
