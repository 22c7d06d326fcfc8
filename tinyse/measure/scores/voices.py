"""How well networks say where voice is: AUC, accuracy and balanced accuracy of a mixture, beside an energy detector.

Labels are the energy of the clean speech (``tinyse.sound.voice``). A network says voice from a probability of 1/2 on.
The detector, here the signal "noisy", is a threshold on a frame's level above its clip's softest tenth, the best one
for these clips: more than a device could know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tinyse.core.errors import ModelError
from tinyse.core.progress import Progress, Step, silent
from tinyse.engines import Engine
from tinyse.export.bundle import open_bundle
from tinyse.graph.model import Model
from tinyse.measure.scores.metrics import VOICE
from tinyse.measure.scores.pairs import Pair
from tinyse.measure.scores.result import NOISY, ClipScore
from tinyse.measure.scores.systems import System, load
from tinyse.sound import Real, rows, stft
from tinyse.sound.voice import Floats, Labels, Score, auc, best_threshold, frame_levels, voice

SOFT = 0.1
"""Share of a clip's frames that count as its noise."""
ALONE = {"auc": "voice or pauses alone"}
SHORT = dict.fromkeys(VOICE, "shorter than a frame")
CONVENTIONS = {
    "voice": "frames within 30 dB of the loud ones of the clean speech; balanced: mean of voice and pauses; of a clip",
    NOISY: "an energy detector: the frame's level above its clip's softest tenth, best threshold for these clips"}


def hears_voice(systems: Sequence[System]) -> bool:
    """Whether the models say where voice is, in place of enhancing.

    Raises:
        ModelError: some do and some do not.
    """
    kinds = {_kind(system) for system in systems} - {""}
    if "voice" in kinds and len(kinds) > 1:
        raise ModelError(f"{systems[0].label}, {systems[1].label}: one says where voice is, the other does not",
                         "compare models of one task")
    return "voice" in kinds


def _kind(system: System) -> str:
    """Of its result; "" where the file is no model, which loading it will say."""
    try:
        ends = Model.load(system.path).ends if system.engine == "keras" else open_bundle(
            system.path, compiled=system.engine == "npu").ends
    except ModelError:
        return ""
    return ends.result.kind


def probabilities(engine: Engine, wave: Real) -> Real:
    """Of voice, of every frame of float32 [samples], [frames]; the engine is reset first."""
    engine.reset()
    return np.array([engine.mask(row)[0] for row in rows(wave, stft(wave, engine.ends.framing), engine.ends)])


def score_voices(systems: Sequence[System], pairs: Iterable[Pair], total: int = 0, progress: Progress = silent
                 ) -> tuple[ClipScore, ...]:
    """Score the energy detector and each system's streamed answers on every pair, columns of ``VOICE`` in percent."""
    engines = [(system.label, load(system)) for system in systems]
    framing = engines[0][1].ends.framing
    heard: list[tuple[Pair, Labels, Floats]] = []
    found: list[dict[str, dict[str, float]]] = []
    for pair in pairs:
        labels, levels = (voice(pair.clean, framing.frame, framing.hop),
                          frame_levels(pair.noisy, framing.frame, framing.hop))
        heard.append((pair, labels, levels - np.quantile(levels, SOFT) if levels.size else levels))
        found.append({label: _values(probabilities(engine, pair.noisy), 0.5, labels) for label, engine in engines})
        progress(Step("evaluate", len(heard), total, pair.name))
    if not heard:
        return ()
    levels, labels = (np.concatenate(parts) for parts in zip(*((one[2], one[1]) for one in heard), strict=True))
    best = best_threshold(levels, labels) if 0 < labels.sum() < labels.size else 0.0
    clips = []
    for (pair, own, above), values in zip(heard, found, strict=True):
        values = {NOISY: _values(above, best, own), **values}
        skipped = {label: ALONE if scored else SHORT for label, scored in values.items() if "auc" not in scored}
        clips.append(ClipScore(pair.name, pair.snr, values, skipped))
    return tuple(clips)


def _values(answers: Floats | Real, least: float, labels: Labels) -> dict[str, float]:
    if not labels.size:
        return {}
    score, area = Score.of(answers >= least, labels), auc(answers, labels)
    shares = dict(zip(VOICE, (area, score.accuracy, score.balanced), strict=True))
    return {name: 100.0 * float(share) for name, share in shares.items() if share == share}
