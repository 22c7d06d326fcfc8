"""A finished export as the short table that the command line prints."""

from __future__ import annotations

from tinyse.export.pipeline import Export


def summary(made: Export) -> str:
    """Counts, bytes and cycles, each with what produced it."""
    memory, several = made.memory, "part_1_" in " ".join(made.files)  # a frame need not run all of them
    rows = [
        ("target", made.target, ""),
        ("quantization", made.quantization, ""),
        ("parameters", f"{made.parameters:,}", "exact"),
        ("MACs, all parts" if several else "MACs per frame", f"{made.macs_per_frame:,}", "exact"),
        ("zero weights", f"{made.zeros:,} of {made.weights:,}", "exact"),
        ("int8 .tflite", f"{memory.int8_bytes:,} B", "exact"),
    ]
    if made.cycles is not None:
        rows += [
            ("compiled .tflite", f"{memory.model_bytes:,} B", "exact"),
            ("constants", f"{memory.weight_bytes:,} B", "exact"),
            ("cycles, all parts" if several else "cycles per frame", f"{made.cycles:,}", "estimated (Vela)"),
            ("NPU cycles alone", f"{made.npu_cycles:,}", "estimated (Vela)"),
        ]
    rows += [("arena", f"{memory.arena_bytes:,} B", memory.source), ("states", f"{memory.state_bytes:,} B", "exact"),
             ("written to", str(made.folder), "")]
    wide = max(len(value) for _, value, _ in rows[:-1])
    return "\n".join(f"{name:<18}{value:<{wide}}  {source}".rstrip() for name, value, source in rows)
