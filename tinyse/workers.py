"""Worker processes that leave Ctrl-C to the program that started them."""

from __future__ import annotations

import itertools
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from types import TracebackType
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
"""Variables that set how many threads a worker's libraries start."""


ONE_THREAD = dict.fromkeys(THREADS, "1")


def unless_set(variables: Mapping[str, str]) -> dict[str, str]:
    """Those of ``variables`` that the user has not set."""
    return {name: value for name, value in variables.items() if name not in os.environ}


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """What a process started in the block inherits: a library reads it when it is imported, before any initializer."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Workers(ProcessPoolExecutor):
    """A pool of spawned processes; a block that fails or is interrupted does not wait for queued work.

    A terminal sends Ctrl-C to every process of the group, and each worker would print a traceback of its own.
    So workers start with the signal blocked, which they inherit, and end when the pool is shut down.
    """

    def __init__(self, workers: int, initializer: Callable[..., Any] | None = None,
                 arguments: tuple[Any, ...] = (), variables: Mapping[str, str] | None = None) -> None:
        """At most ``workers`` processes, each running ``initializer(*arguments)`` first, with ``variables`` set."""
        # spawn: a fork after TensorFlow has started its threads can hang
        super().__init__(workers, get_context("spawn"), initializer, arguments)
        self.workers = workers
        self.variables = dict(variables or {})

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
            with environment(self.variables):
                return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Wait for what runs; for what is queued only where all went well."""
        self.shutdown(wait=True, cancel_futures=kind is not None)
