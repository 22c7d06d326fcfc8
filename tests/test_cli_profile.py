import json

import pytest
from click.testing import CliRunner
from profile_exports import export_into, hand_made

from tinyse.cli import main
from tinyse.profile import pipeline

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


@pytest.mark.parametrize(("arguments", "line"), [
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
