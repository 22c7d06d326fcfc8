"""Which split a source goes to: speakers and noise sources are each in one."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinyse.core.errors import CorpusError
from tinyse.sound.corpus.clips import NAMES, Clip, Clips
from tinyse.sound.corpus.store import SPLITS, Corpus

WHAT = {"speech": "speaker", "noise": "noise source"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A clip to be dealt: its kind, source, the data set's own part (or empty), length, and the hash of its samples."""

    id: str
    kind: str
    source: str
    part: str
    length: int
    sha256: bytes = b""


def check_ratios(ratios: Sequence[float]) -> None:
    """Refuse what is not the shares of train, validation and test.

    Raises:
        CorpusError: not three, negative, not finite, or all zero.
    """
    if len(ratios) != 3 or not all(0 <= ratio < float("inf") for ratio in ratios) or not sum(ratios):
        raise CorpusError(f"split {tuple(ratios)} is not three shares",
                          "give train, validation and test, such as 80,10,10")


def by_file(pieces: list[Piece], seed: int, ratios: Sequence[float], stay: Mapping[str, str]) -> list[Piece]:
    """The pieces with a source each, where that fills a split that is empty by their own sources; else as they are."""
    alone = [replace(piece, source=piece.id) for piece in pieces]
    filled = [len({*assign(some, seed, ratios, stay).values(), *stay.values()}) for some in (pieces, alone)]
    return alone if filled[1] > filled[0] else pieces


def assign(pieces: Iterable[Piece], seed: int, ratios: Sequence[float],
           stay: Mapping[str, str] | None = None) -> dict[str, str]:
    """The split of every source.

    Where the data set's own parts keep each source in one, they stand; a part named for some sources only (a
    test set) keeps its split, and the rest share the others, those of a training part too where a split that has a
    share would be empty. Otherwise sources are dealt out in hashed order: test and validation take sources until they
    have their share, at least one each where three are there. Sources in ``stay`` are where they were.
    """
    minutes: dict[str, float] = defaultdict(float)
    parts: dict[str, set[str]] = defaultdict(set)
    there = stay or {}
    for piece in pieces:
        if piece.source not in there:
            minutes[piece.source] += piece.length
        parts[piece.source].add(piece.part)
    fixed: dict[str, str] = {}
    if all(len(names) == 1 for names in parts.values()):
        fixed = {source: part for source, names in parts.items() if (part := next(iter(names)))}
    shares = dict(zip(SPLITS, ratios, strict=True))
    if any(shares[split] and split not in fixed.values() for split in SPLITS[1:]):
        fixed = {source: part for source, part in fixed.items() if part != "train"}
    open_splits = [split for split in SPLITS if shares[split] and split not in fixed.values()]
    dealt = _deal({source: value for source, value in minutes.items() if source not in fixed},
                  open_splits or ["train"], seed, shares)
    return {**fixed, **dealt, **{source: split for source, split in there.items() if source in parts}}


def _deal(minutes: Mapping[str, float], splits: Sequence[str], seed: int, ratios: Mapping[str, float],
          ) -> dict[str, str]:
    order = sorted(minutes, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode(*NAMES)).digest())
    whole = sum(ratios[split] for split in splits) or 1.0
    total = sum(minutes.values())
    dealt: dict[str, str] = {}
    for split in [name for name in ("test", "validation") if name in splits and name != splits[0]]:
        share = ratios[split] / whole * total
        taken = 0.0
        while share and order and len(order) > 1 and taken < share:
            if taken and taken + minutes[order[0]] / 2 > share:
                break
            taken += minutes[order[0]]
            dealt[order.pop(0)] = split
    return {**dealt, **dict.fromkeys(order, splits[0])}


