"""Every operator and plan in C against the reference, every byte: the host under sanitizers, Cortex-M7 and M55 on QEMU."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from firmware_graphs import Case, run
from firmware_network import MACHINES
from graph_draws import INT8_ONLY, KINDS, draw_chain, draw_frames, draw_op

EMULATED = ("mve", "m55-portable", "dsp")
EVERY = ["sanitized", *(pytest.param(name, marks=pytest.mark.qemu) for name in EMULATED)]


def case(seed: int, kind: str, dtype: str, frames: int = 3) -> Case:
    rng = np.random.default_rng(seed)
    graph = draw_chain(rng, dtype) if kind == "chain" else draw_op(rng, kind, dtype)
    return Case(graph, draw_frames(rng, graph, frames), (None, 4, 1)[seed % 3])


@lru_cache
def operators() -> tuple[Case, ...]:
    return tuple(case(seed, kind, dtype) for kind in KINDS for dtype in ("int8", "int16")
                 if dtype == "int8" or kind not in INT8_ONLY for seed in range(6))


@lru_cache
def chains() -> tuple[Case, ...]:
    return tuple(case(seed, "chain", dtype, 6) for dtype in ("int8", "int16") for seed in range(12))


def check(cases: tuple[Case, ...], machine: str, folder) -> None:
    for one, frames in zip(cases, run(list(cases), machine, folder), strict=True):
        for found, expected in zip(frames, one.expected(), strict=True):
            for got, wanted in zip(found, expected, strict=True):
                np.testing.assert_array_equal(got, wanted, f"{one.plan.parts[0].name}: {one.plan}"[:4000])


@pytest.mark.parametrize("machine", EVERY)
def test_operators_have_the_references_bits(machine, tmp_path):
    assert MACHINES[machine]
    check(operators(), machine, tmp_path)


@pytest.mark.parametrize("machine", EVERY)
def test_chains_have_the_references_bits(machine, tmp_path):
    check(chains(), machine, tmp_path)
