import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyse.core.errors import ModelError, ToolError
from tinyse.export.targets import load_target
from tinyse.firmware import fvp
from tinyse.firmware.results import from_uart
from tinyse.measure.costs.runner import read_log

HERE = Path(__file__).parent / "fvp"
U55 = load_target("ethos-u55-128")
LIMIT = 120


def transcript(name):
    return (HERE / f"{name}.txt").read_text(encoding="utf-8")


def standin(folder, name, code=0):
    """An executable that behaves like an FVP whose run is recorded in ``name``."""
    program = folder / fvp.FVP
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE}/standin.py" "{HERE}/{name}.txt" {code} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def test_command_line():
    line = fvp.command("FVP", Path("a.elf"), U55, "tinyse in.wav out.wav results.json", [(Path("m"), 0x90000000)], 60)
    assert line == [
        "FVP", "-a", "a.elf", "--data", "m@0x90000000", "-C", "ethosu.num_macs=128",
        "-C", "mps3_board.visualisation.disable-visualisation=1", "-C", "mps3_board.telnetterminal0.start_telnet=0",
        "-C", "mps3_board.uart0.out_file=-", "-C", "mps3_board.uart0.unbuffered_output=1",
        "-C", "mps3_board.uart0.shutdown_on_eot=1", "-C", "cpu0.semihosting-enable=1",
        "-C", "cpu0.semihosting-cmd_line=tinyse in.wav out.wav results.json", "--stat", "--timelimit", "60"]
    assert "ethosu.num_macs=256" in fvp.command("FVP", Path("a"), load_target("ethos-u55-256"))
    bare = fvp.command("FVP", Path("a"), load_target("cortex-m55"))
    assert not any("ethosu" in word or "semihosting" in word for word in bare)
    assert not any("--fast" in word for word in line)


def test_fvp_of_another_npu_is_refused():
    with pytest.raises(ToolError, match="has an Ethos-U55, ethos-u65-256 has not"):
        fvp.command("/x/FVP_Corstone_SSE-300_Ethos-U55", Path("a"), load_target("ethos-u65-256"))


def test_good_run(tmp_path):
    done = fvp.run(fvp.command(standin(tmp_path, "good"), Path("a.elf"), U55, seconds=LIMIT), tmp_path)
    assert done.statistics == fvp.Statistics(0.109541, 9330512)
    results = from_uart(done.text)
    assert results.npu.axi1_read * 8 == 7870080 and results.counter.name == "dwt"
    assert fvp.said(done.text).splitlines()[0] == "tinyse results begin"
    assert fvp.last_line(done.text) == "tinyse results end"


@pytest.mark.parametrize(("name", "code", "line"), [
    ("library", 127, "libpython3.9.so.1.0 is missing"),
    ("licence", 1, "License checkout for feature SG_Simulator .* has been denied"),
    ("parameter", 1, "unknown parameter: ethosu.num_macs"),
    ("limit", 0, "the time limit of 120 simulated seconds is over: tinyse: waiting"),
    ("silent", 0, "printed nothing on its UART"),
    ("failed", 3, r"exit 3: Error: file not found: 'nowhere.axf'"),
    ("crash", -11, "crashed by SIGSEGV: tinyse: frame 3"),
    ("good", 4, "exit 4: tinyse results end"),
])
def test_every_failure_is_one_line(tmp_path, name, code, line):
    with pytest.raises(ToolError, match=line) as caught:
        fvp.run(fvp.command(standin(tmp_path, name, code), Path("a.elf"), U55, seconds=LIMIT), tmp_path)
    assert "\n" not in caught.value.line() and caught.value.hint


def test_what_cannot_be_started(tmp_path):
    with pytest.raises(ToolError, match="no such program"):
        fvp.run([str(tmp_path / "none")])
    text = tmp_path / "text"
    text.write_text("x")
    with pytest.raises(ToolError, match="may not be run"):
        fvp.run([str(text)])
    text.write_bytes(b"\x7fELF not for this machine")
    text.chmod(0o755)
    with pytest.raises(ToolError, match="cannot be run here"):
        fvp.run([str(text)])


def test_run_that_hangs_is_stopped(tmp_path, monkeypatch):
    program = tmp_path / "fvp"
    program.write_text("#!/bin/sh\necho tinyse: here\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(fvp, "WALL_FACTOR", 0)
    monkeypatch.setattr(fvp, "WALL_LEAST", 0.5)
    with pytest.raises(ToolError, match="did not end in 0.5 s: tinyse: here"):
        fvp.run([str(program)])


def test_found_as_the_doctor_finds_it(tmp_path, monkeypatch):
    program = standin(tmp_path, "good")
    monkeypatch.delenv(fvp.FVP_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert fvp.find() is None
    assert fvp.find(str(tmp_path)) == fvp.find(program) == program
    monkeypatch.setenv(fvp.FVP_VARIABLE, program)
    assert fvp.find() == program
    monkeypatch.delenv(fvp.FVP_VARIABLE)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fvp.find() == program
    with pytest.raises(ToolError, match="is no program"):
        fvp.find("/nowhere/at/all")


def test_metrics_of_arms_runner():
    found = fvp.metrics(transcript("runner"))
    assert found["NPU TOTAL"] == 853864 and found["NPU AXI1_RD_DATA_BEAT_RECEIVED"] == 98376 and len(found) == 6
    log = read_log(transcript("runner"), Path("m"))
    assert (log.arena, log.operators, log.time_steps, log.output_bytes) == (4892, ("ethos-u",), 1, 128)


@pytest.mark.parametrize(("text", "line"), [
    ("nothing", "no <metrics> line: nothing"), ("<metrics>####</metrics>", "no <metrics> line"),
    ("<metrics>AAAA</metrics>", "is damaged"), ("<metrics>e30=</metrics>", "^$"),
    ("<metrics>W3sic2FtcGxlcyI6W3sibmFtZSI6ICJ4In1dfV0=</metrics>", "is damaged")])
def test_damaged_metrics(text, line):
    if line == "^$":
        assert fvp.metrics(text) == {}
    else:
        with pytest.raises(ToolError, match=line):
            fvp.metrics(text)


def test_runner_that_failed_says_why():
    with pytest.raises(ModelError, match="Failed to allocate tail memory"):
        read_log(transcript("runner") + "Failed to allocate tail memory. Requested: 9, available 1, missing: 8\n",
                 Path("m"))
    with pytest.raises(ModelError, match="Arm's runner: it printed nothing"):
        read_log("", Path("m"))


@given(st.text(max_size=400), st.integers(-20, 5))
def test_any_text_is_judged_without_a_trace(text, code):
    try:
        fvp.check(text, code, LIMIT)
    except ToolError as error:
        assert "\n" not in error.line()
    else:
        assert code == 0 and fvp.said(text)
