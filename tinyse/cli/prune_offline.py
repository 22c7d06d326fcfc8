"""``tinyse prune-offline``: more zeros in a finished int8 file."""

from __future__ import annotations

from pathlib import Path

import click

from tinyse.cli import given


@click.command("prune-offline")
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL.tflite")
@click.option("--sparsity", type=float, required=True, metavar="SHARE", help="Share of weights to zero, 0 to 0.999.")
@click.option("--structure", type=click.Choice(["weight", "block", "unit"]), default="weight", show_default=True,
              help="What is zeroed as a whole.")
@click.option("--block", type=(int, int), default=(16, 4), show_default=True, metavar="IN OUT",
              help="Inputs and outputs of a tile, for --structure block.")
@click.option("--clusters", type=int, default=0, metavar="N",
              help="Non-zero values that a weight tensor may hold, half of them negative.  [default: any]")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The .tflite to write.")
def command(model: Path, sparsity: float, structure: str, block: tuple[int, int], clusters: int,
            out: Path) -> None:
    """Prune MODEL.tflite (an export's model_int8.tflite) by magnitude, without retraining.

    The baseline that joint training is held against: scales, shapes and (without --clusters) surviving integers stay.

    \b
    Example:
      tinyse prune-offline runs/full/export/model_int8.tflite --sparsity 0.9 --out pruned.tflite
    """
    from tinyse.core.artifacts import check_apart, check_kind, check_writable, write_bytes
    from tinyse.core.errors import ModelError
    from tinyse.export.bundle import open_bundle
    from tinyse.export.writer import write
    from tinyse.graph.offline import prune_offline

    if structure != "block" and given("block"):
        raise click.UsageError(f"--block is of --structure block, not of {structure}")
    check_kind(out, ".tflite")
    check_writable(out)
    bundle = open_bundle(model)
    check_apart(out, *bundle.files)
    if len(bundle.files) > 1:
        raise ModelError(f"{model}: a network of {len(bundle.files)} parts, and this prunes one", "name a part's file")
    pruned = prune_offline(bundle.graph_plan().graphs[0], sparsity, structure, block, clusters, bundle.gate)
    write_bytes(out, write(pruned.graph))
    for name, share in pruned.zeros.items():
        click.echo(f"{name:28} {share:6.1%} zeros")
    click.echo(f"{pruned.sparsity:.1%} of {pruned.weights:,} weights are zero (exact)")
    click.echo(f"wrote {out}")
