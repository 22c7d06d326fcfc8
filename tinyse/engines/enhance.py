"""Enhance one signal with a streaming engine: file or pipe in, file or pipe out, memory bounded.

A file comes out aligned with its input, as long, and at its rate. A pipe gives one hop for every hop it is
given, at once, so its output lags by the front end's delay and is that much longer. Before a signal and behind it lie
its first and its last sample, not zeros: a constant offset makes no step at either end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from tinyse.core.artifacts import check_apart
from tinyse.core.errors import AudioError
from tinyse.core.progress import Progress, Step, silent
from tinyse.engines.base import Engine
from tinyse.sound import Ends, Real, StreamingEnhancer
from tinyse.sound.audio import (
    AudioFormat,
    AudioReader,
    Resampler,
    check_rate,
    hops_of,
    pcm_blocks,
    pcm_bytes,
)
from tinyse.sound.audiofile import audio_writer
from tinyse.sound.level import Level
from tinyse.sound.source import Ahead

PIPE = "-"


@dataclass(frozen=True)
class Pipe:
    """The raw PCM ends of ``-``: 16-bit little-endian mono. An input that starts as a sound file does is read as one.

    Attributes:
        input, output: binary streams; None where there is none.
        rate: Hz of both.
    """

    input: BinaryIO | None
    output: BinaryIO | None
    rate: int = 16000


@dataclass(frozen=True)
class Enhanced:
    """What was done.

    Attributes:
        seconds: length of the input.
        rate: Hz of the output.
        engine: name of the engine.
        notes: remarks on the input (clipping, downmix, level).
        update_rate: share of the frames that ran the network; None where it is no Skip RNN.
        exit_rates: share of the frames that stopped at each exit; empty where there is one.
    """

    seconds: float
    rate: int
    engine: str
    notes: tuple[str, ...]
    update_rate: float | None = None
    exit_rates: tuple[float, ...] = ()


def enhance_signal(wave: Real, engine: Engine) -> Real:
    """Enhance float32 [n] at the front end's rate in memory; float32 [n], aligned with the input."""
    output = list(_aligned([np.asarray(wave, np.float32)], engine, engine.ends, delayed=False))
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
        TinyseError: the target is the source.
    """
    ends = engine.ends
    framing = ends.framing
    incoming = outgoing_to = None
    if str(source) == PIPE:
        incoming = _end(pipe, "input")
    if str(target) == PIPE:
        outgoing_to = _end(pipe, "output")
    pcm_rate = pipe.rate if pipe else framing.rate
    if incoming or outgoing_to:
        check_rate(pcm_rate, PIPE)
    if str(target) != PIPE:
        check_apart(target, source)
    level = Level()
    with contextlib.ExitStack() as stack:
        notes: list[str] = []
        blocks: Iterator[Real]
        ahead = Ahead(incoming) if incoming else None
        if ahead and not ahead.first:
            raise AudioError("-: is empty", "does something write into the pipe?")
        if ahead and not ahead.is_sound_file:
            form = AudioFormat(pcm_rate, 1, 0, "PCM_16")
            blocks = _resampled(pcm_blocks(ahead, framing.hop * pcm_rate // framing.rate), pcm_rate, framing.rate)
        else:
            reader = stack.enter_context(AudioReader(cast(BinaryIO, ahead) if ahead else source, framing.rate,
                                                     str(source) or "."))
            form, notes, blocks = reader.format, reader.notes, reader.blocks()
        write: Callable[[Real], None]
        if outgoing_to:
            rate = pcm_rate
            write = stack.enter_context(_pipe_writer(outgoing_to, framing.rate, rate))
        else:
            rate = form.rate
            write = stack.enter_context(audio_writer(target, form, framing.rate)).write
        done = 0
        for block in _aligned(_heard(blocks, level), engine, ends, delayed=outgoing_to is not None):
            write(block)
            before, done = done, done + len(block)
            if done // framing.rate != before // framing.rate:
                progress(Step("enhance", done / framing.rate, form.seconds))
    progress(Step("enhance", form.seconds, form.seconds))
    heard = done - (ends.delay if outgoing_to else 0)
    if (note := level.note()) and not any("beyond full scale" in said for said in notes):
        notes.append(note)
    return Enhanced(form.seconds or heard / framing.rate, rate, engine.name, tuple(notes), engine.update_rate,
                    engine.exit_rates)


def _end(pipe: Pipe | None, name: str) -> BinaryIO:
    if pipe is None:
        raise AudioError("-: no pipe to use", "give two files")
    stream: BinaryIO | None = getattr(pipe, name)
    if stream is None:
        raise AudioError(f"-: standard {name} is closed", "give two files, or open it")
    return stream


def _heard(blocks: Iterable[Real], level: Level) -> Iterator[Real]:
    for block in blocks:
        level.push(block)
        yield block


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
        last = 0.0
        for number, hop in enumerate(hops_of(counted(), ends.framing.hop)):
            if not number:
                stream.hold(float(hop[0]))
            if (filled := arrived - number * ends.framing.hop) < ends.framing.hop:
                hop[filled:] = hop[filled - 1]
            last = float(hop[-1])
            yield stream.push(hop)
        yield stream.flush(last)

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
def _pipe_writer(output: BinaryIO, source: int, target: int) -> Iterator[Callable[[Real], None]]:
    resampler = Resampler(source, target)

    def send(block: Real) -> None:
        output.write(pcm_bytes(block))
        output.flush()

    yield lambda block: send(resampler.push(block))
    send(resampler.flush())
