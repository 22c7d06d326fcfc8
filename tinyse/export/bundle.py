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

from tinyse.core.artifacts import sha256 as hash_of
from tinyse.core.errors import ModelError, RecipeError
from tinyse.export.flatfile import unpack
from tinyse.export.ports import counted, paired, port, read_ports
from tinyse.export.reader import read
from tinyse.graph.plan import Always, Plan, Ports, Skip, policy_json, policy_of
from tinyse.npu.payload import parse as parse_payload
from tinyse.sound import DEFAULT, Ends

INT8, COMPILED, MANIFEST = "model_int8.tflite", "model_vela.tflite", "manifest.json"
SCHEMA = 1
"""Of manifest.json, as ``write_manifest`` writes it."""
MOST_PARTS = 32
"""The C library tells by the bits of a word which parts ran."""


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

    @property
    def gate(self) -> tuple[str, int] | None:
        """Where a Skip RNN's p~ is: output and index; None where there is none."""
        policy = self.plan.policy
        return (policy.tensor, policy.at) if isinstance(policy, Skip) else None

    def graph_plan(self) -> Plan:
        """The plan with int8 parts read as graphs.

        Raises:
            ModelError: an operator, type or tensor that a Graph cannot hold, in one line; or a compiled file.
        """
        graphs = tuple(read(data, str(file)) for data, file in zip(self.data, self.files, strict=True))
        return Plan(graphs, self.plan.results, self.plan.policy)


def part_file(name: str, part: int, parts: int) -> str:
    """The file of a part: the name itself where there is one, else "part_1_model_int8.tflite"."""
    return name if parts == 1 else f"part_{part}_{name}"


def part_files(folder: Path, name: str) -> tuple[Path, ...]:
    """Files of an export's folder, one a part: INT8, or COMPILED, of which there are none for a processor."""
    parts = _count(manifest_of(folder).get("plan"), folder)
    found = tuple(folder / part_file(name, part, parts) for part in range(parts))
    return found if all(path.is_file() for path in found) else ()


def lost_part(folder: Path, name: str) -> Path | None:
    """A file of one part that is missing where files of others are there."""
    parts = _count(manifest_of(folder).get("plan"), folder)
    files = [folder / part_file(name, part, parts) for part in range(parts)]
    lost = [file for file in files if not file.is_file()]
    return lost[0] if 0 < len(lost) < parts else None


def plan_json(plan: Plan) -> dict[str, Any]:
    """What manifest.json says of a plan."""
    return {"parts": len(plan.parts), "results": list(plan.results), "policy": policy_json(plan.policy)}


def model_of(folder: Path, name: str = INT8) -> Path | None:
    """What engines take for an export: its file, or the folder where it has several parts; None where it has none."""
    if (folder / name).is_file():
        return folder / name
    return folder if part_files(folder, name) else None


def model_sha256(model: Path) -> str:
    """Hash of a model's file; of a folder of several parts, of the hashes of its int8 files."""
    if not model.is_dir():
        return hash_of(model)
    return sha256(" ".join(hash_of(file) for file in part_files(model, INT8)).encode()).hexdigest()


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
    parts = _count(described, folder)
    files = [folder / part_file(name, part, parts) for part in range(parts)]
    if not path.is_dir() and path not in files:  # one part of several, or a file that the manifest does not know
        files, listed = [path], {}
    data = tuple(exported(file, manifest) for file in files)
    ends = _ends(manifest, folder)
    ends_of = compiled_ports if compiled else read_ports
    ports = tuple(ends_of(each, str(file)) for each, file in zip(data, files, strict=True))
    try:
        plan = _plan(ports, listed, ends)
    except (KeyError, TypeError, ValueError, ModelError) as error:
        if not listed:
            raise
        raise ModelError(f"{folder / MANIFEST}: plan: {error}", "export the model again") from error
    return Bundle(tuple(files), data, plan, ends)


def lone(data: bytes, name: str, ends: Ends) -> Bundle:
    """A file's bytes as a bundle of one part."""
    return Bundle((Path(name),), (data,), _plan((read_ports(data, name),), {}, ends), ends)


def _plan(ports: tuple[Ports, ...], listed: Mapping[str, Any], ends: Ends) -> Plan:
    if listed:
        return Plan(ports, tuple(listed["results"]), policy_of(listed["policy"]))
    result = ports[0].outputs[0]
    skips = result.size == ends.outputs + 1
    return Plan(ports, (result.name,), Skip(result.name, ends.outputs) if skips else Always())


def _count(described: object, folder: Path) -> int:
    parts = described.get("parts", 1) if isinstance(described, Mapping) else 1
    if not isinstance(parts, int) or not 1 <= parts <= MOST_PARTS:
        raise ModelError(f"{folder / MANIFEST}: plan: {parts!r} parts", "export the model again")
    return parts


def compiled_ports(data: bytes, name: str = "model") -> Ports:
    """The ends of a file that Vela compiled."""
    payload = parse_payload(data, name)
    inputs, outputs = ([port(info.name, info.dtype.name, info.shape, [info.scale], info.zero_point, name)
                        for info in ends] for ends in (payload.inputs, payload.outputs))
    return paired(name, inputs, outputs, counted(unpack(data, name)))


def manifest_of(folder: Path, needed: bool = False) -> dict[str, Any]:
    """The manifest of an export, a run or a release; empty where there is none and it is not ``needed``.

    Raises:
        ModelError: it is needed and missing, damaged, or of another schema.
    """
    path = folder / MANIFEST
    if not path.is_file() and not needed:
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}", "finish the run, or export it again") from error
    except ValueError as error:
        raise ModelError(f"{path}: is no manifest: {error}", "export the model again") from error
    if not isinstance(value, dict) or not isinstance(value.get("sha256", {}), dict):
        raise ModelError(f"{path}: is no manifest", "export the model again")
    if (written := value.get("schema", SCHEMA)) != SCHEMA:
        raise ModelError(f"{path}: schema {written!r}, this tinyse reads {SCHEMA}", "update tinyse, or export it again")
    return value


def exported(file: Path, manifest: Mapping[str, Any]) -> bytes:
    """A file of a folder, as its manifest hashed it.

    Raises:
        ModelError: it cannot be read, or was changed since.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        hint = (f"tinyse export --target ethos-u55-128 writes {COMPILED}" if file.name.endswith(COMPILED)
                else f"give an export's folder, or its {INT8}")
        raise ModelError(f"{file}: {error.strerror}", hint) from error
    promised = manifest.get("sha256", {}).get(file.name)
    if promised and promised != sha256(data).hexdigest():
        raise ModelError(f"{file}: differs from what manifest.json hashed", "export the model again")
    return data


def exported_ends(file: Path) -> Ends:
    """The ends that the manifest beside an exported file names; TinyLSTMs' where there is none.

    Raises:
        ModelError: the manifest is damaged.
    """
    return _ends(manifest_of(file.parent), file.parent)


def _ends(manifest: Mapping[str, Any], folder: Path) -> Ends:
    values = manifest.get("ends", manifest.get("frontend"))
    try:
        return DEFAULT if values is None else Ends.read(values)
    except RecipeError as error:
        raise ModelError(f"{folder / MANIFEST}: {error}", "export again") from error
