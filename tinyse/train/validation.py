"""Validation: a score of every validation mixture, computed as whole sequences: SI-SDR of what is enhanced, or how
well a network says where voice is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import CorpusError
from tinyse.sound import Ends, divisors, rows, sounded, stft
from tinyse.sound.corpus.mix import test_mixtures
from tinyse.sound.corpus.store import Corpus
from tinyse.sound.voice import Score, best_threshold, frame_levels, voice
from tinyse.train.channels import by_channel
from tinyse.train.gated import Gated
from tinyse.train.keras import tf
from tinyse.train.network import Network
from tinyse.train.routing import exit_costs
from tinyse.train.routing import routed as route
from tinyse.train.slimming import at_width

Wave = NDArray[np.float32]
SNRS = (-6, -3, 0, 3, 6, 9)
SECONDS = 4.0
ROWS = 12


def _si_sdr(estimate: NDArray[Any], clean: NDArray[Any]) -> NDArray[Any]:
    scale = (estimate * clean).sum(-1, keepdims=True) / ((clean * clean).sum(-1, keepdims=True) + 1e-9)
    target = scale * clean
    noise = np.square(estimate - target).sum(-1) + 1e-9
    return 10.0 * np.log10((np.square(target).sum(-1) + 1e-9) / noise)


def _whole(network: Network, features: Any, at: int) -> tuple[Any, Any]:
    """The result of part ``at``, and where there are gates their share of open channels, [B] times."""
    seen: dict[str, Any] = {}
    width = at_width(network.net, features) if network.net.widths else None
    results, _ = network.run(features, network.zero_states(features.shape[1]), seen, route=width)
    if not (gates := network.channel_gates):
        return results[at], None
    return results[at], tf.fill((features.shape[1],), tf.reduce_mean(by_channel(seen, "open", gates)))


class Validation:
    """The validation split's mixtures, their features computed once.

    Attributes:
        key, name, unit: of the score, which is better where it is larger; ``beside``: what ``before`` is.
        before: mean score without the network: SI-SDR of the unprocessed mixtures in dB, without removing means.
        features: [T, N, bands] float32.
        update_rate: share of frames that ran a Skip RNN at the last score, or mean cost of a routed frame
            (``tinyse.train.routing``); None for other networks.
        open_share: of the channels of all gates, at the last score; None where there are none.
    """

    key, name, unit, beside = "si_sdr", "SI-SDR", "dB", "noisy"

    def __init__(self, corpus: Corpus, count: int, seed: int, ends: Ends, apart: bool = False) -> None:
        """``apart``: a speech and a noise of its own for every mixture, in place of the same at each SNR."""
        per_snr = max(1, round(count / len(SNRS)))
        draws = [((snr,), seed + number) for number, snr in enumerate(SNRS)] if apart else [(SNRS, seed)]
        mixtures = [mixture for snrs, seed in draws
                    for mixture in test_mixtures(corpus, "validation", snrs, per_snr, SECONDS, seed)]
        if not mixtures:
            raise CorpusError("the corpus has no validation mixtures", "fetch or import one")
        length = min(m.noisy.size for m in mixtures) // ends.framing.hop * ends.framing.hop
        noisy = np.stack([m.noisy[:length] for m in mixtures]).astype(np.float32)
        self.clean = np.stack([m.clean[:length] for m in mixtures]).astype(np.float32)
        self.ends = ends
        self.spectra = np.stack([stft(wave, ends.framing) for wave in noisy])
        self.features = np.stack([rows(*each, ends) for each in zip(noisy, self.spectra, strict=True)], 1)
        self._levels = [divisors(*each, ends) for each in zip(noisy, map(len, self.spectra), strict=True)]
        edge = max(ends.framing.hop, ends.framing.frame - ends.framing.hop)
        self._run: Any = None
        self.update_rate: float | None = None
        self.open_share: float | None = None
        self._inside = slice(edge, length - edge)
        self.before = self._begin(noisy)

    def told(self, score: float) -> dict[str, float]:
        """As a run's manifest has it."""
        return {"val_si_sdr_db": score, "val_noisy_si_sdr_db": self.before}

    def _begin(self, noisy: Wave) -> float:
        return float(_si_sdr(noisy[:, self._inside], self.clean[:, self._inside]).mean())

    def _score(self, index: int, answers: Wave) -> float:
        """Of mixture ``index``, by the network's answers [T, outputs]."""
        wave = sounded(self.spectra[index], answers, self.ends, self._levels[index])
        return float(_si_sdr(wave[self._inside][None], self.clean[index, self._inside][None])[0])

    def forget(self) -> None:
        """Trace the network anew at the next score: its grids have changed."""
        self._run = None

    def mean(self, network: Network, at: int = -1, routed: bool = False) -> float:
        """Mean score of the network's output, of part ``at``; ``routed``: where its router has frames stop."""
        return float(np.mean(self.scores(network, at, routed)))

    def scores(self, network: Network, at: int = -1, routed: bool = False) -> NDArray[np.float64]:
        """Of every mixture, [N]."""
        if self._run is None:
            if network.net.skip is not None:
                self._run = Gated(network).masks
            elif network.net.route is not None and routed:
                costs = tf.constant(exit_costs(network.net))
                choose = tf.function(lambda f: route(network, f))
                self._run = lambda f: (lambda masks, choice: (masks, tf.tensordot(choice, costs, 1)))(*choose(f))
            else:
                self._run = tf.function(lambda f: _whole(network, f, at))
        parts = [self._run(tf.constant(self.features[:, at : at + ROWS]))
                 for at in range(0, self.features.shape[1], ROWS)]
        masks = np.concatenate([part[0].numpy() for part in parts], 1)
        if network.net.skip is not None or (network.net.route is not None and routed):
            self.update_rate = float(np.concatenate([part[1].numpy() for part in parts], 1).mean())
        elif network.channel_gates:
            self.open_share = float(np.concatenate([part[1].numpy() for part in parts]).mean())
        return np.array([self._score(index, masks[:, index]) for index in range(masks.shape[1])], np.float64)


class VoiceValidation(Validation):
    """Of a network that says where voice is: its balanced share of frames, voice from 1/2 on, in percent.

    Attributes:
        before: of the level of the noisy frame, by the threshold that is best on these mixtures.
    """

    key, name, unit, beside = "balanced", "balanced accuracy", "%", "level"

    def _begin(self, noisy: Wave) -> float:
        framing = self.ends.framing
        self.labels = [voice(wave, framing.frame, framing.hop) for wave in self.clean]
        levels = [frame_levels(wave, framing.frame, framing.hop) for wave in noisy]
        if not 0 < sum(map(np.sum, self.labels)) < sum(map(np.size, self.labels)):
            raise CorpusError("the validation mixtures are voice or pauses alone", "train.validate_count: more")
        best = best_threshold(np.concatenate(levels), np.concatenate(self.labels))
        return float(np.mean([self._balanced(index, each >= best) for index, each in enumerate(levels)]))

    def told(self, score: float) -> dict[str, float]:
        """As a run's manifest has it."""
        return {"val_balanced": score, "val_level": self.before}

    def _balanced(self, index: int, answers: NDArray[np.bool_]) -> float:
        return 100.0 * Score.of(answers, self.labels[index]).balanced

    def _score(self, index: int, answers: Wave) -> float:
        return self._balanced(index, answers[:, 0] >= 0.5)


def validation_of(ends: Ends) -> type[Validation]:
    """What judges a network of these ends."""
    return VoiceValidation if ends.result.kind == "voice" else Validation
