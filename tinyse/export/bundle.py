"""Bundle: what an exported folder, or a lone .tflite file, holds: parts, plan and ends.

::

    bundle = open_bundle("runs/mine/export")            # int8 files; compiled=True for Vela's
    bundle.plan, bundle.ends, bundle.files

``manifest.json`` says which files are the parts, by which policy they run, and between which ends. A lone file is one
part that runs on every frame, and so is a folder of before there were plans; there, one output more than the ends
take is a Skip RNN's p~.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tinyse.core.errors import ModelError, RecipeError
from tinyse.export.ports import paired, port, read_ports
from tinyse.graph.plan import Always, Part, Plan, Ports, Skip, policy_json, policy_of
from tinyse.npu.payload import Payload
from tinyse.npu.payload import parse as parse_payload
from tinyse.sound import DEFAULT, Ends

INT8, COMPILED, MANIFEST = "model_int8.tflite", "model_vela.tflite", "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """Parts on disk.

    Attributes:
        files: one a part. data: their bytes. plan: by what they run; its parts know their ends alone.
        ends: what makes the features and takes the result.
    """

    files: tuple[Path, ...]
    data: tuple[bytes, ...]
    plan: Plan
    ends: Ends

    @property
    def label(self) -> str:
        """What messages call it."""
        return str(self.files[0]) if len(self.files) == 1 else str(self.files[0].parent)


def part_file(name: str, part: int, parts: int) -> str:
    """The file of a part: the name itself where there is one, else "part_1_model_int8.tflite"."""
    return name if parts == 1 else f"part_{part}_{name}"


def plan_json(plan: Plan) -> dict[str, Any]:
    """What manifest.json says of a plan."""
    return {"parts": len(plan.parts), "results": list(plan.results), "policy": policy_json(plan.policy)}


def open_bundle(path: Path | str, compiled: bool = False) -> Bundle:
    """Read an export's folder, one of its files, or a lone file.

    Args:
        compiled: Vela's files in place of the int8 ones.

    Raises:
        ModelError: a file is missing, damaged or not what the manifest hashed, or the plan does not fit.
    """
    path = Path(path)
    folder, name = (path, COMPILED if compiled else INT8) if path.is_dir() else (path.parent, path.name)
    manifest = manifest_of(folder)
    described = manifest.get("plan")
    listed = described if isinstance(described, Mapping) else {}
    parts = int(listed.get("parts", 1))
    files = [folder / part_file(name, part, parts) for part in range(parts)]
    if not path.is_dir() and path not in files:  # one part of several, or a file that the manifest does not know
        files, listed = [path], {}
    data = tuple(_read(file, manifest) for file in files)
    ends = _ends(manifest, folder)
    read = compiled_ports if compiled else read_ports
    ports = tuple(read(each, str(file)) for each, file in zip(data, files, strict=True))
    try:
        plan = _plan(ports, listed, ends)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / MANIFEST}: plan: {error}", "export the model again") from error
    return Bundle(tuple(files), data, plan, ends)


def lone(data: bytes, name: str, ends: Ends) -> Bundle:
    """A file's bytes as a bundle of one part."""
    return Bundle((Path(name),), (data,), _plan((read_ports(data, name),), {}, ends), ends)


def _plan(ports: tuple[Ports, ...], listed: Mapping[str, Any], ends: Ends) -> Plan:
    if listed:
        return Plan(ports, tuple(listed["results"]), policy_of(listed["policy"]))
    gate = exported_gate(ports[0], ends)
    return Plan(ports, (ports[0].outputs[0].name,), Skip(*gate) if gate else Always())


def compiled_ports(data: bytes, name: str = "model") -> Ports:
    """The ends of a file that Vela compiled."""
    return payload_ports(parse_payload(data), name)


def payload_ports(payload: Payload, name: str) -> Ports:
    """The ends of a compiled network that has been taken apart."""
    inputs, outputs = ([port(info.name, info.dtype.name, info.shape, [info.scale], info.zero_point, name)
                        for info in ends] for ends in (payload.inputs, payload.outputs))
    return paired(name, inputs, outputs)


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of a folder; empty where there is none."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}", "export the model again") from error
    return value if isinstance(value, dict) else {}


def _read(file: Path, manifest: Mapping[str, Any]) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}", "give an export's folder, or its model_int8.tflite") from error
    hashes = manifest.get("sha256")
    promised = hashes.get(file.name) if isinstance(hashes, Mapping) else None
    if promised and promised != sha256(data).hexdigest():
        raise ModelError(f"{file}: differs from what manifest.json hashed", "export the model again")
    return data


def exported_ends(file: Path) -> Ends:
    """The ends that the manifest beside an exported file names; TinyLSTMs' where there is none.

    Raises:
        ModelError: the manifest is damaged.
    """
    return _ends(manifest_of(file.parent), file.parent)


def exported_gate(graph: Part, ends: Ends) -> tuple[str, int] | None:
    """Where a Skip RNN's p~ is, output and index, in a file of before there were plans; None for none."""
    result = graph.outputs[0]
    return (result.name, ends.outputs) if result.size == ends.outputs + 1 else None


def _ends(manifest: Mapping[str, Any], folder: Path) -> Ends:
    values = manifest.get("ends", manifest.get("frontend"))
    try:
        return DEFAULT if values is None else Ends.read(values)
    except RecipeError as error:
        raise ModelError(f"{folder / MANIFEST}: {error}", "export again") from error
