"""How far the trained network and its export are apart, on real noisy speech.

Two networks are held against TFLM frame by frame: the quantization-aware one as it streams (exact tables) and as it
trains (float32 arithmetic). Units are the mask's own steps, 1/256.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyse import frontend
from tinyse.corpus.mix import test_mixtures
from tinyse.corpus.store import Corpus
from tinyse.engines import load_engine
from tinyse.errors import ModelError
from tinyse.model import TrainedModel

STEPS = 256.0


@dataclass(frozen=True)
class Parity:
    """Differences of masks, in steps of 1/256, and of the enhanced audio, over ``frames`` frames.

    Attributes:
        frames: streamed without a reset.
        streamed_max, streamed_mean: the streaming Keras network against TFLM.
        trained_max, trained_mean: the training forward pass, whole sequence at once, against TFLM.
        si_sdr_apart: |SI-SDR(training pass) - SI-SDR(TFLM)| of the enhanced audio, dB.
    """

    frames: int
    streamed_max: int
    streamed_mean: float
    trained_max: int
    trained_mean: float
    si_sdr_apart: float


def measure_parity(model_path: Path | str, int8_path: Path | str, corpus: Corpus, frames: int = 1000,
                   seed: int = 0) -> Parity:
    """Stream ``frames`` frames of test mixtures through the trained model and through its export.

    Raises:
        ModelError: the model has no quantization ranges, or the export is damaged.
    """
    from tinyse.evaluate.metrics import si_sdr
    from tinyse.keras import tf
    from tinyse.network import StreamingNetwork, restore

    model = TrainedModel.load(model_path)
    if model.ranges is None:
        raise ModelError(f"{model_path}: a float model", "give the run's model.npz")
    spec = model.frontend
    pairs = list(test_mixtures(corpus, "test", (-6, 0, 6), 8, 4.0, seed))
    samples = (frames - 1) * spec.hop + spec.frame
    noisy, clean = (np.concatenate([getattr(p, which) for p in pairs])[:samples] for which in ("noisy", "clean"))
    spectrum = frontend.stft(noisy, spec)
    features = frontend.features(spectrum, spec)
    tflm, keras, network = load_engine(int8_path, "tflm"), StreamingNetwork(model), restore(model)
    exported = np.stack([tflm.mask(row) for row in features])
    streamed = np.stack([keras.step(row) for row in features])
    trained = network.run(tf.constant(features[:, None]), network.zero_states(1))[0].numpy()[:, 0]

    def apart(masks: np.ndarray) -> np.ndarray:
        return np.abs(np.round(masks * STEPS) - np.round(exported * STEPS))

    def score(masks: np.ndarray) -> float:
        wave = frontend.istft(spectrum * frontend.lift(masks, spec), spec)
        return si_sdr(clean[spec.hop : wave.size - spec.hop], wave[spec.hop : -spec.hop])["si_sdr"]

    one, other = apart(streamed), apart(trained)
    return Parity(len(features), int(one.max()), float(one.mean()), int(other.max()), float(other.mean()),
                  abs(score(trained) - score(exported)))
