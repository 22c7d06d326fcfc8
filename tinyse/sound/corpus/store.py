"""The corpus on disk: packed 16 kHz mono samples, memory-mapped, and a manifest that names every clip.

A corpus folder holds ``corpus.json`` and, for each split and kind, ``<split>.<kind>.npy``: int16[samples],
all clips end to end. The same clips in the same order give the same bytes.

    corpus = Corpus.open(corpus_dir("small"))
    for clip in corpus.clips("speech", "train"):
        samples = corpus.samples(clip)          # float32[clip.length], in [-1, 1)
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tinyse.core.artifacts import atomic_path, cache_root, json_text
from tinyse.core.errors import CorpusError

RATE = 16000
KINDS = ("speech", "noise")
SPLITS = ("train", "validation", "test")
SCHEMA = 1
MANIFEST = "corpus.json"
FULL_SCALE = 32768.0
NAMES = ("utf-8", "surrogateescape")
"""How names become bytes to hash: a file's name need not be UTF-8."""

Kind = Literal["speech", "noise"]
Split = Literal["train", "validation", "test"]
Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording in a corpus.

    Attributes:
        id: unique name, "<package>/<path in it>".
        kind: "speech" or "noise".
        split: "train", "validation" or "test".
        source: the speaker of speech, the noise source of noise; never in two splits.
        package: what it came from (a Debian package, an imported data set), with its version.
        version: of the package; may be empty.
        language: ISO code of speech; empty for noise.
        licence: short name; the full text is named in LICENCES.txt.
        offset: first sample in the packed array.
        length: samples, at 16 kHz.
        rms_db: level over the whole clip, dB relative to full scale.
        peak: largest magnitude, 0 to 1.
        sha256: of the clip's int16 little-endian samples.
    """

    id: str
    kind: str
    split: str
    source: str
    package: str
    version: str
    language: str
    licence: str
    offset: int
    length: int
    rms_db: float
    peak: float
    sha256: str

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.length / RATE


@dataclass(frozen=True, slots=True)
class NewClip:
    """A clip to be written: as `Clip`, with samples[n] at 16 kHz, float in [-1, 1] or int16."""

    id: str
    kind: str
    split: str
    source: str
    samples: npt.NDArray[Any]
    package: str = ""
    version: str = ""
    language: str = ""
    licence: str = ""


@dataclass
class Corpus:
    """A folder of packed clips; open it with `Corpus.open`. May be sent to worker processes.

    Attributes:
        folder: where it lies.
        meta: what the maker noted (tier, tool, package list).
        hash: SHA-256 over every clip's name, split, source and samples.
        all: every clip, in the order of writing.
    """

    folder: Path
    meta: Mapping[str, Any]
    hash: str
    all: tuple[Clip, ...]
    _packed: dict[tuple[str, str], npt.NDArray[np.int16]] = field(default_factory=dict, repr=False,
                                                                  compare=False)

    @classmethod
    def open(cls, folder: Path | str) -> Corpus:
        """Open a corpus folder.

        Raises:
            CorpusError: there is none, it is of another schema, or a packed file is missing or cut short.
        """
        folder = Path(folder)
        path = folder / MANIFEST
        if not path.is_file():
            raise CorpusError(f"{folder}: holds no corpus", "run `tinyse data fetch` or `tinyse data import`")
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if manifest["schema"] != SCHEMA:
                raise CorpusError(f"{path}: schema {manifest['schema']}, not {SCHEMA}", "fetch it again")
            names = [item.name for item in fields(Clip)]
            clips = tuple(Clip(*(row[name] for name in names)) for row in manifest["clips"])
            corpus = cls(folder, manifest["meta"], manifest["hash"], clips)
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(f"{path}: is no corpus manifest: {error}", "fetch it again") from error
        corpus._check_sizes()
        return corpus

    @classmethod
    def write(cls, folder: Path | str, clips: Sequence[NewClip],
              meta: Mapping[str, Any] | None = None) -> Corpus:
        """Write ``clips`` as a corpus folder and open it; one that is there stays until all is written.

        Raises:
            CorpusError: an id occurs twice, a kind or split is unknown, samples are not finite or not 1-D.
        """
        folder = Path(folder)
        groups: dict[tuple[str, str], list[NewClip]] = defaultdict(list)
        seen: set[str] = set()
        for clip in clips:
            if clip.kind not in KINDS or clip.split not in SPLITS:
                raise CorpusError(f"{clip.id}: kind {clip.kind!r} in split {clip.split!r} is not known",
                                  f"kinds {', '.join(KINDS)}; splits {', '.join(SPLITS)}")
            if clip.id in seen:
                raise CorpusError(f"{clip.id}: occurs twice", "clip names must be unique")
            seen.add(clip.id)
            groups[clip.split, clip.kind].append(clip)
        written: list[Clip] = []
        empty: list[Path] = []
        # Names change when the stack closes, last entered first: the manifest's at the very end.
        with ExitStack() as renames:
            manifest = renames.enter_context(atomic_path(folder / MANIFEST))
            for split in SPLITS:
                for kind in KINDS:
                    path = packed_path(folder, split, kind)
                    if group := groups.get((split, kind)):
                        written += _pack(renames.enter_context(atomic_path(path)), group)
                    else:
                        empty.append(path)
            content = {"schema": SCHEMA, "rate": RATE, "hash": corpus_hash(written), "meta": dict(meta or {}),
                       "clips": [asdict(clip) for clip in written]}
            manifest.write_text(json_text(content), encoding="utf-8")
            for path in (folder / MANIFEST, *empty):  # all is written: an earlier corpus ends here
                path.unlink(missing_ok=True)
        return cls.open(folder)

    def clips(self, kind: Kind | str, split: Split | str) -> list[Clip]:
        """Clips of one kind in one split, in the order of writing."""
        return [clip for clip in self.all if clip.kind == kind and clip.split == split]

    def samples(self, clip: Clip, start: int = 0, length: int | None = None) -> Samples:
        """A clip's samples, or ``length`` of them from ``start``: float32, in [-1, 1)."""
        end = None if length is None else start + length
        return self.pcm(clip)[start:end].astype(np.float32) / np.float32(FULL_SCALE)

    def pcm(self, clip: Clip) -> npt.NDArray[np.int16]:
        """A clip's samples as a view of the memory-mapped file: int16[clip.length], read-only."""
        return self.packed(clip.split, clip.kind)[clip.offset:clip.offset + clip.length]

    def packed(self, split: str, kind: str) -> npt.NDArray[np.int16]:
        """All samples of one split and kind, memory-mapped: int16[samples]."""
        key = (split, kind)
        if key not in self._packed:
            path = packed_path(self.folder, split, kind)
            try:
                self._packed[key] = np.load(path, mmap_mode="r")
            except (OSError, ValueError) as error:
                raise CorpusError(f"{path}: cannot be read: {error}", "fetch it again") from error
        return self._packed[key]

    def minutes(self, kind: str, split: str) -> float:
        """Minutes of one kind in one split."""
        return sum(clip.length for clip in self.clips(kind, split)) / RATE / 60

    def verify(self) -> None:
        """Hash every clip's samples again.

        Raises:
            CorpusError: a clip's bytes are not those that were written.
        """
        for clip in self.all:
            if _digest(self.pcm(clip)) != clip.sha256:
                raise CorpusError(f"{clip.id}: samples differ from the manifest", "fetch or import it again")
        if corpus_hash(self.all) != self.hash:
            raise CorpusError(f"{self.folder / MANIFEST}: was changed", "fetch or import it again")

    def _check_sizes(self) -> None:
        need: dict[tuple[str, str], int] = defaultdict(int)
        for clip in self.all:
            need[clip.split, clip.kind] = max(need[clip.split, clip.kind], clip.offset + clip.length)
        for (split, kind), samples in need.items():
            packed = self.packed(split, kind)
            if packed.ndim != 1 or packed.dtype != np.int16 or len(packed) < samples:
                raise CorpusError(f"{packed_path(self.folder, split, kind)}: is cut short or of another type",
                                  "fetch or import the corpus again")

    def __getstate__(self) -> dict[str, Any]:
        """Leave the memory maps behind: a worker process opens its own."""
        return {**self.__dict__, "_packed": {}}


