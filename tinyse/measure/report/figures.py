"""Figures as PNG bytes: spectrograms before and after, learning curves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tinyse.core.figure import blank_figure, png_of

Signal = NDArray[np.float32]
RATE = 16000
FLOOR_DB = -80.0  # below the loudest bin of all panels; darker is not shown
WINDOW, STEP = 512, 128


def spectrogram(wave: Signal) -> NDArray[np.float32]:
    """Level in dB of a Hann-windowed 512-point transform every 8 ms, float32[257, frames]."""
    padded = np.pad(np.asarray(wave, np.float32), (0, max(0, WINDOW - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=-1))
    return np.asarray(20 * np.log10(np.maximum(spectrum, 1e-7)).T, np.float32)


def spectrograms(panels: Mapping[str, Signal]) -> bytes:
    """PNG of spectrograms beside each other on one colour scale, 0 to 8 kHz.

    Args:
        panels: title -> float32[samples] at 16 kHz.
    """
    figure = blank_figure(3.4 * len(panels) + 0.6, 3.0)
    levels = {title: spectrogram(wave) for title, wave in panels.items()}
    top = max(float(level.max()) for level in levels.values())
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    image = None
    for axis, (title, level) in zip(axes, levels.items(), strict=True):
        image = axis.imshow(level, origin="lower", aspect="auto", cmap="magma", vmin=top + FLOOR_DB, vmax=top,
                            extent=(0, len(panels[title]) / RATE, 0, RATE / 2000), interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("time in s", fontsize=8)
        axis.tick_params(labelsize=8)
    axes[0].set_ylabel("frequency in kHz", fontsize=8)
    if image is not None:
        bar = figure.colorbar(image, ax=list(axes), pad=0.01)
        bar.set_label("dB", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    return png_of(figure)


def figure_before_after(noisy: Signal, enhanced: Signal, clean: Signal) -> bytes:
    """PNG of one clip's spectrograms: noisy input, enhanced output, clean reference."""
    return spectrograms({"noisy": noisy, "enhanced": enhanced, "clean": clean})
