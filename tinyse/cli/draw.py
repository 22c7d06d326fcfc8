"""Draws the library's progress reports as rich progress bars on standard error."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from tinyse.core.progress import Progress, Step, printable

QUIET_SECONDS = 60.0
"""Where stderr is no terminal, a task that takes longer than this for a tenth says how far it is."""


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
        last: dict[str, tuple[int, float]] = {}

        def show(step: Step) -> None:
            values = " ".join(f"{name} {value:.4g}" for name, value in step.values.items())
            note = escape(" ".join(part for part in (printable(step.note), values) if part))
            if step.task not in tasks:
                tasks[step.task] = bars.add_task(step.task, total=step.total or None, note=note)
            bars.update(tasks[step.task], completed=step.done, total=step.total or None, note=note)  # type: ignore[arg-type]
            if console.is_terminal:
                return
            percent, now = int(100 * step.done / step.total) if step.total else 0, time.monotonic()
            tenth, said = last.get(step.task, (-1, now))
            if percent // 10 != tenth or now - said > QUIET_SECONDS:
                shown = percent if percent // 10 == tenth else percent // 10 * 10
                last[step.task] = percent // 10, now
                console.print(f"{step.task}: {shown} % {note}", soft_wrap=True, highlight=False)

        yield show
