"""What is installed, what is missing, what it is needed for, and one command that gets all of it.

Asks package metadata and PATH only: nothing heavy is imported, so it answers where TensorFlow is broken.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Protocol

from tinyse.core.errors import TinyseError
from tinyse.core.tools import FVP, FVP_VARIABLE, Installed, find_fvp

PYTHONS = ((3, 11), (3, 12))
FREE_GIB = 4

PURPOSES = {"tensorflow": "train, export", "tf_keras": "train, export", "tensorflow-model-optimization": "train",
            "tflite-micro": "the reference engine", "ethos-u-vela": "export to the NPU",
            "flatbuffers": "export", "pyarrow": "corpora", "pesq": "evaluate", "pystoi": "evaluate",
            "fast-bss-eval": "evaluate", "speechmos": "evaluate", "onnxruntime": "evaluate", "librosa": "evaluate",
            "matplotlib": "plots", "pyelftools": "profile of the firmware", "ray": "studies on a cluster",
            "pyroomacoustics": "data rooms, evaluate --condition rooms",
            "pytest": "make test", "hypothesis": "make test", "ruff": "make test", "mypy": "make test",
            "types-PyYAML": "make test"}


@dataclass(frozen=True)
class Program:
    """An outside program: its name on PATH, what it is for, and the Debian package that has it."""

    name: str
    purpose: str
    debian: str
    required: bool = False


PROGRAMS = (
    Program("gcc", "C header and firmware tests on the host", "gcc"),
    Program("make", "make run, make test", "make"),
    Program("arm-none-eabi-gcc", "C header check, firmware", "gcc-arm-none-eabi libnewlib-arm-none-eabi"),
    Program("qemu-system-arm", "emulated firmware", "qemu-system-arm"),
    Program("gdb-multiarch", "debugging firmware", "gdb-multiarch"),
    Program("openocd", "flashing a board", "openocd"),
)


class State(StrEnum):
    """How one check came out."""

    OK = "ok"
    MISSING = "missing"
    OLD = "wrong version"


@dataclass(frozen=True)
class Check:
    """One thing looked for.

    Attributes:
        name: what it is called.
        state: how it came out.
        detail: version or place found, or what would be accepted.
        purpose: what needs it.
        required: whether the main job, speech to compiled model, fails without it.
    """

    name: str
    state: State
    detail: str
    purpose: str
    required: bool


@dataclass(frozen=True)
class Diagnosis:
    """All checks, and what to do.

    Attributes:
        checks: in the order to show.
        command: one shell command that gets all that is missing and can be got; empty if nothing is.
        by_hand: lines on what no command can get.
    """

    checks: tuple[Check, ...]
    command: str
    by_hand: tuple[str, ...] = field(default=())

    @property
    def fit(self) -> bool:
        """Whether everything that the main job requires is there."""
        return all(check.state is State.OK for check in self.checks if check.required)


class Environment(Protocol):
    """What the doctor asks of a machine; tests give one of their own."""

    def python(self) -> tuple[int, int, int]:
        """The interpreter's version."""

    def requirements(self) -> tuple[str, ...]:
        """tinyse's requirements, as its metadata states them."""

    def package(self, name: str) -> str | None:
        """Version of an installed Python package."""

    def which(self, name: str) -> str | None:
        """Path of a program on PATH."""

    def version(self, path: str) -> str:
        """First line that a program prints for ``--version``; empty where it prints none."""

    def variables(self) -> Mapping[str, str]:
        """Environment variables."""

    def corpus(self) -> str | None:
        """Folder of the fetched default corpus, if it is there."""

    def free_bytes(self) -> int:
        """Bytes free in the working folder."""

    def cores(self) -> int:
        """Processor cores this process may use."""

    def is_root(self) -> bool:
        """Whether system packages can be installed without sudo."""


def diagnose(environment: Environment, fvp: str | None = None) -> Diagnosis:
    """Run every check; ``fvp`` is the user's own path to the FVP."""
    checks = [_python(environment)]
    pip: list[str] = []
    for text in environment.requirements():
        check = _package(environment, text)
        checks.append(check)
        if check.state is not State.OK:
            pip.append(_specifier(text))
    debian: list[str] = []
    for program in PROGRAMS:
        check = _program(environment, program)
        checks.append(check)
        if check.state is not State.OK:
            debian += program.debian.split()
    found = find_fvp(fvp, environment)
    named, by = (fvp, "--fvp") if fvp else (environment.variables().get(FVP_VARIABLE), f"${FVP_VARIABLE}")
    where = f"none at {named} ({by})" if named else f"--fvp, ${FVP_VARIABLE} or PATH"
    checks.append(Check(FVP, State.OK if found else State.MISSING, found or where, "measured NPU cycles", False))
    corpus = environment.corpus()
    checks.append(Check("default corpus", State.OK if corpus else State.MISSING, corpus or "", "train", False))
    free = environment.free_bytes() / 2**30
    checks.append(Check("disk space", State.OK if free >= FREE_GIB else State.MISSING,
                        f"{free:.1f} GiB free" + ("" if free >= FREE_GIB else f", {FREE_GIB} are needed"),
                        "corpus, runs", True))
    checks.append(Check("cores", State.OK, str(environment.cores()), "speed", False))
    sudo = "" if environment.is_root() else "sudo "
    steps = [f"{sudo}apt-get install -y {' '.join(dict.fromkeys(debian))}" if debian else "",
             "python -m pip install " + " ".join(pip) if pip else "",
             "" if corpus else "tinyse data fetch"]
    return Diagnosis(tuple(checks), " && ".join(step for step in steps if step), _by_hand(checks))


