"""How known data sets lie in folders: which files are speech, noise or pairs, and who speaks.

plain
    clean/ and noise/. Speaker: the folder below clean/, or the file name up to its first - or _. Noise source: the
    folder below noise/, or the file name without its last number.
voicebank
    clean_*set*_wav/ beside noisy_*set*_wav/, or *_wav_16k/. Speaker: p226 in p226_001.wav. Noise is noisy less
    clean; its source is the second word of a line in log_*set*.txt, or one a set without that file.
dns
    clean_fullband/ or clean/, noise_fullband/ or noise/. Speaker: reader_NNNNN or p225 in the name, or the folder
    and the name's first part. Noise source: the file name without its last number.
chime
    isolated/ beside scaled/, reverberated/ or clean/. Speaker: s12_, id12/ or the first three letters of a WSJ
    name. Noise is what isolated has beyond the reference; its source is the part, whose rooms are recorded apart.

Folders of the training, development and test parts decide the split where every source keeps to one.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tinyse.core.errors import CorpusError

SOUND_SUFFIXES = frozenset({".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff",
                            ".aif", ".aifc", ".au", ".snd", ".caf", ".sph", ".nist", ".voc", ".g722"})
SNR_FOLDER = re.compile(r"^(m|-|\+)?\d+(\.\d+)?_?dB$", re.I)
PARTS = (("test", re.compile(r"(^|_)(test|et|eval)", re.I)),
         ("validation", re.compile(r"(^|_)(dev|devel|dt|val|valid)", re.I)),
         ("train", re.compile(r"(^|_)(train|tr)", re.I)))


@dataclass(frozen=True)
class Job:
    """One file, or one pair, to be read.

    Attributes:
        id: names the clip made of it.
        clean: a file of speech, or None.
        noise: a file of noise, or None.
        noisy: a mixture whose noise is what remains after taking ``clean`` away, or None.
        speaker: of ``clean``.
        source: of the noise.
        part: the data set's own "train", "validation" or "test"; empty where it has none.
        keep_clean: whether the speech becomes a clip: once, where several mixtures share it.
    """

    id: str
    clean: Path | None = None
    noise: Path | None = None
    noisy: Path | None = None
    speaker: str = ""
    source: str = ""
    part: str = ""
    keep_clean: bool = True


@dataclass(frozen=True)
class Patterns:
    """Regular expressions that find a name in a path, instead of a layout's rule: the first group, or the match.

    Attributes:
        speaker: in a path relative to the speech folder.
        source: of the noise, in a path relative to the noise folder, or to the noisy one.
    """

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
    jobs = LAYOUTS[layout](folder, patterns)
    return sorted(jobs, key=lambda job: job.id)


def files_below(folder: Path, strict: bool = True) -> list[Path]:
    """What is no folder in a folder and below, sorted; hidden ones are passed over.

    Links to folders are followed, after the folders that lie there themselves, and no folder is read twice. Links
    that lead nowhere, pipes and devices are among the files, so that they can be named.

    Raises:
        CorpusError: a folder cannot be read; where not ``strict`` it is passed over.
    """
    found: list[Path] = []
    places, links = [folder], list[Path]()
    above = (*folder.absolute().parents, *Path(os.path.realpath(folder)).parents)
    seen = set(map(os.path.realpath, above))  # a link upwards would take in what lies beside
    while places or links:
        place = places.pop() if places else links.pop(0)
        if (real := os.path.realpath(place)) in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
            folders = {entry.name for entry in entries if (place / entry.name).is_dir()}
        except OSError as error:
            if not strict:
                continue
            raise CorpusError(f"{place}: cannot be read: {error.strerror}", "check its permissions") from error
        for entry in entries:
            if not entry.name.startswith("."):
                whither = found if entry.name not in folders else links if entry.is_symlink() else places
                whither.append(place / entry.name)
    return sorted(found)


def sound_files(folder: Path) -> list[Path]:
    """Those of `files_below` that are sound, by their suffix."""
    return [path for path in files_below(folder) if path.suffix.lower() in SOUND_SUFFIXES]


def passed_over(folder: Path, jobs: Iterable[Job]) -> dict[str, int]:
    """How many files of a data set no job reads, by suffix; most first."""
    used = {os.path.realpath(path) for job in jobs for path in (job.clean, job.noise, job.noisy) if path}
    counts = Counter(path.suffix.lower() or "(no suffix)" for path in files_below(folder, strict=False)
                     if os.path.realpath(path) not in used)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _plain(folder: Path, patterns: Patterns) -> list[Job]:
    clean, noise = _need(folder, ("clean",)), _need(folder, ("noise",))
    return [*_speech_jobs(clean, patterns, _plain_speaker), *_noise_jobs(noise, patterns, _plain_source)]


def _dns(folder: Path, patterns: Patterns) -> list[Job]:
    base = folder / "datasets" if (folder / "datasets").is_dir() else folder
    base = next(path for path in (base / "datasets_fullband", base) if path.is_dir())
    clean = _need(base, ("clean_fullband", "clean"))
    noise = _need(base, ("noise_fullband", "noise"))
    return [*_speech_jobs(clean, patterns, _dns_speaker), *_noise_jobs(noise, patterns, _unnumbered)]


Rule = Callable[[Path], str]


def _speech_jobs(folder: Path, patterns: Patterns, rule: Rule) -> list[Job]:
    return [Job(f"{folder.name}/{inside.as_posix()}", clean=folder / inside,
                speaker=_named(inside, "speaker", patterns, rule(inside))) for inside in _inside(folder)]


def _noise_jobs(folder: Path, patterns: Patterns, rule: Rule) -> list[Job]:
    return [Job(f"{folder.name}/{inside.as_posix()}", noise=folder / inside,
                source=_named(inside, "source", patterns, rule(inside))) for inside in _inside(folder)]


def _inside(folder: Path) -> list[Path]:
    return [path.relative_to(folder) for path in sound_files(folder)]


def _voicebank(folder: Path, patterns: Patterns) -> list[Job]:
    clean_folders = sorted(path for path in folder.glob("clean_*set*") if path.is_dir())
    if not clean_folders:
        raise _unlike(folder, "clean_trainset_28spk_wav/ and noisy_trainset_28spk_wav/")
    jobs = []
    for clean_folder in clean_folders:
        name = clean_folder.name.removeprefix("clean_")
        noisy_folder = folder / f"noisy_{name}"
        if not noisy_folder.is_dir():
            raise CorpusError(f"{clean_folder.name}: has no {noisy_folder.name} beside it", "unpack both")
        group = name.removesuffix("_wav")
        kinds = _log(folder, re.sub(r"_wav(_\w+)?$", "", name))
        part = "test" if "test" in group else ""
        for inside in _inside(clean_folder):
            jobs.append(Job(f"{group}/{inside.as_posix()}", clean=clean_folder / inside, noisy=noisy_folder / inside,
                            speaker=_named(inside, "speaker", patterns, inside.stem.split("_")[0]),
                            source=_named(inside, "source", patterns, kinds.get(inside.stem, group)),
                            part=part))
    return jobs


def _log(folder: Path, group: str) -> dict[str, str]:
    """Noise names by file name, from VoiceBank-DEMAND's "p226_001 cafeteria 15" lines in log_<group>*.txt."""
    kinds: dict[str, str] = {}
    for path in sorted(path for place in (folder, *folder.glob("log*/")) for path in place.glob(f"log_{group}*.txt")):
        for line in path.read_text("utf-8", "surrogateescape").splitlines():
            words = line.split()
            if len(words) >= 2:
                kinds.setdefault(words[0], words[1])
    return kinds


