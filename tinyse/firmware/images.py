"""From a model to images in one step: what ``tinyse firmware`` and ``make firmware`` do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tinyse.core.errors import ExportError
from tinyse.core.progress import Progress, silent
from tinyse.export.bundle import COMPILED, open_bundle, part_files
from tinyse.firmware.build import Backend, Built, boards, check_backend
from tinyse.firmware.flash import PLACES
from tinyse.firmware.project import sources_dir, write_project
from tinyse.firmware.stamp import stamped

FOLDER = Path("build/firmware")
DEFAULT_TARGETS = {"corstone300": "ethos-u55-128", "corstone300-u65": "ethos-u65-256"}
"""What a model is exported for where nobody says: a Cortex-M7 on all other boards."""

TFLM_SKIPPED = "the TFLM build is skipped: TFLM_DIR names no TensorFlow Lite Micro tree"


@dataclass(frozen=True)
class Images:
    """Images of one model: the project they were built in, its export, the images, the compiled parts if any."""

    project: Path
    export: Path
    built: tuple[Built, ...]

    @property
    def compiled(self) -> tuple[Path, ...]:
        """The Vela-compiled files, one a part; none where the target has no NPU."""
        return part_files(self.export, COMPILED)

    def backend(self, backend: str) -> Built:
        """The image with that backend.

        Raises:
            ExportError: there is none.
        """
        for built in self.built:
            if built.backend == backend:
                return built
        raise ExportError(f"{self.project}: no image with the backend {backend!r}",
                          f"one of {', '.join(built.backend for built in self.built)}")


def make_images(model: Path | str, board: str = "corstone300", target: str | None = None, folder: Path | None = None,
                tflm_dir: Path | None = None, kernels: str = "auto", progress: Progress = silent,
                scores: bool | None = None, exit_at: int = 0) -> Images:
    """Export ``model``, write a project, and build every image that the board can run; one that is there stays.

    Args:
        model: what ``tinyse.export.pipeline.export_run`` takes.
        board: a board of the firmware, or of `PLACES`.
        target: what the model is exported for; default: by the board (`DEFAULT_TARGETS`).
        folder: for the export and the project; default: ``build/firmware/MODEL-BOARD``.
        tflm_dir: the user's TFLM tree; None builds no image with TFLM.
        kernels, progress: as ``stamped``, ``export_run``.
        scores: whether the network must give scores, or must not; None takes both. exit_at: that it must have.

    Raises:
        ExportError: it gives scores and must not, or the other way round, or lacks that exit. Whatever ``export_run``,
            ``write_project`` and ``stamped`` raise.
    """
    from tinyse.export.pipeline import export_run
    from tinyse.export.targets import load_target

    board = PLACES[board].image if board in PLACES else board
    known = boards(sources_dir())
    if board not in known:
        raise ExportError(f"board {board!r} is not known", f"one of {', '.join(sorted({*known, *PLACES}))}")
    chosen = load_target(target or DEFAULT_TARGETS.get(board, "cortex-m7"))
    folder = folder or FOLDER / f"{Path(model).absolute().name}-{board}"
    exported = export_run(model, chosen, folder / "export", progress)
    bundle = open_bundle(exported.folder)
    if scores is not None and scores != bundle.ends.result.scores:
        _refuse(model, scores)
    if exit_at > (exits := len(bundle.plan.exits)):
        raise ExportError(f"{model}: exit {exit_at}: the network has {exits}", f"1 to {exits}")
    project = write_project(exported.folder, folder / "project", board, progress, chosen)
    backends = [Backend.CPU] + ([Backend.NPU] if chosen.has_npu else [])
    if tflm_dir is not None:
        check_backend(project.folder, Backend.TFLM)
    images = [stamped(project.folder, board, backend, kernels) for backend in backends]
    if tflm_dir is not None:
        images.append(stamped(project.folder, board, Backend.TFLM, kernels, (f"TFLM_DIR={tflm_dir.absolute()}",)))
    return Images(project.folder, exported.folder, tuple(images))


def _refuse(model: Path | str, scores: bool) -> None:
    if scores:
        raise ExportError(f"{model}: the network gives sound, and there is no DESTINATION for it",
                          "tinyse firmware run MODEL SOURCE DESTINATION")
    raise ExportError(f"{model}: the network gives scores, and no sound",
                      "it measures: tinyse firmware run MODEL FILE, without a destination")
