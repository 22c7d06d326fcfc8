"""What can be said of the firmware without running it: the depth of its stack, and what static analysers find."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from firmware_images import NPU, image, needs_compiler, needs_qemu, npu_model, project, scratch
from firmware_stack import ENTRIES, deepest, stack_bound

from tinyse.core.errors import ModelError, ToolError
from tinyse.firmware.qemu import run
from tinyse.firmware.vendor import vendor

SMALL = "-mcpu=cortex-m55 -mthumb -mfloat-abi=hard -O2 -nostartfiles --specs=nano.specs -fno-inline"
IMAGES = [("corstone300", "cpu"), ("corstone300", "npu"), ("mps2-an500", "cpu")]


def linked(folder: Path, body: str) -> Path:
    """A little image of one file, whose entry is f; the folder of its build."""
    (folder / "f.c").write_text(f"#include <string.h>\n{body}\nvoid _start(void) {{ f(3); }}\n")
    for step in (["-fstack-usage", "-fcallgraph-info=su", "-c", "f.c", "-o", "f.o"], ["f.o", "-o", "tinyse.elf"]):
        subprocess.run(["arm-none-eabi-gcc", *SMALL.split(), *step], cwd=folder, check=True, capture_output=True)
    return folder


def noise(seconds: float = 0.5) -> Path:
    path = scratch() / f"noise-{seconds}.wav"
    samples = np.random.default_rng(0).normal(0, 0.1, int(16000 * seconds))
    soundfile.write(path, samples, 16000, subtype="PCM_16")
    return path


@needs_qemu
@needs_compiler
@pytest.mark.qemu
@pytest.mark.parametrize(("board", "backend"), IMAGES)
def test_the_bound_holds_what_the_painted_stack_shows(board, backend):
    built = image(board, backend)
    models = [npu_model()] if backend == "npu" else []
    stack = run(built.elf, board, noise(), npu_models=models).results.stack
    whole, hop = deepest(built.folder, "tinyse_start"), deepest(built.folder, "tinyse_process_int16")
    assert stack.used <= whole.bytes <= stack.bytes
    assert whole.bytes <= 1.2 * stack.used + 32, "a bound that nothing comes near is a wrong graph"
    assert stack.used - (whole.bytes - hop.bytes) <= hop.bytes
    for entry in ENTRIES:
        assert 0 < stack_bound(built.folder, entry) <= 1024, "tinyse.h: a few hundred bytes"


@needs_compiler
@pytest.mark.qemu
def test_the_bound_counts_assembly_and_pointers_that_gcc_knows_nothing_of():
    path = deepest(image("corstone300", "npu").folder, "tinyse_network_run").path
    assert path[1][0] in ("cosim.c:run_npu", "ethosu.c:run_npu")
    naked = deepest(image("corstone300").folder, "tinyse_kernel_multiply").path
    assert naked[-1][0].startswith("kernels_product_mve.c:") and naked[-1][1] == 40  # push {r0, r4-r11, lr}


@needs_compiler
def test_frames_add_up_along_the_deepest_chain(tmp_path):
    bound = deepest(linked(tmp_path, """
        int h(int n) { volatile char a[200]; memset((char *)a, n, sizeof a); return a[n]; }
        int g(int n) { volatile char a[40]; a[n] = 1; return h(n) + a[n]; }
        int f(int n) { return g(n) + h(n); }"""), "f")
    assert [name for name, _ in bound.path] == ["f", "g", "h", "memset"]
    assert bound.bytes == sum(frame for _, frame in bound.path) >= 240
    frames = dict(line.split("\t")[:2] for line in (tmp_path / "f.su").read_text().splitlines())
    for name, frame in bound.path[:3]:
        assert int(frames[next(key for key in frames if key.endswith(f":{name}"))]) == frame


@needs_compiler
@pytest.mark.parametrize(("body", "says"), [
    ("int g(int n); int f(int n) { return n ? g(n - 1) * 3 : 1; } int g(int n) { return f(n) + 1; }",
     "recursion: f calls g calls f"),
    ("int g(int *a) { return a[1]; } int f(int n) { int a[n]; a[1] = n; return g(a) + 1; }",
     "frame of f is known at run"),
    ("int (*volatile g)(int); int f(int n) { return g(n) + 1; }", "f calls through a pointer at f.c:2:"),
    ("int f(int n) { __asm volatile(\"sub sp, sp, %0\" : : \"r\"(n)); return n; }", "frame of f is known at run"),
])
def test_what_has_no_bound_is_refused(tmp_path, body, says):
    with pytest.raises(ModelError, match=says):
        stack_bound(linked(tmp_path, body), "f")


@needs_compiler
def test_a_declared_pointer_is_followed(tmp_path):
    folder = linked(tmp_path, """
        int h(int n) { volatile char a[200]; a[n] = 1; return a[n]; }
        int (*volatile g)(int) = h;
        int f(int n) { return g(n) + 1; }""")
    assert stack_bound(folder, "f", {"f.c": ("h",)}) == stack_bound(folder, "f", {"f.c": ()}) + stack_bound(folder, "h")


@needs_compiler
def test_the_stack_of_no_build(tmp_path):
    with pytest.raises(ToolError, match="no build with call graphs"):
        stack_bound(tmp_path, "f")
    with pytest.raises(ModelError, match="has no function g"):
        stack_bound(linked(tmp_path, "int f(int n) { return n; }"), "g")


# Static analysis

FIRMWARE = Path(__file__).resolve().parents[1] / "firmware"
NOT_ON_A_HOST = {"cache.c", "fault.c", "semihosting.c", "stack.c", "startup.c"}  # Arm assembly
CORES = {"mve": ["-D__ARM_FEATURE_MVE=3", "-D__ARM_FEATURE_DSP=1"],
         "dsp": ["-U__ARM_FEATURE_MVE", "-D__ARM_FEATURE_DSP=1"],
         "portable": ["-U__ARM_FEATURE_MVE", "-U__ARM_FEATURE_DSP"]}
ANALYZER = ["-O2", "-fanalyzer", "-Wall", "-Wextra", "-Werror"]
WRONG = "int f(int n); int f(int n) { int a[4] = {0}; int *b = n ? a : 0; a[n & 3] = *b; return a[4] + a[n & 3]; }\n"
needs_host_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="apt-get install gcc")
needs_cppcheck = pytest.mark.skipif(shutil.which("cppcheck") is None, reason="apt-get install cppcheck")


def findings(command: list[str], folder: Path) -> str:
    """What a tool has to say; "" where it is content."""
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return run.stdout + run.stderr if run.returncode else ""


def compilations(folder: Path, board: str, backend: str) -> list[list[str]]:
    """The project's own commands for its own C, without what they would write."""
    plan = subprocess.run(["make", "-nB", f"BOARD={board}", f"BACKEND={backend}"], cwd=folder, check=True, text=True,
                          capture_output=True).stdout
    commands = [shlex.split(line) for line in plan.splitlines() if " -c " in line and " -c third_party/" not in line]
    side = {"-MMD", "-MP", "-fstack-usage", "-fcallgraph-info=su"}
    return [[word for word in command[:command.index("-o")] if word not in side] for command in commands]


