"""Replay on the device: a ring of trajectory pieces, as pure functions.

An item is a `Trajectory` of one environment without its batch axis. Segments keep the policy's
memory at their start (whole episodes start from none); transitions are two slots without memory.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from lica_jax.core.sampling import distinct
from lica_jax.errors import UserError
from lica_jax.types import Replay, Trajectory


@struct.dataclass
class Buffer:
    """The ring: leaves of ``items`` are ``[capacity, ...]``."""

    items: Trajectory
    head: Int[Array, ""]  # where the next item goes
    size: Int[Array, ""]  # how many there are


def split_items(traj: Trajectory, unit: str) -> tuple[Trajectory, Bool[Array, " K"]]:
    """The items of a trajectory, along a leading axis K, and which of them hold anything.

    ``info`` is left out: no update reads it. K is B for segments, T B for transitions.
    """
    steps = traj.steps.replace(info={})
    if unit == "segment":
        items = traj.replace(steps=steps, carry=())
        items = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), items)
        return items.replace(carry=traj.carry), jnp.any(traj.valid, axis=0)

    def pairs(x):
        both = jnp.stack([x[:-1], x[1:]], axis=2)  # [T, B, 2, ...]
        return both.reshape(both.shape[0] * both.shape[1], *both.shape[2:])  # -1 needs elements

    slots = jax.tree.map(pairs, (steps, traj.action, traj.extras))
    valid = traj.valid.reshape(-1)
    return Trajectory(slots[0], slots[1], valid[:, None], (), slots[2]), valid


def empty(replay: Replay, traj: PyTree) -> Buffer:
    """A ring for pieces of trajectories like ``traj`` (arrays or their shapes)."""
    items, _ = jax.eval_shape(lambda t: split_items(t, replay.unit), traj)
    zeros = jax.tree.map(lambda x: jnp.zeros((replay.capacity, *x.shape[1:]), x.dtype), items)
    return Buffer(zeros, jnp.int32(0), jnp.int32(0))


def places(buffer: Buffer, replay: Replay, keep: Bool[Array, " K"]) -> Int[Array, " K"]:
    """Where items go: those to ``keep`` behind the head, of more than ``capacity`` the last; the
    others out of bounds. No place is given twice: what a scatter makes of that is not defined."""
    rank, count = jnp.cumsum(keep) - 1, jnp.sum(keep)
    last = keep & (rank >= count - replay.capacity)
    return jnp.where(last, (buffer.head + rank) % replay.capacity, replay.capacity)


def add(buffer: Buffer, replay: Replay, traj: Trajectory) -> Buffer:
    """Stores the items of a trajectory that hold anything; of more than ``capacity`` the last."""
    items, keep = split_items(traj, replay.unit)
    count = jnp.sum(keep, dtype=jnp.int32)
    at = places(buffer, replay, keep)
    stored = jax.tree.map(lambda b, x: b.at[at].set(x, mode="drop"), buffer.items, items)
    return Buffer(
        stored,
        (buffer.head + count) % replay.capacity,
        jnp.minimum(buffer.size + count, replay.capacity),
    )


def before(buffer: Buffer, replay: Replay, traj: Trajectory) -> Buffer:
    """What is left in the ring of the time before this trajectory, which was added last.

    To draw from the ring of then instead would keep two of them, and copy one in every iteration.

    Raises:
      UserError: the ring has no room for a batch beside the items of the trajectory: there would
        never be one to draw.
    """
    keep = split_items(traj, replay.unit)[1]
    if replay.capacity < keep.size + replay.batch:
        raise UserError(
            f"a replay of {replay.capacity} {replay.unit}s has no room for {replay.batch} older "
            f"ones beside the {keep.size} of a collection"
        )
    count = jnp.sum(keep, dtype=jnp.int32)
    return buffer.replace(head=(buffer.head - count) % replay.capacity, size=buffer.size - count)


def is_ready(buffer: Buffer, replay: Replay) -> Bool[Array, ""]:
    """Whether a minibatch can be drawn without replacement."""
    return buffer.size >= replay.batch


def draw(buffer: Buffer, replay: Replay, key: PRNGKeyArray) -> Int[Array, " D*K"]:
    """Positions of ``draws`` minibatches; no position occurs twice within one of them.

    Before the replay is ready, some of them hold nothing.
    """

    # Without the newest items those that are left need not begin at the first place.
    oldest = buffer.head - buffer.size if replay.beside else 0

    def one(key):
        return (oldest + distinct(key, buffer.size, replay.batch)) % replay.capacity

    return jax.vmap(one)(jax.random.split(key, replay.draws)).reshape(-1)


def sample(buffer: Buffer, replay: Replay, key: PRNGKeyArray) -> Trajectory:
    """``draws`` minibatches side by side along B, time-major as collected."""
    at = draw(buffer, replay, key)
    items = jax.tree.map(lambda x: x[at], buffer.items)
    carry = items.carry
    items = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), items.replace(carry=()))
    return items.replace(carry=carry)


def side_by_side(fresh: Trajectory, drawn: Trajectory) -> Trajectory:
    """The streams of a fresh trajectory, and behind them those of segments that were drawn."""
    fresh = fresh.replace(steps=fresh.steps.replace(info={}))

    def join(axis):
        return lambda *xs: jnp.concatenate(xs, axis=axis)

    carry = jax.tree.map(join(0), fresh.carry, drawn.carry)
    both = jax.tree.map(join(1), fresh.replace(carry=()), drawn.replace(carry=()))
    return both.replace(carry=carry)
