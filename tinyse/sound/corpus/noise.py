"""Generated noise, for variety where recordings are few: seeded, fast, 16 kHz.

Recorded sets lack full-band fans, offices, traffic and babble; each kind here draws its own spectrum, levels
and rhythm from ``rng``, so no two are alike.

    rng = np.random.default_rng(7)
    hum = generate("hum", 64000, rng)
    any_kind = generate(None, 64000, rng)
    crowd = babble([corpus.samples(clip) for clip in eight_clips], 64000, rng)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyse.core.errors import CorpusError
from tinyse.sound.corpus.store import RATE

Floats = npt.NDArray[np.float32]
Generator = np.random.Generator
LONGEST_PIECE = 1 << 20
BABBLE_VOICES = (6, 10)


def generate(kind: str | None, samples: int, rng: Generator) -> Floats:
    """Noise of one kind: float32[samples], RMS 1.

    Args:
        kind: one of `KINDS`; None draws one.
        samples: length at 16 kHz, at least 1.
        rng: the source of chance; the same state gives the same samples.

    Raises:
        CorpusError: the kind is unknown or the length is not positive.
    """
    if kind is None:
        kind = KINDS[int(rng.integers(len(KINDS)))]
    if kind not in _MAKERS or samples < 1:
        raise CorpusError(f"cannot generate {samples} samples of noise {kind!r}", f"kinds: {', '.join(KINDS)}")
    return _unit(np.asarray(_MAKERS[kind](max(samples, 64), rng)[:samples]))


def babble(voices: Sequence[npt.NDArray[Any]], samples: int, rng: Generator) -> Floats:
    """Several voices at once: float32[samples], RMS 1.

    Six to ten of ``voices`` (all where fewer are given), each repeated from a random place, at levels within
    6 dB of each other.

    Args:
        voices: float[n] recordings of speech, best of different speakers; training voices only.
        samples: length at 16 kHz.
        rng: the source of chance.

    Raises:
        CorpusError: no voice has any samples.
    """
    usable = [voice for voice in voices if len(voice)]
    if not usable:
        raise CorpusError("babble needs at least one voice", "give clips of the training split")
    count = min(int(rng.integers(BABBLE_VOICES[0], BABBLE_VOICES[1] + 1)), len(usable))
    out = np.zeros(samples)
    for index in rng.permutation(len(usable))[:count]:
        voice = usable[int(index)]
        level = 10 ** (rng.uniform(-6, 0) / 20) / max(float(np.sqrt(np.mean(np.square(voice)))), 1e-5)
        start = int(rng.integers(len(voice)))
        repeated = np.resize(np.roll(voice, -start), samples) if len(voice) < samples + start \
            else voice[start:start + samples]
        out += level * repeated
    return _unit(out)


def _unit(samples: npt.NDArray[Any]) -> Floats:
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    if rms < 1e-9:
        return np.ones(len(samples), np.float32)
    return (samples / rms).astype(np.float32)


def _shaped(samples: int, rng: Generator, gain: Callable[[npt.NDArray[np.float64]], npt.NDArray[Any]],
            ) -> npt.NDArray[np.float64]:
    """White noise through a magnitude response given over frequency in Hz; at most a minute, then repeated."""
    length = _fast_length(min(samples, LONGEST_PIECE))
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum *= gain(np.asarray(np.fft.rfftfreq(length, 1 / RATE), np.float64))
    return np.resize(np.fft.irfft(spectrum, length), samples)


def _fast_length(samples: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(samples, real=True))


def _slow(samples: int, rng: Generator, per_second: float) -> npt.NDArray[np.float64]:
    """A random curve through normal values, ``per_second`` of them: float64[samples]."""
    points = max(int(samples / RATE * per_second), 1) + 2
    return np.asarray(np.interp(np.linspace(0, points - 1.0, samples), np.arange(points),
                                rng.standard_normal(points)))


def _coloured(samples: int, rng: Generator) -> npt.NDArray[np.float64]:
    """Power falling as 1/f^a, a from -0.5 (bluish) to 2 (brown)."""
    slope = rng.uniform(-0.5, 2.0)
    return _shaped(samples, rng, lambda f: np.maximum(f, 30.0) ** (-slope / 2))


def _band(samples: int, rng: Generator) -> npt.NDArray[np.float64]:
    """A random equaliser of eight points within 30 dB, and sometimes a band limit."""
    centres = np.geomspace(60, 8000, 8)
    gains = rng.uniform(-30, 0, 8)
    low, high = (rng.uniform(40, 1500), rng.uniform(1800, 8000)) if rng.random() < 0.5 else (0.0, 8000.0)

    def gain(f: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        level = 10 ** (np.interp(np.log(np.maximum(f, 1)), np.log(centres), gains) / 20)
        return np.asarray(level / np.sqrt(1 + (low / np.maximum(f, 1)) ** 8) / np.sqrt(1 + (f / high) ** 8))

    return _shaped(samples, rng, gain)


def _modulated(samples: int, rng: Generator) -> npt.NDArray[np.float64]:
    """Coloured or equalised noise that swells: a periodic and a random envelope."""
    time = np.arange(samples) / RATE
    carrier = _coloured(samples, rng) if rng.random() < 0.5 else _band(samples, rng)
    rate, depth = np.exp(rng.uniform(np.log(0.3), np.log(12))), rng.uniform(0.3, 1)
    periodic = 1 + depth * np.sin(2 * np.pi * rate * time + rng.uniform(0, 2 * np.pi))
    swell = np.exp(rng.uniform(0, 0.7) * _slow(samples, rng, rng.uniform(0.5, 6)))
    return np.asarray(carrier * periodic * swell)


def _harmonics(samples: int, rng: Generator, base: float, count: int, fall: float) -> npt.NDArray[np.float64]:
    """Harmonics of a base that wanders by half a per cent; amplitudes fall as k^-fall, scattered by 6 dB."""
    phase = 2 * np.pi * base * np.cumsum(1 + 0.005 * _slow(samples, rng, 2)) / RATE
    turn = np.exp(1j * phase)
    harmonic, out = np.ones(samples, complex), np.zeros(samples, complex)
    for k in range(1, min(count, int(7600 / base)) + 1):
        harmonic *= turn  # one multiplication instead of a sine a harmonic
        out += k ** -fall * 10 ** (rng.normal(0, 6) / 20) * np.exp(2j * np.pi * rng.random()) * harmonic
    return np.asarray(out.real)


def _hum(samples: int, rng: Generator) -> npt.NDArray[np.float64]:
    """Mains or transformer hum at 50, 60, 100 or 120 Hz, or a motor's, over a quiet floor."""
    base = float(rng.choice([50.0, 60.0, 100.0, 120.0, rng.uniform(70, 400)]))
    tones = _unit(_harmonics(samples, rng, base, int(rng.integers(6, 40)), rng.uniform(0.4, 1.5)))
    return tones + 10 ** (rng.uniform(-30, -6) / 20) * _unit(_coloured(samples, rng))


