"""Whether the end of a sound file is missing: what each container other than WAV says of its length.

libsndfile decodes what is there and keeps silent about the rest. `ending` compares the promise with the file; where a
container promises nothing (a live stream), nothing is missing.
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from tinyse.core.errors import AudioError
from tinyse.sound.wav import ALL_ONES, HINT, PLACEHOLDER, chunks, cut_short

MAGIC = (b"fLaC", b"OggS", b"FORM", b"caff", b".snd", b"riff", b"ID3", b"NIST")
"""Besides WAV's: first bytes that are those of a sound file, and of raw PCM only by a chance of 2^-24."""
OGG_FIRST, OGG_LAST = 2, 4
"""Flags of a page."""
MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
MP3_KBITS = {True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
             False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}

MP3_TAG_KBITS = 0x80
"""The bit rate of a frame that is large enough for a tag: 112 kbit/s, or 64."""


def ending(stream: BinaryIO, size: int) -> tuple[int, int, bytes]:
    """Check that ``stream``, ``size`` bytes that may be sought in, holds what its container promises.

    Returns:
        The bytes that decoders are to be given: from where, how many, and what before them.

    Raises:
        AudioError: the end is missing, or only the first of several streams would be heard.
    """
    stream.seek(0)
    head = stream.read(64)
    promised: int | None = None
    there, heard = size, (0, size, b"")
    if head[:4] == b"FORM":
        stream.seek(12)
        for chunk in chunks(stream, b"SSND", ">"):
            if chunk.name == b"SSND" and 0 < chunk.size < PLACEHOLDER:
                promised, there = chunk.size, size - chunk.start
    elif head[:4] == b"riff" and len(head) >= 24:
        promised = int.from_bytes(head[16:24], "little")
    elif head[:4] in (b".snd", b"dns.") and len(head) >= 12:
        start, length = struct.unpack(">II" if head[:4] == b".snd" else "<II", head[4:12])
        promised, there = (None if length == ALL_ONES else length), size - start
    elif head[:4] == b"caff":
        promised, there = _caf(stream, size)
    elif head[:4] == b"NIST":
        promised, there = _sphere(stream, size)
    elif head[:4] == b"OggS":
        _ogg(stream, size)
    elif head[:3] == b"ID3" or head[:1] == b"\xff":
        promised, there, heard = _mp3(stream, size, head)
    if promised is not None and promised < 1 << 62 and there < promised:
        raise cut_short(promised, max(there, 0))
    return heard


def _caf(stream: BinaryIO, size: int) -> tuple[int | None, int]:
    position = 8
    while position + 12 <= size:
        stream.seek(position)
        name, length = struct.unpack(">4sq", stream.read(12))
        position += 12
        if name == b"data" or length < 0:
            return (length if length >= 0 else None), size - position
        position += length
    return None, size


def _sphere(stream: BinaryIO, size: int) -> tuple[int | None, int]:
    stream.seek(0)
    text = stream.read(1024).decode("latin-1")
    said = dict(re.findall(r"^(\w+) -\S+ (\S+)", text, re.MULTILINE))
    try:
        start = int(text.splitlines()[1])
        promised = int(said["sample_count"]) * int(said["channel_count"]) * int(said["sample_n_bytes"])
    except (IndexError, KeyError, ValueError):
        return None, size
    packed = any(word in said.get("sample_coding", "") for word in ("shorten", "wavpack", "shortpack"))
    return (None if packed else promised), size - start


def _ogg(stream: BinaryIO, size: int) -> None:
    """The last page must be whole and say that it is the last; none may start another stream behind it."""
    position, flags, ended = 0, 0, False
    while position + 27 <= size:
        stream.seek(position)
        page = stream.read(27 + 255)
        if page[:5] != b"OggS\0":
            break
        flags = page[5]
        if ended and flags & OGG_FIRST:
            raise AudioError("several streams in a row, of which only the first would be heard",
                             "decode it to WAV first")
        ended = bool(flags & OGG_LAST)
        position += 27 + page[26] + sum(page[27:27 + page[26]])
    if not ended or position > size:
        raise AudioError("cut short: the stream has no end", HINT)


def _mp3(stream: BinaryIO, size: int, head: bytes) -> tuple[int | None, int, tuple[int, int, bytes]]:
    """Bytes by the first frame's tag, or up to the end of the last frame that begins.

    Without a tag, or with one of the first of several files that were joined, decoders stop too early: they get one.
    """
    start = id3_bytes(head)
    stream.seek(start)
    frame = stream.read(64)
    if not (length := mp3_frame(frame)):
        return None, size, (0, size, b"")
    mono = frame[3] >> 6 == 3
    side = (17 if mono else 32) if frame[1] & 8 else (9 if mono else 17)
    tag = frame[4 + side:]
    if tag[:4] in (b"Xing", b"Info"):
        flags = int.from_bytes(tag[4:8], "big")
        told = int.from_bytes(tag[8 + 4 * (flags & 1):][:4], "big") if flags & 2 else 0
        stream.seek(start + told)
        if not told or not mp3_frame(stream.read(4)):
            return told or None, size - start, (start, told or size - start, b"")
        start, length = start + length, mp3_frame(frame)
    end, count = start, 0
    while length:
        stream.seek(end)
        if length := mp3_frame(stream.read(4)):
            end, count = end + length, count + 1
    first = bytes([0xFF, frame[1] | 1, frame[2] & 0x0D | MP3_TAG_KBITS, frame[3]])  # no checksum, no padding
    own = mp3_frame(first)
    info = first + bytes(side) + b"Info" + struct.pack(">III", 3, count, end - start + own)
    return end - start, size - start, (start, min(end, size) - start, info.ljust(own, b"\0"))


def id3_bytes(head: bytes) -> int:
    """Length of the ID3v2 tag that a file starts with; 0 where there is none."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def mp3_frame(head: bytes) -> int:
    """Bytes of the layer III frame that starts with ``head``; 0 where none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate, kbits = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or rate == 3 or kbits in (0, 15):
        return 0
    samples = 144 if version == 3 else 72
    return samples * 1000 * MP3_KBITS[version == 3][kbits - 1] // MP3_RATES[version][rate] + (head[2] >> 1 & 1)
