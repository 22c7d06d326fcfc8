"""What there is to do: every point of a sweep as a job, with a folder that another recipe never shares."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tinyse.core.artifacts import sha256, versions
from tinyse.core.errors import ModelError
from tinyse.export.targets import load_target
from tinyse.firmware.build import COMPILER
from tinyse.firmware.qemu import PROGRAM
from tinyse.graph.groups import Structure
from tinyse.graph.model import Model
from tinyse.studies.sweep.identity import decides, dense_recipe, digest
from tinyse.studies.sweep.spec import OfflineSpec, PointSpec, Scoring, SweepSpec
from tinyse.train.dense import dense_file, dense_model
from tinyse.train.recipe import Recipe


class Kind(StrEnum):
    """Where a point's int8 file comes from."""

    DENSE = "dense"
    TRAINED = "trained"
    OFFLINE = "offline"


@dataclass(frozen=True)
class Job:
    """Everything that the process of one point needs to know.

    Attributes:
        key: hash of whatever decides the result; a point with this key is done.
        folder: the point's run folder.
        name, seed, kind, family, structure, sparsity: for the table; ``sparsity`` is what was asked for.
        recipe: what to train, as plain values; None where nothing is trained.
        network: text of the recipe's family where that is a file of the user's own, else empty.
        source: the model that an untrained point is exported from; for offline points the dense int8 file.
        floating: the dense float model, scored by the dense job only.
        block: of offline points.
        corpus, target, devices, scoring: as in the sweep, resolved.
    """

    key: str
    folder: str
    name: str
    seed: int
    kind: Kind
    family: str
    structure: str
    sparsity: float
    recipe: dict[str, Any] | None
    network: str
    source: str
    floating: str
    block: tuple[int, int]
    corpus: str
    target: str
    devices: tuple[str, ...]
    scoring: Scoring

    @property
    def label(self) -> str:
        """Name and seed: what tables and progress call the point."""
        return f"{self.name}.s{self.seed}" if self.kind is Kind.TRAINED else self.name

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Job:
        """What ``to_json`` gave."""
        score: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values["scoring"].items()}
        return Job(**{**values, "kind": Kind(values["kind"]), "block": tuple(values["block"]),
                      "devices": tuple(values["devices"]), "scoring": Scoring(**score)})


@dataclass(frozen=True)
class Common:
    """What all jobs of a sweep share."""

    out: Path
    corpus: Path
    corpus_hash: str
    target: str
    devices: tuple[str, ...]
    scoring: Scoring

    def job(self, name: str, seed: int, kind: Kind, family: str, structure: str, sparsity: float, makes: Any,
            recipe: Recipe | None = None, source: str = "", floating: str = "", block: tuple[int, int] = (1, 1)) -> Job:
        """A job whose folder depends on ``makes``, what its model is made of, and its key on all the rest too."""
        judged = {"target": sha256(load_target(self.target).path), "corpus": self.corpus_hash,
                  "devices": [sha256(load_target(each).path) for each in self.devices],
                  "scoring": self.scoring.to_json(), "emulator": can_emulate(), "versions": versions()}
        own = recipe.own_family if recipe else None
        network = own.read_bytes().decode(errors="surrogateescape") if own else ""
        label = f"{name}.s{seed}" if kind is Kind.TRAINED else name
        folder = self.out / "points" / f"{label}-{digest(makes)[:8]}"
        return Job(digest([makes, judged]), str(folder), name, seed, kind, family, structure, sparsity,
                   recipe.as_dict() if recipe else None, network, source, floating, block, str(self.corpus),
                   self.target, self.devices, self.scoring)


def can_emulate() -> bool:
    """Whether firmware can be built and run under QEMU here."""
    return all(shutil.which(name) for name in (PROGRAM, COMPILER, "make"))


def dense_job(spec: SweepSpec, common: Common) -> Job:
    """The dense baseline: the given run or int8 file, or the sweep's recipe trained without pruning.

    Raises:
        ModelError: there is no model, or one of another family.
    """
    if spec.start is None:
        recipe = dense_recipe(spec.recipe)
        makes = {"recipe": decides(recipe), "corpus": common.corpus_hash}
        made = common.job("dense", recipe.seed, Kind.DENSE, "dense", "", 0.0, makes, recipe)
        return dataclasses.replace(made, floating=str(Path(made.folder) / "float.npz"))
    given = Path(spec.start)
    floating = dense_file(given, "from")
    of, wanted = dense_model(floating, "from").family, Path(spec.recipe.family).stem
    if of != wanted:
        raise ModelError(f"from: {spec.start}: is of family {of}, and the sweep's recipe of {wanted}",
                         f"a dense model of family {wanted}")
    if floating.suffix == ".tflite":
        made = common.job("dense", 0, Kind.DENSE, "dense", "", 0.0, {"int8": sha256(floating)}, None, str(floating))
        return dataclasses.replace(made, floating=str(Path(made.folder) / "float.npz"))
    source = dense_source(given)
    makes = {"float": sha256(floating), "source": sha256(source)}
    return common.job("dense", 0, Kind.DENSE, "dense", "", 0.0, makes, None, str(source), str(floating))


def dense_source(given: Path) -> Path:
    """The model that the dense int8 file is made of: the run's own quantized one unless it is pruned.

    Raises:
        ModelError: a damaged model.
    """
    trained = given / "model.npz"
    if given.is_dir() and trained.is_file() and not Model.load(trained).meta.get("sparsity"):
        return trained
    return given / "float.npz" if given.is_dir() else given


def trained_job(point: PointSpec, seed: int, start: str, dense: Job, common: Common) -> Job:
    """One recipe with one seed; ``start`` names the dense model as the recipe will, its weights are ``dense``'s."""
    recipe = dataclasses.replace(point.recipe, seed=seed, name=point.name,
                       train=dataclasses.replace(point.recipe.train, start=start))
    makes = {"recipe": decides(recipe), "corpus": common.corpus_hash, "start": sha256(dense.floating)}
    prune = recipe.prune
    pruned = prune.method != "none"
    return common.job(point.name, seed, Kind.TRAINED, point.family, prune.structure if pruned else "",
                      prune.sparsity if pruned else 0.0, makes, recipe)


def offline_job(point: OfflineSpec, int8: Path, common: Common) -> Job:
    """One offline baseline of the dense int8 file."""
    makes = {"int8": sha256(int8), "structure": point.structure, "sparsity": point.sparsity, "block": point.block}
    if point.structure == Structure.UNIT:
        makes["units"] = "removed"
    return common.job(point.name, 0, Kind.OFFLINE, f"{point.structure}, offline", point.structure, point.sparsity,
                      makes, None, str(int8), block=point.block)
