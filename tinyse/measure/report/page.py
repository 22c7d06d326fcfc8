"""One self-contained page: everything it shows is inside it as data URIs, every text is escaped."""

from __future__ import annotations

import base64
import html
import io
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import numpy as np

from tinyse.core.artifacts import write_text
from tinyse.measure.costs.render import Table
from tinyse.measure.report.figures import RATE, spectrograms
from tinyse.measure.report.summary import Summary
from tinyse.measure.scores.metrics import LABELS, Signal
from tinyse.measure.scores.render import plot
from tinyse.measure.scores.result import Evaluation, table_rows

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Clip:
    """One example: the same passage as several signals.

    Attributes:
        name: what it is ("clip 3 at 0 dB").
        signals: title -> float32[samples] at 16 kHz, in playing order.
    """

    name: str
    signals: Mapping[str, Signal]


@dataclass(frozen=True)
class Report:
    """What a report shows; whatever is empty is left out.

    Attributes:
        title: heading.
        subtitle: one line below it.
        summary: the one result table.
        evaluation: scores per SNR.
        clips: audio with spectrograms.
        curves: PNG of the learning curves.
        figures: further PNGs by caption.
        tables: what a frame costs and where the bytes go, each title with its source; below the heading ``below``.
        recipe: the resolved recipe, YAML text.
        versions: package -> version.
        notes: further lines by heading.
    """

    title: str
    subtitle: str
    summary: Summary | None = None
    evaluation: Evaluation | None = None
    clips: Sequence[Clip] = ()
    curves: bytes | None = None
    figures: Mapping[str, bytes] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    below: str = "Cost"
    recipe: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)


def write_report(folder: Path | str, report: Report) -> Path:
    """Write ``folder/index.html``, whole or not at all; needs no other file and no network.

    Returns:
        The page's path.

    Raises:
        TinyseError: the folder cannot be written.
    """
    path = Path(folder) / "index.html"
    write_text(path, render(report))
    return path


def render(report: Report) -> str:
    """The page as text; equal reports give equal bytes."""
    sections = [text for text in (
        _summary(report.summary), _audio(report.clips), _scores(report.evaluation), _costs(report),
        _training(report), *(_section(title, _lines(lines)) for title, lines in report.notes.items()),
        _provenance(report),
    ) if text]
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.substitute(title=_escape(report.title), subtitle=_escape(report.subtitle),
                               sections="\n".join(sections))


def wav_bytes(signal: Signal) -> bytes:
    """A 16-bit mono WAV file at 16 kHz; samples beyond full scale are clipped."""
    pcm = np.round(np.clip(np.asarray(signal, np.float64), -1, 1) * 32767).astype("<i2")
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(pcm.tobytes())
    return stream.getvalue()


def _summary(summary: Summary | None) -> str:
    if summary is None:
        return ""
    body = _table([summary.header, *summary.rows], main=len(summary.header) - 2)
    return _section("Result", body + _lines(summary.notes))


def _audio(clips: Sequence[Clip]) -> str:
    parts = []
    for clip in clips:
        players = "".join(
            f"<figure><figcaption>{_escape(title)}</figcaption>"
            f'<audio controls src="{_uri("audio/wav", wav_bytes(signal))}"></audio></figure>'
            for title, signal in clip.signals.items()
        )
        parts.append(f'<p class="dim">{_escape(clip.name)}</p><div class="clips">{players}</div>'
                     + _image(spectrograms(clip.signals), f"Spectrograms of {clip.name}"))
    return _section("Before and after", "\n".join(parts)) if parts else ""


def _scores(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return ""
    header, rows = table_rows(evaluation, LABELS)
    lines = [f"{evaluation.provenance.get('source', '')}, {len(evaluation.clips)} clips; "
             "a mean covers the clips that every signal could be scored on"]
    lines += [f"{LABELS.get(name, name)}: {text}"
              for name, text in evaluation.provenance.get("conventions", {}).items()]
    margins = [f"{LABELS.get(column, column)} {gain:+.3f} ± {margin:.3f}" for column in evaluation.columns
               if (gain := evaluation.gain(evaluation.systems[-1], column)) is not None
               and (margin := evaluation.margin(evaluation.systems[-1], column)) is not None]
    if margins and len(evaluation.systems) > 1:
        lines.append(f"gain of {evaluation.systems[-1]} with its 95 % interval: {', '.join(margins)}")
    body = _image(plot(evaluation), "Metrics against input SNR") + _table([header, *rows], left=2)
    return _section("Scores per input SNR", body + _lines([*lines, *evaluation.skips()]))


def _costs(report: Report) -> str:
    parts = []
    for table in report.tables:
        body = _table([table.header, *table.rows]) if table.header else ""
        parts.append(f"<h3>{_escape(table.title)}</h3>{body}{_lines(table.notes)}")
    parts += [f"<p>{_escape(caption)}</p>" + _image(png, caption) for caption, png in report.figures.items()]
    return _section(report.below, "\n".join(parts)) if parts else ""


def _training(report: Report) -> str:
    parts = [_image(report.curves, "Learning curves")] if report.curves else []
    if report.recipe:
        parts.append(f"<pre>{_escape(report.recipe)}</pre>")
    return _section("Training", "\n".join(parts)) if parts else ""


def _provenance(report: Report) -> str:
    rows: list[Sequence[str]] = []
    if report.evaluation is not None:
        rows += [(f"{model['label']} ({model['engine']}, {model['file']})", f"sha256 {model['sha256']}")
                 for model in report.evaluation.provenance.get("models", ())]
        if digest := report.evaluation.provenance.get("audio_sha256"):
            rows.append(("audio that was scored", f"sha256 {digest}"))
    rows += list(report.versions.items())
    return _section("Versions and hashes", _table([("what", "value"), *rows], left=2)) if rows else ""


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{_escape(title)}</h2>\n{body}\n</section>"


def _table(rows: Rows, left: int = 1, main: int = 0) -> str:
    """A table from its header and rows; ``left`` columns align left, column ``main`` stands out."""
    kinds = {place: ' class="left"' for place in range(left)} | ({main: ' class="main"'} if main else {})

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}{kinds.get(place, '')}>{_escape(text)}</{tag}>" for place, text in enumerate(row))

    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows[1:])
    return (f'<div class="wide"><table>\n<thead><tr>{cells("th", rows[0])}</tr></thead>\n'
            f"<tbody>\n{body}\n</tbody></table></div>")


def _lines(lines: Sequence[str]) -> str:
    return "".join(f'<p class="dim">{_escape(line)}</p>' for line in lines)


def _image(png: bytes, caption: str) -> str:
    return f'<img alt="{_escape(caption)}" src="{_uri("image/png", png)}">'


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _escape(text: str) -> str:
    return html.escape(str(text), quote=True)