def _chime(folder: Path, patterns: Patterns) -> list[Job]:
    isolated = sorted(path for path in (folder, *folder.rglob("isolated")) if path.name == "isolated")
    jobs: list[Job] = []
    used: set[Path] = set()
    for noisy_folder in isolated:
        references = [path for name in ("scaled", "reverberated", "clean")
                      if (path := noisy_folder.parent / name).is_dir()]
        if not references:
            raise CorpusError(f"{noisy_folder}: has no scaled, reverberated or clean folder beside it",
                              "noise is what is left of isolated after taking the reference away")
        above = noisy_folder.parent.relative_to(folder).parts if noisy_folder != folder else ()
        for inside in _inside(noisy_folder):
            clean = _partner(references, inside)
            part = _part([*above, *inside.parts[:-1]])
            jobs.append(Job("/".join([*above, inside.as_posix()]), clean=clean, noisy=noisy_folder / inside,
                            speaker=_named(inside, "speaker", patterns, _chime_speaker(inside)),
                            source=_named(inside, "source", patterns, f"room-{part or 'all'}"),
                            part=part, keep_clean=clean not in used))
            used.add(clean)
    if not jobs:
        raise _unlike(folder, "isolated/ with scaled/, reverberated/ or clean/ beside it")
    return jobs


def _partner(references: Iterable[Path], inside: Path) -> Path:
    """The reference of a mixture: same path, or without its SNR folder; the first candidate where none exists."""
    short = Path(*(part for part in inside.parts if not SNR_FOLDER.match(part)))
    candidates = [folder / path for folder in references for path in (inside, short)]
    return next((path for path in candidates if path.is_file()), candidates[-1])


def _part(folders: Iterable[str]) -> str:
    return next((part for name in folders for part, pattern in PARTS if pattern.search(name)), "")


def _named(inside: Path, what: str, patterns: Patterns, ruled: str) -> str:
    pattern: re.Pattern[str] | None = getattr(patterns, what)
    if pattern is None:
        return ruled
    match = pattern.search(inside.as_posix())
    if match is None or not (name := match[1] if pattern.groups else match[0]):
        raise CorpusError(f"{inside}: no {what} found by {pattern.pattern!r}",
                          "the pattern's first group must match every path")
    return name


def _plain_speaker(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else re.split(r"[-_]", path.stem)[0] or path.stem


def _plain_source(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else _unnumbered(path)


def _unnumbered(path: Path) -> str:
    return re.sub(r"[-_ .]*\d+$", "", path.stem) or path.stem


def _dns_speaker(path: Path) -> str:
    match = re.search(r"reader_(\d+)", path.stem) or re.match(r"(p\d{3})_", path.name)
    if match:
        return match[0].rstrip("_")
    return "/".join([*path.parts[:-1], re.split(r"[-_]", path.stem)[0]])


def _chime_speaker(path: Path) -> str:
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
                           "recordings of noise there, or take the noise of another data set")
    return CorpusError(f"{folder}: has no {wanted}", f"it holds {', '.join(names) or 'nothing'}; "
                       "choose another --layout or folder")


LAYOUTS: dict[str, Callable[[Path, Patterns], list[Job]]] = {
    "plain": _plain, "voicebank": _voicebank, "dns": _dns, "chime": _chime}
