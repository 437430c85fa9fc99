"""The one-step traffic junction (LICA paper, section 4.3.1 and Figure 5), as pure functions.

Two agents choose to pass (1) or to wait (0), once; the team's reward is 1 if exactly one passes
(the table is the task's, `lica_jax.envs.games.JUNCTION`).
A shared policy gives each agent's probability of passing from the agent's number alone, a critic
scores joint actions, and an iteration is k critic steps followed by one policy step. Everything is
one initialisation, without a batch axis; ``vmap`` over keys gives the figure's 20,000.

As in the official script the critic is a plain MLP (with a single state a hypernetwork would be a
constant), there is no entropy term, and the critic sees the exact rewards of all joint actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from lica_jax.core.optim import ADAM, adam_step
from lica_jax.envs import games
from lica_jax.networks.layers import MLP

# All joint actions (agent 1, agent 2) and their rewards; the order only numbers the rows below.
JOINT = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])
REWARD = np.array([games.JUNCTION[u][v] for u, v in JOINT])
# Joint actions by the names of `statistics`; the two that are rewarded come first.
OUTCOMES = {"1,0": (1, 0), "0,1": (0, 1), "0,0": (0, 0), "1,1": (1, 1)}
ROWS = 16  # of the official COMA script's batch, one of which is left out of each step


class Nets(NamedTuple):
    """Parameters of the critic (2 -> hidden -> 1) and the shared policy (1 -> hidden -> 1)."""

    critic: PyTree
    policy: PyTree


def init(key: Array, hidden: int = 32) -> Nets:
    """Draws both networks from PyTorch's default initialisation, as the official script does."""
    critic_key, policy_key = jax.random.split(key)
    net = MLP((hidden, 1))
    return Nets(net.init(critic_key, jnp.zeros(2)), net.init(policy_key, jnp.zeros(1)))


def _apply(params: PyTree, x: Float[Array, "*B I"]) -> Float[Array, "*B"]:
    """A network with one output; its widths are read from its parameters."""
    layers = params["params"]
    widths = tuple(layers[f"layer_{i}"]["bias"].shape[0] for i in range(len(layers)))
    return MLP(widths).apply(params, x)[..., 0]


def q_value(critic: PyTree, action: Float[Array, "*B 2"]) -> Float[Array, "*B"]:
    """Q(u_1, u_2), at actions or anywhere between them."""
    return _apply(critic, action)


def pass_logit(policy: PyTree) -> Float[Array, " 2"]:
    """Each agent's logit of passing: the shared network at the agent's number, 0 or 1."""
    dtype = jax.tree.leaves(policy)[0].dtype
    return _apply(policy, jnp.arange(2, dtype=dtype)[:, None])


def pass_prob(policy: PyTree) -> Float[Array, " 2"]:
    """Each agent's probability of passing."""
    return jax.nn.sigmoid(pass_logit(policy))


def critic_loss(critic: PyTree) -> Float[Array, ""]:
    """Mean squared error over the four joint actions; no sampling."""
    q = q_value(critic, jnp.asarray(JOINT, jax.tree.leaves(critic)[0].dtype))
    return jnp.mean(jnp.square(q - REWARD))


# --- policy losses: (policy, critic, row to leave out) -> scalar ----------------------------------


def lica_loss(policy: PyTree, critic: PyTree, dropped: Int[Array, ""]) -> Float[Array, ""]:
    """``-Q(p_1, p_2)`` (Eq. 3 without the entropy term): the critic at the probabilities."""
    del dropped  # nothing is sampled
    return -q_value(critic, pass_prob(policy))


def flip_advantage(critic: PyTree) -> Float[Array, "2 4"]:
    """``A_i(u) = Q(u) - Q(u with u_i flipped)`` for both agents i and the joint actions u."""
    joint = jnp.asarray(JOINT, jax.tree.leaves(critic)[0].dtype)
    q = q_value(critic, joint)
    flipped = jnp.stack([joint.at[:, i].set(1 - joint[:, i]) for i in range(2)])
    return q - q_value(critic, flipped)


def action_log_prob(policy: PyTree) -> Float[Array, "2 4"]:
    """``log pi_i(u_i)`` for both agents i and the joint actions u."""
    logit = pass_logit(policy)[:, None]
    return jax.nn.log_sigmoid(jnp.where(JOINT.T == 1, logit, -logit))


