"""Ways to enhance sound frame by frame on the host, one thread each.

Ours take a hop at a time, as from a microphone. The plain ones transform the whole clip with librosa, then loop over
its frames: they need to have the end of a sound before its start is out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinyse.bench.pace.race import Lap, Run
from tinyse.core.errors import ToolError

SECONDS = 10.0
Mask = Callable[[Any], Any]


def ours(model: Path, kind: str, seconds: float = SECONDS) -> Run:
    """A model on one of tinyse's engines between its own front and back end.

    Args:
        model: a .npz or .tflite file.
        kind: the engine, of ``tinyse.engines.KINDS``.
        seconds: of noise to enhance a round.
    """
    from tinyse.bench.ours import Model
    from tinyse.bench.speed import test_signal
    from tinyse.engines import load_engine

    suppressor = Model(load_engine(model, kind))
    wave = test_signal(suppressor.rate, seconds)[: int(suppressor.rate * seconds) // suppressor.hop * suppressor.hop]

    def run() -> Lap:
        started = time.perf_counter()
        output = suppressor.process(wave)
        return Lap(len(wave) // suppressor.hop, time.perf_counter() - started, output[suppressor.delay:])

    return run


def plain_keras(model: Path, seconds: float = SECONDS) -> Run:
    """A stateful tf_keras model once a frame, by ``predict_on_batch``: the fastest of Keras' own calls.

    Frames per second of CPU time, measured: 119, ``model(x)`` 71, ``model.predict`` 18.
    """
    from tinyse.bench.pace.exporting import keras_model
    from tinyse.graph.model import Model

    trained = Model.load(model)
    network = keras_model(trained, stateful=True)

    def mask(feature: Any) -> Any:
        return network.predict_on_batch(feature.reshape(1, 1, -1)).reshape(-1)

    return _librosa(trained.ends, mask, network.reset_states, seconds)


def plain_lite(model: Path, seconds: float = SECONDS) -> Run:
    """``tf.lite.Interpreter`` on the int8 file, once a frame."""
    import numpy as np

    from tinyse.core.capture import quiet_stderr
    from tinyse.export.bundle import exported_ends
    from tinyse.train.keras import tf

    with quiet_stderr():  # XNNPACK's greeting
        interpreter = tf.lite.Interpreter(model_content=model.read_bytes(), num_threads=1)
        interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    (scale, zero), (out_scale, out_zero) = source["quantization"], target["quantization"]

    def mask(feature: Any) -> Any:
        quantized = np.clip(np.round(feature / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], quantized.reshape(source["shape"]))
        interpreter.invoke()
        result = interpreter.get_tensor(target["index"]).reshape(-1)
        return (result.astype(np.float32) - out_zero) * out_scale

    return _librosa(exported_ends(model), mask, interpreter.reset_all_variables, seconds)


def _librosa(ends: Any, mask: Mask, reset: Callable[[], None], seconds: float) -> Run:
    """Transform, a mask a frame, transform back."""
    import librosa
    import numpy as np

    from tinyse.bench.speed import test_signal
    from tinyse.sound import band_matrix

    framing = ends.framing
    samples = int(framing.rate * seconds) // framing.hop * framing.hop
    wave = test_signal(framing.rate, seconds)[:samples]
    mel = band_matrix(ends.bands, framing)  # librosa's own triangles are straight in Hz; the network learnt others
    shape = {"n_fft": framing.fft, "hop_length": framing.hop, "win_length": framing.frame, "center": False}

    def run() -> Lap:
        reset()
        started = time.perf_counter()
        spectrum = librosa.stft(np.concatenate([np.zeros(ends.delay, np.float32), wave]), **shape).T
        enhanced = np.empty_like(spectrum)
        for number, frame in enumerate(spectrum):
            feature = (np.abs(frame) @ mel) ** np.float32(ends.feature.power)
            enhanced[number] = frame * (mel @ mask(feature))
        output = librosa.istft(enhanced.T, **shape)
        taken = time.perf_counter() - started
        return Lap(len(spectrum), taken, output[ends.delay: len(spectrum) * framing.hop].astype(np.float32))

    return run


def same_sound(ours: Any, plain: Any, least_db: float) -> str:
    """Both outputs are the same sound, the difference ``least_db`` or more below it.

    Raises:
        ToolError: they are not.
    """
    import numpy as np

    if ours.shape != plain.shape:
        raise ToolError(f"the two outputs differ: {len(ours):,} and {len(plain):,} samples")
    error = float(np.sum(np.square(ours - plain, dtype=np.float64)))
    if not error:
        return "the outputs are the same to the last bit"
    distance = 10 * np.log10(float(np.sum(np.square(plain, dtype=np.float64))) / error)
    if not distance >= least_db:
        raise ToolError(f"the two outputs differ: {distance:.1f} dB apart, {least_db:g} dB are expected")
    return f"the outputs differ by {-distance:.0f} dB"
