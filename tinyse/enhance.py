"""Enhance one signal with a streaming engine: file or pipe in, file or pipe out, memory bounded.

A file comes out aligned with its input, as long, and at its rate. A pipe gives one hop for every hop it is
given, at once, so its output lags by the front end's delay and is that much longer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tinyse.audio import (
    LOWEST_RATE,
    AudioFormat,
    AudioReader,
    Resampler,
    audio_writer,
    hops_of,
    pcm_blocks,
    pcm_bytes,
)
from tinyse.engines.base import Engine, ends_of, update_rate
from tinyse.errors import AudioError
from tinyse.progress import Progress, Step, silent
from tinyse.sound import Ends, Real, StreamingEnhancer

PIPE = "-"


@dataclass(frozen=True)
class Pipe:
    """The raw PCM ends of ``-``: 16-bit little-endian mono.

    Attributes:
        input, output: binary streams.
        rate: Hz of both.
    """

    input: BinaryIO
    output: BinaryIO
    rate: int = 16000


@dataclass(frozen=True)
class Enhanced:
    """What was done.

    Attributes:
        seconds: length of the input.
        rate: Hz of the output.
        engine: name of the engine.
        notes: remarks on the input (clipping, downmix).
        update_rate: share of the frames that ran the network; None where it is no Skip RNN.
    """

    seconds: float
    rate: int
    engine: str
    notes: tuple[str, ...]
    update_rate: float | None = None


def enhance_signal(wave: Real, engine: Engine) -> Real:
    """Enhance float32 [n] at the front end's rate in memory; float32 [n], aligned with the input."""
    output = list(_aligned([np.asarray(wave, np.float32)], engine, ends_of(engine), delayed=False))
    return np.concatenate([np.zeros(0, np.float32), *output])


def enhance_file(source: Path | str, target: Path | str, engine: Engine, progress: Progress = silent,
                 pipe: Pipe | None = None) -> Enhanced:
    """Enhance ``source`` into ``target``; either may be "-", the ends of ``pipe``.

    Args:
        source: any file that ``AudioReader`` takes, or "-".
        target: a file of the source's rate, length and sample format, or "-".
        engine: reset here.
        progress: told seconds done of seconds in all (0 for a pipe), about every second.
        pipe: needed where either end is "-".

    Raises:
        AudioError: the source cannot be read, the target not written; no part of a file is left behind.
    """
    ends = ends_of(engine)
    if PIPE in (str(source), str(target)):
        if pipe is None:
            raise AudioError("-: no pipe to use", "give two files")
        if pipe.rate < LOWEST_RATE:
            raise AudioError(f"-: {pipe.rate} Hz is too low", f"at least {LOWEST_RATE} Hz is needed")
    with contextlib.ExitStack() as stack:
        notes: list[str] = []
        if str(source) == PIPE and pipe is not None:
            form = AudioFormat(pipe.rate, 1, 0, "PCM_16")
            blocks = _resampled(pcm_blocks(pipe.input, ends.framing.hop * pipe.rate // ends.framing.rate),
                                pipe.rate, ends.framing.rate)
        else:
            reader = stack.enter_context(AudioReader(source, ends.framing.rate))
            form, notes, blocks = reader.format, reader.notes, reader.blocks()
        write: Callable[[Real], None]
        if str(target) == PIPE and pipe is not None:
            rate = pipe.rate
            write = stack.enter_context(_pipe_writer(pipe, ends.framing.rate))
            outgoing = _aligned(blocks, engine, ends, delayed=True)
        else:
            rate = form.rate
            write = stack.enter_context(audio_writer(target, form, ends.framing.rate)).write
            outgoing = _aligned(blocks, engine, ends, delayed=False)
        done = 0
        for block in outgoing:
            write(block)
            before, done = done, done + len(block)
            if done // ends.framing.rate != before // ends.framing.rate:
                progress(Step("enhance", done / ends.framing.rate, form.seconds))
    progress(Step("enhance", form.seconds, form.seconds))
    heard = done - (ends.delay if str(target) == PIPE else 0)
    return Enhanced(form.seconds or heard / ends.framing.rate, rate, engine.name, tuple(notes), update_rate(engine))


def _aligned(blocks: Iterable[Real], engine: Engine, ends: Ends, delayed: bool) -> Iterator[Real]:
    """Enhance; the delay stays in front, or is cut off. The padding of the last hop never comes out."""
    arrived = 0

    def counted() -> Iterator[Real]:
        nonlocal arrived
        for block in blocks:
            arrived += len(block)
            yield block

    stream = StreamingEnhancer(engine, ends)
    skip, left = (0 if delayed else ends.delay), 0

    def finished() -> Iterator[Real]:
        for hop in hops_of(counted(), ends.framing.hop):
            yield stream.push(hop)
        yield stream.flush()

    for out in finished():
        cut = min(skip, len(out))
        skip -= cut
        limit = arrived + (ends.delay if delayed else 0) - left
        ready = out[cut:][: max(0, limit)]
        left += len(ready)
        if len(ready):
            yield ready


def _resampled(blocks: Iterable[Real], source: int, target: int) -> Iterator[Real]:
    resampler = Resampler(source, target)
    for block in blocks:
        yield resampler.push(block)
    yield resampler.flush()


@contextlib.contextmanager
def _pipe_writer(pipe: Pipe, rate: int) -> Iterator[Callable[[Real], None]]:
    resampler = Resampler(rate, pipe.rate)

    def send(block: Real) -> None:
        pipe.output.write(pcm_bytes(block))
        pipe.output.flush()

    yield lambda block: send(resampler.push(block))
    send(resampler.flush())
