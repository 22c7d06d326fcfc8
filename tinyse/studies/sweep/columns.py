"""The columns of a sweep: which numbers there are for its target and devices, and what produces each."""

from __future__ import annotations

from collections.abc import Sequence

from tinyse.export.targets import load_target
from tinyse.measure.scores.metrics import LABELS, METRICS, UNITS
from tinyse.studies.sweep.results import EMULATED, ESTIMATED, EXACT, MEASURED, Column

SIZES = ("surviving", "bitmask", "encoded", "packed")
"""The conventions of `tinyse.measure.costs.results.Sizes`; "packed", of the C library, in searches alone."""
SRAM_ONLY = "Sram_Only"
RATE, VAL_RATE = "update_rate", "val_update_rate"
"""Share of frames that run the network: a Skip RNN's; absent from a point, it is 1."""
VAL = "val_"
"""Before the key of what belongs to the validation split."""
MEAN = "mean_"
"""Before a cost's key: that cost times the update rate, or of each part times that part's rate."""
OPERATIONS = 2
"""Of one multiply-accumulate, as the papers count."""


def part_rate(part: int) -> str:
    """Key of the share of frames that run a part."""
    return f"part_{part}_rate"


def sweep_columns(target: str, devices: Sequence[str], metrics: Sequence[str], skips: bool = False, parts: int = 1
                  ) -> tuple[Column, ...]:
    """Every column of a sweep, in order.

    Args:
        target, devices: names or files of targets.
        metrics: of the test split, names from ``tinyse.measure.scores.metrics``.
        skips: some point does not run its network every frame, so costs have a mean beside them.
        parts: most parts of a network; of several, costs have a mean too.
    """
    chosen = load_target(target)
    found = [Column("val_sdr", "val. SDR", "dB", MEASURED, True),
             Column("val_delta", "val. SDR - float", "dB", MEASURED, True)]
    for metric in metrics:
        for key, _ in METRICS[metric].columns:
            found.append(Column(key, LABELS[key], UNITS[key], MEASURED, True))
            if key == "sdr":
                found.append(Column("delta", "SDR - float", "dB", MEASURED, True))
    found += [Column("zeros", "zeros", "%", EXACT, True),
              Column("surviving", "surviving", "B", EXACT), Column("bitmask", "bitmask", "B", EXACT)]
    if chosen.npu is not None:
        found += [Column("encoded", "encoded", "B", EXACT),
                  Column("constants", "constants", "B", EXACT)]
    found.append(Column("smaller", "float / " + ("encoded" if chosen.npu else "bitmask"), "x", EXACT,
                        True))
    found += [Column("macs", "MACs", "a frame", EXACT),
              Column("macs_tiles", "MACs in tiles", "a frame", EXACT)]
    if chosen.npu is not None:
        found.append(Column("cycles", f"{chosen.npu.memory_mode} cycles", "a frame", ESTIMATED))
        if chosen.npu.memory_mode != SRAM_ONLY:
            found.append(Column("cycles_sram_only", f"{SRAM_ONLY} cycles", "a frame", ESTIMATED))
    for device in devices:
        name = load_target(device).name
        found += [Column(f"network_{name}", f"network, {name}", "instr.", EMULATED),
                  Column(f"frame_{name}", f"whole frame, {name}", "instr.", EMULATED)]
    if skips:
        found += [Column(RATE, "update rate", "", MEASURED), Column(VAL_RATE, "val. update rate", "", MEASURED)]
    found += [Column(before + part_rate(part), f"{shown}part {part} rate", "", MEASURED)
              for part in range(parts if parts > 1 else 0) for before, shown in (("", ""), (VAL, "val. "))]
    if skips or parts > 1:
        found += [Column(MEAN + each.key, f"mean {each.title}", each.unit, f"{each.source} x {MEASURED}")
                  for each in costs(found)]
        found.append(Column("mean_mops", "mean MOps", "a frame", f"{EXACT} x {MEASURED}"))
    return tuple(found)


def costs(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The cost models among them, of a frame that runs the network: MACs, cycles, instructions; then their means."""
    return tuple(each for each in columns
                 if each.key.removeprefix(MEAN).startswith(("macs", "mops", "cycles", "network_")))


def sizes(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The size conventions among them."""
    return tuple(each for each in columns if each.key in SIZES)
