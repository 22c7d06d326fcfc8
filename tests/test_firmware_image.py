"""The images on QEMU: a WAV in, a WAV and results out, the same twice; and one line for whatever goes wrong."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from firmware_audio import read_wav, sound, write_wav
from firmware_images import export, image, needs_compiler, needs_qemu, npu_model, project

from tinyse.cli import main
from tinyse.core.errors import AudioError, ExportError, TinyseError, ToolError
from tinyse.engines.enhance import enhance_signal
from tinyse.engines.tflm import TflmEngine
from tinyse.export.targets import load_target
from tinyse.firmware import qemu, results, stamp
from tinyse.firmware.build import Backend, build, built_at
from tinyse.firmware.elf import memory_of, read_image
from tinyse.firmware.project import write_project
from tinyse.sound import Bands, Ends

pytestmark = [pytest.mark.qemu, needs_compiler, needs_qemu]
IMAGES = [("corstone300", "cpu", "auto"), ("corstone300", "cpu", "portable"), ("mps2-an500", "cpu", "auto"),
          ("corstone300", "npu", "auto")]


def emulate(board: str, backend: str, kernels: str, wav: Path, out: Path | None = None, **options) -> qemu.Run:
    models = [npu_model()] if backend == "npu" else []
    return qemu.run(image(board, backend, kernels).elf, board, wav, out, npu_models=models, **options)


@pytest.mark.parametrize("board, backend, kernels", IMAGES)
def test_enhances_as_the_host_does_and_twice_the_same(board, backend, kernels, tmp_path):
    samples = sound(7001)
    wav = write_wav(tmp_path / "in.wav", samples)
    first, second = (emulate(board, backend, kernels, wav, tmp_path / f"{name}.wav", network=True) for name in "ab")
    assert first == second
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    heard, engine = read_wav(tmp_path / "a.wav"), TflmEngine.of_bytes(
        (export("small", "cortex-m55") / "model_int8.tflite").read_bytes(), ends=Ends(bands=Bands(count=16)))
    expected = enhance_signal(samples.astype(np.float32) / 32768, engine) * 32768
    assert len(heard) == len(samples)
    error = np.mean((heard - expected) ** 2) / np.mean(expected**2)
    assert 10 * np.log10(error) < (-70 if backend == "cpu" else -35)  # the NPU's network may differ by one step
    told = first.results
    assert (told.board, told.backend, told.frames) == (board, backend, -(-(7001 + 256) // 256))
    assert len(first.network) == told.frames * 2 * 16


@pytest.mark.parametrize("board, backend, kernels", IMAGES)
def test_results_are_whole_and_the_same_on_the_uart(board, backend, kernels, tmp_path):
    wav = write_wav(tmp_path / "in.wav", sound(3000))
    done = emulate(board, backend, kernels, wav)
    told = done.results
    assert results.from_uart(done.uart) == told and done.uart.endswith("\x04")
    best = {"cortex-m55": "mve", "cortex-m7": "dsp"}[told.core]
    assert told.kernels == ("portable" if kernels == "portable" else best)
    assert told.counter.name != "dwt", "QEMU's reads 0: its ticks would all be 0"
    parts = sum(ticks.total for ticks in told.stages.values())
    assert all(0 < ticks.max <= ticks.total for ticks in told.stages.values())
    assert parts < told.frame.total < 1.05 * parts + 600 * told.frames
    assert told.timing_adapters is None
    assert (told.npu is not None) == (backend == "npu")
    if told.npu:
        assert (told.npu.name, told.npu.runs) == ("simulator", told.frames)
    symbols = read_image(image(board, backend, kernels).elf).symbols
    assert symbols["arena"].size == told.arena_bytes and symbols["state"].size == told.state_bytes
    assert 200 < told.stack.used < told.stack.bytes / 2


@pytest.mark.parametrize("samples", [0, 1, 255, 256, 257])
def test_any_length_comes_out_as_long(samples, tmp_path):
    wav = write_wav(tmp_path / "in.wav", sound(samples))
    done = emulate("corstone300", "cpu", "auto", wav, tmp_path / "out.wav")
    assert len(read_wav(tmp_path / "out.wav")) == samples
    assert done.results.frames == (-(-(samples + 256) // 256) if samples else 0)


def riff(*chunks: tuple[bytes, bytes], kind: bytes = b"WAVE") -> bytes:
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + kind + body


def form(code: int = 1, channels: int = 1, rate: int = 16000, bits: int = 16) -> bytes:
    return struct.pack("<HHIIHH", code, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)


DATA = sound(300).tobytes()
GOOD = riff((b"fmt ", form()), (b"data", DATA))
BAD = {
    "empty": (b"", "the WAV's header is cut off"),
    "text": (b"no sound at all, just text that goes on", "not a WAV file"),
    "other riff": (riff((b"fmt ", form()), kind=b"AVI "), "not a WAV file"),
    "cut in the header": (GOOD[:20], "the WAV's header is cut off"),
    "cut in the format": (GOOD[:30], "the WAV's header is cut off"),
    "cut before the data": (GOOD[:36], "the WAV has no data"),
    "cut in the data": (GOOD[:-7], "the WAV's data goes beyond the end of the file"),
    "half a sample": (riff((b"fmt ", form()), (b"data", DATA[:-1])), "the WAV's data is no whole number of samples"),
    "no format": (riff((b"data", DATA)), "the WAV has no format before its data"),
    "stereo": (riff((b"fmt ", form(channels=2)), (b"data", DATA)), "the WAV is not mono"),
    "8 bit": (riff((b"fmt ", form(bits=8)), (b"data", DATA)), "the WAV is not 16-bit PCM"),
    "float": (riff((b"fmt ", form(code=3, bits=32)), (b"data", DATA)), "the WAV is not 16-bit PCM"),
    "44100 Hz": (riff((b"fmt ", form(rate=44100)), (b"data", DATA)),
                 "the WAV has another sample rate than the model"),
}


@pytest.mark.parametrize("data, reason", BAD.values(), ids=BAD)
def test_bad_wav_is_one_line(data, reason, tmp_path):
    (tmp_path / "in.wav").write_bytes(data)
    (tmp_path / "out.wav").write_bytes(b"earlier")
    with pytest.raises(AudioError) as caught:
        emulate("corstone300", "cpu", "auto", tmp_path / "in.wav", tmp_path / "out.wav")
    assert str(caught.value) == f"{tmp_path}/in.wav: {reason}" and "\n" not in caught.value.line()
    assert (tmp_path / "out.wav").read_bytes() == b"earlier"


@pytest.mark.parametrize("extra", [
    riff((b"LIST", b"odd"), (b"fmt ", form()), (b"fact", b"\0" * 4), (b"data", DATA), (b"id3 ", b"x" * 9)),
    riff((b"fmt ", form(code=0xFFFE) + struct.pack("<HHIH14s", 22, 16, 4, 1, b"\0" * 14)), (b"data", DATA)),
], ids=["other chunks", "extensible"])
def test_other_chunks_are_passed_over(extra, tmp_path):
    (tmp_path / "in.wav").write_bytes(extra)
    write_wav(tmp_path / "plain.wav", np.frombuffer(DATA, np.int16))
    for name in ("in", "plain"):
        emulate("corstone300", "cpu", "auto", tmp_path / f"{name}.wav", tmp_path / f"{name}-out.wav")
    assert (tmp_path / "in-out.wav").read_bytes() == (tmp_path / "plain-out.wav").read_bytes()


def test_a_constant_offset_makes_no_step_at_either_end(tmp_path):
    """A firm step of 5 % of full scale is 1638 wide; what is left of it is below the noise."""
    quiet = np.random.default_rng(3).normal(0, 8, 3000).astype(np.int16)
    outputs = []
    for offset in (0, 1638):
        wav = write_wav(tmp_path / "in.wav", quiet + np.int16(offset))
        emulate("corstone300", "cpu", "auto", wav, tmp_path / "out.wav")
        outputs.append(read_wav(tmp_path / "out.wav").astype(int))
    plain, moved = outputs
    assert np.abs(moved).max() <= np.abs(plain).max() + 3 < 64


def test_npu_image_without_an_npu_says_so(tmp_path):
    wav = write_wav(tmp_path / "in.wav", sound(300))
    with pytest.raises(ExportError, match="ethos-u55: no Ethos-U answers"):
        qemu.run(image("corstone300", "npu").elf, "corstone300", wav)


def guest(folder: Path, board: str, *arguments: str, semihosting: bool = True, seconds: float = 20) -> tuple[int, str]:
    """Exit code and UART of an image, past tinyse.firmware.qemu; stopped after ``seconds``."""
    uart = folder / "uart.txt"
    host = ["-semihosting-config", ",".join(["enable=on,target=native", *(f"arg={a}" for a in arguments)])]
    command = ["qemu-system-arm", "-M", *qemu.MACHINES[board], "-display", "none", "-monitor", "none", "-serial",
               f"file:{uart}", *(host if semihosting else []), "-kernel", str(image(board).elf)]
    try:
        code = subprocess.run(command, cwd=folder, timeout=seconds, check=False, capture_output=True).returncode
    except subprocess.TimeoutExpired:
        code = -1
    return code, uart.read_text()


@pytest.mark.parametrize("arguments", [
    (), ("in.wav",), ("a", "b", "c", "--what"), ("a", "b", "c", "--npu", "only"), ("a", "b", "c", "--exit", "1st")])
def test_a_command_line_that_is_none(arguments, tmp_path):
    code, uart = guest(tmp_path, "corstone300", "tinyse", *arguments)
    assert code == qemu.EXIT_USAGE
    assert uart == ("tinyse: error: usage: tinyse IN.wav OUT.wav RESULTS.json [--network FILE] [--npu REQUEST REPLY] "
                    "[--exit N]\n\x04")


@pytest.mark.parametrize("board", ["corstone300", "mps2-an500"])
def test_without_a_host_it_enhances_noise_and_reports(board, tmp_path):
    _, uart = guest(tmp_path, board, semihosting=False, seconds=4)
    told = results.from_uart(uart)
    assert told is not None and told.frames == 64 and told.frame.total > 0
    assert results.complaint(uart) is None


@pytest.mark.parametrize("board", ["corstone300", "mps2-an500"])
def test_a_guest_fault_is_one_line(board, tmp_path):
    """The first instruction of tinyse_init made undefined."""
    built = image(board)
    data = bytearray(built.elf.read_bytes())
    read = read_image(built.elf)
    place = read.symbol("tinyse_init").address
    offset = read.file_offset(place)
    data[offset:offset + 2] = b"\x00\xde"  # udf #0
    broken = tmp_path / "broken.elf"
    broken.write_bytes(data)
    with pytest.raises(ToolError) as caught:
        qemu.run(broken, board, write_wav(tmp_path / "in.wav", sound(300)))
    assert caught.value.line() == (f"firmware on {board}: fault: undefined instruction at {place:#010x}, "
                                   "CFSR 0x00010000")


def test_qemu_that_is_missing_or_too_slow(tmp_path, monkeypatch):
    wav = write_wav(tmp_path / "in.wav", sound(16000))
    elf = image("corstone300").elf
    with pytest.raises(ToolError, match="does not finish on QEMU within 0 s"):
        qemu.run(elf, "corstone300", wav, seconds=0.01)
    with pytest.raises(ExportError, match="QEMU has no stm32f746g-disco"):
        qemu.run(elf, "stm32f746g-disco", wav)
    with pytest.raises(ToolError, match="no-such.elf: no such file"):
        qemu.run(tmp_path / "no-such.elf", "corstone300", wav)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError) as caught:
        qemu.run(elf, "corstone300", wav)
    assert caught.value.line() == "qemu-system-arm is not installed (install it: apt-get install -y qemu-system-arm)"
    with pytest.raises(ToolError, match="arm-none-eabi-gcc is not installed"):
        build(project("small", "cortex-m7"), "mps2-an500", "cpu")


def test_results_are_read_strictly(tmp_path):
    wav = write_wav(tmp_path / "in.wav", sound(300))
    text = emulate("corstone300", "cpu", "auto", wav).uart.splitlines()[1]
    value = json.loads(text)
    stages = {name: ticks for name, ticks in value["stages"].items() if name != "mask"}
    spoilt = {
        "no JSON": text[:-1], "schema 2, not 1": text.replace('"schema":1', '"schema":2'),
        "unknown key 'more'": json.dumps({**value, "more": 1}),
        "has no frames": json.dumps({key: item for key, item in value.items() if key != "frames"}),
        "counter.hz is '9', not a count": json.dumps({**value, "counter": {"name": "dwt", "hz": "9"}}),
        "status 'failed'": json.dumps({**value, "status": "failed"}),
        "stages has no mask": json.dumps({**value, "stages": stages}),
        "npu is no object": json.dumps({**value, "npu": 3}),
    }
    for reason, line in spoilt.items():
        with pytest.raises(ToolError, match=reason):
            results.parse(line)
    adapters = [{"name": "sram", "read_latency": 32}]
    assert results.parse(json.dumps({**value, "timing_adapters": adapters})).timing_adapters == {
        "sram": {"read_latency": 32}}


def test_the_board_images_fit_and_are_placed(tmp_path):
    placed = {"stm32f746g-disco": {".vectors": 0x08000000, ".bss": 0x20000000, ".arena": 0x20010000},
              "stm32h743zi": {".vectors": 0x08000000, ".bss": 0x20000000, ".arena": 0x24000000},
              "corstone300": {".vectors": 0x00000000, ".model": 0x70000000, ".bss": 0x20000000, ".arena": 0x31000000}}
    for board, sections in placed.items():
        built = image(board)
        found = {section.name: section.address for section in read_image(built.elf).sections}
        assert {name: found[name] for name in sections} == sections, board
    raw = image("stm32f746g-disco").binaries[0].read_bytes()
    stack, entry = struct.unpack_from("<II", raw)
    assert 0x20000000 < stack <= 0x20010000 and entry & 1 and 0x08000000 < entry < 0x08100000


def test_the_dense_model_fits_the_stm32f746():
    built = image("stm32f746g-disco", model=str(Path(__file__).parent.parent / "models" / "tinylstm-dense"))
    read = read_image(built.elf)
    assert 950_000 < built.binaries[0].stat().st_size <= 1 << 20
    target = load_target("cortex-m7")
    for section in read.sections:
        memory = memory_of(target, section.address, section.size)
        assert memory is not None, f"{section.name} lies in no one memory of the part"
    arena = read.section(".arena")
    assert arena is not None and memory_of(target, arena.address) == target.memory("arena")


@pytest.mark.skipif(shutil.which("cmake") is None, reason="apt-get install cmake")
def test_a_project_builds_alone_with_make_and_cmake(tmp_path):
    """Nothing but the compiler, make and cmake on PATH, and no environment."""
    folder = tmp_path / "my sister's firmware, \u00fc"
    write_project(export("small", "cortex-m7"), folder, "mps2-an500")
    assert write_project(export("small", "cortex-m7"), folder, "mps2-an500").folder == folder  # again, over itself
    bare = {"PATH": "/usr/bin:/bin"}
    subprocess.run(["make", "-s", "BOARD=mps2-an500"], cwd=folder, env=bare, check=True, capture_output=True)
    subprocess.run(["cmake", "-B", "build/cmake", "-DCMAKE_TOOLCHAIN_FILE=boards/toolchain.cmake"], cwd=folder,
                   env=bare, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", "build/cmake"], cwd=folder, env=bare, check=True, capture_output=True)
    elves = [folder / "build/mps2-an500-cpu/tinyse.elf", folder / "build/cmake/tinyse.elf"]
    sizes = [{name: symbol.size for name, symbol in read_image(elf).symbols.items()} for elf in elves]
    assert sizes[0] == sizes[1]
    assert b"\0" + str(tmp_path).encode() not in elves[0].read_bytes()
    wav = write_wav(tmp_path / "in.wav", sound(2000))
    runs = [qemu.run(elf, "mps2-an500", wav, network=True) for elf in elves]
    assert runs[0].network == runs[1].network


def test_what_is_no_project_and_no_board_is_refused(tmp_path):
    model = export("small", "cortex-m7")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    cases = [(lambda: write_project(model, tmp_path / "mine"), "holds files that are no firmware project"),
             (lambda: write_project(tmp_path, tmp_path / "new"), "holds no manifest.json"),
             (lambda: write_project(model, tmp_path / "new", "arduino"), "board 'arduino' is not known"),
             (lambda: build(tmp_path, "corstone300", "cpu"), "no firmware project"),
             (lambda: build(project("small", "cortex-m7"), "arduino", "cpu"), "board 'arduino' is not known"),
             (lambda: build(project("small", "cortex-m7"), "corstone300", "npu"), "a processor without an NPU")]
    for attempt, reason in cases:
        with pytest.raises(TinyseError, match=reason):
            attempt()
    assert (tmp_path / "mine" / "thesis.txt").exists() and not (tmp_path / "new").exists()


def test_an_image_is_built_again_where_anything_of_it_is_another(tmp_path, monkeypatch):
    folder, built = tmp_path / "fw", []
    elf = folder / "build" / "mps2-an500-cpu" / "tinyse.elf"

    def fake(folder, board, backend, kernels, variables):
        assert not elf.parent.exists()
        elf.parent.mkdir(parents=True)
        elf.write_text(f"image {len(built)}")
        built.append(board)
        return built_at(elf.parent, board, backend, kernels)

    def again(target="cortex-m7"):
        before = len(built)
        write_project(export("small", target), folder, "mps2-an500")
        assert stamp.stamped(folder, "mps2-an500", Backend.CPU).elf == elf
        assert elf.read_text() == f"image {len(built) - 1}"
        return len(built) - before

    monkeypatch.setattr(stamp, "build", fake)
    monkeypatch.delenv("CROSS", raising=False)
    assert [again(), again()] == [1, 0]
    for change in (lambda: elf.write_text("of my own make"), lambda: (elf.parent / "main.o").write_text("so is this"),
                   lambda: (elf.parent / stamp.STAMP).write_text("{"), lambda: (folder / "src" / "frontend.c").unlink(),
                   lambda: monkeypatch.setenv("CPATH", str(tmp_path)),
                   lambda: monkeypatch.setattr(stamp, "TOOLCHAIN", ("-print-file-name=libc.a",))):
        change()
        assert [again(), again()] == [1, 0]
    assert [again("cortex-m55"), again("cortex-m55"), again()] == [1, 0, 1]
    assert stamp.stamped(folder, "mps2-an500", Backend.CPU, variables=("TFLM_DIR=/t",)).elf == elf
    assert [again(), again()] == [1, 0] and len(built) == 11
    monkeypatch.setenv("CROSS", "arm-none-eabi-")
    assert [again(), again()] == [1, 1]


def test_make_says_what_it_does_not_know(tmp_path):
    folder = project("small", "cortex-m7")
    for argument, line in [("BOARD=arduino", "BOARD=arduino is not known: one of corstone300 corstone300-u65 "
                            "mps2-an500 stm32f746g-disco stm32h743zi"),
                           ("BACKEND=gpu", "BACKEND=gpu is not known: one of cpu npu tflm"),
                           ("KERNELS=fast", "KERNELS=fast is not known: auto or portable")]:
        done = subprocess.run(["make", argument], cwd=folder, check=False, capture_output=True, text=True)
        assert done.returncode and f"*** {line}.  Stop." in done.stderr


def test_export_writes_a_project(tmp_path):
    model = export("small", "cortex-m7") / "model_int8.tflite"
    arguments = ["export", str(model), "--target", "cortex-m7", "--out", str(tmp_path / "export")]
    answer = CliRunner().invoke(main, [*arguments, "--firmware", str(tmp_path / "fw"), "--board", "mps2-an500"])
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.splitlines()[-1] == f"firmware project  {tmp_path}/fw (make -C {tmp_path}/fw)"
    assert {path.name for path in (tmp_path / "fw").iterdir()} == {
        "Makefile", "CMakeLists.txt", "sources.mk", "tflm.mk", "README.md", "LICENSE", "include", "src", "app",
        "boards", "model", "third_party"}
    assert (tmp_path / "fw" / "model" / "project.mk").read_text().splitlines()[1:] == [
        "TARGET = cortex-m7", "NPU = 0", "BOARD ?= mps2-an500", "BACKEND ?= cpu", "TFLM_LACKS = "]
    assert (tmp_path / "fw" / "third_party" / "cmsis-dsp" / "LICENSE").is_file()
    again = [*arguments, "--firmware", str(tmp_path / "fw"), "--board", "mps2-an500"]
    assert CliRunner().invoke(main, again).exit_code == 0
    for path in ("app/mine.c", "Makefile"):
        with open(tmp_path / "fw" / path, "a") as file:
            file.write("# mine\n")
        edited = CliRunner().invoke(main, again)
        assert edited.exit_code == 1 and f"fw: {min(path, 'app/mine.c')}: is not as tinyse wrote it" in edited.output
        assert (tmp_path / "fw" / path).read_text().endswith("# mine\n")
    (tmp_path / "fw" / "model" / "written.sha256").write_text("damaged\n")
    assert CliRunner().invoke(main, again).exit_code == 1
    refused = CliRunner().invoke(main, [*arguments, "--board", "mps2-an500"])
    assert refused.exit_code == 2 and "--board says what a firmware project is for" in refused.stderr


def test_what_cannot_run_is_said_before_anything_is_built(tmp_path):
    wav, model = write_wav(tmp_path / "in.wav", sound(1000)), str(export("small", "cortex-m7") / "model_int8.tflite")
    soundfile.write(tmp_path / "stereo.wav", np.zeros((100, 2)), 16000)
    soundfile.write(tmp_path / "24.wav", np.zeros(100), 16000, "PCM_24")
    (tmp_path / "text.wav").write_text("not sound")
    soundfile.write(tmp_path / "extensible.wav", np.zeros(100), 16000, "PCM_16", format="WAVEX")
    qemu.check_wav(tmp_path / "extensible.wav")  # whose header the image reads, too
    wanted = "(give a 16-bit PCM mono WAV at the model's rate)"
    for source, more, line in (
        (tmp_path / "none.wav", (), "none.wav: no such file (give the name of a WAV file)"),
        (tmp_path / "stereo.wav", (), f"stereo.wav: WAV, PCM_16, channels: 2 {wanted}"),
        (tmp_path / "24.wav", (), f"24.wav: WAV, PCM_24, channels: 1 {wanted}"),
        (tmp_path / "text.wav", (), f"text.wav: not a WAV file {wanted}"),
        (wav, ("--exit", "2"), f"{model}: exit 2: the network has 1 (1 to 1)"),
    ):
        answer = CliRunner().invoke(main, ["firmware", "run", model, str(source), str(tmp_path / "out.wav"), "--board",
                                           "mps2-an500", "--out", str(tmp_path / "build"), *more])
        assert answer.exit_code == 1 and answer.output.endswith(f"{line}\n"), answer.output
        assert not (tmp_path / "build" / "project").exists()


def test_firmware_command_builds_and_runs(tmp_path):
    wav = write_wav(tmp_path / "in.wav", sound(1000))
    model = str(export("small", "ethos-u55-128") / "model_int8.tflite")
    answer = CliRunner().invoke(main, ["firmware", "run", model, str(wav), str(tmp_path / "out.wav"),
                                       "--backend", "npu", "--out", str(tmp_path / "build")])
    assert answer.exit_code == 0, answer.output
    lines = answer.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [*results.STAGES, "frame"]
    assert all(line.endswith("instructions a frame  emulated (QEMU)") for line in lines)
    assert len(read_wav(tmp_path / "out.wav")) == 1000
