"""Model: what training hands to export, engines and reports, independent of any framework.

A Net, its weights, the learnt ranges and the front end, in one ``.npz`` with fixed time stamps, so that the same model
gives the same bytes. Format 2; format 1, which could only be a TinyLSTM, is read.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.artifacts import atomic_path
from tinyse.core.errors import ModelError, TinyseError
from tinyse.graph.build import Build
from tinyse.graph.layers import Array, DenseLayer
from tinyse.graph.lowering import lower
from tinyse.graph.net import Net
from tinyse.graph.plan import Plan, Skip
from tinyse.sound.ends import Ends

Real = NDArray[np.float32]
Ranges = Mapping[str, tuple[float, float]]
FORMAT = 2


@dataclass(frozen=True)
class Model:
    """A trained network.

    Attributes:
        net: what it is. arrays: float32 by "node/array", as ``net.arrays`` says. ends: the sound that its frames are
            of. ranges: (low, high) by ``net.ranges``; None for a float model. meta: what training noted.
        family: name of the family it came from, for reports.
    """

    net: Net
    arrays: Mapping[str, Real]
    ends: Ends
    ranges: Ranges | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    family: str = "tinylstm"

    def __post_init__(self) -> None:
        for name, array in self.net.arrays.items():
            found = self.arrays.get(name)
            if found is None or tuple(found.shape) != array.shape:
                shape = "missing" if found is None else list(found.shape)
                raise ModelError(f"{name}: {shape}, expected {list(array.shape)}")

    @property
    def parameters(self) -> int:
        """Count of weights and biases."""
        return self.net.parameters

    @property
    def macs_per_frame(self) -> int:
        """Multiply-accumulates of a frame that runs everything."""
        return self.net.macs()

    @property
    def matrices(self) -> dict[str, Array]:
        """Arrays whose zeros count and that are clustered, by "node/array"."""
        return {name: array for name, array in self.net.arrays.items() if array.matrix}

    def plan(self, ranges: Ranges | None = None) -> Plan:
        """The integer graphs that run; by ``ranges`` where the model has none.

        Raises:
            ExportError: there are no ranges, or one makes no grid.
        """
        return lower(self.net, self.arrays, (ranges if self.ranges is None else self.ranges) or {})

    def save(self, path: Path | str) -> None:
        """Write one .npz, whole or not at all, byte-identical for equal models."""
        header = {
            "format": f"tinyse-model-{FORMAT}", "family": self.family, "net": self.net.to_json(),
            "ranges": {k: list(v) for k, v in sorted(self.ranges.items())} if self.ranges is not None else None,
            "ends": self.ends.as_dict(), "meta": dict(self.meta),
        }
        with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo("header.json"), json.dumps(header, sort_keys=True))
            for name in self.net.arrays:
                buffer = io.BytesIO()
                np.save(buffer, np.ascontiguousarray(self.arrays[name], np.float32), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue())

    @staticmethod
    def load(path: Path | str) -> Model:
        """Read what ``save`` wrote, now or in format 1.

        Raises:
            ModelError: the file is missing, not a tinyse model, damaged, of a newer format, or holds weights that are
                not finite.
        """
        path = Path(path)
        if not path.is_file():
            raise ModelError(f"{path}: no such model file", "give a run folder's model.npz or float.npz")
        try:
            with zipfile.ZipFile(path) as archive:
                header = json.loads(archive.read("header.json"))
                net = _net(archive, header)
                arrays = {name: np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
                          for name in net.arrays}
                if broken := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
                    raise ModelError(f"{broken[0]} holds weights that are not finite", "train it again")
                ranges = header["ranges"]
                return Model(net, arrays, Ends.read(header["ends"] if "ends" in header else header["frontend"]),
                             None if ranges is None else {k: (v[0], v[1]) for k, v in ranges.items()},
                             header["meta"], header.get("family", "tinylstm"))
        except TinyseError as error:
            raise ModelError(f"{path}: {error}", error.hint) from error
        except (zipfile.BadZipFile, KeyError, ValueError, TypeError, json.JSONDecodeError, EOFError) as error:
            raise ModelError(f"{path}: not a tinyse model, or damaged: {error}", "train it again") from error


def _net(archive: zipfile.ZipFile, header: Mapping[str, Any]) -> Net:
    version = int(str(header["format"]).removeprefix("tinyse-model-"))
    if version > FORMAT:
        raise ModelError(f"written in format {version}, this tinyse reads up to {FORMAT}", "update tinyse")
    if version == FORMAT:
        return Net.of_json(header["net"])
    kernels = {layer["name"]: np.load(io.BytesIO(archive.read(f"{layer['name']}/kernel.npy")), allow_pickle=False)
               for layer in header["layers"]}
    widths = {kind: tuple(kernels[layer["name"]].shape[1] // gates for layer in header["layers"]
                          if layer["kind"] == kind) for kind, gates in (("lstm", 4), ("dense", 1))}
    return tinylstm(kernels[header["layers"][0]["name"]].shape[0], widths["lstm"], widths["dense"][:-1],
                    widths["dense"][-1])


def tinylstm(bands: int, lstm: tuple[int, ...], dense: tuple[int, ...], outputs: int) -> Net:
    """TinyLSTMs' network: LSTMs, ReLU layers, a sigmoid layer; one output more than bands is a Skip RNN's p~."""
    build = Build((1, 1, bands), flat=True)
    x = build.x
    for units in lstm:
        x = build.lstm(x, units)
    for number, units in enumerate((*dense, outputs)):
        activation = "sigmoid" if number == len(dense) else "relu"
        x = build.add(DenseLayer(units, activation, matmul=True), x)
    return build.done(Skip("mask", bands) if outputs > bands else None, mask=x)
