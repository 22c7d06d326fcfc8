"""Reads the files of an import: one file or pair at a time, long ones in pieces, each exactly once.

Runs in worker processes. A file is known by its path, size and time of change; one that changes while it is read is
read again, then left out.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyse.core.errors import AudioError
from tinyse.sound.audio import AudioReader
from tinyse.sound.corpus.clips import RATE
from tinyse.sound.corpus.decode import SHORTEST, SILENT_RMS_DB, at_16k, limit, mono_of, read_sound, to_mono_16k, trim
from tinyse.sound.corpus.difference import noise_of
from tinyse.sound.corpus.job import Job
from tinyse.sound.corpus.level import LONGEST, at_pauses
from tinyse.sound.corpus.mix import active_level
from tinyse.sound.corpus.pcm import Pcm, levels, to_int16
from tinyse.sound.corpus.rooms import LONGEST as LONGEST_ROOM
from tinyse.sound.corpus.rooms import response_of
from tinyse.sound.corpus.shards import Overflow, Waiting
from tinyse.sound.corpus.store import ROOM
from tinyse.sound.framing import Framing

READER = 1
"""Raised when what is made of a file changes, so that it is read again."""
PAUSE_LEVEL = 10 ** (-30 / 20)
"""A piece of a long recording that is softer than this beside the whole holds no speech."""
SEGMENT = 600
"""Seconds of a recording that are held at once; a longer one becomes several clips."""
MOST_FRAMES = 1 << 25
IN_MEMORY = 1 << 27
"""Bytes up to which a file is read at once."""
CHANNELS = 8
"""Of a room's measurement, evenly spread where it has more."""
CHANGED = "changed while it was read"

Floats = npt.NDArray[np.float32]
Result = Iterator[tuple[str, Pcm | None, str]]
Read = list[tuple[str, Pcm | Waiting | None, str, dict[str, Any]]]


def key_of(job: Job) -> bytes:
    """What a job's result depends on, in 16 bytes; a file that is missing has a key too."""
    digest = hashlib.blake2b(f"{READER} {job.clean is not None} {job.noise is not None} {job.room is not None} "
                             f"{job.keep_clean}".encode(), digest_size=16)
    for name in job.files:
        try:
            found = os.stat(name)
            digest.update(f"\0{found.st_size} {found.st_mtime_ns}\0".encode())
        except OSError as error:
            digest.update(f"\0{error.errno}\0".encode())
        digest.update(os.fsencode(os.path.abspath(name)))
    return digest.digest()


def read_batch(folder: Path, jobs: Sequence[Job]) -> list[tuple[bytes, Read]]:
    """Key and result of each job; the key is empty where a file kept changing."""
    return [read_steadily(folder, job) for job in jobs]


def read_steadily(folder: Path, job: Job) -> tuple[bytes, Read]:
    """A job's result, with the levels of each sound, and the key of the files that it was read from.

    What is too much for the memory waits in a file in ``folder``, which is for the caller to remove.
    """
    for _ in range(2):
        key = key_of(job)
        with Overflow(folder) as sound:
            result = [(kind, None, note, {}) if pcm is None else (kind, sound.hold(pcm), note, levels(pcm))
                      for kind, pcm, note in read_job(job)]
        if key_of(job) == key:
            return key, result or [(job.kinds[0], None, "holds no sound that could be kept", {})]
        discard(result)
        _mono.cache_clear()
    return b"", [(job.kinds[0], None, CHANGED, {})]


def discard(result: Read) -> None:
    """Remove the files in which sound waits."""
    for path in {pcm.path for _, pcm, *_ in result if isinstance(pcm, Waiting)}:
        path.unlink(missing_ok=True)


def read_job(job: Job) -> Result:
    """Read one file or pair: (kind, int16[n] or None, why not, or a remark) for each clip it makes."""
    try:
        if job.room is not None:
            yield from _responses(job.room)
        elif job.noise is not None:
            yield from (("noise", *_fit(piece, "noise")) for piece in _pieces(job.noise))
        elif job.noisy is None:
            yield from (found for piece in _pieces(job.clean) for found in _speech(piece))
        else:
            yield from _pair(job, _told(job.noisy))
    except AudioError as error:
        yield (job.kinds[0], None, str(error))


