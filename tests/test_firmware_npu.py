"""The NPU path of the firmware on the host: payload parser, driver on a mock register block, co-simulation."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import threading
import time
import zlib
from functools import lru_cache
from pathlib import Path

import firmware_images
import numpy as np
import pytest
from firmware_images import NPU, image, needs_compiler, needs_qemu, npu_model
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import wavfile

from tinyse.engines.npu import NpuEngine
from tinyse.errors import ExportError, ModelError, RecipeError, ToolError
from tinyse.export.cheader import npu_parts
from tinyse.firmware import cosim
from tinyse.firmware.qemu import Run
from tinyse.firmware.qemu import run as emulate
from tinyse.firmware.timing import adapters, timing_header
from tinyse.targets import load_target, target_names

ROOT = Path(__file__).resolve().parents[1]
SOURCES, HARNESS = ROOT / "firmware" / "src", Path(__file__).parent / "firmware_npu"
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion", "-Werror"]
SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
OK, ERROR_ARGUMENT, ERROR_MODEL, ERROR_NPU = 0, 1, 2, 3
U55_128, U65_256 = 0x00001817, 0x10003018


def export() -> Path:
    return firmware_images.export("small", NPU)


@lru_cache
def payload() -> bytes:
    data = (export() / "model_vela.tflite").read_bytes()
    parts = npu_parts(data)
    return data[parts.payload_offset : parts.payload_offset + parts.payload_bytes]


def identity(data: bytes) -> tuple[int, int]:
    """Configuration and architecture words of a payload whose first action is the configuration, NOPs aside."""
    words = struct.unpack(f"<{len(data) // 4}I", data)
    place = next(i for i, word in enumerate(words) if word & 0xFF == 1 and i > 0)
    return words[place + 1], words[place + 2]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory):
    """Compile a harness with library sources once; both warning-free and sanitized."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no host C compiler: apt-get install -y gcc")
    folder = tmp_path_factory.mktemp("npu-harness")
    made: dict[str, Path] = {}

    def compile(harness: str, *sources: str, options: tuple[str, ...] = (), extra: tuple[Path, ...] = ()) -> Path:
        name = f"{harness}-{zlib.crc32(repr((sources, options, extra)).encode()):x}"
        if name not in made:
            files = [HARNESS / f"{harness}.c", *(SOURCES / f"{source}.c" for source in sources), *extra]
            subprocess.run([compiler, *STRICT, *SANITIZE, *options, f"-I{ROOT}/firmware/include", f"-I{SOURCES}",
                            f"-I{HARNESS}", f"-I{export()}", *map(str, files), "-o", str(folder / name)], check=True)
            made[name] = folder / name
        return made[name]

    return compile


def output(program: Path, *arguments: object, code: int = 0) -> list[str]:
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout.splitlines()


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


# Payload parser


