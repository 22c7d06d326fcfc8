"""What is compared with what, and how all of it is run.

    result = bench_speed(Contests(), progress)
    write_speed(result, Path("docs"), Path("build/bench"))
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tinyse.bench.pace import exporting, simulating, streaming, training
from tinyse.bench.pace.race import DEFAULT_THREADS, ONE_THREAD, Contest, Result, Way, compete
from tinyse.core.artifacts import sha256, versions
from tinyse.core.errors import ModelError
from tinyse.core.progress import Progress, silent
from tinyse.export.bundle import COMPILED, INT8

ROUNDS = 5
NAMES = ("train", "train-quantized", "train-cost", "train-gru", "train-gru-quantized", "train-subband",
         "train-subband-quantized", "export", "float", "int8", "npu", "npu-numpy", "npu-tflm", "sequences")
"""Every contest, in the page's order."""
FLOAT_DB, INT8_DB = 40.0, 20.0
"""How far below the sound the difference of two outputs must lie: in float, where tf_keras' LSTM has not tinyse's limit
of the cell, and in int8, which TensorFlow Lite rounds otherwise than TFLM."""
SHORT = 4.0
"""Seconds of sound a round where a frame may take tens of milliseconds."""
SIMULATED_STEPS = 4
"""Largest difference of a mask of the simulator and one of TFLM (docs/npu.md)."""


@dataclass(frozen=True)
class Contests:
    """What is run.

    Attributes:
        model: a released model's folder, of a network that runs on every frame.
        rounds: timed runs of every way.
        only: names of contests; empty for all.
    """

    model: Path = Path("models/tinylstm-dense")
    rounds: int = ROUNDS
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Speed:
    """Every contest's result and where it was measured.

    Attributes:
        results: in the order of ``NAMES``.
        host: processor, cores, load average before the first round, operating system.
        provenance: the model, its hash, rounds, versions.
    """

    results: tuple[Result, ...]
    host: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def complete(self) -> bool:
        """Whether every contest was held."""
        return tuple(result.name for result in self.results) == NAMES


def bench_speed(plan: Contests, progress: Progress = silent) -> Speed:
    """Hold the contests, those that share a way at the same time.

    Raises:
        ModelError: no such model, or a Skip RNN. TinyseError: a way failed, or two outputs do not agree.
    """
    int8, compiled = plan.model / INT8, plan.model / COMPILED
    for file in (int8, compiled):
        if not file.is_file():
            raise ModelError(f"{file}: no such file", "give --model the folder of a released model")
    host = _host()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as scratch:
        trained, floating = _weights(int8, Path(scratch))
        for task, contests in _groups(int8, compiled, trained, floating, Path(scratch)).items():
            chosen = [contest for contest in contests if not plan.only or contest.name in plan.only]
            if chosen:
                results += compete(chosen, plan.rounds, progress, task)
    known = {"model": plan.model.name, "sha256": sha256(int8), "rounds": plan.rounds, "versions": versions()}
    return Speed(tuple(sorted(results, key=lambda result: NAMES.index(result.name))), host, known)


