"""Recipes: what a training run is, as YAML validated into frozen dataclasses.

An error names the file, the key, the value and what would be accepted::

    recipe = load_recipe("quick", {"train.float_steps": "300"})
"""

from __future__ import annotations

import contextlib
import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tinyse.core.errors import RecipeError

BUILT_IN = Path(__file__).parent / "recipes"


def _within(low: float, high: float, **kwargs: Any) -> Any:
    return field(metadata={"low": low, "high": high}, **kwargs)


def _one_of(*choices: str, **kwargs: Any) -> Any:
    return field(metadata={"choices": choices}, **kwargs)


@dataclass(frozen=True)
class CorpusPart:
    """Where speech and noise come from."""

    tier: str = _one_of("small", "default", "large", default="small")
    path: str | None = None


@dataclass(frozen=True)
class NetworkPart:
    """Widths of the network."""

    lstm: tuple[int, ...] = _within(1, 4096, default=(256, 256))
    dense: tuple[int, ...] = _within(1, 4096, default=(128,))


@dataclass(frozen=True)
class MixingPart:
    """On-the-fly mixtures: lengths in seconds, levels in dB, shares in 0..1.

    ``voice``: of speech resampled to another voice. ``speech_eq_db``: depth of its equalizer. ``room``: of speech in a
    room. ``narrow``: of mixtures through a low pass. ``overload``: of clipped ones. ``shares``: "PACKAGE=SHARE" lines,
    of speech and of noise drawn from a package of the corpus, whatever its size.
    """

    seconds: float = _within(0.25, 60, default=2.0)
    batch: int = _within(2, 1024, default=32)
    snr_db: tuple[float, ...] = _within(-60, 60, default=(-9.0, 12.0))
    level_db: tuple[float, ...] = _within(-80, 0, default=(-38.0, -14.0))
    generated: float = _within(0, 1, default=0.3)
    babble: float = _within(0, 1, default=0.05)
    second_noise: float = _within(0, 1, default=0.3)
    equalize: float = _within(0, 1, default=0.5)
    resample: float = _within(0, 1, default=0.5)
    voice: float = _within(0, 1, default=0.0)
    speech_eq_db: float = _within(0, 40, default=4.0)
    room: float = _within(0, 1, default=0.0)
    narrow: float = _within(0, 1, default=0.0)
    overload: float = _within(0, 1, default=0.0)
    shares: tuple[str, ...] = field(metadata={"empty": True}, default=())


@dataclass(frozen=True)
class TrainPart:
    """Schedule of both phases; the compressed phase quantizes and prunes.

    ``average``: decay of a running mean of the weights, which validations score; 0: the weights themselves.

    ``start``: a dense run's folder or a float model, whose weights take the place of the float phase. ``distill``:
    weight of the distance to that model's output in the compressed phase's loss.
    """

    loss: str = _one_of("compressed", "si_sdr", "mixed", default="compressed")
    float_steps: int = _within(0, 10_000_000, default=1000)
    float_rate: float = _within(1e-7, 1, default=1e-3)
    compress_steps: int = _within(0, 10_000_000, default=200)
    compress_rate: float = _within(1e-7, 1, default=3e-4)
    warmup: int = _within(0, 100_000, default=50)
    clip_norm: float = _within(1e-3, 1e6, default=1.0)
    validate_every: int = _within(1, 1_000_000, default=100)
    validate_count: int = _within(1, 10_000, default=36)
    patience: int = _within(1, 10_000, default=10)
    average: float = _within(0, 0.99999, default=0.0)
    start: str | None = None
    distill: float = _within(0, 1000, default=0.0)


@dataclass(frozen=True)
class PrunePart:
    """Pruning on TF-MOT's polynomial schedule; begin and end are shares of the compressed phase.

    ``method``: TF-MOT's magnitude, or learned thresholds. ``sparsity``: share of zeros over all matrices, whatever the
    structure. ``block``: inputs and outputs of a tile, where ``structure`` is block. ``multiple``: units are kept by so
    many, where it is unit.
    """

    method: str = _one_of("none", "magnitude", "threshold", default="none")
    structure: str = _one_of("weight", "block", "unit", default="weight")
    sparsity: float = _within(0, 0.999, default=0.5)
    block: tuple[int, ...] = _within(1, 256, default=(16, 4))
    multiple: int = _within(1, 256, default=16)
    begin: float = _within(0, 1, default=0.0)
    end: float = _within(0, 1, default=0.6)
    every: int = _within(1, 10_000, default=10)