def notes(corpus: Corpus, ratios: Sequence[float]) -> Iterator[str]:
    """A line for each split that lacks speech or noise, and why."""
    for split, ratio in zip(SPLITS, ratios, strict=True):
        lacks = [kind for kind in WHAT if not len(corpus.clips(kind, split))]
        if not ratio and len(lacks) == len(WHAT):
            yield f"{split} is empty, as --split asks"
            continue
        for kind in lacks:
            if corpus.all.which("kind", kind).any():
                yield f"{split} has no {kind}: there are too few {WHAT[kind]}s to keep splits apart"


def untrainable(corpus: Corpus, ratios: Sequence[float]) -> str:
    """What training would lack in a corpus, and what helps; empty where it can be trained on."""
    lacks: list[str] = []
    helps: list[str] = []
    for split, ratio in zip(SPLITS[:2], ratios, strict=False):
        kinds = [kind for kind in WHAT if not len(corpus.clips(kind, split))]
        lacks += [f"{split} has no {' and no '.join(kinds)}"] if kinds else []
        for kind in kinds:
            clips = corpus.all.where(corpus.all.which("kind", kind))
            if not len(clips):
                helps.append(f"add {kind} with `tinyse data import FOLDER --layout {kind} --add`")
            elif not ratio:
                helps.append(f"give {split} a share in --split")
            elif len(set(clips.codes("source").tolist())) == 2 and split == "validation" and len(
                    corpus.clips(kind, "test")):
                helps.append("--split 90,10,0 gives validation what test has now")
            elif kind == "speech" and len(clips) > 2:
                helps.append("--speaker '(.+)' splits speech by file, so that every split hears the same voices")
            else:
                helps.append(f"add recordings of other {WHAT[kind]}s")
    return f"cannot be trained on: {', '.join(lacks)}: {'; '.join(dict.fromkeys(helps))}" if lacks else ""


def without_known(pieces: Sequence[Piece], before: Clips) -> tuple[list[Piece], list[str]]:
    """The pieces that an earlier corpus does not hold under another name, and one line for each that it does."""
    ids, sounds = {piece.id for piece in pieces}, {(piece.kind, piece.sha256.hex()) for piece in pieces}
    known = {(kind, sound): name for name, kind, sound in zip(
        before.texts("id"), before.texts("kind"), before.texts("sha256"), strict=True)
        if (kind, sound) in sounds and name not in ids}
    left = [piece for piece in pieces if (piece.kind, piece.sha256.hex()) not in known]
    return left, [f"{piece.id}: the same {piece.kind} as {name}" for piece in pieces
                  if (name := known.get((piece.kind, piece.sha256.hex())))]


def disjoint(corpus: Corpus | Clips) -> None:
    """Check that no speaker, no noise source and no recording is in two splits.

    Raises:
        CorpusError: one is; the message names it.
    """
    every = corpus if isinstance(corpus, Clips) else corpus.all
    for kind, what in WHAT.items():
        clips = every.where(every.which("kind", kind))
        splits, names = clips.codes("split"), clips.names("split")
        sources = clips.codes("source")
        found = np.unique(np.stack([sources, splits]), axis=1)
        if len(twice := np.flatnonzero(np.diff(found[0]) == 0)):
            one, other = sorted((names[code] for code in found[1, twice[0]:twice[0] + 2]), key=SPLITS.index)
            raise CorpusError(f"{what} {clips.names('source')[found[0, twice[0]]]} is in both {one} and {other}",
                              "results on such a corpus would flatter the model")
        for first, second in _same(clips):
            raise CorpusError(f"{first.id} in {first.split} and {second.id} in {second.split} are one recording",
                              "results on such a corpus would flatter the model")


def _same(clips: Clips) -> Iterator[tuple[Clip, Clip]]:
    """Pairs of one content and two splits."""
    hashes = np.frombuffer(b"".join(clips.arrow("sha256").take(clips.rows).to_pylist()), "<u8")[::4]
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    seen: dict[str, Clip] = {}
    for clip in clips.where(counts[inverse] > 1):
        if (other := seen.setdefault(clip.sha256, clip)).split != clip.split:
            yield other, clip
