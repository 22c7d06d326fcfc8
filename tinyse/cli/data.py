"""``tinyse data``: fetch, import, mix and show speech and noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyse.cli import Number, decibels, numbers

if TYPE_CHECKING:
    from tinyse.sound.corpus.store import Corpus

SHOWN = 5
LAYOUTS = ("plain", "speech", "noise", "rooms", "voicebank", "dns", "chime", "librispeech", "vctk", "mssnsd", "wham",
           "musan", "demand", "esc50", "fsd50k", "rirs", "picovoice")
"""Those of `tinyse.sound.corpus.layouts`, which --help need not import."""
PATH = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Fetch, import, mix and show recorded speech and noise.

    \b
    Example:
      tinyse data fetch --tier small
      tinyse data show --png corpus.png
    """


@command.command()
@click.option("--tier", type=click.Choice(["small", "default", "large", "unseen"]), default="small", show_default=True,
              help="small: 76 MB, 7 packages; default: 447 MB, 22; large: 1.7 GB, 25; unseen: 670 MB, 5, for tests.")
@click.option("--dir", "root", type=PATH, help="Where corpora lie [$TINYSE_DATA or ~/.cache/tinyse/corpus].")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Processes that decode.")
def fetch(tier: str, root: Path | None, workers: int) -> None:
    """Bring recorded speech and noise from Debian's packages, without root.

    What is already there and verified is not fetched again, so a run that was cut short goes on.

    \b
    Example:
      tinyse data fetch --tier small
      tinyse data fetch --tier default --dir /data/tinyse
    """
    from tinyse.cli.draw import progress_bars
    from tinyse.sound.corpus.fetch import fetch as bring

    with progress_bars() as progress:
        corpus = bring(tier, root, progress, workers=workers)
    _totals(corpus)
    click.echo(f"{corpus.folder}: {len(corpus.all)} clips, hash {corpus.hash[:12]}; licences in LICENCES.txt")


@command.command("import")
@click.argument("source", type=PATH, required=False)
@click.option("--layout", type=click.Choice(LAYOUTS), default="plain", show_default=True,
              help="How the folders lie.")
@click.option("--rooms", type=PATH, help="A folder of measured impulse responses, for mixing.room.")
@click.option("--out", type=PATH, help="Where the corpus is written [imported/ beside the fetched ones].")
@click.option("--add", is_flag=True, help="Add to the corpus that is there.")
@click.option("--name", help="Of the set, for mixing.shares [the layout; with --add the folder's name].")
@click.option("--split", default="80,10,10", show_default=True, callback=numbers, metavar="80,10,10",
              help="Shares of train, validation and test.")
