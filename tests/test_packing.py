"""Packed matrices: nothing is lost, blocks of zeros are left out, and the arena holds what the kernels use."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from export_models import exported, random_model
from hypothesis import given
from hypothesis import strategies as st

from tinyse.core.errors import ModelError
from tinyse.export import tflite
from tinyse.export.cpacked import gate_tables, packed_header, packed_source
from tinyse.export.network import DenseLayer, LstmLayer, Network, parse
from tinyse.export.packing import BLOCKS, TILE, PackedDense, PackedLookup, PackedLstm, instructions, pack, pack_matrix


def blocky(rows: int, columns: int, zeros: float, block: int, seed: int) -> np.ndarray:
    """int8 [rows, columns] with a share of zero blocks of ``block`` x 16."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (rows, columns)).astype(np.int8)
    kept = rng.random((-(-rows // block), -(-columns // TILE))) >= zeros
    return weights * np.repeat(np.repeat(kept, block, 0), TILE, 1)[:rows, :columns]


@pytest.fixture(scope="module")
def network() -> Network:
    return parse((exported("cortex-m7") / "model_int8.tflite").read_bytes())


@given(st.integers(1, 9).map(lambda n: 8 * n), st.integers(1, 70), st.floats(0, 1), st.sampled_from(BLOCKS),
       st.sampled_from(BLOCKS), st.integers(0, 99))
def test_unpacks_to_what_was_packed(rows, columns, zeros, shape, block, seed):
    weights = blocky(rows, columns, zeros, shape, seed)
    packed = pack_matrix("m", weights, np.arange(rows), block)
    np.testing.assert_array_equal(packed.unpack()[:, :columns], weights)
    assert not packed.unpack()[:, columns:].any()
    np.testing.assert_array_equal(packed.start, np.arange(rows))
    assert packed.bytes == packed.tiles.nbytes + packed.index.nbytes + 4 * rows
    if block == 8:
        assert packed.present == packed.total and not len(packed.index)
    else:
        used = packed.unpack().reshape(rows // block, block, -1, TILE).any(axis=(1, 3))
        assert (packed.present, packed.total) == (used.sum(), used.size)
        assert len(packed.index) == rows // block + packed.present


@given(st.floats(0, 1), st.sampled_from(BLOCKS), st.integers(0, 99))
def test_the_cheapest_block_is_chosen(zeros, shape, seed):
    weights, start = blocky(64, 256, zeros, shape, seed), np.zeros(64, np.int64)
    chosen = pack_matrix("m", weights, start)
    assert instructions(chosen) == min(instructions(pack_matrix("m", weights, start, block)) for block in BLOCKS)


@pytest.mark.parametrize("zeros, shape, block", [(0.0, 4, 8), (0.2, 4, 8), (0.5, 4, 4), (0.85, 4, 4), (0.85, 1, 1)])
def test_block_of_usual_matrices(zeros, shape, block):
    assert pack_matrix("m", blocky(256, 256, zeros, shape, 0), np.zeros(256, np.int64)).block == block


def test_scattered_zeros_leave_nothing_out():
    weights = np.random.default_rng(0).integers(-127, 128, (64, 64)).astype(np.int8)
    weights *= np.random.default_rng(1).random((64, 64)) < 0.3
    assert pack_matrix("m", weights, np.zeros(64, np.int64)).block == 8


def test_a_matrix_of_zeros_is_an_index_alone():
    packed = pack_matrix("m", np.zeros((16, 40), np.int8), np.arange(16))
    assert packed.present == 0 and packed.tiles.size == 0 and packed.index.tolist() == [0] * 4


def test_what_kernels_cannot_take_is_refused():
    with pytest.raises(ModelError, match="4096 columns, the CPU kernels take 4080"):
        pack_matrix("m", np.zeros((8, 4096), np.int8), np.zeros(8, np.int64))
    with pytest.raises(ModelError, match="a bias leaves int32"):
        pack_matrix("m", np.zeros((8, 8), np.int8), np.full(8, 2**31))


def test_sums_that_tflm_would_overflow_are_refused():
    bare = _bare([8], [], 16)
    lstm = bare.layers[0]
    gate = replace(lstm.gates[0], bias=np.full(8, 2**30, np.int32))
    with pytest.raises(ModelError, match="lstm_0.kernel: sums leave 31 bits"):
        pack(replace(bare, layers=(replace(lstm, gates=(gate, *lstm.gates[1:])), *bare.layers[1:])))


def test_layers_hold_the_networks_numbers(network):
    packed = pack(network)
    assert [type(layer) for layer in packed.layers] == [PackedLstm, PackedLstm, PackedDense, PackedDense, PackedLookup]
    for layer, source in zip(packed.layers, network.layers, strict=True):
        if isinstance(source, LstmLayer):
            units = np.arange(source.units)
            for gate in range(4):
                rows = units // 8 * 32 + gate * 8 + units % 8
                kernel, recurrent = source.gates[gate].kernel, source.gates[gate].recurrent
                np.testing.assert_array_equal(layer.kernel.unpack()[rows, :kernel.shape[1]], kernel)
                np.testing.assert_array_equal(layer.recurrent.unpack()[rows, :source.units], recurrent)
                folded = source.gates[gate].bias - source.x.zero_point * kernel.sum(axis=1, dtype=np.int64)
                np.testing.assert_array_equal(layer.kernel.start[rows], folded)
        elif isinstance(source, DenseLayer):
            np.testing.assert_array_equal(
                layer.weights.unpack()[:len(source.weights), :source.weights.shape[1]], source.weights)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=3), st.lists(st.integers(1, 90), max_size=2),
       st.integers(1, 60))
def test_arena_regions_are_aligned_and_apart(lstm, dense, bands):
    packed = pack(_bare(lstm, dense, bands))
    widest = max(*lstm, *dense, bands, 1)
    regions = [(layer.h, layer.units) for layer in packed.layers if isinstance(layer, PackedLstm)]
    regions += [(layer.c, 2 * (-(-layer.units // 8) * 8)) for layer in packed.layers if isinstance(layer, PackedLstm)]
    padded = -(-widest // TILE) * TILE
    regions += [(place, padded) for place in packed.buffers] + [(place, 2 * padded) for place in packed.operands]
    regions.append((packed.sums, 4 * packed.sum_count))
    regions.sort()
    assert all(place % 16 == 0 for place, _ in regions)
    assert all(place + size <= after for (place, size), (after, _) in zip(regions, regions[1:], strict=False))
    assert regions[-1][0] + regions[-1][1] == packed.arena_bytes
    assert packed.state_bytes == packed.buffers[0]
    assert packed.sum_count >= max(matrix.rows for matrix in packed.matrices if "dense" in matrix.name)


def _bare(lstm: list[int], dense: list[int], bands: int) -> Network:
    """A network of zeros of these widths, without a converter."""
    from tinyse.export.network import Gate, LogisticLayer, TensorInfo
    from tinyse.export.quantization import Affine

    layers, width, grid = [], bands, Affine(2.0**-7, 3)
    for units in lstm:
        gate = Gate(np.zeros((units, width), np.int8), 0.01, np.zeros((units, units), np.int8), 0.01,
                    np.zeros(units, np.int32))
        layers.append(LstmLayer("l", grid, grid, 2.0**-12, 10.0, (gate, gate, gate, gate), 0, 0))
        width = units
    for units in (*dense, bands):
        layers.append(DenseLayer("d", grid, grid, np.zeros((units, width), np.int8), np.full(units, 0.01, np.float32),
                                 np.zeros(units, np.int32), False))
        width = units
    layers.append(LogisticLayer("s", grid, grid))
    end = TensorInfo(0, "x", "int8", (1, 1, bands), (1.0,), 0, False, False)
    return Network(tuple(layers), (), (), end, end)


def test_a_network_that_does_not_fit_together_is_refused():
    bare = _bare([8], [], 16)
    with pytest.raises(ModelError, match="takes 16 values, not 8"):
        pack(Network((bare.layers[0], bare.layers[0]), (), (), bare.input, bare.output))
    with pytest.raises(ModelError, match="gives 8 values for 16"):
        pack(Network(bare.layers[:1], (), (), bare.input, bare.output))


def test_manifest_and_header_say_the_same():
    folder = exported("ethos-u55-128")
    said = json.loads((folder / "manifest.json").read_text())["packed"]
    header = (folder / "packed.h").read_text()
    names = dict(re.findall(r"#define TINYSE_PACKED_(\w+) +(\d+)$", header, re.M))
    assert (int(names["BYTES"]), int(names["ARENA_BYTES"])) == (said["bytes"], said["arena_bytes"])
    rows = re.findall(r'X\("([\w.]+)", (\d+), (\d+), (\d+), (\d+), (\d+), (\d+)\)', header)
    assert [(name, *map(int, rest)) for name, *rest in rows] == [
        (m["name"], m["rows"], m["columns"], m["block"][0], m["tiles"], m["tiles_total"], m["bytes"])
        for m in said["matrices"]]
    assert [m["name"] for m in said["matrices"]][:2] == ["lstm_0.kernel", "lstm_0.recurrent"]


@pytest.mark.parametrize("compiler, flags", [("gcc", ["-std=c11"]), ("g++", ["-std=c++17", "-x", "c++"])])
def test_compiles_without_a_warning(compiler, flags, tmp_path):
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is missing: apt-get install gcc g++")
    done = subprocess.run([compiler, *flags, "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-c",
                           str(exported("cortex-m7") / "packed.c"), "-o", str(tmp_path / "p.o")], capture_output=True,
                          text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_same_model_gives_the_same_text():
    data = tflite.to_int8(random_model((9,), (7,), 10, seed=4))
    packed = pack(parse(data))
    assert packed_source(packed, data) == packed_source(pack(parse(data)), data)
    assert packed_header(packed, data) == packed_header(pack(parse(data)), data)


def test_gate_table_rises_to_its_end():
    low, step = gate_tables()
    np.testing.assert_array_equal(low[1:], (low + step)[:-1])
    assert low[0] == 32768 and set(low[255:]) == {65535} and step.min() == 0
