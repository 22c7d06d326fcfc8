"""Points of a search: those shown, the models that they are, and their fine-tuning with bits as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinyse.core.errors import RecipeError
from tinyse.core.progress import Progress, Step, silent
from tinyse.graph.model import Model
from tinyse.studies.precision.genes import Genes, Genome
from tinyse.train.recipe import Recipe, load_recipe

Numbers = Mapping[str, float]
ALIKE = (8, 6, 5, 4, 3)
"""Homogeneous points that are shown."""
TUNED = (8, 6, 4)
"""Those of them that are fine-tuned beside the front's; 8 bits too, since more steps alone may be a gain."""
RATE = 0.3
"""Share of the recipe's learning rate: the weights are trained already."""


@dataclass(frozen=True)
class Point:
    """A genome with a name.

    Attributes:
        name: "8-bit", "mixed-15k". genome, numbers: its own. tuned: whether it was trained with its bits.
    """

    name: str
    genome: Genome
    numbers: Numbers
    tuned: bool = False

    @property
    def mixed(self) -> bool:
        """Whether it has more than one kind of bits."""
        return len(set(self.genome)) > 1


def chosen(genomes: Sequence[Genome], found: Mapping[Genome, Numbers], count: int) -> list[Point]:
    """``count`` points of a front, smallest first; named by their encoded kB.

    They are spread evenly over its mixed genomes, and the one nearest to where the front bends gives way to that.
    """
    mixed = [genome for genome in genomes if len(set(genome)) > 1]
    places = set(np.rint(np.linspace(0, len(mixed) - 1, min(count, len(mixed)))).astype(int).tolist())
    if mixed:
        bend = _bend([found[genome] for genome in mixed])
        places = places - {min(places, key=lambda at: (abs(at - bend), at))} | {bend}
    points: list[Point] = []
    for genome in (mixed[at] for at in sorted(places)):
        name = f"mixed-{found[genome]['encoded'] / 1000:.1f}k"
        again = sum(point.name.split("_")[0] == name for point in points)
        points.append(Point(f"{name}_{again + 1}" if again else name, genome, found[genome]))
    return points


def _bend(front: Sequence[Numbers]) -> int:
    """Where a front lies farthest below the line between its ends, bytes and loss both from 0 to 1."""
    sizes, losses = (np.array([numbers[key] for numbers in front]) for key in ("encoded", "loss"))
    far = [(values - values.min()) / (np.ptp(values) or 1.0) for values in (sizes, losses)]
    return int(np.argmin(far[0] + far[1]))


def homogeneous(genes: Genes, found: Mapping[Genome, Numbers]) -> list[Point]:
    """The points of one kind of bits that were judged."""
    return [Point(f"{bits}-bit", genome, found[genome]) for bits in ALIKE
            if (genome := genes.alike(bits)) in found]


def mean_bits(genes: Genes, genome: Genome) -> float:
    """Bits of a weight, over all weights."""
    sizes = []
    for place in genes.places:
        array = genes.net.arrays[place.split(".")[0]]
        sizes.append(array.size // (len(genes.net.tops(place.split(".")[0]))))
    return float(np.dot(sizes, genome) / sum(sizes))


def recipe_of_point(run: Path, genes: Genes, genome: Genome, name: str, start: Path, steps: int, count: int) -> Recipe:
    """The run's recipe with the genome's bits, from the run's own weights.

    Raises:
        RecipeError: the run folder has no recipe, or the recipe makes another network.
    """
    recipe = load_recipe(run / "recipe.yaml")
    train, own = recipe.train, genes.bits(genome)
    made = replace(
        recipe, name=name, quantize=replace(recipe.quantize, bits=dict(own)), cluster=replace(recipe.cluster, values=0),
        train=replace(train, start=str(start.resolve()), float_steps=0, compress_steps=steps, distill=0.0,
                      compress_rate=max(1e-7, RATE * train.compress_rate), warmup=min(train.warmup, steps // 10),
                      validate_every=max(1, steps // 4), validate_count=count, patience=10_000,
                      average=min(train.average, max(0.0, 1 - 10 / max(steps, 11)))))
    if dict(made.net().bits) != dict(own):
        raise RecipeError(f"{run}: its recipe makes another network than its model.npz", "a run as train left it")
    return made


def tune(recipe: Recipe, folder: Path, corpus: Path, progress: Progress = silent) -> Model:
    """Train a point, or go on where it was cut, or take what is finished."""
    from tinyse.train import train

    if not (folder / "manifest.json").exists():
        resume = (folder / "checkpoints" / "last.npz").exists()

        def named(step: Step) -> None:
            progress(replace(step, task=f"{folder.name}: {step.task}"))

        train(recipe, folder, corpus, named, resume)
    return Model.load(folder / "model.npz")
