"""Public data sets whose files follow rules on the path: kind, speaker or source, and the set's own part.

docs/public-corpora.md says where each is got. A rule is searched in the path inside the data set's folder, with forward
slashes, so that a folder above or below the usual one is taken too; the first rule that matches decides.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PART = {"train": "train", "tr": "train", "dev": "validation", "val": "validation", "cv": "validation", "test": "test",
        "tt": "test", "eval": "test"}
NOT_NOISE = frozenset({"Speech", "Human_voice", "Singing", "Music", "Musical_instrument"})
"""FSD50K's labels of what a network must keep, or might take for speech (ours)."""


@dataclass(frozen=True)
class Rule:
    """Which files are of a kind, by a pattern with the groups ``source`` and ``part``, or without.

    Attributes:
        kind: "speech", "noise" or "room".
        where: searched in the path.
        template: the speaker or source, of the pattern's groups.
        parts: names of ``part`` and the splits they mean.
    """

    kind: str
    where: re.Pattern[str]
    template: str
    parts: Mapping[str, str]

    def match(self, path: str) -> re.Match[str] | None:
        """The path's groups where the rule is for it."""
        return self.where.search(path)

    def name(self, match: re.Match[str]) -> str:
        """Who speaks, or where the noise is from."""
        return self.template.format(**{key: value or "" for key, value in match.groupdict().items()})

    def part(self, match: re.Match[str]) -> str:
        """The split that the data set puts it in, or empty."""
        return self.parts.get(match.groupdict().get("part") or "", "")


@dataclass(frozen=True)
class Dataset:
    """A data set: its rules, and what its folder holds, for messages."""

    fixed: tuple[Rule, ...]
    looks: str

    def rules(self, folder: Path) -> Iterable[Rule]:
        """The rules for the copy in a folder."""
        return self.fixed


class FSD50K(Dataset):
    """Its ground truth, where it is there, says which clips are voices or music, and the split."""

    def rules(self, folder: Path) -> Iterable[Rule]:
        """One rule for each part and for what is left out."""
        parts: dict[str, list[str]] = {"train": [], "val": [], "test": [], "out": []}
        for name in ("dev", "eval"):
            for path in sorted(folder.rglob(f"{name}.csv")):
                with open(path, encoding="utf-8", newline="") as stream:
                    for row in csv.DictReader(stream):
                        voiced = NOT_NOISE & set((row.get("labels") or "").split(","))
                        parts["out" if voiced else row.get("split") or "test"].append(row.get("fname") or "")
        split = {name: part for part, names in parts.items() for name in names}
        return (_Listed("noise", self.fixed[0].where, "{source}", PART, split),) if split else self.fixed


@dataclass(frozen=True)
class _Listed(Rule):
    listed: Mapping[str, str] = field(default_factory=dict)

    def match(self, path: str) -> re.Match[str] | None:
        match = super().match(path)
        return None if match is None or self.listed.get(match["source"]) == "out" else match

    def part(self, match: re.Match[str]) -> str:
        return PART.get(self.listed.get(match["source"], ""), "")


def _rule(kind: str, where: str, template: str = "{source}", parts: Mapping[str, str] = PART) -> Rule:
    return Rule(kind, re.compile(where), template, parts)


DATASETS: dict[str, Dataset] = {
    "librispeech": Dataset((_rule("speech", r"(^|/)(?P<part>train|dev|test)-[\w-]+/(?P<source>\d+)/\d+/[^/]+$"),),
                           "train-clean-100/SPEAKER/CHAPTER/ (LibriSpeech, LibriTTS)"),
    "vctk": Dataset((_rule("speech", r"(^|/)wav\d+[^/]*/(?P<source>[ps]\d+)/(?![^/]*_mic2\.)[^/]+$"),),
                    "wav48_silence_trimmed/p225/ or wav48/p225/"),
    "mssnsd": Dataset((
        _rule("speech", r"(^|/)clean_(?P<part>train|test)/(?P<source>p\d+)_[^/]+$"),
        _rule("speech", r"(^|/)clean_(?P<part>train|test)/(?P<source>[^/]+)\.\w+$", "{part}/{source}"),
        _rule("noise", r"(^|/)noise_(?P<part>train|test)/(?P<source>[^/]+?)(_\d+)?\.\w+$", "{part}/{source}")),
        "clean_train/, clean_test/, noise_train/ or noise_test/"),
    "wham": Dataset((
        _rule("noise", r"(^|/)(?P<part>tr|cv|tt)/(noise/)?(?P<source>[^/]+)\.\w+$", "{part}/{source}"),
        _rule("noise", r"(^|/)high_res_wham/audio/(?P<source>[^/]+)\.\w+$")), "wham_noise/tr/, cv/ and tt/"),
    "musan": Dataset((
        _rule("noise", r"(^|/)noise/(?P<place>[^/]+)/(?P<source>[^/]+)\.\w+$"),
        _rule("speech", r"(^|/)speech/(?P<place>[^/]+)/(?P<source>[^/]+)\.\w+$")),
        "noise/free-sound/ and speech/librivox/"),
    "demand": Dataset((_rule("noise", r"(^|/)(?P<source>[DNOPST][A-Z]{3,})/ch01\.\w+$"),), "DKITCHEN/ch01.wav"),
    "esc50": Dataset((_rule("noise", r"(^|/)\d-(?P<source>\d+)-[A-Z](-\d+)?\.(wav|ogg)$"),),
                     "audio/1-100032-A-0.wav (ESC-50), or ESC-10's folders"),
    "fsd50k": FSD50K((_rule("noise", r"(^|/)FSD50K\.(?P<part>dev|eval)_audio[^/]*/(?P<source>\d+)\.\w+$",
                           parts={"eval": "test"}),), "FSD50K.dev_audio/ or FSD50K.eval_audio/"),
    "rirs": Dataset((
        _rule("room", r"(^|/)simulated_rirs[^/]*/(?P<size>\w+)/(?P<source>Room\d+)/[^/]+$", "{size}/{source}"),
        _rule("room", r"(^|/)real_rirs_isotropic_noises/(?P<source>(?!.*noise)[^/]*?)[-_]?(\d+)?\.\w+$"),
        _rule("noise", r"(^|/)real_rirs_isotropic_noises/(?P<source>[^/]*noise[^/]*)\.\w+$"),
        _rule("noise", r"(^|/)pointsource_noises/(?P<source>[^/]+)\.\w+$")),
        "simulated_rirs/, real_rirs_isotropic_noises/ or pointsource_noises/ (OpenSLR 26 and 28)"),
    "picovoice": Dataset((_rule("speech", r"(^|/)(clean/)?[^/]+\.(wav|flac)$", "speech-to-intent"),),
                         "data/speech/clean/ (speech-to-intent-benchmark)"),
}
"""By the name of the layout; they were laid out as published, with folders above or below as unpacked."""
