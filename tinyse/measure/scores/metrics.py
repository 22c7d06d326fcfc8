"""Thin wrappers on established metric packages; tinyse itself computes the composite measures only, which none has.

Every function takes ``clean`` and ``estimate``, float32[samples] at 16 kHz within [-1, 1], and returns
its values by name. A clip that a metric is not defined on (no speech in it, too short) raises
``Unscorable`` with the reason; callers count such clips and say so.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.errors import TinyseError
from tinyse.core.workers import Crashed, Isolated

Signal = NDArray[np.float32]
RATE = 16000
SDR_TAPS = 512
CLAMP_DB = 100.0  # an exact copy scores this, not infinity, so that means stay finite
SILENCE = 1e-10  # mean power (-100 dBFS) below which a signal holds nothing to score
DNSMOS_SECONDS = 9.01
PESQ_SECONDS = 20.0
"""Longest piece for PESQ, whose C code writes beyond its arrays from the 51st utterance on; an utterance lasts
at least 0.2 s and so does the gap after it."""


class Unscorable(Exception):
    """A clip on which a metric is not defined; the text says why."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: what the command line calls it.
        columns: names of the values it returns, with the label to print for each.
        package: the distribution that computes it.
        convention: what has to be known to compare the number with another paper's.
        unit: "dB", "MOS" or "" (a ratio).
        score: the wrapper.
        native: it calls C code that may crash, so `score` runs it in a process of its own.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    package: str
    convention: str
    unit: str
    score: Callable[[Signal, Signal], dict[str, float]]
    native: bool = False

    @property
    def version(self) -> str:
        """Version of the package that computes it, or "missing"."""
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return "missing"


def si_sdr(clean: Signal, estimate: Signal) -> dict[str, float]:
    """Scale-invariant SDR in dB, both signals made zero-mean first (Le Roux et al. 2019)."""
    from fast_bss_eval import numpy as bss_eval  # the package's own dispatch needs torch

    reference, estimated = _pair(clean, estimate)
    value = bss_eval.si_sdr(reference, estimated, zero_mean=True, clamp_db=CLAMP_DB)
    return {"si_sdr": _finite(value[0])}


def sdr(clean: Signal, estimate: Signal) -> dict[str, float]:
    """BSS-eval SDR in dB: a 512-tap filter of the reference is allowed (Vincent et al. 2006)."""
    from fast_bss_eval import numpy as bss_eval  # the package's own dispatch needs torch

    reference, estimated = _pair(clean, estimate)
    if reference.shape[-1] < 2 * SDR_TAPS:
        raise Unscorable("shorter than 1024 samples")
    value = bss_eval.sdr(
        reference, estimated, filter_length=SDR_TAPS, zero_mean=False, clamp_db=CLAMP_DB, load_diag=1e-10
    )
    return {"sdr": _finite(value[0])}


def pesq(clean: Signal, estimate: Signal) -> dict[str, float]:
    """Wideband PESQ, MOS-LQO from 1.04 to 4.64 (ITU-T P.862.2).

    A clip longer than 20 s is scored in equal pieces of at most that; the mean is of those with an utterance.
    """
    return {"pesq": _pesq(*(np.ascontiguousarray(signal, np.float32).tobytes() for signal in (clean, estimate)))}


def composite(clean: Signal, estimate: Signal) -> dict[str, float]:
    """CSIG, CBAK and COVL, 1 to 5: ratings of signal, background and overall predicted from PESQ, LLR, WSS, segSNR."""
    from tinyse.measure.scores import composite as measures

    reference, estimated = (signal[0] for signal in _pair(clean, estimate))
    try:
        parts = [measure(reference, estimated) for measure in (
            measures.log_likelihood_ratio, measures.weighted_spectral_slope, measures.segmental_snr)]
    except ValueError as error:
        raise Unscorable(str(error)) from error
    return {name: _finite(value) for name, value in measures.ratings(pesq(clean, estimate)["pesq"], *parts).items()}


