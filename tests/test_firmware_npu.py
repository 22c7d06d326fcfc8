"""The co-simulated NPU: firmware on host and QEMU gives the simulator's bytes; neither end can hang the other."""

from __future__ import annotations

import os
import struct
import subprocess
import threading
import time
from functools import lru_cache
from pathlib import Path

import firmware_images
import numpy as np
import pytest
from firmware_images import NPU, image, needs_compiler, needs_qemu, npu_model
from npu_harness import ERROR_NPU, HARNESS, build, export, output
from scipy.io import wavfile

from tinyse.core.errors import ExportError, ModelError, ToolError
from tinyse.engines.npu import NpuEngine
from tinyse.export.cparts import npu_parts
from tinyse.firmware import cosim
from tinyse.firmware.qemu import Run
from tinyse.firmware.qemu import run as emulate


@pytest.fixture(scope="session")
def network():
    return build("network_main", "network_npu", "cosim", "payload", options=("-DTINYSE_BACKEND=1",),
                 extra=(HARNESS / "semihosting_posix.c", export() / "model.c"))


def features(count: int) -> np.ndarray:
    bands = NpuEngine.load(export() / "model_vela.tflite").bands
    return np.random.default_rng(3).integers(-128, 128, (count, bands)).astype(np.int8)


def test_cosimulation_equals_the_simulator_bit_for_bit(network, tmp_path) -> None:
    given = features(300)
    (tmp_path / "in").write_bytes(given.tobytes())
    with cosim.serve([export() / "model_vela.tflite"], tmp_path) as (request, reply):
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
            cosim.serve([other], tmp_path) as (request, reply):
        done = subprocess.run([network, tmp_path / request, tmp_path / reply, tmp_path / "in", tmp_path / "out"],
                              capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 3
        assert done.stderr.startswith(f"{ERROR_NPU} {other}"[:60])
        raise ToolError("what the firmware's exit code became")


def test_firmware_that_dies_leaves_no_thread_behind(network, tmp_path) -> None:
    (tmp_path / "in").write_bytes(features(20).tobytes())
    before = threading.active_count()
    with cosim.serve([export() / "model_vela.tflite"], tmp_path) as (request, reply):
        done = subprocess.run([network, tmp_path / request, tmp_path / reply, tmp_path / "in", tmp_path / "out", "10"],
                              capture_output=True, timeout=30, check=False)
        assert done.returncode < 0
    assert threading.active_count() == before


def test_firmware_that_never_comes_leaves_no_thread_behind(tmp_path) -> None:
    before, start = threading.active_count(), time.monotonic()
    files = len(os.listdir("/proc/self/fd"))
    with cosim.serve([export() / "model_vela.tflite"], tmp_path):
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
    (struct.pack("<III", 9, 0, 0), "message 9 of 0 bytes"),
    (struct.pack("<III", cosim.RUN, 0, 1 << 31), "message 2 of 2147483648 bytes for part 0"),
    (struct.pack("<8I", cosim.HELLO, 0, 20, cosim.MAGIC, 99, 0, 0, 0), "another version"),
    (struct.pack("<I", cosim.RUN), "closed the NPU's pipe within a message"),
])
def test_garbage_ends_the_session_with_a_line(tmp_path, data, message) -> None:
    with pytest.raises(ToolError, match=message), cosim.serve([export() / "model_vela.tflite"], tmp_path):
        answer = talk(tmp_path, data)
        kind, _, size = struct.unpack_from("<III", answer)
        assert kind == cosim.ERROR and size == len(answer) - 12 <= cosim.MAX_TEXT
        assert message.split()[0] in answer[12:].decode()


def test_a_host_that_dies_is_an_error_of_the_firmware(network, tmp_path) -> None:
    """The reverse: pipes whose host end closes after the greeting."""
    (tmp_path / "in").write_bytes(features(2).tobytes())
    for name in cosim.PIPES:
        os.mkfifo(tmp_path / name)

    def host() -> None:
        request = os.open(tmp_path / cosim.PIPES[0], os.O_RDONLY)
        reply = os.open(tmp_path / cosim.PIPES[1], os.O_WRONLY)
        os.read(request, 32)
        os.write(reply, struct.pack("<III", cosim.DONE, 0, 0))
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
                   npu_models=[npu_model(target=target)])


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
        emulate(image("corstone300", "npu").elf, "corstone300", noisy(), npu_models=[npu_model("wide")])
