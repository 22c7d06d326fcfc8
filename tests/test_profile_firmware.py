import dataclasses
import json
import os
import pty
import re
import shutil
import subprocess
import tempfile
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from firmware_images import NPU, export, image, needs_compiler, needs_qemu
from hypothesis import given, settings
from hypothesis import strategies as st
from test_profile_fvp import standin, transcript

from tinyse.core.errors import AudioError, ModelError, TinyseError, ToolError
from tinyse.core.origin import Origin, Source
from tinyse.export.reader import read
from tinyse.export.targets import load_target
from tinyse.firmware.elf import memory_of, read_image
from tinyse.firmware.results import parse
from tinyse.measure.costs import execution, render
from tinyse.measure.costs.board import read_board
from tinyse.measure.costs.budget import ASSUMED, frame_budget
from tinyse.measure.costs.compare import compare
from tinyse.measure.costs.execution import Options, Where, choose
from tinyse.measure.costs.firmware import STAGE_NAMES
from tinyse.measure.costs.memory import image_memory
from tinyse.measure.costs.page import html
from tinyse.measure.costs.pipeline import profile
from tinyse.measure.costs.signals import generated, samples, write_signal

qemu = pytest.mark.qemu
DENSE = Path(__file__).parents[1] / "models" / "tinylstm-dense" / "model_int8.tflite"
M55, M7, U55 = load_target("cortex-m55"), load_target("cortex-m7"), load_target(NPU)
REPORT = next(line for line in transcript("good").splitlines() if line.startswith("{"))


@pytest.fixture(autouse=True)
def no_fvp(monkeypatch):
    monkeypatch.setattr(execution.fvp, "find", lambda path=None: path)


@lru_cache
def on_qemu(target, backend=None, model="small"):
    return profile(export(model, target), firmware=Options("qemu", backend=backend))


def measured(**changes):
    """A run as a board reports it."""
    run = execution._measured(parse(REPORT), Origin(Source.MEASURED, "test", "FVP"), "x")
    return dataclasses.replace(run, **changes)


# The image


@needs_compiler
@qemu
def test_elf_agrees_with_binutils():
    built = image("corstone300")
    found = read_image(built.elf)
    rows = subprocess.run(["arm-none-eabi-size", "-A", built.elf], check=True, capture_output=True, text=True).stdout
    rows = re.findall(r"^(\.\S+) +(\d+) +(\d+)", rows, re.M)
    sizes = {name: (int(size), int(address)) for name, size, address in rows}
    assert found.sections and all(sizes[each.name] == (each.size, each.address) for each in found.sections)
    rows = subprocess.run(["arm-none-eabi-nm", "-S", built.elf], check=True, capture_output=True, text=True).stdout
    for name in ("tinyse_process_int16", "arena", "state"):
        address, size = re.search(rf"^(\S+) (\S+) \S {name}$", rows, re.M).groups()
        assert (found.symbol(name).address, found.symbol(name).size) == (int(address, 16) & ~1, int(size, 16))
    with pytest.raises(ModelError, match="no symbol nothing_such"):
        found.symbol("nothing_such")
    text = found.section(".text")
    assert found.file_offset(text.address + 6) == text.offset + 6
    with pytest.raises(ModelError, match="nothing is loaded at 0x50000000"):
        found.file_offset(0x50000000)


@needs_compiler
@qemu
@settings(max_examples=40)
@given(st.data())
def test_damaged_elf_is_one_line(tmp_path_factory, data):
    whole = bytearray(image("corstone300").elf.read_bytes())
    file = tmp_path_factory.getbasetemp() / "damaged.elf"
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole) - 1)):]
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, min(len(whole), 64) - 1)) if whole else 0
        if whole:
            whole[at] = data.draw(st.integers(0, 255))
    file.write_bytes(whole)
    try:
        read_image(file)
    except ModelError as error:
        assert "\n" not in error.line() and error.hint


