"""The compiled parts in model.h and model.c: their flatbuffers in a row, and what a driver must know of each.

On NPU targets each part's driver payload and weights are 16-byte aligned pieces of its flatbuffer, so nothing is
stored twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinyse.core.errors import ExportError
from tinyse.export.memory import MemoryReport
from tinyse.export.npulayout import ALIGNMENT, Move, aligned, policy_reads
from tinyse.graph.plan import Exit, Plan


@dataclass(frozen=True)
class NpuParts:
    """Byte offsets and sizes inside the compiled file: driver payload (COP1) and read-only data."""

    payload_offset: int
    payload_bytes: int
    weights_offset: int
    weights_bytes: int


def npu_parts(data: bytes) -> NpuParts:
    """Find the driver payload and the read-only data in a Vela-compiled file.

    Raises:
        ExportError: they are not 16-byte aligned, so that an NPU could not read them in place.
    """
    from tinyse.export.structure import schema

    raw = schema().Model.GetRootAsModel(data, 0)
    graph = raw.Subgraphs(0)
    places = []
    for slot in (0, 1):
        buffer = raw.Buffers(graph.Tensors(graph.Operators(0).Inputs(slot)).Buffer())
        if buffer.Offset() > 1:
            places += [buffer.Offset(), buffer.Size()]
        else:
            places += [buffer._tab.Vector(buffer._tab.Offset(4)), buffer.DataLength()]
    parts = NpuParts(*places)
    if parts.payload_offset % ALIGNMENT or parts.weights_offset % ALIGNMENT:
        raise ExportError("Vela's file does not keep its command stream and weights 16-byte aligned",
                          "install ethos-u-vela 5.x")
    return parts


def table(files: Sequence[bytes], plan: Plan, report: MemoryReport) -> str:
    """The table of compiled parts, and of what is copied for each."""
    moves, rows, start = [], [], 0
    scores = policy_reads(plan) if isinstance(plan.policy, Exit) else ("",) * len(files)
    for index, (data, part) in enumerate(zip(files, report.parts, strict=True)):
        inside = npu_parts(data)
        copies = [_moves(f"{when}_{index}", each) for when, each in (("before", part.before), ("after", part.after))]
        moves += [text for text, _ in copies]
        score = "0, 0"
        if scores[index]:
            score = f"{held_offset(report, scores[index])}u, {plan.tensor(scores[index]).grid.dtype.itemsize}"
        rows.append(f"  {{ {start + inside.payload_offset}u, {inside.payload_bytes}u, "
                    f"{start + inside.weights_offset}u, {inside.weights_bytes}u, {part.arena_bytes}u, "
                    f"{part.fast_bytes}u, {copies[0][1]}, {copies[1][1]}, {score} }}, /* {index} */")
        start += aligned(len(data))
    return DEFINITIONS.format(moves="".join(moves), rows="\n".join(rows))


def _moves(name: str, moves: Sequence[Move]) -> tuple[str, str]:
    if not moves:
        return "", "NULL, 0"
    rows = "\n".join(f"  {{ {move.arena}u, {move.block}u, {move.bytes}u }}," for move in moves)
    return f"static const tinyse_move {name}[] = {{\n{rows}\n}};\n", f"{name}, {len(moves)}"


def held_offset(report: MemoryReport, name: str) -> int:
    """Where an output of the plan is kept."""
    return next(place.offset for place in report.held if place.name == name and place.offset is not None)


def joined(files: Sequence[bytes]) -> bytes:
    """All files, each at a multiple of 16."""
    return b"".join([*(data.ljust(aligned(len(data)), b"\0") for data in files[:-1]), files[-1]])


DECLARATIONS = """
/* A copy between arena and block, both in bytes from the start of the arena. */
typedef struct tinyse_move {
  uint32_t arena;
  uint32_t block;
  uint32_t bytes;
} tinyse_move;

/* A compiled part: its driver payload (COP1) and read-only data (weights, scales, tables), aligned, in tinyse_model. */
typedef struct tinyse_part {
  uint32_t payload;          /* offset in tinyse_model */
  uint32_t payload_bytes;
  uint32_t weights;          /* region 0; offset in tinyse_model */
  uint32_t weights_bytes;
  uint32_t arena_bytes;      /* region 1 */
  uint32_t fast_bytes;       /* region 2; 0: the arena again */
  const tinyse_move *before; /* from the block into the arena */
  uint32_t befores;
  const tinyse_move *after; /* from the arena into the block */
  uint32_t afters;
  uint32_t score; /* where TINYSE_EXIT is 1: offset of the score that may end the frame, and its size; else 0 */
  uint32_t score_bytes;
} tinyse_part;

extern const tinyse_part tinyse_parts[TINYSE_PARTS];
"""

DEFINITIONS = """{moves}
const tinyse_part tinyse_parts[TINYSE_PARTS] = {{
{rows}
}};

"""
