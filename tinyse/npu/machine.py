"""The machine: a compiled network decoded once, executed many times.

    machine = Machine.load("model_vela.tflite")
    machine.reset()
    mask = machine.run(frame)          # int8 in, int8 out; states stay in the arena

Every operation becomes a closure over views of the arena, made and checked when the model is loaded.
A run then only computes. Maps, weights and scales are read where the command stream says, also weights
that a DMA brought into the arena first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyse.npu import elementwise, kernels, output, weights
from tinyse.npu.fault import NpuError
from tinyse.npu.operations import SCALED, SHRAM, Dma, Operation, operation
from tinyse.npu.payload import ARENA, FAST, READ_ONLY, Payload, TensorInfo, load, parse
from tinyse.npu.registers import snapshots
from tinyse.npu.tensors import Memory, Reader, Writer, reader, writer

MAX_WORK = 1 << 31
MAX_WEIGHTS = 1 << 24
POOL_BITS = 31
Step = Callable[[], None]


@dataclass(frozen=True)
class Prepared:
    """An operation ready to run; ``weights`` int16 OHWI where it has any (for accounting)."""

    op: Operation | Dma
    run: Step
    weights: np.ndarray | None


class Machine:
    """An Ethos-U55 with one network loaded.

    Args:
        payload: the network.

    Raises:
        NpuError: the stream is corrupt, unsupported, or would leave its memory; nothing has run then.
    """

    def __init__(self, payload: Payload) -> None:
        self.payload = payload
        arena = np.zeros(payload.arena_bytes, np.uint8)
        shram = SHRAM | 3
        read_only = payload.read_only.copy()
        read_only.flags.writeable = False
        self.memory = Memory({READ_ONLY: read_only, ARENA: arena,
                              FAST: np.zeros(payload.fast_bytes, np.uint8) if payload.fast_bytes else arena,
                              shram: np.zeros(payload.accelerator.shram_bytes, np.uint8)})
        self.operations = [operation(snap) for snap in snapshots(payload.words)]
        _check_work(self.operations)
        self.steps = [self._prepare(op) for op in self.operations]
        self._runs = [step.run for step in self.steps]
        self.inputs = [self._tensor(info) for info in payload.inputs]
        self.outputs = [self._tensor(info) for info in payload.outputs]
        self._states = [(self._tensor(info), info.zero_point) for info in payload.states]
        self.reset()

    @classmethod
    def load(cls, path: Path | str) -> Machine:
        """Load a Vela-compiled ``.tflite``; raises NpuError with the file's name."""
        payload = load(path)
        try:
            return cls(payload)
        except NpuError as error:
            raise NpuError(f"{path}: {error}", hint=error.hint) from error

    @classmethod
    def parse(cls, data: bytes) -> Machine:
        """As ``load``, from a file's bytes."""
        return cls(parse(data))

    def _tensor(self, info: TensorInfo) -> np.ndarray:
        if info.address % info.dtype.itemsize:
            raise NpuError(f"tensor {info.name!r} is not aligned")
        data = self.memory.span(ARENA, info.address, info.size, f"tensor {info.name!r}", 0)
        return data.view(info.dtype).reshape(info.shape)

    def reset(self) -> None:
        """Put every state to real zero: its zero point."""
        for view, zero in self._states:
            view[...] = zero

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """One invocation: quantized inputs in, a copy of the first quantized output back.

        Args:
            inputs: one array an input, of the input's type, any shape of the right size.
        """
        for view, values in zip(self.inputs, inputs, strict=True):
            view[...] = values.reshape(view.shape)
        self.execute()
        return self.outputs[0].copy()

    @property
    def arena(self) -> np.ndarray:
        """Region 1 itself, uint8: write inputs and states into it, ``execute``, read outputs and states."""
        return self.memory.regions[ARENA]

    def execute(self) -> None:
        """One invocation on the arena as it is."""
        for step in self._runs:
            step()

    def trace(self, *inputs: np.ndarray) -> Iterator[tuple[Operation, np.ndarray]]:
        """As ``run``, giving each block operation and its output map [h, w, c] as it is computed."""
        for view, values in zip(self.inputs, inputs, strict=True):
            view[...] = values.reshape(view.shape)
        for step in self.steps:
            step.run()
            if isinstance(step.op, Operation):
                yield step.op, reader(step.op.ofm, self.memory, "OFM", step.op.offset)().copy()

    def _prepare(self, op: Operation | Dma) -> Prepared:
        if isinstance(op, Dma):
            return self._prepare_dma(op)
        name = f"operation {op.index} ({op.mode})"
        read = reader(op.ifm, self.memory, f"{name}: IFM", op.offset)
        read2 = reader(op.ifm2, self.memory, f"{name}: IFM2", op.offset) if op.ifm2 else None
        write = writer(op.ofm, self.memory, f"{name}: OFM", op.offset)
        if op.kind in ("CONV", "DEPTHWISE"):
            return self._prepare_weighted(op, read, write)
        if op.kind == "ELEMENTWISE":
            accumulate, bound = elementwise.prepare(op, read, read2)
            return Prepared(op, _elementwise(op, accumulate, bound, write, self.memory), None)
        return Prepared(op, _pool(op, read, write, self.memory), None)

    def _prepare_dma(self, op: Dma) -> Prepared:
        source = self.memory.span(op.source[0], op.source[1], op.length, f"operation {op.index} (DMA): source",
                                  op.offset)
        target = self.memory.span(op.target[0], op.target[1], op.length, f"operation {op.index} (DMA): target",
                                  op.offset)
        if not target.flags.writeable:
            raise NpuError(f"operation {op.index} (DMA) would write the read-only region", op.offset)

        def copy() -> None:
            target[:] = source
        copy()  # weights that arrive by DMA must be there when the next operations are prepared
        return Prepared(op, copy, None)

    def _bytes(self, op: Operation, streams: tuple, what: str) -> list[np.ndarray]:
        return [self.memory.span(s.region, s.address, s.length, f"operation {op.index} ({op.mode}): {what}",
                                 op.offset) for s in streams]

    def _prepare_weighted(self, op: Operation, read: Reader, write: Writer) -> Prepared:
        coded = self._bytes(op, op.weights, "weights")
        scales = self._bytes(op, op.scales, "scales")
        moving = any(s.region != READ_ONLY for s in op.weights + op.scales)

        def build() -> tuple[Step, np.ndarray]:
            volume = weights.read(op, self.payload.accelerator, [c.tobytes() for c in coded])
            table = weights.read_scales(op, [s.tobytes() for s in scales]) if scales else None
            make = kernels.depthwise if op.kind == "DEPTHWISE" else kernels.convolution
            accumulate, bound = make(op, read, volume, table)
            scale, shift = (table.scale, table.shift) if table else op.scale
            finish = output.finisher(op, output.scaler(op, scale, shift, bound), self.memory)
            return (lambda: write(finish(accumulate()))), volume
        step, volume = build()
        if not moving:
            return Prepared(op, step, volume)
        return Prepared(op, _watch(coded + scales, step, build), volume)


