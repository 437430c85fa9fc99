"""Policies for programs without JAX: the arrays of a network, ready to be multiplied."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree

from lica_jax import numpy_policy
from lica_jax.core import gaussian
from lica_jax.errors import UserError
from lica_jax.files import plain, write_whole
from lica_jax.policy.onnx_model import onnx_bytes
from lica_jax.policy.writing import named_leaves
from lica_jax.types import Acting, Algorithm, TaskSpec


class Plain(NamedTuple):
    """A policy without JAX, which `numpy_policy` plays.

    Attributes:
      about: sizes, layers and choice, and where the policy is from.
      arrays: parameters by layer, ``"0.kernel"``.
    """

    about: dict[str, Any]
    arrays: dict[str, np.ndarray]


def export(
    path: Path, algo: Algorithm, spec: TaskSpec, hp: Any, params: PyTree, about: dict[str, Any]
) -> None:
    """Writes ``path``, which ends in ``.npz`` or ``.onnx``; see `Policy.export`."""
    formats = {".npz": npz_bytes, ".onnx": onnx_bytes}
    if path.suffix not in formats:
        raise UserError(f"a policy is exported to {' or '.join(formats)}, not to {path.name}")
    if algo.acting is None:
        raise UserError(
            f"algorithm {about['algorithm']!r} does not say how it acts (Algorithm.acting): its "
            "policies cannot be exported"
        )
    kept = {k: about.get(k) for k in ("algorithm", "task", "seed", "env_steps")}
    content = formats[path.suffix](*plain_policy(algo.acting, spec, hp, params, kept))
    try:
        write_whole(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def npz_bytes(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """The file that `numpy_policy.load` reads."""
    file = io.BytesIO()
    np.savez(file, header=np.array(json.dumps(about)), **arrays)
    return file.getvalue()


def plain_policy(
    acting: Acting, spec: TaskSpec, hp: Any, params: PyTree, about: dict[str, Any]
) -> Plain:
    """The network of a policy as arrays in the shapes that ``x [N, B, I] @ kernel + bias`` takes.

    An agent's index, one-hot behind its other inputs, picks a row of the first kernel: a part of
    the bias, where it is put.
    """
    found = {name: np.asarray(x) for name, x in named_leaves(params).items()}
    arrays = {}
    for i, layer in enumerate(acting.layers):
        inside = f"{layer.name}/"
        own = {k.removeprefix(inside): x for k, x in found.items() if k.startswith(inside)}
        if i == 0 and acting.agent_id:
            own = _index_into_bias(own, spec.n_agents)
        elif not acting.shared:
            own = {k: x[:, None] if k.startswith("bias") else x for k, x in own.items()}
        arrays |= {f"{i}.{k}": x for k, x in own.items()}
    header = about | {
        "format": numpy_policy.FORMAT, "n_agents": spec.n_agents, "n_actions": spec.n_actions,
        "obs_size": spec.obs_size, "continuous": spec.continuous, "masks": spec.masks_actions,
        "last_action": acting.last_action,
        "layers": [{"kind": layer.kind, "relu": layer.relu} for layer in acting.layers],
        "choice": _choice(acting, hp),
    }  # fmt: skip
    return Plain(plain(header), arrays)


def _index_into_bias(own: dict[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
    kernel, rows = np.split(own["kernel"], [-n], axis=-2)
    if rows.ndim == 3:  # a network for each agent, which only ever sees its own index
        rows = rows[np.arange(n), np.arange(n)]
    return {"kernel": kernel, "bias": (own["bias"] + rows)[:, None]}


def _choice(acting: Acting, hp: Any) -> dict[str, Any]:
    """How outputs become actions, with all numbers for it."""
    choice: dict[str, Any] = {"kind": acting.choice}
    if acting.choice == "gaussian":
        low, high = gaussian.LOG_STD_MIN, gaussian.LOG_STD_MAX
        return choice | {
            "mean_max": gaussian.MEAN_MAX, "log_std_min": low, "log_std_max": high,
            "offset": gaussian.OFFSET,
        }  # fmt: skip
    if acting.number:
        name = "temperature" if acting.choice == "gumbel_softmax" else "epsilon"
        choice[name] = float(getattr(hp, acting.number))
    return choice
