"""The card of a released model: what it does, what it costs, how to make it again; every table names its source."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tinyse.core.origin import Source
from tinyse.export.bundle import manifest_of, open_bundle
from tinyse.graph.grid import bits_of
from tinyse.graph.model import Model
from tinyse.graph.ops import Op
from tinyse.graph.plan import Plan
from tinyse.measure.costs.parts import USED, PartCosts, scored_rates
from tinyse.measure.costs.render import part_tables
from tinyse.measure.costs.results import Profile
from tinyse.measure.parity import Parity
from tinyse.measure.scores.metrics import LABELS
from tinyse.measure.scores.result import Evaluation, table_rows
from tinyse.train.recipe import load_recipe

Rows = list[tuple[str, ...]]
FAMILIES = {"tinylstm": "TinyLSTMs' network", "voice": "a small GRU over bands"}
LAYERS = ("layer", "inputs", "units", "of the dense network", "weights", "zeros", "distinct in a matrix")
BITS = "bits of a matrix"
"""One more column, where some matrix has fewer than 8."""
VOICES = "corpora/voices"
"""The corpus of most of our recipes."""


def card(name: str, run: Path, int8: Path, evaluation: Evaluation, costs: Profile, parity: Parity,
         start: str | None = None) -> str:
    """Markdown.

    Args:
        name: of the model.
        run: the run folder.
        int8: its exported .tflite, or the export's folder where it has several parts.
        evaluation: of "float" and "int8".
        costs, parity: of the export.
        start: what the run started from, ``runs/MODEL`` (float weights) or ``models/MODEL`` (int8).
    """
    header, rows = table_rows(evaluation, LABELS)
    rates = evaluation.part_rates("int8")
    parts = costs.parts.at(scored_rates(evaluation, "int8")) if costs.parts else None
    manifest, plan = manifest_of(run, needed=True), open_bundle(int8).graph_plan()
    dense = Model.load(run / "float.npz")
    family = FAMILIES.get(dense.family, dense.family)
    hop, framing = f"one {1000 * dense.ends.period:g} ms hop", dense.ends.framing
    kind = dense.ends.result.kind
    if kind == "voice":
        what, gives = "detector of voice", "one probability"
        validated = f"balanced accuracy {manifest['val_balanced']:.1f} %, by level alone {manifest['val_level']:.1f} %"
    else:
        what, gives = "speech enhancer", hop
        before, after = (manifest[f"val_{key}si_sdr_db"] for key in ("noisy_", ""))
        validated = f"SI-SDR {before:.2f} dB noisy, {after:.2f} dB enhanced"
    return f"""# {name}

A streaming int8 {what}, {family}: {framing.rate / 1000:g} kHz, {hop} in, {gives} out,
{1000 * framing.frame / framing.rate:g} ms of latency.

## Scores: measured (host)

{table(header, rows)}

{len(evaluation.clips)} mixtures of the test split, whose languages and noise recordings training never saw
(corpus {manifest['corpus'][:12]}, seed {evaluation.provenance['seed']}). int8 is the streamed output under TFLM;
float is {"the run" if start is None else Path(start).name} before compression.
Conventions are in evaluation.json.

## Costs

{table(("what", "figure", "source"), _costs(costs, plan, parts, rates))}
{_parts(parts)}
## Layers: exact

{table(*_layers(plan, dense))}

## Parity over {parity.frames} frames of noisy test speech: measured (host)

{table(("difference", "figure"), _parity(parity, evaluation.update_rate("int8") is not None, kind))}

## Reproduce

{_reproduce(name, start)}
Validation {validated}.

SHA-256 of every file, and the versions that made them, are in manifest.json. {_corpus(run)}
"""


def _corpus(run: Path) -> str:
    """What it learnt from: a fetched tier, or a folder of the user's."""
    path = load_recipe(run / "recipe.yaml").corpus.path
    if path is None:
        return ("The corpus is recorded speech and\nnoise from Debian packages; packages and licences are listed by "
                "`tinyse data fetch` in LICENCES.txt.")
    made = ("" if path != VOICES else ", which\n`scripts/training-corpus` makes of recordings from Debian packages and "
            "of two public sets, whose licences it names")
    return f"The corpus is `{path}`{made}."


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |"]
    lines.append("|" + "---|" * (lines[0].count("|") - 1))
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _parts(parts: PartCosts | None) -> str:
    """A table a source, where there are several."""
    if parts is None or not parts.several:
        return ""
    return "".join(f"\n## {one.title[:1].upper()}{one.title[1:]}\n\n{table(one.header, one.rows)}\n" + "".join(
        f"\n{note}.\n" for note in one.notes) for one in part_tables(parts))


