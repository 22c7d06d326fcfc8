"""Sounds, WAV files, command lines, payloads and simulator answers of every kind through the C library, sanitized."""

from __future__ import annotations

import shutil
import struct
import subprocess
import wave
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from firmware_images import export, scratch
from fuzz_firmware import FINDS, FLAGS, FLOATS, HOP, Record, build, load, mutate, play, record, samples, wav
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="apt-get install gcc")
finds = sorted(FINDS.glob("*.bin")) if FINDS.is_dir() else []


@pytest.fixture(scope="module")
def harness() -> Path:
    folder = scratch() / "fuzz"
    folder.mkdir()
    return build(folder, export("small", "cortex-m7"))


def answers(program: Path, *records: Record) -> list[str]:
    got, trouble = play(program, list(records))
    assert not trouble, trouble
    assert len(got) == len(records)
    return got


@pytest.mark.parametrize("path", finds, ids=lambda path: path.stem)
def test_finds_of_the_fuzzer_stay_fixed(harness, path):
    answers(harness, load(path))


def test_two_thousand_inputs_of_every_kind(harness):
    rng = np.random.default_rng(11)
    records = [record(rng) for _ in range(2000)]
    got = answers(harness, *records)
    outcomes = {(given.kind, answer.split()[0]) for given, answer in zip(records, got, strict=True)}
    assert outcomes == {("W", "ok"), ("W", "refused"), ("F", "ok"), ("I", "ok"), ("A", "ok"), ("A", "refused"),
                        ("P", "ok"), ("P", "refused"), ("C", "refused")}


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), cut=st.one_of(st.none(), st.integers(0, 120)))
def test_a_wav_is_accepted_where_python_reads_it_whole(harness, seed, cut):
    rng = np.random.default_rng(seed)
    values = samples(rng)
    data = wav(rng, values)
    assert answers(harness, Record("W", data))[0].split()[:3] == ["ok", str(len(values)), str(44 + 2 * len(values))]
    if cut is not None:
        answer = answers(harness, Record("W", data[:cut]))[0]
        place = data.index(b"data") + 8 + 2 * len(values)
        assert answer.startswith("ok" if cut >= place else "refused")


def test_standard_files_of_the_wave_module(harness):
    for channels, width, rate, says in [(1, 2, 16000, "ok"), (2, 2, 16000, "not mono"), (1, 1, 16000, "16-bit PCM"),
                                        (1, 2, 8000, "another sample rate")]:
        file = BytesIO()
        with wave.open(file, "wb") as out:
            out.setparams((channels, width, rate, 0, "NONE", ""))
            out.writeframes(bytes(channels * width * 300))
        assert says in answers(harness, Record("W", file.getvalue()))[0]


def headed(size: int, values: np.ndarray, tail: bytes = b"") -> bytes:
    """A plain WAV whose header promises ``size`` bytes of samples."""
    form = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
    return form + struct.pack("<4sI", b"data", size) + values.astype("<i2").tobytes() + tail


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFF00, 0x80000000, 0xFFFFFFFF, 1400 + 44, 1400 + 36])
def test_lengths_that_a_pipe_leaves_and_headers_that_count_themselves_are_read(harness, size):
    values = np.random.default_rng(5).integers(-9000, 9000, 700)
    good, got = answers(harness, Record("W", headed(1400, values)), Record("W", headed(size, values)))
    assert got == good and good.startswith("ok 700 ")


@pytest.mark.parametrize(("size", "tail", "says"), [
    (0, b"LIST" + bytes(4), "ok 0"), (1402, b"", "refused the WAV's data goes beyond"),
    (0x7FFEFFFF, b"", "refused the WAV's data goes beyond")])
def test_other_lengths_are_not(harness, size, tail, says):
    values = np.zeros(0) if tail else np.ones(700)
    assert answers(harness, Record("W", headed(size, values, tail)))[0].startswith(says)


def test_a_chunk_of_odd_length_without_its_padding(harness):
    values = np.random.default_rng(5).integers(-9000, 9000, 700)
    good = headed(1400, values)
    odd = good[:36] + b"note" + struct.pack("<I", 3) + b"odd" + good[36:]
    padded = good[:36] + b"note" + struct.pack("<I", 3) + b"odd\0" + good[36:]
    assert len(set(answers(harness, *(Record("W", data) for data in (good, odd, padded))))) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 255, 256, 257, 511, 512, 513])
@pytest.mark.parametrize("value", [0, 32767, -32768])
def test_lengths_around_a_hop(harness, count, value):
    data = wav(np.random.default_rng(0), np.full(count, value, np.int16))
    assert answers(harness, Record("W", data))[0].startswith(f"ok {count} {44 + 2 * count} ")


def test_a_file_that_stops_in_the_middle_is_refused_and_memory_stays_whole(harness):
    data = wav(np.random.default_rng(1), np.full(700, 1000, np.int16))
    got = answers(harness, *(Record("W", data, limit) for limit in range(0, 2 * len(data) + 44, 7)))
    assert all(answer.startswith("refused the ") for answer in got[:-30])
    assert len(set(got)) > 5


@pytest.mark.parametrize("value", FLOATS, ids=str)
def test_every_extreme_stays_finite(harness, value):
    hops = np.concatenate([np.full(3 * HOP, value), np.where(np.arange(3 * HOP) % 2, value, -value)])
    answers(harness, Record("F", hops.astype(np.float32).tobytes()))


def test_the_harness_does_see_what_is_wrong(harness, tmp_path):
    """A record of an unknown kind ends it, and so does a sanitizer's find in a program built alike."""
    got, trouble = play(harness, [Record("I", b""), Record("?", b"")])
    assert len(got) == 1 and trouble
    source = tmp_path / "wrong.c"
    source.write_text("#include <stdio.h>\nint main(void) { char c[2]; return (int)fread(c, 1, 9, stdin); }\n")
    subprocess.run(["gcc", *FLAGS, str(source), "-o", str(tmp_path / "wrong")], check=True)
    assert "AddressSanitizer" in play(tmp_path / "wrong", [Record("W", bytes(20))])[1]


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_record_survives_its_file(seed):
    rng = np.random.default_rng(seed)
    made = record(rng)
    assert mutate(rng, made.data) is not None
    kind, size, limit = made.packed[:1].decode(), *struct.unpack("<II", made.packed[1:9])
    assert (kind, size, limit) == (made.kind, len(made.data), made.limit)
