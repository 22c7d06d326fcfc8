"""What a sweep is, as YAML read strictly: every error names the file, the key, the value and what is accepted."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyse.core.errors import RecipeError
from tinyse.core.sections import read_yaml
from tinyse.export.targets import load_target
from tinyse.export.targets.parsing import Section
from tinyse.graph.groups import DEFAULT_BLOCK, Structure
from tinyse.studies.sweep.identity import family as family_of
from tinyse.train.recipe import BUILT_IN as RECIPES
from tinyse.train.recipe import CorpusPart, Recipe, load_recipe

BUILT_IN = RECIPES / "sweeps"
MOST = 500
"""Most points of a sweep; more is a mistake in the axes."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
KEYS = ("name", "recipe", "from", "target", "corpus", "devices", "seeds", "set", "axes", "points", "offline", "score")
METRICS = ("si_sdr", "sdr", "pesq", "stoi", "dnsmos")
SNRS = (-6.0, -3.0, 0.0, 3.0, 6.0, 9.0)


@dataclass(frozen=True)
class Scoring:
    """What every point is scored on; test mixtures are those of released models.

    Attributes:
        count: test mixtures per SNR. validation: validation mixtures per SNR, which alone choose models.
        seed: of both. seconds: of a mixture.
        snrs: dB. metrics: of the test split; always holds "sdr".
    """

    count: int = 20
    validation: int = 10
    seed: int = 2026
    seconds: float = 5.0
    snrs: tuple[float, ...] = SNRS
    metrics: tuple[str, ...] = ("si_sdr", "sdr", "pesq", "stoi")

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**dataclasses.asdict(self), "snrs": list(self.snrs), "metrics": list(self.metrics)}


@dataclass(frozen=True)
class PointSpec:
    """One configuration: its recipe but for the seed, and the seeds it is trained with."""

    name: str
    family: str
    recipe: Recipe
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class OfflineSpec:
    """One offline baseline: the dense int8 file pruned by magnitude."""

    name: str
    structure: Structure
    sparsity: float
    block: tuple[int, int]


@dataclass(frozen=True)
class SweepSpec:
    """A whole sweep.

    Attributes:
        file: where it was read from. name: of the sweep.
        recipe: what every point's recipe starts from; the dense model is trained with it where ``start`` is None.
        start: a dense run's folder or a float model; the recipe's own ``train.start`` where the file names none.
        target: exported for. corpus: folder; None: the recipe's.
        devices: targets without an NPU whose instructions are emulated.
    """

    file: Path
    name: str
    recipe: Recipe
    start: str | None
    target: str
    corpus: str | None
    devices: tuple[str, ...]
    points: tuple[PointSpec, ...]
    offline: tuple[OfflineSpec, ...]
    score: Scoring


class _Part(Section):
    manual = "see docs/sweep.md"

    def optional(self, key: str, default: Any) -> Any:
        return self.left.pop(key, default)

    def optional_text(self, key: str) -> str | None:
        if self.left.get(key) is None:
            return self.optional(key, None)
        return self.text(key)

    def name(self) -> str:
        value = self.text("name")
        if not NAME.fullmatch(value):
            self.fail("name", value, "letters, digits, '.', '_' and '-'")
        return value

    def items(self, key: str, value: Any, accepted: str) -> list[Any]:
        if not isinstance(value, list) or not value:
            self.fail(key, value, accepted)
        return value

    def whole_list(self, key: str, default: tuple[int, ...], low: int, high: int) -> tuple[int, ...]:
        if key not in self.left:
            return default
        accepted = f"a list of whole numbers from {low} to {high}"
        values = self.items(key, self.left.pop(key), accepted)
        if any(isinstance(v, bool) or not isinstance(v, int) or not low <= v <= high for v in values):
            self.fail(key, values, accepted)
        return tuple(values)

    def seeds(self, default: tuple[int, ...]) -> tuple[int, ...]:
        values = self.whole_list("seeds", default, 0, 2**31 - 1)
        if len(set(values)) < len(values):
            self.fail("seeds", list(values), "each seed once")
        return values

    def number_list(self, key: str, low: float, high: float, default: tuple[float, ...] = ()) -> tuple[float, ...]:
        if default and key not in self.left:
            return default
        value = self.take(key)
        accepted = f"a list of numbers from {low:g} to {high:g}"
        values = self.items(key, value if isinstance(value, list) else [value], accepted)
        if any(isinstance(v, bool) or not isinstance(v, int | float) or not low <= v <= high for v in values):
            self.fail(key, value, accepted)
        return tuple(float(v) for v in values)

    def changes(self, key: str) -> dict[str, Any]:
        value = self.optional(key, {})
        if not isinstance(value, Mapping):
            self.fail(key, value, "a mapping of section.key to a value")
        return {str(name): item for name, item in value.items()}


def load_sweep(source: str | Path, start: str | None = None) -> SweepSpec:
    """Read a sweep file, or a built-in one by name; ``start`` takes the place of its ``from``.

    Raises:
        RecipeError: no such file, an unknown key, a value that is not accepted, or a point whose recipe is not.
    """
    path, values = read_yaml(source, BUILT_IN, "sweep")
    return _sweep(path, values, start)


