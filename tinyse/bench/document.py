"""docs/benchmarks.md: a page with marks, between which each bench writes what it measured."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tinyse.core.artifacts import write_text
from tinyse.core.errors import TinyseError

HEAD = """# Benchmarks

Tables and figures between the marks are written by the commands named there.
"""


def put_section(page: Path, name: str, command: str, text: str) -> None:
    """Write ``text`` between the marks of ``name``, at the end of the page where there are none yet.

    What stands outside of the marks stays. The page is made where it is missing.

    Raises:
        TinyseError: the page cannot be written, or is no text.
    """
    begin, end = f"<!-- {name}: written by {command} -->", f"<!-- {name}: end -->"
    try:
        old = page.read_text(encoding="utf-8") if page.is_file() else HEAD
    except ValueError as error:
        raise TinyseError(f"{page}: is no UTF-8 text: {error}", "move it away") from error
    section = f"{begin}\n\n{text.strip()}\n\n{end}"
    head, found, rest = old.partition(begin)
    if found and end in rest:
        write_text(page, head + section + rest.partition(end)[2])
    else:
        write_text(page, f"{old.rstrip()}\n\n{section}\n")


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    titles = list(header)
    lines = ["| " + " | ".join(titles) + " |", "|---|" + "---:|" * (len(titles) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
