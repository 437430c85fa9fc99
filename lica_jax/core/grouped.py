"""Products with a wide hyper-weight matrix that compute only what is used.

LICA's critic multiplies a hidden layer ``z [R, H]`` with a matrix ``weight^T [H, M E]`` whose block
m of E columns yields row m of ``W1(s)``. At actions that were taken, N of the M = N A blocks are
used per row; at a policy's probabilities, those of the available actions. The functions below
visit blocks of rows that need the same columns and skip the rest. They give the dense product's
numbers up to the order of summation.

Loops have dynamic lengths, which `vmap` would turn into full copies of their state at every step,
so a batch of runs is computed one run after the other (`sequential_vmap`).
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Bool, Float, Int

from lica_jax.core.barriers import held

# Rows per block: large enough for matrix products at full speed, small enough that groups of few
# rows are not mostly padding.
BLOCK = 128


def _one_type(*arrays):
    """The arrays in the type that a product of all of them has."""
    return [x.astype(jnp.result_type(*arrays)) for x in arrays]


def rows_first(keep: Bool[Array, " R"]) -> tuple[Int[Array, " R"], Int[Array, ""]]:
    """``(order, count)``: the kept rows' indices first, in their order, and how many there are."""
    return jnp.argsort(~keep, stable=True), jnp.sum(keep)


# --- a hidden layer over the first `count` rows --------------------------------------------------


def relu_linear(
    x: Float[Array, "R S"], kernel: Float[Array, "S H"], bias: Float[Array, " H"],
    count: Int[Array, ""],
) -> Float[Array, "R H"]:  # fmt: skip
    """``relu(x kernel + bias)`` of the first ``count`` rows; the others are zeros."""
    return _relu_linear_of_one_type(*_one_type(x, kernel, bias), count)


@jax.custom_vjp
def _relu_linear_of_one_type(x, kernel, bias, count):
    return _relu_linear(x, kernel, bias, count)


