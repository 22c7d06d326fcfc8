"""The firmware's parser of Vela's driver payload: what it finds, what it refuses, that it never reads too far."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from npu_harness import build, export, identity, payload

U55_128 = 0x00001817


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
def parser():
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
