"""Outside programs: what is on PATH, and where the Corstone-300 FVP is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Protocol

FVP = "FVP_Corstone_SSE-300_Ethos-U55"
FVP_VARIABLE = "FVP_CORSTONE300"


class Programs(Protocol):
    """What looks programs up; tests give one of their own."""

    def which(self, name: str) -> str | None:
        """Path of a program on PATH."""

    def variables(self) -> Mapping[str, str]:
        """Environment variables."""


class Installed:
    """The programs of this very machine."""

    def which(self, name: str) -> str | None:
        """Path of a program on PATH, or of an executable file given by path."""
        return shutil.which(name)

    def variables(self) -> Mapping[str, str]:
        """Environment variables."""
        return os.environ


def find_fvp(path: str | None, programs: Programs) -> str | None:
    """The Corstone-300 FVP with an Ethos-U55: ``path``, else $FVP_CORSTONE300, else PATH; None if nowhere.

    A file is taken as it is; in a folder the executable's own name is looked for.
    """
    named = path or programs.variables().get(FVP_VARIABLE)
    if not named:
        return programs.which(FVP)
    return programs.which(named) or programs.which(os.path.join(named, FVP))