def _watch(sources: list[np.ndarray], step: Step, build: Callable[[], tuple[Step, np.ndarray]]) -> Step:
    """Run ``step`` as long as its weights in the arena are those it was built from, else build again."""
    seen = [source.tobytes() for source in sources]
    current = [step]

    def run() -> None:
        for i, source in enumerate(sources):
            if source.tobytes() != seen[i]:
                seen[:] = [s.tobytes() for s in sources]
                current[0] = build()[0]
                break
        current[0]()
    return run


def _elementwise(op: Operation, accumulate: elementwise.Accumulate, bound: int, write: Writer,
                 memory: Memory) -> Step:
    scaled = op.mode in {m.name for m in SCALED}
    scale, shift = op.scale if scaled else (1, 0)
    if op.ifm.dtype.itemsize == 4:
        scale = 1  # 32-bit operands are shifted only: the hardware leaves the multiplier out
    step = output.scaler(op, scale, shift, bound)
    if op.mode == "LRELU":
        inner = step

        def step(acc: np.ndarray) -> np.ndarray:
            return np.where(acc < 0, inner(acc), acc)
    finish = output.finisher(op, step, memory)
    return lambda: write(finish(accumulate()))


def _pool(op: Operation, read: Reader, write: Writer, memory: Memory) -> Step:
    accumulate, bound = kernels.pooling(op, read)
    point = kernels.is_point(op)
    if op.mode == "MAX" or (point and not op.global_scale):
        step = output.scaler(op, 1, 0, bound)
    elif op.global_scale and not (op.mode == "AVERAGE" and any(op.kernel.padding)):
        step = output.scaler(op, *op.scale, bound)
    else:
        step = output.scaler(op, *_shares(kernels.valid_counts(op)), bound)
    finish = output.finisher(op, step, memory)

    def direct() -> None:
        write(finish(accumulate()))
    if point and op.ifm.dtype.itemsize <= 2 and op.mode != "REDUCE_SUM" and op.activation.function < 16:
        return _tabulated(op, direct, finish, read, write)
    return direct


def _shares(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of a division by ``count``, a little more than 1/count so that ties leave zero."""
    bits = np.ceil(np.log2(np.maximum(count, 1))).astype(np.int64)
    scale = ((np.int64(1) << (POOL_BITS + bits)) + (np.int64(1) << bits)) // np.maximum(count, 1)
    return scale, POOL_BITS + bits


def _tabulated(op: Operation, direct: Step, finish: output.Finish, read: Reader, write: Writer) -> Step:
    """A function of one value: computed directly once, from the second run on looked up."""
    kind = f"<u{op.ifm.dtype.itemsize}"
    here, there = ((m.bases, m.strides, m.brick, m.region, m.tiles) for m in (op.ifm, op.ofm))

    def build() -> Step:
        line = np.arange(1 << 8 * op.ifm.dtype.itemsize).astype(kind).view(op.ifm.dtype)
        values = finish(line.astype(np.int64) - op.ifm.zero_point).astype(op.ofm.dtype)
        if op.ifm.dtype == op.ofm.dtype and np.array_equal(values, line):
            return (lambda: None) if here == there else (lambda: write(read()))
        return lambda: write(values[read().view(kind)])
    runs: list[Step] = [direct]

    def run() -> None:
        runs[-1]()
        if len(runs) == 1:
            runs.append(build())
    return run


def _check_work(operations: list[Operation | Dma]) -> None:
    """Refuse a stream that would compute or hold more than any speech network, before anything is made."""
    total = weights_total = 0
    for op in operations:
        if isinstance(op, Dma):
            total += op.length
            continue
        deep = op.ifm.shape[2] if op.kind == "CONV" or op.mode == "REDUCE_SUM" else 1
        taps = op.kernel.height * op.kernel.width * deep
        total += op.ofm.elements * taps + op.ifm.elements
        weights_total += op.ofm.shape[2] * taps if op.weights else 0
        if total > MAX_WORK or weights_total > MAX_WEIGHTS:
            raise NpuError(f"operation {op.index} ({op.mode}) brings the stream to {total:.2g} operations and "
                           f"{weights_total:.2g} weights, beyond any speech network", op.offset)