class Parser:
    """A running payload_main: bytes in, its line out; a crash or a sanitizer's finding fails the test."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, data: bytes) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(struct.pack("<I", len(data)) + data)
        self._process.stdin.flush()
        line = self._process.stdout.readline().decode()
        assert line.endswith("\n"), "the parser crashed"
        return line.strip()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0


@pytest.fixture(scope="module")
def parser(build):
    running = Parser(build("payload_main", "payload"))
    yield running
    running.close()


def test_parser_finds_what_the_simulator_finds(parser) -> None:
    from tinyse.npu.payload import load

    compiled = load(export() / "model_vela.tflite")
    config, architecture = identity(payload())
    stream = compiled.words.astype("<u4").tobytes()
    assert parser(payload()) == (f"ok {config:#x} {architecture:#x} {compiled.stream_offset} {len(stream)} "
                                 f"{sum(stream) % 2**32}")


def test_parser_refuses_every_truncation(parser) -> None:
    assert parser(payload()).startswith("ok")
    for length in range(len(payload())):
        assert not parser(payload()[:length]).startswith("ok"), length


CONFIG_ACTION, STREAM_ACTION, NOP = (1, U55_128, 0x10060000), (2 | 1 << 16, 0xFFFF0000), (5,)
COP1 = 0x31504F43


@pytest.mark.parametrize(("words", "line"), [
    ((COP1, *CONFIG_ACTION, *STREAM_ACTION), "the command stream is not 16-byte aligned"),
    ((COP1, *NOP, *CONFIG_ACTION, *NOP, *NOP, *STREAM_ACTION), f"ok {U55_128:#x} 0x10060000 32 4 510"),
    ((COP1, *CONFIG_ACTION, *NOP, *NOP, *NOP, *STREAM_ACTION, *NOP), f"ok {U55_128:#x} 0x10060000 32 4 510"),
    ((COP1, *STREAM_ACTION), "the command stream does not say for which NPU it is"),
    ((COP1, *CONFIG_ACTION, *CONFIG_ACTION, *STREAM_ACTION), "the driver payload's configuration is damaged"),
    ((COP1, *CONFIG_ACTION, *NOP, *NOP, *NOP, *STREAM_ACTION, *STREAM_ACTION),
     "the driver payload holds two command streams"),
    ((COP1, *CONFIG_ACTION, 2), "the command stream is cut short"),
    ((COP1, *CONFIG_ACTION, 2 | 0xFF << 8 | 0xFFFF << 16, 0), "the command stream is cut short"),
    ((COP1, 3), "the driver payload holds an unknown action"),
    ((COP1, *CONFIG_ACTION), "the driver payload holds no command stream"),
    ((0x32504F43, *CONFIG_ACTION), "the driver payload does not begin with COP1"),
])
def test_parser_says_what_is_wrong(parser, words, line) -> None:
    assert parser(struct.pack(f"<{len(words)}I", *words)) == line


def test_a_long_stream_uses_the_reserved_byte_of_its_length(parser) -> None:
    words = 0x1_0003
    head = struct.pack("<9I", COP1, *CONFIG_ACTION, *NOP * 3, 2 | (words >> 16) << 8 | (words & 0xFFFF) << 16, 0)[:-4]
    assert parser(head + bytes(4 * words)) == f"ok {U55_128:#x} 0x10060000 32 {4 * words} 0"


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 4))
def test_parser_survives_mutations(parser, changes, cut) -> None:
    data = bytearray(payload()[: len(payload()) - cut])
    for place, value in changes:
        data[place] = value
    line = parser(bytes(data))
    if line.startswith("ok"):
        offset, length = map(int, line.split()[3:5])
        assert offset >= 16 and offset % 16 == 0 and offset + length <= len(data)


@given(st.lists(st.integers(0, 2**32 - 1) | st.sampled_from([5, 1, 0x10002, U55_128]), max_size=40))
def test_parser_survives_anything(parser, words) -> None:
    line = parser(struct.pack(f"<{len(words) + 1}I", COP1, *words))
    if line.startswith("ok"):
        offset, length = map(int, line.split()[3:5])
        assert offset + length <= 4 * (len(words) + 1)


# Driver


@pytest.fixture(scope="session")
def driver(build, tmp_path_factory):
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


# Timing adapters


def target(text: str, tmp_path: Path):
    path = tmp_path / "board.yaml"
    path.write_text(text)
    return load_target(path)


def text_of(name: str) -> str:
    return (load_target(name).path).read_text()


@pytest.mark.parametrize(("name", "lines"), [
    # Vela's Ethos_U55_High_End_Embedded: SRAM at full width, flash at an eighth with two reads of 64 cycles
    ("ethos-u55-128", ["sram 0 1 4 4 0 32 32 3999 1 4000 0 0 1 0 0 0", "ddr 1 1 2 0 0 64 0 320 80 50 0 0 1 0 0 0",
                       "1 0 0"]),
    ("ethos-u65-256", ["sram 0 1 16 16 0 32 32 3999 1 4000 0 0 1 0 0 0",
                       "ddr 1 1 24 12 0 500 250 3200 800 938 0 0 1 0 0 0", "1 1 0"]),
])
def test_timing_adapters_hold_the_targets_numbers(build, tmp_path, name, lines) -> None:
    (tmp_path / "timing.h").write_text(timing_header(load_target(name)))
    program = build("timing_main", "timing_adapter", options=(f"-I{tmp_path}",))
    assert output(program, 0x1117) == lines
    assert output(program, 0)[0] == "sram 0 0" + " 0" * 14, "where no adapter answers nothing is written"


def test_every_npu_target_fits_the_adapters() -> None:
    for name in target_names():
        chosen = load_target(name)
        made = adapters(chosen)
        assert len(made) == (2 if chosen.has_npu else 0)
        for adapter in made:
            timing = next(memory.timing for memory in chosen.memories if memory.name == adapter.memory)
            cycles = adapter.pulse_on + adapter.pulse_off
            assert adapter.words_per_pulse / cycles == pytest.approx(timing.clock_scale, rel=1e-3)
        assert ("tinyse_timing" in timing_header(chosen)) == chosen.has_npu


def test_timing_that_does_not_fit_is_refused(tmp_path) -> None:
    text = text_of("ethos-u55-128")
    with pytest.raises(RecipeError, match="memory ddr: read_latency 5000 does not fit a timing adapter"):
        timing_header(target(text.replace("read_latency: 64", "read_latency: 5000"), tmp_path))
    with pytest.raises(RecipeError, match="two memories with a timing are behind one NPU port"):
        timing_header(target(text.replace("axi: 1", "axi: 0"), tmp_path))


# Core driver

FAKE = """#include <stddef.h>
#include <stdint.h>
struct ethosu_driver;
struct ethosu_driver *ethosu_reserve_driver(void);
void ethosu_release_driver(struct ethosu_driver *drv);
int ethosu_invoke_v3(struct ethosu_driver *drv, const void *custom_data_ptr, const int custom_data_size,
                     const uint64_t *base_addr, const size_t *base_addr_size, const int num_base_addr,
                     void *user_arg);
