"""What TFLM or the NPU cannot do with an operator, or does otherwise, said before either is asked.

Found by drawing graphs (tests/test_graph_conformance.py); docs/npu.md gives the rules behind them.
"""

from __future__ import annotations

import math

import numpy as np

from tinyse.graph.ops import Add, Depthwise, Lstm, MatMul, Mul, Op, Prelu, Sigmoid, Sub, Tanh


def tflm(op: Op) -> str:
    """Why TFLM's kernels cannot run an operator; empty where they can."""
    for tensor in (*op.ins, op.out):
        if tensor.grid.bits not in (8, 16):
            return f"{tensor.name} has {tensor.grid.bits} bits, and TFLM clamps at 8 or 16"
    wide = op.x.grid.bits > 8
    if isinstance(op, Lstm) and (op.x.shape[:-1] != (1, 1) or wide):
        return f"an LSTM over {list(op.x.shape)} {op.x.grid.dtype}, where int8 [1, 1, channels] is one frame"
    if type(op) in (Add, Sub):
        largest, head = max(tensor.grid.scale for tensor in op.ins), 15 if wide else 20
        if 2.0 * largest / 2.0**head >= op.out.grid.scale:
            return f"its output's scale is 2^{head - 1} times finer than an input's"
    return ""


def npu(op: Op) -> str:
    """Why Vela cannot compile an operator that TFLM runs, or compiles it wrongly; empty where it can."""
    if isinstance(op, Lstm) and op.units == 1:
        return "an LSTM of one unit, on which Vela crashes"
    if isinstance(op, Lstm) and op.cell_clip % 1:
        return f"a cell clip of {op.cell_clip}, of which Vela drops the fraction"
    if isinstance(op, Depthwise) and max(op.stride) > 3:
        return f"a depthwise convolution of stride {op.stride[0]}, {op.stride[1]}, where the NPU takes at most 3"
    return ""


def rounds(op: Op) -> str:
    """Where Vela's numbers part from TFLM's by a step of the output now and then, and why; empty where they agree."""
    scale, out = op.x.grid.scale, op.out.grid.scale
    if isinstance(op, MatMul) and not all(_exact(scale, float(each)) for each in op.weights.scales):
        return "the scales' product is no float32, in which Vela multiplies"
    if isinstance(op, Lstm) and not _exact_lstm(op):
        return "a gate's scales have a product, or the hidden state's scale a quotient, that is no float32"
    if isinstance(op, Mul) and not _exact(scale, op.ins[1].grid.scale, out):
        return "the scales' product over the output's is no float32, in which Vela divides"
    if isinstance(op, Prelu) and not (_exact(scale, 1.0, out) and _exact(scale, op.alpha_scale, out)):
        return "the scales' quotient is no float32, in which Vela divides"
    if isinstance(op, Sigmoid | Tanh) and op.x.grid.bits <= 8:
        if scale >= 2:
            return "an input scale of 2 or more, on which TFLM saturates too early"
        if math.frexp(scale)[0] == 0.5 and scale <= (2.0**-7 if isinstance(op, Sigmoid) else 2.0**-8):
            return "an input scale of a fine power of two, on which the curve runs through a tie"
    return ""


def _exact_lstm(op: Lstm) -> bool:
    x, h = op.x.grid.scale, op.out.grid.scale
    return _exact(1.0, 1.0, h) and all(_exact(x, gate.kernel_scale) and _exact(h, gate.recurrent_scale)
                                       for gate in op.gates)


def _exact(first: float, second: float, out: float = 1.0) -> bool:
    return float(np.float32(first) * np.float32(second) / np.float32(out)) == first * second / out