def _by_hand(checks: list[Check]) -> tuple[str, ...]:
    states = {check.name: check.state for check in checks}
    lines = []
    if states["python"] is not State.OK:
        lines.append("python: make the virtual environment with Python 3.11 or 3.12")
    if states[FVP] is not State.OK:
        lines.append(f"{FVP}: Arm gives it to those who accept its licence: "
                     "developer.arm.com, Arm Ecosystem FVPs, Corstone-300")
    if states["disk space"] is not State.OK:
        lines.append(f"disk space: free {FREE_GIB} GiB in the working folder")
    return tuple(lines)


def _python(environment: Environment) -> Check:
    version = environment.python()
    fits = version[:2] in PYTHONS
    return Check("python", State.OK if fits else State.OLD,
                 ".".join(map(str, version)) + ("" if fits else ", 3.11 or 3.12 is needed"), "everything", True)


def _package(environment: Environment, text: str) -> Check:
    name, required = _name(text), "extra" not in text.partition(";")[2]
    version = environment.package(name)
    purpose = PURPOSES.get(name, "everything")
    wanted = text.partition(";")[0].strip()[len(name):]
    if version is None:
        return Check(name, State.MISSING, wanted, purpose, required)
    if not _accepted(wanted, version):
        return Check(name, State.OLD, f"{version}, {wanted} is needed", purpose, required)
    return Check(name, State.OK, version, purpose, required)


def _program(environment: Environment, program: Program) -> Check:
    path = environment.which(program.name)
    if path is None:
        return Check(program.name, State.MISSING, "", program.purpose, program.required)
    found = re.search(r"\d+\.\d+(\.\d+)?", re.sub(r"\([^)]*\)", "", environment.version(path)))
    return Check(program.name, State.OK, found.group() if found else path, program.purpose, program.required)


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    return match.group() if match else requirement


def _specifier(requirement: str) -> str:
    return f"'{''.join(requirement.partition(';')[0].split())}'"


def _accepted(wanted: str, version: str) -> bool:
    """Whether ``version`` lies in every range of ``wanted`` (``>=2.19,<2.22``), by its numbers."""
    have = _numbers(version)
    for operator, bound in re.findall(r"(>=|<=|==|<|>)\s*([0-9][^,\s]*)", wanted):
        limit = _numbers(bound)
        length = max(len(have), len(limit))
        left, right = (value + (0,) * (length - len(value)) for value in (have, limit))
        if not {">=": left >= right, "<=": left <= right, "==": left == right, "<": left < right,
                ">": left > right}[operator]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


class Machine(Installed):
    """The `Environment` of this very machine."""

    def python(self) -> tuple[int, int, int]:
        """The interpreter's version."""
        return sys.version_info[:3]

    def requirements(self) -> tuple[str, ...]:
        """From tinyse's metadata; from a checkout's pyproject.toml where it is not installed."""
        try:
            return tuple(metadata.requires("tinyse") or ())
        except metadata.PackageNotFoundError:
            return _checkout_requirements()

    def package(self, name: str) -> str | None:
        """Version of an installed Python package."""
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    def version(self, path: str) -> str:
        """First line that a program prints for ``--version``, wherever it prints it."""
        try:
            run = subprocess.run([path, "--version"], capture_output=True, text=True, errors="replace",
                                 timeout=20, check=False, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return (run.stdout or run.stderr).partition("\n")[0]

    def corpus(self) -> str | None:
        """Folder of the fetched default corpus, if it is there."""
        try:
            from tinyse.sound.corpus.store import MANIFEST, corpus_dir
        except ImportError:  # NumPy itself may be what is missing
            return None
        try:
            folder = corpus_dir()
        except TinyseError:  # no home folder
            return None
        return str(folder) if (folder / MANIFEST).is_file() else None

    def free_bytes(self) -> int:
        """Bytes free in the working folder."""
        return shutil.disk_usage(".").free

    def cores(self) -> int:
        """Processor cores this process may use."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def is_root(self) -> bool:
        """Whether system packages can be installed without sudo."""
        return hasattr(os, "geteuid") and os.geteuid() == 0


def _checkout_requirements() -> tuple[str, ...]:
    import tomllib

    file = Path(__file__).parents[2] / "pyproject.toml"
    if not file.is_file():
        return ()
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    return (*project["dependencies"],
            *(f'{text}; extra == "{extra}"' for extra, texts in extras.items() for text in texts))
