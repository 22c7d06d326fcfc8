"""The list of packages that hold speech and noise: `packages.yaml`, read and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from tinyse.core.errors import CorpusError
from tinyse.core.sections import load_yaml
from tinyse.sound.corpus.store import KINDS, SPLITS

READERS = ("file", "g722", "zip", "cat", "gresource")
TIERS = ("small", "default", "large", "unseen")


@dataclass(frozen=True)
class Take:
    """One rule: which files of a package are what.

    Attributes:
        kind: "speech" or "noise".
        match: pattern of the path in the package.
        leave: pattern of paths left out, in the package or in its archive.
        reader: how the file is opened; one of `READERS`.
        inside: pattern of the names taken from a zip, catalogue or gresource.
        language: of speech; from the match where empty.
        speaker: template over the named groups of `match`, or of `inside` in an archive.
        gather: seconds; shorter noise is joined into tracks. 0 leaves it alone.
    """

    kind: str
    match: re.Pattern[str]
    leave: re.Pattern[str] | None = None
    reader: str = "file"
    inside: re.Pattern[str] | None = None
    language: str = ""
    speaker: str = ""
    gather: float = 0.0


@dataclass(frozen=True)
class Package:
    """One Debian package: what is pinned of it, and its rules.

    Attributes:
        name, version, bytes, sha256: what was checked when the list was made.
        suite: of Debian, where it is looked for.
        licence: short names; its copyright file is the authority.
        small: split in the small tier, or empty.
        split: split of its noise in the default tier.
        tier: "large" for a package that the default tier lacks, "unseen" for one of that tier alone.
        take: rules in order, first match wins.
    """

    name: str
    suite: str
    version: str
    bytes: int
    sha256: str
    licence: str
    take: tuple[Take, ...]
    small: str = ""
    split: str = "train"
    tier: str = "default"


@dataclass(frozen=True)
class Catalogue:
    """All packages, and the rules that concern them all."""

    packages: tuple[Package, ...]
    languages: dict[str, tuple[str, ...]] = field(default_factory=dict)
    never_noise: re.Pattern[str] | None = None

    def tier(self, name: str) -> tuple[Package, ...]:
        """Packages of a tier: "small" is a part of "default", and that of "large"; "unseen" shares none with them.

        Raises:
            CorpusError: there is no such tier.
        """
        if name not in TIERS:
            raise CorpusError(f"{name!r} is no tier", f"tiers: {', '.join(TIERS)}")
        if name == "small":
            return tuple(item for item in self.packages if item.small)
        tiers = ("default", "large") if name == "large" else (name,)
        return tuple(item for item in self.packages if item.tier in tiers)

    def split(self, tier: str, package: Package, kind: str, language: str) -> str:
        """The split of a clip.

        In the small tier it is the package's; in the default and large tiers speech goes by language and noise by
        package; the unseen tier is all test.
        """
        if tier == "unseen":
            return "test"
        if tier == "small":
            return package.small
        if kind == "noise":
            return package.split
        return next((split for split, names in self.languages.items() if language in names), "train")


def load_catalogue(path: Path | None = None) -> Catalogue:
    """Read the packaged list, or another one.

    Raises:
        CorpusError: a key is unknown or missing, or a pattern does not compile.
    """
    import yaml

    text = path.read_text() if path else resources.files("tinyse.sound.corpus").joinpath("packages.yaml").read_text()
    try:
        document = load_yaml(text)
        packages = tuple(_package(item) for item in document["packages"])
        languages = {split: tuple(names) for split, names in document.get("languages", {}).items()}
        never = _pattern(document.get("never_noise"))
    except (yaml.YAMLError, KeyError, TypeError, ValueError, re.error) as error:
        raise CorpusError(f"package list {path or 'packages.yaml'}: {error}", "see docs/corpus.md") from error
    return Catalogue(packages, languages, never)


def rules_text(packages: Iterable[Package]) -> str:
    """Everything of the rules that decides what is decoded, as one string to hash."""
    return repr([(item.name, item.take) for item in packages])


def _package(row: dict[str, Any]) -> Package:
    takes = tuple(_take(take) for take in row["take"])
    package = Package(**{**row, "take": takes})
    if package.tier not in TIERS[1:] or (package.small and package.tier != "default"):
        raise ValueError(f"{package.name}: tier {package.tier!r}")
    for split in filter(None, (package.small, package.split)):
        if split not in SPLITS:
            raise ValueError(f"{package.name}: split {split!r} is none of {', '.join(SPLITS)}")
    return package


def _take(row: dict[str, Any]) -> Take:
    patterns: dict[str, Any] = {
        key: _pattern(row[key]) for key in ("match", "leave", "inside") if key in row}
    take = Take(**(row | patterns))
    if take.kind not in KINDS or take.reader not in READERS:
        raise ValueError(f"kind {take.kind!r}, reader {take.reader!r}")
    return take


def _pattern(text: str | None) -> re.Pattern[str] | None:
    return re.compile(text) if text else None
