"""Sound files that are written: of any rate, container and sample format, as long as asked, whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tinyse.core.artifacts import atomic_path
from tinyse.core.errors import AudioError
from tinyse.sound.audio import RATE, AudioFormat, Resampler
from tinyse.sound.framing import Real
from tinyse.sound.source import reason
from tinyse.sound.wav import chunks

FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".aiff": "AIFF", ".aif": "AIFF", ".w64": "W64"}
INTEGER_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
SFC_SET_ADD_PEAK_CHUNK = 0x1050
SFC_RF64_AUTO_DOWNGRADE = 0x1210
LARGEST_32 = (1 << 32) - (1 << 12)
"""Bytes of samples that a container with 32-bit lengths holds beside its header."""
TRIAL = 4099
"""Samples: no whole number of any codec's blocks."""


@contextlib.contextmanager
def audio_writer(path: Path | str, like: AudioFormat, rate: int = RATE) -> Iterator[AudioWriter]:
    """Write a mono file of ``like``'s rate, length and sample format; whole or not at all.

    Args:
        path: its suffix names the container; a sample format that this container lacks, or has not to the sample,
            becomes its default. A WAV
            of more than 4 GiB is written as RF64.
        like: the format to match; its ``frames`` is the exact length, or 0 for whatever is written.
        rate: Hz of the blocks given to ``write``.

    Raises:
        AudioError: an unknown suffix, a folder, or more than the container holds; TinyseError where it cannot be
            written.
    """
    import soundfile

    path = Path(path)
    if os.path.isdir(path):
        raise AudioError(f"{path}: is a folder", "give the name of a file")
    named = FORMATS.get(path.suffix.lower())
    if named is None:
        raise AudioError(f"{path}: unknown sound format {path.suffix or 'without a suffix'}",
                         f"name it {', '.join(FORMATS)}, or - for raw PCM on standard output")
    container, subtype = _encoding(path, named, like)
    with atomic_path(path) as temporary:
        try:
            sound = soundfile.SoundFile(os.fsencode(temporary), "w", like.rate, 1, subtype, format=container)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{path}: cannot be written: {reason(error)}", "free some disk space") from error
        with sound:
            # The PEAK chunk of float files holds the time of day; without it same input, same bytes.
            soundfile._snd.sf_command(sound._file, SFC_SET_ADD_PEAK_CHUNK, soundfile._ffi.NULL, 0)
            if container == "RF64" and not like.frames:
                soundfile._snd.sf_command(sound._file, SFC_RF64_AUTO_DOWNGRADE, soundfile._ffi.NULL, 1)
            writer = AudioWriter(sound, Resampler(rate, like.rate), like.frames, path)
            yield writer
            writer.finish()
        if container == "RF64":
            _tidy(temporary)


def _tidy(path: Path) -> None:
    """Give a file written as RF64 the header of others: no time in a PEAK chunk, which libsndfile cannot leave out of
    it, and a format chunk that every reader knows, with padding behind."""
    with path.open("r+b") as stream:
        stream.seek(12)
        for chunk in list(chunks(stream, b"data")):
            if chunk.name == b"PEAK":
                stream.seek(chunk.start + 4)
                stream.write(bytes(4))
            if chunk.name == b"fmt " and chunk.size == 40 and chunk.body[:2] == b"\xfe\xff":
                stream.seek(chunk.start - 4)
                stream.write(struct.pack("<I", 16) + chunk.body[24:26] + chunk.body[2:16] + b"JUNK"
                             + struct.pack("<I", 16) + bytes(16))


def _encoding(path: Path, named: str, like: AudioFormat) -> tuple[str, str]:
    """Container and sample format, tried out: libsndfile says yes to some that it cannot write, or not as long."""
    import soundfile

    for subtype in (like.subtype, soundfile.default_subtype(named)):
        width = INTEGER_BITS.get(subtype, 64 if subtype == "DOUBLE" else 32) // 8
        large = like.frames * width > LARGEST_32
        if large and named == "AIFF":
            raise AudioError(f"{path}: {like.frames * width} bytes of sound are more than an AIFF holds",
                             "name it .wav, .w64 or .flac")
        for container in ("RF64", named) if named == "WAV" and (large or not like.frames) else (named,):
            with contextlib.suppress(soundfile.LibsndfileError, RuntimeError, AssertionError, ValueError):
                tried = io.BytesIO()
                with soundfile.SoundFile(tried, "w", like.rate, 1, subtype, format=container) as trial:
                    trial.write(np.zeros(TRIAL, np.float32))
                tried.seek(0)
                if soundfile.info(tried).frames == TRIAL:  # codecs of blocks fill the last one
                    return container, subtype
    raise AudioError(f"{path}: {named} cannot be written at {like.rate} Hz", "name it .wav")


class AudioWriter:
    """Takes mono blocks; made by ``audio_writer``."""

    def __init__(self, sound: Any, resampler: Resampler, frames: int, path: Path) -> None:
        """Write to an open ``sound`` at most ``frames`` samples (0: no limit); ``path`` names it."""
        self._path = path
        self._sound = sound
        self._resampler = resampler
        self._frames = frames
        self.written = 0

    def write(self, block: Real) -> None:
        """Append float32 [n]; samples beyond full scale saturate."""
        self._put(self._resampler.push(block))

    def finish(self) -> None:
        """Drain the resampler and make up the exact length."""
        self._put(self._resampler.flush())
        if self.written < self._frames:
            self._put(np.zeros(self._frames - self.written, np.float32))

    def _put(self, block: Real) -> None:
        if self._frames:
            block = block[: self._frames - self.written]
        bits = INTEGER_BITS.get(self._sound.subtype)
        try:
            self._sound.write(block if bits is None else _rounded(block, bits))
        except (RuntimeError, AssertionError) as error:  # soundfile asserts that all samples went out
            raise AudioError(f"{self._path}: cannot be written: {reason(error)}",
                             "free some disk space") from error
        self.written += len(block)


def _rounded(block: Real, bits: int) -> Any:
    """int32 [n], the nearest sample of ``bits`` in its high bits; libsndfile itself would cut off what is below."""
    full = 2.0 ** (bits - 1)
    return np.clip(np.rint(np.asarray(block, float) * full), -full, full - 1).astype(np.int32) << (32 - bits)
