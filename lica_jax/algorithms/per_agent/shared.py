"""What IDDPG, MADDPG, SQDDPG and COMA on particle tasks share: one actor and one critic per agent.

The machinery of the SQDDPG repository. Every agent has feed-forward networks and losses of its own;
only loss i trains agent i. Critics are fitted to one-step TD targets in several steps per update,
then every actor takes one step under the new critics, and now and then both targets move a little
towards them. The algorithms differ in what a critic reads, in what it is asked for, and in whether
transitions are replayed (`Method`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PyTree

from lica_jax.algorithms.per_agent.insight import insight
from lica_jax.algorithms.per_agent.settings import Config, HParams
from lica_jax.core.entropy import categorical_entropy
from lica_jax.core.losses import watched
from lica_jax.core.masking import masked_mean
from lica_jax.core.optim import ADAM, periodic_copy
from lica_jax.networks.per_agent import AgentNetwork, NormalMLP, agent_network
from lica_jax.types import Acting, Algorithm, Replay, TaskSpec, Trajectory

Losses = Float[Array, " N"]


@struct.dataclass
class Params:
    """All agents' actors and critics."""

    actor: PyTree
    critic: PyTree


@struct.dataclass
class Learner:
    """Everything that is learned. Moments have a leading axis N, shared networks or not."""

    params: Params
    target: Params
    actor_opt: PyTree
    critic_opt: PyTree
    updates: Int[Array, ""]
    last_copy: Int[Array, ""]


@struct.dataclass
class Rows:
    """Transitions in no order: all that the losses read."""

    obs: Float[Array, "K N O"]
    action: Float[Array, "K N A"]  # one-hot, or the weights that were played
    reward: Float[Array, " K"]
    terminal: Bool[Array, " K"]  # it led to a state of value 0
    next_obs: Float[Array, "K N O"]
    mask: Float[Array, " K"]  # 0: no transition


class Method(NamedTuple):
    """What tells one algorithm of the family from another. ``nets`` are `Networks`.

    Attributes:
      n_inputs: length of what one critic reads.
      n_outputs: how many numbers it answers.
      values: ``(nets, critic, obs [K, N, O], action [K, N, A], noise) -> [K, N]``, what the TD
        regression fits.
      next_action: ``(logits [K, N, A], key) -> [K, N, A]``, what targets take agents to do next.
      policy_losses: ``(nets, critic, logits [K, N, A], rows, noise) -> [K, N]``, without entropy.
      draw: ``(key, n_rows) -> noise``, leaves [K, ...], what one pass of the critics depends on
        beside its arguments.
      replay: None when on-policy.
      each: what every critic answers by itself, called as ``values`` is, where ``values`` are
        something else.
    """

    n_inputs: int
    n_outputs: int
    values: Callable[..., Float[Array, "K N"]]
    next_action: Callable[..., Float[Array, "K N A"]]
    policy_losses: Callable[..., Float[Array, "K N"]]
    draw: Callable[[Array, int], PyTree] = lambda key, rows: ()
    replay: Replay | None = None
    each: Callable[..., Float[Array, "K N"]] | None = None


class Networks(NamedTuple):
    """The networks of one task, the method, and the static choices behind them."""

    actor: AgentNetwork
    critic: AgentNetwork
    method: Method
    config: Config
    spec: TaskSpec


def make_networks(config: Config, spec: TaskSpec, method: Method) -> Networks:
    """Builds actors and critics; initialises nothing."""
    build = partial(agent_network, spec.n_agents, hidden=config.hidden)
    build = partial(build, share_params=config.share_params)
    return Networks(
        build(spec.obs_size, n_outputs=spec.n_actions),
        build(method.n_inputs, n_outputs=method.n_outputs),
        method, config, spec,
    )  # fmt: skip


def algorithm(nets: Networks, act: Callable, hparams: HParams) -> Algorithm:
    """The algorithm of some networks; ``act(nets, ...)`` is ``Algorithm.act``."""
    return Algorithm(
        init=partial(init, nets),
        initial_carry=initial_carry,
        act=partial(act, nets),
        update=partial(update, nets),
        policy=lambda learner: learner.params.actor,
        scratch_bytes=partial(scratch_bytes, nets),
        hparams=hparams,
        metrics=("entropy", "value_loss"),
        replay=nets.method.replay,
        acting=Acting(NormalMLP.layers, nets.config.share_params).under("params"),
        insight=insight(nets),
    )


