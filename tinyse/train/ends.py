"""``tinyse.sound`` in TensorFlow, for training: batches of signals, differentiable, XLA-compilable.

The same functions over a batch, from the same tables. Overlapping hops are concatenated and added rather than
gathered, and the transforms have their own gradients: one real transform each, where TensorFlow's go through a full
complex one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyse import sound
from tinyse.core.errors import ModelError, RecipeError
from tinyse.sound import DEFAULT, Ends, Framing
from tinyse.sound.features import TINY
from tinyse.train.keras import tf

Tensor = Any

GRADIENT_FLOOR = 1e-6
"""Magnitude below which a power law's gradient stops growing (ours; the value itself is exact)."""


def _frames(waves: Tensor, framing: Framing) -> Tensor:
    overlap, hop = framing.overlap, framing.hop
    length = tf.shape(waves)[1] if waves.shape[1] is None else waves.shape[1]
    count = (length - framing.frame) // hop + 1
    count = tf.maximum(count, 0) if tf.is_tensor(count) else max(count, 0)
    if framing.frame % hop:
        waves, length = tf.pad(waves, [[0, 0], [0, hop]]), length + hop
    hops = length // hop
    batch = tf.shape(waves)[0] if waves.shape[0] is None else waves.shape[0]
    blocks = tf.reshape(waves[:, : hops * hop], [batch, hops, hop])
    frames = tf.concat([blocks[:, part : part + count] for part in range(overlap)], axis=-1)
    return frames[..., : framing.frame] if framing.frame % hop else frames


def _rfft(frames: Tensor, framing: Framing) -> Tensor:
    if framing.fft > framing.frame:
        frames = tf.pad(frames, [[0, 0], [0, 0], [0, framing.fft - framing.frame]])
    return tf.signal.rfft(frames, [framing.fft])


def _overlap_add(frames: Tensor, framing: Framing) -> Tensor:
    overlap, hop = framing.overlap, framing.hop
    over = overlap * hop - framing.frame
    if over:
        frames = tf.pad(frames, [[0, 0], [0, 0], [0, over]])
    hops = tf.add_n([tf.pad(frames[..., part * hop : (part + 1) * hop], [[0, 0], [part, overlap - 1 - part], [0, 0]])
                     for part in range(overlap)])
    waves = tf.reshape(hops, [-1, tf.shape(hops)[1] * hop if hops.shape[1] is None else hops.shape[1] * hop])
    return waves[:, :-over] if over else waves


def _bin_weights(interior: float, edge: float, framing: Framing) -> Tensor:
    # An interior bin of a real transform stands for itself and its mirror image; the edges do not.
    weights = np.full(framing.bins, interior, np.complex64)
    weights[[0, -1]] = edge
    return tf.constant(weights)


def stft(waves: Tensor, framing: Framing = DEFAULT.framing) -> Tensor:
    """Spectra, complex64 [batch, frames, bins], of signals float32 [batch, samples] (``tf.signal.stft``)."""
    waves = tf.convert_to_tensor(waves)

    @tf.custom_gradient
    def transform(x: Tensor) -> Tensor:
        def gradient(upstream: Tensor) -> Tensor:
            frames = tf.signal.irfft(upstream * _bin_weights(framing.fft / 2, framing.fft, framing), [framing.fft])
            grown = _overlap_add(frames[..., : framing.frame] * sound.analysis_window(framing), framing)
            return tf.pad(grown, [[0, 0], [0, tf.shape(x)[1] - tf.shape(grown)[1]]])

        return _rfft(_frames(x, framing) * sound.analysis_window(framing), framing), gradient

    return transform(waves)


def istft(spectrum: Tensor, framing: Framing = DEFAULT.framing) -> Tensor:
    """Signals, float32 [batch, (frames - 1) * hop + frame], of spectra complex64 [batch, frames, bins]."""
    @tf.custom_gradient
    def transform(x: Tensor) -> Tensor:
        def gradient(upstream: Tensor) -> Tensor:
            frames = _frames(upstream, framing) * sound.synthesis_window(framing)
            return _rfft(frames, framing) * _bin_weights(2 / framing.fft, 1 / framing.fft, framing)

        frames = tf.signal.irfft(x, [framing.fft])[..., : framing.frame] * sound.synthesis_window(framing)
        return _overlap_add(frames, framing), gradient

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


def compress(sums: Tensor, power: float) -> Tensor:
    """``sums ** power``, exact at 0; the gradient is that at ``max(sums, GRADIENT_FLOOR)``, so finite."""
    @tf.custom_gradient
    def law(x: Tensor) -> Tensor:
        def gradient(upstream: Tensor) -> Tensor:
            return upstream * power * tf.pow(tf.maximum(x, GRADIENT_FLOOR), power - 1.0)

        return tf.pow(x, power), gradient

    return law(sums)


