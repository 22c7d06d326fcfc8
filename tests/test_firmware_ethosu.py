"""The Ethos-U driver on a mock register block, and what it is held to: Vela's register map, NPU by NPU."""

from __future__ import annotations

import re
import struct
import zlib

import pytest
from npu_harness import (
    ERROR_ARGUMENT,
    ERROR_MODEL,
    ERROR_NPU,
    HARNESS,
    SOURCES,
    build,
    export,
    identity,
    output,
    payload,
)

U55_128, U65_256 = 0x00001817, 0x10003018


# Registers


def test_every_register_and_field_is_velas() -> None:
    from ethosu.vela.ethos_u55_regs import ethos_u55_regs as vela

    text = (SOURCES / "ethosu_registers.h").read_text()
    lines = re.findall(r"^#define ETHOSU_(REG|FIELD|EVENT|PORT_COUNTERS)_(\w+) (\w+)u\b", text, re.M)
    assert len(lines) == len(re.findall(r"^#define ETHOSU_\w+ ", text, re.M)) > 60
    offsets = {member.name: member.value for group in (vela.BASE, vela.BASE_POINTERS, vela.PMU, vela.ID)
               for member in group}
    memory = {member.name: member.value for member in vela.memory_type}
    for kind, name, value in lines:
        if kind == "REG":
            assert int(value, 16) == offsets[name], name
        elif kind == "EVENT":
            assert int(value) == vela.pmu_event_type[name].value, name
        elif kind == "PORT_COUNTERS":
            assert int(value) == min(number for key, number in memory.items() if key.startswith(name)), name
        else:
            assert int(value, 16) == _mask(vela, name), name
    assert vela.security_level.NON_SECURE.value == vela.privilege_level.PRIVILEGED.value == 1


def _mask(vela, name: str) -> int:
    for register in ("ID", "STATUS", "CMD", "RESET", "PROT", "CONFIG", "REGIONCFG", "AXI_LIMIT0", "PMCR", "PMCNTENSET",
                     "PMCCNTR_HI"):
        if name.startswith(register + "_"):
            union = getattr(vela, f"{register.lower()}_r")
            fields = next(part for part in vars(union).values()
                          if isinstance(part, type) and issubclass(part, vela.Structure))._fields_
            first = 0
            for field, _, width in fields:
                if field.upper() == name.removeprefix(register + "_"):
                    return ((1 << width) - 1) << first
                first += width
    raise AssertionError(name)


# Driver


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    program = build("driver_main", "ethosu", "payload", options=("-include", str(HARNESS / "mock.h")))
    folder = tmp_path_factory.mktemp("payloads")

    def run(data: bytes | None = None, **options: int) -> list[str]:
        data = payload() if data is None else data
        config, architecture = identity(data)
        path = folder / f"{zlib.crc32(data):x}"
        path.write_bytes(data)
        settings = {"config": config, "id": architecture, **options}
        return output(program, path, *(f"{name}={value}" for name, value in settings.items()))

    return run


def calls(lines: list[str], name: str) -> list[str]:
    return [line.removeprefix(name + " ") for line in lines if line.startswith(name + " ")]


@pytest.mark.parametrize("irq", [0, 1])
def test_a_run_writes_this_sequence(driver, irq) -> None:
    lines = driver(irq=irq)
    assert lines[0] == "name ethos-u55"
    opened = lines.index("open 0 ")
    privileged, may_sleep = "0x1", "0xc"
    assert lines[1:opened] == [f"write 0xc {privileged}", f"write 0x8 {may_sleep}"]
    config, _ = identity(payload())
    length = stream_bytes()
    ran = lines.index("run 0 ")
    events = [35, 130, 135, 386]
    acknowledged = ["write 0x8 0x2"] if irq else []
    assert lines[opened + 2 : ran] == [
        f"write 0xc {privileged}",
        "write 0x1c 0x2",                                            # the queue by AXI1, first counter
        f"write 0x3c {3 | 0 << 2 | 1 << 4:#x}",                      # weights AXI1, arena and fast AXI0
        *(f"write {0x40 + 4 * i:#x} 0xf1f0000" for i in range(4)),   # 32 reads, 16 writes
        *(f"write {0x380 + 4 * i:#x} {event:#x}" for i, event in enumerate(events)),
        "write 0x184 0x8000000f",
        f"write 0x10 {0x70000000 + stream_offset():#x}", "write 0x14 0", f"write 0x20 {length:#x}",
        "write 0x80 0x71000000", "write 0x84 0", "write 0x88 0x31000000", "write 0x8c 0",
        "write 0x90 0x31000000", "write 0x94 0",
        "write 0x180 0x7", "write 0x8 0x1",                          # PMU from zero, start
        *acknowledged,
        "write 0x180 0", "write 0x8 0xe"]
    assert lines[ran + 1] == f"counts 1 {(1 << 32) + 1000} 350 1300 1350 3860"


def stream_bytes() -> int:
    from tinyse.npu.payload import load

    return 4 * len(load(export() / "model_vela.tflite").words)


def stream_offset() -> int:
    from tinyse.npu.payload import load

    return load(export() / "model_vela.tflite").stream_offset


def test_counts_add_up_and_clear(driver) -> None:
    lines = driver(runs=3)
    counts = calls(lines, "counts")
    assert counts[0] == "0 0 0 0 0 0"
    assert counts[3] == f"3 {3 * ((1 << 32) + 1000)} 1050 3900 4050 11580"
    assert counts[4] == "0 0 0 0 0 0"