def test_what_is_no_elf(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        read_image(tmp_path / "none")
    (tmp_path / "text").write_text("text")
    with pytest.raises(ModelError, match="is no ELF file"):
        read_image(tmp_path / "text")
    with pytest.raises(ModelError, match="not for a 32-bit Arm"):
        read_image(shutil.which("sh"))


@needs_compiler
@qemu
def test_buffers_are_where_the_target_wants_them():
    for board, target in (("corstone300", M55), ("stm32f746g-disco", M7)):
        memory = image_memory(read_image(image(board).elf), target)
        assert memory.problems == () and all(each.right for each in memory.placements)
        assert [each.name for each in memory.placements] == ["model", "arena", "code", "stack", "state"]
        assert sum(each.used for each in memory.budgets) == memory.text + memory.rodata + 2 * memory.data + memory.bss
        assert all(0 < each.left < each.size for each in memory.budgets)


@needs_compiler
@qemu
def test_buffers_in_the_wrong_place_are_named():
    found = read_image(image("corstone300").elf)
    memory = image_memory(found, M7)
    assert any("arena is in no memory" in line for line in memory.problems)
    assert any(line.startswith(".model at 0x70000000") for line in memory.problems)
    swapped = dataclasses.replace(M55, memories=tuple(
        dataclasses.replace(each, holds=tuple(held for held in each.holds if held != "arena")
                            + (("arena",) if each.name == "dtcm" else ())) for each in M55.memories))
    assert image_memory(found, swapped).problems == ("arena is in sram, cortex-m55 wants it in dtcm",)


def test_memory_of_an_address():
    assert memory_of(M7, 0x08000000).name == "flash" and memory_of(M7, 0x080FFFFF).name == "flash"
    assert memory_of(M7, 0x080FFFFF, 2) is None and memory_of(M7, 0x07FFFFFF) is None


# The budget


def test_budget_of_measured_cycles():
    budget = frame_budget(measured(backend="cpu", npu=None), U55)
    assert budget.origin.label == "measured (FVP)" and budget.cpi_low == budget.cpi_high == 1
    assert budget.low == budget.high == 933_000 and budget.most_high == 934_000
    assert budget.percent(budget.low) == pytest.approx(100 * 933_000 / 8e6)
    assert budget.milliseconds(budget.low) == pytest.approx(1.866)
    assert [each.stage for each in budget.shares] == list(STAGE_NAMES)


def test_instructions_become_a_range_that_is_never_called_measured():
    run = measured(origin=Origin(Source.EMULATED, "QEMU"), unit="instructions", core="cortex-m7", backend="cpu")
    budget, cpi = frame_budget(run, M7), ASSUMED["cortex-m7"]
    assert budget.origin.label == "emulated x assumed CPI" and "assum" in budget.origin.label
    assert (budget.low, budget.high) == pytest.approx((933_000 * cpi.low, 933_000 * cpi.high))
    assert "measured" not in render.plain(render.Table("", notes=(budget.origin.label, budget.origin.tool)))
    assert frame_budget(dataclasses.replace(run, core="host"), M7) is None
    assert frame_budget(measured(unit="ns"), M7) is None


def test_network_on_an_npu_is_not_the_processors():
    budget = frame_budget(measured(), U55)
    assert "network" not in [each.stage for each in budget.shares] and budget.low == 73_000


# Running it


@needs_compiler
@needs_qemu
@qemu
def test_processor_path_twice_the_same():
    first, again = on_qemu("cortex-m55"), profile(export("small", "cortex-m55"), firmware=Options("qemu"))
    assert first.firmware == again.firmware and first.memory == again.memory
    run = first.firmware
    assert run.origin.label == "emulated" and run.unit == "instructions" and not run.transfer and run.npu is None
    assert (run.board, run.core, run.backend, run.kernels) == ("corstone300", "cortex-m55", "cpu", "mve")
    assert sum(each.total for each in run.stages) <= run.frame.total
    assert all(0 < each.mean <= each.most for each in run.stages)
    assert run.ends == pytest.approx(sum(each.mean for each in run.stages) - run.stage("network").mean)
    assert run.ends < 150_000
    assert 0 < run.stack_used < run.stack_bytes
    assert first.budget.origin.label == "emulated x assumed CPI"


@needs_compiler
@needs_qemu
@qemu
def test_m7_runs_on_an500_and_its_memory_is_the_real_parts():
    found = on_qemu("cortex-m7")
    assert (found.firmware.board, found.firmware.kernels) == ("mps2-an500", "dsp")
    assert found.memory.board == "stm32f746g-disco" and found.memory.problems == ()
    text = "\n".join(render.plain(table) for table in render.tables(found))
    assert "computational latency" in text and "2.39 ms" in text and "are an assumption" in text


@needs_compiler
@needs_qemu
@qemu
def test_way_to_the_simulator_is_no_network_cost():
    found = on_qemu(NPU)
    run = found.firmware
    assert run.transfer and run.backend == "npu" and run.npu.runs == run.frames
    assert run.npu_origin.label == "simulated" and run.npu.cycles == 0
    assert "network" not in [each.stage for each in found.budget.shares]
    assert not [row for row in compare(found, found) if row.name.startswith("network (")]
    text = "\n".join(render.plain(table) for table in render.tables(found))
    assert "way to the NPU simulator" in text and "no cost of the network" in text
    assert "network on the NPU, estimated (Vela" in text
    titles = [table.title for table in render.tables(found)]
    for title in titles:  # never two kinds in one table
        assert sum(word in title for word in ("measured", "emulated", "simulated", "estimated", "exact")) <= 1, title


@needs_compiler
@needs_qemu
@qemu
def test_forced_to_the_processor():
    run = on_qemu(NPU, "cpu").firmware
    assert run.backend == "cpu" and run.npu is None and not run.transfer


@needs_compiler
@needs_qemu
@qemu
def test_arms_runner_beside_ours():
    found = profile(export("wide", "cortex-m55"), firmware=Options("qemu", arm=True))
    assert found.runner.time_steps == 1 and found.runner.instructions > found.firmware.stage("network").mean
    table = next(table for table in render.tables(found) if table.title.startswith("Arm's prebuilt runner"))
    assert "patched" in table.title and "patched" in table.rows[0][0]
    (ratio,) = [note.partition(": ")[2] for note in table.notes if note.startswith("ours / TFLM")]
    assert float(ratio) == pytest.approx(found.firmware.stage("network").mean / found.runner.instructions, abs=5e-4)
    names = [row.name for row in compare(found, found)]
    assert "Arm's TFLM + CMSIS-NN (cortex-m55)" in names and len(set(names)) == len(names)


@needs_compiler
@qemu
def test_fvp_by_a_stand_in(tmp_path):
    found = profile(export("small", NPU), firmware=Options("fvp", fvp=standin(tmp_path, "good")))
    run = found.firmware
    assert run.origin.label == "measured (FVP)" and run.unit == "cycles" and not run.transfer
    assert run.npu.cycles == 8_538_640 and run.npu_origin.label == "measured (FVP)"
    assert run.timing_adapters["flash"] == {"read_latency": 64, "write_latency": 0}
    text = "\n".join(render.plain(table) for table in render.tables(found))
    assert "853,864" in text and "timing adapter flash: read_latency 64" in text and "not cycle-accurate" in text
    assert "787,008" in text  # bytes of model beats: 983,760 * 8 / 10


@needs_compiler
@qemu
def test_fvp_that_fails_is_an_error(tmp_path):
    with pytest.raises(ToolError, match="libpython"):
        profile(export("small", NPU), firmware=Options("fvp", fvp=standin(tmp_path, "library", 127)))


@needs_compiler
@qemu
def test_arms_runner_on_the_fvp(tmp_path, monkeypatch):
    monkeypatch.setattr(execution.runner, "runner", lambda build: Path("runner.axf"))
    found = execution.runner.run_on_fvp(export("small", NPU) / "model_vela.tflite", standin(tmp_path, "runner"), U55)
    assert found.origin.label == "measured (FVP)" and found.npu.cycles == 853_864 and found.instructions is None


def test_host_is_timed():
    if not shutil.which("cc"):
        pytest.skip("apt-get install gcc")
    run = profile(export("small", "cortex-m7"), firmware=Options("host")).firmware
    assert run.origin.label == "measured (host)" and run.unit == "ns" and run.backend == "cpu"
    assert run.frames == 62 and all(each.total > 0 for each in run.stages)


def test_board_over_a_terminal():
    master, slave = pty.openpty()
    text = f"gin\r\nhalf a report\r\ntinyse results begin\r\n{REPORT}\r\ntinyse results end\r\n\4"
    name = os.ttyname(slave)
    writer = threading.Timer(0.2, os.write, (master, text.encode()))
    writer.start()
    try:
        results = read_board(Path(name), 10)
    finally:
        writer.join()
        os.close(master)
        os.close(slave)
    assert results.frames == 10 and results.npu.runs == 10


def test_board_profile_end_to_end(monkeypatch):
    monkeypatch.setattr(execution.board, "read_board", lambda device: parse(REPORT))
    found = profile(export("small", NPU), firmware=Options("board:/dev/ttyX"))
    assert found.firmware.origin == Origin(Source.MEASURED, "/dev/ttyX", "board") and found.memory is None
    with pytest.raises(ToolError, match="its own noise"):
        profile(export("small", NPU), firmware=Options("board:/dev/ttyX", wav=Path("a.wav")))


def test_board_that_says_nothing_or_why_it_stopped(tmp_path):
    with pytest.raises(ToolError, match="No such file"):
        read_board(tmp_path / "ttyNone")
    for text, line in ((b"", "nothing in 0.3 s"), (b"noise", "5 bytes that are no report"),
                       (b"tinyse: fault at 0x4\n", "fault at 0x4")):
        master, slave = pty.openpty()
        try:
            if text:
                threading.Timer(0.1, os.write, (master, text)).start()
            with pytest.raises(ToolError, match=line):
                read_board(Path(os.ttyname(slave)), 0.3)
        finally:
            os.close(master)
            os.close(slave)


# What to run on


def test_preference(monkeypatch):
    monkeypatch.setattr(execution.shutil, "which", lambda name: f"/bin/{name}")
    assert choose(Options(), M55) == (Where.QEMU, "")
    monkeypatch.setattr(execution.fvp, "find", lambda path=None: path or "/opt/FVP")
    assert choose(Options(), M55) == choose(Options("fvp"), U55) == (Where.FVP, "/opt/FVP")
    assert choose(Options("qemu"), U55)[0] is Where.QEMU and choose(Options(), M7)[0] is Where.QEMU
    assert choose(Options("host"), U55)[0] is Where.HOST
    assert choose(Options("board:/dev/x"), U55) == (Where.BOARD, "/dev/x")
    for options in (Options("fvp"), Options(fvp="/opt/FVP")):
        with pytest.raises(ToolError, match="cortex-m7 has not"):
            choose(options, M7)
    with pytest.raises(ToolError, match="models the Ethos-U55, not ethos-u65-256"):
        choose(Options(), load_target("ethos-u65-256"))


def test_nothing_there_is_one_line_or_an_error(monkeypatch):
    folder = export("small", "cortex-m55")
    monkeypatch.setattr(execution.shutil, "which", lambda name: None)
    found = profile(folder, firmware=Options())
    (line,) = [line for line in found.skipped if line.startswith("firmware: ")]
    assert line.startswith("firmware: qemu-system-arm and arm-none-eabi-gcc and make missing (apt-get install")
    assert found.firmware is None and found.sizes.weights
    for options in (Options("qemu"), Options("fvp"), Options(arm=True)):
        with pytest.raises(TinyseError):
            profile(folder, firmware=options)


def test_compiled_file_alone_has_no_firmware():
    found = profile(export("small", NPU) / "vela" / ".." / "model_vela.tflite", NPU, Options())
    assert found.firmware is None and any("built from the int8 file" in line for line in found.skipped)


# Signals, JSON, page


def test_signal_is_the_same_everywhere(tmp_path):
    path, name = write_signal(tmp_path)
    pcm = samples(path)
    assert len(pcm) == 16000 and (pcm == generated()).all() and "generated" in name
    assert 3000 < abs(pcm.astype(int)).max() < 32768
    with pytest.raises(AudioError, match="no such file"):
        write_signal(tmp_path, tmp_path / "none.wav")
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError):
        samples(tmp_path / "bad.wav")


