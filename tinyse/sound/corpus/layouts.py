"""How data sets lie in folders: which files are speech, noise, rooms or pairs, and who speaks.

plain
    clean/ and noise/, or rooms/ beside them. Speaker: the folder below clean/, or the file name up to its first - or _.
    Noise source: the folder below noise/, or the file name without its last number.
speech, noise, rooms
    One kind only, all that is in the folder; names as in plain. A room is a folder, or a file.
voicebank
    clean_*set*/ beside noisy_*set*/, whatever follows. Speaker: p226 in p226_001.wav. Noise is noisy less clean; its
    source is the second word of a line in log_*set*.txt, or one a set without that file.
dns
    clean_fullband/ or clean/, noise_fullband/ or noise/, impulse_responses/ where it is there. Speaker: reader_NNNNN or
    p225 in the name, or the folder and the name's first part. Noise source: the file name without its last number.
chime
    CHiME2: isolated/ beside scaled/, reverberated/ or clean/. Speaker: s12_, id12/ or the first three letters of a WSJ
    name. Noise is what isolated has beyond the reference; its source is the part, whose rooms are recorded apart.

Others are rules on the path: `tinyse.sound.corpus.datasets`. Folders of the training, development and test parts decide
the split where every source keeps to one.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from tinyse.core.errors import CorpusError
from tinyse.sound.corpus.datasets import DATASETS, Dataset
from tinyse.sound.corpus.files import SOUND_SUFFIXES, walk
from tinyse.sound.corpus.job import Job
from tinyse.sound.corpus.store import ROOM

WHOSE = {"speech": "speaker", "noise": "source", ROOM: "source"}
"""What is found in the path of a file, by its kind."""
SNR_FOLDER = re.compile(r"^(m|-|\+)?\d+(\.\d+)?_?dB$", re.I)
PARTS = (("test", re.compile(r"(^|_)(test|et|eval)", re.I)),
         ("validation", re.compile(r"(^|_)(dev|devel|dt|val|valid)", re.I)),
         ("train", re.compile(r"(^|_)(train|tr)", re.I)))


@dataclass(frozen=True)
class Patterns:
    """Regular expressions that find a name in a path below the kind's folder: the first group, or the match."""

    speaker: re.Pattern[str] | None = None
    source: re.Pattern[str] | None = None


def find_jobs(folder: Path, layout: str, patterns: Patterns = Patterns()) -> list[Job]:
    """All files of a data set in one of `LAYOUTS`, sorted by name.

    Args:
        folder: where the data set lies.
        layout: a key of `LAYOUTS`.
        patterns: for names that the layout's rules do not find.

    Raises:
        CorpusError: the folder does not look like the layout or cannot be read, or an unknown layout.
    """
    if layout not in LAYOUTS:
        raise CorpusError(f"{layout!r} is no layout", f"layouts: {', '.join(LAYOUTS)}")
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise CorpusError(f"{folder}: {what}", "give the folder that holds the data set")
    return sorted(LAYOUTS[layout](folder, patterns), key=lambda job: job.id)


def passed_over(folder: Path, jobs: Iterable[Job]) -> dict[str, int]:
    """How many files of a data set no job reads, by suffix; most first."""
    used = {name for job in jobs for name in job.files}
    others = [name for name in walk(folder, strict=False) if name not in used]
    if any(os.path.splitext(name)[1].lower() in SOUND_SUFFIXES for name in others):  # one file by two ways
        real = {os.path.realpath(name) for name in used}
        others = [name for name in others if os.path.realpath(name) not in real]
    counts = Counter(os.path.splitext(name)[1].lower() or "(no suffix)" for name in others)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


Rule = Callable[[PurePosixPath], str]


def _plain(folder: Path, patterns: Patterns) -> Iterator[Job]:
    clean, noise = _need(folder, ("clean",)), _need(folder, ("noise",))
    yield from _all_of(clean, patterns, "speech", _plain_speaker)
    yield from _all_of(noise, patterns, "noise", _plain_source)
    if (folder / "rooms").is_dir():
        yield from _rooms(folder / "rooms", patterns)


