"""The one rule for WAV headers, in every reader: enhancement, import, evaluation (firmware: test_firmware_fuzz)."""

from __future__ import annotations

import io
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tinyse.core.errors import AudioError
from tinyse.measure.scores.pairs import read_signal
from tinyse.sound.audio import AudioReader
from tinyse.sound.corpus.job import Job
from tinyse.sound.corpus.reading import read_job
from tinyse.sound.source import Sound
from tinyse.sound.wav import read_wav

SAMPLES = np.random.default_rng(0).integers(-9000, 9000, 8000).astype("<i2")
DATA = SAMPLES.tobytes()


def form(code: int = 1, channels: int = 1, rate: int = 16000, bits: int = 16, frame: int | None = None) -> bytes:
    frame = channels * bits // 8 if frame is None else frame
    return struct.pack("<HHIIHH", code, channels, rate, rate * frame, frame, bits)


def chunk(name: bytes, data: bytes, size: int | None = None, pad: bool = True) -> bytes:
    return name + struct.pack("<I", len(data) if size is None else size) + data + bytes(pad and len(data) % 2)


def wav(*chunks: bytes, magic: bytes = b"RIFF", size: int | None = None) -> bytes:
    body = b"".join(chunks)
    return magic + struct.pack("<I", len(body) + 4 if size is None else size) + b"WAVE" + body


FORM = chunk(b"fmt ", form())
BEXT = chunk(b"bext", b"field data of the meeting" + bytes(577))
DS64 = chunk(b"ds64", struct.pack("<QQQI", 4 + len(DATA), len(DATA), len(SAMPLES), 0))
GUID = b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
GOOD = {
    "plain": wav(FORM, chunk(b"data", DATA)),
    "bext that says data": wav(BEXT, FORM, chunk(b"data", DATA)),
    "list that says data": wav(FORM, chunk(b"LIST", b"INFOICMT\x1e\0\0\0training data set, room three\0\0"),
                               chunk(b"data", DATA)),
    "a chunk after the data": wav(FORM, chunk(b"data", DATA), chunk(b"LIST", b"INFO")),
    "odd chunk": wav(chunk(b"note", b"odd"), FORM, chunk(b"data", DATA)),
    "odd chunk without padding": wav(chunk(b"note", b"odd", pad=False), FORM, chunk(b"data", DATA)),
    "300 kB of padding": wav(chunk(b"JUNK", bytes(300_000)), FORM, chunk(b"data", DATA)),
    "sox": wav(FORM, chunk(b"data", DATA, 0x7FFFF000), size=0x7FFFF024),
    "arecord": wav(FORM, chunk(b"data", DATA, 0x7FFFFF00), size=0x7FFFFF24),
    "2 GiB": wav(FORM, chunk(b"data", DATA, 0x80000000)),
    "ffmpeg": wav(FORM, chunk(b"data", DATA, 0xFFFFFFFF), size=0xFFFFFFFF),
    "zero": wav(FORM, chunk(b"data", DATA, 0), size=36),
    "zero twice": wav(FORM, chunk(b"data", DATA, 0), size=0),
    "extensible": wav(chunk(b"fmt ", form(0xFFFE) + struct.pack("<HHIH", 22, 16, 4, 1) + GUID), chunk(b"data", DATA)),
    "RF64": wav(DS64, FORM, chunk(b"data", DATA, 0xFFFFFFFF), magic=b"RF64", size=0xFFFFFFFF),
    "BW64": wav(DS64, FORM, chunk(b"data", DATA, 0xFFFFFFFF), magic=b"BW64", size=0xFFFFFFFF),
    "an odd byte at the end": wav(FORM, chunk(b"data", DATA + b"\1", 0xFFFFFFFF, pad=False)),
    "counts itself": wav(FORM, chunk(b"data", DATA, len(DATA) + 44)),
    "counts all but RIFF": wav(FORM, chunk(b"data", DATA, len(DATA) + 36)),
}
BAD = {
    "2000 channels": (wav(chunk(b"fmt ", form(channels=2000)), chunk(b"data", DATA)), "2000 channels of 16 bits"),
    "half floats": (wav(chunk(b"fmt ", form(code=3)), chunk(b"data", DATA)), "16-bit samples of format 3 do not exist"),
    "cut": (wav(FORM, chunk(b"data", DATA))[:-2000], "cut short: the header promises 16000 bytes of sound, 14000 are"),
    "cut below 2 GiB": (wav(FORM, chunk(b"data", DATA, 0x7FFE0000)), "cut short"),
    "cut RF64": (wav(DS64, FORM, chunk(b"data", DATA[:-2], 0xFFFFFFFF), magic=b"RF64"), "cut short"),
    "one sample short": (wav(FORM, chunk(b"data", DATA[:-2], len(DATA))), "cut short"),
    "no samples": (wav(FORM, chunk(b"data", b"")), "holds no samples"),
    "no samples but a list": (wav(FORM, chunk(b"data", b""), chunk(b"LIST", b"INFO")), "holds no samples"),
    "no data": (wav(FORM), "its header has no data"),
    "no format": (wav(chunk(b"data", DATA)), "its header has no format"),
    "cut in the format": (wav(FORM)[:30], "its header has no format"),
    "AVI": (b"RIFF\0\0\0\0AVI " + FORM, "no WAV header"),
    "no channels": (wav(chunk(b"fmt ", form(channels=0)), chunk(b"data", DATA)), "0 channels"),
    "no rate": (wav(chunk(b"fmt ", form(rate=0)), chunk(b"data", DATA)), "at 0 Hz"),
    "1 Hz": (wav(chunk(b"fmt ", form(rate=1)), chunk(b"data", DATA)), "1 Hz is too low"),
    "2 GHz": (wav(chunk(b"fmt ", form(rate=2_000_000_000)), chunk(b"data", DATA)), "2000000000 Hz is too high"),
    "unknown code": (wav(chunk(b"fmt ", form(code=0x9999)), chunk(b"data", DATA)), "not a sound file"),
}


