"""The C library's gate against `tinyse.graph.skip`, with a network that answers as told: host, sanitized, and QEMU."""

from __future__ import annotations

import numpy as np
import pytest
from frontend_library import MAX_HOPS, OUTPUT, run
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyse.graph.grid import Grid
from tinyse.graph.skip import SkipGate
from tinyse.sound import Bands, Ends, Framing, StreamingEnhancer

SPEC = Ends(Framing(frame=32, hop=16, fft=32), Bands(count=4))
MASK = Grid(OUTPUT.scale, OUTPUT.zero_point)
CORES = ["host", *(pytest.param(core, marks=pytest.mark.qemu) for core in ("m55", "m7"))]


def answers(pauses: list[int], seed: int = 0) -> np.ndarray:
    """int8 [MAX_HOPS, bands + 1]: masks, and P as it is told, over and over."""
    masks = np.random.default_rng(seed).integers(-128, 128, (MAX_HOPS, SPEC.width + 1)).astype(np.int8)
    masks[:, -1] = np.resize(pauses, MAX_HOPS) - 128
    return masks


def told(hops: int, script: np.ndarray, reset_at: int, fail_at: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By `SkipGate`: outputs that hold in each hop [hops, bands + 1], counts [hops, 2], and where a hop is lost."""
    gate, calls, held = SkipGate(), 0, None
    outputs, counts, lost = np.zeros((hops, SPEC.width + 1), np.int8), np.zeros((hops, 2), np.uint32), []
    for hop in range(hops):
        if hop == reset_at:
            gate, calls = SkipGate(), 0
        lost.append(False)
        if gate.due():
            held = script[calls]
            calls += 1
            gate.ran(int(held[-1]) + 128)
            if calls == fail_at:
                held, lost[-1] = np.full(SPEC.width + 1, -128, np.int8), True
                gate.ran(256)
                gate.frames, gate.updates = gate.frames - 1, gate.updates - 1
        else:
            gate.skipped()
        outputs[hop], counts[hop] = held, (gate.frames, gate.updates)
    return outputs, counts, np.array(lost)


def sound(hops: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(2).standard_normal((hops, SPEC.framing.hop))).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=20), st.integers(1, MAX_HOPS), st.integers(0, MAX_HOPS),
       st.integers(0, 40))
def test_gate_is_the_hosts_through_resets_and_errors(pauses, hops, reset_at, fail_at):
    script = answers(pauses)
    got = run("host", SPEC, sound(hops), script, reset_at=reset_at, fail_at=fail_at, skip=True)
    outputs, counts, lost = told(hops, script, reset_at, fail_at)
    np.testing.assert_array_equal(got.counts, counts)
    np.testing.assert_array_equal(got.mask, outputs)
    np.testing.assert_array_equal(got.status != 0, lost)
    assert not got.samples[lost].any()


@pytest.mark.parametrize("p", [0, 1, 2, 63, 64, 127, 128, 255])
def test_pause_is_what_the_contract_says(p):
    """The smallest n with n * max(P, 1) >= 128."""
    counts = run("host", SPEC, sound(MAX_HOPS), answers([p]), skip=True).counts
    ran = np.flatnonzero(np.diff(counts[:, 1], prepend=0))
    assert ran[0] == 0 and set(np.diff(ran)) == {-(-128 // max(p, 1))}


class Held:
    """An engine that answers with the masks it was given, and counts what it was asked for."""

    name, bands = "held", SPEC.width

    def __init__(self, masks: np.ndarray) -> None:
        self._masks = masks
        self.reset()

    def reset(self) -> None:
        self._next = iter(self._masks)

    def mask(self, feature: np.ndarray) -> np.ndarray:
        return MASK.dequantize(next(self._next))


@pytest.mark.parametrize("core", CORES)
def test_sound_passes_through_the_mask_that_was_kept(core):
    hops, script = 200, answers([20, 90, 200, 3])
    got = run(core, SPEC, sound(hops), script, skip=True)
    outputs, counts, _ = told(hops, script, MAX_HOPS, 0)
    np.testing.assert_array_equal(got.counts, counts)
    np.testing.assert_array_equal(got.mask, outputs)
    stream = StreamingEnhancer(Held(outputs[:, :-1]), SPEC)
    wanted = np.array([stream.push(hop) for hop in sound(hops)])
    assert np.abs(got.samples - wanted).max() < 1e-6
    assert counts[-1, 1] < 100
    ran = np.diff(counts[:, 1], prepend=0) > 0
    kept = np.flatnonzero(~ran)
    np.testing.assert_array_equal(got.feature[kept], got.feature[kept - 1])  # no features for a skipped frame
    assert np.any(got.feature[1:][ran[1:]] != got.feature[:-1][ran[1:]])


@pytest.mark.qemu
@pytest.mark.parametrize("core", ["m55", "m7"])
def test_a_skipped_frame_has_no_features_and_no_network(core):
    got = run(core, SPEC, sound(120), answers([4]), skip=True)
    ran = np.diff(got.counts[:, 1], prepend=0) > 0
    assert not got.instructions[~ran][:, 1:4].any() and (got.instructions[ran][:, 1:4] > 0).all()
    assert (got.instructions[:, [0, 4, 5]] > 0).all()
