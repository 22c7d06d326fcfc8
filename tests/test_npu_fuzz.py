"""Damaged and hostile compiled models: one clear error, quickly, or a run; never anything else."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from fuzz_npu import FINDS, attempt, mutate, seeds
from npu_models import compile_model, enhancer

from tinyse.npu import Machine, NpuError
from tinyse.npu.registers import commands, snapshots

finds = sorted(FINDS.glob("*.bin")) if FINDS.is_dir() else []


@pytest.mark.parametrize("path", finds, ids=lambda path: path.stem)
def test_finds_of_the_fuzzer_stay_fixed(path):
    start = time.process_time()
    assert attempt(path.read_bytes()) in ("ran", "refused")
    assert time.process_time() - start < 5


def test_mutated_models_run_or_are_refused():
    rng, bases = np.random.default_rng(7), seeds()
    outcomes = [attempt(mutate(bases[i % len(bases)], rng)) for i in range(300)]
    assert {"ran", "refused"} == set(outcomes)


@pytest.fixture(scope="module")
def model() -> bytes:
    return compile_model(enhancer(bands=8, units=(8,), hidden=8, seed=1))


@pytest.mark.parametrize("cut", [0, 3, 8, 40, 200, 1000, -1000, -40, -4])
def test_a_truncated_file_is_refused(model, cut):
    with pytest.raises(NpuError):
        Machine.parse(model[:cut])


def patched(model: bytes, name: str, payload: int | None = None, param: int | None = None, which: int = 0) -> bytes:
    """The model with one register write of its stream changed."""
    machine = Machine.parse(model)
    words = machine.payload.words.copy()
    spots = [c for c in commands(words) if c.name == name]
    spot = spots[which].offset // 4
    if param is not None:
        words[spot] = int(words[spot]) & 0xFFFF | (param & 0xFFFF) << 16
    if payload is not None:
        words[spot + 1] = payload
    old = machine.payload.words.tobytes()
    assert model.count(old) == 1
    return model.replace(old, words.tobytes())


@pytest.mark.parametrize(("change", "says"), [
    ({"name": "IFM_BASE0", "payload": 1 << 20}, r"operation \d+ \(\w+\): IFM reaches byte \d+ of region 1"),
    ({"name": "IFM_BASE0", "payload": 0xFFFFFFFF, "param": 0xFFFF}, r"IFM reaches byte \d+ of region 1"),
    ({"name": "OFM_REGION", "param": 0}, r"OFM would write the read-only region 0|OFM reaches byte"),
    ({"name": "OFM_REGION", "param": 7}, r"OFM is in region 7, which this model does not have"),
    ({"name": "WEIGHT_LENGTH", "payload": 1 << 30}, r"weights reaches byte \d+ of region 0"),
    ({"name": "WEIGHT_BASE", "payload": 16}, r"weight stream|weights"),
    ({"name": "OFM_DEPTH_M1", "param": 0xFFFF}, r"operation 0 \(\w+"),
    ({"name": "OFM_PRECISION", "param": 0xC001}, r"unknown mode|not a valid Rounding"),
    ({"name": "ACTIVATION", "param": 9}, r"activation 9 is not supported"),
    ({"name": "DMA0_LEN", "payload": 1 << 28}, r"operation \d+ \(DMA\): source reaches byte"),
    ({"name": "POOL", "param": 9}, r"operation \d+ \(POOL\): unknown mode"),
])
def test_a_hostile_register_is_named(model, change, says):
    with pytest.raises(NpuError, match=says) as caught:
        Machine.parse(patched(model, **change))
    assert re.search(r"at command stream offset 0x[0-9a-f]+$", str(caught.value))


def test_unknown_truncated_and_endless_streams():
    with pytest.raises(NpuError, match=r"unknown command code 0x03ff at command stream offset 0x0"):
        snapshots(np.array([0x3FF], np.uint32))
    with pytest.raises(NpuError, match="sets reserved bits"):
        snapshots(np.array([0x8000], np.uint32))
    with pytest.raises(NpuError, match="ends inside SET_IFM_BASE0"):
        snapshots(np.array([0x4000], np.uint32))
    with pytest.raises(NpuError, match="no STOP"):
        snapshots(np.zeros(0, np.uint32))
    with pytest.raises(NpuError, match="no STOP"):
        snapshots(np.full(5_000_000, 0x100, np.uint32))
    with pytest.raises(NpuError, match="more than 4096 operations"):
        snapshots(np.full(1_000_000, 0x10, np.uint32))
    with pytest.raises(NpuError, match="needs OFM_PRECISION, which was never written"):
        from tinyse.npu.operations import operation

        operation(snapshots(np.array([0x2, 0x0], np.uint32))[0])


def test_absurd_work_is_refused_before_it_starts(model):
    huge = patched(model, "OFM_HEIGHT_M1", param=0xFFFF)
    huge = patched(model, "OFM_WIDTH_M1", param=0xFFFF) if huge == model else huge
    start = time.process_time()
    with pytest.raises(NpuError):
        Machine.parse(huge)
    assert time.process_time() - start < 5
