"""Ctrl-C, SIGTERM and SIGHUP in training: acted on between two steps, and at once while nothing is half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from tinyse.core.errors import TrainingError


class Stop(KeyboardInterrupt):
    """Training was asked to stop; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def error(self, when: str) -> TrainingError:
        """What the user is told; ``when``: how far it was."""
        name = "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name
        made = TrainingError(f"stopped by {name} {when}", "go on with --resume")
        made.exit_code = 128 + self.number
        return made


@dataclass
class _Heard:
    number: int = 0
    at_once: bool = False


_heard = _Heard()
"""Signals are the process's, so there is one."""


def _note(number: int, frame: FrameType | None) -> None:
    _heard.number = number
    if _heard.at_once:
        raise Stop(number)


@contextmanager
def interrupts() -> Iterator[None]:
    """Note signals, which ``stop_if_asked`` and ``at_once`` act on, while the block runs; in the main thread only."""
    before, _heard.number = {}, 0
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:  # as nohup does
                before[number] = signal.signal(number, _note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _heard.number = 0


def stop_if_asked() -> None:
    """Raises Stop where a signal came."""
    if _heard.number:
        raise Stop(_heard.number)


@contextmanager
def at_once() -> Iterator[None]:
    """A block that changes nothing which a checkpoint holds: a signal cuts it off.

    It may be minutes of graph building and compilation, in which other threads do not hear the signal.

    Raises:
        Stop: now, or where a signal came before.
    """
    stop_if_asked()
    _heard.at_once = True
    try:
        yield
    finally:
        _heard.at_once = False
