"""Runs Arm's Vela compiler on an int8 file and refuses a result that would not run on the NPU alone.

Vela writes the compiled .tflite, a summary CSV, a per-layer CSV and a debug database. It runs twice and must
write the same file both times; the debug database's order, which does vary, is put right.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tinyse.core.errors import ExportError, ToolError
from tinyse.export.flatfile import operator_names, unpack
from tinyse.export.targets import Target

SECONDS = 600
"""Longest time that Vela is given; a full-size network takes about one second."""


@dataclass(frozen=True)
class Compiled:
    """What Vela made. Cycles and bytes are Vela's estimates.

    Attributes:
        path: the compiled .tflite.
        reports: every other file that Vela wrote (CSVs, debug database).
        cycles: total per frame. npu_cycles: those of the NPU itself, memory aside.
        operators: NPU operators; there are none on the CPU.
    """

    path: Path
    reports: tuple[Path, ...]
    cycles: int
    npu_cycles: int
    operators: int


def compile_model(model: Path, target: Target, folder: Path) -> Compiled:
    """Compile the int8 ``model`` for ``target`` into ``folder`` (``<stem>_vela.tflite`` and the reports).

    Raises:
        ExportError: the target has no NPU, Vela leaves an operator to the CPU (the message names it), or two
            runs differ.
        ToolError: Vela is missing or fails; the message carries its last line.
    """
    if not target.has_npu:
        raise ExportError(f"{target.name} has no NPU to compile for")
    with tempfile.TemporaryDirectory() as scratch:
        first, second = Path(scratch) / "first", Path(scratch) / "second"
        for run in (first, second):
            run.mkdir()
            _run(model, target, run)
        name = f"{model.stem}_vela.tflite"
        if (first / name).read_bytes() != (second / name).read_bytes():
            raise ExportError("two runs of Vela gave different files", "export again, or change the Vela version")
        layers = _only(first, f"{model.stem}_per-layer.csv")
        rows = list(csv.DictReader(layers.open(encoding="utf-8")))
        on_cpu = [row for row in rows if row["Target"] != "NPU"]
        if on_cpu:
            where = on_cpu[0]
            raise ExportError(f"Vela leaves {where['Original Operator']} ({where['Name']}) to the CPU",
                              f"{target.name} must run every operator")
        left = [found for found in operator_names(unpack((first / name).read_bytes(), name)) if found != "ethos-u"]
        if left:
            raise ExportError(f"Vela leaves {left[0]} to the CPU", f"{target.name} must run every operator")
        summary = next(csv.DictReader(_only(first, f"{model.stem}_summary_*.csv").open(encoding="utf-8")))
        _normalise(_only(first, f"{model.stem}_debug.xml"))
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(first.iterdir()):
            if file.name != model.name:
                shutil.copyfile(file, folder / file.name)
        names = sorted(file.name for file in first.iterdir() if file.name not in (model.name, name))
    return Compiled(folder / name, tuple(folder / each for each in names), round(float(summary["cycles_total"])),
                    round(float(summary["cycles_npu"])), int(summary["passes_after_fusing"]))


def _run(model: Path, target: Target, folder: Path) -> None:
    # Relative names, because the debug database repeats them.
    shutil.copyfile(model, folder / model.name)
    command = [sys.executable, "-m", "ethosu.vela", model.name, "--output-dir", ".", "--enable-debug-db",
               "--verbose-performance", *target.vela_arguments()]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace",
                              timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ToolError(f"Vela did not finish in {SECONDS} s") from None
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
        last = lines[-1] if lines else f"exit {done.returncode}"
        if "UnicodeDecodeError" in last:
            _refuse_names(model)
        missing = "No module named" in last and "ethosu" in last
        raise ToolError("ethos-u-vela is not installed" if missing else f"Vela: {last}",
                        "pip install ethos-u-vela" if missing else f"target {target.name}")


def _refuse_names(model: Path) -> None:
    for index, tensor in enumerate(unpack(model.read_bytes(), model.name).subgraphs[0].tensors):
        try:
            (tensor.name or b"").decode()
        except UnicodeDecodeError:
            raise ExportError(f"the name of tensor {index}, {tensor.name!r}, is not UTF-8, which Vela cannot read",
                              "convert the model again") from None


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ToolError(f"Vela wrote {len(found)} files {pattern}, one is expected", "install ethos-u-vela 5.x")
    return found[0]


def _normalise(database: Path) -> None:
    """Sort the tensor table, which Vela writes in the order of its memory addresses."""
    text = database.read_text(encoding="utf-8")

    def ordered(table: re.Match[str]) -> str:
        head, *rows = table.group(2).strip("\n").split("\n")
        return table.group(1) + "\n".join([head, *sorted(rows)]) + "\n" + table.group(3)

    pattern = r'(<table name="tensors">\s*<!\[CDATA\[\n)(.*?)(\]\]>)'
    database.write_text(re.sub(pattern, ordered, text, flags=re.DOTALL), encoding="utf-8")
