"""One process in a folder at a time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tinyse.core.errors import TinyseError
from tinyse.core.lock import take
from tinyse.core.progress import Progress, Step

LOCK_SECONDS = 150.0
"""How long to wait for the processes of a sweep that was killed to write their checkpoints."""


@contextlib.contextmanager
def alone(folder: Path, task: str, progress: Progress, clock: Callable[[], float] = time.monotonic) -> Iterator[int]:
    """Hold the folder's lock, a descriptor; wait for those that a sweep that was killed left behind.

    Args:
        folder: made if missing; shared folders lock for all machines.
        task: of the reports while it waits.

    Raises:
        TinyseError: somebody else keeps it, or the file system knows no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="utf-8") as lock:
        until = clock() + LOCK_SECONDS
        try:
            while not take(lock.fileno()):
                if clock() > until:
                    raise TinyseError(f"{folder}: another sweep runs there", "wait, or give another --out")
                progress(Step(task, 0, 0, "waiting for the last one's processes to stop"))
                time.sleep(1.0)
        except OSError as error:
            raise TinyseError(f"{folder}: cannot be locked: {error.strerror}",
                              "a file system with locks (flock)") from error
        yield lock.fileno()