def test_caches_are_maintained_for_what_each_side_reads(driver) -> None:
    lines = driver(caches=1)
    stream, length = 0x70000000 + stream_offset(), stream_bytes()
    kept = [line for line in lines if not line.startswith(("write", "counts", "name", "clear"))]
    assert kept == [f"clean {stream:#x} {length}", "clean 0x71000000 64", "open 0 ",
                    "clean 0x31000000 128", "invalidate 0x31000000 128", "run 0 "]
    start, stop = lines.index("write 0x8 0x1"), lines.index("write 0x180 0")
    assert lines.index("clean 0x31000000 128") < start < stop < lines.index("invalidate 0x31000000 128")


def test_a_separate_fast_scratch_has_its_own_port_and_cache_calls(driver) -> None:
    lines = driver(u65_payload(), caches=1, fast=1)
    assert lines[0] == "name ethos-u65"
    writes = calls(lines, "write")
    assert f"0x3c {3 | 2 << 2 | 1 << 4:#x}" in writes
    assert writes[writes.index("0x90 0x33000000") + 1] == "0x94 0"
    assert calls(lines, "clean")[-2:] == ["0x31000000 128", "0x33000000 32"]
    assert calls(lines, "invalidate") == ["0x31000000 128", "0x33000000 32"]


def test_a_fast_scratch_behind_the_arena_is_used_where_it_is_given(driver) -> None:
    writes = calls(driver(fast=3), "write")
    assert writes[writes.index("0x90 0x32000000") + 1] == "0x94 0"


@pytest.mark.parametrize("fast", [4, 5])
def test_a_misaligned_or_missing_region_is_refused(driver, fast) -> None:
    assert calls(driver(fast=fast), "open") == [f"{ERROR_ARGUMENT} the NPU cannot reach region 2"]


def u65_payload() -> bytes:
    data = bytearray(payload())
    place = data.index(struct.pack("<2I", *identity(payload())))
    data[place : place + 4] = struct.pack("<I", U65_256)
    return bytes(data)


def test_addresses_beyond_32_bits_reach_the_u65_and_are_refused_on_the_u55(driver) -> None:
    writes = calls(driver(u65_payload(), fast=2), "write")
    assert writes[writes.index("0x90 0") + 1] == "0x94 0x12"
    assert calls(driver(fast=2), "open") == [f"{ERROR_ARGUMENT} the NPU cannot reach region 2"]


@pytest.mark.parametrize(("change", "reason"), [
    ({"id": 0}, (ERROR_NPU, "no Ethos-U answers at its base address")),
    ({"config": U55_128 & ~0xF | 8},
     (ERROR_MODEL, "the model is for another NPU: ethos-u55-128, this is ethos-u55-256 (configuration ")),
    ({"config": U65_256},
     (ERROR_MODEL, "the model is for another NPU: ethos-u55-128, this is ethos-u65-256 (configuration ")),
    ({"id": 0x20000000}, (ERROR_MODEL, "the model is for another NPU architecture: ")),
    ({"stuck": 1}, (ERROR_NPU, "the NPU does not come out of reset")),
    ({"deny": 1}, (ERROR_NPU, "the NPU refuses the security or privilege level")),
])
def test_open_refuses_what_is_not_the_models_npu(driver, change, reason) -> None:
    lines = driver(**change)
    status, text = calls(lines, "open")[0].split(" ", 1)
    assert (int(status), text[: len(reason[1])]) == reason
    assert not calls(lines, "run")
    assert not any(line.startswith("write 0x8 ") for line in lines), "nothing was started"


def test_a_newer_minor_architecture_is_accepted_an_older_is_not(driver) -> None:
    _, architecture = identity(payload())
    assert calls(driver(id=architecture + (1 << 20)), "open") == ["0 "]
    older = calls(driver(id=architecture - (1 << 20)), "open")[0]
    assert older.startswith(f"{ERROR_MODEL} the model is for another NPU architecture")


END, IRQ = 0x20, 0x2


@pytest.mark.parametrize("irq", [0, 1])
@pytest.mark.parametrize(("status", "reason"), [
    (IRQ | 0x4 | 1 << 11 | 9 << 12, "bus error on AXI port 1, channel 9"),
    (IRQ | 0x4, "bus error on AXI port 0, channel 0"),
    (IRQ | 0x10, "the NPU does not understand a command"),
    (IRQ | 0x80, "the NPU found the weights damaged"),
    (IRQ | END | 0x100, "the NPU found an uncorrectable memory error"),
    (IRQ, "the NPU stopped before the end of the command stream"),
])
def test_faults_are_named_and_reset_the_npu(driver, status, reason, irq) -> None:
    lines = driver(status=status, irq=irq, runs=2)
    expected = f"{ERROR_NPU} {reason}, byte 44 of the stream (status {status:#x})"
    assert calls(lines, "run") == [expected] * 2
    assert set(calls(lines, "counts")) == {"0 0 0 0 0 0"}, "a run that failed counts for nothing"
    first = lines.index(f"run {expected}")
    after = lines[lines.index("write 0x180 0") : first]
    assert after == ["write 0x180 0", "write 0xc 0x1", "write 0x8 0xe"]


@pytest.mark.parametrize("irq", [0, 1])
def test_a_timeout_is_counted_in_turns(driver, irq) -> None:
    lines = driver(irq=irq, turns=50, late=1000)
    assert calls(lines, "run")[0].startswith(f"{ERROR_NPU} the NPU timed out, byte 0 of the stream (status 0x1")
    assert calls(driver(irq=irq, turns=50, late=40), "run") == ["0 "]
