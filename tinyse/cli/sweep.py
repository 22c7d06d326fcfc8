"""``tinyse sweep``: a grid of recipes in, one table, plots and a page out."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("sweep", metavar="SWEEP.yaml")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Sweep folder.  [default: sweeps/<name>]")
@click.option("--workers", type=click.IntRange(1, 64), metavar="N",
              help="Points at once.  [default: what cores and free memory allow]")
@click.option("--on", metavar="ray|ray://HOST", help="Run the points on a Ray cluster (docs/sweep.md).")
@click.option("--from", "start", type=click.Path(path_type=Path), metavar="RUN",
              help="The dense run that every point starts from.  [default: the file's; without one it is trained]")
@click.option("--corpus", type=click.Path(path_type=Path), help="Corpus folder.  [default: the recipe's]")
@click.option("--dry-run", is_flag=True, help="Say what would run, and run nothing.")
def command(sweep: str, out: Path | None, workers: int | None, on: str | None, start: Path | None,
            corpus: Path | None, dry_run: bool) -> None:
    """Train, export, score and cost every point of SWEEP.yaml (a file, or the name of a built-in one).

    Cut it at any point and call it again: finished points are kept, and one in training goes on from its last
    checkpoint. Writes sweep.json, sweep.csv, sweep.html and plots/; each point is a run folder in points/.

    \b
    Example:
      tinyse sweep papers --from runs/full --out sweeps/papers
      tinyse sweep my-sweep.yaml --dry-run
      tinyse sweep papers --on ray://head.cluster --out /shared/sweeps/papers
      tinyse recommend sweeps/papers --budget-kb 90
    """
    from tinyse.studies.sweep.spec import load_sweep

    spec = load_sweep(sweep, str(start) if start else None)
    from tinyse.studies.sweep.pipeline import (  # after the file is known to be good: it imports more
        plan_sweep,
        run_sweep,
    )

    folder = out or Path("sweeps") / spec.name
    plan = plan_sweep(spec, folder, corpus, workers, on)
    click.echo(f"{plan.total} points, {plan.workers.workers} at once ({plan.workers.why})")
    if dry_run:
        for point in spec.points:
            click.echo(f"  {point.name}: {point.family}, seeds {', '.join(map(str, point.seeds))}")
        for each in spec.offline:
            click.echo(f"  {each.name}: untrained")
        return
    from tinyse.cli.draw import progress_bars
    from tinyse.measure.costs.table import plain
    from tinyse.studies.sweep.render import missing, shown

    with progress_bars() as progress:
        result = run_sweep(plan, progress)
    for table in shown(result):
        click.echo(plain(table) + "\n")
    for line in missing(result):
        click.echo(line)
    click.echo(f"wrote {folder}: sweep.html, sweep.json, sweep.csv, plots/")
    if result.failed:
        click.echo(f"{len(result.failed)} of {plan.total} points failed; the same command tries them again", err=True)
        raise SystemExit(1)
