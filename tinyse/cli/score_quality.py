"""``tinyse score-quality``: the quality of speech in sound files, predicted without a reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyse.cli import Number
from tinyse.core.errors import TinyseError

if TYPE_CHECKING:
    from tinyse.engines.quality import Quality

LINES = 20
"""Lines of scores over time that a long file gets by default, and one of its end."""


@click.command("score-quality")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), metavar="DIR",
              help="An export or a release of a network that scores.  [default: models/quality]")
@click.option("--every", type=Number(min=0.1), metavar="SECONDS",
              help="Seconds between two lines of scores over time.  [default: 5, or a twentieth of the file]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file, with every score.")
def command(files: tuple[Path, ...], model: Path | None, every: float | None, as_json: bool) -> None:
    """Predict the WB-PESQ of speech in FILEs, 1.04 to 4.64, without the clean speech.

    Any length from 4.96 s, any rate from 8 kHz, any channel count: sound is mixed down and resampled to 16 kHz. A score
    is of the last 4.96 s; there is one every 160 ms, and a file's is their mean; the last line is of the end of the
    file. What cannot be scored is one line each, and the exit code is 1; the other files are scored. How far off it may
    be: docs/quality.md.

    \b
    Example:
      tinyse score-quality noisy.wav enhanced.wav
      tinyse score-quality call.flac --every 60
      tinyse score-quality call.flac --json | jq .score
    """
    from tinyse.engines.quality import DEFAULT_MODEL, Scorer, score_file

    scorer, failed = Scorer.load(model or DEFAULT_MODEL), False
    for file in files:
        try:
            found = score_file(file, scorer)
        except TinyseError as error:
            click.echo(f"Error: {error.line()}", err=True)
            failed = True
            continue
        for note in found.notes:
            click.echo(f"note: {file}: {note}", err=True)
        if as_json:
            click.echo(json.dumps({
                "file": str(file), "seconds": round(found.seconds, 3), "score": round(found.score, 3),
                "predicts": "WB-PESQ", "window": found.window, "period": found.period,
                "scores": [round(float(score), 3) for score in found.scores]}))
            continue
        show(file, found, every)
    if failed:
        raise SystemExit(1)


def show(file: Path, found: Quality, every: float | None = None) -> None:
    """A file's score, and its scores over time."""
    click.echo(f"{file}: predicted WB-PESQ {found.score:.2f} ({min(found.scores):.2f} to {max(found.scores):.2f}) "
               f"over {found.seconds:.2f} s")
    for begin, end, score in found.over_time(every or max(5.0, found.seconds / LINES)):
        click.echo(f"  {begin:.2f} to {end:.2f} s: {score:.2f}")
