"""Calls on the nodes of a Ray cluster: the extra ``tinyse[cluster]``.

    with Cluster("ray://head") as cluster:
        for item, result in cluster.as_finished(call, items, memory=3 << 30):
            ...

Ray places the calls, sees nodes die and runs their calls again elsewhere; nothing here does. Nodes need tinyse in the
same version. Items and results travel as bytes, files do not: paths must mean the same on every node.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import os
import pickle
import re
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tinyse.core.capture import captured_stderr
from tinyse.core.errors import TinyseError, ToolError
from tinyse.core.progress import Progress, Step, silent

RETRIES = 5
"""How often a call begins anew whose worker or node died."""
PORT = 10001
"""Of Ray's client server, where ``ray://HOST`` names none."""
GRACE = 120.0
"""Seconds that calls may take to stop."""
TRIES = 4
"""How often to ask the head for a client's server."""
UNSTARTED = "Starting Ray client server failed"
START = "ray start --head, on the cluster's first machine"
ANSWER = 10.0
"""Seconds in which the head must answer."""
SOON = 0.5
"""Seconds between two reports of one call."""


class Died(Exception):
    """What a call raises to be run again, as if its worker had died."""


class Cluster:
    """A connection to Ray, while the block runs.

    Args:
        on: ``ray``, the cluster that RAY_ADDRESS or this machine is part of, else this machine alone; or
            ``ray://HOST[:PORT]``.

    Raises:
        TinyseError: another ``on``. ToolError: Ray is not installed, or nobody answers.
    """

    def __init__(self, on: str) -> None:
        found = re.fullmatch(r"ray(://[^/:\s]+(:\d+)?)?", on)
        if found is None:
            raise TinyseError(f"--on {on}: no such place", "ray, or ray://HOST[:PORT]")
        self.on = on + f":{PORT}" if found[1] and not found[2] else on

    def __enter__(self) -> Cluster:
        """Connect; until the end of the block standard output is Ray's, which prints tracebacks there, and is lost."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise ToolError(f"--on {self.on}: Ray is not installed", "pip install 'tinyse[cluster]'") from error
        self._reach()
        handler = signal.getsignal(signal.SIGTERM)
        try:
            self._connect(ray)
        finally:
            with contextlib.suppress(ValueError, TypeError):  # not the main thread; not Python's
                signal.signal(signal.SIGTERM, handler)  # Ray takes it
        self._ray = ray
        self._quiet = contextlib.ExitStack()
        self._quiet.enter_context(contextlib.redirect_stdout(self._quiet.enter_context(open(os.devnull, "w"))))
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect: what still runs is stopped."""
        self._ray.shutdown()
        self._quiet.close()

    def _reach(self) -> None:
        """Ray would wait for many minutes for an address where nobody listens."""
        address = self.on if "://" in self.on else os.environ.get("RAY_ADDRESS", "")
        found = re.fullmatch(r"(?:ray://)?([^/:\s]+):(\d+)", address)
        try:
            if found is not None:
                socket.create_connection((found[1], int(found[2])), ANSWER).close()
        except (OSError, OverflowError) as error:
            told = "" if address == self.on else f"RAY_ADDRESS {address}: "
            raise ToolError(f"--on {self.on}: {told}{error}", START) from error

    def _connect(self, ray: Any) -> None:
        """Again where the head cannot start the client's server: its fork beside gRPC's threads fails at times."""
        for left in reversed(range(TRIES)):
            try:
                with captured_stderr(), warnings.catch_warnings(action="ignore"):
                    ray.init(self.on if "://" in self.on else None, logging_level=logging.ERROR, log_to_driver=False)
                return
            except Exception as error:  # of several kinds, gRPC's too
                if left and UNSTARTED in str(error):
                    ray.shutdown()
                    continue
                raise ToolError(f"--on {self.on}: {_line(error)}",
                                "the head's version of Ray, or its token: RAY_AUTH_MODE (docs/sweep.md)") from error

    @property
    def cores(self) -> int:
        """Of all nodes."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def as_finished(self, call: Callable[[Any, Progress], Any], items: Iterable[Any], at_once: int | None = None,
                    memory: int = 0, progress: Progress = silent) -> Iterator[tuple[Any, Any]]:
        """Each item with what ``call(item, progress)`` gave, as they finish; one core each.

        Args:
            call: of a module that the nodes have; what it raises is given in place of a result.
            items: picklable; read lazily.
            at_once: calls that Ray may know at once; None: all.
            memory: bytes that each needs; a node with less takes one at a time.
            progress: gets what the calls report.
        """
        ray, coming, running = self._ray, iter(items), dict[Any, Any]()
        told = ray.remote(_Told).options(num_cpus=0, max_restarts=-1).remote()
        remote = ray.remote(_called).options(num_cpus=1, memory=self._at_most(memory) or None, max_retries=RETRIES,
                                             retry_exceptions=[Died])
        try:
            while True:
                free = None if at_once is None else at_once - len(running)
                for item in itertools.islice(coming, free):
                    running[remote.remote(call, item, told)] = item
                if not running:
                    return
                done, _ = ray.wait(list(running), timeout=1.0)
                with contextlib.suppress(ray.exceptions.RayError):  # its node died: it starts again, with nothing
                    for step in ray.get(told.take.remote(), timeout=5.0):
                        progress(step)
                for reference in done:
                    yield running.pop(reference), self._result(reference)
        finally:
            self._stop(list(running))

    def workers(self, count: int, initializer: Callable[..., Any], arguments: tuple[Any, ...],
                variables: Mapping[str, str]) -> RayWorkers:
        """As `tinyse.core.workers.Workers`, on the nodes."""
        return RayWorkers(self._ray, count, pickle.dumps((initializer, arguments)), variables)

    def _at_most(self, memory: int) -> int:
        """``memory``, or what the largest node has: Ray would wait for ever for more."""
        held = [node["Resources"].get("memory", 0) for node in self._ray.nodes() if node["Alive"]]
        return min(memory, int(max(held, default=0)))

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            return _reason(self._ray, error)

    def _stop(self, running: list[Any]) -> None:
        for reference in running:
            self._ray.cancel(reference)
        if running:
            self._ray.wait(running, num_returns=len(running), timeout=GRACE)


class RayWorkers:
    """A pool of processes on the nodes, each initialised once; one that dies is started and initialised again."""

    def __init__(self, ray: Any, count: int, start: bytes, variables: Mapping[str, str]) -> None:
        self._ray = ray
        actor = ray.remote(_Worker).options(num_cpus=1, max_restarts=RETRIES, max_task_retries=RETRIES)
        self._actors = [actor.remote(start, dict(variables)) for _ in range(count)]

    def __enter__(self) -> RayWorkers:
        """Nothing: the processes start by themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        for actor in self._actors:
            self._ray.kill(actor)

    def in_order(self, call: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """``call`` of each item, in their order.

        Raises:
            ToolError: a worker died too often. Exception: whatever a call raised.
        """
        pool: Any = importlib.import_module("ray.util").ActorPool
        try:
            yield from pool(self._actors).map(lambda actor, item: actor.call.remote(call, item), items)
        except self._ray.exceptions.RayError as error:
            raise _reason(self._ray, error) from error


def _reason(ray: Any, error: Any) -> Exception:
    """What a call raised; or that its node could not load it, or that it died too often."""
    if not isinstance(error, ray.exceptions.RayTaskError):
        return ToolError(f"its worker or node died: {str(error).splitlines()[0]}", "see Ray's logs")
    cause: Exception = error.cause
    if isinstance(cause, TinyseError) or "\n" not in str(cause).strip():
        return cause
    return ToolError(f"on its node: {_line(cause)}", "the same packages on every node")


def _line(error: BaseException) -> str:
    """What it says at its end, below a traceback of another process."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


class _Worker:
    """The process of a `RayWorkers`."""

    def __init__(self, start: bytes, variables: Mapping[str, str]) -> None:
        os.environ.update(variables)  # before the libraries that read them: what follows imports them
        initializer, arguments = pickle.loads(start)
        initializer(*arguments)

    def call(self, call: Callable[[Any], Any], item: Any) -> Any:
        return call(item)


class _Told:
    """The last report of every task that nobody has taken."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}

    def tell(self, step: Step) -> None:
        self.steps[step.task] = step

    def take(self) -> list[Step]:
        found, self.steps = list(self.steps.values()), {}
        return found


def _called(call: Callable[[Any, Progress], Any], item: Any, told: Any) -> Any:
    errors: Any = importlib.import_module("ray.exceptions")
    last, sent = -SOON, None

    def tell(step: Step) -> None:
        nonlocal last, sent
        if time.monotonic() - last >= SOON or step.done >= step.total:
            last, sent = time.monotonic(), told.tell.remote(step)

    found = call(item, tell)
    if sent is not None:
        with contextlib.suppress(errors.RayError):  # nobody to tell; else it is heard before the result
            importlib.import_module("ray").get(sent, timeout=5.0)
    return found
