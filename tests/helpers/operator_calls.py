"""Calls of the operators, small, as a model would make them."""

from __future__ import annotations

from peclip_fast.ops.verdicts.verdict import OperatorCall

Operand = dict[str, list[int]]


def call_of(op: str, dtype: str = "float32", width: int = 32, hidden: int = 6) -> OperatorCall:
    """A small call of each operator."""
    d, h = width, hidden
    x, adapter = [2, 10, d], {"down_weight": [h, d], "down_bias": [h]}
    up = {"up_weight": [d, h], "up_bias": [d]}
    tensors: Operand
    options: dict[str, object] = {}
    frames, variant = 0, ""
    if op == "bottleneck_adapter":
        tensors = {"x": x, **adapter, **up, "residual": x}
        options = {"skip": True, "scale": 0.5}
    elif op == "feed_forward":
        tensors = {
            "x": x,
            "in_weight": [h, d],
            "in_bias": [h],
            "out_weight": [d, h],
            "out_bias": [d],
        }
        options = {"activation": "quick_gelu"}
    elif op == "pixels":
        tensors = {
            "frames": [3, 2, 3, 8, d], "mean": [3, 1, 1], "std": [3, 1, 1], "partners": [3],
            "keep": [8, d],
        }  # fmt: skip
        own = {"frames": "uint8", "mean": "float64", "std": "float64", "partners": "int64"}
        own["keep"] = "bool"
        options = {"share": 1.0, "dtype": dtype}
        return OperatorCall(op, tensors, [], options, dtype, d, 1, 0, "", own)
    else:
        frames, variant, x = 3, "after_up", [2, 3, 4, d]
        gates = {"weight_ih": [3 * h, h], "weight_hh": [3 * h, h], "bias_ih": [3 * h]}
        tensors = {
            "x": x, "residual": x, "norm_weight": [d], "norm_bias": [d], "scale_weight": [1, d],
            "scale_bias": [1], **adapter, **gates, "bias_hh": [3 * h], **up,
        }  # fmt: skip
        options = {"scaling": variant}
    trained = ["x"] if op == "feed_forward" else list(tensors)
    return OperatorCall(op, tensors, trained, options, dtype, d, h, frames, variant)