"""


def test_core_driver_gets_payload_and_three_regions(build, tmp_path) -> None:
    (tmp_path / "ethosu_driver.h").write_text(FAKE)
    program = build("core_main", "core_driver", "payload", extra=(export() / "model.c",),
                    options=("-DTINYSE_ETHOSU_CORE_DRIVER", f"-I{tmp_path}"))
    data = (export() / "model_vela.tflite").read_bytes()
    parts = npu_parts(data)
    arena = int(re.search(r"TINYSE_ARENA_BYTES +(\d+)", (export() / "model.h").read_text())[1])
    invoke = f"invoke 1 1 {parts.payload_bytes} 3 1 1:{parts.weights_bytes} 1:{arena} 1:{arena}"
    assert output(program, 0, 1) == ["core-driver", "open 0", "reserve", invoke, "release 1", "run 0 1 "]
    assert output(program, -1, 1)[-2:] == [
        "release 1", f"run {ERROR_NPU} 0 ethosu_invoke_v3 failed; the core driver logs why"]
    assert output(program, 0, 0)[-1] == f"run {ERROR_NPU} 0 the core driver has no NPU: ethosu_init comes first"


# Co-simulation


@pytest.fixture(scope="session")
def network(build):
    return build("network_main", "network_npu", "cosim", "payload", options=("-DTINYSE_BACKEND=1",),
                 extra=(HARNESS / "semihosting_posix.c", export() / "model.c"))


def features(count: int) -> np.ndarray:
    bands = NpuEngine.load(export() / "model_vela.tflite").bands
    return np.random.default_rng(3).integers(-128, 128, (count, bands)).astype(np.int8)


def test_cosimulation_equals_the_simulator_bit_for_bit(network, tmp_path) -> None:
    given = features(300)
    (tmp_path / "in").write_bytes(given.tobytes())
    with cosim.serve(export() / "model_vela.tflite", tmp_path) as (request, reply):
        lines = output(network, tmp_path / request, tmp_path / reply, tmp_path / "in", tmp_path / "out")
    assert lines == ["simulator 600"]
    engine = NpuEngine.load(export() / "model_vela.tflite")
    expected = np.stack([engine.step(frame) for frame in given])
    got = np.fromfile(tmp_path / "out", np.int8).reshape(2, *expected.shape)
    np.testing.assert_array_equal(got[0], expected)
    np.testing.assert_array_equal(got[1], expected)
    assert len(np.unique(expected, axis=0)) > 200
    assert not list(tmp_path.glob("npu-*")), "the pipes are removed"


def test_the_wrong_model_is_refused_by_name(network, tmp_path) -> None:
    other = tmp_path / "other_vela.tflite"
    data = bytearray((export() / "model_vela.tflite").read_bytes())
    parts = npu_parts(bytes(data))
    data[parts.payload_offset + parts.payload_bytes - 2] ^= 1  # the parameter of STOP, which means nothing
    other.write_bytes(data)
    (tmp_path / "in").write_bytes(features(1).tobytes())
    with pytest.raises(ModelError, match="other_vela.tflite: is not the model that the image was made from"), \
            cosim.serve(other, tmp_path) as (request, reply):
        done = subprocess.run([network, tmp_path / request, tmp_path / reply, tmp_path / "in", tmp_path / "out"],
                              capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 3
        assert done.stderr.startswith(f"{ERROR_NPU} {other}"[:60])
        raise ToolError("what the firmware's exit code became")


def test_firmware_that_dies_leaves_no_thread_behind(network, tmp_path) -> None:
    (tmp_path / "in").write_bytes(features(20).tobytes())
    before = threading.active_count()
    with cosim.serve(export() / "model_vela.tflite", tmp_path) as (request, reply):
        done = subprocess.run([network, tmp_path / request, tmp_path / reply, tmp_path / "in", tmp_path / "out", "10"],
                              capture_output=True, timeout=30, check=False)
        assert done.returncode < 0
    assert threading.active_count() == before


def test_firmware_that_never_comes_leaves_no_thread_behind(tmp_path) -> None:
    before, start = threading.active_count(), time.monotonic()
    files = len(os.listdir("/proc/self/fd"))
    with cosim.serve(export() / "model_vela.tflite", tmp_path):
        pass
    assert threading.active_count() == before and time.monotonic() - start < 5
    assert len(os.listdir("/proc/self/fd")) == files


def talk(folder: Path, data: bytes) -> bytes:
    """What the host answers to bytes that are no firmware's."""
    request = os.open(folder / cosim.PIPES[0], os.O_WRONLY)
    reply = os.open(folder / cosim.PIPES[1], os.O_RDONLY)
    os.write(request, data)
    os.close(request)
    answer = b""
    while chunk := os.read(reply, 4096):
        answer += chunk
    os.close(reply)
    return answer