def initial_carry(batch: int) -> Float[Array, "B 1"]:
    """No memory; of width 1, as checkpoints and exports have it."""
    return jnp.zeros((batch, 1))


def init(nets: Networks, key: Array) -> Learner:
    """Fresh networks; the targets equal them."""
    actor_key, critic_key = jax.random.split(key)
    params = Params(nets.actor.init(actor_key), nets.critic.init(critic_key))
    return new_learner(nets, params, params)


def new_learner(nets: Networks, params: Params, target: Params) -> Learner:
    """A learner with the given parameters before its first update."""
    n = nets.spec.n_agents

    def moments(params):
        if nets.config.share_params:  # every agent has an optimiser of its own all the same
            params = jax.tree.map(lambda x: jnp.broadcast_to(x, (n, *x.shape)), params)
        return ADAM.init(params)

    return Learner(
        params=params,
        target=target,
        actor_opt=moments(params.actor),
        critic_opt=moments(params.critic),
        updates=jnp.zeros((), jnp.int32),
        last_copy=jnp.zeros((), jnp.int32),
    )


# --- one update ----------------------------------------------------------------------------------


def rows_of(traj: Trajectory, n_actions: int) -> Rows:
    """The transitions of a trajectory, time-major, those that are not valid included."""
    steps, action = traj.steps, traj.action
    if jnp.issubdtype(action.dtype, jnp.integer):
        action = jax.nn.one_hot(action, n_actions, dtype=steps.obs.dtype)
    rows = Rows(
        obs=steps.obs[:-1], action=action[:-1], reward=steps.reward[1:],
        terminal=steps.terminated[1:], next_obs=steps.obs[1:],
        mask=traj.valid.astype(steps.obs.dtype),
    )  # fmt: skip
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)


def update(
    nets: Networks, learner: Learner, traj: Trajectory, key: Array, *, hp: HParams, progress: Any
) -> tuple[Learner, dict[str, Array]]:
    """`critic_steps` steps of the critics, one of the actors, and a soft copy if due.

    A replayed trajectory holds a minibatch of its own for each of these steps, side by side; one
    that is fresh is used whole in all of them.
    """
    hp = hp.at(progress.env_steps)
    steps, method, target = nets.config.critic_steps, nets.method, learner.target
    rows = rows_of(traj, nets.spec.n_actions)
    fresh = method.replay is None
    size = rows.mask.size if fresh else rows.mask.size // (steps + 1)
    next_key, target_key, value_key, policy_key = jax.random.split(key, 4)
    noise = method.draw(target_key, steps * size), method.draw(value_key, steps * size)

    def by_step(tree):
        return jax.tree.map(lambda x: x.reshape(steps, size, *x.shape[1:]), tree)

    # Targets stand still within an update: those of all steps come before the first.
    if fresh:  # one step's at a time, since the critics read `steps` times as much as was collected
        first, last = None, rows
        logits = nets.actor.apply(target.actor, rows.next_obs)
        next_action = method.next_action(jnp.tile(logits, (steps, 1, 1)), next_key)
        y = jax.lax.map(
            lambda xs: td_targets(nets, target.critic, rows, *xs, hp),
            by_step((next_action, noise[0])),
        )
    else:
        first, last = (jax.tree.map(lambda x, p=p: x[p], rows) for p in _cut(steps * size))
        next_action = next_actions(nets, target.actor, first.next_obs, next_key)
        y = by_step(td_targets(nets, target.critic, first, next_action, noise[0], hp))
        first = by_step(first)
    learner, metrics = jax.lax.scan(
        lambda learner, xs: critic_step(nets, learner, rows if fresh else xs[0], *xs[1:], hp),
        learner, (first, y, by_step(noise[1])),
    )  # fmt: skip
    metrics = jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics)
    learner, shown = actor_step(nets, learner, last, method.draw(policy_key, size), hp)
    metrics |= shown
    learner = copy_if_due(nets, learner.replace(updates=learner.updates + 1), hp)
    loss = metrics["value_loss"] + metrics["policy_loss"]
    norms = metrics["value_grad_norm"], metrics["policy_grad_norm"]
    return learner, metrics | {"loss": watched(loss, *norms)}


