"""What a renderer needs of an episode: arrays, whatever the task.

A task that can be looked at has ``scene``, the facts that never change, and
``frames(key, state, action) -> Frame``: the same step as ``task.step`` makes, seen as one or more
moments with a leading axis K. Frames stack like any other arrays, under `jit`, `vmap` and `scan`.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

NONE = -1  # no target


@struct.dataclass
class Frame:
    """One moment; E things are drawn, always in the same order."""

    position: Float[Array, "E 2"]
    radius: Float[Array, " E"]
    kind: Int[Array, " E"]  # index into `Scene.kinds`
    alive: Bool[Array, " E"]
    health: Float[Array, " E"]  # share of the full health in [0, 1]; 1 for what has none
    energy: Float[Array, " E"]  # share in [0, 1]; 0 for what has none
    target: Int[Array, " E"]  # whom it hits (or heals) at this moment, or NONE
    healing: Bool[Array, " E"]  # the target is healed, not hit


@dataclass(frozen=True)
class Scene:
    """What never changes.

    Attributes:
      bounds: (x0, y0, x1, y1) of what should be visible.
      kinds: names of the kinds of things, e.g. ``("marine", "medivac")``.
      team: of each thing: 0 the agents, 1 their opponents, -1 neither.
      agent: of each thing: its agent's index, or -1.
      obstacles: boxes (x0, y0, x1, y1) that block.
      frame_seconds: time of the simulated world between two frames.
      actions: what each agent's actions are called; () where nobody said.
      reach, sight, blast: of each kind: how far it hits (or heals) and sees from its centre, and
        the radius within which it hits everything as it dies; () where nothing does.
      cells: unit squares around (x, y) with something written in them.
    """

    bounds: tuple[float, float, float, float]
    kinds: tuple[str, ...]
    team: tuple[int, ...]
    agent: tuple[int, ...]
    obstacles: tuple[tuple[float, float, float, float], ...] = ()
    frame_seconds: float = 0.1
    actions: tuple[tuple[str, ...], ...] = ()
    reach: tuple[float, ...] = ()
    sight: tuple[float, ...] = ()
    blast: tuple[float, ...] = ()
    cells: tuple[tuple[float, float, str], ...] = ()


def disks(
    position: Float[Array, "E 2"],
    radius: Float[Array, " E"],
    kind: Int[Array, " E"],
    target: Int[Array, " E"] | None = None,
) -> Frame:
    """One moment (leading axis 1) of things without health that are always there."""
    n, dtype = position.shape[0], position.dtype
    return Frame(
        position=position[None],
        radius=jnp.asarray(radius, dtype)[None],
        kind=jnp.asarray(kind, jnp.int32)[None],
        alive=jnp.ones((1, n), bool),
        health=jnp.ones((1, n), dtype),
        energy=jnp.zeros((1, n), dtype),
        target=jnp.full((1, n), NONE, jnp.int32)
        if target is None
        else target[None].astype(jnp.int32),
        healing=jnp.zeros((1, n), bool),
    )
