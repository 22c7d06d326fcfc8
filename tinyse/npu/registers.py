"""The command stream as a state machine: register writes, and an operation at every ``NPU_OP_*``.

Words, registers and bit fields are those of the ``ethos_u55_regs`` module that Vela publishes. A
command is one word (bits 0-9 the code, bits 16-31 a parameter), or two where bit 14 is set: then the
second word is a 32-bit payload, with the parameter as its bits 32-47 in addresses and strides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from tinyse.npu.fault import NpuError

MAX_COMMANDS = 1 << 20
MAX_OPERATIONS = 1 << 12
OPERATIONS = {"CONV", "DEPTHWISE", "POOL", "ELEMENTWISE", "DMA_START"}
QUIET = {"DMA_WAIT", "KERNEL_WAIT", "PMU_MASK", "IRQ"}
PAYLOAD = 0x4000
SIGNED = {"IFM_ZERO_POINT", "IFM2_ZERO_POINT", "OFM_ZERO_POINT", "ACTIVATION_MIN", "ACTIVATION_MAX", "IFM2_SCALAR"}


@dataclass(frozen=True)
class Command:
    """One command: ``name`` without its ``NPU_SET_`` or ``NPU_OP_``, its byte offset and its values."""

    offset: int
    is_operation: bool
    name: str
    param: int
    payload: int | None


@dataclass(frozen=True)
class Snapshot:
    """The register file where an operation starts; ``registers`` maps names to (param, payload)."""

    index: int
    offset: int
    operation: str
    param: int
    registers: dict[str, tuple[int, int | None]]

    def value(self, name: str, default: int | None = None) -> int:
        """A register's number: the signed or unsigned parameter, or payload with high bits.

        Raises:
            NpuError: the stream never wrote the register and there is no ``default``.
        """
        if name not in self.registers:
            if default is not None:
                return default
            raise NpuError(f"operation {self.index} ({self.operation}) needs {name}, which was never written",
                           self.offset)
        param, payload = self.registers[name]
        if payload is not None:
            return param << 32 | payload
        return param - 0x10000 if name in SIGNED and param & 0x8000 else param

    def pair(self, name: str) -> tuple[int, int]:
        """A scale register: (scale 32 bit unsigned, shift 6 bit); (1, 0) where it was never written."""
        param, payload = self.registers.get(name, (0, 1))
        return payload or 0, param & 0x3F


@cache
def _names() -> tuple[dict[int, str], dict[int, str]]:
    from ethosu.vela.ethos_u55_regs.ethos_u55_regs import cmd0, cmd1

    return tuple({c.value: c.name.removeprefix("NPU_") for c in table} for table in (cmd0, cmd1))  # type: ignore


def commands(words: np.ndarray) -> Iterator[Command]:
    """Walk a command stream up to and including its ``STOP``.

    Args:
        words: uint32 command words.

    Raises:
        NpuError: an unknown code, set reserved bits, a truncated command, or no ``STOP``.
    """
    plain, wide = _names()
    values = words[:MAX_COMMANDS * 2].tolist()
    place, count = 0, len(values)
    while place < count:
        word, offset = values[place], 4 * place
        code, param = word & 0x3FF, word >> 16
        if word & 0xFC00 & ~PAYLOAD:
            raise NpuError(f"command word {word:#010x} sets reserved bits", offset)
        name = (wide if word & PAYLOAD else plain).get(code)
        if name is None:
            raise NpuError(f"unknown command code {word & 0x43FF:#06x}", offset)
        payload = None
        if word & PAYLOAD:
            place += 1
            if place >= count:
                raise NpuError(f"the stream ends inside {name}", offset)
            payload = values[place]
        place += 1
        kind, _, rest = name.partition("_")
        yield Command(offset, kind == "OP", rest, param, payload)
        if name == "OP_STOP":
            return
    raise NpuError("the command stream has no STOP", 4 * count)


def snapshots(words: np.ndarray) -> list[Snapshot]:
    """Every operation of a stream with the registers that it sees.

    Raises:
        NpuError: as ``commands``, or an operation the simulator does not know, or too many of them.
    """
    registers: dict[str, tuple[int, int | None]] = {}
    found: list[Snapshot] = []
    for command in commands(words):
        if not command.is_operation:
            registers[command.name] = (command.param, command.payload)
        elif command.name in OPERATIONS:
            if len(found) >= MAX_OPERATIONS:
                raise NpuError(f"more than {MAX_OPERATIONS} operations in one stream", command.offset)
            found.append(Snapshot(len(found), command.offset, command.name, command.param, dict(registers)))
        elif command.name != "STOP" and command.name not in QUIET:
            raise NpuError(f"operation {command.name} is not supported", command.offset)
    return found
