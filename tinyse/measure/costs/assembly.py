"""A firmware project for a model that is to be profiled: from its export folder, or from the .tflite alone."""

from __future__ import annotations

from pathlib import Path

from tinyse.core.artifacts import sha256, write_json, write_text
from tinyse.export.bundle import exported_ends
from tinyse.firmware.project import MODEL, Project, write_project
from tinyse.measure.costs.locate import Located, manifest_target
from tinyse.export.targets import Target


def assemble(found: Located, target: Target, folder: Path) -> Project:
    """Write a project for the located model into ``folder``/project.

    The C sources of an export for this very target are taken as they are; for a bare .tflite, a release, or
    another target they are written from the int8 file, with the ends that its manifest names.

    Raises:
        ModelError: the int8 file is damaged. ExportError: the network cannot be packed or placed.
        ToolError: CMSIS cannot be fetched.
    """
    assert found.int8 is not None
    export = found.int8.parent
    if not all((export / name).is_file() for name in MODEL) or manifest_target(export) != target.name:
        export = folder / "export"
        _write_sources(found, target, export)
    return write_project(export, folder / "project", target=target)


def _write_sources(found: Located, target: Target, folder: Path) -> None:
    from tinyse.export.cheader import header, source
    from tinyse.export.cnetwork import c_network
    from tinyse.export.memory import cpu_memory, npu_memory
    from tinyse.export.network import parse
    from tinyse.export.reader import read
    from tinyse.export.vela import Compiled

    assert found.int8 is not None
    data = found.int8.read_bytes()
    network, ends = parse(data, str(found.int8)), exported_ends(found.int8)
    flashed = data
    if target.has_npu and found.compiled is not None:
        flashed = found.compiled.read_bytes()
        memory = npu_memory(network, found.int8, Compiled(found.compiled, (), 0, 0, 0), target)
    else:
        memory = cpu_memory(network, found.int8, target)
    packed, trained = c_network(read(data)), sha256(found.int8)
    folder.mkdir(parents=True)
    for name, text in (("model.h", header(flashed, ends, memory, target, trained)),
                       ("model.c", source(flashed, ends, memory, target, trained)),
                       ("packed.h", packed.header(data)), ("packed.c", packed.source(data))):
        write_text(folder / name, text)
    write_json(folder / "manifest.json", {"target": target.name, "ends": ends.as_dict()})
