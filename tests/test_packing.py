"""Packed matrices: nothing is lost, and blocks of zeros are left out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from export_models import exported, random_model, written
from hypothesis import given
from hypothesis import strategies as st

from tinyse.core.errors import ModelError
from tinyse.export.cnetwork import c_network, gate_tables
from tinyse.export.packing import BLOCKS, TILE, instructions, pack_gates, pack_matrix
from tinyse.export.reader import read


def blocky(rows: int, columns: int, zeros: float, block: int, seed: int) -> np.ndarray:
    """int8 [rows, columns] with a share of zero blocks of ``block`` x 16."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (rows, columns)).astype(np.int8)
    kept = rng.random((-(-rows // block), -(-columns // TILE))) >= zeros
    return weights * np.repeat(np.repeat(kept, block, 0), TILE, 1)[:rows, :columns]


@given(st.integers(1, 9).map(lambda n: 8 * n), st.integers(1, 70), st.floats(0, 1), st.sampled_from(BLOCKS),
       st.sampled_from(BLOCKS), st.integers(0, 99))
def test_unpacks_to_what_was_packed(rows, columns, zeros, shape, block, seed):
    weights = blocky(rows, columns, zeros, shape, seed)
    packed = pack_matrix("m", weights, np.arange(rows), block)
    np.testing.assert_array_equal(packed.unpack()[:, :columns], weights)
    assert not packed.unpack()[:, columns:].any()
    np.testing.assert_array_equal(packed.start, np.arange(rows))
    assert packed.bytes == packed.stored.nbytes + packed.index.nbytes + 4 * rows
    assert packed.stored.nbytes == packed.tiles.nbytes * packed.bits // 8
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


@given(st.integers(1, 40), st.integers(1, 5))
def test_gates_are_packed_unit_by_unit(units, columns):
    values = np.arange(4 * units * columns).reshape(4 * units, columns) + 1
    packed = pack_gates(values, units).reshape(-1, 4, 8, columns)
    for gate, unit in np.ndindex(4, units):
        np.testing.assert_array_equal(packed[unit // 8, gate, unit % 8], values[gate * units + unit])
    assert np.count_nonzero(packed) == values.size


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
    sources = Path(__file__).parent.parent / "firmware" / "src"
    done = subprocess.run([compiler, *flags, "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror",
                           f"-I{sources}", "-c", str(exported("cortex-m7") / "packed.c"), "-o", str(tmp_path / "p.o")],
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_same_model_gives_the_same_text():
    data = written(random_model((9,), (7,), 10, seed=4))
    first, second = (c_network(read(data)) for _ in range(2))
    assert first.source(data) == second.source(data)
    assert first.header(data) == second.header(data)


def test_gate_table_rises_to_its_end():
    low, step = gate_tables()
    np.testing.assert_array_equal(low[1:], (low + step)[:-1])
    assert low[0] == 32768 and set(low[255:]) == {65535} and step.min() == 0