def _mean_of_15(
    advantage: Float[Array, "2 4"], log_prob: Float[Array, "2 4"], dropped: Int[Array, ""]
) -> Float[Array, ""]:
    """``-mean A log p`` over 15 of the official script's 16 rows.

    Rows, in its order: for each agent, the four joint actions against the agent's flipped action,
    then the four against the action itself. The latter have advantage 0: they count in the mean and
    add nothing. So dropping rows 4-7 or 12-15 is the same as dropping none but for the factor 1/15.
    """
    terms = jnp.stack([advantage * log_prob, jnp.zeros_like(advantage)], axis=1).reshape(-1)
    return -jnp.sum(jnp.where(jnp.arange(ROWS) == dropped, 0, terms)) / (ROWS - 1)


def coma_repo_loss(policy: PyTree, critic: PyTree, dropped: Int[Array, ""]) -> Float[Array, ""]:
    """COMA as the official script has it (Figure 5): joint actions weigh the same, and the
    log-probability is that of *passing*, whatever the row's action is.

    The advantages of passing and of waiting are opposite, and both multiply ``log p_i(pass)``: over
    all 16 rows the gradient is zero for any critic. What moves the policy is the row left out.
    """
    log_pass = jax.nn.log_sigmoid(pass_logit(policy))
    log_prob = jnp.broadcast_to(log_pass[:, None], (2, 4))
    return _mean_of_15(flip_advantage(critic), log_prob, dropped)


def coma_fixed_loss(policy: PyTree, critic: PyTree, dropped: Int[Array, ""]) -> Float[Array, ""]:
    """The same with the log-probability of the action that the row has.

    Joint actions still weigh the same, so with the true rewards as critic the full batch's gradient
    is zero: whatever the other agent does, half of its actions favour passing and half waiting.
    """
    return _mean_of_15(flip_advantage(critic), action_log_prob(policy), dropped)


def counterfactual_advantage(policy: PyTree, critic: PyTree) -> Float[Array, "2 4"]:
    """``A_i(u) = Q(u) - sum_v pi_i(v) Q(u with u_i = v)`` (COMA's counterfactual baseline).

    That is ``pi_i(the other action) (Q(u) - Q(u with u_i flipped))`` with two actions.
    """
    return (1 - jnp.exp(action_log_prob(policy))) * flip_advantage(critic)


def coma_on_policy_loss(
    policy: PyTree, critic: PyTree, dropped: Int[Array, ""]
) -> Float[Array, ""]:
    """COMA's gradient in expectation: joint actions weigh ``pi(u) = pi_1(u_1) pi_2(u_2)``.

    ``- sum_u pi(u) mean_i A_i(u) log pi_i(u_i)``, with weights and advantages held constant.
    """
    del dropped
    log_prob = action_log_prob(policy)
    weight = jnp.exp(jnp.sum(log_prob, axis=0))
    scale = jax.lax.stop_gradient(weight * counterfactual_advantage(policy, critic))
    return -jnp.sum(jnp.mean(scale * log_prob, axis=0))


METHODS: dict[str, Callable[..., Float[Array, ""]]] = {
    "lica": lica_loss,
    "coma_repo": coma_repo_loss,
    "coma_fixed_logprob": coma_fixed_loss,
    "coma_on_policy": coma_on_policy_loss,
}


# --- training -------------------------------------------------------------------------------------


