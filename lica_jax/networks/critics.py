"""Centralised critics of states and joint actions.

Every critic here, but for `DuelingCritic`, is called in three ways, which are one function of the
joint action u [M], M = N * A: ``critic(state, u)`` at any u; ``at_actions`` at joint actions that
were taken (one-hot u); ``at_policies`` at action probabilities, with a gradient to the
probabilities alone. The latter two know what need not be computed. ``at_several`` asks at several u
of one state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, PyTree

from lica_jax.core.grouped import chosen_product, needed_products, relu_linear, rows_first
from lica_jax.networks.layers import MLP, Linear

# Largest W1(s) in one piece, in numbers; the rows are cut into chunks above it.
MAX_HYPER_WEIGHTS = 2**26

ON_CPU = "cpu"  # where a pass is grouped, by the platform that a program is compiled for


def joint_one_hot(action: Int[Array, "*B N"], n_actions: int, dtype) -> Float[Array, "*B M"]:
    """Concatenated one-hot actions of all agents, agent-major; -1 gives zeros."""
    one_hot = jax.nn.one_hot(action, n_actions, dtype=dtype)
    return one_hot.reshape(*action.shape[:-1], -1)


def with_one_replaced(
    u: Float[Array, "*B N P"], by: Float[Array, "*B N K P"]
) -> Float[Array, "*B N K M"]:
    """Joint inputs ``(by_ik, u_-i)``: agent i's part of u is one of its K alternatives."""
    n, p = u.shape[-2:]
    mine = jnp.eye(n, dtype=bool)[:, None, :, None]
    joint = jnp.where(mine, by[..., None, :], u[..., None, None, :, :])
    return joint.reshape(*by.shape[:-1], n * p)


