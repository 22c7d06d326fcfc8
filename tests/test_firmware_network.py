"""The CPU network in C against TFLM and the integer reference: the host under sanitizers, Cortex-M7 and M55 on QEMU."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np
import pytest
from export_models import frames, integers, random_model, streamed, written
from firmware_network import KERNELS, MACHINES, Program, build
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinyse.export.cnetwork import c_network
from tinyse.export.coperator import Pack
from tinyse.export.packing import TILE, PackedMatrix, pack_matrix
from tinyse.export.reader import read
from tinyse.graph.fixedpoint import quantize_multiplier, rescale, sigmoid16, tanh16
from tinyse.graph.model import Model
from tinyse.sound import features, stft
from tinyse.sound.corpus.mix import test_mixtures
from tinyse.sound.corpus.store import corpus_dir

DENSE = Path(__file__).parent.parent / "models" / "tinylstm-dense" / "model_int8.tflite"
EMULATED = ("mve", "m55-portable", "dsp")


def noise(count: int, bands: int, seed: int = 0) -> np.ndarray:
    """Any bytes, and stretches of both ends of the range."""
    rng = np.random.default_rng(seed)
    made = rng.integers(-128, 128, (count, bands)).astype(np.int8)
    made[count // 3:count // 3 + 5] = 127
    made[count // 2:count // 2 + 5] = -128
    return made


def expected(data: bytes, inputs: np.ndarray) -> np.ndarray:
    """What TFLM answers; the integer reference must agree before C is asked."""
    masks = streamed(data, inputs)
    np.testing.assert_array_equal(integers(data, inputs), masks)
    return masks


def blocked(model: Model, zeros: float, rows: int, seed: int = 0) -> Model:
    """``model`` with a share of its blocks of 16 inputs x ``rows`` outputs zero."""
    rng = np.random.default_rng(seed)

    def mask(kernel: np.ndarray) -> np.ndarray:
        inputs, outputs = kernel.shape
        kept = rng.random((-(-inputs // TILE), -(-outputs // rows))) >= zeros
        kept[:, :: max(1, outputs // (4 * rows))] = True  # a gate of zeros alone has no scale
        return kernel * np.repeat(np.repeat(kept, TILE, 0), rows, 1)[:inputs, :outputs].astype(np.float32)

    return replace(model, arrays={name: mask(array) if name in model.matrices else array
                                  for name, array in model.arrays.items()})


SMALL = {
    "odd widths": lambda: random_model((9, 33, 5), (7, 11), 10, seed=4, gain=2.0, zeros=0.8),
    "one unit": lambda: random_model((1,), (), 1, seed=2),
    "two chunks": lambda: random_model((72, 130), (20,), 40, seed=5),
    "blocks": lambda: blocked(random_model((64, 48), (36,), 48, seed=6), 0.7, 4),
}
CASES = [("odd widths", None), ("odd widths", 1), ("one unit", None), ("two chunks", None), ("blocks", None),
         ("blocks", 4), ("blocks", 1)]


@lru_cache
def small(name: str) -> bytes:
    return written(SMALL[name]())


@lru_cache
def small_answer(name: str) -> tuple[np.ndarray, np.ndarray]:
    data = small(name)
    x = read(data).inputs[0]
    inputs = np.concatenate([x.grid.quantize(frames(120, x.size, 9)), noise(120, x.size)])
    return inputs, expected(data, inputs)


def in_blocks(block: int | None) -> Pack:
    """Packs with this block everywhere; None: as export chooses."""
    return partial(pack_matrix, block=block)


@pytest.mark.parametrize("name, block", CASES)
@pytest.mark.parametrize("machine", ["sanitized", *(pytest.param(name, marks=pytest.mark.qemu) for name in EMULATED)])
def test_small_networks_have_tflms_bits(name, block, machine, tmp_path):
    inputs, masks = small_answer(name)
    program = build(small(name), machine, tmp_path, in_blocks(block))
    np.testing.assert_array_equal(program.run(inputs)[0], masks)


def test_blocks_are_left_out_where_the_tests_say_so():
    for block in (None, 4, 1):
        matrices = c_network(read(small("blocks")), pack=in_blocks(block)).matrices
        assert {matrix.block for matrix in matrices} == {block or 4}
        assert all(matrix.present < 0.8 * matrix.total for matrix in matrices)


@pytest.mark.parametrize("machine", ["sanitized", pytest.param("mve", marks=pytest.mark.qemu),
                                     pytest.param("dsp", marks=pytest.mark.qemu)])
def test_every_activation_and_many_rescalings_are_the_references(machine, tmp_path):
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.integers(-2**31, 2**31, 1500), rng.integers(-2**18, 2**18, 1500),
                             np.arange(-540, 540), [-2**31, -2**31 + 1, 2**31 - 1, 2**30, -2**30, 2**30 - 1],
                             np.zeros(10)]).astype(np.int32)
    mantissas = [2**30, 2**30 + 1, 2**31 - 1, *rng.integers(2**30, 2**31, 3)]
    pairs = [(mantissa, shift) for mantissa in mantissas for shift in (0, -1, -2, -3, -7, -14, -22, -31)]
    program = build(small("one unit"), machine, tmp_path, harness="kernels_harness.c", files=KERNELS)
    answer = program.pipe(values.tobytes() + np.array(pairs, np.int32).tobytes())
    gates = np.frombuffer(answer[:32 * 2**17], np.int16).reshape(32, -1)
    every = np.arange(-2**15, 2**15)
    np.testing.assert_array_equal(gates[0], sigmoid16(every))
    for power in range(31):
        np.testing.assert_array_equal(gates[1 + power], tanh16(every, power), f"power {power}")
    for pair, result in zip(pairs, np.frombuffer(answer[32 * 2**17:], np.int32).reshape(-1, 4096), strict=True):
        np.testing.assert_array_equal(result, rescale(values, *pair), f"{pair}")


def with_ranges(cell: float, features: float, hidden: float, logits: float) -> bytes:
    """A network whose cell powers, shifts and saturations are not those of a trained one."""
    ranges = {"features": (0.0, features), "lstm_0.h": (-hidden, hidden / 2), "lstm_0.c": (-cell, cell / 3),
              "lstm_1.h": (-1.0, 0.0), "lstm_1.c": (0.0, 1 / cell), "dense_0.out": (0.0, hidden),
              "dense_1.out": (-logits, logits * 3)}
    return written(replace(random_model((24, 16), (16,), 16, quantized=False), ranges=ranges))


# Cells of 2^-21 to 2^-10, both tanh scalings, the clip at 10, left shifts, and sums that saturate.
EXTREMES = [(8.0, 4.0, 1.0, 6.0), (2.0**-6, 8.0, 8.0, 0.1), (30.0, 0.125, 0.125, 8.0), (2.0**-4, 500.0, 2.0, 0.01),
            (4.0, 1.0, 90.0, 50.0)]


@pytest.mark.parametrize("ranges", EXTREMES)
@pytest.mark.parametrize("machine", ["sanitized", *(pytest.param(name, marks=pytest.mark.qemu) for name in EMULATED)])
def test_extreme_ranges_have_tflms_bits(ranges, machine, tmp_path):
    data, inputs = with_ranges(*ranges), noise(200, 16, 1)
    np.testing.assert_array_equal(build(data, machine, tmp_path).run(inputs)[0], expected(data, inputs))


def test_the_extremes_reach_what_they_are_for():
    lstms = [op for ranges in EXTREMES for op in read(with_ranges(*ranges)).lstms]
    powers = {-round(math.log2(op.cell_scale)) for op in lstms}
    assert min(powers) < 12 < max(powers) and 12 in powers and 13 in powers
    assert {quantize_multiplier(scale * 4096)[1] >= 0 for op in lstms for gate in op.gates for scale in (
        op.x.grid.scale * gate.kernel_scale, op.out.grid.scale * gate.recurrent_scale)} == {True, False}
    assert any(op.cell_clip / op.cell_scale < 32767 for op in lstms)


size = st.floats(-3.0, 3.0).map(lambda power: 2.0**power)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(-6.0, 5.0).map(lambda power: 2.0**power), size, size, size, st.integers(0, 99))
def test_any_ranges_have_the_references_bits(tmp_path, cell, features, hidden, logits, seed):
    data, inputs = with_ranges(cell, features, hidden, logits), noise(60, 16, seed)
    np.testing.assert_array_equal(build(data, "sanitized", tmp_path).run(inputs)[0], integers(data, inputs))


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Callable[[str], Program]:
    """tinylstm-dense on a machine; built once."""
    return cache(lambda machine: build(DENSE.read_bytes(), machine, tmp_path_factory.mktemp(machine)))


@lru_cache
def full_answer() -> tuple[np.ndarray, np.ndarray]:
    data = DENSE.read_bytes()
    inputs = np.concatenate([read(data).inputs[0].grid.quantize(frames(200, 128, 3)), noise(100, 128)])
    return inputs, expected(data, inputs)


@pytest.mark.parametrize("machine", ["host", "sanitized", *(
    pytest.param(name, marks=pytest.mark.qemu) for name in EMULATED)])
def test_the_shipped_model_has_tflms_bits(program, machine):
    inputs, masks = full_answer()
    np.testing.assert_array_equal(program(machine).run(inputs)[0], masks)


def pruned(share: float, rows: int = 4) -> Pack:
    """Packs without the ``share`` of blocks; only to count instructions, such a network hears nothing."""
    def without(name: str, weights: np.ndarray, start: np.ndarray) -> PackedMatrix:
        padded = np.pad(weights, ((0, 0), (0, -weights.shape[1] % TILE)))
        blocks = np.abs(padded.astype(np.int64)).reshape(len(padded) // rows, rows, -1, TILE).sum(axis=(1, 3))
        kept = blocks > np.quantile(blocks, share)
        return pack_matrix(name, padded * np.repeat(np.repeat(kept, rows, 0), TILE, 1), start)

    return without


# Ceilings a little above what was counted, docs/kernels.md. TFLM with CMSIS-NN takes 306,859 for the dense network.
CEILINGS = {("mve", 0.0): 0.53 * 306_859, ("mve", 0.85): 0.185 * 306_859, ("dsp", 0.0): 1_600_000,
            ("dsp", 0.85): 400_000}


@pytest.mark.qemu
@pytest.mark.parametrize("machine, share", CEILINGS)
def test_instructions_of_a_frame(machine, share, tmp_path):
    built = build(DENSE.read_bytes(), machine, tmp_path, pruned(share) if share else pack_matrix)
    first, second = (built.run(noise(8, 128))[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)  # emulated instructions are deterministic
    assert 0.5 * CEILINGS[machine, share] < first.max() < CEILINGS[machine, share]
    assert first.max() - first.min() < 0.01 * first.max()  # no frame is dearer than another


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_two_thousand_frames_of_speech_have_tflms_bits(program, machine):
    """Needs a fetched corpus: tinyse data fetch."""
    inputs = speech(2000)
    np.testing.assert_array_equal(program(machine).run(inputs)[0], speech_answer(2000))


@lru_cache
def speech(count: int) -> np.ndarray:
    """int8 features of recorded speech in noise, ``count`` frames of the test split's mixtures."""
    folders = [folder for folder in map(corpus_dir, ("default", "small")) if (folder / "corpus.json").is_file()]
    if not folders:
        pytest.skip("no recorded speech: tinyse data fetch")
    waves = [mixture.noisy for mixture in test_mixtures(folders[0], count_per_snr=10, snrs=(0.0, 12.0))]
    made = np.concatenate([features(stft(wave)) for wave in waves])[:count]
    assert len(made) == count
    return read(DENSE.read_bytes()).inputs[0].grid.quantize(made)


@lru_cache
def speech_answer(count: int) -> np.ndarray:
    return expected(DENSE.read_bytes(), speech(count))
