"""The compiled file: one ``ethos-u`` custom operator, its driver payload, its tensors and arena.

Vela writes a TFLite file whose only operator carries the command stream (input 0), the read-only data
(input 1), the scratch arena (input 2) and the fast scratch (input 3), then states and network inputs.
Every tensor's place in the arena stands in the ``OfflineMemoryAllocation`` metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyse.npu.fault import NpuError
from tinyse.npu.flatbuffer import Table, operator_name

MAX_ARENA = 1 << 25
MAX_PORTS = 256
DTYPES = {0: "f4", 2: "i4", 3: "u1", 4: "i8", 6: "?", 7: "i2", 9: "i1"}
CUSTOM = 32
FOURCC = 0x31504F43  # "COP1"
READ_ONLY, ARENA, FAST = 0, 1, 2


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of the compiled file; ``address`` is its arena offset in bytes, -1 where it has none."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float
    zero_point: int
    is_variable: bool
    address: int

    @property
    def size(self) -> int:
        """Bytes of the tensor."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True)
class Accelerator:
    """What the driver payload says it was compiled for."""

    product: str
    macs: int
    shram_bytes: int

    @property
    def name(self) -> str:
        """Vela's name of the configuration, such as ``ethos-u55-128``."""
        return f"{self.product}-{self.macs}"


@dataclass(frozen=True)
class Payload:
    """A compiled network, taken apart but not yet decoded.

    ``words`` is the command stream (uint32), ``stream_offset`` its byte offset in the payload tensor;
    ``read_only`` the weights, scales and tables (uint8); ``arena_bytes`` and ``fast_bytes`` the sizes of
    regions 1 and 2, the latter 0 where it is the arena again. ``inputs`` are those that have a place in the
    arena; one without, such as the shape operand of a transposed convolution, is nothing that the stream can read.
    """

    accelerator: Accelerator
    words: np.ndarray
    stream_offset: int
    read_only: np.ndarray
    arena_bytes: int
    fast_bytes: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    states: tuple[TensorInfo, ...]


def load(path: Path | str) -> Payload:
    """Read a Vela-compiled ``.tflite``.

    Raises:
        NpuError: the file is missing, corrupt, not compiled for an NPU, or keeps operators on the CPU.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise NpuError(f"{path}: {error.strerror}", hint="give a model compiled by Vela") from error
    return parse(data, str(path))


def parse(data: bytes, name: str = "") -> Payload:
    """Take a compiled file's bytes apart; NpuError, which names the file, where they are not what Vela writes."""
    try:
        return _parsed(data)
    except NpuError as error:
        raise NpuError(f"{name}: {error}" if name else str(error), hint=error.hint) from error


def _parsed(data: bytes) -> Payload:
    model = Table.root(data, b"TFL3")
    graphs = model.tables(2)
    if len(graphs) != 1:
        raise NpuError(f"{len(graphs)} subgraphs where a compiled model has one")
    graph = graphs[0]
    buffers = model.tables(4)
    operator = _only_operator(model, graph)
    infos, sources = _tensors(graph, _addresses(model, buffers))
    args = [_index(i, len(infos)) for i in operator.array(1, "<i4")]
    if len(args) < 4:
        raise NpuError(f"the ethos-u operator has {len(args)} inputs where it needs at least 4")
    payload_bytes, read_only = (_content(data, buffers, sources[args[i]]) for i in (0, 1))
    accelerator, start, words = _driver_actions(payload_bytes)
    scratch, fast = args[2], args[3]
    same = fast == scratch or infos[fast].size == 0
    arena = max([_arena_end(info) for info in infos] + [infos[scratch].size])
    if arena > MAX_ARENA or infos[fast].size > MAX_ARENA:
        raise NpuError(f"an arena of {arena} bytes is beyond any Ethos-U", hint="")
    ports = [graph.array(k, "<i4")[: MAX_PORTS + 1].tolist() for k in (1, 2)]
    ins, outs = ([infos[_index(i, len(infos))] for i in port] for port in ports)
    if not 0 < len(outs) <= MAX_PORTS or len(ins) > MAX_PORTS:
        raise NpuError(f"{len(ins)} inputs and {len(outs)} outputs are not a network's")
    ins = [info for info in ins if info.address >= 0]  # no place: a shape, say, which no command can read
    for info in outs:
        if info.address < 0:
            raise NpuError(f"output {info.name!r} has no place in the arena")
    read = {infos[i].address for i in args if infos[i].is_variable}
    for info in (infos[_index(i, len(infos))] for i in operator.array(2, "<i4")):
        if info.is_variable and info.address not in read:
            raise NpuError(f"state {info.name!r} is written and never read: Vela drops a state outside an LSTM",
                           hint="make the state an input and an output of the network")
    states = [info for i, info in enumerate(infos)
              if info.is_variable and i not in ports[0] + ports[1] and info.address >= 0]
    return Payload(accelerator, words, start, read_only, arena, 0 if same else infos[fast].size,
                   tuple(ins), tuple(outs), tuple(states))


def _index(value: int, count: int) -> int:
    if not 0 <= value < count:
        raise NpuError(f"corrupt TFLite file: tensor {value} of {count}")
    return int(value)


