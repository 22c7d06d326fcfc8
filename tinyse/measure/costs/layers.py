"""What each layer costs and what bounds it, from Vela's reports and the target's rates.

The estimate of the cycles is Vela's. The bounds are ours: bytes over the memory's peak bandwidth,
weights over the decoder's rate, MACs over the array. The decoder hands the array 8 weights a cycle on
every Ethos-U55 (blocks of 32 by 8 weights in 32 cycles, as Vela's model of it has it), which is why
an LSTM's vectors use a few percent of the MACs.
"""

from __future__ import annotations

from collections import Counter

from tinyse.core.errors import ModelError
from tinyse.export.targets import Holds, Memory, Npu, Target
from tinyse.measure.costs.results import Bound, Bounds, LayerCost, MemoryUse, OperatorCost, Region, Traffic
from tinyse.measure.costs.vela import AREAS, Reports, Row, number

IFM_BLOCK, OFM_BLOCK = 32, 8
KINDS = {"UnidirectionalSequenceLstm": "lstm", "FullyConnected": "dense", "Sigmoid": "sigmoid",
         "Logistic": "sigmoid"}


def operator_costs(reports: Reports, target: Target) -> tuple[OperatorCost, ...]:
    """Cost of every NPU operator, in the order of the command stream.

    Raises:
        ModelError: the reports lack a table or a column.
    """
    npu = target.npu
    if npu is None:
        raise ModelError(f"target {target.name} has no NPU", "name an Ethos-U target")
    names = _layer_names(reports)
    details = {row["id"]: row for row in reports.table("perf_debug")}
    blocks = {row["id"]: row for row in reports.table("perf_debug_main")}
    offsets = {row["scheduled_id"]: int(row["offset"]) for row in reports.table("queue")}
    return tuple(_cost(reports, target, npu, names, offsets.get(row["id"], -1), row, details.get(row["id"], {}),
                       blocks.get(row["id"], {})) for row in reports.table("perf"))


def layer_costs(operators: tuple[OperatorCost, ...], npu: Npu) -> tuple[LayerCost, ...]:
    """Sum the operators of each layer; layers in the order in which they finish.

    A later layer may start first: Vela copies its state ahead of the first matrix.
    """
    last = {operator.layer: index for index, operator in enumerate(operators)}
    names = sorted(last, key=lambda name: last[name])
    return tuple(_layer(name, [each for each in operators if each.layer == name], npu) for name in names)


def traffic(reports: Reports) -> tuple[Traffic, ...]:
    """Bytes per frame with each memory that is used."""
    rows = []
    for area in AREAS.values():
        read, written, weights, stored, total = (
            int(reports.number(f"{area}_{name}_bytes")) for name in (
                "feature_map_read", "feature_map_write", "weight_read", "weight_write", "total"))
        if total:
            cycles = int(reports.number(f"cycles_{area}_access"))
            rows.append(Traffic(area, read, written, weights, stored, total, cycles))
    return tuple(rows)


def memory_uses(reports: Reports, target: Target) -> tuple[MemoryUse, ...]:
    """What Vela placed in each memory, against the target's sizes; ``cache`` is the NPU's own copy."""
    ends: dict[str, int] = {}
    for region in regions(reports):
        ends[region.memory] = max(ends.get(region.memory, 0), region.start + region.size)
    home = storage_area(reports, "feature_map_storage_area")
    uses = [_use(target, storage_area(reports, "weights_storage_area"), Holds.MODEL, constant_bytes(reports)),
            _use(target, home, Holds.ARENA, ends.get(home, 0))]
    return tuple(uses + [_use(target, area, "cache", end) for area, end in sorted(ends.items()) if area != home])


def storage_area(reports: Reports, column: str) -> str:
    """A storage area of the CSV by its name in the debug database: ``Off-chip Flash`` is OffChipFlash."""
    text = reports.summary.get(column, "").replace("-", "").replace(" ", "").lower()
    for area in AREAS:
        if area.lower() == text:
            return area
    raise ModelError(f"{reports.folder}: Vela's report names no memory as {column}",
                     "export again with ethos-u-vela 5.x")


def constant_bytes(reports: Reports) -> int:
    """Read-only bytes beside the command stream: encoded weights, scales, tables.

    Where constants and arena share a memory the CSV has only their sum, so the arena is taken off.
    """
    area = storage_area(reports, "weights_storage_area")
    used = round(1024 * reports.number(f"{AREAS[area]}_memory_used"))
    if area == storage_area(reports, "feature_map_storage_area"):
        used -= max((each.start + each.size for each in regions(reports) if each.memory == area), default=0)
    return used


