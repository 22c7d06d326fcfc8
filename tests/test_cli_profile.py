import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from profile_exports import export_into, hand_made, with_firmware

from tinyse.cli import main
from tinyse.measure.costs import pipeline
from tinyse.measure.costs.execution import Options

ONE = """\
hand, ethos-u55-128

one frame, estimated (Vela 5.2.0): Ethos_U55_High_End_Embedded, Shared_Sram, 500 MHz
  layer   ops  cycles    share    NPU  flash  SRAM   MACs  of array  bound by
  lstm_0    1   5,000  100.0 %  1,200  4,000    10  8,000    1.25 %  flash
  total     1   5,000  100.0 %  1,200  4,000    10  8,000
  5,000 cycles: 0.010 ms, 0.06 % of the 16 ms hop, 0.31 M per second of audio

NPU operators, estimated (Vela 5.2.0)
  id  layer   operator        cycles  flash  decode  MACs  SRAM  output  bound by  tensor
   7  lstm_0  FullyConnected   5,000  4,000   1,000   100    10      50  flash     gate

traffic of one frame, estimated (Vela 5.2.0)
  memory          features read  written  weights read  all bytes  cycles  MB/s
  off_chip_flash              0        0         3,500      4,000   4,000  0.25

memory, estimated (Vela 5.2.0)
  memory  holds   used     of   left
  ddr     model  4,096  8,192  4,096
  sram    arena     80  1,024    944
  the arena holds 1 buffers; --json lists them

command stream of one frame, simulated (tinyse.npu 1)
  layer   ops   MACs  on zeros  model bytes read  arena bytes
  lstm_0    1  8,000    25.0 %             4,000           80
  total     1  8,000    25.0 %             4,000           80

TFLM arena of the int8 file, measured (host) (tflite-micro 1)
  900 B: 300 B of activations, 600 B persistent (pointers are 8 bytes here, 4 on the target)

size, exact
  convention                                    bytes  bits a weight
  surviving weights, one byte each              6,000           6.00
  bitmask + surviving bytes                     7,000           7.00
  Vela-encoded weights                          3,500           3.50
  Vela's constants, scales and tables included  4,096           4.10
  int8 .tflite                                  9,000           9.00
  compiled .tflite                              7,000           7.00
  8,000 int8 weights, 6,000 not zero (25.0 % sparse)
"""

TWO = """\
one, ethos-u55-128 against two, ethos-u55-128; ratio is second / first
  number                          unit    source               one      two  ratio
  cycles a frame                  cycles  estimated          5,000   10,000  2.000
  share of the 16 ms hop          %       estimated           0.06     0.12  2.000
  cycles per second of audio      cycles  estimated        312,500  625,000  2.000
  lstm_0                          cycles  estimated          5,000   10,000  2.000
  off_chip_flash traffic a frame  B       estimated          4,000    8,000  2.000
  model in ddr                    B       estimated          4,096    4,096  1.000
  arena in sram                   B       estimated             80       80  1.000
  MACs a frame                    MACs    simulated          8,000    8,000  1.000
  MACs on zeros                   MACs    simulated          2,000    2,000  1.000
  model bytes read a frame        B       simulated          4,000    4,000  1.000
  arena bytes a frame             B       simulated             80       80  1.000
  TFLM arena                      B       measured (host)      900      900  1.000
  weights                                 exact              8,000    8,000  1.000
  weights not zero                        exact              6,000    6,000  1.000
  surviving bytes                 B       exact              6,000    6,000  1.000
  bitmask + bytes                 B       exact              7,000    7,000  1.000
  Vela-encoded weights            B       exact              3,500    3,500  1.000
  int8 .tflite                    B       exact              9,000    9,000  1.000
  compiled .tflite                B       exact              7,000   14,000  2.000
"""


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(pipeline, "profile", lambda path, target=None, firmware=None: hand_made(
        "hand" if str(path) == "x" else str(path), 2 if str(path) == "two" else 1))


def test_one_model_whole_output(made):
    result = CliRunner().invoke(main, ["profile", "x", "--operators"])
    assert result.output == ONE and result.exit_code == 0