@pytest.mark.parametrize(("data", "message"), [
    (struct.pack("<II", 9, 0), "message 9 of 0 bytes"),
    (struct.pack("<II", cosim.RUN, 1 << 31), "message 2 of 2147483648 bytes"),
    (struct.pack("<II5I", cosim.HELLO, 20, cosim.MAGIC, 99, 0, 0, 0), "another version"),
    (struct.pack("<I", cosim.RUN), "closed the NPU's pipe within a message"),
])
def test_garbage_ends_the_session_with_a_line(tmp_path, data, message) -> None:
    with pytest.raises(ToolError, match=message), cosim.serve(export() / "model_vela.tflite", tmp_path):
        answer = talk(tmp_path, data)
        kind, size = struct.unpack_from("<II", answer)
        assert kind == cosim.ERROR and size == len(answer) - 8 <= cosim.MAX_TEXT
        assert message.split()[0] in answer[8:].decode()


def test_a_host_that_dies_is_an_error_of_the_firmware(network, tmp_path) -> None:
    """The reverse: pipes whose host end closes after the greeting."""
    (tmp_path / "in").write_bytes(features(2).tobytes())
    for name in cosim.PIPES:
        os.mkfifo(tmp_path / name)

    def host() -> None:
        request = os.open(tmp_path / cosim.PIPES[0], os.O_RDONLY)
        reply = os.open(tmp_path / cosim.PIPES[1], os.O_WRONLY)
        os.read(request, 28)
        os.write(reply, struct.pack("<II", cosim.DONE, 0))
        os.close(reply)
        os.close(request)

    thread = threading.Thread(target=host)
    thread.start()
    done = subprocess.run([network, *(tmp_path / name for name in cosim.PIPES), tmp_path / "in", tmp_path / "out"],
                          capture_output=True, text=True, timeout=30, check=False)
    thread.join(10)
    assert (done.returncode, done.stderr) == (3, f"{ERROR_NPU} the simulator closed its pipe\n")