@needs_compiler
@needs_qemu
@qemu
def test_json_and_page_hold_everything_and_repeat():
    found = on_qemu(NPU)
    document = render.to_json(found)
    assert document["schema"] == 5 and json.loads(json.dumps(document))["firmware"]["origin"]["source"] == "emulated"
    assert document["memory"]["placements"][0]["name"] == "model" and document["budget"]["cpi_high"] > 1
    page = html([found], render.tables(found))
    assert page == html([found], render.tables(found)) and page.count("data:image/png") == 2
    assert "src=\"http" not in page and "emulated x assumed CPI" in page
    both = html([found, on_qemu("cortex-m55")], [])
    assert both.count("data:image/png") == 1


# The bars


@lru_cache
def beside_arms(share):
    """The released dense model with ``share`` of its 16x4 blocks set to zero, ours and Arm's in one run."""
    folder = Path(tempfile.mkdtemp(prefix="tinyse-test-"))
    file = folder / "model.tflite"
    file.write_bytes(zeroed_blocks(DENSE.read_bytes(), share))
    try:
        return profile(file, "cortex-m55", Options("qemu", arm=True))
    finally:
        shutil.rmtree(folder)


def zeroed_blocks(data, share):
    """The int8 file with ``share`` of the blocks of 16 inputs by 4 outputs of every matrix set to zero."""
    changed, rng = bytearray(data), np.random.default_rng(1)
    for matrix in read(data).matrices:
        at = data.find(matrix.tobytes())
        assert at >= 0 and data.find(matrix.tobytes(), at + 1) < 0
        rows, columns = matrix.shape
        blocks = rng.random((-(-rows // 4), -(-columns // 16))) >= share
        kept = np.kron(blocks, np.ones((4, 16), bool))[:rows, :columns]
        changed[at:at + matrix.size] = np.where(kept, matrix, 0).astype(np.int8).tobytes()
    return bytes(changed)


@needs_compiler
@needs_qemu
@qemu
@pytest.mark.parametrize(("share", "most"), [(0, 0.8), (0.85, 0.25)])
def test_mve_network_against_tflm_and_cmsis_nn(share, most):
    found = beside_arms(share)
    assert found.sizes.nonzero <= (1 - share + 0.01) * found.sizes.weights
    assert found.firmware.kernels == "mve" and "patched Arm runner: TFLM + CMSIS-NN" in found.runner.origin.tool
    assert found.firmware.stage("network").mean <= most * found.runner.instructions
    assert found.firmware.ends < 150_000
