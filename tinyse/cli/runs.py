"""``tinyse runs``: run folders in, a table of them and how they differ out."""

from __future__ import annotations

from pathlib import Path

import click

from tinyse.core.errors import TinyseError

HOMES = ("runs", "sweeps")


@click.command("runs")
@click.argument("folders", nargs=-1, metavar="[FOLDER]...", type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write one page with the curves, too.")
@click.option("--open", "opens", is_flag=True, help="Open that page in the browser.  [its default: runs.html]")
def command(folders: tuple[Path, ...], html: Path | None, opens: bool) -> None:
    """List and compare what was trained: every run in or below each FOLDER, by default runs and sweeps.

    Recipe keys that differ, validation, scores and exports of each run, and with --html learning curves.

    \b
    Example:
      tinyse runs
      tinyse runs runs/quick runs/block85 --html compare.html
      tinyse runs sweeps/papers --open
    """
    from tinyse.core.artifacts import check_kind, write_text
    from tinyse.measure.costs.table import plain
    from tinyse.measure.report.page import render
    from tinyse.measure.report.runs import find_runs, page, tables

    check_kind(html, ".html")
    homes = folders or tuple(Path(home) for home in HOMES if Path(home).is_dir())
    if not homes:
        raise TinyseError(f"no {' and no '.join(HOMES)} here", "name a folder, or tinyse train RECIPE")
    found = find_runs(homes)
    click.echo("\n\n".join(plain(table) for table in tables(found)))
    target = html or (Path("runs.html") if opens else None)
    if target is not None:
        write_text(target, render(page(found)))
        click.echo(f"\nwrote {target}")
    if opens and target is not None:
        click.launch(str(target.absolute()))