@needs_compiler
@pytest.mark.qemu
@pytest.mark.parametrize(("board", "backend"), [*IMAGES, ("stm32f746g-disco", "cpu"), ("stm32h743zi", "cpu")])
def test_gccs_analyzer_finds_nothing(board, backend):
    folder = project("small", NPU)
    commands = compilations(folder, board, backend)
    assert {"src/tinyse.c", "app/wav.c", f"boards/{board}/board.c"} <= {command[-1] for command in commands}
    for command in commands:
        assert findings([*command, *ANALYZER, "-o", "/dev/null"], folder) == ""


@needs_host_gcc
@pytest.mark.parametrize("backend", [0, 1])
def test_gccs_analyzer_finds_nothing_on_the_host(backend):
    folder, dsp = project("small", NPU), vendor().dsp
    command = ["gcc", "-std=c11", "-D__GNUC_PYTHON__", f"-DTINYSE_BACKEND={backend}", *ANALYZER, "-Iinclude", "-Isrc",
               "-Iapp", "-Imodel", "-Iboards/corstone300", "-isystem", f"{dsp}/Include", "-isystem",
               f"{dsp}/PrivateInclude", "-o", "/dev/null", "-c"]
    files = [path for path in [*folder.glob("src/*.c"), *folder.glob("app/*.c"), *FIRMWARE.glob("fuzz/*.c")]
             if path.name not in NOT_ON_A_HOST]
    for file in files:
        assert findings([*command, str(file)], folder) == ""


@needs_cppcheck
@pytest.mark.parametrize(("core", "backend"), [("mve", 0), ("mve", 1), ("dsp", 0), ("portable", 0)])
def test_cppcheck_finds_nothing(core, backend):
    assert cppcheck(project("small", NPU), ["src", "app", "boards", "model", str(FIRMWARE / "fuzz")],
                    [f"-DTINYSE_BACKEND={backend}", *CORES[core]]) == ""


def cppcheck(folder: Path, paths: list[str], defines: list[str]) -> str:
    return findings(["cppcheck", "--quiet", "--std=c11", "--platform=unix32", "--inconclusive", "--error-exitcode=1",
                     "--enable=warning,performance,portability", f"--suppressions-list={FIRMWARE / 'cppcheck.txt'}",
                     "-D__GNUC__=12", *defines, "-Iinclude", "-Isrc", "-Iapp", "-Imodel", "-Iboards/corstone300",
                     "-Iboards/stm32", *paths], folder)


@needs_cppcheck
@needs_host_gcc
def test_the_analysers_do_find_what_is_wrong(tmp_path):
    (tmp_path / "wrong.c").write_text(WRONG)
    assert "wrong.c" in findings(["gcc", *ANALYZER, "-c", "wrong.c", "-o", "/dev/null"], tmp_path)
    assert "arrayIndexOutOfBounds" in cppcheck(tmp_path, ["wrong.c"], [])
