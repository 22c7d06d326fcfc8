"""The report page: self-contained, escaped, playable; its table and figures."""

from __future__ import annotations

import base64
import io
import re
import wave
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tinyse.measure.costs.render import Table
from tinyse.measure.report import Clip, Costs, Number, Report, Summary, figure_before_after, write_report
from tinyse.measure.report.figures import spectrogram
from tinyse.measure.report.page import render, wav_bytes
from tinyse.measure.scores.result import ClipScore, Evaluation

HOSTILE = '<script>alert("x")</script> & \'more\''
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Collects tags and attributes, and fails where tags do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def evaluation() -> Evaluation:
    def clip(snr: float) -> ClipScore:
        values = {name: {"si_sdr": snr + gain, "stoi": 0.7 + gain / 100}
                  for name, gain in (("noisy", 0.0), ("float", 4.0), ("quantized", 3.9))}
        return ClipScore(f"clip {HOSTILE}", snr, values, {})

    provenance = {"source": "measured (host)", "conventions": {"si_sdr": "zero-mean"},
                  "audio_sha256": "ab" * 32,
                  "models": [{"label": "float", "engine": "keras", "file": "float.npz", "sha256": "cd" * 32}]}
    return Evaluation(("noisy", "float", "quantized"), ("si_sdr", "stoi"), (clip(-6), clip(9)), provenance)


def costs() -> Costs:
    return Costs({"float": {"bytes": Number(3875840, "", "measured")},
                  "quantized": {"cycles per frame": Number(81234, "", "estimated (Vela)"),
                                "bytes": Number(981000, "", "measured")}}, ("cycles per frame", "bytes"))


def tone(seconds: float = 0.5, hertz: float = 1000) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(16000 * seconds)) / 16000)).astype(np.float32)


def report(**changes: object) -> Report:
    values: dict = {
        "title": HOSTILE, "subtitle": HOSTILE, "summary": Summary.of(evaluation(), costs()),
        "evaluation": evaluation(), "clips": [Clip(HOSTILE, {"noisy": tone(), HOSTILE: tone(0.3)})],
        "tables": [Table(HOSTILE, ("area", "bytes"), ((HOSTILE, "1"),), (HOSTILE,)), Table(HOSTILE)],
        "recipe": f"name: {HOSTILE}", "versions": {"tinyse": HOSTILE}, "notes": {HOSTILE: [HOSTILE]},
    }
    return Report(**{**values, **changes})


def test_summary_joins_scores_and_costs() -> None:
    summary = Summary.of(evaluation(), costs())
    assert summary.header == ("", "noisy", "float", "quantized", "source")
    assert summary.rows == (
        ("SI-SDR, dB", "1.50", "5.50 (+4.00)", "5.40 (+3.90)", "measured (host)"),
        ("STOI", "0.700", "0.740 (+0.040)", "0.739 (+0.039)", "measured (host)"),
        ("cycles per frame", "-", "-", "81,234", "estimated (Vela)"),
        ("bytes", "-", "3,875,840", "981,000", "measured"),
    )
    assert summary.notes == ("means over 2 clips from -6 to 9 dB; in brackets the gain over noisy",)


@pytest.mark.parametrize(("value", "text"), [(81234, "81,234 x"), (0.3214, "0.321 x"), (12345.6, "12,346 x"),
                                             (0, "0 x")])
def test_number_text(value: float, text: str) -> None:
    assert Number(value, "x", "measured").text() == text


def test_page_needs_nothing_from_outside_and_escapes_everything(tmp_path: Path) -> None:
    page = write_report(tmp_path, report()).read_text(encoding="utf-8")
    reader = read(page)
    assert HOSTILE not in page
    assert "".join(reader.text).count(HOSTILE) >= 9  # it is shown, as text
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in reader.tags}
    for tag, attributes in reader.tags:
        for name in ("src", "href"):
            if name in attributes:
                assert re.match(r"data:(image/png|audio/wav);base64,", attributes[name] or ""), (tag, name)
    assert "http:" not in page and "https:" not in page and "url(" not in page
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_audio_in_the_page_is_the_signal() -> None:
    reader = read(render(report()))
    (source, _) = (attributes["src"] for tag, attributes in reader.tags if tag == "audio")
    with wave.open(io.BytesIO(base64.b64decode((source or "").partition(",")[2]))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    np.testing.assert_allclose(pcm / 32767, tone(), atol=1e-4)


def test_wav_clips_instead_of_wrapping() -> None:
    pcm = np.frombuffer(wav_bytes(np.array([2.0, -2.0], np.float32))[44:], "<i2")
    assert pcm.tolist() == [32767, -32767]


def test_images_are_png() -> None:
    reader = read(render(report(curves=figure_before_after(tone(), tone(), tone()))))
    images = [attributes["src"] or "" for tag, attributes in reader.tags if tag == "img"]
    assert len(images) == 3  # spectrograms, scores, curves
    assert all(base64.b64decode(image.partition(",")[2]).startswith(b"\x89PNG") for image in images)


def test_an_empty_report_is_a_page_and_equal_reports_are_equal_bytes() -> None:
    assert "<section>" not in render(Report("title", "subtitle"))
    assert render(report()) == render(report())


def test_spectrogram_peaks_at_the_tone() -> None:
    level = spectrogram(tone(hertz=2000))
    assert level.shape[0] == 257
    assert (np.argmax(level, axis=0) == 64).all()
    assert spectrogram(np.zeros(10, np.float32)).shape == (257, 1)
