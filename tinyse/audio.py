"""Sound in and out: files of any rate, width and channel count as 16 kHz mono blocks, and raw PCM pipes.

Everything streams; memory does not grow with the length. Rates are converted by soxr at its highest
quality, whose streaming form keeps samples aligned with the input.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from tinyse.artifacts import atomic_path
from tinyse.errors import AudioError
from tinyse.frontend import Real

RATE = 16000
LOWEST_RATE = 8000
"""Hz; below it, half the filterbank would be empty (ours)."""
BLOCK = 1 << 16
"""Source samples (all channels together) read at once."""
FULL_SCALE = 1 - 2.0**-14
CLIPPED_RUN = 3
"""Consecutive samples at full scale that count as clipping; fewer is a normalised peak (ours)."""
FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".aiff": "AIFF", ".aif": "AIFF", ".w64": "W64"}
INTEGER_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
SFC_SET_ADD_PEAK_CHUNK = 0x1050
SF_ERR_SYSTEM = 2


@dataclass(frozen=True)
class AudioFormat:
    """What a sound file is.

    Attributes:
        rate: Hz.
        channels: at least 1.
        frames: samples per channel; 0 for a pipe, whose length is not known.
        subtype: libsndfile's name of the sample format ("PCM_16", "FLOAT", ...).
    """

    rate: int
    channels: int
    frames: int
    subtype: str

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate


class Resampler:
    """Streaming conversion between two rates; passes blocks through where they are equal."""

    def __init__(self, source: int, target: int) -> None:
        """Convert from ``source`` Hz to ``target`` Hz."""
        import soxr

        self._stream = None if source == target else soxr.ResampleStream(source, target, 1, "float32", "VHQ")

    def push(self, block: Real) -> Real:
        """Convert float32 [n]; returns what is ready, float32 [m], m >= 0."""
        return block if self._stream is None else self._stream.resample_chunk(block)

    def flush(self) -> Real:
        """What is left after the last block."""
        empty = np.zeros(0, np.float32)
        return empty if self._stream is None else self._stream.resample_chunk(empty, last=True)


class AudioReader:
    """A sound file as mono float32 blocks at ``rate``; a context manager.

    Attributes:
        format: the file's own rate, channels, length and sample format.
        notes: what a user should know but need not act on (clipping, downmix), complete after reading.
    """

    def __init__(self, path: Path | str, rate: int = RATE) -> None:
        """Open ``path``.

        Raises:
            AudioError: missing, a folder, empty, not audio, cut short, or below 8 kHz.
        """
        self.path = Path(path)
        self._sound = _open(self.path)
        self.rate = rate
        self.format = AudioFormat(self._sound.samplerate, self._sound.channels, self._sound.frames,
                                  self._sound.subtype)
        self.notes: list[str] = []
        self._clipped = 0
        try:
            self._check()
        except AudioError:
            self._sound.close()
            raise

    def _check(self) -> None:
        if self.format.rate < LOWEST_RATE:
            raise AudioError(f"{self.path}: {self.format.rate} Hz is too low",
                             f"at least {LOWEST_RATE} Hz is needed")
        promised = re.search(r"^\s*data\s*: (\d+) \(should be (\d+)\)", self._sound.extra_info, re.MULTILINE)
        # A writer on a pipe cannot know the length and leaves 0 or all ones; that is no damage.
        if promised and int(promised[2]) < int(promised[1]) < 0x7FFFFF00:
            raise AudioError(f"{self.path}: cut short: the header promises {promised[1]} bytes of sound, "
                             f"{promised[2]} are there", "copy or download it again")
        if "lacks an end-of-stream" in self._sound.extra_info:
            raise AudioError(f"{self.path}: cut short: the stream has no end", "copy or download it again")
        if self.format.frames == 0:
            raise AudioError(f"{self.path}: holds no samples", "record it again")
        if self.format.channels > 1:
            self.notes.append(f"{self.format.channels} channels mixed down to mono")

    def __enter__(self) -> AudioReader:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Close the file."""
        self._sound.close()

    def blocks(self) -> Iterator[Real]:
        """Yield the file once, as mono float32 [n] at ``rate``, in blocks of varying n.

        Raises:
            AudioError: NaN or infinite samples, or a stream that breaks off.
        """
        resampler = Resampler(self.format.rate, self.rate)
        frames = max(1, BLOCK // self.format.channels)
        done = 0
        while True:
            try:
                block = self._sound.read(frames, dtype="float32", always_2d=True)
            except RuntimeError as error:
                raise AudioError(f"{self.path}: unreadable after {done} samples: {_reason(error)}",
                                 "copy or download it again") from error
            if not len(block):
                break
            self._inspect(block, done)
            done += len(block)
            yield resampler.push(np.ascontiguousarray(block.mean(axis=1, dtype=np.float32)))
        if done < self.format.frames and self._sound.format != "MP3":  # an MP3's length is an estimate
            raise AudioError(f"{self.path}: cut short: {self.format.frames} samples promised, "
                             f"{done} are there", "copy or download it again")
        yield resampler.flush()
        if self._clipped:
            self.notes.append(f"clipped: runs of samples at full scale: {self._clipped}")

    def _inspect(self, block: Real, start: int) -> None:
        if not np.isfinite(block).all():
            first = start + int(np.argmax(~np.isfinite(block).all(axis=1)))
            raise AudioError(f"{self.path}: sample {first} is not a finite number", "export it again as PCM")
        full = np.abs(block) >= FULL_SCALE
        runs = np.ones((max(0, len(full) - CLIPPED_RUN + 1), block.shape[1]), bool)
        for offset in range(CLIPPED_RUN):
            runs &= full[offset : offset + len(runs)]
        starts = runs.copy()
        starts[1:] &= ~runs[:-1]
        self._clipped += int(starts.sum())


def _open(path: Path) -> Any:
    import soundfile

    if path.is_dir():
        raise AudioError(f"{path}: is a folder", "give a sound file")
    if not path.exists():
        raise AudioError(f"{path}: no such file", "give a sound file, or - for raw PCM on standard input")
    try:
        with path.open("rb") as stream:
            if not stream.read(1):
                raise AudioError(f"{path}: is empty", "record it again")
        return soundfile.SoundFile(str(path))
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror}", "check its permissions") from error
    except (RuntimeError, TypeError) as error:
        raise AudioError(f"{path}: not a sound file: {_reason(error)}",
                         "WAV, FLAC, OGG, MP3 and AIFF are read") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).rstrip(".")


