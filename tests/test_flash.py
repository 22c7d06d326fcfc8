"""Flashing without a board: openocd's files parse, its program command runs, bytes arrive, arguments are right."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time

import pytest
from click.testing import CliRunner
from firmware_images import export, image, needs_compiler, needs_qemu

from tinyse.cli import main
from tinyse.core.errors import ToolError
from tinyse.firmware import qemu
from tinyse.firmware.elf import read_image
from tinyse.firmware.flash import FOLDER, PLACES, flash, images_txt, openocd_command

pytestmark = [pytest.mark.qemu, needs_compiler]
needs_openocd = pytest.mark.skipif(shutil.which("openocd") is None, reason="apt-get install openocd")
needs_gdb = pytest.mark.skipif(shutil.which("gdb-multiarch") is None, reason="apt-get install gdb-multiarch")
BY_OPENOCD = [board for board, place in PLACES.items() if place.config]


@needs_openocd
@pytest.mark.parametrize("board", BY_OPENOCD)
def test_openocd_knows_the_board(board):
    done = subprocess.run(["openocd", "-f", PLACES[board].config, "-c", "shutdown"], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr


FAUX = """
adapter driver dummy
adapter speed 100
jtag newtap faux cpu -irlen 4 -expected-id 0
target create faux.cpu testee -chain-position faux.cpu
flash bank faux.flash faux 0x08000000 0x200000 2 2 faux.cpu
reset_config none
"""


@needs_openocd
def test_openocd_runs_our_program_command_to_its_end(tmp_path):
    """With a dummy adapter and a flash bank of memory, which cannot be read back: hence no verify."""
    (tmp_path / "faux.cfg").write_text(FAUX)
    elf = image("stm32f746g-disco").elf
    arguments = openocd_command(elf, str(tmp_path / "faux.cfg"))
    arguments[-1] = arguments[-1].replace(" verify", "")
    done = subprocess.run(["openocd", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    steps = [line for line in done.stderr.splitlines() if line.startswith("** ")]
    assert steps == ["** Programming Started **", "** Programming Finished **", "** Resetting Target **"]


@needs_qemu
@needs_gdb
@pytest.mark.parametrize("board", ["corstone300", "mps2-an500"])
def test_every_loaded_byte_arrives(board, tmp_path):
    """gdb loads the image into an emulated board that was given none, and compares section by section."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    elf = image(board).elf
    server = subprocess.Popen(["qemu-system-arm", "-M", *qemu.MACHINES[board], "-display", "none", "-monitor", "none",
                               "-serial", "null", "-S", "-gdb", f"tcp:127.0.0.1:{port}"], stderr=subprocess.PIPE)
    try:
        commands = [f"target remote 127.0.0.1:{port}", "load", "compare-sections", "kill"]
        for _ in range(40):
            done = subprocess.run(["gdb-multiarch", "-nx", "-batch", *(f"--eval-command={c}" for c in commands), elf],
                                  capture_output=True, text=True, timeout=60, check=False)
            if "Connection refused" not in done.stderr:
                break
            time.sleep(0.1)
    finally:
        server.kill()
        server.wait()
    lines = [line for line in done.stdout.splitlines() if line.startswith("Section ") and "range" in line]
    assert lines and all(line.endswith("matched.") for line in lines), done.stdout + done.stderr
    loaded = {section.name for section in read_image(elf).sections if section.kind != "bss" and section.size}
    assert {line.split()[1].rstrip(",") for line in lines} == loaded


RECORDER = """#!/bin/sh
printf '%s\\n' "$@" > "{log}"
echo "{said}" >&2
exit {code}
"""


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    """An ``openocd`` first in PATH that keeps its arguments and says what it is told to."""

    def make(said: str, code: int = 0):
        folder, log = tmp_path / "bin", tmp_path / "arguments"
        folder.mkdir(exist_ok=True)
        script = folder / "openocd"
        script.write_text(RECORDER.format(log=log, said=said, code=code))
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return log

    return make


@pytest.mark.parametrize("board", BY_OPENOCD)
def test_openocd_is_given_config_image_and_verify(board, recorder):
    log = recorder("** Verified OK **")
    built = image(board)
    assert flash(built, board) == f"{board}: tinyse.elf programmed, verified and started"
    assert log.read_text().splitlines() == [
        "-f", PLACES[board].config, "-c", f"program {{{built.elf}}} verify reset exit"]


@pytest.mark.parametrize("said, code, reason", [
    ("Error: open failed", 1, "no debug probe answers (openocd: open failed) (connect the board's ST-Link by USB"),
    ("Error: unable to find a matching CMSIS-DAP device", 1, "no debug probe answers"),
    ("Error: init mode failed (unable to connect to the target)", 1, "openocd failed: init mode failed"),
    ("** Programming Finished **", 0, "openocd did not verify what it wrote"),
    ("", 1, "openocd failed: no message"),
])
def test_what_openocd_refuses_is_one_line(said, code, reason, recorder):
    recorder(said, code)
    with pytest.raises(ToolError) as caught:
        flash(image("stm32f746g-disco"), "stm32f746g-disco")
    assert reason in caught.value.line() and "\n" not in caught.value.line()


