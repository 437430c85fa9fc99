"""Playing episodes and keeping all that is there to be seen: a `lax.scan` of its own.

The keys are those of an evaluation (`training.evaluation`): the greedy episodes of a recording are
the first ones that ``lica-jax eval`` plays with the same seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from lica_jax.envs.frames import Frame, Scene
from lica_jax.policy import Critic, Policy
from lica_jax.training.evaluation import EXPORTED, evaluation_keys
from lica_jax.training.loop import bound_act
from lica_jax.training.rollout import is_over, reset_batch, select_env, step_batch
from lica_jax.types import Algorithm, Outlook, Progress, Task


@struct.dataclass
class Moment:
    """One decision of all agents, and what was seen until the next one; leading axes B or T.

    Of a whole episode all leaves are numpy arrays with a leading axis T.
    """

    frame: Frame  # leaves [K, ...], the moments that the decision led to
    outlook: Outlook | None
    avail: Bool[Array, "N A"]
    action: Array  # [N] indices, [N, D] points or [N, A] weights
    alive: Bool[Array, " N"]  # when they decided
    reward: Float[Array, ""]  # for it, not scaled
    playing: Bool[Array, ""]  # False behind the end of the episode
    won: Bool[Array, ""]  # at the end of the step


@dataclass(frozen=True)
class Recording:
    """Some episodes of a policy.

    Attributes:
      policy: who played.
      task: what was played.
      critic: who was asked; None: nobody.
      sampled: actions were drawn from the policies; greedy play otherwise.
      seed: of the episodes.
      episodes: each cut at its end, leaves ``[T, ...]``.
    """

    policy: Policy
    task: Task
    critic: Critic | None
    sampled: bool
    seed: int
    episodes: list[Moment]

    @property
    def scene(self) -> Scene:
        return self.task.scene


def record(policy: Policy, task: Task, *, episodes: int, seed: int, sampled: bool) -> Recording:
    """Plays ``episodes`` in one compiled program and keeps what was seen and thought.

    The policy's critic is asked too, unless it was made for states of another size.
    """
    algo = policy.algo_for(task.spec)
    critic = policy.critic if task.spec.state_size == policy.spec.state_size else None
    play = jax.jit(partial(film, algo, task, episodes, sampled))
    key = jax.random.fold_in(evaluation_keys((seed,), EXPORTED)[0], 0)
    shown = jax.device_get(play(policy.params, critic and critic.params, policy.hp, key))
    lengths = shown.playing.sum(axis=0)
    cut = [jax.tree.map(lambda x, i=i: x[: lengths[i], i], shown) for i in range(episodes)]
    return Recording(policy, task, critic, sampled, seed, cut)


def film(
    algo: Algorithm, task: Task, batch: int, sampled: bool, params: PyTree, critic: PyTree | None,
    hp: PyTree, key: PRNGKeyArray,
) -> Moment:  # fmt: skip
    """The first episode of ``batch`` environments, leaves ``[T, B, ...]``; T is the limit."""
    reset_key, key = jax.random.split(key)
    env, ts = reset_batch(task, reset_key, batch)
    explore = jnp.full(batch, sampled)
    act = partial(bound_act, algo, params, hp, Progress.finished(), explore)
    frames = jax.vmap(task.frames, in_axes=(0, getattr(task, "batch_axis", 0), 0))

    def moment(loop, t):
        env, ts, carry = loop
        act_key, env_key = jax.random.split(jax.random.fold_in(key, t))
        after, action, _ = act(carry, ts, act_key)
        look = algo.insight and algo.insight.look(params, critic, carry, ts, action, hp)
        env_next, ts_next = step_batch(task, env_key, env, action)
        over = is_over(ts)
        seen = Moment(
            # The step's own keys once more: what is seen is what happens in it.
            frame=frames(jax.random.split(jax.random.clone(env_key), batch), env, action),
            outlook=look,
            avail=ts.avail, action=action, alive=ts.alive, reward=ts_next.reward, playing=~over,
            won=ts_next.info.get("won", jnp.zeros(batch, bool)),
        )  # fmt: skip
        env, ts = select_env(task, over, (env, ts), (env_next, ts_next))
        return (env, ts, after), seen

    start = (env, ts, algo.initial_carry(batch))
    return jax.lax.scan(moment, start, jnp.arange(task.spec.episode_limit))[1]


def spread(
    outlook: Outlook, avail: Bool[np.ndarray, "T N A"], continuous: bool
) -> Float[np.ndarray, "T N"]:
    """How far each agent can move the team's value, to first order: from the worst to the best of
    its available actions by their credit; 0 for who has no choice."""
    if continuous:  # from one end of (-1, 1) to the other, in every dimension
        return 2 * np.abs(outlook.credit).sum(-1)
    low, high = np.where(avail, outlook.credit, np.inf), np.where(avail, outlook.credit, -np.inf)
    several = avail.sum(-1) > 1
    span = np.where(several, high.max(-1, initial=-np.inf) - low.min(-1, initial=np.inf), 0)
    return span if outlook.weight is None else span * np.abs(outlook.weight)


def shares(
    outlook: Outlook, avail: Bool[np.ndarray, "T N A"], continuous: bool
) -> Float[np.ndarray, "T N"]:
    """`spread` as a share of all agents'; zeros where nobody has a choice."""
    moves = spread(outlook, avail, continuous)
    total = moves.sum(-1, keepdims=True)
    return np.divide(moves, total, out=np.zeros_like(moves), where=total > 0)
