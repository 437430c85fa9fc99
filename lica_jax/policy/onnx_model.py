"""One step of a policy as an ONNX model, from the layers of a `exporting.Plain`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from lica_jax.core.masking import MASKED_LOGIT
from lica_jax.errors import UserError
from lica_jax.version import __version__

# Of 2021: what every runtime of today reads.
OPSET, IR_VERSION = 15, 8


class Graph:
    """Nodes and constants in the order in which they are made; values go by their names."""

    def __init__(self, helper: Any, numpy_helper: Any):
        self._helper, self._numpy = helper, numpy_helper
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(self._numpy.from_array(np.asarray(value, dtype), name))
        return name

    def call(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """One operator; the name of its result, ``out`` where given."""
        return self.call_for(kind, [out or f"v{len(self.nodes)}"], *inputs, **attributes)[0]

    def call_for(self, kind: str, outs: list[str], *inputs: str, **attributes: Any) -> list[str]:
        """One operator of several results."""
        self.nodes.append(self._helper.make_node(kind, list(inputs), outs, **attributes))
        return outs

    def split(self, x: str, parts: int) -> list[str]:
        """Equal parts along the last axis."""
        names = [f"v{len(self.nodes)}_{i}" for i in range(parts)]
        return self.call_for("Split", names, x, axis=-1)

    def one_hot(self, index: str, size: int, out: str = "") -> str:
        """Floats with one axis more; zeros for an index of -1."""
        column = self.call("Unsqueeze", index, self.constant([-1], np.int64))
        hot = self.call("Equal", column, self.constant(np.arange(size), np.int64))
        return self.call("Cast", hot, out=out, to=1)  # 1: float


def onnx_bytes(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """The model; inputs, outputs and shapes are in docs/policies.md.

    Raises:
      UserError: the package ``onnx`` is not installed.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError:
        raise UserError("ONNX files need a package: pip install 'lica_jax[onnx]'") from None
    graph = Graph(helper, numpy_helper)
    float32, int64, boolean = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
    n, size = about["n_agents"], about["n_actions"]
    point = about["continuous"]
    kinds: dict[str, tuple[int, list[int]]] = {"obs": (float32, [about["obs_size"]])}
    if not point:
        kinds["avail"] = boolean, [size]
    if about["last_action"]:
        kinds["last_action"] = (float32, [size]) if point else (int64, [])
    kernels = [a for name, a in arrays.items() if name.endswith("kernel_hh")]
    if kernels:
        kinds["hidden"] = float32, [kernels[0].shape[-2]]
    _choose(graph, _network(graph, about, arrays), about)
    results = {"mean": (float32, [size]), "std": (float32, [size])} if point else {}
    results = results or {"outputs": (float32, [size])}
    weights = point or about["choice"]["kind"] == "gumbel_softmax"
    results["action"] = (float32, [size]) if weights else (int64, [])
    if kernels:
        results["next_hidden"] = kinds["hidden"]

    def values(kinds):
        return [
            helper.make_tensor_value_info(name, kind, ["batch", n, *shape])
            for name, (kind, shape) in kinds.items()
        ]

    made = helper.make_graph(
        graph.nodes, "policy", values(kinds), values(results), initializer=graph.constants
    )
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="lica_jax", producer_version=__version__,
    )  # fmt: skip
    helper.set_model_props(model, {"lica_jax": json.dumps(about)})
    checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _network(graph: Graph, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """The outputs ``[batch, N, P]``; makes ``next_hidden`` where there is a memory."""
    x = "obs"
    if about["last_action"]:
        hot = graph.one_hot("last_action", about["n_actions"]) if not about["continuous"] else ""
        x = graph.call("Concat", x, hot or "last_action", axis=-1)
    x = graph.call("Transpose", x, perm=[1, 0, 2])  # agents first, as the arrays are
    for i, layer in enumerate(about["layers"]):

        def product(x, kernel, bias, i=i):
            x = graph.call("MatMul", x, graph.constant(arrays[f"{i}.{kernel}"]))
            return graph.call("Add", x, graph.constant(arrays[f"{i}.{bias}"]))

        if layer["kind"] == "gru":
            x = _gru(graph, x, product)
            graph.call("Transpose", x, out="next_hidden", perm=[1, 0, 2])
        else:
            x = product(x, "kernel", "bias")
        x = graph.call("Relu", x) if layer["relu"] else x
    return graph.call("Transpose", x, perm=[1, 0, 2])


def _gru(graph: Graph, x: str, product: Any) -> str:
    """As `networks.layers.GRU`: ONNX's own operator cannot have weights for each agent."""
    call = graph.call
    h = call("Transpose", "hidden", perm=[1, 0, 2])
    xr, xz, xn = graph.split(product(x, "kernel_ih", "bias_ih"), 3)
    hr, hz, hn = graph.split(product(h, "kernel_hh", "bias_hh"), 3)
    r, z = (call("Sigmoid", call("Add", a, b)) for a, b in ((xr, hr), (xz, hz)))
    new = call("Tanh", call("Add", xn, call("Mul", r, hn)))
    old = call("Mul", z, h)
    return call("Add", call("Mul", call("Sub", graph.constant(1.0), z), new), old)


def _choose(graph: Graph, outputs: str, about: dict[str, Any]) -> None:
    """Makes ``action``, the greedy one, and what sampling starts from."""
    call, number, choice = graph.call, graph.constant, about["choice"]
    if choice["kind"] == "gaussian":
        most, low, high = (choice[k] for k in ("mean_max", "log_std_min", "log_std_max"))
        mean, raw = graph.split(outputs, 2)
        squashed = call("Tanh", call("Div", mean, number(most)))
        mean = call("Mul", squashed, number(most), out="mean")
        share = call("Sigmoid", call("Add", raw, number(choice["offset"])))
        log_std = call("Add", call("Mul", share, number(high - low)), number(low))
        call("Exp", log_std, out="std")
        call("Clip", call("Tanh", mean), number(-1 + 1e-6), number(1 - 1e-6), out="action")
        return
    masked = call("Where", "avail", outputs, number(MASKED_LOGIT), out="outputs")
    if choice["kind"] != "gumbel_softmax":
        call("ArgMax", masked, out="action", axis=-1, keepdims=0)
        return
    best = call("ArgMax", masked, axis=-1, keepdims=0)
    graph.one_hot(best, about["n_actions"], out="action")
