import subprocess
import sys

import pytest

from tinyse.cli.doctor import lines
from tinyse.studies import doctor
from tinyse.studies.doctor import FVP, Machine, State, diagnose, find_fvp

REQUIREMENTS = ("numpy>=1.26,<2.4", "tf_keras<2.22,>=2.19", "tflite-micro>=0.dev0",
                'pytest<10,>=8; extra == "dev"')


class Fake:
    """A machine with everything; tests take things away."""

    def __init__(self, **changes):
        self.have = {"python": (3, 11, 2), "packages": {"numpy": "2.3.1", "tf_keras": "2.21.0",
                                                        "tflite-micro": "0.dev20261023", "pytest": "9.2.0"},
                     "programs": {each.name for each in doctor.PROGRAMS} | {FVP}, "variables": {},
                     "corpus": "/home/me/corpus", "free": 10 * 2**30, "root": False}
        self.have.update(changes)

    def python(self):
        return self.have["python"]

    def requirements(self):
        return REQUIREMENTS

    def package(self, name):
        return self.have["packages"].get(name)

    def which(self, name):
        if "/" in name:
            return name if name in self.have["programs"] else None
        return f"/usr/bin/{name}" if name in self.have["programs"] else None

    def version(self, path):
        return f"{path.rsplit('/', 1)[-1]} (Debian 7.2+dfsg-7) 12.2.0"

    def variables(self):
        return self.have["variables"]

    def corpus(self):
        return self.have["corpus"]

    def free_bytes(self):
        return self.have["free"]

    def cores(self):
        return 2

    def is_root(self):
        return self.have["root"]


HEALTHY = """\
ok  python                           3.11.2                                   everything (required)
ok  numpy                            2.3.1                                    everything (required)
ok  tf_keras                         2.21.0                                   train, export (required)
ok  tflite-micro                     0.dev20261023                            the reference engine (required)
ok  pytest                           9.2.0                                    make test
ok  gcc                              12.2.0                                   C header and firmware tests on the host
ok  make                             12.2.0                                   make run, make test
ok  arm-none-eabi-gcc                12.2.0                                   C header check, firmware
ok  qemu-system-arm                  12.2.0                                   emulated firmware
ok  gdb-multiarch                    12.2.0                                   debugging firmware
ok  openocd                          12.2.0                                   flashing a board
ok  FVP_Corstone_SSE-300_Ethos-U55   /usr/bin/FVP_Corstone_SSE-300_Ethos-U55  measured NPU cycles
ok  default corpus                   /home/me/corpus                          train
ok  disk space                       10.0 GiB free                            corpus, runs (required)
ok  cores                            2                                        speed

Nothing is missing that a command could get.
Fit for the main job."""

POOR = """\
wrong version  python                          3.9.1, 3.11 or 3.12 is needed     everything (required)
wrong version  numpy                           2.4.0, >=1.26,<2.4 is needed      everything (required)
missing        tf_keras                        <2.22,>=2.19                      train, export (required)
ok             tflite-micro                    0.dev1                            the reference engine (required)
missing        pytest                          <10,>=8                           make test
missing        gcc                                                               C header and firmware tests on the host
ok             make                            12.2.0                            make run, make test
missing        arm-none-eabi-gcc                                                 C header check, firmware
missing        qemu-system-arm                                                   emulated firmware
missing        gdb-multiarch                                                     debugging firmware
missing        openocd                                                           flashing a board
missing        FVP_Corstone_SSE-300_Ethos-U55  --fvp, $FVP_CORSTONE300 or PATH   measured NPU cycles
missing        default corpus                                                    train
missing        disk space                      1.0 GiB free, 4 are needed        corpus, runs (required)
ok             cores                           2                                 speed

To get what is missing:
  sudo apt-get install -y gcc gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm gdb-multiarch openocd \
&& python -m pip install 'numpy>=1.26,<2.4' 'tf_keras<2.22,>=2.19' 'pytest<10,>=8' && tinyse data fetch
By hand: python: make the virtual environment with Python 3.11 or 3.12
By hand: FVP_Corstone_SSE-300_Ethos-U55: Arm gives it to those who accept its licence: developer.arm.com, \
Arm Ecosystem FVPs, Corstone-300
By hand: disk space: free 4 GiB in the working folder
Not fit for the main job."""