def test_two_models_whole_output(made, tmp_path):
    result = CliRunner().invoke(main, ["profile", "--compare", "one", "two", "--json", str(tmp_path / "c.json")])
    assert result.output == TWO and result.exit_code == 0
    document = json.loads((tmp_path / "c.json").read_text())
    assert document["kind"] == "comparison" and document["rows"][0]["ratio"] == 2


def test_real_export_with_json_and_png(tmp_path):
    folder = export_into(tmp_path)
    result = CliRunner().invoke(main, ["profile", str(folder), "--json", str(tmp_path / "p.json"),
                                       "--png", str(tmp_path / "p.png")])
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "p.json").read_text())
    assert f"{document['npu']['cycles']:,} cycles: " in result.output
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


FIRMWARE = """\
firmware profiled on corstone300 (cortex-m55, cpu, mve), emulated (QEMU 1 mps3-an547)
  stage                     instructions a frame    share  longest  all frames
  window, FFT                              8,000    6.2 %    8,010      80,000
  magnitude, mel, power                    7,000    5.5 %    7,010      70,000
  quantize                                 1,000    0.8 %    1,010      10,000
  network                                100,000   78.1 %  100,010   1,000,000
  mask                                     4,000    3.1 %    4,010      40,000
  inverse FFT, overlap-add                 8,000    6.2 %    8,010      80,000
  frame                                  128,000  100.0 %  128,060   1,280,000
  front and back end 28,000 instructions a frame; 10 frames of a signal

Arm's prebuilt runner, emulated (QEMU 1, patched Arm runner: TFLM + CMSIS-NN)
  one inference                             count
  inside TFLM's Invoke(), patched runner  250,000
  our network (mve), a frame              100,000
  ours / TFLM + CMSIS-NN: 0.400
  1 time step, one inference from the reset state
  1 x UNIDIRECTIONAL_SEQUENCE_LSTM, 1 x LOGISTIC
  TFLM's arena on the target 25,092 B
  two instructions of the hook that reads the counter are among them, and the runner's SysTick

frame budget, emulated x assumed CPI (QEMU 1 mps3-an547, CPI 1 to 2)
     stage                                 cycles      of the hop
  T  window, FFT                  8,000 to 16,000  0.10 to 0.20 %
  F  magnitude, mel, power        7,000 to 14,000  0.09 to 0.17 %
  Q  quantize                      1,000 to 2,000  0.01 to 0.03 %
  N  network                   100,000 to 200,000  1.25 to 2.50 %
  M  mask                          4,000 to 8,000  0.05 to 0.10 %
  S  inverse FFT, overlap-add     8,000 to 16,000  0.10 to 0.20 %
     sum                       128,000 to 256,000  1.60 to 3.20 %
  [NM................................................] 16 ms
  500 MHz: 8,000,000 cycles a hop of 16 ms
  1 to 2 cycles an instruction are an assumption:
  one instruction a cycle; a 128-bit vector instruction takes two, which overlap at best
  computational latency 0.26 to 0.51 ms, longest frame 0.26 to 0.51 ms
  TinyLSTMs' limit is 10 ms; its own network took 2.39 ms (Cortex-M7, 216 MHz)

memory of the corstone300 image (cpu), exact (read from the ELF file)
  memory  kind    used      of    left  margin
  ddr     flash  8,000  32,000  24,000  75.0 %
  text 16,000 B, rodata 9,000 B, data 0 B, bss 29,504 B (arena and stack included)

placement, exact (read from the ELF file)
  buffer     address   bytes  memory
  model   0x70000000   8,000  ddr     as the target wants
  stack   0x31000000  16,384  sram    WRONG, wanted dtcm
  stack is in sram, ethos-u55-128 wants it in dtcm

memory at run time, emulated (QEMU 1 mps3-an547)
  state 8,000 B, arena 5,120 B, stack 640 of 16,384 B used
"""

