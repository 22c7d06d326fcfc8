"""Memory and time of each stage on corpora of stated size, made of repeated and re-pitched speech and noise.

Each stage runs as a command in processes of its own, whose resident memory is read every 50 ms: the sum over the
processes, pages that they share counted in each.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinyse.bench.document import put_section
from tinyse.core.artifacts import writing
from tinyse.core.errors import ToolError
from tinyse.core.progress import Progress, Step, silent
from tinyse.sound.corpus.clips import COLUMNS, NUMBERS, RATE, Clip, Clips, table_of
from tinyse.sound.corpus.store import Corpus, commit, corpus_dir, root_dir

SPEECH_SHARE = 2 / 3
SECONDS = {"speech": 10.0, "noise": 60.0}
SPEAKERS, PLACES = 200, 100
PITCH = (0.75, 1.35)
MILLION = 1_000_000
EVERY = 0.05
FETCH, MANY = ALONE = ("fetch the default tier", "open a million clips")
STEPS = ("train.float_steps=40", "train.compress_steps=20", "train.validate_every=20", "train.validate_count=12")
HEAD = ("| hours | stage | seconds | seconds of a core | MB resident, all processes | MB, the largest |",
        "|---|---|---|---|---|---|")
ROW = re.compile(r"\| [\d.-]+ \|( [^|]+ \|){5}")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Cost:
    """What a stage took.

    Attributes:
        hours: of sound in the corpus; 0 where it is not made for this.
        stage: which.
        seconds: wall clock.
        busy: seconds of a core, all processes together.
        megabytes: most resident at once, all processes together.
        one: most resident in one of them.
    """

    hours: float
    stage: str
    seconds: float
    busy: float
    megabytes: float
    one: float


def bench_corpus(hours: Sequence[float], folder: Path, keep: Callable[[Cost], object],
                 progress: Progress = silent) -> None:
    """Make corpora of these sizes below ``folder``, measure, ``keep`` each stage's cost, and remove them again.

    Raises:
        CorpusError: the small corpus is not fetched.
        ToolError: a stage failed; the message has its last line.
    """
    stages = [(size, name) for size in sorted(hours) for name in ("import", "import again", "open", "mix", "train")]
    stages += [(0.0, name) for name in ALONE]
    for done, (size, name) in enumerate(stages):
        progress(Step("bench corpus", done, len(stages), f"{size:g} h: {name}"))
        here = folder / f"{size:g}h"
        try:
            if name == "import":
                make_material(here / "material", size)
            elif name == MANY:
                million(here / "corpus")
            elif name == FETCH:  # packages that are there are not downloaded again
                (here / ".cache").mkdir(parents=True)
                (here / ".cache/debs").symlink_to((root_dir() / ".cache/debs").absolute())
            keep(measured(size, name, _command(name, here)))
        finally:
            if name in ("train", *ALONE) or sys.exc_info()[0]:
                shutil.rmtree(here, ignore_errors=True)


def _command(name: str, here: Path) -> list[str]:
    corpus = str(here / "corpus")
    opened = ["-c", "import sys; from tinyse.sound.corpus.store import Corpus; Corpus.open(sys.argv[1])", corpus]
    tinyse = ["-m", "tinyse"]
    return [sys.executable, *{
        FETCH: [*tinyse, "data", "fetch", "--tier", "default", "--dir", str(here)],
        "import": [*tinyse, "data", "import", str(here / "material"), "--out", corpus],
        "mix": [*tinyse, "data", "mix", "--corpus", corpus, "--count", "20", "--out", str(here / "mixtures")],
        "train": [*tinyse, "train", "quick", "--corpus", corpus, "--out", str(here / "run"),
                  *(part for step in STEPS for part in ("--set", step))],
    }.get(name.removesuffix(" again"), opened)]


def make_material(folder: Path, hours: float) -> None:
    """Write ``hours`` of the small corpus's training sound, over and over, each time at another pitch, as WAV files."""
    import soundfile

    corpus = Corpus.open(corpus_dir("small"))
    for kind, share, names in (("speech", SPEECH_SHARE, SPEAKERS), ("noise", 1 - SPEECH_SHARE, PLACES)):
        recordings = corpus.recordings(corpus.clips(kind, "train"))
        rng = np.random.default_rng([len(kind), 1])
        pieces = _repitched((recordings.read(index) for index in range(len(recordings.sizes))), rng,
                            int(SECONDS[kind] * RATE))
        for number in range(max(3, round(hours * share * 3600 / SECONDS[kind]))):
            name = {"speech": "clean/voice", "noise": "noise/place"}[kind] + f"{number % names:03d}/{number:06d}.wav"
            path = folder / name
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, next(pieces), RATE, subtype="PCM_16")