def _pair(job: Job, noisies: Iterator[Floats | str]) -> Result:
    path = os.fspath(job.clean or "")
    for clean, noisy in itertools.zip_longest(_mono(path) if _size(path) <= IN_MEMORY else _pieces(path), noisies):
        if clean is not None and job.keep_clean:
            yield from _speech(clean)
        if clean is None or noisy is None:
            yield ("noise", None, "noisy and clean differ by more than 0.1 s: not a pair")
            break
        yield _noise(noisy, clean)
        if isinstance(noisy, str):
            break


def _noise(noisy: Floats | str, clean: Floats) -> tuple[str, Pcm | None, str]:
    if isinstance(noisy, str):
        return ("noise", None, noisy)
    try:
        noise, moved = noise_of(noisy, clean)
    except AudioError as error:
        return ("noise", None, str(error))
    pcm, reason = _fit(noise, "noise")
    return ("noise", pcm, reason or moved)


def _told(path: Any) -> Iterator[Floats | str]:
    """The pieces of a file; where it cannot be read (on), why."""
    try:
        yield from _pieces(path)
    except AudioError as error:
        yield str(error)


def _speech(clean: Floats) -> Result:
    pcm, reason = _fit(trim(clean), "speech")
    if pcm is None or len(pcm) <= LONGEST:
        yield ("speech", pcm, reason)
        return
    floor = active_level(pcm) * PAUSE_LEVEL
    pieces: list[Any] = [trim(piece) for piece in at_pauses(pcm)]
    yield from (("speech", piece, "") for piece in pieces if len(piece) >= RATE and active_level(piece) >= floor)


def _responses(path: Any) -> Result:
    with _opened(path) as sound:
        if sound.format.seconds > LONGEST_ROOM:
            raise AudioError(f"lasts more than {LONGEST_ROOM:g} s: no impulse response", "cut it to the response")
        count = sound.format.channels
        chosen = np.unique(np.linspace(0, count - 1, min(count, CHANNELS)).astype(int))
        stored = np.concatenate([block[:, chosen] for block in sound.stored()])
    for channel in stored.T:
        try:
            yield (ROOM, to_int16(response_of(at_16k(np.ascontiguousarray(channel), sound.format.rate))), "")
        except AudioError as error:
            yield (ROOM, None, str(error))


@functools.lru_cache(maxsize=1)
def _mono(path: str) -> tuple[Floats, ...]:
    """A clean file's pieces, kept for the next mixture of it."""
    return tuple(_pieces(path))


def _pieces(path: Any) -> Iterator[Floats]:
    """A file at 16 kHz, mono, in pieces of at most ten minutes: float32[n] each."""
    if os.fspath(path).lower().endswith(".g722"):
        yield to_mono_16k(*read_sound(_bytes(path), "g722"))
        return
    with _opened(path) as sound:
        rate = sound.format.rate
        most, have, blocks = min(SEGMENT * rate, MOST_FRAMES), 0, list[Floats]()
        for block in sound.stored():
            blocks.append(mono_of(block))
            have += len(block)
            if have >= most:
                yield at_16k(np.concatenate(blocks), rate)
                blocks, have = [], 0
        if blocks:
            yield at_16k(np.concatenate(blocks), rate)


def _opened(path: Any) -> AudioReader:
    small = _size(path) <= IN_MEMORY
    return AudioReader(io.BytesIO(_bytes(path)) if small else Path(path), name="")


def _size(path: Any) -> int:
    if os.path.exists(path) and not os.path.isfile(path):
        raise AudioError("is a pipe or a device, or a folder", "give files")
    return os.path.getsize(path) if os.path.exists(path) else 0


def _bytes(path: Any) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise AudioError(f"{Path(path).name} cannot be read: {error.strerror}") from error


def _fit(samples: Floats, kind: str) -> tuple[Pcm | None, str]:
    if len(samples) < SHORTEST[kind] * RATE or len(samples) <= Framing().frame:  # training asks for a frame
        return None, "is too short"
    if active_level(samples) < 10 ** (SILENT_RMS_DB / 20):
        return None, f"is silent: below {SILENT_RMS_DB:g} dB of full scale"
    return to_int16(limit(samples)), ""
