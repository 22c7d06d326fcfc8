"""model.h and model.c: they compile without a warning everywhere, and hold what the export says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from export_models import exported

from tinyse.export.cheader import band_rows
from tinyse.export.csource import comment, floating
from tinyse.sound import Bands, Ends, analysis_window, band_matrix

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion"]
TARGETS = ["ethos-u55-128", "cortex-m7"]


def defines(folder: Path) -> dict[str, str]:
    return dict(re.findall(r"#define (TINYSE_\w+) +(.+)", (folder / "model.h").read_text()))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("compiler, flags", [
    ("gcc", ["-std=c11"]), ("g++", ["-std=c++17", "-x", "c++"]),
    ("arm-none-eabi-gcc", ["-std=c11", "-mcpu=cortex-m7", "-mthumb"]),
    ("arm-none-eabi-g++", ["-std=c++17", "-x", "c++", "-mcpu=cortex-m7", "-mthumb"])])
def test_compiles_without_a_warning(compiler, flags, target, tmp_path):
    if not shutil.which(compiler):
        package = "gcc-arm-none-eabi libnewlib-arm-none-eabi" if "arm" in compiler else "gcc g++"
        pytest.skip(f"{compiler} is missing: apt-get install {package}")
    done = subprocess.run([compiler, *flags, *WARNINGS, "-c", str(exported(target) / "model.c"), "-o",
                           str(tmp_path / "model.o")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is missing: apt-get install gcc")
@pytest.mark.parametrize("target", TARGETS)
def test_c_reads_back_the_model_and_the_tables(target, tmp_path):
    folder = exported(target)
    (tmp_path / "main.c").write_text("""
#include <stdio.h>
#include "model.h"
int main(void) {
  if ((uintptr_t)tinyse_model % TINYSE_ALIGNMENT) return 1;
  fwrite(tinyse_model, 1, sizeof tinyse_model, stdout);
  fwrite(tinyse_analysis_window, 1, sizeof tinyse_analysis_window, stdout);
  fwrite(tinyse_band_weights, 1, sizeof tinyse_band_weights, stdout);
  for (int i = 0; i < TINYSE_STATES; ++i) fwrite(&tinyse_states[i].zero_point, 4, 1, stdout);
  return 0;
}
""")
    program = tmp_path / "main"
    subprocess.run(["gcc", "-std=c11", f"-I{folder}", str(tmp_path / "main.c"), str(folder / "model.c"), "-o",
                    str(program)], check=True)
    out = subprocess.run([str(program)], capture_output=True, check=True).stdout
    model = (folder / ("model_vela.tflite" if "ethos" in target else "model_int8.tflite")).read_bytes()
    spec = Ends(bands=Bands(count=16))
    memory = json.loads((folder / "memory.json").read_text())
    expected = (model + analysis_window(spec.framing).tobytes() + np.array(band_rows(spec)[2], np.float32).tobytes()
                + np.array([state["zero_point"] for state in memory["states"]], np.int32).tobytes())
    assert out == expected


def test_header_states_the_contract():
    folder, names = exported("ethos-u55-128"), defines(exported("ethos-u55-128"))
    memory = json.loads((folder / "memory.json").read_text())
    assert int(names["TINYSE_ARENA_BYTES"]) == memory["arena_bytes"]
    assert names["TINYSE_INPUT_OFFSET"] == f"{memory['input']['offset']}u"
    assert np.float32(names["TINYSE_INPUT_SCALE"].rstrip("f")) == np.float32(memory["input"]["scale"])
    assert (names["TINYSE_BANDS"], names["TINYSE_HOP"], names["TINYSE_STATES"]) == ("16", "256", "4")
    assert defines(exported("cortex-m7"))["TINYSE_INPUT_OFFSET"] == "TINYSE_NO_OFFSET"


def test_payload_and_weights_are_aligned_parts_of_the_model():
    from tinyse.npu.payload import load

    folder = exported("ethos-u55-128")
    model = (folder / "model_vela.tflite").read_bytes()
    row = re.search(r"tinyse_parts\[TINYSE_PARTS\] = \{\n  \{ ([^}]+) \}", (folder / "model.c").read_text())[1]
    place, size, weights_place, weights_size, arena, fast, *moves = re.sub(r"(\d)u", r"\1", row).split(", ")
    payload = load(folder / "model_vela.tflite")
    assert int(place) % 16 == 0 and int(weights_place) % 16 == 0
    assert model[int(place):][:4] == b"COP1"
    stream = int(place) + payload.stream_offset
    assert stream + 4 * len(payload.words) <= int(place) + int(size)
    assert model[stream:stream + 4 * len(payload.words)] == payload.words.tobytes()
    assert model[int(weights_place):][:int(weights_size)] == payload.read_only.tobytes()
    assert (int(arena), int(fast)) == (-(-payload.arena_bytes // 16) * 16, payload.fast_bytes)
    assert moves == ["NULL", "0", "NULL", "0", "0", "0"], "a lone part without pairs: no copies"


def test_banner_names_tools_and_model():
    import hashlib

    folder = exported("ethos-u55-128")
    digest = hashlib.sha256((folder / "model_vela.tflite").read_bytes()).hexdigest()
    for name in ("model.h", "model.c"):
        banner = (folder / name).read_text().split("*/")[0]
        assert digest in banner and "ethos-u-vela 5" in banner and "tinyse 0" in banner


def test_band_rows_rebuild_the_matrix():
    for spec in (Ends(), Ends(bands=Bands(count=16))):
        start, count, weights = band_rows(spec)
        matrix, place = np.zeros((spec.framing.bins, spec.width), np.float32), 0
        for band, (first, length) in enumerate(zip(start, count, strict=True)):
            matrix[first:first + length, band] = weights[place:place + length]
            place += length
        np.testing.assert_array_equal(matrix, band_matrix(spec.bands, spec.framing))


@pytest.mark.parametrize("value", [0.0, 1.0, -128.0, 1 / 256, 1e-12, 3.0e20, np.float32(0.1), 2.0**24])
def test_float_literals_read_back(value):
    assert np.float32(floating(value).rstrip("f")) == np.float32(value)
    assert re.fullmatch(r"-?[0-9.]+(e[-+][0-9]+)?f", floating(value)) and not floating(value).rstrip("f").isdigit()


def test_comments_cannot_be_ended_early():
    assert comment(["a */ b"]).count("*/") == 1