# The image on QEMU, with the simulator as its NPU


@lru_cache
def noisy(seconds: float = 2.0) -> Path:
    rng = np.random.default_rng(5)
    time_line = np.arange(int(16000 * seconds)) / 16000
    signal = 0.4 * np.sin(2 * np.pi * 300 * time_line * (1 + time_line)) * (np.sin(7 * time_line) > 0)
    path = firmware_images.scratch() / "npu-noisy.wav"
    wavfile.write(path, 16000, np.round(32767 * (signal + 0.1 * rng.standard_normal(signal.size)).clip(-1, 1))
                  .astype(np.int16))
    return path


@lru_cache
def emulated(board: str, target: str, once: int = 1) -> Run:
    return emulate(image(board, "npu", target=target).elf, board, noisy(), network=True,
                   npu_model=npu_model(target=target))


@needs_compiler
@needs_qemu
@pytest.mark.qemu
@pytest.mark.parametrize(("board", "target"), [("corstone300", NPU), ("corstone300-u65", "ethos-u65-256")])
def test_the_image_on_qemu_computes_what_the_simulator_computes(board, target) -> None:
    run = emulated(board, target)
    engine = NpuEngine.load(npu_model(target=target))
    assert run.network is not None
    pairs = np.frombuffer(run.network, np.int8).reshape(-1, 2, engine.bands)
    expected = np.stack([engine.step(frame) for frame in pairs[:, 0]])
    np.testing.assert_array_equal(pairs[:, 1], expected)
    assert len(pairs) == run.results.frames >= 125 and len(np.unique(expected, axis=0)) > 60
    npu = run.results.npu
    assert npu is not None and (npu.name, npu.runs, npu.cycles, npu.axi1_read) == ("simulator", len(pairs), 0, 0)
    assert run.results.timing_adapters is None, "QEMU has none"


@needs_compiler
@needs_qemu
@pytest.mark.qemu
def test_ticks_do_not_depend_on_how_long_the_host_takes() -> None:
    assert emulated("corstone300", NPU, 2).results == emulated("corstone300", NPU, 1).results


@needs_compiler
@needs_qemu
@pytest.mark.qemu
def test_an_image_without_its_npu_says_so() -> None:
    with pytest.raises(ExportError, match="ethos-u55: no Ethos-U answers at its base address"):
        emulate(image("corstone300", "npu").elf, "corstone300", noisy())


@needs_compiler
@needs_qemu
@pytest.mark.qemu
def test_an_image_refuses_another_model_on_qemu() -> None:
    with pytest.raises(ModelError, match="is not the model that the image was made from"):
        emulate(image("corstone300", "npu").elf, "corstone300", noisy(), npu_model=npu_model("wide"))