@functools.lru_cache(maxsize=2)
def _pesq(clean: bytes, estimate: bytes) -> float:
    """PESQ of two float32 signals; the composite measures ask for it again."""
    import pesq as package

    reference, estimated = _pair(np.frombuffer(clean, np.float32), np.frombuffer(estimate, np.float32))
    pieces = math.ceil(reference.size / (PESQ_SECONDS * RATE))
    values, silent = [], None
    for one, other in zip(np.array_split(reference[0], pieces), np.array_split(estimated[0], pieces), strict=True):
        try:
            values.append(_finite(package.pesq(RATE, one, other, "wb")))
        except package.NoUtterancesError as error:
            silent = error
        except (package.PesqError, ValueError) as error:
            raise Unscorable(_reason(error)) from error
    if not values:
        raise Unscorable("no utterance found") from silent
    return math.fsum(values) / len(values)


def stoi(clean: Signal, estimate: Signal) -> dict[str, float]:
    """Short-time objective intelligibility, 0 to 1, not the extended form (Taal et al. 2011)."""
    import pystoi

    reference, estimated = _pair(clean, estimate)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # its way to say: too little speech
        try:
            return {"stoi": _finite(pystoi.stoi(reference[0], estimated[0], RATE, extended=False))}
        except (RuntimeWarning, ValueError) as error:
            raise Unscorable("under 30 frames of speech") from error


