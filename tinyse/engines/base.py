"""What every engine offers, and how one is found from a path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np

from tinyse.errors import ModelError, RecipeError
from tinyse.skip import FULL, SkipGate
from tinyse.sound import DEFAULT, Ends, Real

KINDS = ("keras", "tflm", "npu")
"""keras: the trained network in float or quantization-aware form; tflm: the int8 file under TensorFlow Lite
Micro's own interpreter; npu: the Vela-compiled file on the simulator."""

CANDIDATES = {
    "keras": ("model.npz", "float.npz"),
    "tflm": ("model_int8.tflite", "export/model_int8.tflite"),
    "npu": ("model_vela.tflite", "export/model_vela.tflite"),
}
"""File names searched in a run or export folder, in this order, by engine."""


class Engine(Protocol):
    """A streaming network: one call a frame, state inside.

    Attributes:
        name: one of ``KINDS``.
        bands: width of feature and mask.
    """

    name: str
    bands: int

    def reset(self) -> None:
        """Return to the state before the first frame."""

    def mask(self, feature: Real) -> Real:
        """Advance one frame: feature float32 [bands], >= 0, to mask float32 [bands], 0..1."""


class Masking:
    """``mask`` for an engine that can run one frame; where the network is a Skip RNN, its gate says which frames do.

    Attributes:
        bands: width of feature and mask.
        gate: the Skip RNN's; None where every frame runs.
    """

    bands: int
    gate: SkipGate | None = None

    def set_outputs(self, outputs: int, label: str) -> None:
        """Take the width of the network's last layer: ``bands``, or one more, which is p~.

        Raises:
            ModelError: another width.
        """
        if outputs not in (self.bands, self.bands + 1):
            raise ModelError(f"{label}: {self.bands} bands to {outputs} outputs is not one frame to one mask",
                             "export a streaming model, one frame an invocation")
        self.outputs = outputs
        self.gate = SkipGate() if outputs > self.bands else None
        self._held: Real = np.zeros(self.bands, np.float32)

    def infer(self, feature: Real) -> Real:
        """Run the network on one frame: float32 [bands] to float32 [outputs], 0..1."""
        raise NotImplementedError

    def mask(self, feature: Real) -> Real:
        """Advance one frame: float32 [bands] to float32 [bands], 0..1; a skipped frame keeps states and mask."""
        if self.gate is None:
            return self.infer(feature)
        if self.gate.due():
            result = self.infer(feature)
            self._held = result[:-1]
            self.gate.ran(round(float(result[-1]) * FULL))
        else:
            self.gate.skipped()
        return self._held

    @property
    def update_rate(self) -> float | None:
        """Share of the frames since ``reset`` that ran the network; None where all do."""
        return None if self.gate is None else self.gate.rate


def update_rate(engine: Engine) -> float | None:
    """``Masking.update_rate`` of any engine; None where it has no gate."""
    rate: float | None = getattr(engine, "update_rate", None)
    return rate


def load_engine(path: Path | str, kind: str | None = None) -> Engine:
    """Load the model at ``path`` into an engine.

    Args:
        path: a model file, a run folder or an export folder.
        kind: one of ``KINDS``; None chooses from the file: .npz keras, compiled .tflite npu, else tflm.

    Raises:
        ModelError: nothing suitable at ``path``, a damaged file, or an unknown kind.
    """
    kind, file = find_model(path, kind)
    if kind == "keras":
        from tinyse.engines.keras import KerasEngine

        return KerasEngine.load(file)
    if kind == "npu":
        from tinyse.engines.npu import NpuEngine

        engine: Engine = NpuEngine.load(file)
        return engine
    from tinyse.engines.tflm import TflmEngine

    return TflmEngine.load(file)


def find_model(path: Path | str, kind: str | None = None) -> tuple[str, Path]:
    """Resolve ``path`` to (engine kind, model file).

    A folder is searched for ``CANDIDATES``; with no kind given, tflm comes before keras and npu, because
    the int8 file is what the device runs.

    Raises:
        ModelError: see ``load_engine``.
    """
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise ModelError(f"no engine named {kind}", f"engines are {', '.join(KINDS)}")
    if path.is_dir():
        for candidate in (kind,) if kind else ("tflm", "keras", "npu"):
            for name in CANDIDATES[candidate]:
                if (path / name).is_file():
                    return candidate, path / name
        wanted = CANDIDATES[kind] if kind else ("model_int8.tflite", "model.npz")
        raise ModelError(f"{path}: no {' or '.join(wanted)} in this folder",
                         "give a run folder of `tinyse train` or an export folder of `tinyse export`")
    if not path.is_file():
        raise ModelError(f"{path}: no such model", "give a run folder, an export folder, a .npz or a .tflite")
    found = _kind_of(path)
    kind = kind or found
    if (kind == "keras") != (found == "keras"):
        suited = "a .npz model" if kind == "keras" else "a .tflite file"
        raise ModelError(f"{path}: the {kind} engine needs {suited}", f"drop --engine, or use {found}")
    if kind != found:
        state = "compiled by Vela" if found == "npu" else "not compiled by Vela"
        raise ModelError(f"{path}: is {state}; the {kind} engine cannot run it", f"use the {found} engine")
    return kind, path


def _kind_of(file: Path) -> str:
    if file.suffix == ".npz":
        return "keras"
    # Vela leaves one custom operator of this name; no other tool writes it.
    return "npu" if b"ethos-u\0" in file.read_bytes() else "tflm"


def ends_of(engine: Engine) -> Ends:
    """The ends an engine's model was trained with; TinyLSTMs' where the engine does not know.

    Raises:
        ModelError: the model's width is not the ends'.
    """
    ends: Ends = getattr(engine, "ends", DEFAULT)
    if engine.bands != ends.inputs:
        raise ModelError(f"{engine.name}: the model has {engine.bands} bands, its front end {ends.inputs}",
                         "export it again, so that the manifest names its front end")
    return ends


def manifest_of(file: Path) -> dict[str, object]:
    """The manifest beside an exported file; empty where there is none."""
    path = file.parent / "manifest.json"
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}", "export the model again") from error
    return value if isinstance(value, dict) else {}


def exported_ends(file: Path, data: bytes) -> Ends:
    """The ends that the manifest beside an exported file names; TinyLSTMs' where there is none.

    Args:
        file: the .tflite file.
        data: its bytes, checked against the manifest's hash.

    Raises:
        ModelError: the manifest is damaged, or ``data`` is not what it hashed.
    """
    manifest = manifest_of(file)
    hashes = manifest.get("sha256")
    promised = hashes.get(file.name) if isinstance(hashes, Mapping) else None
    if promised and promised != sha256(data).hexdigest():
        raise ModelError(f"{file}: differs from what manifest.json hashed", "export the model again")
    values = manifest.get("ends", manifest.get("frontend"))
    try:
        return DEFAULT if values is None else Ends.read(values)
    except RecipeError as error:
        raise ModelError(f"{file.parent}/manifest.json: {error}", "export again") from error
