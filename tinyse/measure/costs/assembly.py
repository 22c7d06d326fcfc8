"""A firmware project for a model that is to be profiled: from its export folder, or from the .tflite alone."""

from __future__ import annotations

import shutil
from pathlib import Path

from tinyse.core.artifacts import sha256, write_json
from tinyse.export.bundle import INT8, MANIFEST, part_file, plan_json
from tinyse.export.targets import Target
from tinyse.firmware.project import MODEL, Project, write_project
from tinyse.measure.costs.locate import Located, manifest_target


def assemble(found: Located, target: Target, folder: Path) -> Project:
    """Write a project for the located model into ``folder``/project.

    The C sources of an export for this very target are taken as they are; for a bare .tflite, a release, or
    another target they are written from the int8 file, with the ends that its manifest names.

    Raises:
        ModelError: the int8 file is damaged. ExportError: the network cannot be packed or placed.
        ToolError: CMSIS cannot be fetched.
    """
    export = found.int8[0].parent
    if not all((export / name).is_file() for name in MODEL) or manifest_target(export) != target.name:
        export = folder / "export"
        _write_sources(found, target, export)
    return write_project(export, folder / "project", target=target)


def _write_sources(found: Located, target: Target, folder: Path) -> None:
    from tinyse.export.csources import write_c

    bundle = found.bundle()
    compiled = found.compiled if target.has_npu else ()
    folder.mkdir(parents=True)
    for part, file in enumerate(bundle.files):
        shutil.copyfile(file, folder / part_file(INT8, part, len(bundle.files)))
    write_c(bundle.plan, folder, bundle.files, compiled, bundle.ends, target, sha256(found.int8[0]))
    write_json(folder / MANIFEST, {"target": target.name, "ends": bundle.ends.as_dict(),
                                   "plan": plan_json(bundle.plan)})
