"""Which channels a network's gates open, frame by frame: by the integer reference, whose bits every engine has."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import ModelError
from tinyse.engines.integer import IntegerEngine
from tinyse.graph.gates import ChannelGate, gates, is_open
from tinyse.sound import Real, rows, stft

Masks = dict[str, NDArray[np.bool_]]


def gates_of(engine: IntegerEngine) -> tuple[tuple[int, ChannelGate], ...]:
    """Every gate with its part."""
    return tuple((part, gate) for part, graph in enumerate(engine.plan.graphs) for gate in gates(graph))


def opened(engine: IntegerEngine, wave: Real) -> Masks:
    """Open channels of every gate, by its tensor, bool [frames, channels]; all closed where its part does not run.

    Args:
        engine: is reset first. wave: float32 [samples] at the ends' rate.

    Raises:
        ModelError: the network has no channel gates, or the signal is shorter than a frame.
    """
    found = gates_of(engine)
    if not found:
        raise ModelError(f"{engine.label}: has no channel gates", "a network of fsenet trained with gates: true")
    framing = engine.ends.framing
    if len(wave) < framing.frame:
        raise ModelError(f"{engine.label}: {len(wave)} samples are no frame of {framing.frame}", "a longer signal")
    engine.reset()
    made: dict[str, list[NDArray[np.bool_]]] = {gate.opened.name: [] for _, gate in found}
    for row in rows(wave, stft(wave, framing), engine.ends):
        engine.mask(row)
        for part, gate in found:
            values = is_open(engine.references[part].taps[gate.opened.name]).reshape(-1)
            made[gate.opened.name].append(values & (part in engine.runner.ran))
    return {name: np.stack(each) for name, each in made.items()}


def spent(engine: IntegerEngine, masks: Masks) -> NDArray[np.float64]:
    """Multiply-accumulates of every frame, gates counted, closed channels not; of a network whose parts all run."""
    saved = sum((~masks[gate.opened.name]).sum(1) * gate.macs for _, gate in gates_of(engine))
    return sum(graph.macs for graph in engine.plan.graphs) - np.asarray(saved, np.float64)


def mean_macs(engine: IntegerEngine, waves: Iterable[Real]) -> float:
    """Of a mean frame over several signals, as ``spent`` has it.

    Raises:
        ModelError: as ``opened``, or there is no signal.
    """
    frames = [spent(engine, opened(engine, wave)) for wave in waves]
    if not frames:
        raise ModelError(f"{engine.label}: no signal to count open channels on", "a mixture or more")
    return float(np.concatenate(frames).mean())


def joined(masks: Masks) -> NDArray[np.bool_]:
    """All gates beside each other, [frames, channels]."""
    return np.concatenate(list(masks.values()), 1)
