"""``tinyse recommend``: limits in, the model of a sweep, or the released one, to take out."""

from __future__ import annotations

from pathlib import Path

import click

from tinyse.cli import Number

NOTHING_FITS = 3


@click.command()
@click.argument("sweep", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--budget-kb", type=Number(0, min_open=True), metavar="KB",
              help="Most kB (1,000 bytes) of weights.")
@click.option("--max-cycles", type=Number(0, min_open=True), metavar="N", help="Most cycles a frame.")
@click.option("--max-loss", "--max-loss-db", type=Number(0), metavar="LOSS",
              help="Most lost on validation, dB, or % of voice: of a sweep mean SDR against the dense float model, of "
                   "a search what a mixture loses.")
@click.option("--size", type=click.Choice(["surviving", "bitmask", "encoded", "packed"]),
              help="What --budget-kb counts.  [default: encoded by Vela; without an NPU, bitmask]")
@click.option("--cost", default="cycles", show_default=True, metavar="COLUMN",
              help="What --max-cycles counts: cycles, cycles_sram_only, network_cortex-m7, macs, ...")
@click.option("--by", type=click.Choice(["si_sdr", "pesq", "stoi"]),
              help="Score of the card that chooses among released models.  [default: si_sdr]")
@click.option("--models", default="models", show_default=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Released models; says which of them the named point is.")
def command(sweep: Path, budget_kb: float | None, max_cycles: float | None, max_loss: float | None,
            size: str | None, cost: str, by: str | None, models: Path) -> None:
    """Name the model of DIR that is best within every limit.

    DIR is what tinyse sweep or search wrote: chosen on the validation split, by score, of a search by the least
    loss. Or it holds released models, such as models: chosen by the score of their cards, of test mixtures, which all
    must share. Where nothing fits, names the limit and the nearest point; exit code 3.

    \b
    Example:
      tinyse recommend models --budget-kb 40 --max-cycles 60000
      tinyse recommend sweeps/papers --budget-kb 90 --max-cycles 200000
      tinyse recommend sweeps/papers --max-loss 0.1 --size bitmask --budget-kb 200
      tinyse recommend sweeps/papers --max-cycles 50000 --cost network_cortex-m55
      tinyse recommend searches/small --max-loss 0.05 --size packed --budget-kb 30
    """
    from tinyse.core.errors import TinyseError
    from tinyse.studies.sweep import recommend, releases
    from tinyse.studies.sweep.results import read_result

    cards = releases.holds_releases(sweep)
    if by is not None and not cards:
        raise TinyseError(f"--by {by}: chooses among released models; {sweep} holds none", "tinyse recommend models")
    result = releases.read_releases(sweep, by or releases.SCORES[0]) if cards else read_result(sweep)
    chosen = recommend.limits(result, budget_kb, max_cycles, max_loss, size, cost)
    found = recommend.recommend(result, chosen)
    click.echo("\n".join(recommend.lines(result, found)))
    named = found.point or found.nearest
    if cards:
        for line in releases.remarks(result, [each.column for each in chosen]):
            click.echo(line)
    elif named is not None and (folder := recommend.released(named, models)) is not None:
        click.echo(f"  released as {folder}")
    if found.point is None:
        raise SystemExit(NOTHING_FITS)
