"""Labels for a quality predictor: mixtures of a corpus, unprocessed and enhanced, with the WB-PESQ of each.

Mixture n of a split is a function of the corpus, the seed and n, so an interrupted run goes on where it was. Splits are
the corpus's own, which share no speaker and no noise.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from tinyse.core.artifacts import atomic_path, cache_root, write_json
from tinyse.core.errors import ModelError, TinyseError
from tinyse.core.progress import Progress, Step, silent
from tinyse.core.workers import in_workers
from tinyse.engines import load_engine
from tinyse.export.bundle import model_of, model_sha256
from tinyse.measure.scores.metrics import METRICS, Signal, score
from tinyse.measure.scores.scoring import stream
from tinyse.sound import Ends
from tinyse.sound.corpus.clips import RATE
from tinyse.sound.corpus.mix import LOWEST_PEAK, active_level, mix_at_snr, piece, sentence, speakers_of
from tinyse.sound.corpus.store import Corpus
from tinyse.train.labelled import CHUNK, CLEAN, SPLITS, UNPROCESSED, LabelsPart, chunk_file, logs_of

MODELS = Path(__file__).parents[2] / "models"
"""Released models, in a checkout."""
Sounds = dict[str, Signal]


def enhancer_file(name: str) -> Path:
    """The int8 file of a released model or of a folder.

    Raises:
        ModelError: there is none.
    """
    found = next((file for place in (Path(name), MODELS / name) if (file := model_of(place))), None)
    if found is None:
        raise ModelError(f"labels.enhancers: {name}: no such model", f"a folder, or a name of {MODELS}")
    return found


def labels_folder(corpus: Corpus, wanted: LabelsPart, ends: Ends, seed: int) -> Path:
    """Where labels are kept, by all that decides them but how many there are."""
    decides = [1, corpus.hash, seed, wanted.seconds, wanted.snr_db, wanted.level_db, wanted.clean,
               [model_sha256(enhancer_file(name)) for name in wanted.enhancers],
               repr((ends.framing, ends.bands, ends.rows))]
    return cache_root() / "tinyse" / "labels" / hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]


class Maker:
    """Mixtures of one split, by number."""

    def __init__(self, corpus: Corpus, split: str, wanted: LabelsPart, seed: int) -> None:
        noises = corpus.clips("noise", split)
        self.noises = noises.where(noises.column("peak") > LOWEST_PEAK)
        self.corpus, self.wanted, self.speakers = corpus, wanted, list(speakers_of(corpus, split).values())
        self.seed = [seed, 0x1AB, SPLITS.index(split)]

    def mixture(self, number: int) -> tuple[Signal, Signal, float, np.random.Generator]:
        """Mixture ``number``: noisy, clean, SNR in dB, and what draws the rest."""
        rng = np.random.default_rng([*self.seed, number])
        length = int(round(self.wanted.seconds * RATE))
        speech, _ = sentence(self.corpus, self.speakers[int(rng.integers(len(self.speakers)))], length, rng)
        noise = piece(self.corpus, self.noises[int(rng.integers(len(self.noises)))], length, rng)
        snr = float(rng.uniform(self.wanted.snr_db[0], self.wanted.snr_db[-1]))
        gain = np.float32(10 ** (self.wanted.level_db / 20) / max(active_level(speech), 1e-6))
        noisy, clean = mix_at_snr(speech * gain, noise, snr)
        return noisy, clean, snr, rng


_WORKER: dict[str, Any] = {}


def _start(corpus: Corpus, wanted: LabelsPart, ends: Ends, seed: int, folder: Path) -> None:
    _WORKER.update(folder=folder, wanted=wanted, ends=ends)
    try:
        _WORKER["makers"] = {split: Maker(corpus, split, wanted, seed) for split in SPLITS if wanted.count(split)}
        _WORKER["engines"] = {name: load_engine(enhancer_file(name), "tflm") for name in wanted.enhancers}
    except TinyseError as error:  # an initializer that raises prints a traceback and breaks the pool
        _WORKER["failure"] = error


def _sounds(maker: Maker, number: int) -> tuple[Sounds, Signal, float]:
    noisy, clean, snr, rng = maker.mixture(number)
    sounds = {UNPROCESSED: noisy}
    if names := list(_WORKER["engines"]):
        name = names[int(rng.integers(len(names)))]
        sounds[name] = stream(_WORKER["engines"][name], noisy)
    if rng.random() < maker.wanted.clean:
        sounds[CLEAN] = clean
    return sounds, clean, snr


def _label(asked: tuple[str, int]) -> None:
    """Write one chunk; a clip without a score is left out."""
    if failure := _WORKER.get("failure"):
        raise failure
    (split, number), wanted, ends = asked, _WORKER["wanted"], _WORKER["ends"]
    rows = []
    for mixture in range(number * CHUNK, (number + 1) * CHUNK):
        sounds, clean, snr = _sounds(_WORKER["makers"][split], mixture)
        for system, wave in sounds.items():
            values, _ = score([METRICS["pesq"]], clean, wave)
            if values:
                rows.append((logs_of(wave, ends, wanted.seconds), values["pesq"], snr, system))
    logs, scores, snrs, systems = zip(*rows, strict=True) if rows else ((), (), (), ())
    with atomic_path(chunk_file(_WORKER["folder"], split, number)) as temporary, open(temporary, "wb") as file:
        np.savez(file, logs=np.asarray(logs, np.float16), scores=np.asarray(scores, np.float32),
                 snrs=np.asarray(snrs, np.float32), systems=np.asarray(systems, np.str_))


def make_labels(corpus: Corpus, wanted: LabelsPart, ends: Ends, seed: int, folder: Path, workers: int = 1,
                progress: Progress = silent) -> Path:
    """Label what ``folder`` lacks; gives the folder. Chunks that are there stay as they are.

    Args:
        wanted: counts, rounded up to whole chunks; levels; enhancers. What the corpus lacks must have a count of 0.
        ends: of the predictor. seed: of every choice. workers: processes; 0: this one.

    Raises:
        TinyseError: an enhancer or the package pesq is missing, the corpus lacks a split, or a worker died.
    """
    chunks = [(split, number) for split in reversed(SPLITS) for number in range(-(-wanted.count(split) // CHUNK))]
    missing = [each for each in chunks if not chunk_file(folder, *each).is_file()]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "labels.json", {"corpus": corpus.hash, "seed": seed, "enhancers": list(wanted.enhancers)})
    done = len(chunks) - len(missing)
    try:
        for _ in in_workers(_label, missing, workers, _start, (corpus, wanted, ends, seed, folder),
                            "a labelling worker", "native code, or memory that ran out"):
            done += 1
            progress(Step("label", done, len(chunks)))
    finally:
        _WORKER.clear()
    return folder
