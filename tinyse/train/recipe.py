"""Recipes: what a training run is, as YAML validated into frozen dataclasses.

An error names the file, the key, the value and what would be accepted::

    recipe = load_recipe("quick", {"train.float_steps": "300"})
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from tinyse.core.artifacts import sha256, write_bytes, write_text
from tinyse.core.errors import ModelError, RecipeError
from tinyse.core.sections import build, convert, merged, one_of, parse_shares, plain, read_yaml, within
from tinyse.families import load
from tinyse.graph.net import Net
from tinyse.sound.ends import Ends
from tinyse.train.compression import ClusterPart, GatesPart, PrunePart, QuantizePart, RoutePart, SkipPart
from tinyse.train.labelled import LabelsPart

BUILT_IN = Path(__file__).parent / "recipes"
SPECTRAL = 200.0
"""Of the compressed loss beside SI-SDR in dB, where both are wanted: a tenth of it is then worth 0.7 dB (ours)."""


@dataclass(frozen=True)
class CorpusPart:
    """Where speech and noise come from."""

    tier: str = one_of("small", "default", "large", default="small")
    path: str | None = None


@dataclass(frozen=True)
class MixingPart:
    """On-the-fly mixtures: lengths in seconds, levels in dB, shares in 0..1.

    ``voice``: of speech resampled to another voice. ``speech_eq_db``: depth of its equalizer. ``room``: of speech in a
    room; ``noise_room``: of noise in a room of the corpus. ``narrow``: of mixtures through a low pass. ``overload``: of
    clipped ones. ``quiet``: of mixtures with next to nothing to take away, 20 to 45 dB SNR. ``rumble``: of noise with
    wind, traffic or handling below 100 Hz. ``shares``: "PACKAGE=SHARE" lines, of speech and noise drawn from a package
    of the corpus, whatever its size.
    """

    seconds: float = within(0.25, 60, default=2.0)
    batch: int = within(2, 1024, default=32)
    snr_db: tuple[float, ...] = within(-60, 60, default=(-9.0, 12.0))
    level_db: tuple[float, ...] = within(-80, 0, default=(-38.0, -14.0))
    generated: float = within(0, 1, default=0.3)
    babble: float = within(0, 1, default=0.05)
    second_noise: float = within(0, 1, default=0.3)
    equalize: float = within(0, 1, default=0.5)
    resample: float = within(0, 1, default=0.5)
    voice: float = within(0, 1, default=0.0)
    speech_eq_db: float = within(0, 40, default=4.0)
    room: float = within(0, 1, default=0.0)
    narrow: float = within(0, 1, default=0.0)
    overload: float = within(0, 1, default=0.0)
    quiet: float = within(0, 1, default=0.0)
    noise_room: float = within(0, 1, default=0.0)
    rumble: float = within(0, 1, default=0.0)
    shares: tuple[str, ...] = field(metadata={"empty": True}, default=())


@dataclass(frozen=True)
class TrainPart:
    """Schedule of both phases; the compressed phase quantizes and prunes.

    ``loss``: ``mixed`` is SI-SDR and the compressed spectrum, ``levelled`` the same with every mixture's spectrum taken
    at one level: softer speech weighs as much as louder; ``cross_entropy`` is of networks that say where voice is.
    ``spectral``: weight of the spectrum beside SI-SDR in dB, of those two losses.
    ``validate_apart``: each validation mixture has a speech and a noise of its own, in place of the same at each SNR.
    ``average``: decay of a running mean of the weights, which validations score; 0: the weights themselves.

    ``exits``: weights of the losses of a network's exits, in order; one number: all alike. ``order``: in the
    float phase all exits at once, or one after the other, each with its share of the steps and what others need frozen.

    ``start``: a dense run's folder, a float model, or an int8 one beside its recipe, whose weights take the place of
    the float phase. ``distill``: weight of the distance to that model's output in the compressed phase's loss.
    """

    loss: str = one_of("compressed", "si_sdr", "mixed", "levelled", "cross_entropy", default="compressed")
    spectral: float = within(0, 1e6, default=SPECTRAL)
    float_steps: int = within(0, 10_000_000, default=1000)
    float_rate: float = within(1e-7, 1, default=1e-3)
    compress_steps: int = within(0, 10_000_000, default=200)
    compress_rate: float = within(1e-7, 1, default=3e-4)
    warmup: int = within(0, 100_000, default=50)
    clip_norm: float = within(1e-3, 1e6, default=1.0)
    validate_every: int = within(1, 1_000_000, default=100)
    validate_count: int = within(1, 10_000, default=36)
    validate_apart: bool = False
    patience: int = within(1, 10_000, default=10)
    average: float = within(0, 0.99999, default=0.0)
    exits: tuple[float, ...] = within(0, 1000, default=(1.0,))
    order: str = one_of("joint", "layerwise", default="joint")
    start: str | None = None
    distill: float = within(0, 1000, default=0.0)


@dataclass(frozen=True)
class Recipe:
    """A whole training run.

    ``family``: of the network, ours by name or a file (``tinyse.families``), with its ``family_options``; ``ends``:
    its own unless given. What older recipes have under ``network`` is read as options of tinylstm.
    """

    name: str
    seed: int = within(0, 2**31 - 1, default=1)
    corpus: CorpusPart = CorpusPart()
    family: str = "tinylstm"
    family_options: dict[str, Any] = field(default_factory=dict)
    ends: Ends = Ends()
    mixing: MixingPart = MixingPart()
    train: TrainPart = TrainPart()
    prune: PrunePart = PrunePart()
    cluster: ClusterPart = ClusterPart()
    quantize: QuantizePart = QuantizePart()
    skip: SkipPart = SkipPart()
    gates: GatesPart = GatesPart()
    route: RoutePart = RoutePart()
    labels: LabelsPart = LabelsPart()

    def net(self) -> Net:
        """The network that is trained.

        Raises:
            RecipeError: the family's file fails or gives what does not fit, and the message names file and line; or
                ``quantize.bits`` are not the network's.
        """
        made = load(self.family).net(self.family_options, self.ends, self.skip.enabled)
        try:
            return made.with_bits(self.quantize.bits) if self.quantize.bits else made
        except ModelError as error:
            raise RecipeError(f"quantize.bits: {error}", error.hint) from error

    def enhances(self) -> Recipe:
        """This recipe.

        Raises:
            RecipeError: its network gives no sound.
        """
        if self.ends.result.scores:
            raise RecipeError(f"family: {self.family}: gives {self.ends.result.kind}, and no sound",
                              "tinyse train" + ", then tinyse evaluate" * (self.ends.result.kind == "voice"))
        return self

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values, as YAML holds them."""
        return {**plain(self), "ends": self.ends.as_dict()}

    def as_yaml(self) -> str:
        """The resolved recipe as YAML."""
        return yaml.safe_dump(self.as_dict(), sort_keys=False)

    @property
    def own_family(self) -> Path | None:
        """The file of a family that is the user's own."""
        return Path(self.family) if self.family.endswith(".py") else None

    def identity(self) -> dict[str, Any]:
        """As ``as_dict``, a family of the user's own by its file's name and content in place of its path."""
        own = self.own_family
        return {**self.as_dict(), **({"family": f"{own.name} sha256:{sha256(own)}"} if own else {})}

    def write(self, folder: Path) -> None:
        """Write ``recipe.yaml``, and beside it a family of the user's own."""
        own = self.own_family
        if own is not None and not ((folder / own.name).exists() and own.samefile(folder / own.name)):
            write_bytes(folder / own.name, own.read_bytes())
        write_text(folder / "recipe.yaml", replace(self, family=own.name if own else self.family).as_yaml())


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


