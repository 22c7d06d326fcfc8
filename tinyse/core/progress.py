"""How the library reports progress: a callback that the command line draws.

The library calls ``progress(Step(...))``; it never prints. ``silent`` is the default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One report.

    Attributes:
        task: short name of what runs ("fetch", "train float", ...); one progress bar a name.
        done: units finished so far.
        total: units in all; 0 when unknown.
        note: free text beside the bar (a file name, a loss).
        values: numbers to show, by name (``{"loss": 0.1, "si_sdr": 7.2}``).
    """

    task: str
    done: float = 0
    total: float = 0
    note: str = ""
    values: dict[str, float] = field(default_factory=dict)


Progress = Callable[[Step], None]


def silent(step: Step) -> None:
    """Ignore every report."""


def printable(name: str) -> str:
    """A name on one line: line ends, escapes, and bytes that are not UTF-8 as Python writes them."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)
