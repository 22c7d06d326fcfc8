"""Sound in and out: files of any rate, width and channel count as 16 kHz mono blocks, and raw PCM pipes.

Everything streams; memory does not grow with the length. Rates are converted by soxr at its highest
quality, whose streaming form keeps samples aligned with the input.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from tinyse.core.errors import AudioError
from tinyse.sound.framing import Real
from tinyse.sound.source import Ahead, Sound

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


def check_rate(rate: int, name: str = "") -> None:
    """Refuse a rate in Hz that recordings do not have; AudioError, of ``name`` where one is given."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(f"{name}{name and ': '}{rate} Hz is too {'low' if rate < LOWEST_RATE else 'high'}",
                         f"{LOWEST_RATE} to {HIGHEST_RATE} Hz is read")


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
        if whole:
            check_rate(self.format.rate)
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
