"""Golden files and the way from PyTorch's weight layouts to ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Golden(Mapping):
    """The arrays of one golden file; ``cfg(name)`` gives a hyper-parameter as a Python number."""

    def __init__(self, path: Path):
        with np.load(path, allow_pickle=False) as file:
            self._start("", path.name, {name: file[name] for name in file.files})

    def _start(self, prefix: str, file: str, arrays: dict[str, np.ndarray]) -> None:
        self._prefix, self._file, self._arrays = prefix, file, arrays

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            raise KeyError(f"{self._file} has no array {self._prefix + name!r}")
        return self._arrays[name]

    def shaped(self, name: str, *shape: int | None) -> np.ndarray:
        """The array ``name``, whose shape must be ``shape`` (None: any length)."""
        array = self[name]
        fits = len(array.shape) == len(shape) and all(
            want is None or want == got for want, got in zip(shape, array.shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"{self._file}: {self._prefix + name!r} must have shape {shape}, got {array.shape}"
            )
        return array

    def __iter__(self):
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def cfg(self, name: str) -> Any:
        return self.shaped(f"cfg.{name}").item()

    def under(self, prefix: str) -> Golden:
        """The arrays whose name starts with ``prefix``, by the rest of their name."""
        part = Golden.__new__(Golden)
        arrays = {n[len(prefix) :]: a for n, a in self._arrays.items() if n.startswith(prefix)}
        part._start(self._prefix + prefix, self._file, arrays)
        return part


def linear(weights: Golden, name: str) -> dict[str, np.ndarray]:
    """torch Linear [out, in] -> ours [in, out]."""
    kernel = weights.shaped(f"{name}.weight", None, None)
    bias = weights.shaped(f"{name}.bias", kernel.shape[0])
    return {"kernel": kernel.T, "bias": bias}


def stack(weights: Golden, name: str) -> dict[str, Any]:
    """A Sequential of Linear and ReLU (indices 0, 2, 4, ...), or one plain Linear."""
    within = weights.under(f"{name}.")
    return layers(within) if "0.weight" in within else {"layer_0": linear(weights, name)}


def layers(weights: Golden) -> dict[str, Any]:
    """The Linear layers of a Sequential whose own name has been stripped."""
    indices = sorted(int(n.split(".")[0]) for n in weights if n.endswith(".weight"))
    return {f"layer_{i}": linear(weights, str(index)) for i, index in enumerate(indices)}


def recurrent_agent(weights: Golden) -> dict[str, Any]:
    """PyMARL's agent: fc1, GRUCell (gates reset, update, new), fc2."""
    gates, hidden = weights.shaped("rnn.weight_hh", None, None).shape
    rnn = {
        "kernel_ih": weights.shaped("rnn.weight_ih", gates, None).T,
        "bias_ih": weights.shaped("rnn.bias_ih", gates),
        "kernel_hh": weights.shaped("rnn.weight_hh", 3 * hidden, hidden).T,
        "bias_hh": weights.shaped("rnn.bias_hh", gates),
    }
    return {"params": {"fc1": linear(weights, "fc1"), "rnn": rnn, "fc2": linear(weights, "fc2")}}


def mixing_critic(weights: Golden) -> dict[str, Any]:
    """LICA's critic. The last layer of W1's hypernetwork is kept as in torch, [out, in]."""
    w1 = stack(weights, "hyper_w_1")
    last = max(w1)
    w1[last] = {"weight": w1[last]["kernel"].T, "bias": w1[last]["bias"]}
    return {
        "params": {
            "hyper_w_1": w1,
            "hyper_w_final": stack(weights, "hyper_w_final"),
            "hyper_b_1": linear(weights, "hyper_b_1"),
            "hyper_b_2": stack(weights, "hyper_b_2"),
        }
    }


def monotonic_mixer(weights: Golden) -> dict[str, Any]:
    """QMIX's mixing network."""
    names = ("hyper_w_1", "hyper_w_final", "hyper_b_1", "V")
    return {"params": {name: stack(weights, name) for name in names}}


def joint_value(weights: Golden, encoded: bool) -> dict[str, Any]:
    """QTRAN's joint networks; the encoder only where it is used."""
    names = ("Q", "V", *(("action_encoding",) if encoded else ()))
    return {"params": {name: stack(weights, name) for name in names}}


def counterfactual_critic(weights: Golden, *last: str) -> dict[str, Any]:
    """The critic of COMA (its last layer is fc3) or LIIR (fc3_v_mix)."""
    names = ("fc1", "fc2", *last)
    return {"params": {f"layer_{i}": linear(weights, name) for i, name in enumerate(names)}}


def intrinsic_heads(weights: Golden) -> dict[str, Any]:
    """LIIR's heads on the critic's features."""
    names = {"r_in": "fc3_r_in", "v_ex": "fc4"}
    return {"params": {ours: linear(weights, name) for ours, name in names.items()}}


def per_agent(weights: Golden) -> dict[str, Any]:
    """The SQDDPG repository's networks ``{i}.layer_1``, ``{i}.layer_2``, ``{i}.*_head``: one per
    agent, every leaf [N, ...]."""
    n = 1 + max(int(name.split(".")[0]) for name in weights)
    head = next(x for x in ("action_head", "value_head") if f"0.{x}.weight" in weights)
    names = ("layer_1", "layer_2", head)
    agents = [[linear(weights, f"{i}.{name}") for name in names] for i in range(n)]
    stacked = [
        {kind: np.stack([agent[k][kind] for agent in agents]) for kind in ("kernel", "bias")}
        for k in range(len(names))
    ]
    return {"params": {f"layer_{k}": layer for k, layer in enumerate(stacked)}}
