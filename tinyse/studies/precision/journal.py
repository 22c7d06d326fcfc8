"""Every genome that was judged, a line each, on the disk before the next one is asked for: what a search resumes from.

A search is a function of its seed and of these numbers, so whoever reads them takes the same steps again, at once.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import IO, Any

from tinyse.core.artifacts import write_text
from tinyse.core.errors import TinyseError
from tinyse.studies.precision.genes import LEAST, MOST, Genome

FILE = "genomes.jsonl"


class Journal:
    """Genomes and their numbers, in the order in which they were judged.

    Attributes:
        known: numbers by genome.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], genes: int) -> None:
        """Read what is there, or begin.

        Args:
            identity: of network, mixtures and target; a journal of another is not gone on with. genes: of a genome.

        Raises:
            TinyseError: it is of something else, damaged, or cannot be written.
        """
        self.path, self.known = folder / FILE, dict[Genome, dict[str, float]]()
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n") if self.path.exists() else []
        if len(lines) < 2:  # nothing, or a first line that was cut short
            write_text(self.path, json.dumps(identity) + "\n")
            return
        try:
            found = json.loads(lines[0])
        except ValueError:
            found = None
        if found != identity:
            raise TinyseError(f"{self.path}: written for another network, corpus, target or mixtures",
                              "give another --out, or delete it")
        for number, line in enumerate(lines[1:-1], 2):
            self._take(line, genes, number)
        if lines[-1]:  # cut short
            write_text(self.path, "\n".join([*lines[:-1], ""]))

    def _take(self, line: str, genes: int, number: int) -> None:
        hint = "delete that line: the search goes on with the others"
        try:
            said = json.loads(line)
            genome, values = tuple(said["bits"]), {key: float(value) for key, value in said["numbers"].items()}
            whole = all(isinstance(bits, int) and LEAST <= bits <= MOST for bits in genome)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TinyseError(f"{self.path}: line {number} is damaged: {error}", hint) from error
        if len(genome) != genes:
            raise TinyseError(f"{self.path}: line {number}: {len(genome)} genes, and the network has {genes}", hint)
        if not whole:
            raise TinyseError(f"{self.path}: line {number}: bits out of {LEAST} to {MOST}", hint)
        self.known[genome] = values

    def add(self, genome: Genome, numbers: dict[str, float]) -> None:
        """Write one down.

        Raises:
            TinyseError: the disk is full.
        """
        self.known[genome] = numbers
        line = json.dumps({"bits": list(genome), "numbers": numbers}) + "\n"
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                _whole(file, line)
        except OSError as error:
            raise TinyseError(f"{self.path}: cannot be written: {error.strerror}",
                              "free some disk space, then give the same command again") from error


def _whole(file: IO[str], line: str) -> None:
    """The line, or nothing of it."""
    size = os.fstat(file.fileno()).st_size
    try:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(file.fileno(), size)
        raise