@sequential_vmap
def _relu_linear(x, kernel, bias, count):
    def body(t, z):
        at, row = _block(t, x.shape[0])
        value = jax.nn.relu(_rows(x, at) @ kernel + bias[None])
        value = jnp.where(row[:, None] < count, value, 0)
        return jax.lax.dynamic_update_slice_in_dim(z, value, at, 0)

    z = jnp.zeros((x.shape[0], kernel.shape[1]), x.dtype)
    return jax.lax.fori_loop(0, -(-count // _block_size(x.shape[0])), body, z)


@sequential_vmap
def _relu_linear_grads(x, z, dz, count):
    def body(t, grads):
        at, row = _block(t, x.shape[0])
        # The last block overlaps the one before it: its first rows have been counted.
        fresh = row[:, None] >= t * _block_size(x.shape[0])
        # Rows behind `count` have z = 0.
        db = jnp.where((_rows(z, at) > 0) & fresh, _rows(dz, at), 0)
        return grads[0] + _rows(x, at).T @ db, grads[1] + jnp.sum(db, axis=0)

    start = jnp.zeros((x.shape[1], z.shape[1]), z.dtype), jnp.zeros(z.shape[1], z.dtype)
    return jax.lax.fori_loop(0, -(-count // _block_size(x.shape[0])), body, start)


def _block_size(n_rows):
    return min(BLOCK, n_rows)


def _block(t, n_rows):
    """Where block t begins, and the numbers of its rows; the last block ends with the rows."""
    at = jnp.minimum(t * _block_size(n_rows), n_rows - _block_size(n_rows))
    return at, at + jnp.arange(_block_size(n_rows))


def _rows(x, at):
    return jax.lax.dynamic_slice_in_dim(x, at, _block_size(x.shape[0]))


def _relu_linear_forward(x, kernel, bias, count):
    z = _relu_linear(x, kernel, bias, count)
    return z, (x, kernel, z, count)


def _relu_linear_backward(saved, dz):
    x, kernel, z, count = saved
    dx = jnp.where(z > 0, dz, 0) @ kernel.T  # dropped by the compiler where nobody asks
    return dx, *_relu_linear_grads(x, z, dz, count), None


_relu_linear_of_one_type.defvjp(_relu_linear_forward, _relu_linear_backward)


# --- products at one chosen block of columns per agent -------------------------------------------


class Plan(NamedTuple):
    """Blocks of rows that use the same block of columns."""

    rows: Int[Array, "K BLOCK"]  # R where padded
    group: Int[Array, " K"]
    used: Int[Array, ""]  # blocks that hold anything


def plan_blocks(group: Int[Array, "R N"], n_groups: int) -> Plan:
    """Sorts the pairs (row, agent) by group and cuts every group into blocks of rows.

    Args:
      group: which of ``n_groups`` column blocks a row uses for an agent; any other number: none.
      n_groups: M.
    """
    n_rows, n_agents = group.shape
    kept = (group >= 0) & (group < n_groups)
    flat = jnp.where(kept, group, n_groups).reshape(-1)
    order = jnp.argsort(flat, stable=True)
    counts = jnp.bincount(flat, length=n_groups + 1)
    padded = -(-counts // BLOCK) * BLOCK
    # A pair's slot: the start of its group's blocks plus its rank inside the group.
    rank = jnp.arange(flat.size) - (jnp.cumsum(counts) - counts)[flat[order]]
    slot = (jnp.cumsum(padded) - padded)[flat[order]] + rank
    n_blocks = -(-flat.size // BLOCK) + n_groups
    slot = jnp.where(flat[order] < n_groups, slot, n_blocks * BLOCK)  # dropped
    rows = jnp.full(n_blocks * BLOCK, n_rows, jnp.int32)
    rows = rows.at[slot].set((order // n_agents).astype(jnp.int32), mode="drop")
    ends = jnp.cumsum(padded[:n_groups]) // BLOCK
    owner = jnp.searchsorted(ends, jnp.arange(n_blocks), side="right")
    return Plan(rows.reshape(n_blocks, BLOCK), jnp.minimum(owner, n_groups - 1), ends[-1])


def chosen_product(
    z: Float[Array, "R H"], weight: Float[Array, "ME H"], group: Int[Array, "R N"], embed: int
) -> Float[Array, "R E"]:
    """``sum_i z weight[group_i]^T``: the blocks of W1(s) that each row's agents have chosen.

    Args:
      z: rows.
      weight: M blocks of E outputs.
      group: block by row and agent, ``agent * A + action``; outside [0, M) for none.
      embed: E.
    """
    return _chosen_product_of_one_type(*_one_type(z, weight), group, embed)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _chosen_product_of_one_type(z, weight, group, embed):
    return _chosen_product(embed, z, weight, group)


def _chosen_product(embed, z, weight, group):
    @sequential_vmap
    def run(z, weight, group):
        plan = plan_blocks(group, weight.shape[0] // embed)

        def body(t, out):
            rows = plan.rows[t]
            block = z.at[rows].get(mode="clip") @ _outputs(weight, plan.group[t], embed).T
            return out.at[rows].add(block, mode="drop")

        out = jnp.zeros((z.shape[0], embed), z.dtype)
        return jax.lax.fori_loop(0, plan.used, body, out)

    return run(z, weight, group)


def _chosen_product_forward(z, weight, group, embed):
    return _chosen_product(embed, z, weight, group), (z, weight, group)


def _chosen_product_backward(embed, saved, cotangent):
    @sequential_vmap
    def run(z, weight, group, cotangent):
        plan = plan_blocks(group, weight.shape[0] // embed)

        def body(t, grads):
            dz, dweight = grads
            rows, m = plan.rows[t], plan.group[t]
            # Padded rows read a zero cotangent, so whatever z they read does not count.
            g = cotangent.at[rows].get(mode="fill", fill_value=0)
            zb = z.at[rows].get(mode="clip")
            dz = dz.at[rows].add(g @ _outputs(weight, m, embed), mode="drop")
            mine = _outputs(dweight, m, embed) + g.T @ zb
            return dz, jax.lax.dynamic_update_slice_in_dim(dweight, mine, m * embed, 0)

        return jax.lax.fori_loop(0, plan.used, body, (jnp.zeros_like(z), jnp.zeros_like(weight)))

    return *run(*saved, cotangent), None


_chosen_product_of_one_type.defvjp(_chosen_product_forward, _chosen_product_backward)


def _outputs(weight, m, embed):
    return jax.lax.dynamic_slice_in_dim(weight, m * embed, embed)


# --- products at every needed block of columns ---------------------------------------------------


class NeededProducts(NamedTuple):
    """Rows of ``W1(s)``, agent by agent, each agent's rows in an order of its own."""

    order: Int[Array, "N R"]  # order[i, k] is the row behind products[i, k]
    products: Float[Array, "N R A E"]  # zeros where not needed by any row of a block


def needed_products(
    z: Float[Array, "R H"], weight: Float[Array, "ME H"], needed: Bool[Array, "R N A"]
) -> NeededProducts:
    """``z weight^T`` by agent and action, skipping blocks in which no row needs an action.

    Each agent's rows are sorted by what they need, so that rows with equal needs share a block.
    Not differentiable: it serves passes in which state and critic are constants.

    Args:
      z: rows.
      weight: N A blocks of E outputs, agent-major.
      needed: which products matter; where False the result is arbitrary but finite.
    """

    @sequential_vmap
    def run(z, weight, needed):
        n_rows, n_agents, n_actions = needed.shape
        embed = weight.shape[0] // (n_agents * n_actions)
        plan = _plan_needed(needed, embed)
        size = _block_size(n_rows)

        # Loops of no or one step stand for conditionals, which would copy `out`.
        def agent(i, out):
            mine = _outputs(weight, i, n_actions * embed)

            def all_rows(t, out):
                value = _filled_up(_within(t, z) @ mine.T, size)
                return jax.lax.dynamic_update_slice_in_dim(out, value[None], i, 0)

            def block(b, out):
                return _block_products(plan, i, b, z, mine, out)

            out = jax.lax.fori_loop(0, plan.plain[i], all_rows, out)
            return jax.lax.fori_loop(plan.begin[i], (1 - plan.plain[i]) * plan.end[i], block, out)

        out = jnp.zeros((n_agents, plan.order.shape[1], n_actions * embed), z.dtype)
        out = jax.lax.fori_loop(jnp.int32(0), jnp.int32(n_agents), agent, out)[:, :n_rows]
        products = out.reshape(n_agents, n_rows, n_actions, embed)
        return NeededProducts(plan.order[:, :n_rows], products)

    return run(*map(jax.lax.stop_gradient, _one_type(z, weight)), needed)


class _Plan(NamedTuple):
    """Which products `needed_products` computes; P is R, up to a whole number of blocks."""

    order: Int[Array, "N P"]  # rows by agent, those with equal needs side by side
    first: Int[Array, " K"]  # the first action of every bundle
    width: int  # actions in a bundle
    embed: int  # outputs of an action
    todo: Int[Array, "N blocks K"]  # bundles of a block, those that are needed first
    count: Int[Array, "N blocks"]  # how many of them are needed
    whole: Int[Array, "N blocks"]  # 1 where all are
    plain: Int[Array, " N"]  # 1 where all are in every block: one product, rows in their own order
    begin: Int[Array, " N"]  # the first block that needs anything
    end: Int[Array, " N"]


def _plan_needed(needed: Bool[Array, "R N A"], embed: int) -> _Plan:
    n_rows, n_agents, n_actions = needed.shape
    width, first = _bundles(n_actions, embed)
    size = _block_size(n_rows)
    n_blocks = -(-n_rows // size)
    wanted = jnp.any(needed[:, :, first[:, None] + jnp.arange(width)[None]], axis=-1)
    # Rows that need nothing come first; the last block is filled up with the last row.
    order = jax.vmap(_by_pattern, in_axes=1)(wanted)  # [N, R]
    order = jax.vmap(partial(_filled_up, size=size))(order)
    by_agent = jnp.take_along_axis(wanted.swapaxes(0, 1), order[..., None], axis=1)
    wanted = jnp.any(by_agent.reshape(n_agents, n_blocks, size, -1), axis=2)
    begin = jnp.argmax(jnp.any(wanted, axis=-1), axis=1).astype(jnp.int32)
    end = n_blocks * jnp.any(wanted, axis=(1, 2)).astype(jnp.int32)
    todo = jnp.argsort(~wanted, axis=-1, stable=True)
    count = jnp.sum(wanted, axis=-1, dtype=jnp.int32)
    whole = (count == first.shape[0]).astype(jnp.int32)
    plain = jnp.min(whole, axis=1)
    order = jnp.where(plain[:, None] == 1, _filled_up(jnp.arange(n_rows), size)[None], order)
    return _Plan(order, first, width, embed, todo, count, whole, plain, begin, end)


def _block_products(plan: _Plan, i, b, z, mine, out):
    """``out`` with what block b of agent i needs of ``z mine^T``."""
    embed, size = plan.embed, _block_size(z.shape[0])
    rows = jax.lax.dynamic_slice(plan.order, (i, b * size), (1, size))[0]
    zb = z.at[rows].get(mode="promise_in_bounds")

    def bundle(t, out):
        at = (plan.first[plan.todo[i, b, t]] * embed).astype(jnp.int32)
        part = jax.lax.dynamic_slice_in_dim(mine, at, plan.width * embed)
        return jax.lax.dynamic_update_slice(out, (zb @ part.T)[None], (i, b * size, at))

    def everything(t, out):
        value = _within(t, zb) @ mine.T
        return jax.lax.dynamic_update_slice(out, value[None], (i, b * size, jnp.int32(0)))

    whole = plan.whole[i, b]
    out = jax.lax.fori_loop(0, whole, everything, out)
    return jax.lax.fori_loop(0, (1 - whole) * plan.count[i, b], bundle, out)


def _within(t, x):
    """``x``, tied to a loop's counter: else the compiler moves its products out of the loop, where
    they are computed whether the loop takes a step or not."""
    return held((t, x))[1]


def _filled_up(x, size):
    """Rows up to a multiple of ``size``; the last one is repeated."""
    return jnp.pad(x, ((0, -len(x) % size), *[(0, 0)] * (x.ndim - 1)), mode="edge")


def _bundles(n_actions: int, embed: int) -> tuple[int, Int[Array, " K"]]:
    """Actions computed together, so that a product is about 256 columns wide: ``(width, firsts)``.

    Where the width does not divide A, the last bundle overlaps the one before.
    """
    width = min(n_actions, max(1, 256 // embed))
    first = jnp.arange(0, n_actions, width, dtype=jnp.int32)
    return width, jnp.minimum(first, n_actions - width)


def _by_pattern(flags: Bool[Array, "R K"]) -> Int[Array, " R"]:
    """An order of the rows in which equal patterns of flags are neighbours."""
    return jnp.lexsort(flags.T)
