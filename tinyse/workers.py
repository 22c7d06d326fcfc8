"""Worker processes that leave Ctrl-C to the program that started them."""

from __future__ import annotations

import itertools
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from types import TracebackType
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
"""Variables that set how many threads a worker's libraries start."""


def single_threaded() -> None:
    """One thread a library, where the user has not said otherwise; before the libraries are loaded."""
    for name in THREADS:
        os.environ.setdefault(name, "1")


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
        self.workers = workers

    def in_order(self, call: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """``call`` of each item, in their order; ``items`` is read lazily, two a worker ahead."""
        coming = iter(items)
        waiting = deque(self.submit(call, item) for item in itertools.islice(coming, 2 * self.workers))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(self.submit(call, item) for item in itertools.islice(coming, 1))
            yield result

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
