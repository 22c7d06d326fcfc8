"""A search from a run folder to points, plots and what ``tinyse recommend`` reads; cut anywhere, it goes on.

The best of hundreds on a few mixtures is partly luck, so points are shown by what they lose on other mixtures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinyse.core.artifacts import sha256, versions, write_bytes, write_json, writing
from tinyse.core.errors import ExportError
from tinyse.core.progress import Progress, Step, silent
from tinyse.export.targets import load_target
from tinyse.studies.precision.evaluation import Evaluator, Subject, base
from tinyse.studies.precision.figures import SIZES, genes_picture, pareto
from tinyse.studies.precision.genes import Genes
from tinyse.studies.precision.journal import Journal
from tinyse.studies.precision.points import TUNED, Point, chosen, homogeneous, mean_bits, recipe_of_point, tune
from tinyse.studies.precision.search import Settings, front, processes, search
from tinyse.studies.sweep.lock import alone
from tinyse.studies.sweep.plan import Kind
from tinyse.studies.sweep.results import ESTIMATED, EXACT, FILE, MEASURED, Column, PointResult, SweepResult

if TYPE_CHECKING:
    from tinyse.train.validation import Validation

OTHERS, SEARCHED = 2, "searched"
"""How many times the search's mixtures a point is shown by; key of its loss in the search."""


