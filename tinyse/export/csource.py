"""Small pieces of C: literals, arrays, comments; the same values give the same text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

WIDTH = 16


def floating(value: float) -> str:
    """A float literal that reads back to the same float32."""
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if any(mark in text for mark in ".en") else f"{text}.0f"


def floats(values: Iterable[float], per_line: int = 6) -> str:
    """Lines of float literals for an initialiser."""
    return _lines([floating(value) for value in values], per_line)


def integers(values: Sequence[int] | NDArray, per_line: int = WIDTH) -> str:
    """Lines of integers for an initialiser."""
    return _lines([str(int(value)) for value in values], per_line)


def octets(data: bytes) -> str:
    """Lines of bytes for an initialiser."""
    table = [f"{value}," for value in range(256)]
    rows = (data[start:start + 2 * WIDTH] for start in range(0, len(data), 2 * WIDTH))
    return "\n".join("  " + "".join(table[value] for value in row) for row in rows)


def comment(lines: Iterable[str]) -> str:
    """A block comment; what would end it early is broken up."""
    body = "\n".join(f" * {line}".rstrip() for line in lines).replace("*/", "* /")
    return f"/*\n{body}\n */"


def plain(name: str) -> str:
    """A name that is safe in a comment."""
    return re.sub(r"[^\w.:/-]", "_", name, flags=re.ASCII)


def _lines(items: list[str], per_line: int) -> str:
    rows = (items[start:start + per_line] for start in range(0, len(items), per_line))
    return "\n".join("  " + " ".join(f"{item}," for item in row) for row in rows)
