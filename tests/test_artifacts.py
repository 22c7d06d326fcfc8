"""Files are written whole or not at all, and what stops a write is one line."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from tinyse.core.artifacts import atomic_path, cache_root, write_text
from tinyse.core.errors import TinyseError


@pytest.mark.parametrize(("error", "line"), [
    (OSError(errno.ENOSPC, "No space left on device"), "cannot be written: No space left on device"),
    (OSError("512 requested and 60 written"), "cannot be written: 512 requested and 60 written"),  # numpy's own
])
def test_a_failed_write_keeps_what_was_there(tmp_path: Path, error: OSError, line: str) -> None:
    write_text(tmp_path / "a.txt", "before")
    with pytest.raises(TinyseError) as caught, atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert caught.value.line() == f"{tmp_path}/a.txt: {line} (free some disk space)"
    assert (tmp_path / "a.txt").read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "a.npy") as temporary:
        np.save(temporary, np.zeros(3))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_user_without_a_home_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_root() == Path("/cache")
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(TinyseError, match="no home folder is known") as caught:
        cache_root()
    assert "set HOME, or XDG_CACHE_HOME" in caught.value.hint


def test_text_with_names_that_are_not_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "caf\u00e9 \udce9")
    assert (tmp_path / "a.txt").read_text("utf-8") == "caf\u00e9 \\udce9"
