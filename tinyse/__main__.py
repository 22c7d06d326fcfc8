"""Entry point: ``tinyse`` and ``python -m tinyse``."""

from __future__ import annotations

import os
import sys
import threading

from tinyse.cli import main as group

STOPPED = (129, 130, 143)
"""Exit codes of SIGHUP, Ctrl-C and SIGTERM."""


def main() -> None:
    """Run the command; when a signal ends it, threads that still compile do not keep the process."""
    try:
        group()
    except SystemExit as leaving:
        if leaving.code in STOPPED and threading.active_count() > 1:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(int(leaving.code or 0))
        raise


if __name__ == "__main__":
    main()
