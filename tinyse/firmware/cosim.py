"""The host's end of the co-simulated NPU: firmware sends its arena through one named pipe, and gets it back
through another as the NPU would have left it::

    with serve(["export/model_vela.tflite"], folder) as (request, reply):   # the pipes
        ...                                # run QEMU in folder with --npu request reply

The wire format is stated in docs/ethos-u-driver.md; the firmware's end is ``firmware/src/cosim.c``.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tinyse.core.artifacts import writing
from tinyse.core.errors import ModelError, TinyseError, ToolError
from tinyse.npu.machine import Machine

MAGIC, VERSION = 0x50435354, 2  # "TSCP"
HELLO, RUN, DONE, ERROR = 1, 2, 3, 4
HEADER, GREETING = struct.Struct("<3I"), struct.Struct("<5I")
MAX_TEXT = 159
PIPES = ("npu-request", "npu-reply")
ALIGNMENT = 16
JOIN_SECONDS = 10.0


@contextlib.contextmanager
def serve(models: Sequence[Path], folder: Path | str) -> Iterator[tuple[str, str]]:
    """Answer one image's NPU runs in the background, for as long as the context lasts.

    Args:
        models: the Vela-compiled ``.tflite`` files that the image was made from, one a part.
        folder: an existing folder; the two pipes are made in it, and removed at the end.

    Yields:
        The names of the pipes in ``folder``: from the firmware, to the firmware.

    Raises:
        NpuError: a model cannot be simulated; raised before anything runs.
        ModelError: the image was made from another model. ToolError: it did not speak the protocol. Both are
            raised on leaving, and take the place of the error by which the image said so.
    """
    folder = Path(folder)
    server = _Server([_Part(model) for model in models])
    with contextlib.ExitStack() as stack:
        with writing(folder):
            for name in PIPES:
                os.mkfifo(folder / name)
                stack.callback(os.unlink, folder / name)
        server.start(*(folder / name for name in PIPES))
        stack.callback(server.stop)
        yield PIPES


class _Stopped(Exception):
    """The context ended, or the firmware closed its pipe between two messages."""


class _Part:
    """A compiled file on the simulator, and how firmware greets that was made from it."""

    def __init__(self, model: Path) -> None:
        self.machine, self.label = Machine.load(model), str(model)
        payload = self.machine.payload
        self.size = -(-payload.arena_bytes // ALIGNMENT) * ALIGNMENT
        self.greeting = (MAGIC, VERSION, zlib.crc32(payload.words.astype("<u4").tobytes()),
                         zlib.crc32(payload.read_only.tobytes()), self.size)


class _Server:
    """One thread that plays the NPU; ``error`` is why it ended early."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        self._parts = parts
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self, request: Path, reply: Path) -> None:
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._main, args=(request, reply), name="tinyse-npu", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; raises what ended it early."""
        assert self._thread is not None
        os.close(self._wake_write)
        self._thread.join(JOIN_SECONDS)
        os.close(self._wake_read)
        if self._error is not None:
            raise self._error

    def _main(self, request: Path, reply: Path) -> None:
        with contextlib.ExitStack() as stack:
            # Neither end waits here: a pipe opened for both directions needs no other end yet.
            source = os.open(request, os.O_RDONLY | os.O_NONBLOCK)
            stack.callback(os.close, source)
            target = os.open(reply, os.O_RDWR | os.O_NONBLOCK)
            stack.callback(os.close, target)
            wire = _Wire(source, target, self._wake_read)
            try:
                while True:
                    self._answer(wire)
            except _Stopped:
                pass
            except TinyseError as error:
                self._error = error
                self._complain(wire, error.line())
            except BaseException as error:  # whatever it is, the caller's thread must see it
                self._error = error
                self._complain(wire, f"the simulator failed: {error!r}")

    def _complain(self, wire: _Wire, text: str) -> None:
        data = text.encode("ascii", "replace")[:MAX_TEXT]
        with contextlib.suppress(_Stopped, ToolError):
            wire.write(HEADER.pack(ERROR, 0, len(data)) + data)

    def _answer(self, wire: _Wire) -> None:
        kind, number, size = HEADER.unpack(wire.read(HEADER.size, first=True))
        part = self._parts[number] if number < len(self._parts) else None
        if kind == HELLO and size == GREETING.size:
            self._check(GREETING.unpack(wire.read(size)), part)
            wire.write(HEADER.pack(DONE, number, 0))
        elif kind == RUN and part is not None and size == part.size:
            arena = part.machine.arena
            given = wire.read(size)
            arena[:] = memoryview(given)[:arena.size]
            part.machine.execute()
            wire.write(b"".join((HEADER.pack(DONE, number, size), arena.data, given[arena.size:])))
        else:
            raise ToolError(f"the firmware sent message {kind} of {size} bytes for part {number} to the NPU simulator",
                            "build the firmware with this version of tinyse")

    def _check(self, greeting: tuple[int, ...], part: _Part | None) -> None:
        if greeting[:2] != (MAGIC, VERSION):
            raise ToolError("the firmware speaks another version of the co-simulation",
                            "build the firmware with this version of tinyse")
        if part is None or greeting != part.greeting:
            raise ModelError(f"{(part or self._parts[0]).label}: is not the model that the image was made from",
                             "build the firmware from this export")


class _Wire:
    """Whole messages over two pipes that never block for longer than the context lasts."""

    def __init__(self, source: int, target: int, wake: int) -> None:
        self._source, self._target, self._wake = source, target, wake

    def read(self, size: int, first: bool = False) -> bytes:
        """``size`` bytes; the end of the pipe is an error unless it comes ``first``."""
        data = bytearray()
        while len(data) < size:
            self._wait(self._source, select.POLLIN)
            chunk = os.read(self._source, size - len(data))
            if not chunk:
                if first and not data:
                    raise _Stopped
                raise ToolError("the firmware closed the NPU's pipe within a message")
            data += chunk
        return bytes(data)

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            self._wait(self._target, select.POLLOUT)
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._target, left):]

    def _wait(self, file: int, event: int) -> None:
        poll = select.poll()
        poll.register(file, event)
        poll.register(self._wake, select.POLLIN)
        if self._wake in dict(poll.poll()):
            raise _Stopped