def _cut(at: int) -> tuple[slice, slice]:
    return slice(at), slice(at, None)


# --- critics -------------------------------------------------------------------------------------


def next_actions(
    nets: Networks, target_actor: PyTree, next_obs: Float[Array, "K N O"], key: Array
) -> Float[Array, "K N A"]:
    """What the target actors do in the next state."""
    return nets.method.next_action(nets.actor.apply(target_actor, next_obs), key)


def td_targets(
    nets: Networks,
    target_critic: PyTree,
    rows: Rows,
    next_action: Float[Array, "K N A"],
    noise: PyTree,
    hp: HParams,
) -> Float[Array, "K N"]:
    """``y_i = r + gamma (1 - d) Q'_i(o', u')``, d only where an episode ended terminally."""
    following = nets.method.values(nets, target_critic, rows.next_obs, next_action, noise)
    going_on = 1 - rows.terminal.astype(following.dtype)
    return rows.reward[:, None] + hp.gamma * going_on[:, None] * following


def critic_losses(
    critic: PyTree, nets: Networks, rows: Rows, target: Float[Array, "K N"], noise: PyTree
) -> tuple[Losses, dict[str, Array]]:
    """Every agent's mean squared TD error ``mean_k (y_i - Q_i(o, u))^2``."""
    values = nets.method.values(nets, critic, rows.obs, rows.action, noise)
    shown = {"q_taken_mean": masked_mean(values, rows.mask)}
    return agent_means(jnp.square(target - values), rows.mask), shown


def critic_step(
    nets: Networks,
    learner: Learner,
    rows: Rows,
    target: Float[Array, "K N"],
    noise: PyTree,
    hp: HParams,
) -> tuple[Learner, dict[str, Array]]:
    """One Adam step of all critics towards ``target``."""
    losses, grads, shown = own_gradients(
        critic_losses, nets, learner.params.critic, rows, target, noise
    )
    critic, opt, norm = agents_step(
        nets, learner.params.critic, grads, learner.critic_opt, hp.critic_lr, hp.grad_clamp
    )
    learner = learner.replace(params=learner.params.replace(critic=critic), critic_opt=opt)
    return learner, shown | {"value_loss": jnp.mean(losses), "value_grad_norm": norm}


# --- actors --------------------------------------------------------------------------------------


def actor_losses(
    actor: PyTree, nets: Networks, critic: PyTree, rows: Rows, noise: PyTree, hp: HParams
) -> tuple[Losses, dict[str, Array]]:
    """Every agent's policy loss, less ``entropy_coef`` times the sum of its entropies.

    ``critic`` are constants. The other two results are the losses without entropy [N] and the mean
    entropy in nats.
    """
    logits = nets.actor.apply(actor, rows.obs)
    losses = agent_means(nets.method.policy_losses(nets, critic, logits, rows, noise), rows.mask)
    entropy = categorical_entropy(logits, jnp.ones(logits.shape, bool))
    bonus = jnp.sum(entropy * rows.mask[:, None], axis=0)
    aux = {"policy_losses": losses, "entropy": masked_mean(entropy, rows.mask)}
    return losses - hp.entropy_coef * bonus, aux


def actor_step(
    nets: Networks, learner: Learner, rows: Rows, noise: PyTree, hp: HParams
) -> tuple[Learner, dict[str, Array]]:
    """One Adam step of all actors under the current critics."""
    losses, grads, aux = own_gradients(
        actor_losses, nets, learner.params.actor, learner.params.critic, rows, noise, hp
    )
    actor, opt, norm = agents_step(
        nets, learner.params.actor, grads, learner.actor_opt, hp.actor_lr, hp.grad_clamp
    )
    learner = learner.replace(params=learner.params.replace(actor=actor), actor_opt=opt)
    shown = {"entropy": aux["entropy"], "policy_loss": jnp.mean(losses), "policy_grad_norm": norm}
    return learner, shown