def _sweep(path: Path, values: object, start: str | None) -> SweepSpec:
    top = _Part(path, "", values)
    name = top.name()
    beside = path.parent / str(top.left.get("recipe"))
    recipe = top.text("recipe")
    source = str(beside) if beside.is_file() else recipe
    common = top.changes("set")
    base = _recipe(path, "set", source, common)
    seeds = top.seeds((base.seed,))
    points = [*_axes(top, source, common, seeds), *_named(top, source, common, seeds)]
    own = top.optional_text("from")
    _same_for_all(path, base, points)
    spec = SweepSpec(
        path, name, base, start or own or base.train.start,
        top.optional_text("target") or "ethos-u55-128", top.optional_text("corpus"),
        _devices(top), tuple(points), tuple(_offline(top)), _scoring(path, top.optional("score", {})))
    top.done(KEYS)
    load_target(spec.target)
    if not spec.points and not spec.offline:
        raise RecipeError(f"{path}: no points", "axes:, points: or offline: is expected")
    if len(spec.points) > MOST:
        raise RecipeError(f"{path}: axes: {len(spec.points)} points", f"at most {MOST} are expected")
    names = ["dense", *(point.name for point in spec.points), *(point.name for point in spec.offline)]
    twice = [each for each in names if names.count(each) > 1]
    if twice:
        raise RecipeError(f"{path}: two points are called {twice[0]!r}", "other names; 'dense' is the baseline's")
    return spec


def _recipe(path: Path, where: str, source: str, changes: Mapping[str, Any]) -> Recipe:
    try:
        return load_recipe(source, {key: json.dumps(value) for key, value in changes.items()}).enhances()
    except RecipeError as error:
        raise RecipeError(f"{path}: {where}: {error}", error.hint) from error


def _same_for_all(path: Path, base: Recipe, points: list[PointSpec]) -> None:
    """Refuse what one point cannot have of its own: another key of the file sets it for all, or it would be lost."""
    for point in points:
        ours = point.recipe
        for key, value, given, instead in (
                ("seed", ours.seed, base.seed, "seeds: of the sweep or the point"),
                ("train.start", ours.train.start, base.train.start, "from: of the sweep"),
                ("corpus", ours.corpus, base.corpus, "corpus: of the sweep"),
                ("name", ours.name, base.name, "points: with a name")):
            if value != given:
                shown = dataclasses.asdict(value) if isinstance(value, CorpusPart) else value
                raise RecipeError(f"{path}: {point.name}: {key}: {shown!r} is not a point's own", instead)


def _axes(top: _Part, source: str, common: Mapping[str, Any], seeds: tuple[int, ...]) -> list[PointSpec]:
    axes = top.changes("axes")
    values = [top.items(f"axes.{key}", items, "a list of values") for key, items in axes.items()]
    points = []
    for chosen in itertools.product(*values) if axes else ():
        name = "-".join(_text(value) for value in chosen)
        if not NAME.fullmatch(name):
            top.fail("axes", list(chosen), "values that make a file name, or points: with a name")
        recipe = _recipe(top.file, f"axes: {name}", source, {**common, **dict(zip(axes, chosen, strict=True))})
        points.append(PointSpec(name, family_of(recipe), recipe, seeds))
    return points


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _named(top: _Part, source: str, common: Mapping[str, Any], seeds: tuple[int, ...]) -> list[PointSpec]:
    points = []
    for index, value in enumerate(_list(top, "points")):
        part = _Part(top.file, f"points[{index}]", value)
        name, changes = part.name(), part.changes("set")
        own = part.seeds(seeds)
        recipe = _recipe(top.file, f"points[{index}]: {name}", source, {**common, **changes})
        family = part.optional_text("family") or family_of(recipe)
        part.done(("name", "set", "seeds", "family"))
        points.append(PointSpec(name, family, recipe, own))
    return points


def _list(top: _Part, key: str) -> list[Any]:
    return top.items(key, top.left.pop(key), "a list of mappings") if key in top.left else []


def _offline(top: _Part) -> list[OfflineSpec]:
    points = []
    for index, value in enumerate(_list(top, "offline")):
        part = _Part(top.file, f"offline[{index}]", value)
        structure = Structure(part.choice("structure", list(Structure)))
        shares = part.number_list("sparsity", 0, 0.999)
        block = part.whole_list("block", DEFAULT_BLOCK, 1, 256)
        if len(block) != 2:
            part.fail("block", list(block), "[inputs, outputs]")
        part.done(("structure", "sparsity", "block"))
        tile = f"-{block[0]}x{block[1]}" if structure is Structure.BLOCK and block != DEFAULT_BLOCK else ""
        points += [OfflineSpec(f"offline-{structure}{tile}-{share:g}", structure, share, (block[0], block[1]))
                   for share in shares]
    return points


def _devices(top: _Part) -> tuple[str, ...]:
    value = top.optional("devices", ["cortex-m55", "cortex-m7"])
    accepted = "a list of targets without an NPU, such as [cortex-m55, cortex-m7]"
    if not isinstance(value, list) or any(not isinstance(item, str) for item in value) or len(set(value)) < len(value):
        top.fail("devices", value, accepted)
    for item in value:
        if load_target(item).has_npu:
            top.fail("devices", item, accepted)
    return tuple(value)


def _scoring(path: Path, value: object) -> Scoring:
    part, plain = _Part(path, "score", value), Scoring()
    metrics = part.optional("metrics", list(plain.metrics))
    if not isinstance(metrics, list) or "sdr" not in metrics or any(item not in METRICS for item in metrics):
        part.fail("metrics", metrics, f"a list with sdr out of {', '.join(METRICS)}")

    def whole(key: str, default: int, low: int, high: int) -> int:
        return part.whole(key, low, high) if key in part.left else default

    found = Scoring(whole("count", plain.count, 1, 10_000), whole("validation", plain.validation, 1, 10_000),
                    whole("seed", plain.seed, 0, 2**31 - 1),
                    part.number("seconds", 1, 60) if "seconds" in part.left else plain.seconds,
                    part.number_list("snrs", -60, 60, plain.snrs), tuple(metrics))
    part.done(Scoring.__dataclass_fields__)
    return found
