"""Worker processes that leave Ctrl-C to the program that started them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from types import TracebackType
from typing import Any


class Workers(ProcessPoolExecutor):
    """A pool of spawned processes; a block that fails or is interrupted does not wait for queued work.

    A terminal sends Ctrl-C to every process of the group, and each worker would print a traceback of its own.
    So workers start with the signal blocked, which they inherit, and end when the pool is shut down.
    """

    def __init__(self, workers: int, initializer: Callable[..., Any] | None = None,
                 arguments: tuple[Any, ...] = ()) -> None:
        """At most ``workers`` processes, each running ``initializer(*arguments)`` first."""
        # spawn: a fork after TensorFlow has started its threads can hang
        super().__init__(workers, get_context("spawn"), initializer, arguments)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a call; processes are started here, on demand."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Wait for what runs; for what is queued only where all went well."""
        self.shutdown(wait=True, cancel_futures=kind is not None)