def _with_family(values: Any, where: str) -> Any:
    """``values`` with the family's ends and typed options in them."""
    if not isinstance(values, Mapping):
        return values
    values = dict(values)
    family = load(convert(str, values.get("family", "tinylstm"), f"{where}: family", {}))
    options = values.get("family_options", {})
    if "network" in values:
        before = values.pop("network")
        if family.name != "tinylstm":
            raise RecipeError(f"{where}: network: widths of tinylstm, and family is {family.name}", "family_options")
        options = {**convert(dict, options, f"{where}: family_options", {}), **convert(
            dict, before, f"{where}: network", {})}
    options = convert(dict, options, f"{where}: family_options", {})
    values["family_options"] = family.options(options, f"{where}: family_options")
    given, ends = convert(dict, values.get("ends", {}), f"{where}: ends", {}), family.ends.as_dict()
    _leave_out(ends, given, "level")
    _leave_out(ends["feature"], given.get("feature"), "mean")
    values["ends"] = merged(ends, given)
    return values


def _leave_out(own: dict[str, Any], given: Any, key: str) -> None:
    """Take ``key`` from the family's values where a run wrote all the others: it had none (``Ends.as_dict``)."""
    if isinstance(given, Mapping) and key not in given and given.keys() >= own.keys() - {key}:
        own.pop(key, None)


