"""Ends: what a frame of a network is, from samples to its input and from its output back to samples.

The one place that says how long a frame takes, how wide it is and what its values mean. Whole signals and streams
give the same samples::

    ends = Ends(Framing(hop=256), Bands("none"), Feature("log_power"))
    spectrum = stft(wave, ends.framing)                               # [frames, bins]
    answers = network(features(spectrum, ends))                       # [frames, inputs] to [frames, outputs]
    wave = istft(applied(spectrum, answers, ends), ends.framing)

Features and answers are flat, [..., inputs] and [..., outputs], band by band; where a band has two numbers they are
neighbours, real part first. ``shape`` and ``result_shape`` are how the network lays out the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinyse.core.errors import RecipeError
from tinyse.core.sections import build, one_of, plain, within
from tinyse.sound.bands import Bands
from tinyse.sound.framing import DEVICE_FFTS, Framing
from tinyse.sound.leveller import Leveller


@dataclass(frozen=True)
class Feature:
    """What a network is given of a frame; X are its bins, M the bands.

    Attributes:
        kind: magnitude: ``(|X| @ M) ** power``, >= 0, 0 for silence;
            log_power: ``gain * ln(|X|^2 @ M + floor) + bias``;
            complex: Z = X @ M as ``Z |Z|^(power - 1)``, two numbers a band, 0 for silence; samples: the hop itself.
        power: 0 < power <= 1.
        floor: under the power; the default is 18 dB above the rounding noise of 16-bit samples at 512/256.
        gain, bias: the fixed normalisation of log_power; by default silence gives -2.45, a full-scale sine 3.43.
        mean: seconds over which log_power is averaged, band by band; the network is given what it is above that
            (``tinyse.sound.features.RunningMean``). 0: the log power itself.
    """

    kind: str = one_of("magnitude", "log_power", "complex", "samples", default="magnitude")
    power: float = within(1e-3, 1, default=0.3)
    floor: float = within(1e-12, 1, default=1e-6)
    gain: float = within(1e-6, 1e6, default=0.25)
    bias: float = within(-1e6, 1e6, default=1.0)
    mean: float = within(0, 60, default=0.0)

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.kind not in ("magnitude", "log_power", "complex", "samples"):
            raise RecipeError(f"feature {self.kind!r} is not known", "magnitude, log_power, complex or samples")
        if not 0 < self.power <= 1:
            raise RecipeError(f"power {self.power} is outside (0, 1]")
        if not self.floor > 0 or not self.gain > 0:
            raise RecipeError(f"floor {self.floor:g} and gain {self.gain:g} must be above 0")
        if not 0 <= self.mean <= 60:
            raise RecipeError(f"mean {self.mean:g} s is outside [0, 60]", "0 for no running mean")
        if self.mean and self.kind != "log_power":
            raise RecipeError(f"mean: {self.kind} has no running mean", "kind: log_power, or mean: 0")


@dataclass(frozen=True)
class Result:
    """What a network answers.

    Attributes:
        kind: gains: one a band, lifted to bins, times the spectrum; complex_gains: the same, two numbers a band;
            samples: the hop itself; score: no sound, ``count`` numbers; voice: no sound, the probability of speech.
        limit: what the network's answer is multiplied by: gains of a sigmoid are 0..limit, parts of complex gains of a
            tanh -limit..limit.
        count: of scores; 1 of voice.
    """

    kind: str = one_of("gains", "complex_gains", "samples", "score", "voice", default="gains")
    limit: float = within(1e-3, 1e3, default=1.0)
    count: int = within(1, 256, default=1)

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.kind not in ("gains", "complex_gains", "samples", "score", "voice"):
            raise RecipeError(f"result {self.kind!r} is not known", "gains, complex_gains, samples, score or voice")
        if not self.limit > 0 or self.count < 1:
            raise RecipeError(f"limit {self.limit:g} and count {self.count} must be above 0")
        if self.kind == "voice" and (self.limit, self.count) != (1, 1):
            raise RecipeError(f"limit {self.limit:g} and count {self.count}: voice is one probability", "1 and 1")

    @property
    def scores(self) -> bool:
        """Whether the answers are numbers about the sound, and no sound."""
        return self.kind in ("score", "voice")


@dataclass(frozen=True)
class Ends:
    """Framing, bands, feature and result; the defaults are TinyLSTMs' (Fedorov et al. 2020).

    Attributes:
        layout: the axis on which bands (or samples) lie: "channels" (1, 1, 128), "width" (1, 128, 1) with the two
            numbers of complex features as channels, or "rows" (256, 1, 1), which is for samples only.
        rows: frames of features that the network is given at once, every ``rows`` frames; more than 1 for scores only.
        level: what samples are multiplied by before the network; for the feature samples only.

    Raises:
        RecipeError: parts that do not go together.
    """

    framing: Framing = Framing()
    bands: Bands = Bands()
    feature: Feature = Feature()
    result: Result = Result()
    layout: str = one_of("channels", "width", "rows", default="channels")
    rows: int = within(1, 4096, default=1)
    level: Leveller = Leveller()

    def __post_init__(self) -> None:
        """Check what the parts cannot check alone."""
        self.bands.check(self.framing)
        kinds = f"{self.feature.kind} to {self.result.kind}"
        if 0 < self.feature.mean < 2 * self.framing.period:
            raise RecipeError(f"mean: {self.feature.mean:g} s is less than two frames: features above it are next to "
                              "nothing", f"{2 * self.framing.period:g} to 60 s, or 0 for none")
        if self.layout not in ("channels", "width", "rows"):
            raise RecipeError(f"layout: {self.layout!r} is not known", "channels, width or rows")
        if self.layout == "rows" and not (self.feature.kind == "samples" and not self.synthesizes):
            raise RecipeError(f"layout: rows are time, and {kinds} has bands", "channels or width")
        if self.rows < 1 or (self.rows > 1 and (self.result.kind != "score" or self.layout == "rows")):
            raise RecipeError(f"rows: {self.rows} frames at once are for scores of bands only", "rows: 1")
        if self.feature.mean and self.result.kind == "score":
            raise RecipeError("mean: a running mean is for sound and voice, and the result is score", "mean: 0")
        if self.level.on and self.feature.kind != "samples":
            raise RecipeError(f"level: kind: {self.level.kind} is for samples, and the feature is {self.feature.kind}",
                              "kind: none")
        if not self.transforms and self.framing.frame != self.framing.hop:
            raise RecipeError(f"framing: {kinds} overlaps no frames, and {self.framing.frame} is more than the hop",
                              f"frame: {self.framing.hop}, window: none")

    @property
    def transforms(self) -> bool:
        """Whether a frame is transformed."""
        return self.feature.kind != "samples" or self.synthesizes

    @property
    def synthesizes(self) -> bool:
        """Whether sound comes from an inverse transform."""
        return self.result.kind in ("gains", "complex_gains")

    @property
    def restores(self) -> bool:
        """Whether what the network answers is divided by the gain of its hop."""
        return self.level.on and self.result.kind == "samples"

    @property
    def width(self) -> int:
        """Bands."""
        return self.bands.number(self.framing)

    @property
    def row(self) -> int:
        """Numbers of one frame's feature."""
        if self.feature.kind == "samples":
            return self.framing.hop
        return self.width * (2 if self.feature.kind == "complex" else 1)

    @property
    def mean_frames(self) -> int:
        """Frames of the feature's running mean; 0: none."""
        return max(1, round(self.feature.mean / self.framing.period)) if self.feature.mean else 0

    @property
    def inputs(self) -> int:
        """Numbers that the network is given at once."""
        return self.rows * self.row

    @property
    def outputs(self) -> int:
        """Numbers that the network answers."""
        kind = self.result.kind
        return {"samples": self.framing.hop, "score": self.result.count, "voice": 1,
                "gains": self.width, "complex_gains": 2 * self.width}[kind]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(rows, width, channels) of the network's input."""
        return self._laid_out(self.row, 2 if self.feature.kind == "complex" else 1, self.rows)

    @property
    def result_shape(self) -> tuple[int, int, int]:
        """(rows, width, channels) of the network's output."""
        if self.result.scores:
            return 1, 1, self.outputs
        return self._laid_out(self.outputs, 2 if self.result.kind == "complex_gains" else 1, 1)

    def _laid_out(self, count: int, parts: int, rows: int) -> tuple[int, int, int]:
        if self.layout == "rows":
            return count, 1, 1
        return (rows, 1, count) if self.layout == "channels" else (rows, count // parts, parts)

    @property
    def period(self) -> float:
        """Seconds between two frames: 0.016 at 256 samples of 16 kHz."""
        return self.framing.period

    @property
    def frames_per_second(self) -> float:
        """Runs of the network in a second of sound: one every ``rows`` frames."""
        return self.framing.rate / self.framing.hop / self.rows

    @property
    def delay(self) -> int:
        """Samples by which a stream's output lags its input: 0 where nothing is overlap-added."""
        return self.framing.delay if self.synthesizes else 0

    @property
    def device_reason(self) -> str:
        """Why the C library cannot do these ends; empty where it can."""
        if self.transforms and self.framing.fft not in DEVICE_FFTS:
            return f"fft {self.framing.fft}: the C library has transforms of 32, 64 .. 4096 points only"
        return ""

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values, as JSON and YAML hold them; ``level`` and ``feature.mean`` only where there is one."""
        values: dict[str, Any] = plain(self)
        if self.level == Leveller():  # so that what had none before there were any keeps its bytes
            del values["level"]
        if not self.feature.mean:
            del values["feature"]["mean"]
        return values

    @staticmethod
    def read(values: Any, where: str = "ends") -> Ends:
        """What ``as_dict`` gave, or the flat numbers that models held before there were ends.

        Raises:
            RecipeError: neither.
        """
        if isinstance(values, Mapping) and any(not isinstance(values[key], Mapping) for key in values.keys() & _BEFORE):
            nested: dict[str, dict[str, Any]] = {}
            for key, value in values.items():
                section, name = _BEFORE.get(key, ("", key))
                if not section:
                    raise RecipeError(f"{where}: unknown key {key!r}", f"one of: {', '.join(_BEFORE)}")
                nested.setdefault(section, {})[name] = value
            values = nested
        ends: Ends = build(Ends, values, where)
        return ends


_BEFORE = {"sample_rate": ("framing", "rate"), "frame": ("framing", "frame"), "hop": ("framing", "hop"),
           "fft": ("framing", "fft"), "bands": ("bands", "count"), "low_hz": ("bands", "low_hz"),
           "high_hz": ("bands", "high_hz"), "power": ("feature", "power")}

DEFAULT = Ends()
