"""Sound in and out: files of any rate, width and channel count as 16 kHz mono blocks, and raw PCM pipes.

Everything streams; memory does not grow with the length. Rates are converted by soxr at its highest
quality, whose streaming form keeps samples aligned with the input.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from tinyse.artifacts import atomic_path
from tinyse.errors import AudioError
from tinyse.frontend import Real
from tinyse.sound import Ahead, Sound, reason
from tinyse.wav import chunks

RATE = 16000
LOWEST_RATE = 8000
"""Hz; below it, half the filterbank would be empty (ours)."""
HIGHEST_RATE = 768000
"""Hz; twice what converters do. A header with more is damaged, or not one."""
LIVE_MS = 16
"""How much is read at once from a pipe."""
BLOCK = 1 << 16
"""Source samples (all channels together) read at once."""
FULL_SCALE = 1 - 2.0**-14
IMPOSSIBLE = 2.0**40
"""Magnitude from which on the firmware takes samples as 0, and float32 soon overflows."""
CLIPPED_RUN = 3
"""Consecutive samples at full scale that count as clipping; fewer is a normalised peak (ours)."""
FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".aiff": "AIFF", ".aif": "AIFF", ".w64": "W64"}
INTEGER_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
SFC_SET_ADD_PEAK_CHUNK = 0x1050
SFC_RF64_AUTO_DOWNGRADE = 0x1210
LARGEST_32 = (1 << 32) - (1 << 12)
"""Bytes of samples that a container with 32-bit lengths holds beside its header."""
TRIAL = 4099
"""Samples: no whole number of any codec's blocks."""


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
    """Streaming conversion between two rates; passes blocks through where they are equal.

    What lies beyond both ends is taken to be the mean of the first block: a constant offset makes no step there.
    """

    def __init__(self, source: int, target: int) -> None:
        """Convert from ``source`` Hz to ``target`` Hz."""
        import soxr

        self._stream = None if source == target else soxr.ResampleStream(source, target, 1, "float32", "VHQ")
        self._offset: np.float32 | None = None

    def push(self, block: Real) -> Real:
        """Convert float32 [n]; returns what is ready, float32 [m], m >= 0."""
        if self._stream is None or not len(block):
            return block
        if self._offset is None:
            self._offset = block.mean(dtype=np.float32)
        return self._stream.resample_chunk(block - self._offset) + self._offset

    def flush(self) -> Real:
        """What is left after the last block."""
        empty = np.zeros(0, np.float32)
        if self._stream is None or self._offset is None:
            return empty
        return self._stream.resample_chunk(empty, last=True) + self._offset


class AudioReader:
    """A sound file or pipe as mono float32 blocks at ``rate``; a context manager.

    Attributes:
        format: the file's own rate, channels, length and sample format.
        notes: what a user should know but need not act on (clipping, downmix), complete after reading.
        over_db: how far the samples of a float file reach beyond full scale, dB; 0 where none does.
    """

    def __init__(self, source: Path | str | BinaryIO, rate: int = RATE, name: str | None = None,
                 whole: bool = True) -> None:
        """Open ``source``.

        Args:
            source: a path, or a stream at its first byte.
            rate: Hz of `blocks`.
            name: what errors call it; default: the path.
            whole: refuse what was cut short, or has another rate than recordings have.

        Raises:
            AudioError: missing, a folder, empty, not audio, cut short, or of an impossible rate.
        """
        self._name = name if name is not None else str(source)
        self.rate = rate
        self._loudest = 0.0
        self._clipped = 0
        self._full: np.ndarray[Any, Any] | None = None
        with self._named():
            self._sound = sound = Sound(Path(source) if isinstance(source, str | Path) else source, whole)
            self.format = AudioFormat(sound.rate, sound.channels, sound.frames, sound.subtype)
            self.notes = sound.notes
            try:
                self._check(whole)
            except AudioError:
                sound.close()
                raise

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except AudioError as error:
            raise AudioError(f"{self._name}: {error}" if self._name else str(error), error.hint) from error

    def _check(self, whole: bool) -> None:
        rate = self.format.rate
        if whole and not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise AudioError(f"{rate} Hz is too {'low' if rate < LOWEST_RATE else 'high'}",
                             f"{LOWEST_RATE} to {HIGHEST_RATE} Hz is read")
        if self.format.frames == 0 and not self._sound.live and self._sound.container not in ("FLAC", "MP3", "OGG"):
            raise AudioError("holds no samples", "record it again")
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
        """Yield the sound once, as mono float32 [n] at ``rate``, in blocks of varying n; raises as `stored`."""
        resampler = Resampler(self.format.rate, self.rate)
        for block in self.stored():
            yield resampler.push(np.ascontiguousarray(block.mean(axis=1, dtype=np.float32)))
        yield resampler.flush()

    def stored(self) -> Iterator[Real]:
        """Yield the sound once, as it is stored: float32 [n, channels] at its own rate.

        Raises:
            AudioError: NaN or infinite samples, or a stream that breaks off.
        """
        frames = max(1, self.format.rate * LIVE_MS // 1000 if self._sound.live else BLOCK // self.format.channels)
        done = 0
        with self._named():
            while len(block := self._sound.read(frames)):
                self._inspect(block, done)
                done += len(block)
                yield block
            if not done:
                raise AudioError("holds no samples", "record it again")
            if done < self.format.frames and self._sound.container != "MP3":  # an MP3's length is an estimate
                raise AudioError(f"cut short: {self.format.frames} samples promised, {done} are there",
                                 "copy or download it again")
        if self._clipped:
            self.notes.append(f"clipped: runs of samples at full scale: {self._clipped}")
        if self.over_db:
            self.notes.append(f"samples reach {self.over_db:.1f} dB beyond full scale ({self._loudest:.5g} where 1 is "
                              "full scale): scale them to -1..1")

    @property
    def over_db(self) -> float:
        """See the class."""
        return max(0.0, 20 * math.log10(max(self._loudest, 1.0)))

    def _inspect(self, block: Real, start: int) -> None:
        size = np.abs(block)
        if not (size < IMPOSSIBLE).all():
            first = int(np.argmax(~(size < IMPOSSIBLE).all(axis=1)))
            what = f"is {size[first].max():.3g}" if np.isfinite(block[first]).all() else "is not a finite number"
            raise AudioError(f"sample {start + first} {what}", "export it again as PCM")
        self._loudest = max(self._loudest, float(size.max()))
        full = (size >= FULL_SCALE) & (size <= 1)  # what is beyond was not clipped there
        before = np.zeros((CLIPPED_RUN, full.shape[1]), bool) if self._full is None else self._full
        full = np.concatenate([before, full])
        self._full = full[-CLIPPED_RUN:]
        runs = np.ones((len(full) - CLIPPED_RUN + 1, full.shape[1]), bool)
        for offset in range(CLIPPED_RUN):
            runs &= full[offset : offset + len(runs)]
        self._clipped += int((runs[1:] & ~runs[:-1]).sum())


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
    named = FORMATS.get(path.suffix.lower())
    if named is None:
        raise AudioError(f"{path}: unknown sound format {path.suffix or 'without a suffix'}",
                         f"name it {', '.join(FORMATS)}, or - for raw PCM on standard output")
    if os.path.isdir(path):
        raise AudioError(f"{path}: is a folder", "give the name of a file")
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


def pcm_blocks(stream: BinaryIO | Ahead, samples: int) -> Iterator[Real]:
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