def _groups(int8: Path, compiled: Path, trained: Path, floating: Path, scratch: Path) -> dict[str, Sequence[Contest]]:
    lanes = "2 threads, one a half batch"
    plain_float = Way("tf_keras model.fit", partial(training.plain, False), DEFAULT_THREADS)
    plain_fake = Way("tf_keras model.fit, fake quantization", partial(training.plain, True), DEFAULT_THREADS)
    ours_float = Way("tinyse's step, mixing on the fly", partial(training.ours, scratch / "float", False), lanes)
    ours_grids = Way("tinyse's step on TFLM's integer grids", partial(training.ours, scratch / "grids", True), lanes)
    plain_gru = Way("tf_keras model.fit, GRUs", partial(training.plain, False, "gru"), DEFAULT_THREADS)
    ours_gru = Way("tinyse's step, GRUs", partial(training.ours, scratch / "gru", False, "gru"), lanes)
    ours_gru_grids = Way("tinyse's step, GRUs on the integer grids",
                         partial(training.ours, scratch / "gru-grids", True, "gru"), lanes)
    plain_bands = Way("tf_keras model.fit, GRUs of sub-bands", partial(training.plain, False, "subband"),
                      DEFAULT_THREADS)
    ours_bands = Way("tinyse's step, GRUs of sub-bands", partial(training.ours, scratch / "bands", False, "subband"),
                     lanes)
    ours_bands_grids = Way("tinyse's step, GRUs of sub-bands on the integer grids",
                           partial(training.ours, scratch / "bands-grids", True, "subband"), lanes)
    same = training.same_parameters
    converter = Way("tf.lite.TFLiteConverter, then vela", partial(exporting.plain, trained, scratch / "plain"))
    export = Way("tinyse export", partial(exporting.ours, trained, scratch / "export"))
    keras = Way("Keras engine, hop by hop", partial(streaming.ours, floating, "keras", SHORT), ONE_THREAD)
    called = Way("predict_on_batch a frame, librosa", partial(streaming.plain_keras, floating, SHORT), ONE_THREAD)
    tflm = Way("TFLM engine, hop by hop", partial(streaming.ours, int8, "tflm"), ONE_THREAD)
    npu = Way("NPU simulator, hop by hop", partial(streaming.ours, compiled, "npu"), ONE_THREAD)
    lite = Way("tf.lite.Interpreter a frame, librosa", partial(streaming.plain_lite, int8), ONE_THREAD)
    simulator = Way("NPU simulator, network only", partial(simulating.ours, compiled), ONE_THREAD)
    layers = Way("NumPy, layer by layer", partial(simulating.numpy, int8), ONE_THREAD)
    alone = Way("TFLM's interpreter, network only", partial(simulating.tflm, int8), ONE_THREAD)
    clips = Way(f"Keras network on TFLM's grids, {simulating.CLIPS} whole clips at once",
                partial(simulating.sequences, trained), ONE_THREAD)
    sound = partial(streaming.same_sound, least_db=INT8_DB)
    masks = partial(simulating.same_masks, most=SIMULATED_STEPS)
    live = _hops_a_second(floating)
    return {
        "speed of training": (
            Contest("train", "Training, float", ours_float, plain_float, same),
            Contest("train-quantized", "Training, quantization-aware", ours_grids, plain_fake, same),
            Contest("train-cost", "Training, quantization-aware against tinyse's float", ours_grids, ours_float, same),
            Contest("train-gru", "Training a GRU, float", ours_gru, plain_gru, same),
            Contest("train-gru-quantized", "Training a GRU, quantization-aware against tf_keras' float",
                    ours_gru_grids, plain_gru, same),
            Contest("train-subband", "Training GRUs of sub-bands, float", ours_bands, plain_bands, same),
            Contest("train-subband-quantized", "Training GRUs of sub-bands, quantization-aware against tf_keras' float",
                    ours_bands_grids, plain_bands, same)),
        "speed of export": (
            Contest("export", "Export", export, converter, exporting.same_weights, unit="exports"),),
        "speed of engines": (
            Contest("float", "Streaming, float", keras, called, partial(streaming.same_sound, least_db=FLOAT_DB), live),
            Contest("int8", "Streaming, int8", tflm, lite, sound, live),
            Contest("npu", "Streaming, NPU simulator", npu, lite, sound, live)),
        "speed of the simulator": (
            Contest("npu-numpy", "Simulator against NumPy", simulator, layers, masks, live),
            Contest("npu-tflm", "Simulator against TFLM", simulator, alone, masks, live),
            Contest("sequences", "Whole clips against TFLM", clips, alone, masks, live)),
    }


def _weights(int8: Path, folder: Path) -> tuple[Path, Path]:
    """The released integers as a trained model that exports to them again, and as one without grids."""
    from tinyse.export.bundle import open_bundle
    from tinyse.graph.dequantize import floating
    from tinyse.train.dense import bundled_model

    model = bundled_model(open_bundle(int8))
    if model.net.skip:
        raise ModelError(f"{int8}: a Skip RNN, which the plain ways cannot run", "give --model tinylstm-dense's folder")
    trained, real = folder / "trained.npz", folder / "float.npz"
    model.save(trained)
    floating(model).save(real)
    return trained, real


def _hops_a_second(file: Path) -> float:
    from tinyse.graph.model import Model

    return Model.load(file).ends.frames_per_second


def _host() -> dict[str, Any]:
    names = [line.split(":", 1)[1].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    return {"cpu": names[0] if names else platform.processor() or platform.machine(), "cores": os.cpu_count() or 1,
            "load": round(os.getloadavg()[0], 2), "system": platform.system()}


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
