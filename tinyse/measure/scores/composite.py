"""The composite measures of Hu and Loizou, "Evaluation of Objective Quality Measures for Speech Enhancement", 2008.

No kept package computes them, so this is our own. CSIG, CBAK and COVL are regressions on PESQ, the log-likelihood
ratio of linear prediction (LLR), the weighted spectral slope (WSS, Klatt 1982) and the segmental SNR, all over frames
of 30 ms with a quarter's step. As in the tables of VoiceBank-DEMAND at 16 kHz, PESQ is the wideband MOS-LQO, and LLR
is not limited.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATE = 16000
FRAME = 480
STEP = FRAME // 4
ORDER = 16
KEPT = 0.95
"""Share of the frames, the best ones, that LLR and WSS are the mean of."""
SNR_LIMITS = (-10.0, 35.0)
FFT = 1024
FLOOR = 1e-10
CENTRES = (50, 120, 190, 260, 330, 400, 470, 540, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30, 1288.72,
           1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63)
WIDTHS = (70, 70, 70, 70, 70, 70, 70, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423, 153.823, 168.154,
          183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136)
"""Hz, of the 25 critical bands."""
GLOBAL_PEAK, LOCAL_PEAK = 20.0, 1.0
EPS = float(np.finfo(np.float64).eps)


def ratings(pesq: float, llr: float, wss: float, snr: float) -> dict[str, float]:
    """The three regressions, each within 1 to 5."""
    values = {"csig": 3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss,
              "cbak": 1.634 + 0.478 * pesq - 0.007 * wss + 0.063 * snr,
              "covl": 1.594 + 0.805 * pesq - 0.512 * llr - 0.007 * wss}
    return {name: min(max(value, 1.0), 5.0) for name, value in values.items()}


def frames(signal: Floats) -> Floats:
    """Windowed frames of float64[samples], the last whole one left out: float64[frames, 480].

    Raises:
        ValueError: there is no frame.
    """
    count = (len(signal) - FRAME) // STEP
    if count < 1:
        raise ValueError("shorter than two frames of 30 ms")
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, FRAME + 1) / (FRAME + 1)))
    return np.lib.stride_tricks.sliding_window_view(signal, FRAME)[::STEP][:count] * window


def segmental_snr(clean: Floats, estimate: Floats) -> float:
    """Mean over the frames of the SNR in dB, each within -10 to 35."""
    one, other = frames(clean), frames(estimate)
    ratio = np.square(one).sum(1) / (np.square(one - other).sum(1) + EPS)
    return float(np.clip(10 * np.log10(ratio + EPS), *SNR_LIMITS).mean())


def log_likelihood_ratio(clean: Floats, estimate: Floats) -> float:
    """How much worse the estimate's linear prediction fits the clean frames than their own does."""
    correlations, own = _prediction(frames(clean + EPS))
    _, others = _prediction(frames(estimate + EPS))
    lags = np.abs(np.subtract.outer(np.arange(ORDER + 1), np.arange(ORDER + 1)))
    matrices = correlations[:, lags]
    errors = [np.einsum("fi,fij,fj->f", filters, matrices, filters) for filters in (others, own)]
    ratio = errors[0] / errors[1]
    return _mean_of_best(np.log(np.where(ratio > 0, ratio, 1000.0)))


def weighted_spectral_slope(clean: Floats, estimate: Floats) -> float:
    """Distance between the slopes of two spectra over 25 critical bands, weighted towards their peaks."""
    bands = [_band_levels(frames(signal + EPS)) for signal in (clean, estimate)]
    slopes = [np.diff(levels, axis=1) for levels in bands]
    weights = np.mean([_weights(levels, slope) for levels, slope in zip(bands, slopes, strict=True)], axis=0)
    distances = (weights * np.square(slopes[0] - slopes[1])).sum(1) / weights.sum(1)
    return _mean_of_best(distances)


def _mean_of_best(values: Floats) -> float:
    return float(np.sort(values)[: max(round(len(values) * KEPT), 1)].mean())


def _prediction(windowed: Floats) -> tuple[Floats, Floats]:
    """Autocorrelation and prediction error filter of each frame, float64[frames, 17], by Levinson and Durbin."""
    spectrum = np.fft.rfft(windowed, FFT)
    lags = np.fft.irfft(np.square(np.abs(spectrum)), FFT)[:, : ORDER + 1]
    filters = np.zeros_like(lags)
    filters[:, 0] = 1.0
    error = lags[:, 0].copy()
    for order in range(1, ORDER + 1):
        reflection = -(filters[:, :order] * lags[:, order:0:-1]).sum(1) / error
        filters[:, 1 : order + 1] += reflection[:, None] * filters[:, order - 1 :: -1][:, :order]
        error *= 1 - np.square(reflection)
    return lags, filters


@functools.lru_cache(maxsize=1)
def _bands() -> Floats:
    """Gain of each critical band at each bin: float64[25, 512]."""
    bins, scale = np.arange(FFT // 2), FFT // 2 / (RATE / 2)
    centres, widths = np.floor(np.array(CENTRES) * scale)[:, None], np.array(WIDTHS)[:, None] * scale
    gains = np.exp(-11 * np.square((bins - centres) / widths) + np.log(WIDTHS[0]) - np.log(np.array(WIDTHS))[:, None])
    return np.where(gains > math.exp(-30 / (2 * 2.303)), gains, 0.0)


def _band_levels(windowed: Floats) -> Floats:
    """dB in each critical band: float64[frames, 25]."""
    power = np.square(np.abs(np.fft.rfft(windowed, FFT)[:, : FFT // 2]))
    return 10 * np.log10(np.maximum(power @ _bands().T, FLOOR))


def _weights(levels: Floats, slopes: Floats) -> Floats:
    """Klatt's weights: larger near the highest peak and near the next one."""
    peaks = np.empty_like(slopes)
    rising, last = slopes > 0, slopes.shape[1] - 1
    for band in range(last, -1, -1):  # up the slope: the level before the last rise that follows on
        further = peaks[:, band + 1] if band < last else levels[:, band]
        peaks[:, band] = np.where(rising[:, band + 1], further, levels[:, band]) if band < last else levels[:, band]
    downhill = np.empty(len(slopes))
    for band in range(last + 1):  # down: the level from which it has been falling
        before = downhill if band else levels[:, 0]
        downhill = np.where(rising[:, band], levels[:, band + 1], before)
        peaks[:, band] = np.where(rising[:, band], peaks[:, band], downhill)
    highest = levels.max(1, keepdims=True)
    return (GLOBAL_PEAK / (GLOBAL_PEAK + highest - levels[:, :-1])
            * LOCAL_PEAK / (LOCAL_PEAK + peaks - levels[:, :-1]))
