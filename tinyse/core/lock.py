"""A folder that one process works in."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tinyse.core.artifacts import writing
from tinyse.core.errors import TinyseError


def take(handle: int) -> bool:
    """Lock an open file or folder until it is closed; False: another process has it.

    Raises:
        OSError: the file system knows no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Hold the folder itself, no file in it, while the block runs; the lock goes with the process, however that ends.

    Args:
        folder: made if missing. what: of the message, such as "training".

    Raises:
        TinyseError: another process holds it, or it cannot be written. A file system without locks keeps nobody out.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
    try:
        free = True
        with contextlib.suppress(OSError):
            free = take(held)
        if not free:
            raise TinyseError(f"{folder}: another {what} runs there", "wait for it, stop it, or give another --out")
        yield
    finally:
        os.close(held)
