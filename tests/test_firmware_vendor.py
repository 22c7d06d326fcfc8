"""Fetching third-party parts: what is pinned is what is used, from mirrors as from the registries."""

from __future__ import annotations

import io
import posixpath
import tarfile
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tinyse.core.errors import ToolError
from tinyse.firmware import vendor as module


class Registry:
    """A small web server: path to bytes, and what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urllib.parse.unquote(self.path)
                registry.asked.append(path)
                body = registry.files.get(path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def registry(monkeypatch, tmp_path) -> Iterator[Registry]:
    """Both archives, small, at a local registry; an empty cache; no mirror set."""
    place = Registry()
    threading.Thread(target=place.server.serve_forever, daemon=True).start()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_pip_index", lambda: "")
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    monkeypatch.delenv("npm_config_registry", raising=False)
    for name, files in (("DSP", ["LICENSE", "Include/arm_math.h", "README.md", *module.DSP_SOURCES]),
                        ("CORE", ["Include/core_cm55.h", "../../LICENSE-Arm.txt", "Include/core_cm0.h"])):
        pinned = getattr(module, name)
        body = packed(pinned.top, files)
        path = "/" + pinned.url.split("/", 3)[3]
        place.files[path] = body
        monkeypatch.setattr(module, name, replace(pinned, sha256=sha256(body).hexdigest(), url=place.url + path))
    yield place
    place.server.shutdown()
    place.server.server_close()


def packed(top: str, files: list[str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in files:
            entry = tarfile.TarInfo(posixpath.normpath(f"{top}/{name}"))
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))
    return out.getvalue()


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_only_what_is_used_is_kept_and_the_cache_answers_next_time(registry, tmp_path):
    steps = []
    module.copy_into(tmp_path / "project", steps.append)
    assert names(tmp_path / "project" / "third_party" / "cmsis-dsp") == sorted(
        ["LICENSE", "Include/arm_math.h", *module.DSP_SOURCES])
    assert names(tmp_path / "project" / "third_party" / "cmsis-core") == ["Include/core_cm55.h", "LICENSE-Arm.txt"]
    assert {step.note for step in steps} == {module.DSP.file, module.CORE.file}
    count = len(registry.asked)
    (tmp_path / "project" / "third_party" / "cmsis-dsp" / "old.c").touch()
    module.copy_into(tmp_path / "project")
    assert len(registry.asked) == count and "old.c" not in names(tmp_path / "project" / "third_party" / "cmsis-dsp")


def test_another_archive_is_refused_and_not_kept(registry):
    for path in registry.files:
        registry.files[path] += b"x"
    with pytest.raises(ToolError, match="SHA-256 is .*, not") as caught:
        module.vendor()
    assert "\n" not in caught.value.line() and module.DSP.file in caught.value.line()
    assert names(module.cache_dir()) == []


def test_a_damaged_cache_is_fetched_again(registry):
    module.cache_dir().mkdir(parents=True)
    (module.cache_dir() / module.DSP.file).write_bytes(b"half")
    assert (module.vendor().dsp / "LICENSE").read_text() == "LICENSE"


def test_without_a_network_the_error_names_the_file_and_its_place(registry):
    files = dict(registry.files)
    registry.files.clear()
    with pytest.raises(ToolError, match="cannot fetch .*Not Found") as caught:
        module.vendor()
    assert f"put {module.DSP.file} into {module.cache_dir()}" in caught.value.line()
    module.cache_dir().mkdir(parents=True, exist_ok=True)
    for archive in (module.DSP, module.CORE):
        path = "/" + archive.url.split("/", 3)[3]
        (module.cache_dir() / archive.file).write_bytes(files[path])
    assert module.vendor().core.is_dir()


def test_mirrors_come_first(registry, monkeypatch):
    dsp = registry.files.pop("/" + module.DSP.url.split("/", 3)[3])
    core = registry.files.pop("/" + module.CORE.url.split("/", 3)[3])
    registry.files["/simple/cmsisdsp/"] = f'<a href="../../f/{module.DSP.file}#sha256=0">x</a>'.encode()
    registry.files[f"/f/{module.DSP.file}"] = dsp
    registry.files["/npm/" + module.CORE.url.split("/", 3)[3]] = core
    monkeypatch.setattr(module, "_pip_index", lambda: registry.url + "/simple")
    monkeypatch.setenv("npm_config_registry", registry.url + "/npm/")
    module.vendor()
    assert registry.asked == ["/simple/cmsisdsp/", f"/f/{module.DSP.file}",
                              "/npm/" + module.CORE.url.split("/", 3)[3]]


def test_pip_index_is_asked_from_the_environment(monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    assert module._pip_index() == "https://mirror.example/simple"