@click.option("--speaker", metavar="REGEX", help="Finds the speaker in a path, instead of the layout's rule.")
@click.option("--noise-source", metavar="REGEX", help="Finds the noise source in a path, instead of the rule.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the split.")
@click.option("--strict", is_flag=True, help="Fail where files are bad, after all were read, instead of skipping them.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that read [as many as cores].")
def import_(source: Path | None, layout: str, rooms: Path | None, out: Path | None, add: bool, name: str | None,
            split: tuple[float, ...], speaker: str | None, noise_source: str | None, seed: int, strict: bool,
            workers: int | None) -> None:
    """Convert your own recordings in SOURCE: any rate and channels to 16 kHz mono, disjoint splits.

    \b
    Layouts:
      plain      clean/ and noise/, speakers and noise sources as folders in them or by file name
      speech, noise, rooms   one kind only, all files of the folder
      voicebank  VoiceBank-DEMAND: clean_trainset_28spk_wav/, noisy_trainset_28spk_wav/, clean_testset_wav/, ...
      dns        DNS-Challenge: clean_fullband/ and noise_fullband/, or clean/ and noise/; impulse_responses/
      chime      CHiME2 pairs: isolated/ with scaled/, reverberated/ or clean/ beside it
      librispeech, vctk, mssnsd, wham, musan, demand, esc50, fsd50k, rirs, picovoice   as published
    Where there is no noise by itself, it is what the noisy file has beyond the clean one. A recording that occurs
    twice is taken once. Training needs speech and noise in train and validation: three speakers, three noises.
    An import that was stopped goes on; what was read is not read again.

    \b
    Example:
      tinyse data import VoiceBank-DEMAND --layout voicebank --out corpora/voicebank
      tinyse data import my --speaker '^(\\w+)/' --noise-source '^(\\w+?)_' --split 70,15,15
      tinyse data import LibriSpeech --layout librispeech --out corpora/mine
      tinyse data import musan --layout musan --rooms RIRS_NOISES --out corpora/mine --add
    """
    from tinyse.cli.draw import progress_bars
    from tinyse.core.errors import CorpusError
    from tinyse.core.progress import printable
    from tinyse.sound.corpus.importing import SKIPPED, import_corpus
    from tinyse.sound.corpus.reasons import reasons
    from tinyse.sound.corpus.store import corpus_dir

    folder = out or corpus_dir("imported")
    with progress_bars() as progress:
        made = import_corpus(source, folder, layout, seed, split, speaker, strict, workers, progress, noise_source,
                             rooms, add, name)
    _totals(made.corpus)
    for what, lines, said in (("note", made.notes, "notes"), ("double", made.doubles, "doubles left out"),
                              ("skipped", made.skipped, f"files skipped, named in {SKIPPED}")):
        for line in lines[:SHOWN]:
            click.echo(f"{what}: {printable(line)}", err=True)
        if lines and (what != "note" or len(lines) > SHOWN):
            click.echo(f"warning: {len(lines)} {said}" + (f", {SHOWN} of them shown" if len(lines) > SHOWN else ""),
                       err=True)
    if len(made.skipped) > 1:
        for reason, count in reasons(made.skipped).items():
            click.echo(f"warning: {count} of them: {printable(reason)}", err=True)
    if made.passed:
        passed = ", ".join(f"{count} {suffix}" for suffix, count in made.passed.items())
        click.echo(f"note: passed over, as no sound of this layout: {passed}", err=True)
    click.echo(f"{folder}: {len(made.corpus.all)} clips, hash {made.corpus.hash[:12]}")
    if made.warning and all(split[:2]) and made.corpus.kinds == {"speech", "noise"}:
        raise CorpusError(f"{folder}: is written, but {made.warning}", "files that were read are not read again")
    if made.warning:  # as was asked for, or not all yet
        click.echo(f"note: {made.warning}", err=True)


@command.command()
@click.option("--corpus", "folder", type=PATH, help="Corpus folder [the fetched small corpus].")
@click.option("--split", type=click.Choice(["train", "validation", "test"]), default="test", show_default=True,
              help="Which part to mix.")
@click.option("--snr", default="-6,-3,0,3,6,9", show_default=True, callback=decibels, metavar="-6,0,6",
              help="dB: active-speech level over noise RMS.")
@click.option("--count", default=10, show_default=True, type=click.IntRange(1), help="Mixtures at each SNR.")
@click.option("--seconds", default=4.0, show_default=True, type=Number(0.1, 600), help="Of each.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Same seed, same bytes.")
@click.option("--bits", type=click.Choice(["16", "float"]), default="16", show_default=True, help="Of the WAV files.")
@click.option("--out", type=PATH, required=True, help="Folder for noisy/, clean/ and mixtures.json.")
def mix(folder: Path | None, split: str, snr: tuple[float, ...], count: int, seconds: float, seed: int, bits: str,
        out: Path) -> None:
    """Write mixtures at stated SNRs, with their clean speech.

    \b
    Example:
      tinyse data mix --split test --snr -6,-3,0,3,6,9 --count 20 --seed 1 --out mixtures
    """
    from tinyse.cli.draw import progress_bars
    from tinyse.sound.corpus.mix import write_mixtures
    from tinyse.sound.corpus.store import Corpus, corpus_dir

    corpus = Corpus.open(folder or corpus_dir("small"))
    form = {"16": "PCM_16", "float": "FLOAT"}[bits]
    with progress_bars() as progress:
        written = write_mixtures(corpus, out, split, snr, count, seconds, seed, form, progress)
    click.echo(f"{out}: {written} mixtures of the {split} split, corpus {corpus.hash[:12]}, seed {seed}")


