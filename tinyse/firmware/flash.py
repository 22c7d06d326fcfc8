"""Puts an image onto a board: openocd for the STM32 boards, the USB drive of an MPS3.

Nothing is assumed to be connected: where no debug probe answers, or no drive is mounted, that is the error.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyse.core.artifacts import atomic_path, write_text
from tinyse.core.errors import ToolError
from tinyse.firmware.build import Built

SECONDS = 300
OPENOCD_HINT = "install it: apt-get install -y openocd"
FOLDER = "AN547"
"""The FPGA image that an MPS3 runs as Corstone-300 with an Ethos-U55."""

MCC_ADDRESSES = {"itcm.bin": 0x00000000, "ddr.bin": 0x0C000000}
"""Where the board's own controller sees ITCM (0x00000000) and DDR (0x70000000) of AN547."""

MOUNTS = ("/media/*", "/media/*/*", "/run/media/*/*", "/mnt", "/mnt/*", "/Volumes/*")
"""Where systems mount USB drives."""


@dataclass(frozen=True)
class Place:
    """A board that can be flashed.

    Attributes:
        image: the firmware's board. config: openocd's file for it; empty for a drive.
    """

    image: str
    config: str


PLACES = {
    "stm32f746g-disco": Place("stm32f746g-disco", "board/stm32f746g-disco.cfg"),
    "stm32h743zi": Place("stm32h743zi", "board/st_nucleo_h743zi.cfg"),
    "mps3-an547": Place("corstone300", ""),
}


def flash(built: Built, board: str, drive: Path | None = None, mounts: Sequence[str] = MOUNTS) -> str:
    """Flash an image.

    Args:
        built: an image for ``PLACES[board].image``.
        board: one of `PLACES`.
        drive: root of the MPS3's drive; default: the one mounted drive that looks like it.
        mounts: where to look for it.

    Returns:
        What was done, and what is left to do, in one line.

    Raises:
        ToolError: an unknown board, no probe, no drive, or the tool failed; the message carries its reason.
    """
    place = place_of(board)
    if built.board != place.image:
        raise ToolError(f"{built.elf}: is an image for {built.board}, not for {board}",
                        f"build it with BOARD={place.image}")
    if not built.elf.is_file():
        raise ToolError(f"{built.elf}: no such image", "build it first")
    if place.config:
        return _openocd(built.elf, board, place.config)
    return _copy(built, drive or _find_drive(mounts))


def place_of(board: str) -> Place:
    """The board's entry in `PLACES`.

    Raises:
        ToolError: nobody knows how to flash it.
    """
    if board not in PLACES:
        raise ToolError(f"board {board!r} cannot be flashed", f"one of {', '.join(PLACES)}")
    return PLACES[board]


def openocd_command(elf: Path, config: str) -> list[str]:
    """The arguments after ``openocd``: program, compare, start.

    Raises:
        ToolError: a path that openocd's language cannot quote.
    """
    path = str(elf.absolute())
    if re.search(r"[{}\\\n]", path):
        raise ToolError(f"{path!r}: openocd cannot take a path with braces or backslashes", "use another folder")
    return ["-f", config, "-c", f"program {{{path}}} verify reset exit"]


def _openocd(elf: Path, board: str, config: str) -> str:
    program = shutil.which("openocd")
    if program is None:
        raise ToolError("openocd is not installed", OPENOCD_HINT)
    try:
        run = subprocess.run([program, *openocd_command(elf, config)], capture_output=True, text=True,
                             errors="replace", timeout=SECONDS, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{board}: openocd does not finish within {SECONDS} s",
                        "unplug the board, plug it in") from error
    said = run.stdout + run.stderr
    if run.returncode:
        raise _refusal(board, said)
    if "** Verified OK **" not in said:
        raise ToolError(f"{board}: openocd did not verify what it wrote: {_error(said)}", "flash it again")
    return f"{board}: {elf.name} programmed, verified and started"


def _refusal(board: str, said: str) -> ToolError:
    reason = _error(said)
    if re.search(r"open failed|unable to (find|open)|no (device|adapter|probe)|LIBUSB_ERROR", said, re.IGNORECASE):
        return ToolError(f"{board}: no debug probe answers (openocd: {reason})",
                         "connect the board's ST-Link by USB; on Linux its udev rules must let you use it")
    return ToolError(f"{board}: openocd failed: {reason}", "is the board powered, and nobody else debugging it?")


def _error(said: str) -> str:
    lines = [line for line in said.splitlines() if line.startswith("Error:")]
    return (lines[0].removeprefix("Error:") if lines else (said.strip().splitlines() or ["no message"])[-1]).strip()


def _find_drive(mounts: Sequence[str]) -> Path:
    found = sorted({path for pattern in mounts for path in Path("/").glob(pattern.lstrip("/")) if _folders(path)})
    if not found:
        raise ToolError("mps3-an547: no drive of an MPS3 board is mounted",
                        f"connect its debug USB port and mount the drive (it holds MB/HBI0309*/{FOLDER}), or name it "
                        "with --drive")
    if len(found) > 1:
        raise ToolError(f"mps3-an547: more than one drive looks like an MPS3's: {', '.join(map(str, found))}",
                        "name one with --drive")
    return found[0]


def _folders(drive: Path) -> list[Path]:
    try:
        return sorted(path for path in drive.glob(f"MB/HBI0309*/{FOLDER}") if path.is_dir())
    except OSError:
        return []


def _copy(built: Built, drive: Path) -> str:
    folders = _folders(drive)
    if len(folders) != 1:
        raise ToolError(f"{drive}: holds {'no' if not folders else 'more than one'} MB/HBI0309*/{FOLDER}",
                        "is it an MPS3's drive, with the AN547 image installed?")
    files = {path.name: path for path in built.binaries}
    for name in MCC_ADDRESSES:
        if name not in files:
            raise ToolError(f"{built.folder}: holds no {name}", "build the image again")
        with atomic_path(drive / "SOFTWARE" / name) as temporary:
            shutil.copyfile(files[name], temporary)
    listing = folders[0] / "images.txt"
    saved = listing.with_name("images.old")
    if listing.is_file() and not saved.exists():
        shutil.copyfile(listing, saved)
    write_text(listing, images_txt())
    return f"mps3-an547: copied to {drive}; eject the drive, then press the board's on/off button"


def images_txt() -> str:
    """What the board's controller is to load where."""
    lines = ["TITLE: tinyse", "[IMAGES]", f"TOTALIMAGES: {len(MCC_ADDRESSES)}"]
    for number, (name, address) in enumerate(MCC_ADDRESSES.items()):
        lines += [f"IMAGE{number}ADDRESS: 0x{address:08X}", f"IMAGE{number}UPDATE: AUTO",
                  f"IMAGE{number}FILE: \\SOFTWARE\\{name}"]
    return "\r\n".join(lines) + "\r\n"
