"""A file that was cut short says so, whatever it lies in."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from tinyse.core.errors import AudioError
from tinyse.sound.audio import AudioReader
from tinyse.sound.containers import mp3_frame
from tinyse.sound.source import Ahead

WAVE = np.random.default_rng(0).uniform(-0.3, 0.3, 48000)
KINDS = {
    "aiff": ("AIFF", "PCM_16"), "aifc": ("AIFF", "FLOAT"), "w64": ("W64", "PCM_16"), "au": ("AU", "PCM_16"),
    "sph": ("NIST", "PCM_16"), "caf": ("CAF", "PCM_24"), "rf64": ("RF64", "PCM_16"), "wav": ("WAV", "PCM_16"),
    "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "flac": ("FLAC", "PCM_16"), "mp3": ("MP3", "MPEG_LAYER_III"),
}


def written(kind: str, rate: int = 48000) -> bytes:
    form, subtype = KINDS[kind]
    stream = io.BytesIO()
    soundfile.write(stream, WAVE, rate, subtype, format=form)
    return stream.getvalue()


def length(data: bytes) -> int:
    with AudioReader(io.BytesIO(data), 48000, "it") as reader:
        return len(np.concatenate(list(reader.blocks())))


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_read_and_a_cut_one_refused(kind):
    data = written(kind)
    assert abs(length(data) - 48000) <= (2500 if kind == "mp3" else 0)
    for keep in (0.5, 0.9, 0.999):
        with pytest.raises(AudioError, match="it: (cut short|unreadable)") as caught:
            length(data[: int(keep * len(data))])
        assert caught.value.hint == "copy or download it again"


def without_tag(data: bytes) -> bytes:
    """An MP3's frames behind the one that holds the Xing tag."""
    at = mp3_frame(data)
    assert (b"Xing" in data[:at] or b"Info" in data[:at]) and data[at] == 0xFF
    return data[at:]


@pytest.mark.parametrize("rate", [16000, 44100])
def test_an_mp3_without_a_tag_ends_with_a_whole_frame(rate):
    data = without_tag(written("mp3", rate))
    seconds = length(written("mp3", rate)) / 48000
    assert seconds > 1
    for whole in (data, data + b"TAG" + bytes(125), b"ID3\4\0\0\0\0\1\0" + bytes(128) + data):
        assert abs(length(whole) / 48000 - seconds) < 0.08
    with pytest.raises(AudioError, match="cut short: the header promises"):
        length(data[:-50])


def test_lengths_that_were_never_known_are_no_damage():
    au = bytearray(written("au"))
    au[8:12] = b"\xff" * 4
    assert length(bytes(au)) == 48000
    mp3 = written("mp3")
    at = mp3.index(b"Xing" if b"Xing" in mp3 else b"Info") + 4
    flags = int.from_bytes(mp3[at:at + 4], "big")
    assert flags & 3 == 3 and length(mp3[:at + 8] + bytes(4) + mp3[at + 12:]) > 40000


def test_joined_mp3s_are_read_to_the_end():
    data = written("mp3", 16000)
    once, twice = length(data), length(data + data)
    assert 2 * once <= twice < 2 * once + 3 * 4 * 1152
    with pytest.raises(AudioError, match="cut short"):
        length(data + data[:-50])


@pytest.mark.parametrize("kind", ["flac", "mp3"])
def test_tags_at_either_end_are_no_sound(kind):
    data = written(kind)
    tagged = b"ID3\4\0\0\0\0\1\0" + bytes(128) + data + b"TAG" + bytes(125)
    assert length(tagged) == length(data)


def test_streams_in_a_row_are_refused_for_the_one_that_would_be_heard():
    data = written("ogg")
    assert length(data + bytes(100)) == 48000
    with pytest.raises(AudioError, match="several streams in a row"):
        length(data + data)


def test_an_mp3_on_a_pipe_is_told_from_samples():
    data = written("mp3", 16000)
    assert Ahead(io.BytesIO(data)).is_sound_file
    samples = Ahead(io.BytesIO(data[:4] + bytes(5000)))  # the first two of raw PCM may look like a frame's head
    assert not samples.is_sound_file and samples.read() == data[:4] + bytes(5000)