def _costs(costs: Profile, plan: Plan, parts: PartCosts | None, rates: tuple[float, ...]) -> Rows:
    sizes, npu = costs.sizes, costs.npu
    weights, zeros, macs, used = (sum(getattr(graph, key) for graph in plan.graphs)
                                  for key in ("weights", "zeros", "macs", "used_macs"))
    alike = macs == weights
    rows: Rows = [("int8 weights" + ", multiply-accumulates per frame" * alike, f"{weights:,}", "exact"),
                  ("of them not zero", f"{weights - zeros:,}", "exact")]
    if not alike:
        rows += [("multiply-accumulates per frame", f"{macs:,}", "exact"),
                 ("of them by a weight that is not zero", f"{used:,}", "exact")]
    rows += [
        ("int8 .tflite", f"{sizes.int8_file or 0:,} B", "exact"),
        ("non-zero int8 weights", f"{sizes.surviving or 0:,} B", "exact"),
        ("bitmask + non-zero weights", f"{sizes.bitmask or 0:,} B", "exact"),
        ("Vela-encoded weights", f"{sizes.encoded or 0:,} B", "exact")]
    if npu is not None:
        vela = "estimated (Vela)"
        rows += [(f"cycles per frame, {npu.accelerator}, {npu.memory_mode}", f"{npu.cycles:,}", vela),
                 ("cycles, NPU alone", f"{npu.npu_cycles:,}", vela),
                 (f"share of the {1000 / npu.frames_per_second:g} ms hop at {npu.clock_mhz:.0f} MHz",
                  f"{npu.hop_share:.1%}", vela)]
    for part, rate in enumerate(rates):
        of = "the network" if len(rates) == 1 else f"part {part}"
        frame = "such a frame" if len(rates) == 1 else "one that runs all parts"
        note = f" (the rows above are of {frame})" if not part else ""
        rows.append((f"frames of the test split that run {of}{note}", f"{rate:.1%}", "measured (host)"))
    if parts is not None and rates:
        for name, shown in (("MACs", "a weight"), (USED, "a non-zero weight")):
            mean = parts.of(name, Source.EXACT)[-1].mean or 0.0
            rows.append((f"operations per mean frame, 2 {shown}", f"{2 * mean / 1e6:.3f} M", "exact x measured (host)"))
        for cycles in parts.of("cycles", Source.ESTIMATED)[-1:]:
            rows.append(("cycles per mean frame", f"{cycles.mean:,.0f}", "estimated (Vela) x measured (host)"))
    if costs.arena is not None:
        rows.append(("TFLM arena on the host", f"{costs.arena.total:,} B", "measured (host)"))
    return rows


def _layers(plan: Plan, dense: Model) -> tuple[tuple[str, ...], Rows]:
    """A header; a row a layer of the exported network, beside what it was before units were removed; then the whole."""
    rows: Rows = []
    bits: list[str] = []
    named = {result.tensor: result.node for result in dense.net.results}
    layers: dict[str, list[Op]] = {}
    for graph in plan.graphs:
        for op in graph.ops:
            layers.setdefault(named.get(op.out.name, op.out.name.partition(".")[0]), []).append(op)
    for name, ops in layers.items():
        matrices = [matrix for op in ops for matrix in op.matrices]
        if not matrices:
            continue
        size, before = sum(matrix.size for matrix in matrices), dense.net.shapes.get(name, ("",))[-1]
        zeros = sum(op.weights_and_zeros[1] for op in ops)
        has = sorted({bits_of(matrix) for matrix in matrices})
        bits.append("-".join(map(str, dict.fromkeys((has[0], has[-1])))))
        rows.append((name, f"{ops[0].x.channels}", f"{ops[-1].out.channels}", f"{before}", f"{size:,}",
                     f"{zeros / size:.1%}", f"{max(len(np.unique(matrix)) for matrix in matrices)}"))
    weights, zeros, used = (sum(getattr(graph, key) for graph in plan.graphs)
                            for key in ("weights", "zeros", "used_macs"))
    rows.append(("all", "", "", "", f"{weights:,}", f"{zeros / weights:.1%}", ""))
    rows.append(("all, of the dense network's", "", "", "", f"{dense.macs_per_frame:,}",
                 f"{1 - used / dense.macs_per_frame:.1%}", ""))
    if set(bits) <= {"8"}:
        return LAYERS, rows
    return (*LAYERS, BITS), [(*row, found) for row, found in zip(rows, [*bits, "", ""], strict=True)]


def _parity(parity: Parity, skips: bool, kind: str) -> Rows:
    what, unit = {"gains": ("mask", " / 256"), "voice": ("probability", " / 256")}.get(kind, ("result", " steps"))
    gates = [("frames that one ran and the other did not, streaming Keras and TFLM", f"{parity.streamed_gates}"),
             ("frames that one ran and the other did not, training pass and TFLM", f"{parity.trained_gates}")]
    return [*(gates if skips else []),
            (f"{what}, streaming Keras against TFLM, largest", f"{parity.streamed_max}{unit}"),
            (f"{what}, streaming Keras against TFLM, mean", f"{parity.streamed_mean:.4f}{unit}"),
            (f"{what}, training pass against TFLM, largest", f"{parity.trained_max}{unit}"),
            (f"{what}, training pass against TFLM, mean", f"{parity.trained_mean:.4f}{unit}"),
            *([] if parity.si_sdr_apart is None else [
                ("SI-SDR of the two outputs apart", f"{parity.si_sdr_apart:.4f} dB")])]


def _reproduce(name: str, start: str | None) -> str:
    does = "trains `recipe.yaml`, exports, scores and writes this folder. Training log: log.csv, curves.png."
    if start is None:
        return f"`make model NAME={name}` {does}"
    other = Path(start).name
    if start.startswith("models/starts/"):
        other = f"starts/{other}"
    kind = "float" if "/starts/" in start else "int8"
    first = (f"float weights of [{other}](../{other}) and trains that first where `{start}` is not there"
             if start.startswith("runs/") else f"released {kind} weights of [{other}](../{other})")
    return f"""`make model NAME={name}` {does}
It starts from the {first}.
With a dense run of your own: `tinyse train models/{name}/recipe.yaml --from RUN --out runs/{name}`."""
