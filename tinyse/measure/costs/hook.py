"""Two patches in a copy of Arm's inference runner, so that it runs and is timed where there is no NPU.

The first makes ``arm_ethosu_npu_init`` return success at once. The second uses what that leaves of the function:
the one call of ``MicroInterpreter::Invoke`` is led through a hook that reads the system counter before and after
it and stores both values in DRAM. Nothing else of the runner changes: the interpreter and its kernels are Arm's.
"""

from __future__ import annotations

import struct

from tinyse.core.errors import ToolError
from tinyse.firmware.elf import Image

INIT = "arm_ethosu_npu_init"
INVOKE = "_ZN6tflite16MicroInterpreter6InvokeEv"
CALLER = "_ZN3arm3app3fwk4tflm9TflmModel12RunInferenceEv"
RETURN_ZERO = bytes.fromhex("00207047")  # movs r0, #0; bx lr
COUNTER_CONTROL, COUNTER = 0x58100000, 0x58101000


def patch(image: Image, data: bytes, place: int) -> bytes:
    """The patched copy of the runner.

    Args:
        image: the runner.
        data: its bytes.
        place: address of 8 bytes of RAM for the counter before and after, uint32 each.

    Raises:
        ToolError: the runner is not built as expected.
    """
    patched = bytearray(data)

    def write(address: int, code: bytes) -> None:
        at = image.file_offset(address)
        patched[at:at + len(code)] = code

    init, invoke, caller = image.symbol(INIT), image.symbol(INVOKE), image.symbol(CALLER)
    hook = init.address + len(RETURN_ZERO)
    code = hook_code(hook, invoke.address, place)
    start = image.file_offset(caller.address)
    calls = [at for at in range(0, caller.size - 3, 2)
             if data[start + at:start + at + 4] == branch_with_link(caller.address + at, invoke.address)]
    if len(calls) != 1 or len(RETURN_ZERO) + len(code) > init.size:
        raise ToolError(f"{image.path}: not the runner that the patch is made for", "delete it from the cache")
    write(init.address, RETURN_ZERO)
    write(hook, code)
    write(caller.address + calls[0], branch_with_link(caller.address + calls[0], hook))
    return bytes(patched)


def hook_code(at: int, invoke: int, place: int) -> bytes:
    """Thumb code at ``at`` that calls ``invoke`` between two readings of the counter; r0 passes through.

    Args:
        at: its own address, divisible by 4.
        invoke: the function to call.
        place: where the two readings go.
    """
    words = (COUNTER_CONTROL, COUNTER, place)
    literals = 28  # bytes of code before them

    def load(register: int, here: int, index: int) -> bytes:
        return struct.pack("<H", 0x4800 | register << 8 | (literals + 4 * index - (here + 4 & ~3)) // 4)

    code = struct.pack("<H", 0xB570)                              # push {r4, r5, r6, lr}
    code += load(4, len(code), 0) + struct.pack("<HH", 0x2501, 0x6025)  # movs r5, #1; str r5, [r4]: counter on
    code += load(4, len(code), 1) + struct.pack("<H", 0x6825)     # ldr r5, [r4]: before
    code += branch_with_link(at + len(code), invoke)
    code += struct.pack("<H", 0x6826)                             # ldr r6, [r4]: after
    code += load(4, len(code), 2) + struct.pack("<HH", 0x6025, 0x6066)  # str r5, [r4]; str r6, [r4, #4]
    code += struct.pack("<HH", 0xBD70, 0xBF00)                    # pop {r4, r5, r6, pc}; nop
    assert len(code) == literals and at % 4 == 0
    return code + struct.pack("<3I", *words)


def branch_with_link(at: int, to: int) -> bytes:
    """Thumb-2 BL, encoding T1, at address ``at`` to ``to`` (within 16 MiB)."""
    offset = to - (at + 4)
    sign = offset >> 24 & 1
    first = 0xF000 | sign << 10 | offset >> 12 & 0x3FF
    bits = (~(offset >> 23 ^ sign) & 1) << 13 | (~(offset >> 22 ^ sign) & 1) << 11
    return struct.pack("<HH", first, 0xD000 | bits | offset >> 1 & 0x7FF)
