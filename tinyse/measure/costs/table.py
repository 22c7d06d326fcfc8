"""A table of text: what every command of tinyse shows numbers in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Text to draw: a title, a header, rows of cells, and lines below. Header and rows may be empty."""

    title: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()


def percent(part: float, whole: float) -> str:
    """A share with one decimal; of nothing it is 0."""
    return f"{100 * part / whole if whole else 0:.1f} %"


def plain(table: Table) -> str:
    """A table as aligned text: words to the left, numbers to the right."""
    lines = [table.title] if table.title else []
    cells: Sequence[tuple[str, ...]] = (table.header, *table.rows) if table.header else table.rows
    if cells:
        widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
        left = [not any(row[column][:1].isdigit() for row in table.rows) for column in range(len(widths))]
        for row in cells:
            line = "  ".join(cell.ljust(width) if words else cell.rjust(width)
                             for cell, width, words in zip(row, widths, left, strict=True))
            lines.append(f"  {line}".rstrip())
    lines += [f"  {note}" for note in table.notes]
    return "\n".join(lines)