@dataclass(frozen=True)
class ClusterPart:
    """Few distinct weights a matrix; begin, end and freeze are shares of the compressed phase.

    ``values``: non-zero values, half of them negative; zero comes on top. 0: any. From ``begin`` to ``end`` weights
    move onto them, from ``freeze`` on none changes its value's rank.
    """

    values: int = _within(0, 32, default=0)
    begin: float = _within(0, 1, default=0.2)
    end: float = _within(0, 1, default=0.6)
    freeze: float = _within(0, 1, default=1.0)


@dataclass(frozen=True)
class SkipPart:
    """A Skip RNN: the network runs on some frames only; begin and end are shares of the compressed phase.

    ``rate``: share of frames that it should run on, reached at ``end`` by a controller. ``cost``: of an update, set by
    hand in place of the controller; loss + cost * mean(updates). ``price``: what an update's delay is measured by, the
    spectral loss or the error's energy (as SDR does).
    """

    enabled: bool = False
    rate: float = _within(0.02, 1, default=0.5)
    cost: float | None = _within(0, 1e6, default=None)
    price: str = _one_of("loss", "energy", default="loss")
    begin: float = _within(0, 1, default=0.0)
    end: float = _within(0, 1, default=0.4)


@dataclass(frozen=True)
class QuantizePart:
    """Quantization-aware training."""

    enabled: bool = True
    freeze: float = _within(0, 1, default=0.5)


