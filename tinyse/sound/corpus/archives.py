"""Files inside files: Debian packages, zips, GLib resource bundles and OpenTTD sound catalogues, in memory."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tinyse.core.errors import CorpusError, ToolError

GVARIANT_MAGIC = b"GVariant"
GVDB_ITEM = struct.Struct("<IIIHBBII")
GVDB_NO_PARENT = 0xFFFFFFFF
GRESOURCE_COMPRESSED = 1
BLOOM_WORDS = (1 << 27) - 1
CAT_OFFSET = 0x7FFFFFFF


def deb_members(deb: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Regular files of a Debian package whose path is wanted: (absolute path, bytes), in the package's order.

    Nothing is installed and nothing written. Links are passed over.

    Raises:
        CorpusError: the file is no package or is cut short.
        ToolError: dpkg-deb is missing.
    """
    if not shutil.which("dpkg-deb"):
        raise ToolError("dpkg-deb is not installed", "on Debian or Ubuntu it is part of dpkg")
    process = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    try:
        with process.stdout, tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                path = member.name.removeprefix(".")
                if member.isfile() and wanted(path):
                    stream = tar.extractfile(member)
                    assert stream is not None
                    yield path, stream.read()
    except (tarfile.TarError, EOFError) as error:
        raise CorpusError(f"{deb.name}: {_last_line(process) or error}", "remove it and fetch again") from error
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def zip_members(data: bytes) -> dict[str, bytes]:
    """Files in a zip (also .pk3): {name: bytes}.

    Raises:
        CorpusError: it is no zip, or is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {item.filename: archive.read(item) for item in archive.infolist() if not item.is_dir()}
    except (zipfile.BadZipFile, zlib.error) as error:
        raise CorpusError(f"zip archive: {error}", "fetch the package again") from error


def gresource_members(data: bytes) -> dict[str, bytes]:
    """Files in a GLib resource bundle: {path: bytes}.

    The bundle is a GVDB hash table (header, bloom filter, buckets, 24-byte items whose names chain through
    their parents); each value is a GVariant "(uuay)": size, flags, bytes.

    Raises:
        CorpusError: it is no bundle, or is cut short.
    """
    try:
        if data[:8] != GVARIANT_MAGIC:
            raise ValueError("no GVariant signature")
        start, end = struct.unpack_from("<II", data, 16)
        bloom, buckets = struct.unpack_from("<II", data, start)
        first = start + 8 + 4 * ((bloom & BLOOM_WORDS) + buckets)
        items = [GVDB_ITEM.unpack_from(data, at) for at in range(first, end - GVDB_ITEM.size + 1, GVDB_ITEM.size)]

        def name(index: int, depth: int = 0) -> str:
            _, parent, key, length, *_ = items[index]
            prefix = name(parent, depth + 1) if parent != GVDB_NO_PARENT and depth < 64 else ""
            return prefix + data[key:key + length].decode()

        return {name(index): _resource(data[item[6]:item[7]])
                for index, item in enumerate(items) if item[4] == ord("v")}
    except (struct.error, ValueError, IndexError, zlib.error) as error:
        raise CorpusError(f"resource bundle: {error}", "fetch the package again") from error


def _resource(value: bytes) -> bytes:
    size, flags = struct.unpack_from("<II", value)
    body = value[8:]
    content = zlib.decompress(body) if flags & GRESOURCE_COMPRESSED else body[:size]
    if len(content) < size:
        raise ValueError("an entry is cut short")
    return content


def cat_members(data: bytes) -> dict[str, bytes]:
    """RIFF sounds in an OpenTTD sound catalogue: {"000.wav": bytes, ...}.

    A table of (offset, size) comes first, ending where the first sound begins; a sound's name may stand
    before its RIFF header, so the header is searched.

    Raises:
        CorpusError: an entry points outside the file.
    """
    found: dict[str, bytes] = {}
    try:
        count = (struct.unpack_from("<I", data)[0] & CAT_OFFSET) // 8
        for index in range(count):
            offset, size = struct.unpack_from("<II", data, 8 * index)
            offset &= CAT_OFFSET
            at = data.find(b"RIFF", offset, offset + 300)
            if at < 0:
                continue
            length = struct.unpack_from("<I", data, at + 4)[0] + 8
            if at + length > len(data) or size > len(data):
                raise ValueError(f"entry {index} lies outside the file")
            found[f"{index:03d}.wav"] = data[at:at + length]
    except (struct.error, ValueError) as error:
        raise CorpusError(f"sound catalogue: {error}", "fetch the package again") from error
    return found


ARCHIVES: dict[str, Callable[[bytes], dict[str, bytes]]] = {
    "zip": zip_members, "gresource": gresource_members, "cat": cat_members}


def _last_line(process: subprocess.Popen[bytes]) -> str:
    process.kill()
    assert process.stderr is not None
    lines = process.stderr.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
