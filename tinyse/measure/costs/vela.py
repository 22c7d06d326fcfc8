"""Reads Vela's reports: the summary CSV and the debug database, never its standard output."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from tinyse.core.errors import ModelError

AREAS = {"Sram": "sram", "Dram": "dram", "OnChipFlash": "on_chip_flash", "OffChipFlash": "off_chip_flash"}
"""Vela's memory areas: name in the debug database, name in the CSV."""

Row = dict[str, str]


@dataclass(frozen=True)
class Reports:
    """Vela's two reports, parsed but not interpreted.

    Attributes:
        summary: the one row of the CSV, by column.
        tables: the debug database's tables, rows by column.
        folder: where they were found, for messages.
    """

    summary: Row
    tables: dict[str, list[Row]]
    folder: Path

    def number(self, column: str) -> float:
        """A number of the summary.

        Raises:
            ModelError: this Vela's CSV has no such number.
        """
        return number(self.summary, column, self.folder)

    def table(self, name: str) -> list[Row]:
        """A table of the debug database.

        Raises:
            ModelError: this Vela's debug database has no such table.
        """
        if name not in self.tables:
            raise ModelError(f"{self.folder}: Vela's debug database has no table {name!r}",
                             "export again with ethos-u-vela 5.x")
        return self.tables[name]

    @property
    def accelerator(self) -> str:
        """The accelerator configuration as Vela's option names it, such as ``ethos-u55-128``."""
        return self.summary.get("accelerator_configuration", "").lower().replace("_", "-")


def number(row: Row, column: str, folder: Path) -> float:
    """A cell as a number; an empty cell is 0.

    Raises:
        ModelError: no such column, or no number in it.
    """
    try:
        text = row[column]
        return float(text) if text else 0.0
    except (KeyError, ValueError):
        raise ModelError(f"{folder}: Vela's report has no number {column!r}",
                         "export again with ethos-u-vela 5.x") from None


def read_reports(folder: Path, stem: str = "") -> Reports:
    """Read ``<stem>*_summary_*.csv`` and ``<stem>*_debug.xml`` in ``folder``.

    Raises:
        ModelError: either is missing, ambiguous or unreadable.
    """
    summary = _one(folder, f"{stem}*_summary_*.csv")
    database = _one(folder, f"{stem}*_debug.xml")
    rows = list(csv.DictReader(io.StringIO(summary.read_text(encoding="utf-8", errors="replace"))))
    if len(rows) != 1:
        raise ModelError(f"{summary}: has {len(rows)} rows, one is expected", "export again")
    try:
        root = ElementTree.fromstring(database.read_text(encoding="utf-8"))
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise ModelError(f"{database}: is no debug database: {error}", "export again") from error
    tables = {str(table.get("name")): list(csv.DictReader(io.StringIO((table.text or "").strip())))
              for table in root.iter("table")}
    return Reports({key: value or "" for key, value in rows[0].items() if key}, tables, folder)


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ModelError(f"{folder}: holds {len(found)} files {pattern}, one is expected",
                         "run tinyse export, or Vela with --enable-debug-db, into an empty folder")
    return found[0]