@contextlib.contextmanager
def audio_writer(path: Path | str, like: AudioFormat, rate: int = RATE) -> Iterator[AudioWriter]:
    """Write a mono file of ``like``'s rate, length and sample format; whole or not at all.

    Args:
        path: its suffix names the container; a sample format that this container lacks becomes its default.
        like: the format to match; its ``frames`` is the exact length, or 0 for whatever is written.
        rate: Hz of the blocks given to ``write``.

    Raises:
        AudioError: an unknown suffix, or a folder; TinyseError where it cannot be written.
    """
    import soundfile

    path = Path(path)
    container = FORMATS.get(path.suffix.lower())
    if container is None:
        raise AudioError(f"{path}: unknown sound format {path.suffix or 'without a suffix'}",
                         f"name it {', '.join(FORMATS)}")
    if path.is_dir():
        raise AudioError(f"{path}: is a folder", "give the name of a file")
    subtype = like.subtype if soundfile.check_format(container, like.subtype) else None
    with atomic_path(path) as temporary:
        try:
            sound = soundfile.SoundFile(str(temporary), "w", like.rate, 1, subtype, format=container)
        except soundfile.LibsndfileError as error:
            full = error.code == SF_ERR_SYSTEM
            raise AudioError(f"{path}: cannot be written: {_reason(error)}",
                             "free some disk space" if full else f"{container} may not do {like.rate} Hz") from error
        with sound:
            # The PEAK chunk of float files holds the time of day; without it same input, same bytes.
            soundfile._snd.sf_command(sound._file, SFC_SET_ADD_PEAK_CHUNK, soundfile._ffi.NULL, 0)
            writer = AudioWriter(sound, Resampler(rate, like.rate), like.frames, path)
            yield writer
            writer.finish()


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
            raise AudioError(f"{self._path}: cannot be written: {_reason(error)}",
                             "free some disk space") from error
        self.written += len(block)


def _rounded(block: Real, bits: int) -> Any:
    """int32 [n], the nearest sample of ``bits`` in its high bits; libsndfile itself would cut off what is below."""
    full = 2.0 ** (bits - 1)
    return np.clip(np.rint(np.asarray(block, float) * full), -full, full - 1).astype(np.int32) << (32 - bits)


def hops_of(blocks: Iterable[Real], hop: int) -> Iterator[Real]:
    """Regroup float32 blocks of any length into float32 [hop]; the last is filled with zeros."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block]) if len(rest) else block
        whole = len(rest) // hop * hop
        yield from rest[:whole].reshape(-1, hop)
        rest = rest[whole:]
    if len(rest):
        yield np.pad(rest, (0, hop - len(rest)))


def pcm_blocks(stream: BinaryIO, samples: int) -> Iterator[Real]:
    """Read raw little-endian 16-bit mono from a pipe, float32 [<= samples] a block, as it arrives.

    Raises:
        AudioError: the stream ends in half a sample; the whole ones were yielded before.
    """
    while data := stream.read(2 * samples):
        yield np.frombuffer(data, "<i2", len(data) // 2).astype(np.float32) / np.float32(32768)
        if len(data) % 2:
            raise AudioError("-: raw PCM ends in half a sample", "send 16-bit little-endian mono")


def pcm_bytes(block: Real) -> bytes:
    """Raw little-endian 16-bit of float32 [n]; nearest, saturated."""
    scaled = np.clip(np.rint(np.asarray(block, np.float32) * np.float32(32768)), -32768, 32767)
    return scaled.astype("<i2").tobytes()
