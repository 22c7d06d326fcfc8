"""Debian packages without root and without touching the machine's own apt state.

apt-get runs with private lists, cache and sources, so it works where `apt-get update` never ran and on
releases (or Ubuntu) that lack a package. apt verifies what it downloads by the archive's signature; what
is pinned is also held to its SHA-256. Without Debian's keyring only pinned packages are accepted.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tinyse.core.artifacts import sha256, write_text
from tinyse.core.errors import CorpusError, ToolError
from tinyse.core.progress import Progress, Step, silent
from tinyse.sound.corpus.catalogue import Package

ALIAS = "http://deb.debian.org/debian"
KEYRINGS = tuple(Path("/usr/share/keyrings") / f"debian-archive-keyring.{suffix}" for suffix in ("gpg", "pgp"))
SOURCES = Path("/etc/apt")
CONFIG = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Default-Release;
Dir::State "{root}/state/";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache/";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::AllowReleaseInfoChange "true";
APT::Sandbox::User "";
APT::Get::AllowUnauthenticated "{trust}";
"""


def mirrors(sources: Path = SOURCES) -> list[str]:
    """Debian mirrors in the machine's own apt sources, then Debian's standard alias."""
    found: list[str] = []
    files = [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*.list")),
             *sorted((sources / "sources.list.d").glob("*.sources"))]
    for file in files:
        if not file.is_file():
            continue
        for line in file.read_text(errors="replace").splitlines():
            if re.match(r"\s*(deb\s|URIs:)", line):
                found += [uri.rstrip("/") for uri in re.findall(r"https?://\S+", line)]
    own = [uri for uri in found if uri.endswith("/debian") and "security" not in uri]
    return list(dict.fromkeys([*own, ALIAS]))


def have_debs(folder: Path, packages: Iterable[Package]) -> dict[str, Path]:
    """Packages already in ``folder`` and whole: {name: file}. One that fails its pinned hash is removed."""
    found: dict[str, Path] = {}
    for package in packages:
        for path in sorted(folder.glob(f"{package.name}_*.deb"), reverse=True):
            if version(path) != package.version:
                if _readable(path):
                    found.setdefault(package.name, path)
            elif sha256(path) == package.sha256:
                found[package.name] = path
                break
            else:
                path.unlink()
    return found


def get_debs(folder: Path, packages: Sequence[Package], progress: Progress = silent,
             sources: Path = SOURCES) -> dict[str, Path]:
    """Bring ``packages`` to ``folder``; what is there and verified stays. Returns {name: file}.

    Raises:
        ToolError: apt-get is missing or failed on every mirror.
        CorpusError: a package's bytes are not the pinned ones, or cannot be trusted without Debian's keyring.
    """
    folder.mkdir(parents=True, exist_ok=True)
    have = have_debs(folder, packages)
    missing = [package for package in packages if package.name not in have]
    if not missing:
        return have
    if not shutil.which("apt-get"):
        raise ToolError("apt-get is not installed", "on other systems, use `tinyse data import` with your own folders")
    keyring = next((path for path in KEYRINGS if path.is_file()), None)
    apt = _update(folder.parent / "apt", sorted({item.suite for item in missing}), keyring, sources)
    _download(apt, folder, missing, progress)
    have = have_debs(folder, packages)
    for package in missing:
        path = have.get(package.name)
        if path is None:
            raise CorpusError(f"{package.name}: what was downloaded is not version {package.version} as pinned",
                              "run it again; if it stays so, the mirror is not to be trusted")
        if keyring is None and version(path) != package.version:
            path.unlink()
            raise CorpusError(f"{path.name}: cannot be verified without Debian's keyring",
                              "apt-get install debian-archive-keyring")
    return have


def _update(root: Path, suites: Sequence[str], keyring: Path | None, sources: Path) -> list[str]:
    """Write a private apt set-up and fetch its lists; returns the command to go on with."""
    root = root.resolve()
    for name in ("state/lists/partial", "cache/archives/partial"):
        (root / name).mkdir(parents=True, exist_ok=True)
    write_text(root / "state/status", "")
    write_text(root / "apt.conf", CONFIG.format(root=root, trust="false" if keyring else "true"))
    option = f"signed-by={keyring}" if keyring else "trusted=yes"
    command = ["apt-get", "-q", "-c", str(root / "apt.conf")]
    failure = ""
    for mirror in mirrors(sources):
        write_text(root / "sources.list",
                   "".join(f"deb [target=Packages {option}] {mirror} {suite} main\n" for suite in suites))
        result = _run([*command, "update", "--error-on=any"], root)
        if result.returncode == 0:
            return command
        failure = _reason(result.stderr)
    raise ToolError(f"apt-get update failed: {failure}", "check the network, or a proxy in /etc/apt/apt.conf.d")


def _download(apt: list[str], folder: Path, packages: Sequence[Package], progress: Progress) -> None:
    """Run `apt-get download`, reporting bytes."""
    total = sum(package.bytes for package in packages)
    before = {path.name for path in folder.iterdir()}
    names = [f"{package.name}/{package.suite}" for package in packages]
    with open(folder.parent / "apt" / "download.log", "w+") as log:
        process = subprocess.Popen([*apt, "download", *names], cwd=folder, stdout=log, stderr=log, env=_environment())
        try:
            while process.poll() is None:
                time.sleep(0.2)
                done = sum(path.stat().st_size for path in _arriving(folder, before))
                progress(Step("download", min(done, total), total, f"{done >> 20} of {total >> 20} MB"))
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        log.seek(0)
        if process.returncode:
            raise ToolError(f"apt-get download failed: {_reason(log.read())}",
                            "run it again: it goes on where it stopped")
    progress(Step("download", total, total, f"{len(packages)} packages"))


def _arriving(folder: Path, before: set[str]) -> list[Path]:
    partial = folder.parent / "apt" / "cache" / "archives" / "partial"
    return [path for place in (folder, partial) for path in place.iterdir()
            if path.is_file() and path.name not in before]


def version(path: Path) -> str:
    """The version in a .deb's file name, with apt's %3a and the like undone."""
    from urllib.parse import unquote

    parts = path.name.split("_")
    return unquote(parts[1]) if len(parts) == 3 else ""


def _readable(path: Path) -> bool:
    return _run(["dpkg-deb", "--contents", str(path)], path.parent).returncode == 0


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace",
                          env=_environment(), check=False)


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def _reason(text: str) -> str:
    lines = [line[3:] for line in text.splitlines() if line.startswith(("E: ", "W: "))]
    return lines[0] if lines else (text.strip().splitlines() or ["no reason given"])[-1]