def heard(source: Path | io.BytesIO) -> tuple[np.ndarray, list[str]]:
    with AudioReader(source, name="it") as reader:
        return np.concatenate(list(reader.blocks())), reader.notes


class Pipe(io.BytesIO):
    """A stream that cannot seek."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation


@pytest.mark.parametrize("name", GOOD)
def test_every_reader_hears_the_same(name, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(GOOD[name])
    expected = (SAMPLES / 32768).astype(np.float32)
    notes = ["the WAV's header counts itself as sound; what is there was read"] if "counts" in name else []
    for source in (path, Pipe(GOOD[name])):
        wave, said = heard(source)
        np.testing.assert_array_equal(wave, expected)
        assert said == notes and len(wave) == 8000
    np.testing.assert_array_equal(read_signal(path), expected)
    [(_, pcm, reason)] = read_job(Job("a", noise=path, source="a"))
    assert reason == "" and pcm is not None
    np.testing.assert_allclose(pcm, SAMPLES - SAMPLES.mean(), atol=0.51)


@pytest.mark.parametrize("name", BAD)
def test_every_reader_refuses_with_one_reason(name, tmp_path):
    data, why = BAD[name]
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    for source in (path, Pipe(data)):
        with pytest.raises(AudioError, match=why.replace("(", r"\(")) as caught:
            heard(source)
        assert "\n" not in caught.value.line() and str(caught.value).startswith("it: ")
    with pytest.raises(AudioError, match=why):
        read_signal(path)
    [(_, pcm, reason)] = read_job(Job("a", noise=path, source="a"))
    assert pcm is None and why in reason


@pytest.mark.parametrize("subtype, tolerance", [
    ("PCM_U8", 2**-7), ("PCM_24", 2**-23), ("PCM_32", 2**-31), ("FLOAT", 0), ("DOUBLE", 0), ("ALAW", 0.02),
    ("ULAW", 0.02), ("IMA_ADPCM", 0.2), ("MS_ADPCM", 0.2), ("GSM610", 1.0)])
@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
@pytest.mark.parametrize("rate, channels", [(16000, 1), (44100, 2)])
def test_every_codec_is_read_as_libsndfile_reads_it(subtype, tolerance, endian, rate, channels, tmp_path):
    path = tmp_path / "a.wav"
    wave = (0.3 * np.sin(np.arange(4000) / 9)).astype(np.float32)
    try:
        soundfile.write(path, np.stack([wave] * channels, 1), rate, subtype, endian)
    except (soundfile.LibsndfileError, ValueError):
        pytest.skip("libsndfile does not write it")
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    sources = [path, Pipe(path.read_bytes())]
    for source in sources:
        with AudioReader(source, name="") as reader:
            assert (reader.format.rate, reader.format.channels) == (rate, channels)
            stored = np.concatenate(list(reader.stored()))
        # GSM's last block is half a block, of which libsndfile decodes what lay in its memory.
        np.testing.assert_array_equal(stored[:4000], expected[:4000])
        assert len(stored) == len(expected)
    np.testing.assert_allclose(stored[:4000, 0], wave, atol=tolerance + 1e-7)


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_a_tag_before_the_header_is_passed_over(stream):
    data = b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + GOOD["plain"]
    np.testing.assert_array_equal(heard(stream(data))[0], (SAMPLES / 32768).astype(np.float32))


def test_a_sample_is_as_wide_as_its_block_says():
    """24 bits in containers of 32, and 12 in 16: the upper bits count."""
    wide = (SAMPLES.astype("<i4") << 16).tobytes()
    for data in (wav(chunk(b"fmt ", form(bits=24, frame=4)), chunk(b"data", wide)),
                 wav(chunk(b"fmt ", form(bits=12, frame=2)), chunk(b"data", DATA))):
        np.testing.assert_array_equal(heard(io.BytesIO(data))[0], (SAMPLES / 32768).astype(np.float32))


@given(st.binary(max_size=200), st.integers(0, 120))
def test_no_header_is_a_traceback(noise, cut):
    for data in (GOOD["bext that says data"][:cut] + noise, noise, b"RIFF" + noise, b"RIFF\0\0\0\0WAVE" + noise):
        for stream in (io.BytesIO(data), Pipe(data)):
            try:
                heard(stream)
            except AudioError as error:
                assert "\n" not in error.line()


def test_a_fifo_is_opened_once_and_read_on(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    for name in ("sox", "plain", "counts itself"):
        writer = threading.Thread(target=path.write_bytes, args=(GOOD[name],))
        writer.start()
        wave, _ = heard(path)
        writer.join()
        np.testing.assert_array_equal(wave, (SAMPLES / 32768).astype(np.float32))


@pytest.mark.parametrize("suffix, form_", [("flac", "FLAC"), ("ogg", "OGG"), ("aiff", "AIFF"), ("w64", "W64")])
def test_other_containers_come_through_a_pipe(suffix, form_, tmp_path):
    soundfile.write(tmp_path / f"a.{suffix}", SAMPLES, 16000, format=form_)
    wave, _ = heard(Pipe((tmp_path / f"a.{suffix}").read_bytes()))
    assert len(wave) == 8000


def test_samples_beyond_4_gib_are_reached(tmp_path):
    """A sparse RF64 of 5 GiB: 64-bit lengths all the way."""
    path, size = tmp_path / "a.rf64", 5 << 30
    long = chunk(b"ds64", struct.pack("<QQQI", size + 72, size, size // 2, 0))
    with path.open("wb") as stream:
        stream.write(wav(long, FORM, chunk(b"data", b"", 0xFFFFFFFF), magic=b"RF64"))
        start = stream.tell()
        stream.seek(start + size - 2)
        stream.write(b"\x39\x30")
    sound = Sound(path)
    assert sound.frames == size // 2
    sound._file.seek(sound.frames - 3)
    np.testing.assert_allclose(sound.read(9)[:, 0], [0, 0, 12345 / 32768])
    sound.close()


def test_the_header_for_decoders_is_a_whole_file():
    data = GOOD["bext that says data"]
    found = read_wav(io.BytesIO(data), len(data))
    again = found.decodable(len(DATA)) + DATA
    assert (found.start, found.promised, found.frame, found.subtype) == (len(data) - len(DATA), 16000, 2, "PCM_16")
    np.testing.assert_array_equal(soundfile.read(io.BytesIO(again), dtype="int16")[0], SAMPLES)
