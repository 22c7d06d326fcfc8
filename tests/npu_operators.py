"""One-operator networks with drawn shapes, types and grids, for the simulator's breadth tests."""

from __future__ import annotations

import math

import numpy as np
from npu_models import Graph, laplace_weights

ACTIVATIONS = {"none": 0, "relu": 1, "relu6": 3}
PADDING = {"same": 0, "valid": 1}


def grid(rng: np.random.Generator, dtype: str) -> dict:
    """A random scale and zero point: symmetric for 16 bit, as TFLite wants it."""
    if dtype == "int16":
        return {"dtype": dtype, "scale": float(rng.uniform(1e-4, 4e-4)), "zero": 0}
    return {"dtype": dtype, "scale": float(rng.uniform(0.01, 0.1)), "zero": int(rng.integers(-100, 100))}


def window(size: int, kernel: int, stride: int, dilation: int, padding: str) -> int:
    extent = (kernel - 1) * dilation + 1
    return -(-size // stride) if padding == "same" else (size - extent) // stride + 1


def convolution(rng, shape, out, kernel=(3, 3), stride=(1, 1), dilation=(1, 1), padding="same", activation="none",
                dtype="int8", depthwise=False) -> bytes:
    graph, (high, wide, deep) = Graph(), shape
    given = grid(rng, dtype)
    x = graph.tensor((1, *shape), **given)
    out = deep if depthwise else out
    wshape = (1, *kernel, deep) if depthwise else (out, *kernel, deep)
    fan = kernel[0] * kernel[1] * (1 if depthwise else deep)
    scales = rng.uniform(0.5, 1.5, out) / math.sqrt(fan) / 20
    w = graph.tensor(wshape, scale=scales, data=laplace_weights(rng, wshape), axis=3 if depthwise else 0)
    wide_bias = "int64" if dtype == "int16" else "int32"
    bias = graph.tensor((out,), wide_bias, given["scale"] * scales,
                        data=np.round(rng.normal(0, 0.3, out) / (given["scale"] * scales)))
    size = [window(n, k, s, d, padding) for n, k, s, d in zip((high, wide), kernel, stride, dilation, strict=True)]
    y = graph.tensor((1, *size, out), **grid(rng, dtype))
    common = dict(padding=PADDING[padding], strideH=stride[0], strideW=stride[1], dilationHFactor=dilation[0],
                  dilationWFactor=dilation[1], fusedActivationFunction=ACTIVATIONS[activation])
    if depthwise:
        graph.op("DEPTHWISE_CONV_2D", [x, w, bias], [y], "DepthwiseConv2DOptions", depthMultiplier=1, **common)
    else:
        graph.op("CONV_2D", [x, w, bias], [y], "Conv2DOptions", **common)
    return graph.build([x], [y])


def transpose_convolution(rng, shape, out, kernel=(3, 3), padding="same", dtype="int8", given_shape=False) -> bytes:
    """``given_shape``: the output's shape is an input of the file too, instead of a constant."""
    graph, (high, wide, deep) = Graph(), shape
    given = grid(rng, dtype)
    x = graph.tensor((1, *shape), **given)
    wshape = (out, *kernel, deep)
    scales = rng.uniform(0.5, 1.5, out) / math.sqrt(kernel[0] * kernel[1] * deep) / 20
    w = graph.tensor(wshape, scale=scales, data=laplace_weights(rng, wshape))
    bias = graph.tensor((out,), "int64" if dtype == "int16" else "int32", given["scale"] * scales,
                        data=np.round(rng.normal(0, 0.3, out) / (given["scale"] * scales)))
    size = [2 * n + (max(k - 2, 0) if padding == "valid" else 0) for n, k in zip((high, wide), kernel, strict=True)]
    y = graph.tensor((1, *size, out), **grid(rng, dtype))
    target = graph.tensor((4,), "int32", data=None if given_shape else np.array([1, *size, out]))
    graph.op("TRANSPOSE_CONV", [target, w, x, bias], [y], "TransposeConvOptions", padding=PADDING[padding],
             strideH=2, strideW=2)
    return graph.build([target, x] if given_shape else [x], [y])


def pooling(rng, shape, kind="AVERAGE", kernel=(2, 2), stride=(1, 1), padding="same", activation="none",
            dtype="int8") -> bytes:
    graph, (high, wide, deep) = Graph(), shape
    given = grid(rng, dtype)
    x = graph.tensor((1, *shape), **given)
    size = [window(n, k, s, 1, padding) for n, k, s in zip((high, wide), kernel, stride, strict=True)]
    y = graph.tensor((1, *size, deep), **given)
    graph.op(f"{kind}_POOL_2D", [x], [y], "Pool2DOptions", padding=PADDING[padding], strideH=stride[0],
             strideW=stride[1], filterHeight=kernel[0], filterWidth=kernel[1],
             fusedActivationFunction=ACTIVATIONS[activation])
    return graph.build([x], [y])


def elementwise(rng, kind, shape, other=None, constant=False, swap=False, activation="none", dtype="int8",
                same=False) -> bytes:
    """A binary operator; ``other`` is the second operand's shape (broadcast), or a constant."""
    graph, options = Graph(), {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions",
                               "MINIMUM": "MaximumMinimumOptions", "MAXIMUM": "MaximumMinimumOptions"}
    given = grid(rng, dtype)
    equal = same or kind in ("MINIMUM", "MAXIMUM")
    second = given if equal else grid(rng, dtype)
    result = given if equal else grid(rng, dtype)
    if kind == "MUL":
        result = {**result, "scale": given["scale"] * second["scale"] * float(rng.uniform(40, 200))}
    x = graph.tensor((1, *shape), **given)
    other = other or shape
    info = np.iinfo(dtype)
    data = rng.integers(info.min, info.max + 1, (1, *other)) if constant else None
    z = graph.tensor((1, *other), **second, data=data)
    y = graph.tensor((1, *shape), **result)
    fields = {"fusedActivationFunction": ACTIVATIONS[activation]} if kind in ("ADD", "SUB", "MUL") else {}
    if kind in ("ADD", "SUB") and dtype == "int16":
        fields["potScaleInt16"] = False
    graph.op(kind, [z, x] if swap else [x, z], [y], options[kind], **fields)
    return graph.build([x] if constant else [x, z], [y])


def unary(rng, kind, shape, dtype="int8", options=None, same=False, result=None, **fields) -> bytes:
    graph = Graph()
    given = grid(rng, dtype)
    x = graph.tensor((1, *shape), **given)
    y = graph.tensor((1, *shape), **(result or (given if same else grid(rng, dtype))))
    graph.op(kind, [x], [y], options, **fields)
    return graph.build([x], [y])


def softmax(rng, rows, deep, dtype="int8") -> bytes:
    graph = Graph()
    x = graph.tensor((1, rows, deep), **grid(rng, dtype))
    wide = {"dtype": "int16", "scale": 1 / 32768, "zero": 0}
    result = wide if dtype == "int16" else {"scale": 1 / 256, "zero": -128}
    y = graph.tensor((1, rows, deep), **result)
    graph.op("SOFTMAX", [x], [y], "SoftmaxOptions", beta=1.0)
    return graph.build([x], [y])


def reciprocal_table(kind: type[np.floating]) -> np.ndarray:
    """The table of 1 / (1 + x) in 16-bit softmax, uint32 [512] as the NPU reads it, computed in ``kind``.

    Each sample is moved by half the error of interpolating to the next one, as in TFLite's 16-bit tables. All
    values are positive, so that adding a half and flooring rounds as TFLite does, but for the error (half away).
    """
    at = np.arange(1025, dtype=kind) / kind(1024)
    values = kind(1) / (kind(1) + at) * kind(32768)
    here, middle, after = values[0:-2:2], values[1::2], values[2::2]
    sample = np.floor(here + kind(0.5))
    error = np.floor((after + sample) / kind(2) + kind(0.5)) - np.floor(middle + kind(0.5))
    moved = sample - np.copysign(np.floor(np.abs(error / kind(2)) + kind(0.5)), error)
    samples = np.minimum(np.append(moved, values[-1]), 32767).astype(np.int64)
    return (samples[:-1] & 0xFFFF | (np.diff(samples) & 0xFFFF) << 16).astype("<u4")


def concatenation(rng, shape, widths, dtype="int8") -> bytes:
    graph = Graph()
    given = grid(rng, dtype)
    xs = [graph.tensor((1, *shape, n), **given) for n in widths]
    y = graph.tensor((1, *shape, sum(widths)), **given)
    graph.op("CONCATENATION", xs, [y], "ConcatenationOptions", axis=3)
    return graph.build(xs, [y])


def mean(rng, shape, axes=(1, 2), dtype="int8") -> bytes:
    graph = Graph()
    x = graph.tensor((1, *shape), **grid(rng, dtype))
    size = [1 if axis in axes else n for axis, n in enumerate((1, *shape))]
    y = graph.tensor(size, **grid(rng, dtype))
    axis = graph.tensor((len(axes),), "int32", data=np.array(axes))
    graph.op("MEAN", [x, axis], [y], "ReducerOptions", keepDims=True)
    return graph.build([x], [y])


def resize(rng, shape, kind="NEAREST_NEIGHBOR", factor=2, **fields) -> bytes:
    graph, (high, wide, deep) = Graph(), shape
    given = grid(rng, "int8")
    x = graph.tensor((1, *shape), **given)
    y = graph.tensor((1, high * factor, wide * factor, deep), **given)
    size = graph.tensor((2,), "int32", data=np.array([high * factor, wide * factor]))
    name = "ResizeNearestNeighborOptions" if kind == "NEAREST_NEIGHBOR" else "ResizeBilinearOptions"
    graph.op(f"RESIZE_{kind}", [x, size], [y], name, **fields)
    return graph.build([x], [y])


def fully_connected(rng, width, units, activation="none", dtype="int8", per_channel=False, snap=False) -> bytes:
    graph = Graph(snap)
    given = grid(rng, dtype)
    x = graph.tensor((1, width), **given)
    scales = rng.uniform(0.5, 1.5, units if per_channel else 1) / math.sqrt(width) / 20
    w = graph.tensor((units, width), scale=scales, data=laplace_weights(rng, (units, width)))
    bias = graph.tensor((units,), "int64" if dtype == "int16" else "int32", given["scale"] * scales,
                        data=np.round(rng.normal(0, 0.3, units) / (given["scale"] * scales)))
    y = graph.tensor((1, units), **grid(rng, dtype))
    graph.op("FULLY_CONNECTED", [x, w, bias], [y], "FullyConnectedOptions",
             fusedActivationFunction=ACTIVATIONS[activation])
    return graph.build([x], [y])


def separable_tcn(rng, frames=24, channels=16, blocks=3) -> bytes:
    """Dilated depthwise, pointwise with ReLU, and a residual sum, block after block."""
    graph = Graph()
    given = {"scale": 0.05, "zero": -20}
    x = source = graph.tensor((1, 1, frames, channels), **given)
    for block in range(blocks):
        mid = graph.tensor((1, 1, frames, channels), scale=0.04, zero=3)
        scales = rng.uniform(0.5, 1.5, channels) / math.sqrt(3) / 20
        w = graph.tensor((1, 1, 3, channels), scale=scales, data=laplace_weights(rng, (1, 1, 3, channels)), axis=3)
        b = graph.tensor((channels,), "int32", 0.05 * scales, data=rng.integers(-50, 50, channels))
        graph.op("DEPTHWISE_CONV_2D", [x, w, b], [mid], "DepthwiseConv2DOptions", padding=0, strideH=1, strideW=1,
                 dilationHFactor=1, dilationWFactor=2**block, depthMultiplier=1, fusedActivationFunction=0)
        point = graph.tensor((1, 1, frames, channels), scale=0.03, zero=-128)
        scales = rng.uniform(0.5, 1.5, channels) / math.sqrt(channels) / 20
        square = (channels, 1, 1, channels)
        w = graph.tensor(square, scale=scales, data=laplace_weights(rng, square))
        b = graph.tensor((channels,), "int32", 0.04 * scales, data=rng.integers(-500, 500, channels))
        graph.op("CONV_2D", [mid, w, b], [point], "Conv2DOptions", padding=0, strideH=1, strideW=1,
                 dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=1)
        y = graph.tensor((1, 1, frames, channels), **given)
        graph.op("ADD", [x, point], [y], "AddOptions", fusedActivationFunction=0)
        x = y
    return graph.build([source], [x])


def convolution_stack(rng, high=12, wide=10) -> bytes:
    """Strided convolutions, pooling, a mean and a dense layer with softmax."""
    graph = Graph()
    x = source = graph.tensor((1, high, wide, 1), scale=0.05, zero=4)
    scale, deep = 0.05, 1
    for out, stride in ((8, 1), (24, 2)):
        scales = rng.uniform(0.5, 1.5, out) / math.sqrt(9 * deep) / 20
        w = graph.tensor((out, 3, 3, deep), scale=scales, data=laplace_weights(rng, (out, 3, 3, deep)))
        b = graph.tensor((out,), "int32", scale * scales, data=rng.integers(-300, 300, out))
        high, wide = -(-high // stride), -(-wide // stride)
        y = graph.tensor((1, high, wide, out), scale=0.04, zero=-128)
        graph.op("CONV_2D", [x, w, b], [y], "Conv2DOptions", padding=0, strideH=stride, strideW=stride,
                 dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=1)
        x, scale, deep = y, 0.04, out
    high, wide = -(-high // 2), -(-wide // 2)
    y = graph.tensor((1, high, wide, deep), scale=scale, zero=-128)
    graph.op("MAX_POOL_2D", [x], [y], "Pool2DOptions", padding=0, strideH=2, strideW=2, filterHeight=2, filterWidth=2,
             fusedActivationFunction=0)
    flat = graph.tensor((1, high * wide * deep), scale=scale, zero=-128)
    shape = graph.tensor((2,), "int32", data=np.array([1, high * wide * deep]))
    graph.op("RESHAPE", [y, shape], [flat], "ReshapeOptions", newShape=[1, high * wide * deep])
    width = high * wide * deep
    w = graph.tensor((6, width), scale=0.01, data=laplace_weights(rng, (6, width)))
    b = graph.tensor((6,), "int32", scale * 0.01, data=rng.integers(-300, 300, 6))
    logits = graph.tensor((1, 6), scale=0.1, zero=2)
    graph.op("FULLY_CONNECTED", [flat, w, b], [logits], "FullyConnectedOptions", fusedActivationFunction=0)
    result = graph.tensor((1, 6), scale=1 / 256, zero=-128)
    graph.op("SOFTMAX", [logits], [result], "SoftmaxOptions", beta=1.0)
    return graph.build([source], [result])


def gru(rng, width=12, units=16) -> bytes:
    """One step of a GRU with its state as second input and output: h + z * (candidate - h)."""
    graph = Graph()
    x = graph.tensor((1, width), scale=0.03, zero=-5)
    h = graph.tensor((1, units), scale=1 / 128, zero=0)
    both = graph.tensor((1, width), scale=1 / 128, zero=0)
    graph.op("QUANTIZE", [x], [both], "QuantizeOptions")

    def layer(given, columns, scale, name, result):
        w = graph.tensor((units, columns), scale=0.02, data=laplace_weights(rng, (units, columns)))
        b = graph.tensor((units,), "int32", scale * 0.02, data=rng.integers(-300, 300, units))
        raw = graph.tensor((1, units), scale=0.06, zero=1)
        graph.op("FULLY_CONNECTED", [given, w, b], [raw], "FullyConnectedOptions", fusedActivationFunction=0)
        out = graph.tensor((1, units), **result)
        graph.op(name, [raw], [out])
        return out

    joined = graph.tensor((1, width + units), scale=1 / 128, zero=0)
    graph.op("CONCATENATION", [both, h], [joined], "ConcatenationOptions", axis=1)
    gate = {"scale": 1 / 256, "zero": -128}
    reset = layer(joined, width + units, 1 / 128, "LOGISTIC", gate)
    update = layer(joined, width + units, 1 / 128, "LOGISTIC", gate)
    kept = graph.tensor((1, units), scale=1 / 128, zero=0)
    graph.op("MUL", [reset, h], [kept], "MulOptions", fusedActivationFunction=0)
    again = graph.tensor((1, width + units), scale=1 / 128, zero=0)
    graph.op("CONCATENATION", [both, kept], [again], "ConcatenationOptions", axis=1)
    candidate = layer(again, width + units, 1 / 128, "TANH", {"scale": 1 / 128, "zero": 0})
    change = graph.tensor((1, units), scale=1 / 64, zero=0)
    graph.op("SUB", [candidate, h], [change], "SubOptions", fusedActivationFunction=0)
    part = graph.tensor((1, units), scale=1 / 64, zero=0)
    graph.op("MUL", [update, change], [part], "MulOptions", fusedActivationFunction=0)
    state = graph.tensor((1, units), scale=1 / 128, zero=0)
    graph.op("ADD", [h, part], [state], "AddOptions", fusedActivationFunction=0)
    return graph.build([x, h], [state])
