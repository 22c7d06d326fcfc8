"""What native libraries write to the process's standard error, held back or read.

TFLite's converter and TFLM's allocator write to file descriptor 2 directly, past Python.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Captured:
    """``text`` is filled in when the block ends."""

    text: str = ""


@contextlib.contextmanager
def captured_stderr() -> Iterator[Captured]:
    """Redirect file descriptor 2 while the block runs and keep what was written."""
    result = Captured()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as store:
        saved = os.dup(2)
        os.dup2(store.fileno(), 2)
        try:
            yield result
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            store.seek(0)
            result.text = store.read().decode(errors="replace")


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back native chatter; where the block fails, let it through."""
    held = Captured()
    try:
        with captured_stderr() as held:
            yield
    except BaseException:
        sys.stderr.write(held.text)
        raise
