"""policy.onnx: normaliser, network and bounds as one graph, made with onnx.helper alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p.core.errors import UsageError
from p2p.policy.exported import INPUT, OUTPUT
from p2p.policy.policy import Policy

OPSET, IR_VERSION = 18, 8  # IR 8 is the oldest with that opset: old runtimes read it too


class _Graph:
    """Nodes and constants of a graph that is being made."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a float32 constant and return its name."""
        from onnx import numpy_helper

        content = np.ascontiguousarray(value, np.float32)
        self.constants.append(numpy_helper.from_array(content, name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def bounded(self, value: str, output: str) -> str:
        """Add what clips an action to its bounds."""
        above = self.node("Max", [value, "action_low"], f"{output}_above_low")
        return self.node("Min", [above, "action_high"], output)


def onnx_bytes(policies: Sequence[Policy], properties: Mapping[str, str]) -> bytes:
    """Return an ONNX model: `obs` [batch, n] float32 to `actions` [batch, A] float32.

    It is `Policy.act` in float32, or, of several policies, `MeanPolicy.act`. The axis of the batch
    is free.

    Args:
        policies: one, or those whose actions are averaged.
        properties: the model's metadata.

    Raises:
        UsageError: onnx is not installed.
    """
    check_onnx()
    from onnx import TensorProto, helper

    first, graph = policies[0], _Graph()
    graph.constant("action_low", first.low)
    graph.constant("action_high", first.high)
    if len(policies) == 1:
        _add_policy(graph, first, "", OUTPUT)
    else:
        names = [f"peer{k}_" for k in range(len(policies))]
        actions = [
            _add_policy(graph, policy, name, f"{name}action")
            for policy, name in zip(policies, names, strict=True)
        ]
        graph.bounded(graph.node("Mean", actions, "mean_action"), OUTPUT)
    described = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in ((INPUT, first.obs_dim), (OUTPUT, first.action_dim))
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "policy", described[:1], described[1:], graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="p2p",
    )  # fmt: skip
    helper.set_model_props(model, dict(properties))
    content: bytes = model.SerializeToString()
    return content


def _add_policy(graph: _Graph, policy: Policy, prefix: str, output: str) -> str:
    """Add one policy, from raw observations to actions within their bounds."""
    normaliser, net = policy.normaliser, policy.weights

    def constant(name: str, value: NDArray[Any]) -> str:
        return graph.constant(prefix + name, value)

    def node(kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        return graph.node(kind, inputs, prefix + name, **attributes)

    centred = node("Sub", [INPUT, constant("obs_mean", normaliser.mean)], "centred")
    scaled = node("Mul", [centred, constant("obs_inv_std", normaliser.inv_std)], "scaled")
    limits = [constant(name, np.array(value)) for name, value in _limits(normaliser.limit)]
    hidden = node("Clip", [scaled, *limits], "normalised")
    for n in (1, 2, 3):
        weights = [constant(f"{kind}{n}", net[f"{kind}{n}"]) for kind in ("w", "b")]
        hidden = node("Gemm", [hidden, *weights], f"layer{n}", transB=1)
        if n < 3:
            hidden = node("Tanh", [hidden], f"tanh{n}")
    return graph.bounded(hidden, output)


def _limits(limit: float) -> list[tuple[str, float]]:
    return [("lowest", -limit), ("highest", limit)]


def check_onnx() -> None:
    """Raise UsageError if onnx or onnxruntime is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError:
        raise UsageError(
            "export needs onnx and onnxruntime; install them with: pip install 'p2pdrl[export]'"
        ) from None
