"""Rooms by pyroomacoustics: impulse responses of random boxes, for a corpus whose training shall know rooms.

Early reflections by the image method up to the third order, the rest by rays, with the air's absorption (the hybrid
method of pyroomacoustics; Schroeder 2011). Responses are written as WAV files, a folder a room, as
``data import --rooms`` takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.artifacts import atomic_path
from tinyse.core.errors import CorpusError, ToolError
from tinyse.core.progress import Progress, Step, silent
from tinyse.core.workers import ONE_THREAD, Workers

RATE = 16_000
SIZES = ((3.0, 2.5, 2.3), (10.0, 8.0, 4.0))
"""Smallest and largest length, width and height in metres."""
DECAYS = (0.12, 1.0)
"""Time in which sound falls by 60 dB, in seconds, before walls differ; drawn evenly in its logarithm."""
DISTANCES = (0.25, 5.0)
"""From mouth to microphone in metres; drawn evenly in its logarithm, and no farther than the room allows."""
SOURCES = 4
"""Places of a mouth in a room."""
ORDER = 3
WALL = 0.4
"""Metres that mouth and microphone keep from every wall."""
TRIES = 200


def placed(rng: np.random.Generator, microphone: NDArray[Any], distances: tuple[float, float],
           fits: Callable[[NDArray[Any]], bool]) -> NDArray[Any] | None:
    """A place [3] in metres that ``fits``, its distance drawn evenly in the logarithm; None where none is found."""
    for _ in range(TRIES):
        way = rng.standard_normal(3) * [1.0, 1.0, 0.3]
        place = microphone + way / np.linalg.norm(way) * np.exp(rng.uniform(*np.log(distances)))
        if fits(place):
            return np.asarray(place)
    return None


def pyroomacoustics() -> Any:
    """The module; ToolError where it is not installed."""
    try:
        import pyroomacoustics as module
    except ImportError as error:
        raise ToolError("pyroomacoustics, which simulates rooms, is not installed",
                        "python -m pip install 'pyroomacoustics<1,>=0.8'") from error
    return module


def responses(seed: int, index: int) -> list[NDArray[np.float32]]:
    """Responses of room ``index`` at 16 kHz, float32 [samples] a source.

    Raises:
        ToolError: pyroomacoustics is not installed.
    """
    pra = pyroomacoustics()
    rng = np.random.default_rng([seed, 11, index])
    pra.random.seed(int(rng.integers(2**31)))
    size = rng.uniform(*SIZES)
    surface = 2 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
    decay = np.exp(rng.uniform(*np.log(DECAYS)))
    absorbed = float(np.clip(1 - np.exp(-0.161 * size.prod() / (surface * decay)), 0.02, 0.9))  # Eyring
    walls = np.clip(absorbed * 2 ** rng.uniform(-1, 1, 6), 0.01, 0.95)
    names = ("east", "west", "north", "south", "ceiling", "floor")
    scatter = float(rng.uniform(0.05, 0.3))
    room = pra.ShoeBox(
        size, fs=RATE, max_order=ORDER, ray_tracing=True, air_absorption=True,
        materials={name: pra.Material(float(wall), scatter)
                   for name, wall in zip(names, walls, strict=True)})
    microphone = rng.uniform([WALL, WALL, 0.7], size - WALL)
    room.add_microphone(microphone)
    low, high = np.array([WALL, WALL, 0.9]), size - WALL
    for _ in range(SOURCES):
        place = placed(rng, microphone, DISTANCES, lambda at: bool(np.all(at > low) and np.all(at < high)))
        room.add_source(rng.uniform(low, high) if place is None else place)
    room.compute_rir()
    return [np.asarray(one, np.float32) for one in room.rir[0]]


def _written(task: tuple[Path, int, int]) -> int:
    import soundfile

    folder, seed, index = task
    room = folder / f"room{index:05d}"
    done = [room / f"{number}.wav" for number in range(SOURCES)]
    if not all(path.is_file() for path in done):
        made = responses(seed, index)
        room.mkdir(parents=True, exist_ok=True)
        for path, wave in zip(done, made, strict=True):
            with atomic_path(path) as temporary:
                soundfile.write(temporary, wave * np.float32(0.9 / np.abs(wave).max()), RATE, "FLOAT", format="WAV")
    return index


def simulate_rooms(folder: Path | str, count: int, seed: int = 1, workers: int = 2,
                   progress: Progress = silent) -> Path:
    """Responses of ``count`` rooms under ``folder``, a folder a room; those that are there are kept.

    Raises:
        CorpusError: ``folder`` is a file.
        ToolError: pyroomacoustics is not installed.
    """
    folder = Path(folder)
    if folder.is_file():
        raise CorpusError(f"{folder}: is a file", "a folder, new or from before")
    pyroomacoustics()  # or say at once that it is missing
    with Workers(workers, variables=ONE_THREAD) as pool:
        for index in pool.in_order(_written, ((folder, seed, number) for number in range(count))):
            progress(Step("rooms", index + 1, count))
    return folder
