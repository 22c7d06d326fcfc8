"""What a command stream costs in bytes and multiplications, read off the stream itself.

Bytes and MACs are exact for the traversal that the stream asks for: an operation is cut into OFM blocks
(depth outermost); a convolution reads its input again for every block of output channels, and its weights
and scales again for every block of output rows and columns. Label them ``simulated``. What is not here is
time: for cycles, ``estimates`` joins Vela's own, out of its debug database, by command stream offset.
"""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyse.npu.fault import NpuError
from tinyse.npu.machine import Machine, Prepared
from tinyse.npu.operations import Dma, Operation
from tinyse.npu.payload import READ_ONLY


@dataclass(frozen=True)
class OpAccount:
    """One operation's costs. All counts are exact for the command stream (``simulated``).

    Attributes:
        index: place among the operations of the stream; ``offset`` its byte offset in the stream.
        kind: CONV, DEPTHWISE, DMA, or the pooling or elementwise mode.
        name: readable, such as "CONV 256 to 128".
        macs: multiply-accumulates that produce the output (not those of padding or block remainders).
        macs_on_zeros: those of them whose weight is zero.
        weights, zero_weights: weights of the operation, and how many are zero.
        weight_bytes, scale_bytes: encoded bytes read, repeated reads included.
        ifm_bytes, ifm2_bytes, ofm_bytes: map bytes read and written.
        dma_bytes: bytes a DMA reads and writes.
        table_bytes: lookup tables brought into the NPU.
        blocks: OFM blocks in depth, rows, columns.
        flash_read, sram_read, sram_write: bytes by port: region 0 (AXI1) and the arena (AXI0).
    """

    index: int
    offset: int
    kind: str
    name: str
    macs: int = 0
    macs_on_zeros: int = 0
    weights: int = 0
    zero_weights: int = 0
    weight_bytes: int = 0
    scale_bytes: int = 0
    ifm_bytes: int = 0
    ifm2_bytes: int = 0
    ofm_bytes: int = 0
    dma_bytes: int = 0
    table_bytes: int = 0
    blocks: tuple[int, int, int] = (1, 1, 1)
    flash_read: int = 0
    sram_read: int = 0
    sram_write: int = 0

    @property
    def op(self) -> str:
        """The same as ``kind``."""
        return self.kind

    @property
    def flash_bytes(self) -> int:
        """Bytes on the port of the read-only region (AXI1)."""
        return self.flash_read

    @property
    def sram_bytes(self) -> int:
        """Bytes on the port of the arena (AXI0), both ways."""
        return self.sram_read + self.sram_write


def account(path: Path | str) -> list[OpAccount]:
    """Costs of every operation of a compiled file, in the order of the stream (``simulated``).

    Raises:
        NpuError: a corrupt or unsupported file.
    """
    return account_machine(Machine.load(path))


def account_machine(machine: Machine) -> list[OpAccount]:
    """As ``account``, of a machine that is loaded already."""
    return [_dma(step.op) if isinstance(step.op, Dma) else _block(step.op, step) for step in machine.steps]


def _dma(op: Dma) -> OpAccount:
    inside = op.target[0] >= 0x100
    flash = op.length if op.source[0] == READ_ONLY else 0
    return OpAccount(
        op.index, op.offset, "DMA", f"DMA {op.length} bytes to {'table memory' if inside else 'arena'}",
        dma_bytes=op.length, table_bytes=op.length if inside else 0, flash_read=flash,
        sram_read=op.length - flash if op.source[0] < 0x100 else 0, sram_write=0 if inside else op.length)


def _block(op: Operation, step: Prepared) -> OpAccount:
    deep, high, wide = (-(-op.ofm.shape[axis] // op.block[axis]) for axis in (2, 0, 1))
    again = deep if op.kind == "CONV" else 1
    tiles = high * wide
    weight_bytes = sum(s.length for s in op.weights) * tiles
    scale_bytes = sum(s.length for s in op.scales) * tiles
    ifm = op.ifm.bytes * again
    ifm2 = op.ifm2.bytes if op.ifm2 else 0
    volume = step.weights
    positions = op.ofm.shape[0] * op.ofm.shape[1]
    zeros = int(np.count_nonzero(volume == 0)) if volume is not None else 0
    macs = volume.size * positions if volume is not None else 0
    flash = sram = 0
    for region, amount in ((op.weights[0].region if op.weights else 1, weight_bytes),
                           (op.scales[0].region if op.scales else 1, scale_bytes),
                           (op.ifm.region, ifm), (op.ifm2.region if op.ifm2 else 1, ifm2)):
        flash += amount if region == READ_ONLY else 0
        sram += amount if region != READ_ONLY else 0
    name = f"{op.mode} {op.ifm.shape[2]} to {op.ofm.shape[2]}" if volume is not None else (
        f"{op.mode} {'x'.join(map(str, op.ofm.shape))}")
    return OpAccount(op.index, op.offset, op.mode, name, macs, zeros * positions,
                     volume.size if volume is not None else 0, zeros, weight_bytes, scale_bytes, ifm, ifm2,
                     op.ofm.bytes, blocks=(deep, high, wide), flash_read=flash, sram_read=sram,
                     sram_write=op.ofm.bytes)


@dataclass(frozen=True)
class Estimate:
    """Vela's own words on an operation (``estimated``): names and cycles."""

    operator: str
    name: str
    cycles: float
    source: str


def estimates(database: Path | str) -> dict[int, Estimate]:
    """Vela's estimate by command stream offset, from the debug database of ``--enable-debug-db``.

    Raises:
        NpuError: no debug database, or one without the tables of Vela 5.
    """
    try:
        root = ElementTree.parse(database).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise NpuError(f"{database}: not a Vela debug database: {error}",
                       hint="compile with --enable-debug-db") from error
    tables = {table.get("name", ""): list(csv.DictReader(io.StringIO((table.text or "").strip())))
              for table in root.iter("table")}
    try:
        source = {row["id"]: row["operator"] for row in tables["source"]}
        perf = {row["id"]: row for row in tables["perf"]}
        found = {}
        for row in tables["queue"]:
            costs = perf.get(row.get("scheduled_id", ""))
            if costs:
                found[int(row["offset"])] = Estimate(costs["operator"], costs["name"], float(costs["op_cycles"] or 0),
                                                     source.get(costs["source_id"], ""))
        return found
    except (KeyError, ValueError) as error:
        raise NpuError(f"{database}: a debug database without {error}", hint="compile with Vela 5") from error