def compress_complex(real: Tensor, imaginary: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """``Z |Z|^(power - 1)`` of Z = real + i imaginary, 0 at 0; slopes as in ``compress``, so finite."""
    @tf.custom_gradient
    def law(x: Tensor, y: Tensor) -> Tensor:
        square = x * x + y * y
        factor = tf.where(square >= TINY, tf.pow(tf.maximum(square, TINY), (power - 1.0) / 2), 0.0)

        def gradient(to_x: Tensor, to_y: Tensor) -> Tensor:
            size = tf.sqrt(square)
            slope = tf.pow(tf.maximum(size, GRADIENT_FLOOR), power - 1.0)
            along_x, along_y = tf.math.divide_no_nan(x, size), tf.math.divide_no_nan(y, size)
            inward = (power - 1.0) * (along_x * to_x + along_y * to_y)
            return slope * (to_x + inward * along_x), slope * (to_y + inward * along_y)

        return (x * factor, y * factor), gradient

    return law(real, imaginary)


def _to_bands(bins: Tensor, ends: Ends) -> Tensor:
    if ends.bands.kind == "none":
        return bins
    return tf.tensordot(bins, tf.constant(sound.band_matrix(ends.bands, ends.framing)), 1)


def _to_bins(values: Tensor, ends: Ends) -> Tensor:
    if ends.bands.kind == "none":
        return values
    return tf.tensordot(values, tf.constant(np.ascontiguousarray(sound.band_matrix(ends.bands, ends.framing).T)), 1)


def features(spectrum: Tensor, ends: Ends = DEFAULT) -> Tensor:
    """Network input, float32 [..., row], of spectra complex64 [..., bins]; see ``sound.features``.

    Raises:
        RecipeError: the feature is samples, which have no spectrum.
    """
    feature = ends.feature
    if feature.kind == "magnitude":
        return compress(_to_bands(magnitude(spectrum), ends), feature.power)
    real, imaginary = tf.math.real(spectrum), tf.math.imag(spectrum)
    if feature.kind == "log_power":
        power = _to_bands(real * real + imaginary * imaginary, ends)
        return feature.gain * tf.math.log(power + feature.floor) + feature.bias
    if feature.kind == "complex":
        return _interleaved(*compress_complex(_to_bands(real, ends), _to_bands(imaginary, ends), feature.power))
    raise RecipeError("feature: samples have no spectrum", "the hop is the feature")


def less_mean(values: Tensor, ends: Ends = DEFAULT) -> Tensor:
    """Features float32 [..., frames, row] above their running mean; see ``sound.features.RunningMean``."""
    if not ends.mean_frames:
        return values
    count = values.shape[-2]
    shares = np.zeros((count, count))
    for frame in range(count):
        share = 1 / min(frame + 1, ends.mean_frames)
        shares[frame] = shares[frame - 1] * (1 - share)
        shares[frame, frame] = share
    return values - tf.einsum("st,...tk->...sk", tf.constant(shares, tf.float32), values)


def _interleaved(real: Tensor, imaginary: Tensor) -> Tensor:
    pairs = tf.stack([real, imaginary], -1)
    return tf.reshape(pairs, tf.concat([tf.shape(real)[:-1], [2 * real.shape[-1]]], 0))


def sounded(spectrum: Tensor, answers: Tensor, ends: Ends = DEFAULT, level: Tensor | None = None) -> Tensor:
    """Signals [batch, samples] of answers [batch, frames, outputs] on spectra [batch, frames, bins]; see ``sound``.

    ``level``: what ``sound.divisors`` gave, [batch, frames]; constants, as gains are of the samples and of no weight.
    """
    if ends.restores != (level is not None):
        raise ModelError("answers and gains of a level do not go together", "level: what divisors gives")
    if ends.synthesizes:
        return istft(applied(spectrum, answers, ends), ends.framing)
    if level is not None:
        answers = answers / level[..., tf.newaxis]
    waves = tf.reshape(answers, [tf.shape(answers)[0], -1]) * ends.result.limit
    return tf.pad(waves, [[0, 0], [ends.framing.frame - ends.framing.hop, 0]])


def gains(answer: Tensor, ends: Ends = DEFAULT) -> Tensor:
    """Gains of bins, float32 or complex64 [..., bins], of a network's answers float32 [..., outputs]."""
    if ends.result.limit != 1:
        answer = answer * ends.result.limit
    if ends.result.kind == "complex_gains":
        return tf.complex(_to_bins(answer[..., ::2], ends), _to_bins(answer[..., 1::2], ends))
    return _to_bins(answer, ends)


def applied(spectrum: Tensor, answer: Tensor, ends: Ends = DEFAULT) -> Tensor:
    """Spectra complex64 [..., bins] times the gains of answers float32 [..., outputs]."""
    return spectrum * tf.cast(gains(answer, ends), spectrum.dtype)