def packed_path(folder: Path, split: str, kind: str) -> Path:
    """Where one split and kind lies."""
    return folder / f"{split}.{kind}.npy"


def root_dir() -> Path:
    """Where fetched corpora live: $TINYSE_DATA, or tinyse/sound/corpus in the user's cache folder."""
    if chosen := os.environ.get("TINYSE_DATA"):
        return Path(chosen)
    return cache_root() / "tinyse" / "corpus"


def corpus_dir(tier: str = "small", root: Path | str | None = None) -> Path:
    """The folder of a fetched tier, under ``root`` or the default root."""
    return (Path(root) if root else root_dir()) / tier


def to_int16(samples: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Float samples in [-1, 1] as int16, rounded half to even and saturated; int16 passes through."""
    if samples.dtype == np.int16:
        return samples
    return np.clip(np.rint(np.asarray(samples, np.float64) * FULL_SCALE), -32768, 32767).astype(np.int16)


def corpus_hash(clips: Sequence[Clip]) -> str:
    """SHA-256 over what matters of every clip, in any order of writing."""
    digest = hashlib.sha256()
    for clip in sorted(clips, key=lambda item: item.id):
        digest.update(f"{clip.id}\t{clip.kind}\t{clip.split}\t{clip.source}\t{clip.sha256}\n".encode(*NAMES))
    return digest.hexdigest()


def disjoint(corpus: Corpus) -> None:
    """Check that no speaker, no noise source and no recording is in two splits.

    Raises:
        CorpusError: one is; the message names it.
    """
    for kind in KINDS:
        home: dict[str, str] = {}
        first: dict[str, Clip] = {}
        for clip in corpus.all:
            if clip.kind != kind:
                continue
            if home.setdefault(clip.source, clip.split) != clip.split:
                what = "speaker" if kind == "speech" else "noise source"
                raise CorpusError(f"{what} {clip.source} is in both {home[clip.source]} and {clip.split}",
                                  "results on such a corpus would flatter the model")
            if (other := first.setdefault(clip.sha256, clip)).split != clip.split:
                raise CorpusError(f"{other.id} in {other.split} and {clip.id} in {clip.split} are one recording",
                                  "results on such a corpus would flatter the model")


def _digest(pcm: npt.NDArray[np.int16]) -> str:
    return hashlib.sha256(np.ascontiguousarray(pcm, "<i2").tobytes()).hexdigest()


def _pack(path: Path, group: Sequence[NewClip]) -> list[Clip]:
    written: list[Clip] = []
    offset = 0
    with open(path, "wb") as stream:
        total = sum(len(clip.samples) for clip in group)
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "<i2", "fortran_order": False, "shape": (total,)})
        for new in group:
            if new.samples.ndim != 1 or not len(new.samples):
                raise CorpusError(f"{new.id}: has no samples in one dimension", "give mono samples")
            if new.samples.dtype != np.int16 and not np.isfinite(new.samples).all():
                raise CorpusError(f"{new.id}: holds samples that are not finite", "leave the file out")
            pcm = to_int16(new.samples)
            level = pcm.astype(np.float64) / FULL_SCALE
            power = float(np.mean(level * level))
            written.append(Clip(
                new.id, new.kind, new.split, new.source, new.package, new.version, new.language, new.licence,
                offset, len(pcm), round(10 * np.log10(max(power, 1e-12)), 2),
                round(float(np.abs(level).max()), 5), _digest(pcm)))
            stream.write(np.ascontiguousarray(pcm, "<i2").tobytes())
            offset += len(pcm)
    return written
