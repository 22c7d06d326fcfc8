"""WAV headers: one rule for every reader of the house. Chunks are walked from the front, never searched for.

A header promises bytes of samples; behind it, a file or pipe holds some. Where the two differ:

* **0, all ones, or 2 GiB and more in a smaller file** are what a writer on a pipe leaves behind: all that follows is
  taken. (What follows a 0 and reads as a further chunk is one: the file holds no samples.)
* **a header that counts itself** (44 bytes more, or 36) is worth a note.
* anything else was cut short.

``firmware/app/wav.c`` keeps the same rule.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from tinyse.core.errors import AudioError

MAGIC = (b"RIFF", b"RIFX", b"RF64", b"BW64")
PLACEHOLDER = 0x7FFF0000
"""Bytes: a promise from here on that is not kept is a placeholder. 2 GiB, less what sox and ALSA round down."""
ALL_ONES = 0xFFFFFFFF
EXTENSIBLE = 0xFFFE
SUBTYPES = {(1, 1): "PCM_U8", (1, 2): "PCM_16", (1, 3): "PCM_24", (1, 4): "PCM_32", (3, 4): "FLOAT", (3, 8): "DOUBLE",
            (6, 1): "ALAW", (7, 1): "ULAW"}
"""(format code, bytes a sample): libsndfile's name. Every other code is left to its decoders."""
PIECE = 1 << 16
MOST_CHANNELS = 1024
"""libsndfile's limit."""
HINT = "copy or download it again"


class Chunk(NamedTuple):
    """Its name, the bytes that it promises, where its body starts, and up to 64 KiB of that."""

    name: bytes
    size: int
    start: int
    body: bytes


def chunks(stream: BinaryIO, last: bytes, order: str = "<") -> Iterator[Chunk]:
    """Walk the chunks of a RIFF or AIFF ``stream``, whose first 12 bytes were read, forwards only.

    Ends with the chunk called ``last``, of which nothing is read, or where the file ends. Chunks are even: after an
    odd one a zero is passed over, which some writers forget.
    """
    position, ahead = 12, b""
    while len(head := ahead + stream.read(8 - len(ahead))) == 8:
        position += 8
        name, size = struct.unpack(f"{order}4sI", head)
        if name == last:
            yield Chunk(name, size, position, b"")
            return
        body = stream.read(min(size, PIECE))
        left = size - len(body)
        while left and (passed := len(stream.read(min(left, PIECE)))):
            left -= passed
        if left:
            return
        yield Chunk(name, size, position, body)
        position += size
        ahead = stream.read(1) if size % 2 else b""
        if ahead == b"\0":
            position, ahead = position + 1, b""


@dataclass(frozen=True)
class Wav:
    """A header; the stream stands ``len(ahead)`` bytes behind its end.

    Attributes:
        rate: Hz.
        channels: at least 1.
        frame: bytes of one sample of every channel, or of a block of a codec that packs many.
        subtype: libsndfile's name; empty for a codec that needs ``header`` to be decoded.
        endian: "LITTLE" or "BIG".
        start: bytes before the first sample.
        promised: bytes of samples; None where the writer did not know.
        ahead: bytes behind the header that were read to tell.
        header: up to the first sample, without what says nothing of the format; lengths are left at 0.
    """

    rate: int
    channels: int
    frame: int
    subtype: str
    endian: str
    start: int
    promised: int | None
    ahead: bytes
    header: bytes

    def samples(self, there: int) -> tuple[int, str]:
        """How many of the ``there`` bytes behind the header are samples, and a note or "".

        Raises:
            AudioError: they are fewer than promised.
        """
        if self.promised is None or self.promised <= there:
            return there if self.promised is None else self.promised, ""
        if self.promised >= PLACEHOLDER:
            return there, ""
        if self.promised - there in (self.start, self.start - 8):
            return there, "the WAV's header counts itself as sound; what is there was read"
        raise cut_short(self.promised, there)

    def decodable(self, data: int) -> bytes:
        """``header`` for libsndfile, with ``data`` bytes of samples behind it; fewer than 4 GiB."""
        order = "<" if self.endian == "LITTLE" else ">"
        sizes = struct.pack(f"{order}I", len(self.header) - 8 + data), struct.pack(f"{order}I", data)
        return self.header[:4] + sizes[0] + self.header[8:-4] + sizes[1]


def cut_short(promised: int, there: int) -> AudioError:
    """What a file is told whose end is missing."""
    return AudioError(f"cut short: the header promises {promised} bytes of sound, {there} are there", HINT)


def read_wav(stream: BinaryIO, size: int | None) -> Wav:
    """Read the header of a WAV, RIFX, RF64 or BW64 ``stream`` that stands at its first byte.

    Args:
        stream: need not seek.
        size: bytes in all; None where that is not known.

    Raises:
        AudioError: no WAV, or a header without format or data.
    """
    magic = stream.read(12)
    if magic[:4] not in MAGIC or magic[8:] != b"WAVE":
        raise AudioError("not a sound file: no WAV header", "export it again")
    order = ">" if magic[:4] == b"RIFX" else "<"
    form, fact, long = b"", b"", 0
    for chunk in chunks(stream, b"data", order):
        if chunk.name == b"fmt ":
            form = chunk.body
        elif chunk.name == b"fact":
            fact = b"fact" + struct.pack(f"{order}I", chunk.size) + chunk.body
        elif chunk.name == b"ds64" and len(chunk.body) >= 16:
            long = int.from_bytes(chunk.body[8:16], "little")
    if len(form) < 16 or chunk.name != b"data":
        raise AudioError(f"not a sound file: its header has no {'format' if len(form) < 16 else 'data'}", HINT)
    code, channels, rate, _, frame, bits = struct.unpack(f"{order}HHIIHH", form[:16])
    if code == EXTENSIBLE and len(form) >= 26:
        code, = struct.unpack(f"{order}H", form[24:26])
    if not 0 < channels <= MOST_CHANNELS or not rate or not (frame or bits):
        raise AudioError(f"not a sound file: {channels} channels of {bits} bits at {rate} Hz", "export it again")
    width = frame // channels if frame and not frame % channels else -(-bits // 8)
    subtype = SUBTYPES.get((code, width), "")
    if not subtype and code in (1, 3):
        raise AudioError(f"not a sound file: {bits}-bit samples of format {code} do not exist", "export it again")
    promised: int | None = long if chunk.size == ALL_ONES and long else chunk.size
    ahead = stream.read(8) if not promised else b""
    if not promised and not _is_chunk(ahead, order, size, chunk.start):
        promised = None
    if promised == ALL_ONES:
        promised = None
    header = (b"RIFX" if order == ">" else b"RIFF") + bytes(4) + b"WAVEfmt " + struct.pack(f"{order}I", len(form))
    return Wav(rate, channels, width * channels if subtype else max(frame, 1), subtype,
               "BIG" if order == ">" else "LITTLE", chunk.start, promised, ahead,
               header + form + fact + b"data" + bytes(4))


def _is_chunk(head: bytes, order: str, size: int | None, position: int) -> bool:
    """Whether what follows a data chunk of 0 bytes is nothing, or a further chunk that ends where the file does."""
    if len(head) < 8:
        return True
    name, length = struct.unpack(f"{order}4sI", head)
    return name.isascii() and name.decode("ascii").isprintable() and (
        size is None or position + 8 + length <= size)
