"""The operators with windows in C: matrix products, depthwise convolution, LSTM, maximum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyse.export.arena import CELL, HIDDEN, SCRATCH
from tinyse.export.bitmap import BitConv
from tinyse.export.coperator import COperator, Refusal, pair
from tinyse.export.packing import GROUP, TILE, pack_gates, pad_rows, round_up, units_at_once
from tinyse.graph.fixedpoint import quantize_multiplier
from tinyse.graph.grid import GATE_ONE, UNIT_ONE, bits_of
from tinyse.graph.ops import Conv, Depthwise, Lstm, MatMul, MaxPool, Op
from tinyse.graph.products import limits, reals


def scratch(op: Op, tails: bool = False) -> int:
    """Bytes that an operator's kernel wants while it runs; ``tails``: where matrices are parts of wider ones."""
    if isinstance(op, BitConv):
        if not op.reads_bits:
            return scratch(op.plain)
        tiles = -(-op.plain.weights.values[0].size // TILE)
        return 4 * round_up(op.plain.out.channels, GROUP) + tiles * (TILE if direct(op.bytewise, 1) else TILE + 2)
    if isinstance(op, Lstm):
        widths = [round_up(width, TILE) for width in (op.x.channels, op.units)]
        room = max(GROUP * width * (bits_of(np.stack([getattr(gate, part) for gate in op.gates])) < 8)
                   for width, part in zip(widths, ("kernel", "recurrent"), strict=True))
        return 2 * 4 * 4 * units_at_once(op.units) + 2 * sum(widths) + room
    if not isinstance(op, MatMul | Conv) or isinstance(op, Depthwise):
        return 0
    rows, columns = (round_up(size, multiple) for size, multiple in (
        (op.out.channels, GROUP), (op.weights.values[0].size, TILE)))
    tail = tails and columns != op.weights.values[0].size
    gathered = columns * op.x.grid.dtype.itemsize * (tail or not direct(op))
    # Where weights are unpacked: all of them once, or, where they are read once, a group of rows at a time.
    room = (rows if op.out.size > op.out.channels else GROUP) * columns * (bits_of(op.weights.values) < 8)
    return room + gathered + (4 * rows + 2 * columns if op.x.grid.bits <= 8 else 8 * rows)


def direct(op: MatMul | Conv, words: int = 4) -> bool:
    """Whether every window lies in the input as it is, in int8 aligned to ``words`` bytes."""
    place = patch(op)
    words = words if op.x.grid.bits <= 8 else 1
    return (place.kernel[0] == 1 and place.before == 0 and not place.after
            and (place.dilation[1] == 1 or place.kernel[1] == 1) and place.stride[1] * place.step % words == 0
            and (place.rows == 1 or place.stride[0] * place.in_width * place.step % words == 0))


@dataclass(frozen=True)
class _Patch:
    """tinyse_patch; ``after`` is the padding behind, which the kernel finds itself."""

    rows: int
    width: int
    in_width: int
    step: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: int
    after: int
    zero_point: int

    def __str__(self) -> str:
        pairs = ", ".join(f"{{ {a}, {b} }}" for a, b in (self.kernel, self.stride, self.dilation))
        sizes = f"{self.rows}, {self.width}, {self.in_width}, {self.step}"
        return f"{{ {sizes}, {pairs}, {self.before}, {self.zero_point} }}"


def patch(op: MatMul | Conv | MaxPool) -> _Patch:
    """Where its windows lie."""
    x, out, zero = op.x, op.out, op.x.grid.zero_point if op.x.grid.bits <= 8 else 0
    step = x.channels * x.grid.dtype.itemsize
    one = (1, 1)
    positions = x.size // x.channels
    if isinstance(op, MatMul):
        return _Patch(1, positions, positions, step, one, one, one, 0, 0, zero)
    pad, dilation = (op.pad, op.dilation) if isinstance(op, Conv) else ((0, 0), one)
    if not isinstance(op, Depthwise | MaxPool) and pad == (0, 0):
        if op.kernel == op.stride == one:
            return _Patch(1, positions, positions, step, one, one, one, 0, 0, zero)
        if op.kernel[1] == x.shape[2] and (dilation[1] == 1 or op.kernel[1] == 1):  # rows are the positions
            return _Patch(1, out.shape[1], x.shape[1], step * x.shape[2], (1, op.kernel[0]), (1, op.stride[0]),
                          (1, dilation[0]), 0, 0, zero)
    return _Patch(out.shape[1], out.shape[2], x.shape[2], step, op.kernel, op.stride, dilation, *pad, zero)


def output(made: COperator, op: MatMul | Conv, rows: int) -> str:
    """tinyse_scaling of a product; arrays padded to ``rows``."""
    mantissa, shift = (np.array(part, np.int64) for part in zip(*map(quantize_multiplier, reals(op)), strict=True))
    bias = "0"
    if op.x.grid.bits > 8:
        if np.any(shift > 7):
            raise Refusal("its output's scale is below a 128th of its sums'")
        mantissa = np.where(mantissa < 0x7FFF0000, (mantissa + (1 << 15)) >> 16, 0x7FFF)
        shift = 15 - shift
        bias = made.array("int64_t", "bias", padded(op.weights.bias, rows))
    names = [made.array("int32_t", "mantissa", padded(mantissa, rows)),
             made.array("int32_t", "shift", padded(shift, rows)), bias]
    zero = op.out.grid.zero_point if op.out.grid.bits <= 8 else 0
    return f"{{ {', '.join(names)}, {zero}, {', '.join(map(str, limits(op.out.grid, op.fused)))}, {op.out.channels} }}"


def padded(values: NDArray, count: int) -> NDArray:
    """With zeros behind, ``count`` in all."""
    return np.pad(values, (0, count - len(values)))


def start(op: MatMul | Conv, taps: NDArray[np.int64]) -> NDArray[np.int64]:
    """What int8 sums start at, so that kernels multiply raw inputs; ``taps`` int64 [out, in].

    Raises:
        Refusal: a sum could leave 31 bits.
    """
    first = op.weights.bias - op.x.grid.zero_point * taps.sum(axis=1)
    largest = np.abs(first) + 128 * np.abs(taps).sum(axis=1)
    shift = np.array([max(quantize_multiplier(real)[1], 0) for real in reals(op)])
    if np.any(largest >= 2**31) or np.any(largest >= 2.0 ** (31 - shift)):
        raise Refusal("its sums leave 31 bits: its weights are tiny beside its bias")
    return first


def product(made: COperator, op: MatMul | Conv) -> None:
    """FULLY_CONNECTED, CONV_2D: packed tiles."""
    weights = op.weights.values.reshape(op.out.channels, -1)
    rows = pad_rows(weights)
    place, lies = patch(op), direct(op)
    if place.step >= 2**16 or place.width >= 2**16:
        raise Refusal("a map of more than 65535 positions")
    taps = weights.astype(np.int64)
    starts = padded(start(op, taps), len(rows)) if made.bits == 8 else np.zeros(len(rows), np.int64)
    matrix = made.matrix("weights", rows, starts, made.bits == 8, len(weights))
    fields = [matrix, output(made, op, len(rows)), str(place), str(int(made.tail or not lies))]
    made.call(f"tinyse_product{'_within' * made.within}{made.bits}", made.struct("product", fields),
              made.pointer(op.x), made.pointer(op.out), f"arena + {made.at(op.out, SCRATCH)}")


def depthwise(made: COperator, op: Depthwise) -> None:
    """DEPTHWISE_CONV_2D."""
    made.call(f"tinyse_depthwise{made.bits}", made.struct("depthwise", depthwise_fields(made, op)), made.pointer(op.x),
              made.pointer(op.out))


def depthwise_fields(made: COperator, op: Depthwise) -> list[str]:
    """What tinyse_depthwise holds."""
    taps = op.weights.values.reshape(-1, op.out.channels)
    channels = round_up(op.out.channels, GROUP)  # kernels read vectors of eight channels
    names = [made.array("int8_t", "weights", padded(taps.reshape(-1), taps.size + GROUP), 32), "0"]
    if made.bits == 8:
        names[1] = made.array("int32_t", "start", padded(start(op, taps.T.astype(np.int64)), channels))
    return [", ".join(names), output(made, op, channels), str(patch(op))]


def lstm(made: COperator, op: Lstm) -> None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM of one frame."""
    x, h = op.x.grid, op.out.grid
    power = -round(math.log2(op.cell_scale))
    # The kernels know f c / 2^15 as a constant, and the cell's scale as a power of two.
    if op.cell_scale != 2.0**-power or not 0 <= power <= 30:
        raise Refusal(f"the cell's scale {op.cell_scale} is no power of two from 2^-30 to 1")
    if op.x.size != op.x.channels:
        raise Refusal("more than one step of time")
    inputs = [quantize_multiplier(x.scale * float(gate.kernel_scale) * GATE_ONE) for gate in op.gates]
    hidden = [quantize_multiplier(h.scale * float(gate.recurrent_scale) * GATE_ONE) for gate in op.gates]
    bias = np.concatenate([gate.bias for gate in op.gates]).astype(np.int64)
    matrices = []
    for suffix, scales, zero, start in (("kernel", inputs, x.zero_point, bias),
                                        ("recurrent", hidden, h.zero_point, np.zeros_like(bias))):
        weights = np.concatenate([getattr(gate, suffix) for gate in op.gates])
        taps = weights.astype(np.int64)
        start = start - zero * taps.sum(axis=1)
        largest = np.abs(start) + 128 * np.abs(taps).sum(axis=1)
        # The scalar kernels double a sum before they multiply; TFLM overflows at twice the bound.
        if np.any(largest << np.repeat([max(shift, 0) for _, shift in scales], op.units) >= 2**30):
            raise Refusal(f"{made.label}.{suffix}: sums leave 31 bits: its weights are tiny beside its bias")
        matrices.append(made.matrix(suffix, pack_gates(weights, op.units), pack_gates(start, op.units)))
    clip = int(min(op.cell_clip / op.cell_scale, 32767.0)) if op.cell_clip > 0 else 0
    ends = [quantize_multiplier(1 / UNIT_ONE**2 / scale) for scale in (op.cell_scale, h.scale)]
    fields = [*matrices, *(f"{{ {', '.join(map(pair, scales))} }}" for scales in (inputs, hidden)),
              ", ".join(map(pair, ends)), f"{power}, {-clip or -32768}, {clip or 32767}, {h.zero_point}",
              f"{op.units}, {units_at_once(op.units)}"]
    made.call("tinyse_lstm_step", made.struct("lstm", fields), made.pointer(op.x), made.pointer(op.out),
              made.pointer(op.out, HIDDEN), made.pointer(op.out, CELL), f"arena + {made.at(op.out, SCRATCH)}")


def maxpool(made: COperator, op: MaxPool) -> None:
    """MAX_POOL_2D."""
    fields = str(patch(op)).removeprefix("{ ").removesuffix(" }")
    made.call(f"tinyse_maxpool{made.bits}", made.struct("patch", [fields]), made.pointer(op.x), made.pointer(op.out))
