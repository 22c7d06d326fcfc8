"""Worker processes that leave Ctrl-C to the program that started them."""

from __future__ import annotations

import atexit
import itertools
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

from tinyse.core.errors import ToolError

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
"""Variables that set how many threads a worker's libraries start."""


AHEAD = 2
"""Calls that are queued for each worker."""
CLOSE_SECONDS = 5.0
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


@contextmanager
def without_interrupts(how: int = signal.SIG_BLOCK) -> Iterator[None]:
    """Processes started in the block inherit that Ctrl-C is blocked; SIG_UNBLOCK: that it is not."""
    before = signal.pthread_sigmask(how, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Workers(ProcessPoolExecutor):
    """A pool of spawned processes; a block that fails or is interrupted does not wait for queued work.

    A terminal sends Ctrl-C to every process of the group, and each worker would print a traceback of its own.
    So workers start with the signal blocked, which they inherit, and end when the pool is shut down, or when the
    program is killed.
    """

    def __init__(self, workers: int, initializer: Callable[..., Any] | None = None,
                 arguments: tuple[Any, ...] = (), variables: Mapping[str, str] | None = None) -> None:
        """At most ``workers`` processes, each running ``initializer(*arguments)`` first, with ``variables`` set."""
        # spawn: a fork after TensorFlow has started its threads can hang
        super().__init__(workers, get_context("spawn"), _begin, (initializer, arguments))
        self.workers = workers
        self.variables = dict(variables or {})

    def in_order(self, call: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """``call`` of each item, in their order; ``items`` is read lazily, `AHEAD` a worker ahead."""
        coming = iter(items)
        waiting = deque(self.submit(call, item) for item in itertools.islice(coming, AHEAD * self.workers))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(self.submit(call, item) for item in itertools.islice(coming, 1))
            yield result

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a call; processes are started here, on demand."""
        with without_interrupts(), environment(self.variables):
            return super().submit(fn, *args, **kwargs)

    def ending(self) -> str:
        """How the worker ended that broke the pool; the others are terminated for it. Ends the pool."""
        processes = list((self._processes or {}).values())
        self.shutdown()  # its own thread waits for them
        codes = {process.exitcode for process in processes} - {None, 0, -signal.SIGTERM}
        return ending(codes.pop()) if len(codes) == 1 else "died"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Wait for what runs; for what is queued only where all went well."""
        self.shutdown(wait=True, cancel_futures=kind is not None)


def in_workers(call: Callable[[Any], Any], items: Iterable[Any], workers: int, start: Callable[..., None],
               given: tuple[Any, ...], subject: str, hint: str) -> Iterator[Any]:
    """``call`` of each item, in order, in processes of one thread that ``start(*given)`` prepared; 0: in this one.

    Raises:
        ToolError: a process died; it is called ``subject``.
    """
    if workers < 1:
        start(*given)
        yield from map(call, items)
        return
    with Workers(workers, start, given, unless_set(ONE_THREAD)) as pool:
        try:
            yield from pool.in_order(call, items)
        except BrokenProcessPool as error:
            raise ToolError(f"{subject} {pool.ending()}", hint) from error


def _begin(initializer: Callable[..., Any] | None, arguments: tuple[Any, ...]) -> None:
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


class Crashed(Exception):
    """The process ended within a call; the text says by which signal or with which code."""


class Isolated:
    """A process for native code: where it crashes, one call is lost. Started at the first call, and after a crash."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def __call__(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """``call(*arguments)``; all of it, and what is returned or raised, must be picklable.

        Raises:
            Crashed: the process died in the call.
            Exception: whatever the call raised.
        """
        if self._pipe is None:
            self._start()
        assert self._pipe is not None and self._process is not None
        try:
            self._pipe.send((call, arguments))
            good, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(CLOSE_SECONDS)
            code = self._process.exitcode
            self.close()
            raise Crashed(ending(code)) from error
        except BaseException:  # interrupted: an answer is still on its way, which the next call must not get
            self.close()
            raise
        if not good:
            raise value
        return value

    def _start(self) -> None:
        context = get_context("spawn")
        self._pipe, far = context.Pipe()
        process = context.Process(target=_serve, args=(far,), daemon=True)
        with without_interrupts():
            process.start()
        far.close()
        self._process = process
        atexit.register(self.close)

    def close(self) -> None:
        """End the process."""
        atexit.unregister(self.close)
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.terminate()
            self._process.join(CLOSE_SECONDS)
        self._pipe = self._process = None


def _serve(pipe: Connection) -> None:
    while True:
        try:
            call, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = (True, call(*arguments))
        except Exception as error:
            answer = (False, error)
        pipe.send(answer)


def ending(code: int | None) -> str:
    """An exit code in words."""
    if code is None or code >= 0:
        return f"ended with code {code}"
    try:
        return f"crashed ({signal.Signals(-code).name})"
    except ValueError:
        return f"crashed (signal {-code})"