@command.command()
@click.option("--out", type=PATH, required=True, help="Folder of a folder a room; what is there is kept.")
@click.option("--count", default=400, show_default=True, type=click.IntRange(1, 100_000), help="Of four mouths each.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Same seed, same rooms.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 256), help="Processes that simulate.")
def rooms(out: Path, count: int, seed: int, workers: int) -> None:
    """Simulate rooms: impulse responses by pyroomacoustics, image sources and rays, for mixing.room.

    Boxes of 17 to 320 cubic metres that decay in 0.12 to 1 s, mouths at 0.25 to 5 m. Takes 1 to 3 s a room and
    process; a run that was stopped goes on.

    \b
    Example:
      tinyse data rooms --out rooms
      tinyse data import --rooms rooms --split 100,0,0 --out CORPUS --add
    """
    from tinyse.cli.draw import progress_bars
    from tinyse.sound.corpus.simulated import SOURCES, simulate_rooms

    with progress_bars() as progress:
        simulate_rooms(out, count, seed, workers, progress)
    click.echo(f"{out}: {count} rooms, {count * SOURCES} impulse responses, simulated (pyroomacoustics), seed {seed}")


@command.command()
@click.argument("folder", required=False, type=PATH)
@click.option("--png", type=PATH, help="Draw speech, noise and a mixture as spectrograms.")
@click.option("--verify", is_flag=True, help="Hash every clip's samples again.")
def show(folder: Path | None, png: Path | None, verify: bool) -> None:
    """Print what a corpus holds: minutes, speakers, levels. FOLDER defaults to the fetched small corpus.

    \b
    Example:
      tinyse data show
      tinyse data show ~/.cache/tinyse/corpus/default --png corpus.png --verify
    """
    from tinyse.core.progress import printable
    from tinyse.sound.corpus.show import draw_spectrogram, summary
    from tinyse.sound.corpus.splits import disjoint
    from tinyse.sound.corpus.store import Corpus, corpus_dir

    corpus = Corpus.open(folder or corpus_dir("small"))
    disjoint(corpus)
    header = f"{'split':<11}{'kind':<8}{'package':<31}{'minutes':>8}{'clips':>7}{'sources':>9}{'RMS':>8}{'5..95 %':>16}"
    click.echo(f"{header}  languages")
    for row in summary(corpus):
        spread = f"{row.low_db:.1f}..{row.high_db:.1f}"
        click.echo(f"{row.split:<11}{row.kind:<8}{row.package or 'all':<31}{row.minutes:>8.1f}{row.clips:>7}"
                   f"{row.sources:>9}{row.level_db:>8.1f}{spread:>16}  {' '.join(row.languages)}".rstrip())
    click.echo("levels: dB of full scale, measured on host; sources: speakers of speech, sources of noise; "
               "no source is in two splits")
    if verify:
        corpus.verify()
        click.echo(f"verified: {len(corpus.all)} clips")
    if png is not None:
        drawn = draw_spectrogram(corpus, png)
        click.echo(f"wrote {png}: {printable(drawn.speech_id)} with {printable(drawn.noise_id)}")


def _totals(corpus: Corpus) -> None:
    """One line a split."""
    from tinyse.sound.corpus.store import SPLITS

    for split in SPLITS:
        speech, noise = corpus.minutes("speech", split), corpus.minutes("noise", split)
        speakers = len(corpus.clips("speech", split).groups("source"))
        rooms = len(corpus.clips("room", split))
        click.echo(f"{split:<11}{speech:7.1f} min speech ({speakers} speakers), {noise:6.1f} min noise"
                   + (f", {rooms} impulse responses" if rooms else ""))
