"""A page to listen to: the same clips through everyone, level-matched, with spectrograms, in one file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tinyse.bench.contenders import Contender
from tinyse.bench.peer import Real, enhance
from tinyse.core.artifacts import write_text
from tinyse.core.errors import TinyseError
from tinyse.core.progress import Progress, Step, silent
from tinyse.measure.report.figures import FLOOR_DB, spectrogram
from tinyse.measure.scores.metrics import score, select
from tinyse.measure.scores.pairs import Pair

RATE = 16000
CLIPS = 10
PEAK = 0.98
METRICS = ("si_sdr", "pesq")
CLEAN = "clean"
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}
.row{display:grid;grid-template-columns:repeat(auto-fill,minmax(260px,1fr));gap:14px}
figure{margin:0;border:1px solid #ddd;border-radius:6px;padding:8px}
figcaption{font-size:.85rem;display:flex;justify-content:space-between;gap:8px}
img{width:100%;height:110px;display:block;image-rendering:auto}audio{width:100%;height:34px;margin-top:6px}
.ours b{color:#b34700}small{color:#555}
"""
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"


def choose(pairs: Sequence[Pair], count: int = CLIPS) -> list[Pair]:
    """``count`` clips spread over the list, every SNR in turn and no mixture twice.

    The list holds every SNR after the other, each with the same numbers of speech and noise.
    """
    snrs = list(dict.fromkeys(pair.snr for pair in pairs))
    groups = [[pair for pair in pairs if pair.snr == snr] for snr in snrs]
    return [groups[index % len(groups)][index] for index in range(min(count, min(map(len, groups))))]


def matched(wave: Real, reference: Real) -> Real:
    """``wave`` with the level that its part along ``reference`` has there: speech as loud as the clean one.

    The least-squares gain that makes ``reference`` of it; a whole clip that would pass full scale is lowered.
    """
    along = float(np.dot(wave.astype(np.float64), reference.astype(np.float64)))
    power = float(np.dot(reference.astype(np.float64), reference.astype(np.float64)))
    gain = power / along if along > 0.05 * power else 1.0
    result = wave * np.float32(gain)
    peak = float(np.abs(result).max(initial=0.0))
    return np.asarray(result * np.float32(min(1.0, PEAK / peak)) if peak else result, np.float32)


def write_page(contenders: Sequence[Contender], pairs: Sequence[Pair], path: Path, title: str,
               progress: Progress = silent) -> Path:
    """Run everyone on every clip and write one self-contained HTML file.

    Args:
        contenders: "noisy" first, then peers and models; one that cannot be loaded is named and left out.
        pairs: the clips.
        path: of the page.
        title: its heading.
        progress: receives the task "listen".

    Raises:
        TinyseError: the file cannot be written.
    """
    outputs: dict[str, list[Real]] = {CLEAN: [pair.clean for pair in pairs]}
    missing: dict[str, str] = {}
    for done, contender in enumerate(contenders, 1):
        try:
            suppressor = contender.open()
            outputs[contender.name] = [enhance(suppressor, pair.noisy) for pair in pairs]
        except TinyseError as error:
            missing[contender.name] = error.line()
        progress(Step("listen", done, len(contenders), contender.name))
    ours = {contender.name for contender in contenders if contender.system is not None}
    sections = [_clip(pair, {name: waves[index] for name, waves in outputs.items()}, ours)
                for index, pair in enumerate(pairs)]
    write_text(path, page(title, sections, missing))
    return path


def page(title: str, sections: Sequence[str], missing: Mapping[str, str]) -> str:
    """The HTML around the clips."""
    lost = "".join(f"<p>{html.escape(name)} is missing: {html.escape(reason)}</p>" for name, reason in missing.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>
<h1>{html.escape(title)}</h1>
<p>Speech is as loud in every version of a clip as in the clean one, unless that would pass full scale. Spectrograms:
0 to 8 kHz, {-FLOOR_DB:.0f} dB below the clip's loudest bin to black. SI-SDR and PESQ: measured (host). Audio: FLAC,
16 kHz, 16 bits. Names of tinyse's models are orange.</p>
{lost}
{"".join(sections)}
</body></html>
"""


def _clip(pair: Pair, outputs: Mapping[str, Real], ours: set[str]) -> str:
    waves = {name: matched(wave, pair.clean) for name, wave in outputs.items()}
    top = max(float(spectrogram(wave).max()) for wave in waves.values())
    figures = []
    for name, wave in waves.items():
        values, _ = score(select(METRICS), pair.clean, outputs[name]) if name != CLEAN else ({}, {})
        text = ", ".join((f"{values['si_sdr']:.1f} dB" if "si_sdr" in values else "",
                          f"PESQ {values['pesq']:.2f}" if "pesq" in values else "")).strip(", ")
        label = html.escape(name)
        figures.append(f"""<figure{' class="ours"' if name in ours else ""}>
<figcaption><b>{label}</b><small>{text}</small></figcaption>
<img alt="Spectrogram of {label}" src="{_uri("image/png", image(wave, top))}">
<audio controls preload="none" aria-label="{label}" src="{_uri("audio/flac", flac(wave))}"></audio></figure>""")
    snr = "" if pair.snr is None else f", SNR {pair.snr:+g} dB"
    return f'<h2>{html.escape(pair.name)}{snr}</h2><div class="row">{"".join(figures)}</div>\n'


def image(wave: Real, top: float) -> bytes:
    """PNG of a spectrogram without axes, black ``-FLOOR_DB`` below ``top`` (dB)."""
    import matplotlib.image

    level = spectrogram(wave)[::2, ::2]
    stream = io.BytesIO()
    matplotlib.image.imsave(stream, level, cmap="magma", origin="lower", vmin=top + FLOOR_DB, vmax=top, format="png",
                            metadata={"Software": ""})
    return stream.getvalue()


def flac(wave: Real) -> bytes:
    """16-bit FLAC at 16 kHz."""
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, np.clip(wave, -1.0, 1.0), RATE, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
