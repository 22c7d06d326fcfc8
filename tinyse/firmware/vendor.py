"""CMSIS-DSP and the CMSIS core headers: fetched once, checked against pinned hashes, cut down to what is used.

The C library takes its FFT from CMSIS-DSP (Apache-2.0), of which nine source files are enough, and the board
code takes its register names from the CMSIS core headers (Apache-2.0)::

    parts = vendor()                      # ~/.cache/tinyse/vendor, filled on the first call
    copy_into(Path("project"))            # project/third_party/cmsis-dsp, .../cmsis-core

Archives come from PyPI and the npm registry, or from the mirrors that pip (``index-url``) and npm
(``npm_config_registry``) are told to use. Without a network, put the archive into the cache folder by hand.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from hashlib import sha256 as digest
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urljoin

from tinyse.core.artifacts import atomic_path, cache_root, sha256, writing
from tinyse.core.errors import ToolError
from tinyse.core.progress import Progress, Step, silent

DSP_SOURCES = (
    "Source/TransformFunctions/arm_rfft_fast_f32.c",
    "Source/TransformFunctions/arm_rfft_fast_init_f32.c",
    "Source/TransformFunctions/arm_cfft_f32.c",
    "Source/TransformFunctions/arm_cfft_init_f32.c",
    "Source/TransformFunctions/arm_cfft_radix8_f32.c",
    "Source/TransformFunctions/arm_bitreversal2.c",
    "Source/CommonTables/arm_common_tables.c",
    "Source/CommonTables/arm_const_structs.c",
    "Source/CommonTables/arm_mve_tables.c",
)
"""What to compile of CMSIS-DSP, on every core, relative to its folder.

Flags: ``-IInclude -IPrivateInclude`` and cmsis-core's ``Include``; on the host ``-D__GNUC_PYTHON__`` instead of
the latter. Compile with ``-ffunction-sections -fdata-sections`` and link with ``-Wl,--gc-sections``: the tables
hold every FFT size.
"""

TIMEOUT = 60.0  # seconds without a byte


@dataclass(frozen=True)
class Archive:
    """One pinned archive.

    Attributes:
        folder: name of what is unpacked, under ``third_party``.
        file: name of the archive in the cache.
        sha256: of the archive.
        url: where the public registry keeps it.
        top: the folder inside the archive that holds everything.
        wanted: pattern of the paths to keep, relative to ``top``.
    """

    folder: str
    file: str
    sha256: str
    url: str
    top: str
    wanted: str

    @property
    def key(self) -> str:
        """Changes with the archive and with what is taken from it."""
        return digest(f"{self.sha256} {self.wanted}".encode()).hexdigest()[:12]


DSP = Archive(
    folder="cmsis-dsp", file="cmsisdsp-1.10.3.tar.gz",
    sha256="307d32298faa7c58db912851027fce35f886fec7eb1a27c4b309ce1a97f47519",
    url="https://files.pythonhosted.org/packages/2c/ec/"
        "0decbb48985d2eb98739a9bbf4ba090278cc492a7c1a5d5b907e8baf67b5/cmsisdsp-1.10.3.tar.gz",
    top="cmsisdsp-1.10.3",
    wanted=r"LICENSE|(Include|PrivateInclude)/(?!.*(_f16|neon)\.h).+\.h|Include/.*(types|utils)_f16\.h|"
           + "|".join(map(re.escape, DSP_SOURCES)))

CORE = Archive(
    folder="cmsis-core", file="arm-cmsis-core-m-5.4.0-5.tgz",
    sha256="b003c2bd84cce124baa03ad8d05a2289c36ae7b88e5941a808e4db755584343b",
    url="https://registry.npmjs.org/@xpack-3rd-party/arm-cmsis-core-m/-/arm-cmsis-core-m-5.4.0-5.tgz",
    top="package/CMSIS/Core",
    wanted=r"Include/(cmsis_(compiler|gcc|armclang|version)|core_cm(55|7|4|33)|mpu_armv[78]|pmu_armv8|cachel1_armv7)\.h|"
           r"\.\./\.\./LICENSE(-Arm\.txt)?")


@dataclass(frozen=True)
class Vendor:
    """The unpacked parts.

    Attributes:
        dsp: CMSIS-DSP: ``Include``, ``PrivateInclude``, ``DSP_SOURCES`` and ``LICENSE``.
        core: CMSIS core headers: ``Include`` and the licences.
    """

    dsp: Path
    core: Path


def cache_dir() -> Path:
    """Where archives and unpacked parts are kept: tinyse/vendor in the user's cache folder."""
    return cache_root() / "tinyse" / "vendor"


