"""Fetch a tier: download its packages, decode what the list names, pack it into a corpus.

Every step keeps what it finished under ``<root>/.cache`` (packages, decoded samples), so a run that was cut
short goes on where it stopped, and the second tier reuses the first one's work.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyse.core.artifacts import atomic_path, write_json, write_text
from tinyse.core.errors import CorpusError
from tinyse.core.progress import Progress, Step, silent
from tinyse.core.workers import Workers
from tinyse.sound.corpus import archives, debian
from tinyse.sound.corpus.catalogue import Catalogue, Package, Take, load_catalogue, rules_text
from tinyse.sound.corpus.decode import decode, gather
from tinyse.sound.corpus.store import MANIFEST, RATE, SPLITS, Corpus, NewClip, corpus_dir, disjoint, root_dir

DECODER = 1
"""Raised when decoding changes, so that what older versions decoded is not reused."""
CHUNK = 48
GATHERED_SECONDS = 8.0
WORKERS = 2
LICENCES = "LICENCES.txt"

Pcm = npt.NDArray[np.int16]


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


def find(package: Package, deb: Path, catalogue: Catalogue) -> tuple[list[Found], str]:
    """The sound files that a package's rules take, sorted by name, and the package's copyright text.

    Raises:
        CorpusError: the package is damaged, or a rule takes nothing (the package has changed).
    """
    copyright_path = f"/usr/share/doc/{package.name}/copyright"
    text = ""
    found: list[Found] = []

    def wanted(path: str) -> bool:
        return path == copyright_path or _rule(package, path, catalogue) is not None

    for path, data in archives.deb_members(deb, wanted):
        if path == copyright_path:
            text = data.decode(errors="replace")
            continue
        take = _rule(package, path, catalogue)
        assert take is not None
        if take.reader in archives.ARCHIVES:
            members = archives.ARCHIVES[take.reader](data)
            found += [_found(package, take, name, name, members[name]) for name in members
                      if take.inside and take.inside.search(name) and not _left(take, name, catalogue)]
        else:
            found.append(_found(package, take, path, path.removeprefix("/usr/share/"), data))
    for take in package.take:
        if not any(item.take is take for item in found):
            raise CorpusError(f"{package.name}: nothing matches {take.match.pattern!r}",
                              f"the package differs from version {package.version} that the list was made for")
    return sorted(found, key=lambda item: item.id), text


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
    found, text = find(package, deb, catalogue)
    jobs: list[Future[list[tuple[Pcm | None, str]]]] = [
        pool.submit(_decode_chunk, [(item.data, item.take.kind, item.take.reader) for item in found[at:at + CHUNK]])
        for at in range(0, len(found), CHUNK)]
    dropped: Counter[str] = Counter()
    decoded: list[tuple[Found, Pcm]] = []
    results = (result for job in jobs for result in job.result())
    for item, (pcm, reason) in zip(found, results, strict=True):
        if pcm is None:
            dropped[reason] += 1
        else:
            decoded.append((replace(item, data=b""), pcm))
    clips = list(_gathered(package, decoded))
    rows = [{"id": item.id, "kind": item.take.kind, "language": item.language, "source": item.source,
             "length": len(pcm), "sha256": hashlib.sha256(pcm.astype("<i2").tobytes()).hexdigest()}
            for item, pcm in clips]
    with atomic_path(folder / f"{key}.npy") as temporary:
        np.save(temporary, np.concatenate([pcm for _, pcm in clips]) if clips else np.zeros(0, np.int16))
    write_text(folder / f"{key}.copyright", text)
    write_json(folder / f"{key}.json", {"version": debian.version(deb), "clips": rows,
                                        "dropped": dict(sorted(dropped.items()))})


def _decode_chunk(files: list[tuple[bytes, str, str]]) -> list[tuple[Pcm | None, str]]:
    """Runs in a worker process."""
    return [decode(*file) for file in files]


def _gathered(package: Package, decoded: Sequence[tuple[Found, Pcm]]) -> Iterator[tuple[Found, Pcm]]:
    """Pass long clips on; join the short noises of each folder into tracks."""
    short: dict[tuple[str, float], list[tuple[Found, Pcm]]] = {}
    for item, pcm in decoded:
        if item.take.kind == "noise" and len(pcm) < item.take.gather * RATE:
            place = str(PurePosixPath(item.id).parent)
            short.setdefault((place, item.take.gather), []).append((item, pcm))
        else:
            yield item, pcm
    for (place, _), group in short.items():
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
        samples = np.load(folder / f"{keys[package.name]}.npy", mmap_mode="r")
        versions[package.name] = state["version"]
        dropped[package.name] = state["dropped"]
        offset = 0
        for row in state["clips"]:
            part = samples[offset:offset + row["length"]]
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
