"""One WAV through every link of the chain: the host's engines, and firmware images on QEMU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from firmware_audio import read_wav
from firmware_images import NPU, export, image, npu_model

from tinyse.engines.tflm import TflmEngine
from tinyse.firmware.qemu import run
from tinyse.firmware.results import Results

IMAGES = {"m55": ("corstone300", "cpu"), "m7": ("mps2-an500", "cpu"), "npu": ("corstone300", "npu")}
FULL_SCALE = 32768


class Listener:
    """An engine that keeps what its network was given and what it answered, and may be given other features."""

    name, update_rate, exit_rates = "tflm", None, ()

    def __init__(self, engine: TflmEngine, instead: np.ndarray | None = None) -> None:
        self._engine, self._instead = engine, instead
        self.bands, self.ends = engine.bands, engine.ends
        self.reset()

    def reset(self) -> None:
        self._engine.reset()
        self.exact: list[np.ndarray] = []
        self.features: list[np.ndarray] = []
        self.masks: list[np.ndarray] = []

    def mask(self, feature: np.ndarray) -> np.ndarray:
        own = self._engine.input.quantize(feature)
        given = own if self._instead is None else self._instead[len(self.features)]
        self.exact.append(np.asarray(feature, float) / self._engine.input.scale)
        self.features.append(own)
        self.masks.append(self._engine.step(given))
        return self._engine.output.dequantize(self.masks[-1])


@dataclass(frozen=True)
class Heard:
    """What one image made of a WAV: int8 [frames, bands] features and masks, int16 samples.

    Of a Skip RNN ``masks`` has P - 128 behind the bands, ``ran`` [frames] says which frames ran the network, and the
    others have the features and the mask of the last one that did.
    """

    features: np.ndarray
    masks: np.ndarray
    samples: np.ndarray
    ran: np.ndarray
    results: Results


def heard(link: str, model: str, wav: Path, folder: Path, seconds: float = 600) -> Heard:
    """Run ``wav`` through an image of ``model``; all images come from one export."""
    board, backend = IMAGES[link]
    out = folder / f"{link}.wav"
    done = run(image(board, backend, model=model, target=NPU).elf, board, wav, out, network=True, icount=False,
               npu_models=[npu_model(model)] if backend == "npu" else [], seconds=seconds)
    rows = np.frombuffer(done.network, np.int8).reshape(done.results.frames, -1)
    engine = tflm(model)
    bands, end = engine.bands, engine.bands + engine.outputs
    ran = rows[:, end] != 0 if engine.gate else np.ones(len(rows), bool)
    return Heard(rows[:, :bands], rows[:, bands:end], read_wav(out), ran, done.results)


def tflm(model: str) -> TflmEngine:
    return TflmEngine.load(export(model, NPU) / "model_int8.tflite")


def streamed(engine, features: np.ndarray) -> np.ndarray:
    """int8 masks of an engine that is given int8 features."""
    engine.reset()
    return np.array([engine.step(feature) for feature in features])


def decibels(samples: np.ndarray, reference: np.ndarray) -> float:
    """Energy of the difference over energy of the reference."""
    wanted = np.asarray(reference, float)
    return float(10 * np.log10(np.sum((np.asarray(samples, float) - wanted) ** 2) / np.sum(wanted**2) + 1e-20))


def int16(samples: np.ndarray) -> np.ndarray:
    """Float samples as a 16-bit file holds them."""
    return np.clip(np.rint(np.asarray(samples, float) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
