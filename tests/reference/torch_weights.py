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
            self._arrays = {name: file[name] for name in file.files}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self):
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def cfg(self, name: str) -> Any:
        return self._arrays[f"cfg.{name}"].item()

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays whose name starts with ``prefix``, by the rest of their name."""
        return {n[len(prefix) :]: a for n, a in self._arrays.items() if n.startswith(prefix)}


def linear(weights: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """torch Linear [out, in] -> ours [in, out]."""
    return {"kernel": weights[f"{name}.weight"].T, "bias": weights[f"{name}.bias"]}


def stack(weights: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    """A Sequential of Linear and ReLU (indices 0, 2, 4, ...), or one plain Linear."""
    if f"{name}.weight" in weights:
        return {"layer_0": linear(weights, name)}
    indices = sorted(
        int(n.split(".")[1]) for n in weights if n.startswith(f"{name}.") and n.endswith("weight")
    )
    return {f"layer_{i}": linear(weights, f"{name}.{index}") for i, index in enumerate(indices)}


def recurrent_agent(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """PyMARL's agent: fc1, GRUCell (gates reset, update, new), fc2."""
    rnn = {
        "kernel_ih": weights["rnn.weight_ih"].T, "bias_ih": weights["rnn.bias_ih"],
        "kernel_hh": weights["rnn.weight_hh"].T, "bias_hh": weights["rnn.bias_hh"],
    }  # fmt: skip
    return {"params": {"fc1": linear(weights, "fc1"), "rnn": rnn, "fc2": linear(weights, "fc2")}}


def mixing_critic(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """LICA's critic."""
    return {
        "params": {
            "hyper_w_1": stack(weights, "hyper_w_1"),
            "hyper_w_final": stack(weights, "hyper_w_final"),
            "hyper_b_1": linear(weights, "hyper_b_1"),
            "hyper_b_2": stack(weights, "hyper_b_2"),
        }
    }
