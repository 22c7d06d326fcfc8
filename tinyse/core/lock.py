"""A folder that one process works in."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tinyse.core.artifacts import writing
from tinyse.core.errors import TinyseError


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
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TinyseError(f"{folder}: another {what} runs there",
                              "wait for it, stop it, or give another --out") from None
        except OSError:
            pass
        yield
    finally:
        os.close(held)
