"""The process of one point: ``python -m tinyse.studies.sweep.worker JOB.json DESCRIPTOR``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tinyse.core.errors import TinyseError
from tinyse.core.progress import Step

PATIENCE = 120.0


def _leave_with_parent() -> None:
    """When standard input ends, the parent is gone: stop as on Ctrl-C, and leave for good after a while."""
    while os.read(0, 1):  # not sys.stdin: its lock, held by a sleeping thread, aborts the interpreter's end
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE)
    os._exit(130)


def main(arguments: list[str]) -> int:
    """Do the job; reports go to the descriptor, one JSON object a line."""
    reports = os.fdopen(int(arguments[1]), "w", buffering=1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()

    def say(value: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more; the watch on standard input ends us
            reports.write(json.dumps(value) + "\n")

    def progress(step: Step) -> None:
        values = " ".join(f"{name} {value:.4g}" for name, value in step.values.items())
        say({"task": step.task, "done": step.done, "total": step.total, "note": f"{step.note} {values}".strip()})

    from tinyse.studies.sweep.lock import alone
    from tinyse.studies.sweep.plan import Job
    from tinyse.studies.sweep.point import run_job

    try:
        with alone(Path(arguments[0]).parent, "point", progress):  # its last process may still write a checkpoint
            run_job(Job.from_json(json.loads(Path(arguments[0]).read_text(encoding="utf-8"))), progress)
        return 0
    except TinyseError as error:
        say({"error": error.line()})
        print(error.line(), file=sys.stderr)
    except MemoryError:
        say({"error": "out of memory (use --workers 1)"})
    except KeyboardInterrupt:
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
