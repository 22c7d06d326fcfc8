"""Where an export's bytes lie: arena, weights, command stream, and the states with their zero points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tinyse.core.errors import ExportError
from tinyse.export.flatfile import TensorInfo, operator_names, tensor_infos, unpack
from tinyse.export.npulayout import NpuPart, aligned, npu_layout
from tinyse.export.targets import Target
from tinyse.graph.plan import Plan
from tinyse.graph.tensor import Tensor


@dataclass(frozen=True)
class Place:
    """A tensor that outlives an invocation or crosses its border.

    Attributes:
        name: "lstm_0.h", "lstm_0.c", "features", "mask"; that of a pair's past, or of a held tensor.
        type: "int8" or "int16". bytes: its size.
        scale, zero_point: its grid; a state starts at its zero point, **not** at 0.
        offset: bytes from the start of the arena, behind which the block is; None where TFLM chooses the place.
        tensor: index in the tensor list of its part's int8 file; what TFLM knows it by on CPU targets.
    """

    name: str
    type: str
    bytes: int
    scale: float
    zero_point: int
    offset: int | None
    tensor: int


@dataclass(frozen=True)
class MemoryReport:
    """Bytes of an export.

    Attributes:
        target: its name. source: what produced ``arena_bytes`` ("estimated" by Vela, or "measured" by TFLM on
            a 64-bit host, where structures are larger than on a Cortex-M).
        arena_bytes: working memory a frame, of the largest part. fast_bytes: of a separate fast scratch; 0 if none.
        model_bytes: the files that go into flash. weight_bytes: weights and biases as int8 and int32, or
            as Vela encoded them with scales and tables. command_bytes: NPU command streams, 0 without.
        states, input, output: places that a driver must know.
        block_bytes: behind the arena, of what outlives a part's run (``npulayout``); 0 for a lone part without pairs.
        held: outputs that are kept while their part does not run. parts: what an NPU's driver must know of each.
    """

    target: str
    source: str
    arena_bytes: int
    fast_bytes: int
    model_bytes: int
    int8_bytes: int
    weight_bytes: int
    command_bytes: int
    states: tuple[Place, ...]
    input: Place
    output: Place
    block_bytes: int = 0
    held: tuple[Place, ...] = ()
    parts: tuple[NpuPart, ...] = ()

    @property
    def peak_bytes(self) -> int:
        """Arena, block and fast scratch: all RAM of the network."""
        return self.arena_bytes + self.block_bytes + self.fast_bytes

    @property
    def state_bytes(self) -> int:
        """Bytes that persist between frames."""
        return sum(state.bytes for state in self.states)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {"schema": 1, **asdict(self), "state_bytes": self.state_bytes, "peak_bytes": self.peak_bytes}

    def to_text(self) -> str:
        """The report as aligned lines."""
        lines = [f"memory of the export for {self.target}",
                 f"  arena           {self.arena_bytes:>9} B  {self.source}"]
        if self.block_bytes:
            lines.append(f"  kept beside it  {self.block_bytes:>9} B  exact")
        if self.fast_bytes:
            lines.append(f"  fast scratch    {self.fast_bytes:>9} B  {self.source}")
        beside = "scales and tables" if self.command_bytes else "biases"
        lines += [f"  model in flash  {self.model_bytes:>9} B  exact",
                  f"  int8 .tflite    {self.int8_bytes:>9} B  exact",
                  f"  constants       {self.weight_bytes:>9} B  exact: weights, {beside}"]
        if self.command_bytes:
            lines.append(f"  command stream  {self.command_bytes:>9} B  exact")
        lines += [f"  states          {self.state_bytes:>9} B  exact", "", "  tensor        offset  type   bytes  "
                  "zero point  scale"]
        for place in (*self.states, *self.held, self.input, self.output):
            offset = "TFLM" if place.offset is None else str(place.offset)
            lines.append(f"  {place.name:<12}  {offset:>6}  {place.type:<5}  {place.bytes:>5}  "
                         f"{place.zero_point:>10}  {place.scale:.9g}")
        return "\n".join(lines) + "\n"


def cpu_memory(plan: Plan, int8: Sequence[Path], target: Target) -> MemoryReport:
    """Memory of an export whose int8 files, one a part, TFLM runs on the processor; arenas as TFLM asks on the host."""
    from tinyse.export.hostarena import host_arena

    size = sum(path.stat().st_size for path in int8)
    files = [_File(path) for path in int8]
    return MemoryReport(
        target.name, "measured on host (64-bit TFLM)", sum(aligned(host_arena(path).total) for path in int8), 0, size,
        size, sum(file.weights for file in files), 0, tuple(place for place, _, _ in _states(plan, files)),
        *_ends(plan, files))


def npu_memory(plan: Plan, compiled: Sequence[Path], int8: Sequence[Path], target: Target) -> MemoryReport:
    """Memory of Vela-compiled parts, from the offsets that Vela put into the files.

    Raises:
        ExportError: a state of an int8 file has no place in the compiled one, or its ends are others.
    """
    from tinyse.npu.payload import load

    payloads, files = [load(path) for path in compiled], [_File(path) for path in int8]
    layout = npu_layout(plan, payloads)
    states = []
    for place, name, part in _states(plan, files):
        try:
            states.append(replace(place, offset=layout.at(name, part)))
        except KeyError:
            raise ExportError(f"Vela gives {place.name} no place in the arena",
                              "export again with ethos-u-vela 5.x") from None
    given, answer = _ends(plan, files)
    return MemoryReport(
        target.name, "estimated (Vela's allocation)", layout.arena_bytes, layout.fast_bytes,
        sum(path.stat().st_size for path in compiled), sum(path.stat().st_size for path in int8),
        sum(int(payload.read_only.size) for payload in payloads), sum(4 * len(payload.words) for payload in payloads),
        tuple(states), replace(given, offset=layout.input), replace(answer, offset=layout.result), layout.block_bytes,
        tuple(_place(tensor, tensor.name, -1, layout.at(tensor.name)) for tensor in layout.held), layout.parts)


class _File:
    """What the tensor list of an int8 file says."""

    def __init__(self, path: Path) -> None:
        model = unpack(path.read_bytes(), str(path))
        self.infos, graph = tensor_infos(model), model.subgraphs[0]
        self.inputs, self.outputs = [int(i) for i in graph.inputs], [int(i) for i in graph.outputs]
        self.weights = sum(info.bytes for info in self.infos if info.constant)
        self.kept: list[tuple[str, TensorInfo]] = []  # an LSTM's h and c
        for name, op in zip(operator_names(model), graph.operators, strict=True):
            if name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
                made = self.infos[op.outputs[0]].name
                self.kept += [(f"{made}.{kind}", self.infos[op.inputs[slot]]) for kind, slot in (("h", 18), ("c", 19))]


def _states(plan: Plan, files: Sequence[_File]) -> list[tuple[Place, str, int]]:
    """Every state once, with the name and the part by which a layout knows it."""
    found, seen = [], set()
    for index, (part, file) in enumerate(zip(plan.parts, files, strict=True)):
        for name, info in file.kept:
            place = Place(name, info.type, info.bytes, info.scales[0], info.zero_point, None, info.index)
            found.append((place, info.name, index))
        for state, number in zip(part.states, file.inputs[len(part.inputs):], strict=True):
            if state.past.name not in seen:
                seen.add(state.past.name)
                found.append((_place(state.past, state.past.name, number), state.past.name, -1))
    return found


def _ends(plan: Plan, files: Sequence[_File]) -> tuple[Place, Place]:
    """Input and result; ``tensor`` is that of the first part that has it."""
    if len(plan.inputs) != 1:
        raise ExportError(f"the network takes {len(plan.inputs)} tensors a frame, and a frame is one",
                          "export a network with one input")
    first = plan.inputs[0]
    takes = next(i for i, part in enumerate(plan.parts) if first in part.inputs)
    gives = next(i for i, name in enumerate(plan.results) if name)
    outputs = [tensor.name for tensor in plan.parts[gives].outputs]
    return (_place(first, "features", files[takes].inputs[plan.parts[takes].inputs.index(first)]),
            _place(plan.result, "mask", files[gives].outputs[outputs.index(plan.results[gives])]))


def _place(tensor: Tensor, name: str, index: int, offset: int | None = None) -> Place:
    grid = tensor.grid
    return Place(name, grid.dtype.name, tensor.bytes, float(grid.scale), grid.zero_point, offset, index)