def columns(judge: type[Validation]) -> tuple[Column, ...]:
    """Of the points; the score's in the unit of ``judge``."""
    name, unit = f"val. {judge.name}", judge.unit
    return (Column("val_sdr", name, unit, MEASURED, True),
            Column("val_delta", f"{name} - 8 bits", unit, MEASURED, True),
            Column("loss", "lost a mixture", unit, MEASURED), Column("searched", "lost in the search", unit, MEASURED),
            Column("bits", "bits a weight", "", EXACT),
            Column("encoded", "encoded", "B", EXACT), Column("packed", "packed", "B", EXACT),
            Column("cycles", "cycles", "a frame", ESTIMATED))


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        run: a run folder with model.npz, and recipe.yaml where points are fine-tuned. out: the search's folder.
        points: of the front, that are shown. steps: of fine-tuning each; 0: none.
    """

    run: Path
    corpus: Path
    out: Path
    settings: Settings
    count: int = 24
    workers: int = 2
    target: str = "ethos-u55-128"
    points: int = 6
    steps: int = 0


def run_search(plan: Plan, progress: Progress = silent) -> SweepResult:
    """Search, tune, and write genomes.jsonl, points/, pareto.png, genes.png, sweep.json.

    Raises:
        TinyseError: whatever the run, the corpus, the target or the folder lack, in one line; what was judged is kept.
    """
    from tinyse.sound.corpus.store import Corpus

    file, corpus = plan.run / "model.npz", Corpus.open(plan.corpus)
    model, target = base(file), load_target(plan.target)
    if target.npu is None:
        raise ExportError(f"{target.name} has no NPU, whose encoding of the weights is what is searched",
                          "an Ethos-U target, such as ethos-u55-128")
    genes = Genes.of(model.net)
    subject = Subject(file, plan.corpus, plan.count, plan.settings.seed, plan.target)
    identity = {"model": sha256(file), "corpus": corpus.hash, "mixtures": plan.count, "seed": subject.seed,
                "target": target.name}
    if plan.steps:  # before an hour is spent
        recipe_of_point(plan.run, genes, genes.alike(4), "4-bit", plan.out / "start.npz", plan.steps, plan.count).net()
    with writing(plan.out), alone(plan.out, "search", progress):
        journal = Journal(plan.out, identity, len(genes.places))
        with processes(subject, plan.workers) as many:
            found = search(genes, many, journal, plan.settings, progress)
        points = [*homogeneous(genes, found), *chosen(front(found), found, plan.points)]
        evaluator = Evaluator(replace(subject, count=OTHERS * plan.count, seed=subject.seed + 1))
        for number, point in enumerate(points):
            progress(Step("other mixtures", number, len(points), point.name))
            made = evaluator.model_of(point.genome)
            made.save(_folder(plan, point) / "model.npz")
            points[number] = replace(point, numbers=evaluator.numbers(made) | {SEARCHED: point.numbers["loss"]})
        progress(Step("other mixtures", len(points), len(points)))
        points += _tuned(plan, genes, evaluator, points, progress)
        points.sort(key=lambda point: (point.mixed, point.tuned, -point.numbers["encoded"]))
        title = (f"{plan.run.name}: {len(found)} genomes of {len(genes.places)} genes on {plan.count} validation "
                 f"mixtures, points on {OTHERS * plan.count} others")
        write_bytes(plan.out / "pareto.png", pareto(found, points, title, type(evaluator.validation)))
        write_bytes(plan.out / "genes.png", genes_picture(genes, points, evaluator.validation.unit))
        told = identity | {"genomes": len(found), **asdict(plan.settings)}
        result = _result(plan, genes, type(evaluator.validation), points, told)
        write_json(plan.out / FILE, result.to_json())
    return result


def _folder(plan: Plan, point: Point) -> Path:
    return plan.out / "points" / (f"{point.name}-tuned" if point.tuned else point.name)


def _tuned(plan: Plan, genes: Genes, evaluator: Evaluator, points: Sequence[Point], progress: Progress) -> list[Point]:
    if not plan.steps:
        return []
    start, made = plan.out / "start.npz", []
    replace(evaluator.model, ranges=None).save(start)
    some = [point for point in points if point.mixed or point.name in {f"{bits}-bit" for bits in TUNED}]
    for number, point in enumerate(some):
        tuned = replace(point, tuned=True)
        progress(Step("fine-tune", number, len(some), tuned.name))
        recipe = recipe_of_point(plan.run, genes, point.genome, f"{point.name}-tuned", start, plan.steps, plan.count)
        model = tune(recipe, _folder(plan, tuned), plan.corpus, progress)
        made.append(replace(tuned, numbers=evaluator.numbers(model)))
    progress(Step("fine-tune", len(some), len(some)))
    return made


def _result(plan: Plan, genes: Genes, judge: type[Validation], points: Sequence[Point], settings: dict[str, object]
            ) -> SweepResult:
    whole = next((p.numbers["score"] for p in points if p.name == "8-bit"), None)
    rows = []
    for point in points:
        folder = _folder(plan, point)
        values = {"val_sdr": point.numbers["score"], "bits": mean_bits(genes, point.genome),
                  **{key: point.numbers[key] for key in ("loss", SEARCHED, *SIZES, "cycles") if key in point.numbers}}
        if whole is not None:
            values["val_delta"] = point.numbers["score"] - whole
        kind = Kind.TRAINED if point.tuned else Kind.DENSE if point.name == "8-bit" else Kind.OFFLINE
        family = f"{'mixed' if point.mixed else 'homogeneous'}{', fine-tuned' if point.tuned else ''}"
        notes = tuple(f"{place}: {bits}" for place, bits in zip(genes.places, point.genome, strict=True))
        rows.append(PointResult(folder.name, plan.settings.seed, kind, family, "none", 0.0,
                                str(folder.relative_to(plan.out)), values, notes,
                                {"model.npz": sha256(folder / "model.npz")}))
    return SweepResult(f"precision of {plan.run.name}", plan.target, settings, columns(judge),
                       {} if whole is None else {"val_sdr": whole}, tuple(rows), {}, versions())


def lines(result: SweepResult) -> list[str]:
    """The points as a table."""
    score = result.columns[0]
    said = f"{score.title.removeprefix('val. ')} {score.unit}"
    made = [f"{'point':<22} {'bits':>5} {said:>9} {'- 8 bits':>9} {f'lost {score.unit}':>8} in search encoded B "
            f"{'packed B':>9} {'cycles':>9}"]
    for point in result.points:
        v = point.values
        made.append(f"{point.name:<22} {v['bits']:5.2f} {v['val_sdr']:{max(9, len(said))}.2f} "
                    f"{v.get('val_delta', float('nan')):+9.2f} "
                    f"{v['loss']:8.2f} {v.get(SEARCHED, float('nan')):9.2f} {v['encoded']:9,.0f} {v['packed']:9,.0f} "
                    f"{v['cycles']:9,.0f}")
    return made
