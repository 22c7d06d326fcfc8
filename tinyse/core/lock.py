"""A folder that one process works in."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from tinyse.core.errors import TinyseError


@contextlib.contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Hold ``folder``/.lock while the block runs; it goes with the process, however that ends.

    Args:
        folder: made if missing. what: of the message, such as "training".

    Raises:
        TinyseError: another process holds it. A file system without locks keeps nobody out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TinyseError(f"{folder.parent}: another {what} runs there",
                              "wait for it, stop it, or give another --out") from None
        except OSError:
            pass
        yield