def vendor(progress: Progress = silent) -> Vendor:
    """Both parts, fetched and unpacked where the cache does not hold them.

    Raises:
        ToolError: no network, or an archive that is not the pinned one.
        TinyseError: the cache folder cannot be written.
    """
    return Vendor(dsp=_unpacked(DSP, progress), core=_unpacked(CORE, progress))


def copy_into(folder: Path, progress: Progress = silent) -> None:
    """Copy both parts to ``folder/third_party/{cmsis-dsp,cmsis-core}``, replacing what is there.

    Raises:
        ToolError, TinyseError: as ``vendor``; or ``folder`` cannot be written.
    """
    parts = vendor(progress)
    for part, name in ((parts.dsp, DSP.folder), (parts.core, CORE.folder)):
        place = Path(folder) / "third_party" / name
        with writing(place):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(part, place)


def _unpacked(archive: Archive, progress: Progress) -> Path:
    place = cache_dir() / f"{archive.folder}-{archive.key}"
    if place.is_dir():
        return place
    file = fetched(archive, progress)
    with writing(place):
        temporary = Path(tempfile.mkdtemp(prefix=f".{archive.folder}.", dir=place.parent))
        try:
            _extract(file, archive, temporary)
            temporary.chmod(0o755)
            temporary.rename(place)
        except OSError:
            if not place.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return place


def _extract(file: Path, archive: Archive, folder: Path) -> None:
    """Unpack what is wanted; the archive's bytes are known, so its names are safe."""
    wanted = re.compile(archive.wanted)
    with tarfile.open(file) as packed:
        for member in packed:
            path = os.path.relpath(member.name, archive.top)
            stream = packed.extractfile(member) if wanted.fullmatch(path) else None
            if stream is not None:
                target = folder / path.removeprefix("../../")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(stream.read())


def fetched(archive: Archive, progress: Progress = silent) -> Path:
    """The archive's file in the cache, downloaded on the first call.

    Raises:
        ToolError: no network, or an archive that is not the pinned one.
        TinyseError: the cache folder cannot be written.
    """
    file = cache_dir() / archive.file
    if file.is_file() and sha256(file) == archive.sha256:
        return file
    reason = ""
    for url in _places(archive):
        try:
            with atomic_path(file) as temporary:
                _download(url, temporary, archive, progress)
                found = sha256(temporary)
                if found != archive.sha256:
                    raise ToolError(f"{url}: SHA-256 is {found[:12]}..., not {archive.sha256[:12]}...",
                                    f"something between here and there changes files; put the right {archive.file} "
                                    f"into {file.parent}")
            return file
        except _Unreachable as error:
            reason = reason or f"{url}: {error}"
    raise ToolError(f"cannot fetch {reason}", f"connect to the network, or put {archive.file} into {file.parent}")


class _Unreachable(Exception):
    """The network's fault; no OSError, which would be the disk's."""


def _download(url: str, path: Path, archive: Archive, progress: Progress) -> None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, open(path, "wb") as out:
            total, done = int(answer.headers.get("Content-Length") or 0), 0
            while chunk := answer.read(1 << 16):
                out.write(chunk)
                done += len(chunk)
                progress(Step("download", done, total, archive.file))
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise _Unreachable(getattr(error, "reason", "") or error) from error


def _places(archive: Archive) -> list[str]:
    """The user's mirror first, where one is set, then the public registry."""
    if archive is CORE:
        mirror = next((value for name, value in os.environ.items() if name.lower() == "npm_config_registry"), "")
        path = archive.url.split("/", 3)[3]
        return ([f"{mirror.rstrip('/')}/{path}"] if mirror else []) + [archive.url]
    found = _from_index(archive, _pip_index())
    return ([found] if found else []) + [archive.url]


def _pip_index() -> str:
    if index := os.environ.get("PIP_INDEX_URL"):
        return index
    asked = subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True,
                           text=True, check=False)
    return asked.stdout.strip() if asked.returncode == 0 else ""


def _from_index(archive: Archive, index: str) -> str:
    """The archive's link on a simple index's page, or nothing."""
    if not index:
        return ""
    page = f"{index.rstrip('/')}/{archive.file.split('-')[0].replace('_', '-')}/"
    try:
        with urllib.request.urlopen(page, timeout=TIMEOUT) as answer:
            text = answer.read().decode(errors="replace")
    except (OSError, ValueError):
        return ""
    link = re.search(rf'href="([^"#]*{re.escape(archive.file)})', text)
    return urljoin(page, link[1]) if link else ""
