"""A real board's results off its UART: it enhances noise again and again, and tells how long that took."""

from __future__ import annotations

import contextlib
import os
import select
import time
from pathlib import Path

from tinyse.core.errors import ToolError
from tinyse.firmware.results import Results, complaint, from_uart

SECONDS = 60.0
LONGEST = 1 << 20


def read_board(device: Path, seconds: float = SECONDS) -> Results:
    """Wait for one whole report on a serial device (115200 baud, 8N1).

    Args:
        device: such as /dev/ttyACM0.
        seconds: to wait.

    Raises:
        ToolError: the device is not there or busy, the board says why it stopped, or nothing that is a report
            arrives in time.
    """
    try:
        handle = os.open(device, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise ToolError(f"{device}: {error.strerror}", "is the board plugged in, and may you read the device? "
                        "(group dialout)") from error
    try:
        _configure(handle)
        return _report(handle, device, time.monotonic() + seconds, seconds)
    finally:
        os.close(handle)


def _report(handle: int, device: Path, end: float, seconds: float) -> Results:
    seen = b""
    while (left := end - time.monotonic()) > 0:
        if not select.select([handle], [], [], left)[0]:
            break
        try:
            chunk = os.read(handle, 4096)
        except BlockingIOError:
            continue
        except OSError as error:
            raise ToolError(f"{device}: {error.strerror}", "was the board unplugged?") from error
        if not chunk:
            raise ToolError(f"{device}: closed", "was the board unplugged?")
        seen = (seen + chunk)[-LONGEST:]
        text = seen.decode("ascii", errors="replace")
        if wrong := complaint(text):
            if "\n" in text[text.find(wrong):]:
                raise ToolError(f"{device}: {wrong}", "flash the firmware again: make flash")
            continue
        if (results := from_uart(text)) is not None:
            return results
    heard = f"{len(seen)} bytes that are no report" if seen else "nothing"
    raise ToolError(f"{device}: {heard} in {seconds:g} s", "flash the firmware: make flash")


def _configure(handle: int) -> None:
    """Raw, 115200 baud; what is no terminal (a pipe in a test) stays as it is."""
    import termios

    with contextlib.suppress(termios.error):
        settings = termios.tcgetattr(handle)
        settings[0] = settings[1] = settings[3] = 0
        settings[2] = termios.CS8 | termios.CREAD | termios.CLOCAL
        settings[4] = settings[5] = termios.B115200
        termios.tcsetattr(handle, termios.TCSANOW, settings)
