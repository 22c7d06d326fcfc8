"""One genome's numbers, in a second or two: what it loses on validation, bytes, cycles; nothing is trained.

``loss`` is the mean over mixtures of the score (SI-SDR; of voice its balanced accuracy) that each loses against the
run's own weights; what one gains does not count (ours). A mean of SI-SDR is no measure for a search: on 24 mixtures
genomes were found that had 1.3 dB more than 8 bits, by a few mixtures of the worst, and on others 0.5 dB less.

The run's weights are rounded to the genome's bits (``tinyse.graph.snap``: each scale ends at the least squared error)
and put into one Keras network on its grids, whose bits are variables: it is traced once. Mixtures and their features
are computed once a process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinyse.core.errors import ModelError, TinyseError
from tinyse.graph.model import Model
from tinyse.graph.snap import snap
from tinyse.studies.precision.genes import Genes

Numbers = dict[str, float]


@dataclass(frozen=True)
class Subject:
    """What is searched on.

    Attributes:
        model: the quantized model's file. corpus: folder. count: mixtures. seed: of the mixtures. target: name or file.
    """

    model: Path
    corpus: Path
    count: int
    seed: int
    target: str


class Evaluator:
    """Judges genomes of one model."""

    def __init__(self, subject: Subject) -> None:
        """Load everything.

        Raises:
            ModelError: the model has no ranges. CorpusError: no such corpus, or it has no validation mixtures.
        """
        from tinyse.export.targets import load_target
        from tinyse.sound.corpus.store import Corpus
        from tinyse.train.lanes import use_lanes

        self.model, self.target = base(subject.model), load_target(subject.target)
        use_lanes(self.model.net, 1)
        from tinyse.train.keras import tf
        from tinyse.train.network import restore
        from tinyse.train.validation import validation_of

        self.genes = Genes.of(self.model.net)
        corpus = Corpus.open(subject.corpus)
        self.validation = validation_of(self.model.ends)(corpus, subject.count, subject.seed, self.model.ends)
        self.network = restore(self.model)
        for twin in self.network.stack:
            for array in twin.layer.arrays(*twin.ins):
                if array.matrix:  # variables, so that other bits need no new trace
                    tops = self._columns(self.model, f"{twin.name}/{array.name}")
                    twin.tops[array.name] = tf.Variable(tops, trainable=False)
        self.whole = self.validation.scores(self.network)

    @staticmethod
    def _columns(model: Model, name: str) -> Any:
        """As ``Network`` has them: a number, or one a gate's column."""
        array, tops = model.net.arrays[name], np.array(model.net.tops(name), np.float32)
        return np.repeat(tops, array.dims[-1]) if "gate" in array.axes else tops[0]

    def model_of(self, genome: Sequence[int]) -> Model:
        """The model with its weights in the genome's bits."""
        return snap(replace(self.model, net=self.genes.net_of(genome)))

    def numbers(self, model: Model) -> Numbers:
        """Of a model of this network on other bits or weights: "loss", "score", "encoded" and "packed" in B, "cycles".

        Its ranges must be the run's own, or the network is traced anew.
        """
        from tinyse.export.cnetwork import c_network
        from tinyse.export.encoded import encoded

        self.network.take(model.arrays)
        for twin in self.network.stack:
            for name, variable in twin.tops.items():
                variable.assign(self._columns(model, f"{twin.name}/{name}"))
        if model.ranges != self.model.ranges:
            assert model.ranges is not None
            self.network.quantize(model.ranges)
            self.validation.forget()
        scores = self.validation.scores(self.network)
        if model.ranges != self.model.ranges:
            self.network.quantize(self.model.ranges or {})
            self.validation.forget()
        plan = model.plan()
        made = encoded(plan, self.target)
        return {"loss": float(np.maximum(self.whole - scores, 0.0).mean()), "score": float(scores.mean()),
                "encoded": made.bytes, "packed": c_network(plan).flash, "cycles": made.cycles}

    def __call__(self, genome: Sequence[int]) -> Numbers:
        """A genome's."""
        return self.numbers(self.model_of(genome))


def base(file: Path) -> Model:
    """The quantized model to search on.

    Raises:
        ModelError: there is none, or it is a float model.
    """
    model = Model.load(file)
    if model.ranges is None:
        raise ModelError(f"{file}: a float model, without ranges", "train it quantization-aware: a run's model.npz")
    return snap(model)


_evaluator: Evaluator | TinyseError | None = None


def start(subject: Subject) -> None:
    """Prepare a worker process; what it lacks is said at the first genome, since a pool would hide it."""
    global _evaluator
    try:
        _evaluator = Evaluator(subject)
    except TinyseError as error:
        _evaluator = error


def judge(genome: Sequence[int]) -> Numbers:
    """In a worker process."""
    if isinstance(_evaluator, TinyseError):
        raise _evaluator
    assert _evaluator is not None
    return _evaluator(genome)