def _fan(samples: int, rng: Generator) -> npt.NDArray[np.float64]:
    """A fan or an engine: blade or firing harmonics with broadband noise that beats in time with them."""
    base = float(rng.uniform(25, 180))
    tones = _unit(_harmonics(samples, rng, base, int(rng.integers(10, 50)), rng.uniform(0.6, 1.6)))
    beat = 1 + rng.uniform(0, 0.6) * np.sin(2 * np.pi * base / rng.integers(1, 5) * np.arange(samples) / RATE)
    broad = _unit(_coloured(samples, rng) + 0.3 * _band(samples, rng)) * beat
    return 10 ** (rng.uniform(-15, 3) / 20) * tones + broad


def _clicks(samples: int, rng: Generator) -> npt.NDArray[np.float64]:
    """Typing, ticking, knocking: decaying bursts, some in pairs, over a quiet floor."""
    out = 10 ** (rng.uniform(-45, -25) / 20) * _unit(_coloured(samples, rng)).astype(np.float64)
    size = int(0.25 * RATE)
    time = np.arange(size) / RATE
    bodies = [np.exp(-time / rng.uniform(0.002, 0.05))
              * (_unit(_band(size, rng)) + rng.uniform(0, 2) * np.sin(2 * np.pi * rng.uniform(150, 3500) * time))
              for _ in range(4)]
    at, rate = float(rng.uniform(0, 0.3)), rng.uniform(2, 12)
    regular = rng.random() < 0.3
    while at * RATE < samples:
        body = bodies[int(rng.integers(4))] * 10 ** (rng.uniform(-15, 0) / 20)
        start = int(at * RATE)
        out[start:start + size] += body[:samples - start]
        at += 1 / rate if regular else float(rng.exponential(1 / rate)) + 0.02
    return out


def _gusts(samples: int, rng: Generator) -> npt.NDArray[np.float64]:
    """Wind: low-passed noise in four bands whose levels wander; strong gusts reach higher bands."""
    force = _slow(samples, rng, rng.uniform(0.4, 2))
    out = np.zeros(samples)
    for index, corner in enumerate((120, 400, 1200, 3500)):
        layer = _unit(_shaped(samples, rng, lambda f, c=corner: 1 / (1 + (f / c) ** 2)))  # type: ignore[misc]
        out += layer * np.exp(0.6 * (1 + index) * (force - index) + 0.3 * _slow(samples, rng, 4))
    return out


def _chirps(samples: int, rng: Generator) -> npt.NDArray[np.float64]:
    """Alarms, birds, ringing: swept tones with a rhythm, over a quiet floor."""
    out = 10 ** (rng.uniform(-30, -12) / 20) * _unit(_coloured(samples, rng)).astype(np.float64)
    length = int(rng.uniform(0.05, 0.6) * RATE)
    period = int(length * rng.uniform(1.1, 3.0))
    time = np.arange(length) / RATE
    window = np.sin(np.pi * np.arange(length) / length) ** rng.uniform(0.1, 1)
    first, last = rng.uniform(400, 5000, 2)
    overtones = rng.integers(1, 4)
    for start in range(int(rng.integers(period)), samples, period):
        if rng.random() < 0.3:
            first, last = rng.uniform(400, 5000, 2)
        phase = 2 * np.pi * (first * time + (last - first) * time**2 / (2 * time[-1]))
        burst = window * np.sum([np.sin(k * phase) / k**2 for k in range(1, overtones + 1)], axis=0)
        out[start:start + length] += burst[:samples - start]
    return out


_MAKERS: dict[str, Callable[[int, Generator], npt.NDArray[np.float64]]] = {
    "coloured": _coloured, "band": _band, "modulated": _modulated, "hum": _hum, "fan": _fan,
    "clicks": _clicks, "gusts": _gusts, "chirps": _chirps}
KINDS = tuple(_MAKERS)
"""Names that `generate` knows."""