ROWS = """\
  window, FFT (cortex-m55)               instructions  emulated                     8,000       8,000  1.000
  magnitude, mel, power (cortex-m55)     instructions  emulated                     7,000       7,000  1.000
  quantize (cortex-m55)                  instructions  emulated                     1,000       1,000  1.000
  network (cortex-m55)                   instructions  emulated                   100,000     200,000  2.000
  mask (cortex-m55)                      instructions  emulated                     4,000       4,000  1.000
  inverse FFT, overlap-add (cortex-m55)  instructions  emulated                     8,000       8,000  1.000
  front and back end (cortex-m55)        instructions  emulated                    28,000      28,000  1.000
  stack used                             B             emulated                       640         640  1.000
  Arm's TFLM + CMSIS-NN (cortex-m55)     instructions  emulated, patched       250,000.50  250,000.50  1.000
  processor's share of the hop, least    %             emulated x assumed CPI        1.60        2.85  1.781
  processor's share of the hop, most     %             emulated x assumed CPI        3.20        5.70  1.781
  text of the image                      B             exact                       16,000      16,000  1.000
  rodata of the image                    B             exact                        9,000       9,000  1.000
  data of the image                      B             exact                            0           0      -
  bss of the image                       B             exact                       29,504      29,504  1.000
"""


def test_firmware_whole_output(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(pipeline, "profile", lambda path, target=None, firmware=None: (
        asked.append(firmware) or with_firmware(hand_made())))
    result = CliRunner().invoke(main, ["profile", "x", "--on", "qemu", "--runner", "arm", "--backend", "cpu", "--wav",
                                       "a.wav", "--fvp", "p", "--html", str(tmp_path / "p.html")])
    assert result.exit_code == 0, result.output
    assert result.output.partition("firmware profiled")[2] == FIRMWARE.partition("firmware profiled")[2]
    assert asked == [Options("qemu", "p", Path("a.wav"), "cpu", True)]
    page = (tmp_path / "p.html").read_text()
    assert page.count("data:image/png") == 2 and "Arm&#x27;s prebuilt runner" in page
    CliRunner().invoke(main, ["profile", "x", "--static"])
    CliRunner().invoke(main, ["profile", "x"])
    assert asked[1:] == [None, Options()]


def test_firmware_of_two_side_by_side(monkeypatch):
    monkeypatch.setattr(pipeline, "profile", lambda path, target=None, firmware=None: with_firmware(
        hand_made(str(path)), 2 if str(path) == "two" else 1))
    result = CliRunner().invoke(main, ["profile", "--compare", "one", "two"])
    assert result.exit_code == 0, result.output
    rows = result.output.splitlines()
    assert "\n".join(row for row in rows if "emulated" in row or "of the image" in row) + "\n" == ROWS


@pytest.mark.parametrize(("arguments", "line"), [
    (["x", "--on", "moon"], "Error: --on is fvp, qemu, host or board:DEVICE"),
    (["x", "--static", "--on", "qemu"], "Error: --static runs no firmware: leave out --on, --fvp, --backend, --runner "
                                        "and --wav"),
    ([], "Error: name one MODEL, or two with --compare A B"),
    (["x", "--compare", "a", "b"], "Error: name one MODEL, or two with --compare A B"),
    (["--compare", "a", "b", "--png", "p"], "Error: --png and --operators go with one MODEL, not with --compare"),
    (["none"], "Error: none: no such file or folder (name an export folder, a run folder or a .tflite)"),
    (["none", "--target", "z"], "Error: none: no such file or folder (name an export folder, a run folder or a "
                                ".tflite)"),
])
def test_bad_input_is_one_line(arguments, line):
    result = CliRunner().invoke(main, ["profile", *arguments])
    assert result.exit_code != 0
    assert result.output.splitlines()[-1] == line


def test_unknown_target_is_one_line(tmp_path):
    folder = export_into(tmp_path)
    result = CliRunner().invoke(main, ["profile", str(folder), "--target", "ethos-u99"])
    assert result.exit_code == 1 and result.output.startswith("Error: target 'ethos-u99' is not known (one of ")


def test_help_shows_an_example():
    result = CliRunner().invoke(main, ["profile", "--help"])
    assert result.exit_code == 0 and "Example:" in result.output
