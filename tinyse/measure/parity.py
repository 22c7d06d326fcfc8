"""How far the trained network and its export are apart, on real noisy speech.

Two networks are held against TFLM frame by frame: the quantization-aware one as it streams (exact tables) and as it
trains (float32 arithmetic). Units are the result's own steps, a mask's 1/256.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyse.core.errors import ModelError
from tinyse.engines import Engine, load_engine
from tinyse.graph.model import Model
from tinyse.graph.plan import Always, Skip
from tinyse.graph.skip import SkipGate
from tinyse.sound import divisors, rows, sounded, stft
from tinyse.sound.corpus.mix import test_mixtures
from tinyse.sound.corpus.store import Corpus


@dataclass(frozen=True)
class Parity:
    """Differences of results, in steps of their grid (a mask: 1/256), and of the sound, over ``frames`` frames.

    Attributes:
        frames: streamed without a reset.
        streamed_max, streamed_mean: the streaming Keras network against TFLM.
        trained_max, trained_mean: the training forward pass, whole sequence at once, against TFLM.
        streamed_gates, trained_gates: frames of a Skip RNN on which one ran and TFLM did not, or the other way round.
        si_sdr_apart: |SI-SDR(training pass) - SI-SDR(TFLM)| of the enhanced audio, dB; None where there is none.
    """

    frames: int
    streamed_max: int
    streamed_mean: float
    trained_max: int
    trained_mean: float
    si_sdr_apart: float | None
    streamed_gates: int = 0
    trained_gates: int = 0


def measure_parity(model_path: Path | str, int8_path: Path | str, corpus: Corpus, frames: int = 1000,
                   seed: int = 0) -> Parity:
    """Stream ``frames`` frames of test mixtures through the trained model and through its export, every part of both.

    Raises:
        ModelError: the model has no quantization ranges, or the export is damaged.
    """
    from tinyse.engines.keras import KerasEngine
    from tinyse.measure.scores.metrics import si_sdr
    from tinyse.train.gated import Gated
    from tinyse.train.keras import tf
    from tinyse.train.network import restore

    model = Model.load(model_path)
    if model.ranges is None:
        raise ModelError(f"{model_path}: a float model", "give the run's model.npz")
    ends = model.ends
    pairs = list(test_mixtures(corpus, "test", (-6, 0, 6), 8, 4.0, seed))
    samples = (frames - 1) * ends.framing.hop + ends.framing.frame
    noisy, clean = (np.concatenate([getattr(p, which) for p in pairs])[:samples] for which in ("noisy", "clean"))
    spectrum = stft(noisy, ends.framing)
    features = rows(noisy, spectrum, ends)
    engine = load_engine(int8_path, "tflm")
    exported, gates = _stream(engine, features)
    streamed, same = _stream(KerasEngine(model), features)
    network, sequence = restore(model), tf.constant(features[:, None])
    if model.net.skip is not None:
        trained, ran = (part.numpy()[:, 0] for part in Gated(network).masks(sequence))
    else:
        trained, ran = network.run(sequence, network.zero_states(1))[0][-1].numpy()[:, 0], gates

    def apart(masks: np.ndarray) -> np.ndarray:
        return np.abs(np.round(masks / engine.output.scale) - np.round(exported / engine.output.scale))

    def score(masks: np.ndarray) -> float:
        wave = sounded(spectrum, masks, ends, divisors(noisy, len(spectrum), ends))
        edge = max(ends.framing.hop, ends.framing.frame - ends.framing.hop)
        return si_sdr(clean[edge : wave.size - edge], wave[edge:-edge])["si_sdr"]

    one, other = apart(streamed), apart(trained)
    sound = None if ends.result.scores else abs(score(trained) - score(exported))
    return Parity(len(features), int(one.max()), float(one.mean()), int(other.max()), float(other.mean()),
                  sound, int((same != gates).sum()), int((ran != gates).sum()))


def _stream(engine: Engine, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks of features [frames, bands], and whether the network ran on each, bool [frames]."""
    masks, ran = [], []
    if not isinstance(engine.plan.policy, Skip):
        engine.under(Always())
    gate: SkipGate | None = getattr(engine, "gate", None)
    for row in features:
        ran.append(gate is None or gate.due())
        masks.append(engine.mask(row))
    return np.stack(masks), np.array(ran)
