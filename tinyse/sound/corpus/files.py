"""What lies in a folder: sound files and others, with links followed once."""

from __future__ import annotations

import os
from pathlib import Path

from tinyse.core.errors import CorpusError

SOUND_SUFFIXES = frozenset({".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff",
                            ".aif", ".aifc", ".au", ".snd", ".caf", ".sph", ".nist", ".voc", ".g722"})


Name = str | os.PathLike[str]


def walk(folder: Name, strict: bool = True) -> list[str]:
    """What is no folder in a folder and below, sorted; hidden ones are passed over.

    Links to folders are followed, after the folders that lie there themselves, and no folder is read twice. Links
    that lead nowhere, pipes and devices are among the files, so that they can be named.

    Raises:
        CorpusError: a folder cannot be read; where not ``strict`` it is passed over.
    """
    found: list[str] = []
    places, links = [os.fspath(folder)], list[str]()
    above = (*Path(folder).absolute().parents, *Path(os.path.realpath(folder)).parents)
    seen = set(map(os.path.realpath, above))  # a link upwards would take in what lies beside
    while places or links:
        place = places.pop() if places else links.pop(0)
        if (real := os.path.realpath(place)) in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(place) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if not entry.name.startswith("."):
                        whither = found if not _leads_to_a_folder(entry) else links if entry.is_symlink() else places
                        whither.append(entry.path)
        except OSError as error:
            if strict:
                raise CorpusError(f"{place}: cannot be read: {error.strerror}", "check its permissions") from error
    return sorted(found)


def _leads_to_a_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def files_below(folder: Path, strict: bool = True) -> list[Path]:
    """As `walk`, sorted by folder."""
    return sorted(map(Path, walk(folder, strict)))


def sound_files(folder: Path) -> list[Path]:
    """Those of `files_below` that are sound, by their suffix."""
    return [path for path in files_below(folder) if path.suffix.lower() in SOUND_SUFFIXES]