def train(
    nets: Nets,
    dropped: Int[Array, " iterations"],
    method: str,
    k: int = 5,
    lr: float = 1e-2,
    lrfac: float = 2.0,
) -> tuple[Nets, Float[Array, "iterations 2"]]:
    """Trains one pair of networks.

    An iteration is k full-batch critic steps (Adam, ``lr * lrfac``), then one policy step (Adam,
    ``lr``) with the critic held constant.

    Args:
      nets: the networks to start from.
      dropped: the row that each iteration leaves out, in 0..15; only two COMA variants use it.
      method: a name in `METHODS`.
      k: critic steps an iteration. The defaults are those of the official plotting script.
      lr: the policy's learning rate.
      lrfac: the critic's learning rate over the policy's.

    Returns:
      The networks after the last iteration, and both agents' probabilities of passing *before* each
      iteration's policy step, so the last policy step never shows (as in the official script).
    """
    loss = METHODS[method]

    def step(params, opt_state, grads, rate):
        # Nothing is clipped: an infinite norm scales by 1.
        return adam_step(params, grads, opt_state, rate, jnp.inf)[:2]

    def critic_step(_, carry):
        critic, opt_state = carry
        return step(critic, opt_state, jax.grad(critic_loss)(critic), lr * lrfac)

    def iteration(carry, row):
        critic_side, (policy, policy_opt) = carry
        critic_side = jax.lax.fori_loop(0, k, critic_step, critic_side)
        prob = pass_prob(policy)
        grads = jax.grad(loss)(policy, critic_side[0], row)
        return (critic_side, step(policy, policy_opt, grads, lr)), prob

    start = tuple((params, ADAM.init(params)) for params in nets)
    (critic_side, policy_side), probs = jax.lax.scan(iteration, start, dropped)
    return Nets(critic_side[0], policy_side[0]), probs


def start(
    key: Array, iterations: int = 60, hidden: int = 32
) -> tuple[Nets, Int[Array, " iterations"]]:
    """Everything random about a run: the initial networks, and the row each iteration leaves out.

    Every method starts from the same draw, so differences between methods are not chance.
    """
    init_key, row_key = jax.random.split(key)
    return init(init_key, hidden), jax.random.randint(row_key, (iterations,), 0, ROWS)


# --- what came out --------------------------------------------------------------------------------


def outcome(probs: Float[Array, "*B T 2"]) -> Int[Array, "*B 2"]:
    """The joint action a run ended in: the last probabilities, rounded half to even (0.5 -> 0)."""
    return jnp.rint(probs[..., -1, :]).astype(int)


def expected_reward(prob: Float[Array, "*B 2"]) -> Float[Array, "*B"]:
    """The probability that exactly one agent passes."""
    choice = jnp.stack([1 - prob, prob], axis=-1)  # [*B, agent, action]
    return games.expected_reward(games.JUNCTION, choice[..., 0, :], choice[..., 1, :])


def entropy(prob: Float[Array, "*B 2"]) -> Float[Array, "*B"]:
    """Entropy of an agent's choice in nats, mean of both agents."""
    return -jnp.mean(
        jax.scipy.special.xlogy(prob, prob) + jax.scipy.special.xlog1py(1 - prob, -prob), -1
    )


def statistics(probs: Float[np.ndarray, "inits iterations 2"]) -> dict[str, Any]:
    """Counts, and curves over the iterations, of one method.

    ``outcomes`` has an entry for each of the four joint actions, ``all`` is over every
    initialisation: each agent's mean and population standard deviation of the probability of
    passing (None for an outcome that never happened). ``expected_reward`` and ``entropy`` (nats,
    mean of both agents) are over every initialisation too.
    """
    ended = np.asarray(outcome(probs))
    groups = {name: probs[(ended == o).all(axis=1)] for name, o in OUTCOMES.items()}
    rewards = np.asarray(expected_reward(probs), np.float64)
    entropies = np.asarray(entropy(probs), np.float64)
    return {
        "outcomes": {
            name: {"count": len(group), "fraction": len(group) / len(probs), **_curves(group)}
            for name, group in groups.items()
        },
        "all": {"count": len(probs), **_curves(probs)},
        "expected_reward": {"mean": _plain(rewards.mean(0)), "std": _plain(rewards.std(0))},
        "entropy": {"mean": _plain(entropies.mean(0))},
    }


def _curves(probs: Float[np.ndarray, "inits iterations 2"]) -> dict[str, Any]:
    if not len(probs):
        return {f"agent_{i + 1}": {"mean": None, "std": None} for i in range(2)}
    mean, std = probs.mean(0, dtype=np.float64), probs.std(0, dtype=np.float64)
    return {
        f"agent_{i + 1}": {"mean": _plain(mean[:, i]), "std": _plain(std[:, i])} for i in range(2)
    }


def _plain(values: np.ndarray) -> list[float]:
    return np.round(values, 6).tolist()