def regions(reports: Reports) -> tuple[Region, ...]:
    """The arena's buffers by address; tensors that share a place and a lifetime are one region."""
    found: dict[tuple[str, int, int, int, int], str] = {}
    for row in reports.table("tensors"):
        if not row.get("start_address"):
            continue
        start, end = int(row["start_address"], 16), int(row["end_address"], 16)
        place = (row["memory"], start, end - start, int(row["start_time"]), int(row["end_time"]))
        found[place] = min(row["name"], found.get(place, row["name"]))
    return tuple(Region(*place, name=name) for place, name in sorted(found.items()))


def _layer_names(reports: Reports) -> dict[str, str]:
    counts: Counter[str] = Counter()
    names = {}
    for row in sorted(reports.table("source"), key=lambda row: int(row.get("ext_key") or 0)):
        kind = KINDS.get(row["operator"], row["operator"].lower())
        names[row["id"]] = f"{kind}_{counts[kind]}"
        counts[kind] += 1
    return names


def _cost(reports: Reports, target: Target, npu: Npu, names: dict[str, str], offset: int, row: Row,
          detail: Row, block: Row) -> OperatorCost:
    def of(source: Row, column: str) -> int:
        return int(number(source, column, reports.folder)) if source else 0

    encoded = of(detail, "weight_total_bytes")
    scales = sum(int(detail.get(f"{area}Scales_read") or 0) for area in AREAS)
    ports = _bytes(detail)
    weights = padded = 0
    if encoded:
        kernel = of(detail, "kernel_size_x") * of(detail, "kernel_size_y")
        depth_in, depth_out = of(detail, "ifm_shape_c"), of(detail, "ofm_shape_c")
        weights = kernel * depth_in * depth_out
        padded = kernel * _up(depth_in, IFM_BLOCK) * _up(depth_out, OFM_BLOCK)
    macs, cycles = of(row, "mac_count"), of(row, "op_cycles")
    arithmetic = max(of(block, "mac_cycles"), of(block, "ao_cycles"), of(block, "cmd_cycles"))
    bounds = Bounds(
        flash=_over(ports[1], target.bytes_per_cycle(_port(target, 1))),
        sram=_over(ports[0], target.bytes_per_cycle(_port(target, 0))),
        decode=padded / npu.weights_per_cycle, macs=macs / npu.macs_per_cycle,
        output=float(of(block, "ao_cycles") if encoded else arithmetic))
    return OperatorCost(
        id=int(row["id"]), offset=offset, layer=names.get(row["source_id"], "other"),
        kind=row["operator"], name=row["name"], cycles=cycles, npu_cycles=of(row, "npu_cycles"), macs=macs,
        weights=weights, encoded_bytes=encoded,
        scale_bytes=scales, flash_bytes=ports[1], sram_bytes=ports[0], bounds=bounds)


def _bytes(detail: Row) -> dict[int, int]:
    """Traffic of one operator by NPU port: SRAM is on port 0, everything else on port 1."""
    ports = {0: 0, 1: 0}
    for area in AREAS:
        for purpose in ("Lut", "FeatureMap", "Weights", "Scales"):
            for way in ("read", "write"):
                ports[0 if area == "Sram" else 1] += int(detail.get(f"{area}{purpose}_{way}") or 0)
    return ports


def _port(target: Target, axi: int) -> Memory:
    """The memory on an NPU port; the first named if there are more."""
    return next((memory for memory in target.memories if memory.axi == axi), target.memory(Holds.ARENA))


def _use(target: Target, area: str, holds: str, used: int) -> MemoryUse:
    memory = _port(target, 0 if area == "Sram" else 1)
    return MemoryUse(memory.name, str(holds), used, memory.size)


def _over(amount: float, rate: float) -> float:
    return amount / rate if rate else 0.0


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def _layer(name: str, operators: list[OperatorCost], npu: Npu) -> LayerCost:
    spent: Counter[Bound] = Counter()
    for operator in operators:
        if operator.cycles:
            spent[operator.bound] += operator.cycles
    cycles = sum(each.cycles for each in operators)
    macs = sum(each.macs for each in operators)
    flash = round(sum(each.bounds.flash for each in operators))
    return LayerCost(
        name=name, operators=sum(1 for each in operators if each.cycles), cycles=cycles,
        npu_cycles=sum(each.npu_cycles for each in operators),
        flash_cycles=flash, flash_bytes=sum(each.flash_bytes for each in operators),
        sram_cycles=round(sum(each.bounds.sram for each in operators)), macs=macs,
        weights=sum(each.weights for each in operators),
        encoded_bytes=sum(each.encoded_bytes for each in operators),
        scale_bytes=sum(each.scale_bytes for each in operators),
        utilisation=_over(macs, cycles * npu.macs_per_cycle),
        bound=max(spent, key=lambda bound: spent[bound]) if spent else None,
        bound_cycles={str(bound): count for bound, count in sorted(spent.items())})
