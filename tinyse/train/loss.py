"""Training losses: TinyLSTMs' compressed spectral loss, SI-SDR, and both at once.

A network that says where voice is has the cross-entropy of its probabilities.

Papers: TinyLSTMs, section 3.2. With X clean and Y enhanced, both with exponent c = 0.3::

    mean((|X|^c - |Y|^c)^2) + 0.113 mean(|X^c - Y^c|^2),   X^c = |X|^c e^{j arg X}

The enhanced spectrum keeps the noisy phase, so the complex term needs only the cosine between the clean and
the noisy phase, which is a constant of the batch: the loss is real arithmetic on magnitudes. A network that answers
complex gains or samples has a phase of its own: ``complex_spectral`` is the same loss of two complex spectra.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyse.sound import Ends, band_matrix
from tinyse.train.ends import compress, compress_complex, magnitude
from tinyse.train.keras import tf

EXPONENT = 0.3
COMPLEX_WEIGHT = 0.113
LEVEL = 0.05
"""RMS that ``levelled`` takes the clean speech of every mixture at, of full scale 1 (ours)."""
LEAST_CHANCE = 1 / 512
"""Half a step of a probability on its grid: nearer to 0 or 1 none has a gradient (ours)."""
MASK_FLOOR = 1e-5
"""Keeps the power's gradient finite where the lifted mask is zero (ours)."""


def lifting(ends: Ends) -> Any:
    """The constant [bands, bins] that lifts a mel mask to a linear one."""
    return tf.constant(np.ascontiguousarray(band_matrix(ends.bands, ends.framing).T) * np.float32(ends.result.limit))


def enhanced_magnitude(mask: Any, noisy: Any, lift: Any) -> Any:
    """|Y|^0.3 [..., bins] of a mel mask [..., bands] on |N|^0.3 [..., bins]; lift [bands, bins]."""
    return tf.pow(tf.tensordot(mask, lift, 1) + MASK_FLOOR, EXPONENT) * noisy


def level_weights(clean: Any) -> Any:
    """What the compressed loss of clean waves [B, samples] is multiplied by to be that at ``LEVEL``, [B]."""
    rms = tf.sqrt(tf.reduce_mean(tf.square(clean), -1))
    return tf.pow(LEVEL / tf.maximum(rms, 0.002 * LEVEL), 2.0 * EXPONENT)


def compressed_spectral(mask: Any, clean: Any, noisy: Any, cosine: Any, lift: Any, weights: Any = 1.0) -> Any:
    """The paper's loss, a scalar.

    Args:
        weights: of the mixtures, [B], of arrays [T, B, bins].
        mask: mel mask [..., bands] in (0, 1).
        clean, noisy: |X|^0.3 and |N|^0.3, [..., bins].
        cosine: cos(arg X - arg N), [..., bins].
        lift: [bands, bins].
    """
    error = compressed_error(enhanced_magnitude(mask, noisy, lift), clean, cosine)
    return tf.reduce_mean(error if isinstance(weights, float) else error * weights[:, tf.newaxis])


def compressed_error(enhanced: Any, clean: Any, cosine: Any) -> Any:
    """The paper's loss of every bin, [..., bins], of |Y|^0.3; the others as for ``compressed_spectral``."""
    magnitude = tf.square(clean - enhanced)
    # |X^c - Y^c|^2 = (|X|^c - |Y|^c)^2 + 2 |X|^c |Y|^c (1 - cos)
    turned = 2.0 * clean * enhanced * (1.0 - cosine)
    return (1.0 + COMPLEX_WEIGHT) * magnitude + COMPLEX_WEIGHT * turned


def complex_spectral(enhanced: Any, clean: Any, weights: Any = 1.0) -> Any:
    """The paper's loss, a scalar, of complex spectra [B, T, bins]; ``weights`` of the mixtures, [B]."""
    sizes = [compress(magnitude(each), EXPONENT) for each in (enhanced, clean)]
    ours, theirs = (compress_complex(tf.math.real(each), tf.math.imag(each), EXPONENT) for each in (enhanced, clean))
    apart = tf.square(ours[0] - theirs[0]) + tf.square(ours[1] - theirs[1])
    error = tf.square(sizes[0] - sizes[1]) + COMPLEX_WEIGHT * apart
    return tf.reduce_mean(error if isinstance(weights, float) else error * weights[:, tf.newaxis, tf.newaxis])


def energy_error(enhanced: Any, clean: Any, cosine: Any) -> Any:
    """|X - Y|^2 of every bin, [..., bins], of |Y|^0.3; the others as for ``compressed_spectral``."""
    one, other = tf.pow(enhanced, 1.0 / EXPONENT), tf.pow(clean, 1.0 / EXPONENT)
    return tf.square(one) + tf.square(other) - 2.0 * one * other * cosine


def cross_entropy(probability: Any, voice: Any) -> Any:
    """Of probabilities and labels, 0 or 1, of one shape: a scalar, in nats; voice and pauses weigh alike (ours)."""
    sure = tf.clip_by_value(probability, LEAST_CHANCE, 1.0 - LEAST_CHANCE)
    parts = ((voice, -tf.math.log(sure)), (1.0 - voice, -tf.math.log(1.0 - sure)))
    return 0.5 * tf.add_n([tf.math.divide_no_nan(tf.reduce_sum(w * x), tf.reduce_sum(w)) for w, x in parts])


def si_sdr(estimate: Any, reference: Any) -> Any:
    """Scale-invariant SDR in dB of [batch, samples], without removing means; a vector [batch]."""
    tiny = 1e-9
    dot = tf.reduce_sum(estimate * reference, -1, keepdims=True)
    target = reference * dot / (tf.reduce_sum(tf.square(reference), -1, keepdims=True) + tiny)
    residual = tf.reduce_sum(tf.square(estimate - target), -1)
    return 10.0 * tf.math.log((tf.reduce_sum(tf.square(target), -1) + tiny) / (residual + tiny)) / np.log(10.0)
