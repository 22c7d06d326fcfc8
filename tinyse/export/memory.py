"""Where an export's bytes lie: arena, weights, command stream, and the states with their zero points."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tinyse.core.errors import ExportError
from tinyse.export.network import Network, TensorInfo
from tinyse.export.vela import Compiled
from tinyse.export.targets import Target

ALIGNMENT = 16
"""Bytes; of the arena, the model and everything that an NPU reads."""


@dataclass(frozen=True)
class Place:
    """A tensor that outlives an invocation or crosses its border.

    Attributes:
        name: "lstm_0.h", "lstm_0.c", "features", "mask".
        type: "int8" or "int16". bytes: its size.
        scale, zero_point: its grid; a state starts at its zero point, **not** at 0.
        offset: bytes from the start of the arena; None where TFLM chooses the place.
        tensor: index in the int8 file's tensor list; what TFLM knows it by on CPU targets.
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
        arena_bytes: working memory a frame, states included. fast_bytes: of a separate fast scratch; 0 if none.
        model_bytes: the file that goes into flash. weight_bytes: weights and biases as int8 and int32, or
            as Vela encoded them with scales and tables. command_bytes: NPU command stream, 0 without.
        states, input, output: places that a driver must know.
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

    @property
    def state_bytes(self) -> int:
        """Bytes that persist between frames."""
        return sum(state.bytes for state in self.states)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {"schema": 1, **asdict(self), "state_bytes": self.state_bytes}

    def to_text(self) -> str:
        """The report as aligned lines."""
        lines = [f"memory of the export for {self.target}",
                 f"  arena           {self.arena_bytes:>9} B  {self.source}"]
        if self.fast_bytes:
            lines.append(f"  fast scratch    {self.fast_bytes:>9} B  {self.source}")
        lines += [f"  model in flash  {self.model_bytes:>9} B", f"  int8 .tflite    {self.int8_bytes:>9} B",
                  f"  weights         {self.weight_bytes:>9} B"]
        if self.command_bytes:
            lines.append(f"  command stream  {self.command_bytes:>9} B")
        lines += [f"  states          {self.state_bytes:>9} B", "", "  tensor        offset  type   bytes  "
                  "zero point  scale"]
        for place in (*self.states, self.input, self.output):
            offset = "TFLM" if place.offset is None else str(place.offset)
            lines.append(f"  {place.name:<12}  {offset:>6}  {place.type:<5}  {place.bytes:>5}  "
                         f"{place.zero_point:>10}  {place.scale:.9g}")
        return "\n".join(lines) + "\n"


def cpu_memory(plan: Any, files: Any, target: Target) -> MemoryReport:
    """Memory of an export that TFLM runs on the processor; the arena as TFLM asks for it on the host."""
    from tinyse.export.network import parse
    from tinyse.measure.costs.arena import host_arena

    int8 = files[0]
    network = parse(int8.read_bytes())
    size = int8.stat().st_size
    return MemoryReport(
        target.name, "measured on host (64-bit TFLM)", _aligned(host_arena(int8).total), 0, size, size,
        _int8_weights(network), 0, tuple(_place(info, name, None) for name, info in _states(network)),
        _place(network.input, "features", None), _place(network.output, "mask", None))


def npu_memory(plan: Any, compiled_files: Any, files: Any, target: Target) -> MemoryReport:
    """Memory of a Vela-compiled export, from the offsets that Vela put into the file.

    Raises:
        ExportError: a state of the int8 file has no place in the compiled one.
    """
    from tinyse.export.network import parse
    from tinyse.npu.payload import load

    int8 = files[0]
    network, compiled = parse(int8.read_bytes()), Compiled(compiled_files[0], (), 0, 0, 0)
    payload = load(compiled.path)
    addresses = {info.name: info.address for info in payload.states}

    def offset(name: str, info: TensorInfo) -> int:
        if info.name not in addresses:
            raise ExportError(f"Vela gives {name} no place in the arena", "export again with ethos-u-vela 5.x")
        return addresses[info.name]

    return MemoryReport(
        target.name, "estimated (Vela's allocation)", _aligned(payload.arena_bytes), payload.fast_bytes,
        compiled.path.stat().st_size, int8.stat().st_size, int(payload.read_only.size), 4 * len(payload.words),
        tuple(_place(info, name, offset(name, info)) for name, info in _states(network)),
        _place(network.input, "features", payload.inputs[0].address),
        _place(network.output, "mask", payload.outputs[0].address))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _states(network: Network) -> list[tuple[str, TensorInfo]]:
    names = [f"{layer.name}.{part}" for layer in network.layers if hasattr(layer, "gates") for part in "hc"]
    return list(zip(names, network.states, strict=True))


def _int8_weights(network: Network) -> int:
    return sum(info.bytes for info in network.tensors if info.constant)


def _place(info: TensorInfo, name: str, offset: int | None) -> Place:
    return Place(name, info.type, info.bytes, info.scales[0], info.zero_point, offset, info.index)