def _dns(folder: Path, patterns: Patterns) -> Iterator[Job]:
    base = folder / "datasets" if (folder / "datasets").is_dir() else folder
    base = next(path for path in (base / "datasets_fullband", base) if path.is_dir())
    clean, noise = _need(base, ("clean_fullband", "clean")), _need(base, ("noise_fullband", "noise"))
    yield from _all_of(clean, patterns, "speech", _dns_speaker)
    yield from _all_of(noise, patterns, "noise", _unnumbered)
    for rooms in {path for place in (folder, base) if (path := place / "impulse_responses").is_dir()}:
        yield from _rooms(rooms, patterns)


def _all_of(folder: Path, patterns: Patterns, kind: str, rule: Rule) -> Iterator[Job]:
    """A folder of one kind only."""
    for inside, path in _inside(folder):
        yield _job(f"{folder.name}/{inside}", kind, path, _named(inside, WHOSE[kind], patterns, rule))


def _rooms(folder: Path, patterns: Patterns) -> Iterator[Job]:
    return _all_of(folder, Patterns(), ROOM, _room_name)  # patterns are for speakers and noise


def _job(name: str, kind: str, path: str, whose: str, part: str = "") -> Job:
    files: dict[str, Any] = {"clean" if kind == "speech" else kind: path, WHOSE[kind]: whose}
    return Job(name, part=part, **files)


def _inside(folder: Path) -> Iterator[tuple[str, str]]:
    """Sound files below a folder: the path in it, with forward slashes, and the whole one."""
    start = len(os.path.join(folder, ""))
    for name in walk(folder):
        if os.path.splitext(name)[1].lower() in SOUND_SUFFIXES:
            yield name[start:].replace(os.sep, "/"), name


def _voicebank(folder: Path, patterns: Patterns) -> Iterator[Job]:
    clean_folders = sorted(path for path in folder.glob("clean_*set*") if path.is_dir())
    if not clean_folders:
        raise _unlike(folder, "clean_trainset_28spk_wav/ and noisy_trainset_28spk_wav/")
    for clean_folder in clean_folders:
        name = clean_folder.name.removeprefix("clean_")
        noisy_folder = folder / f"noisy_{name}"
        if not noisy_folder.is_dir():
            raise CorpusError(f"{clean_folder.name}: has no {noisy_folder.name} beside it", "unpack both")
        group = name.removesuffix("_wav")
        kinds = _log(folder, re.sub(r"_wav(_\w+)?$", "", name))
        part = "test" if "test" in group else ""
        for inside, path in _inside(clean_folder):
            stem = PurePosixPath(inside).stem
            noisy = inside.replace(clean_folder.name, noisy_folder.name)  # a zip's own folder, unpacked in another
            yield Job(f"{group}/{inside}", clean=path, noisy=os.path.join(noisy_folder, noisy),
                      speaker=_named(inside, "speaker", patterns, lambda path: path.stem.split("_")[0]),
                      source=_named(inside, "source", patterns, kinds.get(stem, group)),
                      part=part)


def _log(folder: Path, group: str) -> dict[str, str]:
    """Noise names by file name, from VoiceBank-DEMAND's "p226_001 cafeteria 15" lines in log_<group>*.txt."""
    kinds: dict[str, str] = {}
    for path in sorted(path for place in (folder, *folder.glob("log*/")) for path in place.glob(f"log_{group}*.txt")):
        for line in path.read_text("utf-8", "surrogateescape").splitlines():
            words = line.split()
            if len(words) >= 2:
                kinds.setdefault(words[0], words[1])
    return kinds


def _chime(folder: Path, patterns: Patterns) -> Iterator[Job]:
    isolated = sorted(path for path in (folder, *folder.rglob("isolated")) if path.name == "isolated")
    used: set[Path] = set()
    for noisy_folder in isolated:
        references = [path for name in ("scaled", "reverberated", "clean")
                      if (path := noisy_folder.parent / name).is_dir()]
        if not references:
            raise CorpusError(f"{noisy_folder}: has no scaled, reverberated or clean folder beside it",
                              "noise is what is left of isolated after taking the reference away")
        above = noisy_folder.parent.relative_to(folder).parts if noisy_folder != folder else ()
        for inside, noisy in _inside(noisy_folder):
            clean = _partner(references, PurePosixPath(inside))
            part = _part([*above, *inside.split("/")[:-1]])
            yield Job("/".join([*above, inside]), clean=os.fspath(clean), noisy=noisy,
                      speaker=_named(inside, "speaker", patterns, _chime_speaker),
                      source=_named(inside, "source", patterns, f"room-{part or 'all'}"),
                      part=part, keep_clean=clean not in used)
            used.add(clean)
    if not used:
        raise _unlike(folder, "isolated/ with scaled/, reverberated/ or clean/ beside it")


