"""Which split a source goes to: speakers and noise sources are each in one."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tinyse.core.errors import CorpusError
from tinyse.sound.corpus.store import NAMES, SPLITS, Corpus

WHAT = {"speech": "speaker", "noise": "noise source"}


@dataclass(frozen=True)
class Piece:
    """A clip to be dealt: its kind, source, the data set's own part (or empty), and its place in the spool."""

    id: str
    kind: str
    source: str
    part: str
    offset: int
    length: int


def check_ratios(ratios: Sequence[float]) -> None:
    """Refuse what is not the shares of train, validation and test.

    Raises:
        CorpusError: not three, negative, not finite, or all zero.
    """
    if len(ratios) != 3 or not all(0 <= ratio < float("inf") for ratio in ratios) or not sum(ratios):
        raise CorpusError(f"split {tuple(ratios)} is not three shares",
                          "give train, validation and test, such as 80,10,10")


def by_file(pieces: Sequence[Piece], seed: int, ratios: Sequence[float]) -> list[Piece]:
    """The pieces with a source each, where that fills a split that is empty by their own sources; else as they are."""
    alone = [replace(piece, source=piece.id) for piece in pieces]
    filled = [len(set(assign(some, seed, ratios).values())) for some in (pieces, alone)]
    return alone if filled[1] > filled[0] else list(pieces)


def assign(pieces: Iterable[Piece], seed: int, ratios: Sequence[float]) -> dict[str, str]:
    """The split of every source.

    Where the data set's own parts keep each source in one, they stand; a part named for some sources only (a
    test set) keeps its split, and the rest share the others. Otherwise sources are dealt out in hashed order:
    test and validation take sources until they have their share, at least one each where three are there.
    """
    minutes: dict[str, float] = defaultdict(float)
    parts: dict[str, set[str]] = defaultdict(set)
    for piece in pieces:
        minutes[piece.source] += piece.length
        parts[piece.source].add(piece.part)
    fixed: dict[str, str] = {}
    if all(len(names) == 1 for names in parts.values()):
        fixed = {source: part for source, names in parts.items() if (part := next(iter(names)))}
    shares = dict(zip(SPLITS, ratios, strict=True))
    open_splits = [split for split in SPLITS if shares[split] and split not in fixed.values()]
    return {**fixed, **_deal({source: value for source, value in minutes.items() if source not in fixed},
                             open_splits or ["train"], seed, shares)}


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
        lacks = [kind for kind in WHAT if not corpus.clips(kind, split)]
        if not ratio and len(lacks) == len(WHAT):
            yield f"{split} is empty, as --split asks"
            continue
        for kind in lacks:
            yield f"{split} has no {kind}: there are too few {WHAT[kind]}s to keep splits apart"


def untrainable(corpus: Corpus, ratios: Sequence[float]) -> str:
    """What training would lack in a corpus, and what helps; empty where it can be trained on."""
    lacks: list[str] = []
    helps: list[str] = []
    for split, ratio in zip(SPLITS[:2], ratios, strict=False):
        kinds = [kind for kind in WHAT if not corpus.clips(kind, split)]
        lacks += [f"{split} has no {' and no '.join(kinds)}"] if kinds else []
        for kind in kinds:
            clips = [clip for clip in corpus.all if clip.kind == kind]
            if not ratio:
                helps.append(f"give {split} a share in --split")
            elif len({clip.source for clip in clips}) == 2 and split == "validation" and corpus.clips(kind, "test"):
                helps.append("--split 90,10,0 gives validation what test has now")
            elif kind == "speech" and len(clips) > 2:
                helps.append("--speaker '(.+)' splits speech by file, so that every split hears the same voices")
            else:
                helps.append(f"add recordings of other {WHAT[kind]}s")
    return f"cannot be trained on: {', '.join(lacks)}: {'; '.join(dict.fromkeys(helps))}" if lacks else ""
