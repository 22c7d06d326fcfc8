"""A sound file or pipe, opened once: decoded by libsndfile, its header and its end judged here.

WAV samples are found by `tinyse.sound.wav` and handed to libsndfile as what they are, so that every header is
understood by one rule, and a WAV on a pipe plays as it arrives. Other containers need to be sought in: from a pipe they
are first copied to a temporary file.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from tinyse.core.errors import AudioError
from tinyse.sound import containers, wav
from tinyse.sound.framing import Real

UNKNOWN = 1 << 62
"""Bytes or samples: a length that is not known."""
ID3V1 = 128
"""Bytes of the tag at a file's end."""
KINDS = "WAV, FLAC, OGG, MP3 and AIFF are read"


class Ahead:
    """A stream that cannot seek, of which ``first``, bytes, were read to see what it is."""

    def __init__(self, stream: BinaryIO, count: int = 4) -> None:
        """Read ``count`` bytes, fewer where the stream ends."""
        self._stream = stream
        first = stream.read(count)
        frame = containers.mp3_frame(first)
        self._mp3 = bool(frame)
        if frame:  # an MP3 has no word at its start: a second frame must follow
            first += stream.read(frame)
            self._mp3 = bool(containers.mp3_frame(first[frame:frame + 4]))
        self.first = self._left = first

    @property
    def is_sound_file(self) -> bool:
        """Whether it starts as a sound file does, rather than as raw samples."""
        return self._mp3 or self.first.startswith((*wav.MAGIC, *containers.MAGIC))

    def read(self, count: int = -1) -> bytes:
        """``count`` bytes, fewer at the end only; all that is left where it is negative."""
        if count < 0:
            held, self._left = self._left, b""
            return held + self._stream.read()
        held, self._left = self._left[:count], self._left[count:]
        return held + self._stream.read(count - len(held)) if len(held) < count else held


class Sound:
    """An open sound.

    Attributes:
        rate: Hz.
        channels: at least 1.
        frames: samples per channel; 0 where that is not known before the end.
        subtype, container: libsndfile's names.
        notes: what a user should know of the header.
        live: on a pipe, so better read in small pieces.
    """

    def __init__(self, source: Path | BinaryIO, whole: bool = True) -> None:
        """Open a path, or a stream at its first byte.

        Args:
            source: what to read; closed by ``close`` where it is a path.
            whole: refuse a file that was cut short; else take what is there.

        Raises:
            AudioError: no such file, empty, no sound, or cut short; the message does not name it.
        """
        self.notes: list[str] = []
        self._whole = whole
        self._owned: list[Any] = []
        self._wav: wav.Wav | None = None
        try:
            stream = self._opened(source) if isinstance(source, Path) else source
            self._file = self._decoder(stream)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise AudioError(f"cannot be read: {error.strerror or error}", "check its permissions") from error
            raise
        self.rate, self.channels = self._file.samplerate, self._file.channels
        self.subtype, self.container = self._file.subtype, "WAV" if self._wav else self._file.format
        # Decoders that do not know give the largest number; an MP3 without a tag gives an estimate.
        self.frames = 0 if self.live or self._file.frames >= UNKNOWN else self._file.frames

    def _opened(self, path: Path) -> BinaryIO:
        if os.path.isdir(path):
            raise AudioError("is a folder", "give a sound file")
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            raise AudioError("no such file", "give the name of a sound file") from None
        except OSError as error:
            raise AudioError(str(error.strerror), "check its permissions") from error
        self._owned.append(stream)
        return stream

    def _decoder(self, stream: BinaryIO) -> Any:
        import soundfile

        self.live = not getattr(stream, "seekable", bool)()
        first = b""
        if self.live:
            ahead = stream if isinstance(stream, Ahead) else Ahead(stream)
            stream, first = cast(BinaryIO, ahead), ahead.first
            if first and not first.startswith(wav.MAGIC):
                stream, self.live = self._copied(ahead), False
        if not self.live:
            first = stream.read(10)
            stream.seek(skipped := containers.id3_bytes(first))
            if skipped and stream.read(4) in wav.MAGIC:  # a tag before a WAV, which decoders count as sound
                stream = io.BufferedReader(Window(stream, skipped, stream.seek(0, os.SEEK_END) - skipped))
                first = stream.read(4)
            stream.seek(0)
        if not first:
            raise AudioError("is empty", "record it again")
        size = None if self.live else stream.seek(0, os.SEEK_END)
        if size is not None:
            stream.seek(0)
        raw = {}
        if first.startswith(wav.MAGIC):
            self._wav = found = wav.read_wav(stream, size)
            if found.subtype:
                raw = {"samplerate": found.rate, "channels": found.channels, "subtype": found.subtype,
                       "endian": found.endian, "format": "RAW"}
            elif self.live:
                stream, self.live = self._copied(stream, bytes(found.start) + found.ahead), False
                size = stream.seek(0, os.SEEK_END)
            self._window = self._samples(found, stream, size)
        else:
            assert size is not None
            stream.seek(max(0, size - ID3V1))
            size -= ID3V1 if stream.read(3) == b"TAG" else 0  # decoders of FLAC take it for sound
            start, length, header = containers.ending(stream, size) if self._whole else (0, size, b"")
            self._window = Window(stream, start, length, header)
        try:
            return soundfile.SoundFile(self._window, **raw)
        except (RuntimeError, TypeError, ValueError) as error:
            self._window.check()
            raise AudioError(f"not a sound file: {reason(error)}", KINDS) from error

    def _copied(self, stream: Ahead | BinaryIO, before: bytes = b"") -> BinaryIO:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the sound
        self._owned.append(copy)
        copy.write(before)
        shutil.copyfileobj(cast(BinaryIO, stream), copy)
        copy.seek(0)
        return cast(BinaryIO, copy)

    def _samples(self, found: wav.Wav, stream: BinaryIO, size: int | None) -> Window:
        if size is None:
            promised = found.promised
            length = UNKNOWN if promised is None or promised >= wav.PLACEHOLDER else promised
            return Window(stream, found.start, length, ahead=found.ahead)
        there = size - found.start
        length, note = found.samples(there) if self._whole else (min(there, found.promised or there), "")
        if note:
            self.notes.append(note)
        if not length:
            raise AudioError("holds no samples", "record it again")
        return Window(stream, found.start, length, b"" if found.subtype else found.decodable(length))

    def read(self, frames: int) -> Real:
        """The next float32 [<= frames, channels]; [0, channels] at the end.

        Raises:
            AudioError: it breaks off.
        """
        import soundfile

        # Not SoundFile.read: it seeks after each block, which some codecs cannot.
        block = np.empty((frames, self.channels), np.float32)
        data = soundfile._ffi.cast("float *", soundfile._ffi.from_buffer(block))
        block = block[:soundfile._snd.sf_readf_float(self._file._file, data, frames)]
        if code := soundfile._snd.sf_error(self._file._file):
            self._window.check()
            raise AudioError(f"unreadable: {reason(soundfile.LibsndfileError(code))}", wav.HINT)
        self._window.check()
        if self.live and not len(block) and self._wav and (note := self._wav.samples(self._window.taken)[1]):
            self.notes.append(note)
        return block

    def close(self) -> None:
        """Close what was opened here."""
        for opened in (getattr(self, "_file", None), *self._owned):
            if opened is not None:
                opened.close()