class JointCritic(nn.Module):
    """What every critic offers; see the module's text.

    Attributes:
      n_inputs: M, length of the joint action.
    """

    n_inputs: int

    def at_actions(
        self, state: Float[Array, "*B S"], action: Int[Array, "*B N"], needed: Bool[Array, "*B"]
    ) -> Float[Array, "*B"]:
        """Q at taken joint actions; arbitrary but finite where not ``needed``."""
        del needed
        n_actions = self.n_inputs // action.shape[-1]
        return self(state, joint_one_hot(action, n_actions, state.dtype))

    def at_policies(
        self, state: Float[Array, "*B S"], probs: Float[Array, "*B N A"],
        avail: Bool[Array, "*B N A"], needed: Bool[Array, "*B"],
    ) -> Float[Array, "*B"]:  # fmt: skip
        """Q at the policies' probabilities, which must be 0 where not ``avail``.

        The gradient to probabilities of unavailable actions may be 0.
        """
        del avail, needed
        return self(state, probs.reshape(*probs.shape[:-2], -1))

    def at_several(
        self, state: Float[Array, "*B S"], u: Float[Array, "*B K M"]
    ) -> Float[Array, "*B K"]:
        """Q of a state at K joint inputs."""
        state = jnp.broadcast_to(state[..., None, :], (*u.shape[:-1], state.shape[-1]))
        return self(state, u)

    def at_deviations(
        self, state: Float[Array, "*B S"], action: Int[Array, "*B N"]
    ) -> Float[Array, "*B N A"]:
        """Q(s, (a, u_-i)): what was done, but for one agent i, which does a instead."""
        n, m = action.shape[-1], self.n_inputs
        u = joint_one_hot(action, m // n, state.dtype).reshape(*action.shape, -1)
        by = jnp.broadcast_to(jnp.eye(m // n, dtype=u.dtype), (*action.shape, m // n, m // n))
        q = self.at_several(state, with_one_replaced(u, by).reshape(*u.shape[:-2], m, m))
        return q.reshape(u.shape)

    def scratch_numbers(self, rows: int) -> dict[str, int]:
        """The largest temporaries of a pass over that many rows: name and how many numbers."""
        raise NotImplementedError


class Views(NamedTuple):
    """Where a state holds what its agents observe."""

    start: int  # what stands before it is the task's own state
    n_agents: int
    size: int


class MixingCritic(JointCritic):
    """LICA's critic: a hypernetwork maps the state to a network over all agents' actions.

    ``Q = relu(u W1(s) + b1(s)) . w2(s) + b2(s)`` (paper, Fig. 1b), with u the concatenation over
    agents of one-hot actions or action probabilities, M = N * A long. No absolute values: the
    critic is not monotonic in the actions.

    Attributes:
      n_inputs: M.
      embed: E, width of the mixing layer.
      layers: 1 or 2 linear layers in the hypernetworks of W1 and w2. The official code runs only
        with 2; with 1 its w2 has the wrong size, which is mended here.
      hyper_hidden: width of W1's hypernetwork; ``"full"`` is M * E as in the official code.
      grouped_actions: in ``at_actions`` compute only the rows of W1(s) that are used
        (`core/grouped.py`) instead of all of them.
      grouped_policies: the same in ``at_policies``. `ON_CPU` groups a pass where the program is
        compiled for a CPU, whatever the default backend.
      zero_actions: W1's hypernetwork ends in zeros at first, so that no action has an effect
        before anything has been learned of it.
      layer_norm: normalise what goes into every ReLU; grouped passes do not know of it.
      views: the rows W1_i(s) [A, E] of every agent i come from one hypernetwork of its observation,
        the task's state and its index, instead of all from one of the whole state; "full" is then
        A * E. Policies cannot be grouped.
    """

    embed: int = 64
    layers: int = 2
    hyper_hidden: int | str = 64
    grouped_actions: bool | str = False
    grouped_policies: bool | str = False
    zero_actions: bool = False
    layer_norm: bool = False
    views: Views | None = None

    def setup(self):
        e, deep, mlp = self.embed, self.layers == 2, partial(MLP, layer_norm=self.layer_norm)
        widths = (self._hidden, self._made) if deep else (self._made,)
        self.hyper_w_1 = mlp(widths, last_by_output=True, last_zero=self.zero_actions)
        self.hyper_w_final = mlp((e, e) if deep else (e,))
        self.hyper_b_1 = Linear(e)
        self.hyper_b_2 = mlp((e, 1))
        self.mix_norm = nn.LayerNorm(param_dtype=float) if self.layer_norm else None

    def __call__(self, state: Float[Array, "*B S"], u: Float[Array, "*B M"]) -> Float[Array, "*B"]:
        mixed = jnp.einsum("...m,...me->...e", u, self._w1(state))
        return _mix(mixed, *self._other_weights(state), self.mix_norm)

    def at_actions(self, state, action, needed):
        if self.grouped_actions == ON_CPU:
            return self._by_platform("at_actions", state, action, needed)
        if not self.grouped_actions:
            return super().at_actions(state, action, needed)
        shape, n_agents = needed.shape, action.shape[-1]
        state, action = state.reshape(needed.size, -1), action.reshape(needed.size, n_agents)
        # Needed rows to the front: the loops over blocks of rows stop behind them.
        order, count = rows_first(needed.reshape(-1))
        state, action = state[order], action[order]
        n_actions = self.n_inputs // n_agents
        real = (action >= 0) & (action < n_actions)  # others are zeros, as in `joint_one_hot`
        real = real & (jnp.arange(needed.size)[:, None] < count)
        if self.views:  # the hypernetwork runs once for each agent: its rows are (row, agent)
            seen, block, count = self._seen(state), action, count * n_agents
            seen = seen.reshape(-1, seen.shape[-1])
        else:
            seen, block = state, jnp.arange(n_agents)[None] * n_actions + action
        block = jnp.where(real, block, -1).reshape(seen.shape[0], -1)
        *first, (weight, bias) = self._w1_layers()
        hidden = relu_linear(seen, *first[0], count) if first else seen
        mixed = chosen_product(hidden, weight, block, self.embed)
        bias = jnp.where(block[..., None] >= 0, bias.reshape(-1, self.embed)[block], 0)
        mixed = (mixed + jnp.sum(bias, axis=1)).reshape(needed.size, -1, self.embed)
        q = _mix(jnp.sum(mixed, axis=1), *self._other_weights(state))
        return jnp.zeros_like(q).at[order].set(q).reshape(shape)

    def at_policies(self, state, probs, avail, needed):
        if self.grouped_policies == ON_CPU:
            return self._by_platform("at_policies", state, probs, avail, needed)
        if not self.grouped_policies:
            return super().at_policies(state, probs, avail, needed)
        rows = needed.size
        state, u = state.reshape(rows, -1), probs.reshape(rows, *probs.shape[-2:])
        used = (avail & needed[..., None, None]).reshape(u.shape)
        constants = jax.lax.stop_gradient((u, state, *self._other_weights(state)))
        slope_of = partial(_value_and_slope, jax.lax.stop_gradient(self._w1_layers()))
        q, slope = in_chunks(slope_of, (used, *constants), self.n_chunks(rows))
        # W1(s) of a chunk is gone once the next one begins, so each hands on its gradient, in a
        # term whose value is 0.
        return (q + jnp.sum(slope * (u - constants[0]), axis=(-2, -1))).reshape(needed.shape)

    def _by_platform(self, method, *args):
        def asked(critic, variables, *args):
            return critic.apply(variables, *args, method=method)

        return by_platform(self.clone(parent=None), asked)(self.variables, *args)

    def at_several(self, state, u):
        w1 = self._w1(state)  # once for all K
        return self._mix_agents(state, jnp.einsum("...km,...me->...ke", u, w1))

    def at_deviations(self, state, action):
        w1, others = self._of_others(state, action)
        return self._mix_agents(state, others[..., None, :] + w1)

    def at_own_policies(
        self, state: Float[Array, "*B S"], action: Int[Array, "*B N"],
        probs: Float[Array, "*B N A"],
    ) -> Float[Array, "*B N"]:  # fmt: skip
        """Q(s, (pi_i, u_-i)): agent i's own slot holds its policy, the others' what they did."""
        w1, others = self._of_others(state, action)
        return self._mix_agents(state, others + jnp.einsum("...na,...nae->...ne", probs, w1))

    def _of_others(self, state, action):
        """``W1(s)`` by agent and action, and the part of ``u W1(s)`` of all agents but i."""
        w1 = self._w1(state).reshape(*action.shape, -1, self.embed)
        # One-hot products, since "no action" (-1) adds nothing.
        mine = jax.nn.one_hot(action, w1.shape[-2], dtype=w1.dtype)
        mine = jnp.einsum("...na,...nae->...ne", mine, w1)
        return w1, jnp.sum(mine, axis=-2, keepdims=True) - mine

    def _mix_agents(self, state, mixed):
        """Q of several ``u W1(s)`` of a state: mixed ``[*B, ..., E]``."""
        extra = (1,) * (mixed.ndim - state.ndim)
        w2, b1, b2 = self._other_weights(state)
        b2 = b2.reshape(*b2.shape, *extra)
        w2, b1 = (x.reshape(*x.shape[:-1], *extra, x.shape[-1]) for x in (w2, b1))
        return _mix(mixed, w2, b1, b2, self.mix_norm)

    def n_chunks(self, rows: int) -> int:
        """Into how many pieces to cut that many rows, so that their W1(s) fits, and what it is
        computed from."""
        widest = max(self.n_inputs * self.embed, self._hidden * self._n_made)
        return -(-rows * widest // MAX_HYPER_WEIGHTS)

    @property
    def _hidden(self) -> int:
        """Width of the hidden layer of W1's hypernetwork; 0 without one."""
        if self.layers == 1:
            return 0
        return self._made if self.hyper_hidden == "full" else self.hyper_hidden

    @property
    def _n_made(self) -> int:
        """How many times W1's hypernetwork runs on a row."""
        return self.views.n_agents if self.views else 1

    @property
    def _made(self) -> int:
        """How many numbers of W1(s) it makes each time."""
        return self.n_inputs * self.embed // self._n_made

    def scratch_numbers(self, rows):
        full, hidden = self.n_inputs * self.embed, self._hidden
        grouped = self.grouped_policies
        if grouped == ON_CPU:  # on what is there to be allocated on
            grouped = jax.default_backend() == "cpu"
        pieces = min(rows * full, MAX_HYPER_WEIGHTS) if grouped else rows * full
        sizes = {
            "the critic's hyper-weights W1(s)": pieces,
            "the hidden layer of W1's hypernetwork": rows * hidden * self._n_made,
        }
        if self.views:
            start, n, size = self.views
            sizes["what W1's hypernetwork reads"] = rows * n * (start + size + n)
        return sizes

    def _w1(self, state: Float[Array, "*B S"]) -> Float[Array, "*B M E"]:
        w1 = self.hyper_w_1(self._seen(state) if self.views else state)
        return w1.reshape(*state.shape[:-1], self.n_inputs, self.embed)

    def _seen(self, state: Float[Array, "*B S"]) -> Float[Array, "*B N I"]:
        """What W1's hypernetwork reads for each agent: its observation, the task's state, index."""
        start, n, size = self.views
        obs = state[..., start : start + n * size].reshape(*state.shape[:-1], n, size)
        own = jnp.broadcast_to(state[..., None, :start], (*obs.shape[:-1], start))
        index = jnp.broadcast_to(jnp.eye(n, dtype=obs.dtype), (*obs.shape[:-1], n))
        return jnp.concatenate([obs, own, index], axis=-1)

    def _w1_layers(self):
        """Kernel and bias of each of W1's linear layers; of the last one, weight and bias."""
        layers = self.hyper_w_1.variables["params"]
        *first, last = (layers[name] for name in sorted(layers))
        return [(x["kernel"], x["bias"]) for x in first] + [(last["weight"], last["bias"])]

    def _other_weights(self, state):
        return self.hyper_w_final(state), self.hyper_b_1(state), self.hyper_b_2(state)[..., 0]


def by_platform(
    critic: JointCritic | DuelingCritic, function: Callable[..., PyTree]
) -> Callable[..., PyTree]:
    """``function(critic, *arrays)`` of the arrays, with a critic whose passes are grouped on a CPU
    and dense elsewhere where it says `ON_CPU`. Only one of the two comes into a program.

    Gradients are best taken inside of ``function``: one taken of what it returns keeps room for
    what both passes would have saved for it.
    """
    passes = ("grouped_actions", "grouped_policies")
    open_ones = [name for name in passes if getattr(critic, name, False) == ON_CPU]
    if not open_ones:
        return partial(function, critic)
    cpu, others = (critic.clone(**dict.fromkeys(open_ones, yes)) for yes in (True, False))
    return partial(
        jax.lax.platform_dependent, cpu=partial(function, cpu), default=partial(function, others)
    )


def _mix(mixed, w2, b1, b2, norm=None):
    """Q from ``u W1(s)`` and the other weights; ``norm`` of what goes into the ReLU."""
    mixed = mixed + b1 if norm is None else norm(mixed + b1)
    return jnp.sum(nn.relu(mixed) * w2, axis=-1) + b2


def _value_and_slope(layers, used, u, state, w2, b1, b2):
    """Q at the rows' joint actions u [R, N, A] and its gradient to u."""
    *first, (weight, bias) = layers
    hidden = nn.relu(state @ first[0][0] + first[0][1][None]) if first else state
    rows, n_agents, n_actions = u.shape
    w1 = needed_products(hidden, weight, used)
    bias = bias.reshape(n_agents * n_actions, -1)

    def value(u):
        mine = jnp.take_along_axis(u.swapaxes(0, 1), w1.order[..., None], axis=1)  # [N, R, A]
        parts = jnp.einsum("nra,nrae->nre", mine, w1.products)
        mixed = jnp.zeros_like(parts[0]).at[w1.order].add(parts) + u.reshape(rows, -1) @ bias
        return _mix(mixed, w2, b1, b2)

    q, pull = jax.vjp(value, u)
    return q, pull(jnp.ones_like(q))[0]


def in_chunks(function: Callable[..., PyTree], args: PyTree, n_chunks: int) -> PyTree:
    """``function`` of arrays ``[R, ...]``, one chunk of rows after the other."""
    if n_chunks <= 1:
        return function(*args)
    rows = args[0].shape[0]
    size = -(-rows // n_chunks)

    def cut(x):
        pad = jnp.zeros((n_chunks * size - rows, *x.shape[1:]), x.dtype)
        return jnp.concatenate([x, pad]).reshape(n_chunks, size, *x.shape[1:])

    out = jax.lax.map(lambda part: function(*part), jax.tree.map(cut, args))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:rows], out)


class MLPCritic(JointCritic):
    """The paper's ablation C_MLP: no hypernetwork (section 4.3.2; layout not published).

    ``Q = Linear(1) relu Linear(h) [relu Linear(h)(s), relu Linear(h)(u)]``.

    Attributes:
      hidden: h.
    """

    hidden: int = 64

    @nn.compact
    def __call__(self, state: Float[Array, "*B S"], u: Float[Array, "*B M"]) -> Float[Array, "*B"]:
        s = nn.relu(Linear(self.hidden, name="state_head")(state))
        a = nn.relu(Linear(self.hidden, name="action_head")(u))
        x = nn.relu(Linear(self.hidden, name="joint")(jnp.concatenate([s, a], axis=-1)))
        return Linear(1, name="value")(x)[..., 0]

    def scratch_numbers(self, rows):
        return {"the critic's hidden layers": 4 * rows * self.hidden}


class DuelingCritic(nn.Module):
    """``Q(s, u) = V(s) + A(s, u) - A(s, pi)`` (after Wang et al., ICML 2016, with the policies'
    value in place of the mean), so that Q of the policies themselves is V(s).

    Attributes:
      advantage: A, a critic of joint inputs; what it says of the state alone cancels.
      hidden: width of the two layers of V, which have layer norm.
    """

    advantage: JointCritic
    hidden: int = 64

    def setup(self):
        self.value = MLP((self.hidden, self.hidden, 1), layer_norm=True)

    @property
    def n_inputs(self) -> int:
        """M."""
        return self.advantage.n_inputs

    def __call__(self, state: Float[Array, "*B S"], u: Float[Array, "*B M"]) -> Float[Array, "*B"]:
        """Q at policies u: V(s), with the slope of A(s, u)."""
        return self._at_rest(state, self.advantage(state, u))

    def at_policies(self, state, probs, avail, needed):
        """The same, as `JointCritic.at_policies`."""
        return self._at_rest(state, self.advantage.at_policies(state, probs, avail, needed))

    def at_several(
        self, state: Float[Array, "*B S"], u: Float[Array, "*B K M"]
    ) -> Float[Array, "*B K"]:
        """Q of a state at K joint inputs, the last of which is the policies.

        The others know V as a constant: A is fitted to what V leaves, and V to the return alone.
        """
        value, above = self.value(state), self.advantage.at_several(state, u)
        q = jax.lax.stop_gradient(value) + above - above[..., -1:]
        return jnp.concatenate([q[..., :-1], value], axis=-1)

    def at_deviations(self, state, action):
        """A(s, (a, u_-i)): Q up to what is the same for every joint action."""
        return self.advantage.at_deviations(state, action)

    def scratch_numbers(self, rows: int) -> dict[str, int]:
        """As `JointCritic.scratch_numbers`."""
        layers = {"the hidden layers of V(s)": 4 * rows * self.hidden}
        return self.advantage.scratch_numbers(rows) | layers

    def _at_rest(self, state, above):
        return self.value(state)[..., 0] + above - jax.lax.stop_gradient(above)


def matched_hidden(state_size: int, n_inputs: int, n_parameters: int) -> int:
    """The width at which ``MLPCritic`` has nearest to ``n_parameters`` parameters, at least 1.

    ``2 h^2 + (S + M + 4) h + 1`` parameters.
    """
    b = state_size + n_inputs + 4
    width = (-b + math.sqrt(b * b + 8 * max(n_parameters - 1, 0))) / 4
    return max(1, round(width))