def _partner(references: Iterable[Path], inside: PurePosixPath) -> Path:
    """The reference of a mixture: same path, or without its SNR folder; the first candidate where none exists."""
    short = PurePosixPath(*(part for part in inside.parts if not SNR_FOLDER.match(part)))
    candidates = [folder / path for folder in references for path in (inside, short)]
    return next((path for path in candidates if path.is_file()), candidates[-1])


def _dataset(dataset: Dataset) -> Callable[[Path, Patterns], Iterator[Job]]:
    def find(folder: Path, patterns: Patterns) -> Iterator[Job]:
        rules, found = dataset.rules(folder), 0
        for inside, path in _inside(folder):
            for rule in rules:
                if match := rule.match(inside):
                    whose = _named(inside, WHOSE[rule.kind], patterns, rule.name(match))
                    yield _job(inside, rule.kind, path, whose, rule.part(match))
                    found += 1
                    break
        if not found:
            raise _unlike(folder, dataset.looks)

    return find


def _part(folders: Iterable[str]) -> str:
    return next((part for name in folders for part, pattern in PARTS if pattern.search(name)), "")


def _named(inside: str, what: str, patterns: Patterns, rule: Rule | str) -> str:
    pattern: re.Pattern[str] | None = getattr(patterns, what)
    if pattern is None:
        return rule if isinstance(rule, str) else rule(PurePosixPath(inside))
    match = pattern.search(inside)
    if match is None or not (name := match[1] if pattern.groups else match[0]):
        raise CorpusError(f"{inside}: no {what} found by {pattern.pattern!r}",
                          "the pattern's first group must match every path")
    return name


def _plain_speaker(path: PurePosixPath) -> str:
    return path.parts[0] if len(path.parts) > 1 else re.split(r"[-_]", path.stem)[0] or path.stem


def _plain_source(path: PurePosixPath) -> str:
    return path.parts[0] if len(path.parts) > 1 else _unnumbered(path)


def _room_name(path: PurePosixPath) -> str:
    return path.parent.as_posix() if len(path.parts) > 1 else path.stem


def _unnumbered(path: PurePosixPath) -> str:
    return re.sub(r"[-_ .]*\d+$", "", path.stem) or path.stem


def _dns_speaker(path: PurePosixPath) -> str:
    match = re.search(r"reader_(\d+)", path.stem) or re.match(r"(p\d{3})_", path.name)
    if match:
        return match[0].rstrip("_")
    return "/".join([*path.parts[:-1], re.split(r"[-_]", path.stem)[0]])


def _chime_speaker(path: PurePosixPath) -> str:
    for text in (*path.parts[:-1], path.stem):
        if match := re.match(r"(?:s|id|p)(\d+)(?:_|$)", text):
            return f"s{match[1]}"
    match = re.match(r"([0-9a-z]{3})[a-z][0-9a-z]{4}$", path.stem)
    return match[1] if match else re.split(r"[-_]", path.stem)[0]


def _need(folder: Path, names: tuple[str, ...]) -> Path:
    found = next((folder / name for name in names if (folder / name).is_dir()), None)
    if found is None:
        raise _unlike(folder, " or ".join(f"{name}/" for name in names))
    return found


def _unlike(folder: Path, wanted: str) -> CorpusError:
    names = sorted(path.name for path in folder.iterdir())[:6]
    if wanted.endswith("noise/") and names:
        return CorpusError(f"{folder}: has no {wanted}", "speech alone cannot be trained on: put three or more "
                           "recordings of noise there, or import it with --layout speech and add noise with --add")
    return CorpusError(f"{folder}: has no {wanted}", f"it holds {', '.join(names) or 'nothing'}; "
                       "choose another --layout or folder")


LAYOUTS: dict[str, Callable[[Path, Patterns], Iterator[Job]]] = {
    "plain": _plain, "speech": partial(_all_of, kind="speech", rule=_plain_speaker),
    "noise": partial(_all_of, kind="noise", rule=_plain_source), "rooms": _rooms, "voicebank": _voicebank, "dns": _dns,
    "chime": _chime, **{name: _dataset(dataset) for name, dataset in DATASETS.items()}}