def _only_operator(model: Table, graph: Table) -> Table:
    codes = []
    for code in model.tables(1):
        builtin = max(code.integer(0, "<b"), code.integer(3, "<i"))
        codes.append(code.bytes(1).decode("utf-8", "replace") if builtin == CUSTOM else operator_name(builtin))
    operators = graph.tables(3)
    names = [codes[op.integer(0, "<I")] if op.integer(0, "<I") < len(codes) else "?" for op in operators]
    others = sorted({name for name in names if name != "ethos-u"})
    if not names or "ethos-u" not in names:
        raise NpuError("holds no ethos-u operator: it was not compiled by Vela",
                       hint="tinyse export --target ethos-u55-128 writes model_vela.tflite")
    if others or len(names) > 1:
        raise NpuError(f"Vela left {', '.join(others) or 'a second ethos-u operator'} outside the NPU",
                       hint="the simulator runs models that are one ethos-u operator")
    return operators[0]


def _addresses(model: Table, buffers: list[Table]) -> np.ndarray:
    for entry in model.tables(6):
        if entry.bytes(0) == b"OfflineMemoryAllocation":
            index = entry.integer(1, "<I")
            if index < len(buffers):
                raw = buffers[index].bytes(0)
                return np.frombuffer(raw[: len(raw) // 4 * 4], "<i4")[3:]
    raise NpuError("has no OfflineMemoryAllocation metadata: the arena layout is unknown")


def _tensors(graph: Table, addresses: np.ndarray) -> tuple[list[TensorInfo], list[int]]:
    infos, sources = [], []
    for i, tensor in enumerate(graph.tables(0)):
        code = tensor.integer(1, "<b")
        if code not in DTYPES:
            raise NpuError(f"tensor {i} has TFLite type {code}, which Vela does not write")
        shape = tuple(int(n) for n in tensor.array(0, "<i4"))
        if len(shape) > 8 or any(n < 0 for n in shape) or np.prod([max(float(n), 1.0) for n in shape]) > MAX_ARENA:
            raise NpuError(f"tensor {i} has the absurd shape {shape}")
        quantization = tensor.table(4)
        scales = quantization.array(2, "<f4") if quantization else np.zeros(0)
        zeros = quantization.array(3, "<i8") if quantization else np.zeros(0)
        dtype = np.dtype(DTYPES[code]).newbyteorder("<")
        zero = int(zeros[0]) if zeros.size else 0
        if dtype.kind in "iu" and not np.iinfo(dtype).min <= zero <= np.iinfo(dtype).max:
            raise NpuError(f"tensor {i} has zero point {zero}, outside {dtype.name}")
        infos.append(TensorInfo(
            tensor.bytes(3).decode("utf-8", "replace"), shape, dtype, float(scales[0]) if scales.size else 0.0, zero,
            bool(tensor.integer(5, "<b")), int(addresses[i]) if i < addresses.size else -1))
        sources.append(tensor.integer(2, "<I"))
    return infos, sources


def _content(data: bytes, buffers: list[Table], index: int) -> np.ndarray:
    if index >= len(buffers):
        raise NpuError(f"corrupt TFLite file: buffer {index} of {len(buffers)}")
    buffer = buffers[index]
    offset, size = buffer.integer(1, "<Q"), buffer.integer(2, "<Q")
    if offset > 1:
        if offset + size > len(data):
            raise NpuError(f"corrupt TFLite file: buffer {index} ends at {offset + size} of {len(data)}")
        return np.frombuffer(data, np.uint8, size, offset)
    return buffer.array(0, "|u1")


def _arena_end(info: TensorInfo) -> int:
    return info.address + info.size if info.address >= 0 else 0


def _driver_actions(raw: np.ndarray) -> tuple[Accelerator, int, np.ndarray]:
    words = np.frombuffer(raw.tobytes()[: raw.size // 4 * 4], "<u4")
    if words.size < 4 or words[0] != FOURCC:
        raise NpuError("the driver payload does not begin with COP1")
    accelerator, place = None, 1
    while place < words.size:
        tag = int(words[place])
        action, length = tag & 0xFF, (tag >> 16) | ((tag >> 8 & 0xFF) << 16)
        if action == 5:
            place += 1
        elif action == 1 and place + 2 < words.size:
            accelerator = _accelerator(int(words[place + 1]))
            place += 3
        elif action == 2 and accelerator is not None:
            start = place + 1
            if start + length > words.size:
                raise NpuError(f"the command stream claims {length} words, the payload holds {words.size - start}")
            return accelerator, 4 * start, words[start : start + length]
        else:
            raise NpuError(f"unknown driver action {action} in word {place} of the payload")
    raise NpuError("the driver payload holds no command stream")


def _accelerator(config: int) -> Accelerator:
    product, log_macs, shram = config >> 28, config & 0xF, config >> 8 & 0xFF
    if product not in (0, 1) or not 5 <= log_macs <= 9 or not 16 <= shram <= 96:
        raise NpuError(f"unknown NPU configuration {config:#x}", hint="ethos-u55-32 to -256 or ethos-u65-256")
    return Accelerator("ethos-u65" if product else "ethos-u55", 1 << log_macs, shram * 1024)
