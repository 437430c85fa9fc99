"""Deterministic policy gradients for discrete actions: what IDDPG, MADDPG and SQDDPG share.

In its losses an agent's action is its vector of probabilities pi = softmax(logits), and the actor
climbs the gradient of its critic with respect to it. What is played, stored and fitted by the
critic is a sample: a Gumbel-softmax vector at a low temperature (`behaviour`). The three differ in
what critic i reads, and in SQDDPG the TD regression fits the sum of all critics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PyTree

from lica_jax.algorithms.heads import make_head
from lica_jax.algorithms.per_agent import shared
from lica_jax.algorithms.per_agent.shared import Method, Networks, Rows, own_view, view_of_each
from lica_jax.algorithms.settings import ReplaySettings
from lica_jax.core.gumbel import gumbel_softmax
from lica_jax.core.masking import mask_logits
from lica_jax.types import Algorithm, Collect, TaskSpec, TimeStep, number

# ``(obs [K, N, O], action [K, N, N, A], noise)`` to the parts of what critics 1..N read, [K, M, N,
# I] (or 1 for M): M inputs per row, whose answers are averaged. ``action[k, i, j]`` is agent j's
# as critic i reads it.
Read = Callable[..., tuple[Array, ...]]


@dataclass(frozen=True)
class Config(shared.Config, ReplaySettings):
    """Static choices; changing one recompiles. Defaults are the SQDDPG repository's.

    Attributes:
      behaviour: what is played while exploring: a Gumbel-softmax vector ("soft"), or the index of
        its largest entry ("hard"). "auto" is soft on tasks that take weights of actions, else hard.
      replay_capacity: size of the replay buffer, in transitions.
      replay_batch: size of a minibatch, in transitions.
    """

    behaviour: Literal["auto", "soft", "hard"] = "auto"
    replay_capacity: int = 10_000
    replay_batch: int = 128

    def problems(self, spec: TaskSpec, collect: Collect) -> list[str]:
        out = super().problems(spec, collect) + self.replay_problems("transition", spec, collect)
        if self.behaviour == "soft" and not spec.weighs_actions:
            out.append(
                f'algo.behaviour "soft" plays weights of actions, and {spec.name} takes one action '
                'per agent: use "hard" or "auto"'
            )
        return out

    def idle(self, spec: TaskSpec, hp: Any) -> dict[str, tuple[str, ...]]:
        of_task = f" on {spec.name}" if self.behaviour == "auto" else ""
        hard = {f'algo.behaviour "{self.behaviour}"{of_task}': ("hp.temperature",)}
        return super().idle(spec, hp) | ({} if self.is_soft(spec) else hard)

    def is_soft(self, spec: TaskSpec) -> bool:
        return spec.weighs_actions if self.behaviour == "auto" else self.behaviour == "soft"


@struct.dataclass
class HParams(shared.HParams):
    """Traced numbers: they can be swept without recompiling. Defaults are the SQDDPG repository's.

    Attributes:
      temperature: temperature of the Gumbel-softmax vectors that are played; without effect on
        indices (hard behaviour).
    """

    temperature: float = number(0.1, low=1e-3)


def make_networks(
    config: Config, spec: TaskSpec, n_inputs: int, read: Read, draw: Callable | None = None,
    team: bool = False,
) -> Networks:  # fmt: skip
    """Actors, and critics of ``n_inputs`` numbers.

    Args:
      read: what critics read.
      draw: ``(key, n_rows) -> noise`` that ``read`` takes.
      team: the TD regression fits the sum over agents instead of each critic alone.
    """
    method = Method(
        n_inputs, 1, partial(values, read, team), next_action, partial(policy_losses, read),
        replay=config.replay("transition", draws=config.critic_steps + 1),
        each=partial(values, read, False),
    )  # fmt: skip
    method = method._replace(draw=draw) if draw else method
    return shared.make_networks(config, spec, method)


def algorithm(nets: Networks) -> Algorithm:
    algo = shared.algorithm(nets, act, HParams())
    if not nets.config.is_soft(nets.spec):
        return algo
    return algo._replace(acting=replace(algo.acting, choice="gumbel_softmax", number="temperature"))


# --- losses --------------------------------------------------------------------------------------


def critic_values(
    read: Read, nets: Networks, critic: PyTree, obs: Float[Array, "K N O"],
    action: Float[Array, "K N N A"], noise: PyTree,
) -> Float[Array, "K N"]:  # fmt: skip
    """Every critic's answer, averaged over the M inputs that it reads per row."""
    return jnp.mean(nets.critic.apply(critic, *read(obs, action, noise))[..., 0], axis=1)


def values(
    read: Read, team: bool, nets: Networks, critic: PyTree, obs: Float[Array, "K N O"],
    action: Float[Array, "K N A"], noise: PyTree,
) -> Float[Array, "K N"]:  # fmt: skip
    """What TD learning fits: Q_i, or for a ``team`` the sum of all critics, N times.

    In the i-th of these sums all but agent i's own term are constants, unless networks are shared.
    """
    q = critic_values(read, nets, critic, obs, view_of_each(action), noise)
    if not team:
        return q
    total = jnp.broadcast_to(jnp.sum(q, axis=-1, keepdims=True), q.shape)
    if nets.config.share_params:
        return total
    return q + jax.lax.stop_gradient(total - q)


def next_action(logits: Float[Array, "K N A"], key: Array) -> Float[Array, "K N A"]:
    """The target policies' probabilities (temperature 1, no sampling)."""
    del key
    return jax.nn.softmax(logits)


def policy_losses(
    read: Read, nets: Networks, critic: PyTree, logits: Float[Array, "K N A"], rows: Rows,
    noise: PyTree,
) -> Float[Array, "K N"]:  # fmt: skip
    """``-Q_i(o, pi_1 .. pi_N)``: all agents at their current policies, none as replayed."""
    seen = own_view(nets, jax.nn.softmax(logits))
    return -critic_values(read, nets, critic, rows.obs, seen, noise)


# --- behaviour -----------------------------------------------------------------------------------


def act(nets: Networks, params, carry, ts: TimeStep, key, *, hp, progress, explore):
    """Samples where ``explore``, else takes the most likely action: weights or indices."""
    del progress
    logits = nets.actor.apply(params, ts.obs)
    if not nets.config.is_soft(nets.spec):
        return carry, make_head(nets.spec).choose(logits, ts.avail, key, explore), {}
    uniform = jax.random.uniform(key, logits.shape, logits.dtype)
    sampled = gumbel_softmax(logits, ts.avail, uniform, hp.temperature)
    best = jnp.argmax(mask_logits(logits, ts.avail), axis=-1)
    best = jax.nn.one_hot(best, logits.shape[-1], dtype=logits.dtype)
    return carry, jnp.where(explore[:, None, None], sampled, best), {}
