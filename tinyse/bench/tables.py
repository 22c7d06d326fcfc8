"""The tables of the comparison: which clips, of which corpus, and what is said about them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Clips that everyone is scored on.

    Attributes:
        tier: of the corpus.
        condition: of `tinyse.measure.scores.conditions`.
        title, about: what the page says.
        curves: whether quality is drawn against costs.
    """

    tier: str
    condition: str
    title: str
    about: str
    curves: bool = False


TABLES = {
    "held-out": Table("default", "mixtures", "Held-out mixtures",
                      "The default tier's test split, as of `tinyse evaluate`: French and Belarusian speech, blanket's "
                      "noise. No model of tinyse has heard the speakers, the languages or the recordings.", True),
    "unseen": Table("unseen", "mixtures", "Unseen mixtures",
                    "The unseen tier (docs/corpus.md): packages of which no model of tinyse has heard anything, other "
                    "people and other recording chains. No peer's list of training data names these packages; sounds "
                    "that were published elsewhere too (Freesound) may be in the DNS Challenge's noise all the same.",
                    True),
    "rooms": Table("default", "rooms", "Rooms",
                   "The held-out speech and noise in simulated rooms, mouth and noise 0.5 to 4 m from the microphone "
                   "(`tinyse/sound/corpus/distant.py`: L-shaped floors and absorption that depends on frequency, which "
                   "training never draws; pyroomacoustics, image sources and rays). Reference is the "
                   "speech with its room.",
                   True),
    "levels": Table("default", "levels", "Levels",
                    "Held-out mixtures at 3 dB SNR, their speech at an active level of -55 to -10 dB of full scale, as "
                    "floating-point samples: the columns are levels, and nothing but the level changes along a row."),
    "clean": Table("default", "clean", "Clean speech alone",
                   "Speech with nothing to take away: what is lost here is harm. Copies of a clip count as 100 dB of "
                   "SI-SDR."),
}
