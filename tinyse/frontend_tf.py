"""The front end in TensorFlow, for training: batches of signals, differentiable, XLA-compilable.

The same functions as ``tinyse.frontend``, over a batch, from the same tables. Overlapping hops are
concatenated and added rather than gathered, and the transforms have their own gradients: one real
transform each, where TensorFlow's go through a full complex one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyse import frontend
from tinyse.frontend import DEFAULT, FrontEndSpec
from tinyse.train.keras import tf

Tensor = Any

GRADIENT_FLOOR = 1e-6
"""Mel magnitude below which the power law's gradient stops growing (ours; the value itself is exact)."""


def _frames(waves: Tensor, spec: FrontEndSpec) -> Tensor:
    overlap = spec.frame // spec.hop
    length = tf.shape(waves)[1] if waves.shape[1] is None else waves.shape[1]
    hops = length // spec.hop
    batch = tf.shape(waves)[0] if waves.shape[0] is None else waves.shape[0]
    blocks = tf.reshape(waves[:, : hops * spec.hop], [batch, hops, spec.hop])
    count = hops - overlap + 1
    count = tf.maximum(count, 0) if tf.is_tensor(count) else max(count, 0)
    return tf.concat([blocks[:, part : part + count] for part in range(overlap)], axis=-1)


def _rfft(frames: Tensor, spec: FrontEndSpec) -> Tensor:
    if spec.fft > spec.frame:
        frames = tf.pad(frames, [[0, 0], [0, 0], [0, spec.fft - spec.frame]])
    return tf.signal.rfft(frames, [spec.fft])


def _overlap_add(frames: Tensor, spec: FrontEndSpec) -> Tensor:
    overlap = spec.frame // spec.hop
    hops = tf.add_n([tf.pad(frames[..., part * spec.hop : (part + 1) * spec.hop],
                            [[0, 0], [part, overlap - 1 - part], [0, 0]]) for part in range(overlap)])
    return tf.reshape(hops, [-1, tf.shape(hops)[1] * spec.hop if hops.shape[1] is None
                             else hops.shape[1] * spec.hop])


def _bin_weights(interior: float, edge: float, spec: FrontEndSpec) -> Tensor:
    # An interior bin of a real transform stands for itself and its mirror image; the edges do not.
    weights = np.full(spec.bins, interior, np.complex64)
    weights[[0, -1]] = edge
    return tf.constant(weights)


def stft(waves: Tensor, spec: FrontEndSpec = DEFAULT) -> Tensor:
    """Spectra, complex64 [batch, frames, bins], of signals float32 [batch, samples] (``tf.signal.stft``)."""
    waves = tf.convert_to_tensor(waves)

    @tf.custom_gradient
    def transform(x: Tensor) -> Tensor:
        def gradient(upstream: Tensor) -> Tensor:
            frames = tf.signal.irfft(upstream * _bin_weights(spec.fft / 2, spec.fft, spec), [spec.fft])
            grown = _overlap_add(frames[..., : spec.frame] * frontend.analysis_window(spec), spec)
            return tf.pad(grown, [[0, 0], [0, tf.shape(x)[1] - tf.shape(grown)[1]]])

        return _rfft(_frames(x, spec) * frontend.analysis_window(spec), spec), gradient

    return transform(waves)


def istft(spectrum: Tensor, spec: FrontEndSpec = DEFAULT) -> Tensor:
    """Signals, float32 [batch, (frames - 1) * hop + frame], of spectra complex64 [batch, frames, bins]."""
    @tf.custom_gradient
    def transform(x: Tensor) -> Tensor:
        def gradient(upstream: Tensor) -> Tensor:
            frames = _frames(upstream, spec) * frontend.synthesis_window(spec)
            return _rfft(frames, spec) * _bin_weights(2 / spec.fft, 1 / spec.fft, spec)

        frames = tf.signal.irfft(x, [spec.fft])[..., : spec.frame] * frontend.synthesis_window(spec)
        return _overlap_add(frames, spec), gradient

    return transform(spectrum)


def magnitude(spectrum: Tensor) -> Tensor:
    """|X|, float32, of complex64; its gradient at X = 0 is 0."""
    @tf.custom_gradient
    def absolute(x: Tensor) -> Tensor:
        real, imaginary = tf.math.real(x), tf.math.imag(x)
        size = tf.sqrt(real * real + imaginary * imaginary)

        def gradient(upstream: Tensor) -> Tensor:
            ratio = tf.math.divide_no_nan(upstream, size)
            return tf.complex(ratio * real, ratio * imaginary)

        return size, gradient

    return absolute(spectrum)


def compress(mel: Tensor, power: float) -> Tensor:
    """``mel ** power``, exact at 0; the gradient is that at ``max(mel, GRADIENT_FLOOR)``, so finite."""
    @tf.custom_gradient
    def law(x: Tensor) -> Tensor:
        def gradient(upstream: Tensor) -> Tensor:
            return upstream * power * tf.pow(tf.maximum(x, GRADIENT_FLOOR), power - 1.0)

        return tf.pow(x, power), gradient

    return law(mel)


def features(spectrum: Tensor, spec: FrontEndSpec = DEFAULT) -> Tensor:
    """Network input, float32 [..., bands], of spectra complex64 [..., bins]; see ``frontend.features``."""
    mel = tf.tensordot(magnitude(spectrum), tf.constant(frontend.mel_matrix(spec)), 1)
    return compress(mel, spec.power)


def lift(mask: Tensor, spec: FrontEndSpec = DEFAULT) -> Tensor:
    """Mel masks float32 [..., bands] to bin gains, float32 [..., bins]."""
    return tf.tensordot(mask, tf.constant(np.ascontiguousarray(frontend.mel_matrix(spec).T)), 1)
