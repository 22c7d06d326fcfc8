"""What every export must prove before it is kept: its work, its zeros, its memory of the past, on every host engine.

A state may fail to persist, or a compiler may part from the interpreter; both leave a file that runs and enhances
badly. These checks fail instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ExportError
from tinyse.export import limits
from tinyse.export.interpreted import Interpreters
from tinyse.export.simulated import Machines
from tinyse.graph.graph import Graph
from tinyse.graph.model import Model
from tinyse.graph.plan import Plan
from tinyse.graph.reference import Reference
from tinyse.graph.runner import Carried, Run, run_all

FRAMES = 64
"""Frames of the streaming proof: one second of sound."""
Ints = NDArray[np.integer]


@dataclass(frozen=True)
class StreamProof:
    """What the streaming test saw: ``frames`` streamed, ``remembered`` values that depend on earlier frames."""

    frames: int
    remembered: int


def check_counts(plan: Plan, model: Model) -> None:
    """Compare the graphs' work and zeros with the trained model's.

    Raises:
        ExportError: other work per frame, or fewer zero weights than were trained.
    """
    macs = sum(graph.macs for graph in plan.graphs)
    if macs != model.macs_per_frame:
        raise ExportError(f"the graphs do {macs} multiply-accumulates a frame, the trained model "
                          f"{model.macs_per_frame}", "a layer and its lowering disagree: report it")
    trained = sum(int((model.arrays[name] == 0).sum()) for name, array in model.net.arrays.items()
                  if array.scale is not None)
    kept = sum(graph.zeros for graph in plan.graphs)
    if kept < trained:
        raise ExportError(f"{trained} zeros were trained, {kept} are in the file",
                          "weights moved after pruning; train again")


def check_npu(graphs: Sequence[Graph]) -> None:
    """Refuse what Vela crashes on or compiles wrongly.

    Raises:
        ExportError: naming operator and tensor.
    """
    for graph in graphs:
        for op in graph.ops:
            if why := limits.npu(op):
                raise ExportError(f"{op.kind} {op.out.name}: {why}", "change the layer, or export for a processor")


def check_stream(plan: Plan, files: Sequence[bytes], frames: Ints, labels: Sequence[str]) -> tuple[StreamProof, Ints]:
    """Prove on TFLM that states persist, that reset restores them, and that the integer reference agrees.

    Args:
        plan: graphs. files: the int8 .tflite of each. frames: [count, inputs] on the input's grid, in order.
        labels: name the files.

    Returns:
        The proof, and the results [count, outputs] of every part's pass.

    Raises:
        ExportError: no result depends on the frames before it, reset does not restore the start, or TFLM and
            ``tinyse.graph.reference`` compute other results. ModelError: TFLM cannot run a file.
    """
    tflm = Interpreters(plan, files, labels, trusted=True)
    carried = Carried(plan, tflm.invoke)

    def reset() -> None:
        carried.reset()
        tflm.reset()

    first = stream(plan, carried.run, frames)
    alone = np.empty_like(first)
    for number, frame in enumerate(frames):
        reset()
        alone[number] = stream(plan, carried.run, frame[None])[0]
    remembered = int(np.sum(first != alone))
    if not remembered:
        raise ExportError(f"{labels[0]}: no result depends on earlier frames: nothing persists between invocations",
                          "the network is not a streaming one")
    reset()
    if not np.array_equal(stream(plan, carried.run, frames), first):
        raise ExportError(f"{labels[0]}: reset does not restore the first frame's states in TFLM")
    states: dict[str, Ints] = {}
    references = [Reference(graph, states) for graph in plan.graphs]
    if not np.array_equal(stream(plan, lambda part, given: references[part].run(given), frames), first):
        raise ExportError(f"{labels[0]}: TFLM and the integer reference disagree on this model",
                          "the installed tflite-micro computes by other rules; see tinyse doctor")
    return StreamProof(len(frames), remembered), first


def check_compiled(plan: Plan, files: Sequence[bytes], frames: Ints, results: Ints, labels: Sequence[str]) -> int:
    """Run the compiled files on the simulator over the same frames.

    Returns:
        How many values differ from TFLM's ``results``: 0 where ``limits.rounds`` finds nothing.

    Raises:
        ExportError: they differ though every operator rounds as TFLM does. NpuError: the stream cannot run.
    """
    machines = Machines(plan, files, labels)
    found = stream(plan, Carried(plan, machines.invoke).run, frames)
    apart = int(np.sum(found != results))
    if apart and not any(limits.rounds(op) for graph in plan.graphs for op in graph.ops):
        raise ExportError(f"{labels[0]}: the compiled network differs from TFLM in {apart} of {results.size} values",
                          "this version of Vela compiles otherwise; see docs/npu.md")
    return apart


def stream(plan: Plan, run: Run, frames: Ints) -> Ints:
    """Every part on frames [count, inputs] one by one, from the present state: [count, outputs]."""
    source = plan.inputs[0]
    return np.stack([run_all(plan, run, {source.name: frame.reshape(source.shape)}).reshape(-1) for frame in frames])


Stage = Callable[[str], None]