def recipe_of(values: Any, where: str) -> Recipe:
    """Nested plain values as a recipe; absent keys take their defaults. ``where`` opens every message.

    Raises:
        RecipeError: an unknown key, or a value out of range.
    """
    recipe: Recipe = build(Recipe, _with_family(values, where), where)
    for key, pair in (("mixing.snr_db", recipe.mixing.snr_db), ("mixing.level_db", recipe.mixing.level_db)):
        if len(pair) != 2 or pair[0] > pair[1]:
            raise RecipeError(f"{where}: {key}: {list(pair)} is not a range", "[lowest, highest]")
    parse_shares(recipe.mixing.shares, f"{where}: mixing.shares")
    if recipe.train.distill and recipe.train.start is None:
        given = f"train.distill: {recipe.train.distill:g}"
        raise RecipeError(f"{where}: {given} needs a teacher, and there is no train.start",
                          "train.start: the dense run that teaches, or train.distill: 0")
    if not any(recipe.train.exits):
        raise RecipeError(f"{where}: train.exits: {list(recipe.train.exits)} is no loss", "a weight above 0")
    for key in ("prune", "cluster", "skip", "gates", "route"):
        part = getattr(recipe, key)
        if part.begin > part.end:
            raise RecipeError(f"{where}: {key}: begin {part.begin:g} is after end {part.end:g}",
                              "shares of the steps, the first not above the second")
    prune = recipe.prune
    if len(prune.block) != 2:
        raise RecipeError(f"{where}: prune.block: {list(prune.block)} is not a block", "[inputs, outputs]")
    if prune.method == "magnitude" and prune.structure == "unit":
        raise RecipeError(f"{where}: prune.structure: 'unit' is not for method magnitude", "method: threshold")
    if recipe.skip.enabled and prune.method == "magnitude":
        raise RecipeError(f"{where}: skip.enabled: TF-MOT's magnitudes would prune the gate", "prune.method: threshold")
    if recipe.skip.enabled and recipe.ends.feature.mean:
        raise RecipeError(f"{where}: skip.enabled: a frame that is skipped would be missing in the features' mean",
                          "ends.feature.mean: 0")
    if recipe.gates.share is not None and recipe.skip.enabled:
        raise RecipeError(f"{where}: gates.share: a Skip RNN has a budget of its own", "leave skip or gates out")
    if recipe.quantize.bits and (recipe.cluster.values or not recipe.quantize.enabled):
        other = f"cluster.values: {recipe.cluster.values}" if recipe.cluster.values else "quantize.enabled: false"
        raise RecipeError(f"{where}: quantize.bits: not with {other}", "one of them: each says what a weight may be")
    if recipe.cluster.values % 2:
        raise RecipeError(f"{where}: cluster.values: {recipe.cluster.values} is odd", "half of the values are negative")
    return recipe


def load_recipe(source: str | Path, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe file, or a built-in one by name, and apply ``section.key`` overrides.

    A family's file that the recipe names is looked for beside it first, one of the overrides in the current folder.

    Raises:
        RecipeError: no such recipe, not YAML, an unknown key, or a value out of range.
    """
    path, values = read_yaml(source, BUILT_IN, "recipe")
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: {type(values).__name__} instead of a mapping", "key: value lines")
    if "family" in (overrides or {}):  # its options are another's
        values = {key: value for key, value in values.items() if key not in ("family_options", "network", "ends")}
    for key, text in (overrides or {}).items():
        _override(values, key, text)
    name = values.get("family")
    if isinstance(name, str) and name.endswith(".py") and (path.parent / name).is_file() and (
            "family" not in (overrides or {}) or not Path(name).is_file()):
        values["family"] = str(path.parent / name)
    return recipe_of(values, str(path))
