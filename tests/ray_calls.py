"""What the nodes of a cluster are asked to do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tinyse.core.errors import TinyseError
from tinyse.core.progress import Progress, Step

HELD: dict[str, object] = {}


def inverse(number: int, progress: Progress) -> float:
    if number < 0:
        raise TinyseError(f"{number}: below zero", "above it")
    progress(Step("inverse", 1, 1))
    return 1 / number


def dies_once(mark: str, progress: Progress) -> str:
    if os.path.exists(mark):
        return "lived"
    Path(mark).touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return "died"


def dies(item: str, progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def start(folder: Path, factor: int) -> None:
    HELD.update(folder=folder, factor=factor, told=os.environ["TINYSE_TOLD"])
    (folder / str(os.getpid())).touch()


def times(number: int) -> tuple[object, int]:
    folder = HELD["folder"]
    assert isinstance(folder, Path) and isinstance(HELD["factor"], int)
    if number == 1000:
        raise TinyseError("too large")
    if number < 0 and not (folder / "crashed").exists():
        (folder / "crashed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return HELD["told"], HELD["factor"] * number
