"""Fetch a tier: download its packages, decode what the list names, pack it into a corpus.

Every step keeps what it finished under ``<root>/.cache`` (packages, decoded samples), so a run that was cut
short goes on where it stopped, and the second tier reuses the first one's work.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tinyse.core.artifacts import atomic_path, write_json, write_text, writing
from tinyse.core.errors import CorpusError
from tinyse.core.progress import Progress, Step, silent
from tinyse.core.workers import Workers
from tinyse.sound.corpus import archives, debian
from tinyse.sound.corpus.catalogue import Catalogue, Package, Take, load_catalogue, rules_text
from tinyse.sound.corpus.clips import RATE
from tinyse.sound.corpus.decode import decode, gather
from tinyse.sound.corpus.pcm import Pcm, content
from tinyse.sound.corpus.shards import npy_part
from tinyse.sound.corpus.splits import disjoint
from tinyse.sound.corpus.store import MANIFEST, SPLITS, Corpus, NewClip, corpus_dir, root_dir

DECODER = 1
"""Raised when decoding changes, so that what older versions decoded is not reused."""
CHUNK = 48
CHUNK_BYTES = 1 << 23
"""What a worker is given at once: files, or bytes in them."""
GATHERED_SECONDS = 8.0
WORKERS = 2
LICENCES = "LICENCES.txt"



@dataclass(frozen=True)
class Found:
    """A sound file in a package, before decoding."""

    id: str
    data: bytes
    take: Take
    language: str
    source: str


def fetch(tier: str = "small", root: Path | str | None = None, progress: Progress = silent,
          catalogue: Catalogue | None = None, workers: int = WORKERS) -> Corpus:
    """Bring a tier's corpus to ``<root>/<tier>`` and open it; a finished one is opened at once.

    Args:
        tier: "small", "default", "large" or "unseen".
        root: where corpora lie; default `root_dir`.
        progress: receives the tasks "download", "decode" and "pack".
        catalogue: another package list, for tests.
        workers: processes that decode.

    Raises:
        ToolError: apt-get or dpkg-deb is missing or failed.
        CorpusError: a package is not what was pinned, is damaged, or the splits overlap.
    """
    base = Path(root) if root else root_dir()
    catalogue = catalogue or load_catalogue()
    packages = catalogue.tier(tier)
    cache = base / ".cache"
    debs = debian.get_debs(cache / "debs", packages, progress)
    keys = {package.name: _key(package, debs[package.name], catalogue) for package in packages}
    folder = corpus_dir(tier, base)
    if (ready := _finished(folder, keys)) is not None:
        return ready
    decode_packages(cache / "decoded", packages, debs, keys, catalogue, progress, workers)
    progress(Step("pack", 0, 1))
    clips, dropped, versions = _collect(cache / "decoded", tier, packages, keys, catalogue)
    meta = {"tier": tier, "packages": keys, "dropped": dropped}
    corpus = Corpus.write(folder, clips, meta)
    disjoint(corpus)
    _write_licences(folder, packages, versions, cache / "decoded", keys)
    progress(Step("pack", 1, 1, f"{len(corpus.all)} clips"))
    return corpus


def decode_packages(folder: Path, packages: Sequence[Package], debs: dict[str, Path], keys: dict[str, str],
                    catalogue: Catalogue, progress: Progress = silent, workers: int = WORKERS) -> None:
    """Decode every package not yet decoded into ``folder``: <key>.npy (int16) and <key>.json."""
    todo = [package for package in packages if not (folder / f"{keys[package.name]}.json").is_file()]
    total = sum(debs[package.name].stat().st_size for package in todo)
    done = 0
    if not todo:
        return
    with Workers(workers) as pool:
        for package in todo:
            progress(Step("decode", done, total, package.name))
            _decode_package(folder, package, debs[package.name], keys[package.name], catalogue, pool)
            done += debs[package.name].stat().st_size
    progress(Step("decode", total, total, f"{len(todo)} packages"))


class _Stream:
    """The sound files that a package's rules take, one by one in its own order.

    Attributes:
        text: the package's copyright, once all were read.
    """

    def __init__(self, package: Package, deb: Path, catalogue: Catalogue) -> None:
        """Nothing is read yet."""
        self.package, self.deb, self.catalogue, self.text = package, deb, catalogue, ""

    def __iter__(self) -> Iterator[Found]:
        """Read it once.

        Raises:
            CorpusError: the package is damaged, or a rule takes nothing (the package has changed).
        """
        package, catalogue, used = self.package, self.catalogue, list[Take]()
        copyright_path = f"/usr/share/doc/{package.name}/copyright"

        def wanted(path: str) -> bool:
            return path == copyright_path or _rule(package, path, catalogue) is not None

        for path, data in archives.deb_members(self.deb, wanted):
            if path == copyright_path:
                self.text = data.decode(errors="replace")
                continue
            take = _rule(package, path, catalogue)
            assert take is not None
            members = {path: data}
            if packed := take.reader in archives.ARCHIVES:
                members = {name: inner for name, inner in archives.ARCHIVES[take.reader](data).items()
                           if take.inside and take.inside.search(name) and not _left(take, name, catalogue)}
            for name, inner in members.items():
                used.append(take)
                yield _found(package, take, name, name if packed else name.removeprefix("/usr/share/"), inner)
        for take in package.take:
            if take not in used:
                raise CorpusError(f"{package.name}: nothing matches {take.match.pattern!r}",
                                  f"the package differs from version {package.version} that the list was made for")

    def chunks(self) -> Iterator[list[Found]]:
        """As `__iter__`, some at a time."""
        chunk, size = list[Found](), 0
        for item in self:
            chunk.append(item)
            size += len(item.data)
            if len(chunk) == CHUNK or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk


def _rule(package: Package, path: str, catalogue: Catalogue) -> Take | None:
    for take in package.take:
        if take.match.search(path) and (take.reader in archives.ARCHIVES or not _left(take, path, catalogue)):
            return take
    return None


def _left(take: Take, path: str, catalogue: Catalogue) -> bool:
    if take.leave and take.leave.search(path):
        return True
    return bool(take.kind == "noise" and catalogue.never_noise and catalogue.never_noise.search(path))


def _found(package: Package, take: Take, path: str, name: str, data: bytes) -> Found:
    match = take.inside.search(path) if take.reader in archives.ARCHIVES and take.inside else take.match.search(path)
    groups = {key: value or "" for key, value in (match.groupdict() if match else {}).items()}
    language = take.language or groups.get("language", "")
    source = take.speaker.format(**{**groups, "language": language}) if take.kind == "speech" else package.name
    return Found(f"{package.name}/{name.lstrip('/')}", data, take, language, source)


def _decode_package(folder: Path, package: Package, deb: Path, key: str, catalogue: Catalogue,
                    pool: Workers) -> None:
    """Decode into ``folder``; sound waits in a file until all names are known, in whose order it is written."""
    found = _Stream(package, deb, catalogue)
    dropped: Counter[str] = Counter()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with writing(folder), tempfile.TemporaryFile(dir=folder) as spool:
        decoded = list[tuple[Found, int, int]]()
        for item, pcm, reason in (row for rows in pool.in_order(_decode_chunk, found.chunks()) for row in rows):
            if pcm is None:
                dropped[reason] += 1
            else:
                decoded.append((item, spool.tell(), len(pcm)))
                spool.write(pcm.astype("<i2").data)

        def waiting(offset: int, length: int) -> Pcm:
            spool.seek(offset)
            return np.frombuffer(spool.read(2 * length), "<i2")

        decoded.sort(key=lambda row: row[0].id)
        whole = [row for row in decoded if not _is_short(row[0], row[2])]
        tracks = list(_gathered([(item, waiting(*place)) for item, *place in decoded if _is_short(item, place[1])]))
        rows = []
        with atomic_path(folder / f"{key}.npy") as temporary, open(temporary, "wb") as stream:
            shape = (sum(length for *_, length in whole) + sum(len(pcm) for _, pcm in tracks),)
            np.lib.format.write_array_header_1_0(stream, {"descr": "<i2", "fortran_order": False, "shape": shape})
            for item, pcm in itertools.chain(((item, waiting(*place)) for item, *place in whole), tracks):
                stream.write(pcm.astype("<i2").data)
                rows.append({"id": item.id, "kind": item.take.kind, "language": item.language, "source": item.source,
                             "length": len(pcm), "sha256": content([pcm]).hex()})
    write_text(folder / f"{key}.copyright", found.text)
    write_json(folder / f"{key}.json", {"version": debian.version(deb), "clips": rows,
                                        "dropped": dict(sorted(dropped.items()))})


def _decode_chunk(files: list[Found]) -> list[tuple[Found, Pcm | None, str]]:
    """Runs in a worker process."""
    return [(replace(file, data=b""), *decode(file.data, file.take.kind, file.take.reader)) for file in files]


def _is_short(item: Found, samples: int) -> bool:
    return item.take.kind == "noise" and samples < item.take.gather * RATE


def _gathered(short: Sequence[tuple[Found, Pcm]]) -> Iterator[tuple[Found, Pcm]]:
    """Join the short noises of each folder into tracks."""
    groups: dict[tuple[str, float], list[tuple[Found, Pcm]]] = {}
    for item, pcm in short:
        groups.setdefault((str(PurePosixPath(item.id).parent), item.take.gather), []).append((item, pcm))
    for (place, _), group in groups.items():
        seed = int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "big")
        tracks = gather([pcm for _, pcm in group], GATHERED_SECONDS, np.random.default_rng(seed))
        for index, track in enumerate(tracks):
            yield replace(group[0][0], id=f"{place}/gathered-{index:03d}"), track


def _collect(folder: Path, tier: str, packages: Sequence[Package], keys: dict[str, str], catalogue: Catalogue,
             ) -> tuple[list[NewClip], dict[str, dict[str, int]], dict[str, str]]:
    """Clips of a tier from what was decoded, each recording once: where it occurs again, test is kept first."""
    clips: list[tuple[NewClip, str]] = []
    dropped: dict[str, dict[str, int]] = {}
    versions: dict[str, str] = {}
    for package in packages:
        state: dict[str, Any] = json.loads((folder / f"{keys[package.name]}.json").read_text())
        path = folder / f"{keys[package.name]}.npy"
        versions[package.name] = state["version"]
        dropped[package.name] = state["dropped"]
        offset = 0
        for row in state["clips"]:
            part = partial(npy_part, path, offset, row["length"])
            offset += row["length"]
            split = catalogue.split(tier, package, row["kind"], row["language"])
            clips.append((NewClip(row["id"], row["kind"], split, row["source"], part, package.name, state["version"],
                                  row["language"], package.licence), row["sha256"]))
    clips.sort(key=lambda pair: (-SPLITS.index(pair[0].split), pair[0].id))
    unique = {digest: clip for clip, digest in reversed(clips)}
    kept = sorted(unique.values(), key=lambda clip: clip.id)
    if len(kept) < len(clips):
        dropped["all"] = {"the same recording again": len(clips) - len(kept)}
    return kept, dropped, versions


def _key(package: Package, deb: Path, catalogue: Catalogue) -> str:
    """Names what decoding a package depends on: its file, its rules, the decoder."""
    never = catalogue.never_noise.pattern if catalogue.never_noise else ""
    identity = package.sha256 if debian.version(deb) == package.version else f"{deb.name} {deb.stat().st_size}"
    text = f"{DECODER} {identity} {never} {GATHERED_SECONDS} {rules_text([package])}"
    return f"{package.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _finished(folder: Path, keys: dict[str, str]) -> Corpus | None:
    if not (folder / MANIFEST).is_file() or not (folder / LICENCES).is_file():
        return None
    try:
        corpus = Corpus.open(folder)
    except CorpusError:
        return None
    return corpus if corpus.meta.get("packages") == keys else None


def _write_licences(folder: Path, packages: Sequence[Package], versions: dict[str, str], decoded: Path,
                    keys: dict[str, str]) -> None:
    """LICENCES.txt and each package's own copyright file beside the corpus."""
    lines = ["Recorded sound in this corpus, by Debian package. The copyright file of a package decides.", ""]
    for package in packages:
        text = (decoded / f"{keys[package.name]}.copyright").read_text()
        name = f"licences/{package.name}.copyright" if text else "in its source package"
        lines.append(f"{package.name} {versions[package.name]}: {package.licence}; copyright: {name}")
        if text:
            write_text(folder / name, text)
    write_text(folder / LICENCES, "\n".join(lines) + "\n")
