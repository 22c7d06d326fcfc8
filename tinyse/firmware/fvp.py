"""Arm's Corstone-300 FVP: its command line, and what its text says.

::

    program = find_fvp(None, Installed())
    done = run(command(program, image, target, "tinyse in.wav out.wav results.json"), folder)

No FVP was available where this was written: its formats are those that Arm documents, and the transcripts that
the tests read were made from them. `run` says in one line how a run failed: no such program, a library that is
missing, no licence, a parameter that this version does not know, a crash, a time limit, or no output.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyse.core.errors import ToolError
from tinyse.core.tools import FVP, FVP_VARIABLE, Installed, find_fvp
from tinyse.export.targets import Target

SECONDS = 300
"""Simulated seconds after which a run is given up."""
WALL_FACTOR, WALL_LEAST = 4, 120
METRICS = re.compile(r"<metrics>\s*([A-Za-z0-9+/=\s]*?)\s*</metrics>")
LIBRARY = re.compile(r"error while loading shared libraries: ([^:\s]+)")
LICENCE = re.compile(r"^.*\blicen[cs]e\b.*\b(?:error|denied|fail\w*|expired|invalid|not found)\b.*$", re.I | re.M)
PARAMETER = re.compile(r"^.*(?:unknown|no such|not found|could not (?:find|set)).*\bparameter\b.*$|"
                       r"^.*\bparameter\b.*(?:unknown|not found|does not exist|could not be set).*$", re.I | re.M)
ERROR = re.compile(r"^\W*(?:fatal |internal )?error:.*$", re.I | re.M)
SIMULATED = re.compile(r"^Simulated time\s*:\s*([\d.]+)\s*s", re.M)
INSTRUCTIONS = re.compile(r"^\S*cpu\S*\s*:\s*[\d.]+ MIPS \(\s*(\d+) Inst\)", re.M)


@dataclass(frozen=True)
class Statistics:
    """What ``--stat`` prints: simulated seconds, and instructions of all cores; None where it printed none."""

    seconds: float | None
    instructions: int | None


@dataclass(frozen=True)
class FvpRun:
    """A run that ended well: the UART's and the FVP's own text, and its statistics."""

    text: str
    statistics: Statistics


def command(executable: str, image: Path, target: Target, arguments: str = "",
            data: Sequence[tuple[Path, int]] = (), seconds: int = SECONDS) -> list[str]:
    """The command line of one run.

    Args:
        executable: the FVP.
        image: ELF file for the Cortex-M55.
        target: its NPU's MACs a cycle are configured; without an NPU the FVP's default stays.
        arguments: the image's command line, given to it by semihosting; empty: semihosting stays off.
        data: files to place in memory, with their addresses.
        seconds: of simulated time to allow.

    Raises:
        ToolError: the target's NPU is not the FVP's.
    """
    options = ["mps3_board.visualisation.disable-visualisation=1", "mps3_board.telnetterminal0.start_telnet=0",
               "mps3_board.uart0.out_file=-", "mps3_board.uart0.unbuffered_output=1",
               "mps3_board.uart0.shutdown_on_eot=1"]
    if target.npu is not None:
        family = target.npu.accelerator.rsplit("-", 1)[0]
        named = re.search(r"Ethos-U\d+", Path(executable).name)
        if named and named[0].lower() != family:
            raise ToolError(f"{executable}: has an {named[0]}, {target.name} has not",
                            f"name the FVP with an {family.title()}: --fvp PATH")
        options.insert(0, f"ethosu.num_macs={target.npu.macs_per_cycle}")
    if arguments:
        options += ["cpu0.semihosting-enable=1", f"cpu0.semihosting-cmd_line={arguments}"]
    line = [executable, "-a", str(image)]
    for file, address in data:
        line += ["--data", f"{file}@{address:#x}"]
    for option in options:
        line += ["-C", option]
    return [*line, "--stat", "--timelimit", str(seconds)]


def run(line: Sequence[str], folder: Path | None = None) -> FvpRun:
    """Run the FVP in ``folder`` until the image ends it with EOT.

    Raises:
        ToolError: as the module says, in one line.
    """
    limit = int(line[line.index("--timelimit") + 1]) if "--timelimit" in line else SECONDS
    wall = max(WALL_LEAST, WALL_FACTOR * limit)
    try:
        done = subprocess.run(list(line), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=wall, check=False)
    except FileNotFoundError:
        raise ToolError(f"{line[0]}: no such program", f"name the FVP: --fvp PATH or ${FVP_VARIABLE}") from None
    except PermissionError:
        raise ToolError(f"{line[0]}: may not be run", f"chmod +x {line[0]}") from None
    except OSError as error:  # another machine's executable
        raise ToolError(f"{line[0]}: cannot be run here: {error.strerror}",
                        "install the FVP for this machine") from None
    except subprocess.TimeoutExpired as error:
        text = (error.stdout or b"").decode(errors="replace")
        raise ToolError(f"{Path(line[0]).name} did not end in {wall} s: {last_line(text)}",
                        "a shorter WAV, or look for what the firmware waits for") from None
    text = done.stdout.decode(errors="replace")
    check(text, done.returncode, limit, Path(line[0]).name)
    return FvpRun(text, statistics(text))


def check(text: str, code: int, limit: int, name: str = FVP) -> None:
    """Judge a run by its text and exit code (negative: a signal).

    Raises:
        ToolError: it failed.
    """
    if library := LIBRARY.search(text):
        raise ToolError(f"{name}: {library[1]} is missing", "install it; for a libpython: the Python that came with "
                        "the FVP is in its python folder, add that to LD_LIBRARY_PATH")
    if licence := LICENCE.search(text):
        raise ToolError(f"{name}: {licence[0].strip()}", "see ARMLMD_LICENSE_FILE; the ecosystem FVP needs none")
    if parameter := PARAMETER.search(text):
        raise ToolError(f"{name}: {parameter[0].strip()}", "tinyse is made for version 11.24 or later")
    if code < 0:
        raise ToolError(f"{name}: crashed by {_signal(-code)}: {last_line(text)}", "try another version")
    if code != 0:
        error = ERROR.search(text)
        raise ToolError(f"{name}: exit {code}: {error[0].strip() if error else last_line(text)}",
                        "see docs/profile.md")
    simulated = statistics(text).seconds
    if simulated is not None and simulated >= limit:
        raise ToolError(f"{name}: the time limit of {limit} simulated seconds is over: {last_line(text)}",
                        "a shorter WAV, or look for what the firmware waits for")
    if not said(text):
        raise ToolError(f"{name}: printed nothing on its UART", "is the image made for Corstone-300?")


def metrics(text: str) -> dict[str, int]:
    """The counters of Arm's runner: the last ``<metrics>BASE64</metrics>``, name -> first value.

    The decoded text is a JSON list of ``{profiling_group, count, samples: [{name, value: [n]}]}``.

    Raises:
        ToolError: there is none, or it is damaged.
    """
    found = METRICS.findall(text)
    if not found:
        raise ToolError(f"no <metrics> line: {last_line(text)}", "is it Arm's inference runner?")
    try:
        groups = json.loads(base64.b64decode("".join(found[-1].split()), validate=True))
        return {str(sample["name"]): int(sample["value"][0]) for group in groups for sample in group["samples"]}
    except (binascii.Error, ValueError, KeyError, TypeError, IndexError) as error:
        raise ToolError(f"the <metrics> line is damaged: {error}", "run it again") from error


def statistics(text: str) -> Statistics:
    """The lines of ``--stat``."""
    seconds, counts = SIMULATED.search(text), INSTRUCTIONS.findall(text)
    return Statistics(float(seconds[1]) if seconds else None, sum(map(int, counts)) if counts else None)


def said(text: str) -> str:
    """What the image printed: the text without the FVP's own lines and its statistics."""
    kept, inside = [], False
    for line in text.replace("\4", "").splitlines():
        if re.match(r"-{3,}.*statistics", line):
            inside = True
        elif inside:
            inside = not re.fullmatch(r"-{20,}\s*", line)
        elif not re.match(r"(telnetterminal\d+: |Info: |Warning: |Fast Models \[|Copyright |All Rights)", line):
            kept.append(line)
    return "\n".join(kept).strip()


def last_line(text: str) -> str:
    """The last line that the image printed."""
    lines = [line.strip() for line in said(text).splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def find(path: str | None = None) -> str | None:
    """The FVP as ``tinyse doctor`` finds it: ``path``, $FVP_CORSTONE300, PATH; None if nowhere.

    Raises:
        ToolError: ``path`` is given and is no FVP.
    """
    found = find_fvp(path, Installed())
    if path and found is None:
        raise ToolError(f"{path}: is no program, and no folder with {FVP}", "name the FVP: --fvp PATH")
    return shutil.which(found) if found else None


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def version(executable: str) -> str:
    """The FVP's version as it prints it (``Fast Models [11.24.13 ...]``), or empty."""
    try:
        done = subprocess.run([executable, "--version"], capture_output=True, text=True, errors="replace",
                              timeout=60, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"Fast Models \[?v?(\d+\.\d+[\d.]*)", done.stdout + done.stderr)
    return found[1].rstrip(".") if found else ""
