"""A readable listing of a compiled network: one block an operation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinyse.npu.account import Estimate, OpAccount, account_machine
from tinyse.npu.machine import Machine, Prepared
from tinyse.npu.operations import Dma, FeatureMap, Operation, Upscale
from tinyse.npu.payload import TensorInfo

FUNCTIONS = {0: "none", 3: "tanh", 4: "sigmoid"}
REGIONS = {0: "read-only", 1: "arena", 2: "fast"}


def listing(machine: Machine, estimates: dict[int, Estimate] | None = None) -> Iterator[str]:
    """Lines of the listing.

    Args:
        machine: the loaded network.
        estimates: Vela's, by stream offset, to name operations and show cycles (``estimated``).
    """
    payload = machine.payload
    yield (f"{payload.accelerator.name}, {4 * payload.words.size} bytes of command stream, "
           f"{payload.read_only.size} bytes read-only, {payload.arena_bytes} bytes arena")
    for what, infos in (("input", payload.inputs), ("output", payload.outputs), ("state", payload.states)):
        seen: set[int] = set()
        for info in infos:
            if what != "state" or info.address not in seen:
                yield f"{what:6} {_tensor(info)}"
            seen.add(info.address)
    for step, costs in zip(machine.steps, account_machine(machine), strict=True):
        yield ""
        yield from _block(step, costs, (estimates or {}).get(step.op.offset))


def _tensor(info: TensorInfo) -> str:
    return (f"{info.name} {info.dtype.name}{list(info.shape)} scale {info.scale:.9g} zero point {info.zero_point} "
            f"arena {info.address:#x}")


def _block(step: Prepared, costs: OpAccount, estimate: Estimate | None) -> Iterator[str]:
    op = step.op
    title = f"{op.index:4} {op.offset:#08x} {costs.name}"
    if estimate:
        title += f"  [{estimate.operator} {estimate.name}, {estimate.cycles:.0f} cycles estimated]"
    yield title
    if isinstance(op, Dma):
        ends = [f"{_region(r)} {a:#x}" for r, a in (op.source, op.target)]
        yield f"       {op.length} bytes from {ends[0]} to {ends[1]}"
        return
    yield f"       ifm    {_map(op.ifm)}"
    if op.ifm2:
        yield f"       ifm2   {_map(op.ifm2)}{' (operands swapped)' if op.reverse else ''}"
    elif op.scalar is not None:
        yield f"       ifm2   scalar {op.scalar}{' (operands swapped)' if op.reverse else ''}"
    yield f"       ofm    {_map(op.ofm)}"
    yield f"       scale  {_scaling(op)}"
    yield (f"       clamp  {op.activation.low}..{op.activation.high}, activation {_function(op.activation.function)}, "
           f"{op.accumulator_bits}-bit accumulator, block {'x'.join(map(str, op.block))}")
    if op.kind in ("CONV", "DEPTHWISE", "POOL"):
        yield f"       kernel {_kernel(op)}"
    if step.weights is not None:
        yield from _weights(op, step.weights, costs)


def _region(region: int) -> str:
    return "table memory" if region >= 0x100 else REGIONS.get(region, f"region {region}")


def _map(fm: FeatureMap) -> str:
    tiles = "" if fm.tiles[0] >= fm.shape[0] and fm.tiles[2] >= fm.shape[1] else (
        f" tiles {fm.tiles} at {[hex(base) for base in fm.bases]}")
    return (f"{fm.dtype.name}{list(fm.shape)} {'NHCWB16' if fm.brick else 'NHWC'} {_region(fm.region)} "
            f"{fm.bases[0]:#x} strides {fm.strides} zero point {fm.zero_point}{tiles}")


def _function(code: int) -> str:
    return FUNCTIONS.get(code, f"table {code - 16}" if 16 <= code < 24 else str(code))


def _scaling(op: Operation) -> str:
    channels = "per channel" if op.scales else "none"
    text = f"{op.scale[0]} >> {op.scale[1]}" if op.global_scale else channels
    if op.mode in ("ADD", "SUB"):
        text += f", operands {op.opa[0]} >> {op.opa[1]} and {op.opb[0]} (mode {op.operand_to_scale})"
    return f"{text}, {op.rounding.name} rounding"


def _kernel(op: Operation) -> str:
    kernel = op.kernel
    text = f"{kernel.height}x{kernel.width} stride {kernel.stride} dilation {kernel.dilation} padding {kernel.padding}"
    if op.upscale is not Upscale.NONE:
        text += f" upscale {op.upscale.name.lower()}"
    return text + (" part-kernel-first" if kernel.part_kernel else " depth-first")


def _weights(op: Operation, volume: np.ndarray, costs: OpAccount) -> Iterator[str]:
    encoded = sum(stream.length for stream in op.weights)
    place = f"{_region(op.weights[0].region)} {op.weights[0].address:#x}"
    yield (f"       weight {volume.size} ({costs.zero_weights} zero) in {encoded} bytes, "
           f"{8 * encoded / volume.size:.2f} bits each, {place}; {costs.macs} MACs, {costs.macs_on_zeros} on zeros")
    if op.scales:
        yield (f"       bias   {sum(s.length for s in op.scales)} bytes of scales, {_region(op.scales[0].region)} "
               f"{op.scales[0].address:#x}")
