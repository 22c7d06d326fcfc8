"""Every network that the device comparison is about: our released models, and the shapes of others."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyse.bench.device.costs import CORE, TARGET, Cost, measure
from tinyse.bench.device.shapes import SHAPES, Shape
from tinyse.bench.ours import released_folders
from tinyse.core.artifacts import versions
from tinyse.core.errors import ModelError, TinyseError
from tinyse.core.progress import Progress, Step, silent
from tinyse.measure.scores.result import Evaluation


@dataclass(frozen=True)
class Device:
    """The comparison.

    Attributes:
        costs: ours by name, then the shapes.
        about: what each shape is, by name.
        missing: what could not be had of a network, and why, by "network: what".
        failed: why a network is not among ``costs``, by name: a damaged file, a tool that failed.
        versions: of tinyse and what it ran.
    """

    costs: tuple[Cost, ...]
    about: Mapping[str, str]
    missing: Mapping[str, str]
    failed: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def target(self) -> str:
        """The NPU and the processor."""
        return f"{TARGET}, {CORE}"


def bench_device(models: Path, progress: Progress = silent, shapes: Sequence[Shape] = SHAPES) -> Device:
    """Measure every model of a folder and every shape; one that fails is named and does not stop the others.

    Raises:
        ModelError: the folder is missing or holds no model.
        TinyseError: nothing could be measured at all; the first reason.
    """
    ours = released_folders(models)
    costs: list[Cost] = []
    missing: dict[str, str] = {}
    failed: dict[str, str] = {}
    first: TinyseError | None = None
    networks: list[Path | Shape] = [*ours, *shapes]
    for done, each in enumerate(networks):
        progress(Step("device", done, len(networks), each.name))
        try:
            cost, lacks = _model(each) if isinstance(each, Path) else _shape(each)
        except TinyseError as error:
            failed[each.name], first = error.line(), first or error
            continue
        costs.append(cost)
        missing |= {f"{each.name}: {what}": reason for what, reason in lacks.items()}
    progress(Step("device", len(networks), len(networks), "done"))
    if first is not None and not costs:
        raise first
    return Device(tuple(costs), {shape.name: shape.about for shape in shapes}, missing, failed, versions())


def _model(folder: Path) -> tuple[Cost, dict[str, str]]:
    from tinyse.export.bundle import open_bundle

    bundle = open_bundle(folder)
    return measure(folder.name, list(bundle.files), bundle.ends.frames_per_second, folder, _update_rate(folder))


def _shape(shape: Shape) -> tuple[Cost, dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="tinyse-shape-") as name:
        files = []
        for number, data in enumerate(shape.build(), 1):
            files.append(Path(name) / f"shape_{number}.tflite")
            files[-1].write_bytes(data)
        return measure(shape.name, files, shape.frames_per_second)


def _update_rate(folder: Path) -> float | None:
    """A Skip RNN's mean rate on the test mixtures, out of its evaluation.json; None where there is none."""
    file = folder / "evaluation.json"
    if not file.is_file():
        return None
    try:
        return Evaluation.from_dict(json.loads(file.read_text(encoding="utf-8"))).update_rate("int8")
    except (OSError, ValueError, TypeError, AttributeError, TinyseError) as error:
        raise ModelError(f"{file}: is no evaluation: {error}", "release the model again") from error
