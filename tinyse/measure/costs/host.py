"""The C library compiled for this machine and timed: how fast, not how many cycles of the target."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

from tinyse.core.errors import ToolError
from tinyse.firmware.project import sources_dir
from tinyse.firmware.results import Results, parse
from tinyse.measure.costs.signals import samples

FLAGS = ("-std=c11", "-D_POSIX_C_SOURCE=200809L", "-D__GNUC_PYTHON__", "-DTINYSE_BACKEND=TINYSE_BACKEND_CPU", "-O2",
         "-fno-math-errno", "-ffunction-sections", "-fdata-sections", "-w")
SOURCES = ("src/tinyse.c", "src/frontend.c", "src/network_cpu.c", "src/operators*.c", "src/kernels*.c", "model/model.c",
           "model/packed.c", "app/stages.c", "app/results.c", "app/json.c", "third_party/cmsis-dsp/Source/*/*.c")
INCLUDES = ("include", "src", "model", "app", "third_party/cmsis-dsp/Include",
            "third_party/cmsis-dsp/PrivateInclude")
SECONDS = 120


def run_on_host(project: Path, wav: Path) -> Results:
    """Compile the project's library with the host's C compiler, enhance ``wav``, and time the stages in ns.

    Raises:
        ToolError: there is no compiler, or the library does not compile or run.
        AudioError: ``wav`` is not 16-bit mono.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise ToolError("there is no C compiler", "apt-get install gcc")
    pcm = samples(wav).tobytes()
    host = sources_dir() / "host"
    program = project / "build" / "host" / "profile"
    program.parent.mkdir(parents=True, exist_ok=True)
    sources = [str(file) for pattern in SOURCES for file in sorted(project.glob(pattern))]
    folders = [f"-I{host}", *(f"-I{project / name}" for name in INCLUDES)]
    _checked([compiler, *FLAGS, *folders, str(host / "profile.c"), *sources, "-Wl,--gc-sections", "-lm", "-o",
              str(program)], b"")
    return parse(_checked([str(program)], pcm))


def host_name() -> str:
    """The machine, as results name it."""
    return f"{platform.machine()}, {platform.system()}"


def _checked(command: list[str], given: bytes) -> str:
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{Path(command[0]).name}: takes longer than {SECONDS} s", "a shorter WAV") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        wrong = next((line for line in lines if "error" in line), lines[-1] if lines else "")
        raise ToolError(f"{Path(command[0]).name}: {wrong or f'exit {done.returncode}'}", "gcc 10 or later is needed")
    return done.stdout.decode(errors="replace")