@needs_openocd
def test_no_probe_is_refused_by_the_real_openocd():
    with pytest.raises(ToolError, match="stm32f746g-disco: no debug probe answers"):
        flash(image("stm32f746g-disco"), "stm32f746g-disco")


def test_the_wrong_image_the_wrong_board_and_no_tool(tmp_path, monkeypatch):
    with pytest.raises(ToolError, match="board 'arduino' cannot be flashed"):
        flash(image("stm32f746g-disco"), "arduino")
    with pytest.raises(ToolError, match="is an image for stm32f746g-disco, not for stm32h743zi"):
        flash(image("stm32f746g-disco"), "stm32h743zi")
    with pytest.raises(ToolError, match="braces"):
        openocd_command(tmp_path / "a{b}.elf", "x.cfg")
    built = image("stm32f746g-disco")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError) as caught:
        flash(built, "stm32f746g-disco")
    assert caught.value.line() == "openocd is not installed (install it: apt-get install -y openocd)"


def drive(folder):
    """The skeleton of an MPS3's drive."""
    (folder / "MB" / "HBI0309C" / FOLDER).mkdir(parents=True)
    (folder / "SOFTWARE").mkdir()
    (folder / "MB" / "HBI0309C" / FOLDER / "images.txt").write_text("as it came")
    return folder


def test_an_mps3_is_given_both_files_and_where_they_go(tmp_path):
    root = drive(tmp_path / "media" / "V2M-MPS3")
    built = image("corstone300", "npu")
    pattern = f"{tmp_path}/media/*"
    assert flash(built, "mps3-an547", mounts=[pattern]).startswith(f"mps3-an547: copied to {root}; eject")
    flash(built, "mps3-an547", root)  # again: what was there first is still kept
    place = root / "MB" / "HBI0309C" / FOLDER
    assert (place / "images.old").read_text() == "as it came"
    assert (place / "images.txt").read_bytes() == (
        b"TITLE: tinyse\r\n[IMAGES]\r\nTOTALIMAGES: 2\r\n"
        b"IMAGE0ADDRESS: 0x00000000\r\nIMAGE0UPDATE: AUTO\r\nIMAGE0FILE: \\SOFTWARE\\itcm.bin\r\n"
        b"IMAGE1ADDRESS: 0x0C000000\r\nIMAGE1UPDATE: AUTO\r\nIMAGE1FILE: \\SOFTWARE\\ddr.bin\r\n")
    assert images_txt().encode() == (place / "images.txt").read_bytes()
    read = read_image(built.elf)
    data = built.elf.read_bytes()
    for name, base, sections in [("itcm.bin", 0, (".vectors", ".text", ".rodata")),
                                 ("ddr.bin", 0x70000000, (".model",))]:
        raw = (root / "SOFTWARE" / name).read_bytes()
        for section in map(read.section, sections):
            assert section is not None
            at = section.load - base
            assert raw[at:at + section.size] == data[section.offset:section.offset + section.size], section.name


def test_no_drive_many_drives_and_other_drives_are_refused(tmp_path):
    built = image("corstone300", "npu")
    with pytest.raises(ToolError, match="no drive of an MPS3 board is mounted"):
        flash(built, "mps3-an547", mounts=[f"{tmp_path}/*"])
    with pytest.raises(ToolError, match=r"holds no MB/HBI0309\*/AN547"):
        flash(built, "mps3-an547", tmp_path)
    drive(tmp_path / "a"), drive(tmp_path / "b")
    with pytest.raises(ToolError, match="more than one drive"):
        flash(built, "mps3-an547", mounts=[f"{tmp_path}/*"])


def test_the_command_flashes_what_it_builds(tmp_path, recorder):
    log = recorder("** Verified OK **")
    model = str(export("small", "cortex-m7") / "model_int8.tflite")
    answer = CliRunner().invoke(main, ["firmware", "flash", model, "--board", "stm32f746g-disco", "--out",
                                       str(tmp_path / "out")])
    assert answer.exit_code == 0, answer.output
    assert answer.stdout == "stm32f746g-disco: tinyse.elf programmed, verified and started\n"
    assert str(tmp_path / "out") in log.read_text()
    answer = CliRunner().invoke(main, ["firmware", "flash", "anything", "--board", "corstone300"])
    assert answer.stderr == ("Error: board 'corstone300' cannot be flashed "
                             "(one of stm32f746g-disco, stm32h743zi, mps3-an547)\n")
