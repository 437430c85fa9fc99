"""Arrays for a page: numbers as small integers, differences over time, one compressed block."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from jaxtyping import Array, Int

from lica_jax.envs.frames import NONE, Frame
from lica_jax.rendering.recording import Moment, shares

STEPS = {np.uint8: 2**8 - 1, np.uint16: 2**16 - 1}


class Packer:
    """Arrays one behind the other; `facts` of each say how they are read.

    A reader takes ``count`` integers of ``type`` at byte ``at``, adds them up along the first axis
    (modulo the type's range), and has the numbers as ``low + step * integer``.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def numbers(self, x: Any, kind: type = np.uint16) -> dict[str, Any]:
        """Real numbers, to 1/65535 (1/255 with ``np.uint8``) of the range that they span."""
        x = np.asarray(x, np.float64)
        low = float(x.min(initial=0.0)) if x.size else 0.0
        high = float(x.max(initial=0.0)) if x.size else 0.0
        step = (high - low) / STEPS[kind] or 1.0
        return self.integers(np.rint((x - low) / step), kind) | {"low": low, "step": step}

    def integers(self, x: Any, kind: type) -> dict[str, Any]:
        """Integers that ``kind`` holds; -1 as the largest one."""
        x = np.asarray(x).astype(np.int64).astype(kind)
        # Most things stay as they are from one moment to the next: differences compress well.
        x = np.concatenate([x[:1], x[1:] - x[:-1]])
        content = np.ascontiguousarray(x, x.dtype.newbyteorder("<")).tobytes()
        fact = {"at": self._size, "type": x.dtype.name, "shape": list(x.shape)}
        content += bytes(-len(content) % 2)  # a reader's arrays of two bytes begin at even ones
        self._parts.append(content)
        self._size += len(content)
        return fact

    def block(self) -> bytes:
        return zlib.compress(b"".join(self._parts), 9)


def pack_episode(packer: Packer, episode: Moment, stride: int, continuous: bool) -> dict[str, Any]:
    """An episode with every ``stride``-th moment of each step; the last of a step is kept."""
    frame = thinned(episode.frame, stride)
    flags = frame.alive + 2 * frame.healing + 0
    out = {
        "steps": len(episode.reward), "ticks": len(flags) // len(episode.reward),
        "won": bool(episode.won[-1]), "return": float(episode.reward.sum(dtype=np.float64)),
        "x": packer.numbers(frame.position[..., 0]), "y": packer.numbers(frame.position[..., 1]),
        "radius": packer.numbers(frame.radius, np.uint8),
        "kind": packer.integers(frame.kind, np.uint8),
        "flags": packer.integers(flags, np.uint8),
        "health": packer.numbers(frame.health, np.uint8),
        "energy": packer.numbers(frame.energy, np.uint8),
        "target": packer.integers(frame.target, np.uint16),
        "avail": packer.integers(episode.avail, np.uint8),
        "alive": packer.integers(episode.alive, np.uint8),
        "action": packer.integers(chosen(episode, continuous), np.uint16),
        "reward": packer.numbers(episode.reward),
    }  # fmt: skip
    return out | {name: packer.numbers(x) for name, x in thoughts(episode, continuous).items()}


def thoughts(episode: Moment, continuous: bool) -> dict[str, np.ndarray]:
    """What policy and critic made of every step, by name; what there is of it."""
    look = episode.outlook
    if look is None:
        return {}
    found = {
        "policy": look.policy, "entropy": look.entropy, "value": look.value, "weight": look.weight,
        # What the critic says of actions that cannot be chosen means nothing.
        "credit": None if look.credit is None else np.where(episode.avail, look.credit, 0),
        "share": None if look.credit is None else shares(look, episode.avail, continuous),
    }  # fmt: skip
    return {name: np.asarray(x) for name, x in found.items() if x is not None}


def chosen(episode: Moment, continuous: bool) -> Int[np.ndarray, "T N"]:
    """The index of every agent's action (of weights the largest); -1 for continuous ones."""
    action = np.asarray(episode.action)
    if action.ndim == 2:
        return action
    return np.full(action.shape[:-1], -1) if continuous else action.argmax(-1)


def thinned(frame: Frame, stride: int) -> Frame:
    """All moments of an episode in a row, leaves ``[T * K / stride, ...]``.

    Of those that are left out the last blow remains: nobody dies of nothing.
    """
    if stride > 1:
        hits = [frame.target[:, i::stride] for i in range(stride)]
        heals = [frame.healing[:, i::stride] for i in range(stride)]
        target, healing = hits[0], heals[0]
        for hit, heal in zip(hits[1:], heals[1:], strict=True):
            target = np.where(hit == NONE, target, hit)
            healing = np.where(hit == NONE, healing, heal)
        last = {
            name: getattr(frame, name)[:, stride - 1 :: stride]
            for name in ("position", "radius", "kind", "alive", "health", "energy")
        }
        frame = Frame(**last, target=target, healing=healing)
    return Frame(**{k: _joined(getattr(frame, k)) for k in Frame.__dataclass_fields__})


def _joined(x: Array) -> np.ndarray:
    return np.asarray(x).reshape(-1, *x.shape[2:])