def squeeze(text):
    return [" ".join(line.split()) for line in text.splitlines()]


def test_healthy_machine_whole_output():
    diagnosis = diagnose(Fake())
    assert squeeze("\n".join(lines(diagnosis))) == squeeze(HEALTHY)
    assert diagnosis.fit and diagnosis.command == ""


def test_poor_machine_whole_output():
    diagnosis = diagnose(Fake(python=(3, 9, 1), packages={"numpy": "2.4.0", "tflite-micro": "0.dev1"},
                              programs={"make"}, corpus=None, free=2**30))
    assert squeeze("\n".join(lines(diagnosis))) == squeeze(POOR)
    assert not diagnosis.fit


def test_columns_are_aligned():
    text = lines(diagnose(Fake(corpus=None)))
    starts = {line.index(name) for line, name in zip(text, ["python", "numpy", "tf_keras"], strict=False)}
    assert len(starts) == 1


@pytest.mark.parametrize("change", [{"programs": set()}, {"corpus": None}, {"packages": {
    "numpy": "2.3.1", "tf_keras": "2.21.0", "tflite-micro": "0.dev1"}}])
def test_what_the_main_job_does_not_require_leaves_it_fit(change):
    assert diagnose(Fake(**change)).fit


@pytest.mark.parametrize("change", [{"python": (3, 13, 0)}, {"packages": {}}, {"free": 0}])
def test_what_it_requires_does_not(change):
    assert not diagnose(Fake(**change)).fit


def test_root_needs_no_sudo():
    assert diagnose(Fake(programs=set(), root=True)).command.startswith("apt-get install -y gcc ")


@pytest.mark.parametrize(("wanted", "version", "fits"), [
    (">=2.19,<2.22", "2.19", True), (">=2.19,<2.22", "2.21.9", True), (">=2.19,<2.22", "2.22.0", False),
    (">=2.19,<2.22", "2.9.0", False), (">=0.dev0", "0.dev20261023182759", True), ("==1.0", "1.0.0", True),
    ("", "7", True), ("<3", "3.0rc1", False)])
def test_version_ranges(wanted, version, fits):
    assert doctor._accepted(wanted, version) is fits


def test_fvp_is_looked_for_in_the_stated_order():
    own, folder = "/a/fvp", f"/b/{FVP}"
    machine = Fake(programs={FVP, own, folder}, variables={doctor.FVP_VARIABLE: "/b"})
    assert find_fvp(own, machine) == own
    assert find_fvp(None, machine) == folder
    assert find_fvp(None, Fake()) == f"/usr/bin/{FVP}"
    assert find_fvp("/nowhere", machine) is None


@pytest.mark.parametrize(("given", "variables", "said"), [
    ("/nowhere/fvp", {doctor.FVP_VARIABLE: "/b"}, "none at /nowhere/fvp (--fvp)"),
    (None, {doctor.FVP_VARIABLE: "/b"}, f"none at /b (${doctor.FVP_VARIABLE})"),
    (None, {}, f"--fvp, ${doctor.FVP_VARIABLE} or PATH")])
def test_an_fvp_that_is_not_where_it_was_said_to_be_is_named_with_its_path(given, variables, said):
    check = next(c for c in diagnose(Fake(programs=set(), variables=variables), given).checks if c.name == FVP)
    assert (check.state, check.detail) == (State.MISSING, said)


def test_this_machine_without_tensorflow():
    """The doctor has to answer where TensorFlow is broken, so it must not import it."""
    script = ("import sys; from tinyse.studies.doctor import Machine, diagnose; found = diagnose(Machine()); "
              "print(len(found.checks), [name for name in ('tensorflow', 'tf_keras', 'ethosu') "
              "if name in sys.modules])")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    count, modules = run.stdout.split(" ", 1)
    assert int(count) > 20 and modules.strip() == "[]"


def test_this_machine_reports_its_own_python():
    checks = {check.name: check for check in diagnose(Machine()).checks}
    assert checks["python"].detail.startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert checks["pytest"].state is State.OK
    assert not checks["pytest"].required
