"""A tinyse model behind the peers' interface: float weights under Keras, int8 files under TFLM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyse.bench.peer import Framed, Real, Size
from tinyse.core.errors import ModelError
from tinyse.engines import Engine, load_engine
from tinyse.export.bundle import INT8, Bundle, manifest_of, model_of, model_sha256, open_bundle
from tinyse.measure.scores.systems import System
from tinyse.sound import StreamingEnhancer


class Model(Framed):
    """A model on one of tinyse's engines between its own front and back end."""

    def __init__(self, engine: Engine) -> None:
        """Take over ``engine``."""
        ends = engine.ends
        self.rate, self.hop, self.delay = ends.framing.rate, ends.framing.hop, ends.delay
        self.engine = engine
        self._enhancer = StreamingEnhancer(engine, ends)

    @staticmethod
    def load(system: System) -> Model:
        """The model of a path; ModelError where it is none for that engine."""
        return Model(load_engine(system.path, system.engine))

    def reset(self) -> None:
        """Return to the state before the first frame."""
        self._enhancer.reset()

    def push(self, frame: Real) -> Real:
        """Advance one hop: float32 [hop] to float32 [hop]."""
        return self._enhancer.push(frame)


def released(models: Path, runs: Path) -> tuple[list[System], dict[str, str]]:
    """Every model of ``models`` as int8, and the dense ones' float weights where their runs are there.

    Returns:
        Systems in the order of their names, and why a float model is missing, by label.

    Raises:
        ModelError: the folder is missing or holds no model.
    """
    folders = released_folders(models)
    systems: list[System] = []
    missing: dict[str, str] = {}
    floats = {model_sha256(path): path for path in sorted(runs.glob("*/float.npz"))}
    for folder in folders:
        systems.append(System(f"{folder.name} int8", "tflm", model_of(folder) or folder))
        label = f"{folder.name} float"
        try:
            manifest, by_recipe = manifest_of(folder), _by_recipe(folder, runs)
        except ModelError as error:
            missing[label] = error.line()
            continue
        if manifest.get("start"):
            continue  # its float weights are those of the model it started from
        wanted = manifest.get("float")
        named = next((path for path in (runs / folder.name / "float.npz", *by_recipe) if path.is_file()), None)
        if (path := floats.get(str(wanted)) or (named if not wanted else None)) is not None:
            systems.append(System(label, "keras", path))
        else:
            missing[label] = f"no float weights under {runs}: make model-run NAME={folder.name}"
    return systems, missing


def released_folders(models: Path) -> list[Path]:
    """Folders of released enhancers, by name.

    Raises:
        ModelError: the folder is missing or holds no model.
    """
    hint = "--models names a folder of released models"
    if not models.is_dir():
        raise ModelError(f"{models}: no such folder", hint)
    folders = sorted(folder for folder in models.iterdir()
                     if folder.is_dir() and model_of(folder) and not _scores(folder))
    if not folders:
        raise ModelError(f"{models}: holds no */{INT8}", hint)
    return folders


def _scores(folder: Path) -> bool:
    """Whether a model gives scores, and so enhances nothing; a damaged manifest is reported where it is read."""
    try:
        ends = manifest_of(folder).get("ends", {})
    except ModelError:
        return False
    return isinstance(ends, dict) and ends.get("result", {}).get("kind") in ("score", "voice")


def model_size(system: System, update_rate: float | None = None) -> Size:
    """Counted in the model's own file.

    An int8 model's bytes are those of Vela's weight stream where its profile.json is beside it, else one a weight.

    Args:
        system: the model.
        update_rate: share of the frames on which a Skip RNN runs, measured; 1 where None.
    """
    share = 1.0 if update_rate is None else update_rate
    if system.engine == "keras":
        from tinyse.graph.model import Model as Trained

        model = Trained.load(system.path)
        per_second = model.ends.frames_per_second
        return Size(model.parameters, 4 * model.parameters, model.macs_per_frame * per_second * share,
                    "exact: the layers, four bytes a parameter")
    bundle = open_bundle(system.path)
    parameters, weights, macs = (sum(getattr(graph, key) for graph in bundle.graph_plan().graphs)
                                 for key in ("parameters", "weights", "macs"))
    encoded = _encoded(system.folder, bundle)
    kind = "Vela-encoded weights" if encoded else "one byte a weight"
    skips = "" if update_rate is None else f", on the {update_rate:.1%} of frames that run (measured)"
    return Size(parameters, encoded or weights, macs * bundle.ends.frames_per_second * share,
                f"exact: the .tflite; {kind}; zeros counted in{skips}")


def _encoded(folder: Path, bundle: Bundle) -> int | None:
    """Bytes of Vela's weight stream from the profile beside a model, if it is this model's."""
    profile = _json(folder / "profile.json")
    if any(profile.get("sha256", {}).get(file.name) != model_sha256(file) for file in bundle.files):
        return None
    found: int | None = profile.get("sizes", {}).get("encoded")
    return found


def _by_recipe(folder: Path, runs: Path) -> list[Path]:
    import yaml

    recipe = folder / "recipe.yaml"
    if not recipe.is_file():
        return []
    try:
        name = (yaml.safe_load(recipe.read_text(encoding="utf-8")) or {}).get("name", "")
    except (yaml.YAMLError, ValueError, AttributeError) as error:
        raise ModelError(f"{recipe}: is no recipe: {error}") from error
    return [runs / str(name) / "float.npz"]


def _json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ModelError(f"{path}: is no JSON: {error}", "release the model again") from error
    return value if isinstance(value, dict) else {}