def _repitched(recordings: Iterator[np.ndarray], rng: np.random.Generator, length: int) -> Iterator[np.ndarray]:
    sound = np.concatenate(list(recordings))
    sound = np.resize(sound, max(len(sound), int(length * PITCH[1]) + 3))
    while True:
        rate = float(rng.uniform(*PITCH))
        need = int(length * rate) + 2
        start = int(rng.integers(len(sound) - need))
        yield np.interp(np.arange(length) * rate, np.arange(need), sound[start:start + need]).astype(np.float32)


def million(folder: Path) -> Clips:
    """A corpus folder with a catalogue of a million clips, and one short sound that all of them are."""
    folder.mkdir(parents=True)
    (folder / "sound-0000.pcm").write_bytes(bytes(2 * RATE))
    rng = np.random.default_rng(0)
    clip = Clip("", "speech", "train", "", "dns", "", "en", "as the source", "sound-0000.pcm", 0, RATE, -26.0, 0.5, 9,
                "")
    columns: dict[str, Any] = {name: np.full(MILLION, getattr(clip, name)) if name in NUMBERS
                               else [getattr(clip, name)] * MILLION for name in COLUMNS}
    columns["id"] = [f"dns/speech/clean_fullband/read_speech/book_{n // 99:05d}_reader_{n % 9973:05d}_seg_{n}.wav"
                     for n in range(MILLION)]
    columns["source"] = [f"reader_{n % 9973:05d}" for n in range(MILLION)]
    columns["sha256"] = [rng.bytes(32) for _ in range(MILLION)]
    return commit(folder, table_of(columns), {"tier": "bench"}).all


def measured(hours: float, stage: str, command: list[str]) -> Cost:
    """Run a command and watch its memory.

    Raises:
        ToolError: it failed.
    """
    most = [0.0, 0.0]
    ended = threading.Event()
    begin, before = time.monotonic(), _busy()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def watch() -> None:
        while not ended.wait(EVERY):
            sizes = list(resident(process.pid))
            most[0], most[1] = max(most[0], sum(sizes)), max(most[1], max(sizes, default=0.0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        output, _ = process.communicate()
    finally:
        ended.set()
        watcher.join()
    if process.returncode:
        lines = output.strip().splitlines() or ["no output"]
        raise ToolError(f"{stage} of {hours:g} hours failed: {lines[-1]}")
    return Cost(hours, stage, time.monotonic() - begin, _busy() - before, *most)


def _busy() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def resident(pid: int) -> Iterator[float]:
    """Megabytes that a process and those below it have resident, each."""
    try:
        yield int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6
        children = [child for task in os.listdir(f"/proc/{pid}/task")
                    for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except (OSError, IndexError, ValueError):
        return
    for child in children:
        yield from resident(int(child))


def write_cost(cost: Cost, docs: Path) -> Path:
    """Put a row into the table of docs/corpus.md, in place of the one of its hours and stage."""
    page = docs / "corpus.md"
    hours = f"{cost.hours:g}" if cost.hours else "-"
    begin = f"| {hours} | {cost.stage} |"
    there = page.read_text(encoding="utf-8") if page.is_file() else ""
    rows = [row for row in there.splitlines() if ROW.fullmatch(row) and not row.startswith(begin)]
    rows.append(f"{begin} {cost.seconds:.1f} | {cost.busy:.1f} | {cost.megabytes:.0f} | {cost.one:.0f} |")
    rows.sort(key=lambda row: float(row.split("|")[1].replace("-", "inf")))
    put_section(page, "memory", "make bench-corpus", "\n".join((*HEAD, *rows)))
    return page
