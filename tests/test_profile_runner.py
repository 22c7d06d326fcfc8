import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from tflite_micro import runtime
from tiny_models import tiny_tflite

from tinyse.core.errors import ModelError, ToolError
from tinyse.firmware.elf import read_image
from tinyse.measure.costs import hook, runner

MODEL = Path(__file__).parents[1] / "models" / "tinylstm-dense" / "model_int8.tflite"

qemu = pytest.mark.qemu
needs = pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="apt-get install qemu-system-arm")


@pytest.fixture(scope="module")
def arm():
    try:
        return runner.runner()
    except ToolError as error:
        pytest.skip(error.line())


@lru_cache(maxsize=4)
def counted(model, features):
    return runner.run_on_qemu(model, features)


def features(seed=0):
    return np.random.default_rng(seed).integers(-128, 128, 128).astype(np.int8)


def test_branch_encoding_against_the_assembler(tmp_path):
    if not shutil.which("arm-none-eabi-as"):
        pytest.skip("apt-get install gcc-arm-none-eabi")
    places = [(0, 4), (0x1000, 0x154B4), (0x320E, 0x28A0), (0x100000, 0x10), (0x10, 0xFFFFF0)]
    for at, to in places:
        source, made, flat = tmp_path / "a.s", tmp_path / "a.elf", tmp_path / "a.bin"
        source.write_text(f".syntax unified\n.thumb\n.globl _start\n.thumb_func\n_start: bl target\n"
                          f".globl target\n.thumb_set target, {to:#x}+1\n")
        subprocess.run(["arm-none-eabi-gcc", "-mcpu=cortex-m55", "-nostdlib", f"-Wl,-Ttext={at:#x}", "-o", made,
                        source], check=True, capture_output=True)
        subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", "-j", ".text", made, flat], check=True)
        assert flat.read_bytes()[:4] == hook.branch_with_link(at, to), hex(at)


def test_hook_disassembles_to_what_its_comments_say(tmp_path):
    if not shutil.which("arm-none-eabi-objdump"):
        pytest.skip("apt-get install binutils-arm-none-eabi")
    code = tmp_path / "hook.bin"
    code.write_bytes(hook.hook_code(0x28A0, 0x154B4, 0x94000000))
    shown = subprocess.run(["arm-none-eabi-objdump", "-D", "-b", "binary", "-marm", "-Mforce-thumb", "-Mreg-names-std",
                            "--adjust-vma=0x28a0", code], check=True, capture_output=True, text=True).stdout
    words = re.findall(r"^\s+28[0-9a-f]+:\t[0-9a-f ]+\t(\S+)", shown, re.M)[:12]
    assert words == ["push", "ldr", "movs", "str", "ldr", "ldr", "bl", "ldr", "ldr", "str", "str", "pop"]
    assert "0x154b4" in shown


def test_patch_changes_nothing_but_the_hook_and_its_call(arm):
    before, image = arm.read_bytes(), read_image(arm)
    after = hook.patch(image, before, runner.COUNTERS)
    assert len(after) == len(before)
    changed = [at for at in range(len(before)) if before[at] != after[at]]
    init, caller = image.symbol(hook.INIT), image.symbol(hook.CALLER)
    inside = [range(image.file_offset(each.address), image.file_offset(each.address) + each.size)
              for each in (init, caller)]
    assert changed and all(any(at in part for part in inside) for at in changed)
    assert after[inside[0][0]:][:4] == bytes.fromhex("00207047")
    with pytest.raises(ToolError, match="not the runner"):
        hook.patch(image, after, runner.COUNTERS)


@qemu
@needs
def test_same_model_same_input_same_count_and_tflms_own_answer(arm):
    given = features()
    first, again = counted(MODEL, given.tobytes()), runner.run_on_qemu(MODEL, given.tobytes())
    assert first == again
    assert first.time_steps == 1 and first.operators[:1] == ("UNIDIRECTIONAL_SEQUENCE_LSTM",)
    assert first.origin.label == "emulated" and "patched" in first.origin.tool
    # 966,656 weights: a vector unit takes well under an instruction each, and more than 1/16.
    assert 966_656 / 16 < first.instructions < 966_656
    host = runtime.Interpreter.from_file(str(MODEL))
    host.set_input(given.reshape(1, 1, 128), 0)
    host.invoke()
    assert bytes.fromhex(first.output) == host.get_output(0).tobytes()


@qemu
@needs
def test_smaller_model_takes_fewer_instructions(arm, tmp_path):
    file = tmp_path / "tiny.tflite"
    file.write_bytes(tiny_tflite())
    assert runner.run_on_qemu(file).instructions < counted(MODEL, features().tobytes()).instructions / 2


def test_compiled_model_is_refused(tmp_path):
    file = tmp_path / "model_vela.tflite"
    file.write_bytes(b"\0\0\0\0TFL3 ethos-u")
    with pytest.raises(ModelError, match="compiled for the NPU"):
        runner.run_on_qemu(file)


@qemu
@needs
def test_what_the_runner_refuses_is_one_line(arm, tmp_path):
    file = tmp_path / "text.tflite"
    file.write_bytes(b"\0\0\0\0TFL3" + b"x" * 400)
    with pytest.raises((ModelError, ToolError)) as caught:
        runner.run_on_qemu(file)
    assert "\n" not in caught.value.line()


def test_missing_qemu_is_one_line(arm):
    with pytest.raises(ToolError, match="qemu-none is not there"):
        runner.run_on_qemu(MODEL, qemu="qemu-none")
