"""Convolutions and pooling: windows of the input map to int64 accumulators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinyse.npu.fault import NpuError
from tinyse.npu.operations import Kernel, Operation, Upscale
from tinyse.npu.tensors import Reader
from tinyse.npu.weights import ScaleTable

EXACT_FLOAT32 = 1 << 24
CHUNK = 1 << 21
MAX_WINDOW = 1 << 24
Accumulate = Callable[[], np.ndarray]


def magnitude(op: Operation) -> int:
    """The largest size of an input value less its zero point."""
    info = np.iinfo(op.ifm.dtype)
    return max(abs(int(info.min) - op.ifm.zero_point), abs(int(info.max) - op.ifm.zero_point))


def is_point(op: Operation) -> bool:
    """Whether each output depends on exactly one input position."""
    kernel = op.kernel
    return (kernel.height == kernel.width == 1 and not any(kernel.padding) and kernel.stride == (1, 1)
            and op.upscale is Upscale.NONE and op.ifm.shape[:2] == op.ofm.shape[:2])


def check_windows(op: Operation) -> None:
    """Refuse windows whose padded map, or one row of them, would take unreasonable memory."""
    kernel = op.kernel
    high, wide = ((n - 1) * s + k for n, s, k in zip(op.ofm.shape[:2], kernel.stride, kernel.extent, strict=True))
    row = op.ofm.shape[1] * kernel.height * kernel.width * op.ifm.shape[2]
    if max(high * wide * op.ifm.shape[2], row) > MAX_WINDOW:
        raise NpuError(f"operation {op.index} ({op.mode}) has the absurd window {kernel.height}x{kernel.width} "
                       f"over {op.ifm.shape}", op.offset)


def windows(values: np.ndarray, kernel: Kernel, upscale: Upscale, fill: int,
            shape: tuple[int, int, int]) -> np.ndarray:
    """Every output position's window: a view [oh, ow, c, kh, kw] of the padded, upscaled input.

    Args:
        values: [h, w, c].
        fill: what padding holds (the zero point, so that it counts as nothing).
        shape: output height, width, depth.
    """
    if upscale is Upscale.NEAREST:
        values = values.repeat(2, 0).repeat(2, 1)
    elif upscale is Upscale.TRANSPOSE:
        spread = np.full((2 * values.shape[0], 2 * values.shape[1], values.shape[2]), fill, values.dtype)
        spread[::2, ::2] = values
        values = spread
    top, left, _, _ = kernel.padding
    high = (shape[0] - 1) * kernel.stride[0] + kernel.extent[0]
    wide = (shape[1] - 1) * kernel.stride[1] + kernel.extent[1]
    if top or left or values.shape[0] != high or values.shape[1] != wide:
        padded = np.full((high, wide, values.shape[2]), fill, values.dtype)
        inside = values[: high - top, : wide - left]
        padded[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        values = padded
    view = sliding_window_view(values, kernel.extent, axis=(0, 1))
    return view[:: kernel.stride[0], :: kernel.stride[1], :, :: kernel.dilation[0], :: kernel.dilation[1]]


def convolution(op: Operation, read: Reader, weights: np.ndarray, table: ScaleTable | None) -> tuple[Accumulate, int]:
    """Prepare a convolution: the accumulator function, and the bound of its results.

    Products and sums are computed in float32 where no partial sum can leave 24 bits, else in float64;
    either way every one of them is an exact integer.

    Args:
        weights: int16 OHWI.
        table: per-channel scales, whose bias is added; None for an operation without.
    """
    wide = weights.astype(np.int64)
    bias = table.bias if table is not None else np.zeros(op.ofm.shape[2], np.int64)
    reach = int(np.abs(wide).sum(axis=(1, 2, 3)).max(initial=0))
    info = np.iinfo(op.ifm.dtype)
    peak = max(abs(int(info.min)), abs(int(info.max)))
    exact = np.float32 if reach * peak < EXACT_FLOAT32 else np.float64
    bound = reach * magnitude(op) + int(np.abs(bias).max(initial=0))
    start = bias - op.ifm.zero_point * wide.sum(axis=(1, 2, 3))
    channels = op.ofm.shape[2]
    if is_point(op):
        matrix = np.ascontiguousarray(weights.reshape(channels, -1).T.astype(exact))
        shape = op.ofm.shape

        def point() -> np.ndarray:
            flat = read().astype(exact).reshape(-1, matrix.shape[0])
            acc = (flat @ matrix).astype(np.int64)
            acc += start
            return acc.reshape(shape)
        return point, bound
    check_windows(op)
    matrix = np.ascontiguousarray(weights.transpose(3, 1, 2, 0).reshape(-1, channels).astype(exact))

    def slide() -> np.ndarray:
        view = windows(read().astype(exact), op.kernel, op.upscale, op.ifm.zero_point, op.ofm.shape)
        out = np.empty(op.ofm.shape, np.int64)
        rows = max(1, CHUNK // max(1, view.shape[1] * matrix.shape[0]))
        for row in range(0, view.shape[0], rows):
            part = view[row : row + rows]
            out[row : row + rows] = (part.reshape(-1, matrix.shape[0]) @ matrix).reshape(*part.shape[:2], -1)
        return out + start
    return slide, bound


def depthwise(op: Operation, read: Reader, weights: np.ndarray, table: ScaleTable | None) -> tuple[Accumulate, int]:
    """As ``convolution``, each channel on its own; ``weights`` int16 [channels, kh, kw, 1]."""
    if op.ifm.shape[2] != op.ofm.shape[2]:
        raise NpuError(f"operation {op.index} (DEPTHWISE) has {op.ifm.shape[2]} channels in, "
                       f"{op.ofm.shape[2]} out", op.offset)
    check_windows(op)
    taps = weights[..., 0].astype(np.float64)
    bias = table.bias if table is not None else np.zeros(op.ofm.shape[2], np.int64)
    bound = int(np.abs(taps).sum(axis=(1, 2)).max(initial=0)) * magnitude(op) + int(np.abs(bias).max(initial=0))
    start = bias - op.ifm.zero_point * weights[..., 0].astype(np.int64).sum(axis=(1, 2))

    def run() -> np.ndarray:
        view = windows(read().astype(np.float64), op.kernel, op.upscale, op.ifm.zero_point, op.ofm.shape)
        return np.einsum("yxcij,cij->yxc", view, taps).astype(np.int64) + start
    return run, bound


def pooling(op: Operation, read: Reader) -> tuple[Accumulate, int]:
    """Prepare the sum, maximum or depth sum of a pooling operation, zero point taken off."""
    zero, peak = op.ifm.zero_point, magnitude(op)
    if op.mode != "REDUCE_SUM" and op.ifm.shape[2] != op.ofm.shape[2]:
        raise NpuError(f"operation {op.index} ({op.mode} pooling) changes the depth", op.offset)
    if op.mode == "REDUCE_SUM":
        def reduce() -> np.ndarray:
            return (read().astype(np.int64) - zero).sum(axis=2, keepdims=True)
        if not is_point(op):
            raise NpuError(f"operation {op.index} (REDUCE_SUM) with a kernel is not supported", op.offset)
        return reduce, peak * op.ifm.shape[2]
    if is_point(op):
        return (lambda: read().astype(np.int64) - zero), peak
    check_windows(op)
    axes, count = (3, 4), op.kernel.height * op.kernel.width
    if op.mode == "MAX":
        def largest() -> np.ndarray:
            least = int(np.iinfo(op.ifm.dtype).min)
            view = windows(read().astype(np.int64), op.kernel, op.upscale, least, op.ofm.shape)
            return view.max(axis=axes) - zero
        return largest, peak

    def total() -> np.ndarray:
        return windows(read().astype(np.int64) - zero, op.kernel, op.upscale, 0, op.ofm.shape).sum(axis=axes)
    return total, peak * count


def valid_counts(op: Operation) -> np.ndarray:
    """How many inputs each output position of a padded pooling really sees, [oh, ow, 1]."""
    ones = np.ones((op.ifm.shape[0], op.ifm.shape[1], 1), np.int64)
    return windows(ones, op.kernel, op.upscale, 0, op.ofm.shape).sum(axis=(3, 4))
