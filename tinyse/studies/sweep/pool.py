"""Runs each task in a process of its own, a few at a time; stops them so that they can be taken up again.

A task that fails does not stop the others. On Ctrl-C every process gets SIGINT, on which training writes its
checkpoint, and a grace period. A process whose parent dies reads the end of its standard input and does the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tinyse.core.progress import Progress, Step, silent
from tinyse.core.workers import without_interrupts
from tinyse.studies.sweep.workers import NEED, free_memory

GRACE = 120.0
"""Seconds that a stopped process may take to write its checkpoint."""
ALIKE = {**dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1"),
         "CUDA_VISIBLE_DEVICES": "-1"}
"""What every task's environment has, lest a result depends on where it ran."""


@dataclass(frozen=True)
class Task:
    """A command that gets one more argument, the file descriptor that it reports to, one JSON object a line.

    Attributes:
        label: shown to the user. command: argument list. log: takes its standard output and error.
    """

    label: str
    command: tuple[str, ...]
    log: Path


@dataclass
class _Running:
    task: Task
    process: subprocess.Popen[bytes]
    reports: IO[bytes]
    rest: bytes = b""
    error: str = ""


class Pool:
    """Runs tasks.

    Args:
        workers: processes at once; where memory runs short a second one waits until the first has ended.
        progress: gets every report of every process, under its task's label.
        ended: called after each task with its error line, empty where all went well.
        free: bytes of memory left, or None.
        held: file descriptors that every process keeps open, such as a lock's.
        here: folder that the processes run in; None for this one's.

    Attributes:
        killed: labels of those that failed because the system killed them.
    """

    def __init__(self, workers: int, progress: Progress = silent,
                 ended: Callable[[Task, str], None] = lambda task, error: None,
                 free: Callable[[], int | None] = free_memory, held: tuple[int, ...] = (),
                 here: Path | None = None) -> None:
        self.workers, self._held, self._here = workers, held, here
        self.killed: set[str] = set()
        self._progress, self._ended, self._free = progress, ended, free
        self._selector = selectors.DefaultSelector()
        self._running: list[_Running] = []

    def run(self, tasks: Sequence[Task]) -> dict[str, str]:
        """Run all; labels of those that failed, with one line each.

        Raises:
            KeyboardInterrupt: after every process has ended.
        """
        waiting, failed = list(tasks), dict[str, str]()
        try:
            while waiting or self._running:
                while waiting and self._room():
                    self._begin(waiting.pop(0))
                for key, _ in self._selector.select(timeout=1.0):
                    running: _Running = key.data
                    if not self._read(running):
                        error = self._finish(running)
                        if error:
                            failed[running.task.label] = error
                        self._ended(running.task, error)
        except BaseException:
            self._stop()
            raise
        finally:
            self._selector.close()
        return failed

    def _room(self) -> bool:
        if not self._running:
            return True
        free = self._free()
        return len(self._running) < self.workers and (free is None or free > NEED)

    def _begin(self, task: Task) -> None:
        task.log.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = os.pipe()
        with open(task.log, "ab") as log, without_interrupts(signal.SIG_UNBLOCK):  # a process of Ray's has it blocked
            process = subprocess.Popen(
                [*task.command, str(theirs)], stdin=subprocess.PIPE, stdout=log, stderr=log,
                pass_fds=(theirs, *self._held),
                cwd=self._here, start_new_session=True, env={**os.environ, **ALIKE})
        os.close(theirs)
        running = _Running(task, process, os.fdopen(ours, "rb", buffering=0))
        self._running.append(running)
        self._selector.register(running.reports, selectors.EVENT_READ, running)

    def _read(self, running: _Running) -> bool:
        """Pass on what the process has reported; False at the end."""
        data = running.reports.read(65536)
        *lines, running.rest = (running.rest + (data or b"")).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                self._report(running, json.loads(line))
        return bool(data)

    def _report(self, running: _Running, said: Mapping[str, object]) -> None:
        if "error" in said:
            running.error = str(said["error"])
            return
        note = " ".join(str(part) for part in (said.get("task"), said.get("note")) if part)
        done, total = (float(str(said.get(key, 0))) for key in ("done", "total"))
        self._progress(Step(running.task.label, done, total, note))

    def _finish(self, running: _Running) -> str:
        self._selector.unregister(running.reports)
        code = running.process.wait()
        running.reports.close()
        assert running.process.stdin is not None
        running.process.stdin.close()
        self._running.remove(running)
        if code == 0:
            return ""
        if code == -signal.SIGKILL:
            self.killed.add(running.task.label)
            return "was killed (out of memory? use --workers 1)"
        return running.error or f"ended with {code} (see {running.task.log})"

    def _stop(self) -> None:
        """Ask every process to end, wait for their checkpoints, then insist; a second Ctrl-C insists at once."""
        try:
            for running in self._running:
                running.process.send_signal(signal.SIGINT)
            until = time.monotonic() + GRACE
            for running in self._running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.process.wait(max(0.0, until - time.monotonic()))
        finally:
            for running in self._running:
                with contextlib.suppress(ProcessLookupError):  # its helpers too: make, QEMU, Vela
                    os.killpg(running.process.pid, signal.SIGKILL)
                running.process.wait()
                running.reports.close()
