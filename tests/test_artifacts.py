"""Files are written whole or not at all, and what stops a write is one line."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tinyse.cli import main
from tinyse.core.artifacts import atomic_path, cache_root, check_writable, write_text
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


def test_what_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "a" / "b" / "c.json", None)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(TinyseError) as caught:
        check_writable(tmp_path / "file" / "c.json")
    assert caught.value.line() == (
        f"{tmp_path}/file/c.json: cannot be written: Not a directory (choose a folder you may write)")


@pytest.mark.parametrize("words", [["evaluate", "none", "--out"], ["profile", "none", "--json"],
                                   ["profile", "none", "--html"], ["profile", "none", "--png"]])
def test_commands_ask_before_they_work(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(main, [*words, str(tmp_path / "file" / f"x.{words[-1][2:]}")])
    assert result.exit_code == 1 and "cannot be written: Not a directory" in result.output, result.output


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