@dataclass(frozen=True)
class Recipe:
    """A whole training run."""

    name: str
    seed: int = _within(0, 2**31 - 1, default=1)
    corpus: CorpusPart = CorpusPart()
    network: NetworkPart = NetworkPart()
    mixing: MixingPart = MixingPart()
    train: TrainPart = TrainPart()
    prune: PrunePart = PrunePart()
    cluster: ClusterPart = ClusterPart()
    quantize: QuantizePart = QuantizePart()
    skip: SkipPart = SkipPart()

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values, as YAML holds them."""
        return _plain(dataclasses.asdict(self))

    def as_yaml(self) -> str:
        """The resolved recipe as YAML."""
        return yaml.safe_dump(self.as_dict(), sort_keys=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _scalar(kind: type, value: Any, where: str, meta: Mapping[str, Any]) -> Any:
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is float and isinstance(value, str):  # YAML reads 1e-3 as text
        with contextlib.suppress(ValueError):
            value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RecipeError(f"{where}: {value!r} is not {wanted}", f"give {wanted}")
    if "choices" in meta and value not in meta["choices"]:
        raise RecipeError(f"{where}: {value!r} is not known", f"one of: {', '.join(meta['choices'])}")
    if "low" in meta and not meta["low"] <= value <= meta["high"]:
        raise RecipeError(f"{where}: {value!r} is out of range", f"{meta['low']} to {meta['high']}")
    return value


def _convert(kind: Any, value: Any, where: str, meta: Mapping[str, Any]) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast(type, kind), value, where)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple) or not (value or meta.get("empty")):
            raise RecipeError(f"{where}: {value!r} is not a list", "a list such as [256, 256]")
        return tuple(_scalar(typing.get_args(kind)[0], item, where, meta) for item in value)
    if isinstance(kind, types.UnionType):
        return None if value is None else _scalar(typing.get_args(kind)[0], value, where, meta)
    return _scalar(kind, value, where, meta)


def _build(kind: type, values: Any, where: str) -> Any:
    if not isinstance(values, Mapping):
        raise RecipeError(f"{where}: {values!r} is not a mapping", "key: value lines")
    hints = typing.get_type_hints(kind)
    fields = {item.name: item for item in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            raise RecipeError(f"{where}: unknown key {key!r} (value {values[key]!r})", f"one of: {', '.join(fields)}")
    missing = [n for n, f in fields.items() if n not in values and f.default is dataclasses.MISSING]
    if missing:
        raise RecipeError(f"{where}: missing key {missing[0]!r}", "every recipe has a name")
    return kind(**{key: _convert(hints[key], value, f"{where}: {key}", fields[key].metadata)
                   for key, value in values.items()})


def _override(values: dict[str, Any], key: str, text: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"--set {key}={text}: {parent!r} is not a section", "section.key=value")
        values = inner
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        if not any("\udc80" <= letter <= "\udcff" for letter in text):  # a path whose bytes are not UTF-8
            raise RecipeError(f"--set {key}={text}: not a YAML value", "numbers, words, or [lists]") from error
        values[last] = text


def recipe_of(values: Any, where: str) -> Recipe:
    """Nested plain values as a recipe; absent keys take their defaults. ``where`` opens every message.

    Raises:
        RecipeError: an unknown key, or a value out of range.
    """
    recipe: Recipe = _build(Recipe, values, where)
    for key, pair in (("mixing.snr_db", recipe.mixing.snr_db), ("mixing.level_db", recipe.mixing.level_db)):
        if len(pair) != 2 or pair[0] > pair[1]:
            raise RecipeError(f"{where}: {key}: {list(pair)} is not a range", "[lowest, highest]")
    parse_shares(recipe.mixing.shares, f"{where}: ")
    if recipe.train.distill and recipe.train.start is None:
        given = f"train.distill: {recipe.train.distill:g}"
        raise RecipeError(f"{where}: {given} needs a teacher, and there is no train.start",
                          "train.start: the dense run that teaches, or train.distill: 0")
    prune = recipe.prune
    if len(prune.block) != 2:
        raise RecipeError(f"{where}: prune.block: {list(prune.block)} is not a block", "[inputs, outputs]")
    if prune.method == "magnitude" and prune.structure == "unit":
        raise RecipeError(f"{where}: prune.structure: 'unit' is not for method magnitude", "method: threshold")
    if recipe.skip.enabled and prune.method == "magnitude":
        raise RecipeError(f"{where}: skip.enabled: TF-MOT's magnitudes would prune the gate", "prune.method: threshold")
    if recipe.cluster.values % 2:
        raise RecipeError(f"{where}: cluster.values: {recipe.cluster.values} is odd", "half of the values are negative")
    return recipe


def parse_shares(lines: Sequence[str], where: str = "") -> dict[str, float]:
    """``mixing.shares`` as shares by package.

    Raises:
        RecipeError: a line is not PACKAGE=SHARE, a package comes twice, or the shares exceed 1.
    """
    shares: dict[str, float] = {}
    for line in lines:
        name, _, text = line.rpartition("=")
        with contextlib.suppress(ValueError):
            if name and name not in shares and 0 <= float(text) <= 1:
                shares[name] = float(text)
                continue
        raise RecipeError(f"{where}mixing.shares: {line!r} is no share", "PACKAGE=0.2, each package once")
    if sum(shares.values()) > 1 + 1e-9:
        raise RecipeError(f"{where}mixing.shares: {', '.join(lines)} exceed 1", "what is left goes to the others")
    return shares


def load_recipe(source: str | Path, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe file, or a built-in one by name, and apply ``section.key`` overrides.

    Raises:
        RecipeError: no such recipe, not YAML, an unknown key, or a value out of range.
    """
    path = Path(source)
    if not path.exists() and (BUILT_IN / f"{source}.yaml").exists():
        path = BUILT_IN / f"{source}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(item.stem for item in BUILT_IN.glob("*.yaml")))
        raise RecipeError(f"{source}: no such recipe", f"a YAML file, or a built-in name: {names}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not YAML: {str(error).splitlines()[0]}", "key: value lines") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: {type(values).__name__} instead of a mapping", "key: value lines")
    for key, text in (overrides or {}).items():
        _override(values, key, text)
    return recipe_of(values, str(path))
