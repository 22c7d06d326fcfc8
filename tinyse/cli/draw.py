"""Draws the library's progress reports as rich progress bars on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tinyse.core.progress import Progress, Step, printable


@contextlib.contextmanager
def progress_bars() -> Iterator[Progress]:
    """Yield a Progress callback that draws one bar a task; plain and quiet where stderr is no terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
               TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, int] = {}
        last: dict[str, int] = {}

        def show(step: Step) -> None:
            values = " ".join(f"{name} {value:.4g}" for name, value in step.values.items())
            note = escape(" ".join(part for part in (printable(step.note), values) if part))
            if step.task not in tasks:
                tasks[step.task] = bars.add_task(step.task, total=step.total or None, note=note)
            bars.update(tasks[step.task], completed=step.done, total=step.total or None, note=note)  # type: ignore[arg-type]
            tenth = int(10 * step.done / step.total) if step.total else 0
            if not console.is_terminal and last.get(step.task) != tenth:
                last[step.task] = tenth
                console.print(f"{step.task}: {10 * tenth} % {note}", soft_wrap=True, highlight=False)

        yield show
