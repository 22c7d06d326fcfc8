"""What produced a number: printed beside every one of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """What kind of thing produced a number; numbers of two kinds never share a column."""

    MEASURED = "measured"
    EMULATED = "emulated"
    ASSUMED = "emulated x assumed CPI"
    SIMULATED = "simulated"
    SIMULATED_MEAN = "simulated x update rate"
    ESTIMATED = "estimated"
    ESTIMATED_MEAN = "estimated x update rate"
    EXACT = "exact"


@dataclass(frozen=True)
class Origin:
    """Source and tool of a group of numbers, such as (estimated, Vela 5.2.0)."""

    source: Source
    tool: str
    where: str = ""

    @property
    def label(self) -> str:
        """The word that stands beside every number: ``estimated``, ``measured (host)``."""
        return f"{self.source} ({self.where})" if self.where else str(self.source)
