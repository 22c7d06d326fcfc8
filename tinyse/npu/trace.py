"""Every intermediate map of a run, with its quantization, in one ``.npz``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.artifacts import atomic_path
from tinyse.npu.machine import Machine
from tinyse.npu.operations import Operation, Rounding

Ints = NDArray[Any]


def trace(machine: Machine, frames: Iterable[Sequence[Ints]], path: Path | str) -> int:
    """Run frames, each as the values of all inputs, from reset and write each operation's output map.

    The file holds ``op_0007`` [frames, h, w, c] for operation 7 and so on, ``input``, ``output``, and
    ``operations``: JSON of each operation's mode, offset, zero point, scaling and rounding.

    Returns:
        How many frames ran.
    """
    machine.reset()
    maps: dict[str, list[Ints]] = {"input": [], "output": []}
    for frame in frames:
        maps["input"].append(np.array(frame[0]).reshape(machine.inputs[0].shape))
        for op, values in machine.trace(*frame):
            maps.setdefault(f"op_{op.index:04}", []).append(values)
        maps["output"].append(machine.outputs[0].copy())
    about = json.dumps([_about(op) for op in machine.operations if isinstance(op, Operation)])
    with atomic_path(Path(path)) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, operations=np.array(about),
                            **{name: np.stack(values) for name, values in maps.items() if values})
    return len(maps["input"])


def _about(op: Operation) -> dict[str, Any]:
    return {"index": op.index, "offset": op.offset, "mode": op.mode, "dtype": op.ofm.dtype.name,
            "zero_point": op.ofm.zero_point, "scale": list(op.scale) if op.global_scale else "per channel",
            "rounding": Rounding(op.rounding).name, "activation": op.activation.function,
            "clamp": [op.activation.low, op.activation.high]}
