"""Memory that a long run has done with, given back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import gc


def release() -> None:
    """Collect what only circles of objects hold, and give back what is free: glibc keeps it for later."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # another C library has no such call
        ctypes.CDLL(None).malloc_trim(0)