def dnsmos(clean: Signal, estimate: Signal) -> dict[str, float]:
    """DNSMOS P.835 overall, signal and background, 1 to 5; reads the estimate only (Reddy et al. 2022).

    A clip shorter than 9.01 s is repeated to that length, then scored in one window.
    """
    estimate = np.clip(np.asarray(estimate, np.float32), -1.0, 1.0)
    if not len(estimate):
        raise Unscorable("empty")
    need = int(DNSMOS_SECONDS * RATE)
    if len(estimate) < need:
        estimate = np.tile(estimate, -(-need // len(estimate)))[:need]
    values = _dnsmos_model()(estimate, RATE, False)
    return {f"dnsmos_{part}": _finite(values[f"{part}_mos"]) for part in ("ovrl", "sig", "bak")}


@functools.lru_cache(maxsize=1)
def _dnsmos_model() -> Any:
    """speechmos' P.835 scorer with one thread: workers do not fight, results repeat exactly.

    Its P.808 model is left out: nobody reads it here, and its mel features cost librosa's slow start.
    """
    from speechmos import dnsmos as package

    from tinyse.measure.scores.sessions import session

    class OnlyP835(package.DNSMOS):
        def __init__(self) -> None:
            self.primary_model_path = str(Path(package.__file__).parent / "dnsmos_models" / "sig_bak_ovr.onnx")
            self.onnx_sess = session(self.primary_model_path)
            self.p808_onnx_sess = self

        def audio_melspec(self, audio: Any, **options: Any) -> Any:
            return np.zeros((1, 120), np.float32)

        def run(self, names: Any, inputs: Any) -> list[list[list[float]]]:
            return [[[math.nan]]]

    return OnlyP835()


def predicted(clean: Signal, estimate: Signal) -> dict[str, float]:
    """WB-PESQ that models/quality predicts of the estimate alone; the mean over its windows of 4.96 s."""
    from tinyse.engines.quality import score_signal

    scorer, estimate = _predictor(), np.asarray(estimate, np.float32)
    if not np.isfinite(estimate).all():
        raise Unscorable("not a number in the signal")
    if not estimate.size or float(np.mean(np.square(estimate, dtype=np.float64))) < SILENCE:
        raise Unscorable("silent estimate")
    scores = score_signal([estimate], scorer)
    if not len(scores):
        raise Unscorable(f"shorter than {scorer.seconds:.2f} s")
    return {"predicted": _finite(np.mean(scores, dtype=np.float64))}


@functools.lru_cache(maxsize=1)
def _predictor() -> Any:
    from tinyse.engines.quality import DEFAULT_MODEL, Scorer

    return Scorer.load(DEFAULT_MODEL)


def _pair(clean: Signal, estimate: Signal) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both signals as float64[1, samples], refused where there is nothing to compare."""
    if clean.shape != estimate.shape or clean.ndim != 1:
        raise TinyseError(f"signals of different shape: {clean.shape} and {estimate.shape}",
                          "score mono signals of one length")
    reference, estimated = (np.asarray(x, np.float64)[None] for x in (clean, estimate))
    if not (np.isfinite(reference).all() and np.isfinite(estimated).all()):
        raise Unscorable("not a number in the signal")
    for name, signal in (("reference", reference), ("estimate", estimated)):
        if signal.size == 0 or float(np.mean(np.square(signal))) < SILENCE:
            raise Unscorable(f"silent {name}")
    return reference, estimated


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise Unscorable("not a number")
    return number


def _reason(error: Exception) -> str:
    text = error.args[0] if error.args else type(error).__name__
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text).splitlines()[0]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("si_sdr", (("si_sdr", "SI-SDR"),), "fast-bss-eval",
               "zero-mean, scale-invariant, clamped to 100 dB", "dB", si_sdr),
        Metric("sdr", (("sdr", "SDR"),), "fast-bss-eval",
               "BSS-eval v3, one source, 512-tap distortion filter, not zero-mean", "dB", sdr),
        Metric("pesq", (("pesq", "WB-PESQ"),), "pesq",
               "ITU-T P.862.2, MOS-LQO, 16 kHz; a clip above 20 s in pieces, their mean", "MOS", pesq, True),
        Metric("composite", (("csig", "CSIG"), ("cbak", "CBAK"), ("covl", "COVL")), "pesq",
               "Hu and Loizou 2008, our own, of WB-PESQ, LLR not limited, WSS, segmental SNR; 1 to 5", "MOS", composite,
               True),
        Metric("stoi", (("stoi", "STOI"),), "pystoi", "plain STOI, not extended", "", stoi),
        Metric("dnsmos",
               (("dnsmos_ovrl", "DNSMOS OVRL"), ("dnsmos_sig", "DNSMOS SIG"), ("dnsmos_bak", "DNSMOS BAK")),
               "speechmos", "P.835, polynomial-fitted; shorter clips repeated to 9.01 s, one window", "MOS",
               dnsmos, True),
        Metric("predicted", (("predicted", "predicted PESQ"),), "tinyse",
               "WB-PESQ as models/quality predicts it without the reference, mean over windows of 4.96 s", "MOS",
               predicted),
    )
}
PAPERS = ("pesq", "composite", "stoi", "si_sdr")
"""What tables of VoiceBank-DEMAND have, in their order."""
VOICE = {"auc": "AUC", "accuracy": "accuracy", "balanced": "balanced accuracy"}
"""Columns of networks that say where voice is (``voices``), in percent."""
LABELS: dict[str, str] = {column: label for metric in METRICS.values() for column, label in metric.columns} | VOICE
UNITS: dict[str, str] = {column: metric.unit for metric in METRICS.values() for column, _ in metric.columns} | {
    column: "%" for column in VOICE}


def select(names: Iterable[str]) -> tuple[Metric, ...]:
    """Metrics by name, in the order of ``METRICS``, once each.

    Raises:
        TinyseError: a name is unknown, or none is given.
    """
    wanted = {name.strip().lower().replace("-", "_") for name in names if name.strip()}
    unknown = sorted(wanted - METRICS.keys())
    if unknown or not wanted:
        raise TinyseError(f"unknown metric: {', '.join(unknown) or '(none given)'}",
                          f"choose from {', '.join(METRICS)}")
    return tuple(metric for name, metric in METRICS.items() if name in wanted)


def conventions(names: Iterable[str]) -> dict[str, str]:
    """What each metric means, and the package and version that computed it."""
    return {metric.name: f"{metric.convention} ({metric.package} {metric.version})" for metric in select(names)}


_isolated = Isolated()


def score(
    metrics: Iterable[Metric], clean: Signal, estimate: Signal
) -> tuple[dict[str, float], dict[str, str]]:
    """Values by column, and the reason for each column that could not be scored.

    Raises:
        TinyseError: a metric's package is missing, or the shapes differ.
    """
    values: dict[str, float] = {}
    skipped: dict[str, str] = {}
    for metric in metrics:
        try:
            values.update(_isolated(metric.score, clean, estimate) if metric.native else metric.score(clean, estimate))
        except Unscorable as reason:
            skipped.update({column: str(reason) for column, _ in metric.columns})
        except Crashed as ending:
            skipped.update({column: f"{metric.package}'s native code {ending}" for column, _ in metric.columns})
        except ImportError as error:
            raise TinyseError(f"metric {metric.name} needs the package {error.name or metric.package}",
                              f"pip install {metric.package}, or leave it out of --metrics") from error
    return values, skipped