class Window(io.RawIOBase):
    """Part of a stream as a file of its own, with a header before it, as libsndfile asks for it."""

    def __init__(self, stream: BinaryIO, start: int, length: int, header: bytes = b"", ahead: bytes = b"") -> None:
        """``length`` bytes from ``start`` on; ``ahead``: a live stream's first, which have been read."""
        self._stream, self._start, self._header, self._ahead = stream, start, header, ahead
        self._length, self._at = len(header) + length, 0
        self._live = not getattr(stream, "seekable", bool)()
        self._error: OSError | None = None
        self.taken = 0

    def check(self) -> None:
        """Raise the OSError that reading met: none may pass through libsndfile."""
        if self._error:
            raise AudioError(f"cannot be read: {self._error.strerror or self._error}", wav.HINT) from self._error

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """So libsndfile is told; a live stream is only ever asked to stay where it is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; nothing is read before ``readinto``."""
        self._at = offset + (0, self._at, self._length)[whence]
        return self._at

    def tell(self) -> int:
        """Where ``readinto`` would read."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer``, or what of it there is."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._length - self._at))
        data = self._header[self._at:self._at + count]
        try:
            if len(data) < count:
                data += self._body(self._at + len(data) - len(self._header), count - len(data))
        except OSError as error:
            self._error = error
        view[:len(data)] = data
        self._at += len(data)
        return len(data)

    def _body(self, position: int, count: int) -> bytes:
        if not self._live:
            self._stream.seek(self._start + position)
            return self._stream.read(count)
        if position != self.taken:
            return b""
        held, self._ahead = self._ahead[:count], self._ahead[count:]
        data = held + self._stream.read(count - len(held))
        self.taken += len(data)
        return data


def reason(error: Exception) -> str:
    """What libsndfile says, without the path and the full stop."""
    return str(getattr(error, "error_string", error)).rpartition(": ")[2].rstrip(".")