# --- gradients, steps and copies -----------------------------------------------------------------


def agent_means(x: Float[Array, "K N"], mask: Float[Array, " K"]) -> Losses:
    """Each agent's mean over the rows that count."""
    return jax.vmap(masked_mean, in_axes=(-1, None))(x, mask)


def own_gradients(
    losses: Callable, nets: Networks, params: PyTree, *args
) -> tuple[Losses, PyTree, dict[str, Array]]:
    """``losses(params, nets, *args) -> ([N], aux)``, and the gradient of each agent's own loss.

    Returns ``(losses, gradients with a leading axis N, aux)``. With own networks loss i must depend
    on the parameters of agent i only (`own_view` holds the others constant): then the
    gradient of the sum holds all of them. Shared networks take one pass backward per agent.
    """

    def total(params):
        each, aux = losses(params, nets, *args)
        return (each if nets.config.share_params else jnp.sum(each)), (each, aux)

    if nets.config.share_params:
        grads, (each, aux) = jax.jacrev(total, has_aux=True)(params)
    else:
        grads, (each, aux) = jax.grad(total, has_aux=True)(params)
    return each, grads, aux


def view_of_each(x: Float[Array, "K N A"]) -> Float[Array, "K N N A"]:
    """``[k, i, j]``: x of agent j, for every i."""
    return jnp.repeat(x[:, None], x.shape[1], axis=1)


def own_view(nets: Networks, x: Float[Array, "K N A"]) -> Float[Array, "K N N A"]:
    """``[k, i, j]``: x of agent j as loss i sees it.

    With own networks a constant unless j = i, since loss i trains agent i alone.
    """
    seen = view_of_each(x)
    if nets.config.share_params:
        return seen
    mine = jnp.eye(x.shape[1], dtype=bool)[..., None]
    return jnp.where(mine, seen, jax.lax.stop_gradient(seen))


def agents_step(
    nets: Networks,
    params: PyTree,
    grads: PyTree,
    opt: PyTree,
    learning_rate: Float[Array, ""],
    clamp: Float[Array, ""],
) -> tuple[PyTree, PyTree, Float[Array, ""]]:
    """An Adam step for each agent with its gradient, element by element within ``clamp``.

    Shared networks take the agents' steps one after another with gradients from before the first,
    which is their sum. Returns ``(params, opt, norm)``, the norm of all gradients before the clamp.
    """
    norm = optax.tree.norm(grads)
    grads = jax.tree.map(lambda g: jnp.clip(g, -clamp, clamp), grads)
    updates, opt = ADAM.update(grads, opt)
    if nets.config.share_params:
        updates = jax.tree.map(lambda u: jnp.sum(u, axis=0), updates)
    return jax.tree.map(lambda p, u: p - learning_rate * u, params, updates), opt, norm


def copy_if_due(nets: Networks, learner: Learner, hp: HParams) -> Learner:
    """``target <- (1 - rate) target + rate params`` every ``target_interval`` updates.

    Once for each agent, so shared networks take n such copies.
    """
    times = nets.spec.n_agents if nets.config.share_params else 1
    rate = 1 - (1 - hp.target_rate) ** times
    target, last_copy = periodic_copy(
        optax.incremental_update(learner.params, learner.target, rate), learner.target,
        learner.updates, learner.last_copy, hp.target_interval,
    )  # fmt: skip
    return learner.replace(target=target, last_copy=last_copy)


def scratch_bytes(nets: Networks, rows: int) -> dict[str, int]:
    """The critics' activations, float32, two layers with ReLUs; and where a whole batch is learned
    from at once, not minibatches, what they read: in parts, joined and at the first product."""
    numbers = 2 * rows * nets.spec.n_agents * nets.config.hidden
    out = {f"the critics' activations over {rows} rows": 4 * numbers}
    if nets.method.replay is None:
        numbers = 3 * rows * nets.spec.n_agents * nets.method.n_inputs
        out[f"what the critics read of {rows} rows"] = 4 * numbers
    return out
