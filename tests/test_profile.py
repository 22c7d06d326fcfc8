import csv
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profile_exports import export_into, hand_made
from tiny_models import float_tflite, tiny_tflite

from tinyse.core.artifacts import write_json
from tinyse.core.errors import ModelError, TinyseError, ToolError
from tinyse.core.origin import Origin, Source
from tinyse.export.hostarena import host_arena, parse_allocations
from tinyse.export.reader import read
from tinyse.export.targets import load_target
from tinyse.measure.costs import render
from tinyse.measure.costs.compare import compare, comparison_json
from tinyse.measure.costs.layers import layer_costs, operator_costs
from tinyse.measure.costs.pipeline import profile
from tinyse.measure.costs.results import Bound, Bounds
from tinyse.measure.costs.roofline import draw_roofline
from tinyse.measure.costs.sizes import model_sizes
from tinyse.measure.costs.vela import Reports, read_reports

HOST = Origin(Source.MEASURED, "tflite-micro 1", "host")


@pytest.fixture
def export(tmp_path):
    return export_into(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = export_into(tmp_path_factory.mktemp("whole"))
    return folder, profile(folder)


def summary_of(folder):
    (file,) = folder.glob("vela/*_summary_*.csv")
    return {key: float(value) for key, value in next(csv.DictReader(file.open())).items()
            if re.fullmatch(r"[0-9.e+-]+", value)}


def test_operators_and_layers_add_up_to_velas_own_totals(whole):
    folder, result = whole
    summary, npu = summary_of(folder), result.npu
    assert npu.cycles == summary["cycles_total"]
    assert sum(each.cycles for each in npu.operators) == npu.cycles == sum(each.cycles for each in npu.layers)
    assert sum(each.encoded_bytes for each in npu.operators) == summary["total_npu_encoded_weights"]
    assert sum(each.bounds.flash for each in npu.operators) == summary["cycles_off_chip_flash_access"]
    assert sum(each.bounds.sram for each in npu.operators) == pytest.approx(summary["cycles_sram_access"], rel=0.02)
    assert sum(each.weights for each in npu.operators) == result.sizes.weights
    assert [each.name for each in npu.layers][:3] == ["lstm_0", "lstm_1", "dense_0"]
    for each in npu.operators:
        assert each.cycles >= each.bounds.flash or each.cycles == 0
        assert not each.weights or each.npu_cycles >= each.bounds.decode


def test_derived_times(whole):
    npu = whole[1].npu
    assert npu.clock_mhz == 500
    assert npu.hop_share == pytest.approx(npu.cycles / 8e6)
    assert npu.milliseconds == pytest.approx(16 * npu.hop_share)
    assert npu.cycles_per_second == npu.cycles * 62.5


def test_memories_and_map(whole):
    folder, result = whole
    summary = summary_of(folder)
    uses = {each.holds: each for each in result.npu.memories}
    assert uses["arena"].used == 1024 * summary["sram_memory_used"]
    assert uses["model"].used == 1024 * summary["off_chip_flash_memory_used"]
    assert (uses["model"].memory, uses["arena"].memory) == ("ddr", "sram")
    assert len({(r.start, r.size, r.first, r.last) for r in result.npu.regions}) == len(result.npu.regions)
    states = [r for r in result.npu.regions if r.first == 0 and r.last == max(x.last for x in result.npu.regions)]
    assert sorted(region.size for region in states) == [16, 16, 32, 32]  # h int8 and c int16 of two LSTM-16


def test_simulator_agrees_with_counted_weights_and_velas_bytes(whole):
    """Three independent readings of one network: the int8 file, the command stream, Vela's CSV."""
    result = whole[1]
    total, sizes = result.simulation.total, result.sizes
    assert total.macs == sizes.weights
    assert total.macs_on_zeros == sizes.weights - sizes.nonzero
    assert total.flash_bytes == sizes.constants
    by_name = {each.name: each for each in result.npu.layers}
    for each in result.simulation.layers:
        assert each.macs == by_name[each.layer].weights
    assert result.skipped == ()


def test_sources_are_labelled(whole):
    result = whole[1]
    assert [group.origin.label for group in (result.npu, result.simulation, result.arena, result.sizes)] == [
        "estimated", "simulated", "measured (host)", "exact"]


def test_sizes_against_tflites_own_tensors(tmp_path):
    from tinyse.train.keras import tf

    file = tmp_path / "model.tflite"
    file.write_bytes(tiny_tflite())
    interpreter = tf.lite.Interpreter(model_content=tiny_tflite())
    details = {each["index"]: each for each in interpreter.get_tensor_details()}
    used = {index for op in interpreter._get_ops_details() for index in op["inputs"]}
    found = []
    for index in used:
        if index in details and details[index]["dtype"] == np.int8 and len(details[index]["shape"]) == 2:
            try:
                found.append(interpreter.get_tensor(index))
            except ValueError:
                continue
    graph = read(tiny_tflite())
    sizes = model_sizes([graph], [file], [], [])
    assert sizes.weights == sum(matrix.size for matrix in found) == 128 * 64 + 3 * 16 * 64 + 16 * 128
    assert sizes.surviving == sizes.nonzero == sum(np.count_nonzero(matrix) for matrix in found)
    assert sizes.bitmask == sizes.nonzero + sizes.weights // 8
    assert (sizes.encoded, sizes.vela_file, sizes.int8_file) == (None, None, len(tiny_tflite()))
    assert len(graph.matrices) == 17


@given(st.lists(st.floats(0, 1e9), min_size=5, max_size=5))
def test_the_limit_is_the_largest_bound(cycles):
    bounds = Bounds(*cycles)
    value = {Bound.FLASH: bounds.flash, Bound.SRAM: bounds.sram, Bound.DECODE: bounds.decode,
             Bound.MACS: bounds.macs, Bound.OUTPUT: bounds.output}
    assert value[bounds.limit] == max(cycles)


def fake_reports(**detail):
    row = {"id": "9", "weight_total_bytes": "56448", "kernel_size_x": "1", "kernel_size_y": "1",
           "ifm_shape_c": "250", "ofm_shape_c": "256", "OffChipFlashWeights_read": "56448",
           "OffChipFlashScales_read": "2560", "SramFeatureMap_read": "512", "SramFeatureMap_write": "512"}
    tables = {
        "perf": [{"id": "9", "source_id": "1", "operator": "FullyConnected", "name": "a", "op_cycles": "59008",
                  "npu_cycles": "9403", "mac_count": "64000"}],
        "perf_debug": [row | detail], "queue": [{"offset": "256", "scheduled_id": "9"}],
        "perf_debug_main": [{"id": "9", "mac_cycles": "8512", "ao_cycles": "4224", "cmd_cycles": "1111"}],
        "source": [{"id": "1", "operator": "UnidirectionalSequenceLstm", "ext_key": "0"}]}
    return Reports({}, tables, None)


def test_bounds_of_one_matrix_by_hand():
    target = load_target("ethos-u55-128")
    (cost,) = operator_costs(fake_reports(), target)
    assert cost.bounds == Bounds(flash=59008, sram=128, decode=256 * 256 / 8, macs=500, output=4224)
    assert (cost.bound, cost.weights, cost.scale_bytes, cost.offset) == (Bound.FLASH, 64000, 2560, 256)
    (layer,) = layer_costs((cost,), target.npu)
    assert (layer.name, layer.bound, layer.bound_cycles) == ("lstm_0", Bound.FLASH, {"flash": 59008})
    assert layer.utilisation == 64000 / 59008 / 128


def test_few_encoded_bytes_leave_the_decoder_as_the_limit():
    (cost,) = operator_costs(fake_reports(OffChipFlashWeights_read="3000"), load_target("ethos-u55-128"))
    assert (cost.bounds.flash, cost.bound) == (5560, Bound.DECODE)


def test_run_folder_and_compiled_file_find_the_same_export(export):
    first = profile(export)
    assert first.name == "run"
    assert profile(export.parent) == first == profile(export / "model_vela.tflite")


def test_same_profile_same_bytes_and_no_paths(export, tmp_path):
    first, second = render.to_json(profile(export)), render.to_json(profile(export))
    write_json(tmp_path / "a.json", first)
    write_json(tmp_path / "b.json", second)
    text = (tmp_path / "a.json").read_text()
    assert text == (tmp_path / "b.json").read_text()
    assert str(tmp_path) not in text
    document = json.loads(text)
    assert document["schema"] == 5 and document["npu"]["origin"]["source"] == "estimated"


def test_bare_int8_file_is_compiled_for_the_named_target(tmp_path, whole):
    file = tmp_path / "bare.tflite"
    file.write_bytes(tiny_tflite())
    with pytest.raises(ModelError, match="says not what it was exported for"):
        profile(file)
    small, large = profile(file, "ethos-u55-32"), profile(file, "ethos-u55-128")
    assert small.npu.accelerator == "ethos-u55-32"
    assert large.npu.cycles == whole[1].npu.cycles
    assert list(tmp_path.iterdir()) == [file]


def test_another_target_than_the_exports_is_compiled_anew(export):
    result = profile(export, "ethos-u65-256")
    assert (result.target, result.npu.accelerator) == ("ethos-u65-256", "ethos-u65-256")
    assert [use.holds for use in result.npu.memories] == ["model", "arena", "cache"]
    assert result.skipped == ("simulated: the simulator models the Ethos-U55, not ethos-u65-256",)


def test_target_without_an_npu_has_arena_and_sizes(tmp_path):
    file = tmp_path / "bare.tflite"
    file.write_bytes(tiny_tflite())
    result = profile(file, "cortex-m7")
    assert result.npu is None and result.simulation is None and result.sizes.encoded is None
    assert result.arena.total > 0
    assert result.skipped == ("cycles: cortex-m7 has no NPU, so Vela has no estimate",
                              "simulated: the model has no NPU command stream")
    with pytest.raises(ModelError, match="no NPU cycles"):
        draw_roofline(result, tmp_path / "no.png")
    assert not (tmp_path / "no.png").exists()


def test_compiled_file_alone_says_what_it_cannot_tell(export, tmp_path):
    alone = tmp_path / "alone" / "model_vela.tflite"
    alone.parent.mkdir()
    alone.write_bytes((export / "model_vela.tflite").read_bytes())
    result = profile(alone)
    assert result.npu is None and result.arena is None
    assert [line.partition(":")[0] for line in result.skipped] == ["cycles", "arena"]
    assert result.simulation.total.macs > 0


@pytest.mark.parametrize(("spoil", "match"), [
    (lambda folder: (folder / "model_int8.tflite").write_bytes(b"\0" * 64), "differs from what manifest.json hashed"),
    (lambda folder: (folder / "manifest.json").write_text("{"), "is no manifest"),
    (lambda folder: next(folder.glob("vela/*_debug.xml")).unlink(), r"0 files \*_debug.xml"),
    (lambda folder: next(folder.glob("vela/*_debug.xml")).write_text("<debug>"), "is no debug database"),
    (lambda folder: next(folder.glob("vela/*_debug.xml")).write_text("<debug/>"), "has no table"),
    (lambda folder: next(folder.glob("vela/*_summary_*.csv")).write_text("a,b\n1,2\n"), "made for"),
    (lambda folder: next(folder.glob("vela/*_summary_*.csv")).write_text(""), "has 0 rows"),
    (lambda folder: (folder / "vela" / "x_summary_y.csv").write_text(""), "2 files"),
])
def test_spoiled_export_is_one_line(export, spoil, match):
    spoil(export)
    with pytest.raises(TinyseError, match=match) as caught:
        profile(export)
    assert "\n" not in caught.value.line() and caught.value.hint


def test_missing_column_names_it(export):
    file = next(export.glob("vela/*_summary_*.csv"))
    file.write_text(file.read_text().replace("cycles_total", "cycles"))
    with pytest.raises(ModelError, match="'cycles_total'"):
        profile(export)


def test_reports_of_another_accelerator_are_refused(export):
    file = next(export.glob("vela/*_summary_*.csv"))
    file.write_text(file.read_text().replace("Ethos_U55_128", "Ethos_U55_64"))
    with pytest.raises(ModelError, match="made for ethos-u55-64, not for ethos-u55-128"):
        profile(export)


def test_what_cannot_be_profiled_is_one_line(tmp_path):
    (tmp_path / "text.tflite").write_text("hello, I am text")
    (tmp_path / "text.txt").write_text("x")
    (tmp_path / "run").mkdir()
    for name, match in (("none", "no such file"), ("text.txt", "not a .tflite"), ("text.tflite", "not a TFLite"),
                        ("run", "holds no model_int8.tflite")):
        with pytest.raises(ModelError, match=match):
            profile(tmp_path / name, "ethos-u55-128")


def test_run_with_two_exports_asks_which(export):
    other = export.parent / "exports" / "small"
    other.mkdir(parents=True)
    (other / "model_int8.tflite").write_bytes(b"")
    assert profile(export.parent).target == "ethos-u55-128"  # RUN/export is where export writes
    export.rename(export.parent / "export-first")
    with pytest.raises(ModelError, match="holds 2 exports: export-first, exports/small"):
        profile(export.parent)


def test_own_target_file_has_to_be_named_again(export, tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text(load_target("ethos-u55-128").path.read_text())
    manifest = export / "manifest.json"
    manifest.write_text(manifest.read_text().replace("ethos-u55-128", "mine"))
    with pytest.raises(ModelError, match="was exported for mine, a target file of your own"):
        profile(export)
    assert profile(export, str(own)).target == "mine"


ALLOCATIONS = """\
[RecordingMicroAllocator] Arena allocation total 10000 bytes
[RecordingMicroAllocator] Arena allocation head 2560 bytes
[RecordingMicroAllocator] Arena allocation tail 7440 bytes
[RecordingMicroAllocator] 'TfLiteEvalTensor data' used 1104 bytes with alignment overhead (requested 1104 bytes)
"""


def test_allocations_transcript():
    arena = parse_allocations(ALLOCATIONS, HOST)
    assert (arena.total, arena.head, arena.tail) == (10000, 2560, 7440)
    assert arena.parts == (("TfLiteEvalTensor data", 1104),)
    with pytest.raises(ToolError):
        parse_allocations("nothing", HOST)


def test_host_arena_of_a_real_model(whole):
    arena = host_arena(whole[0] / "model_int8.tflite")
    assert arena.total == arena.head + arena.tail > 0
    assert sum(count for _, count in arena.parts) <= arena.tail + 64
    assert dict(arena.parts)["TfLiteTensor variable buffer data"] == 2 * (16 + 32)


def test_file_that_tflm_refuses_is_one_line(tmp_path):
    file = tmp_path / "bad.tflite"
    file.write_bytes(tiny_tflite()[:3000])
    with pytest.raises(ModelError, match="TFLM refuses it"):
        host_arena(file)


def test_float_model_is_refused(tmp_path):
    file = tmp_path / "float.tflite"
    file.write_bytes(float_tflite())
    with pytest.raises(TinyseError):
        profile(file, "cortex-m7")


def test_comparison_with_itself_and_with_twice_the_cost():
    one, two = hand_made("one"), hand_made("two", 2)
    assert {row.ratio for row in compare(one, one)} == {1.0}
    rows = {row.name: row for row in compare(one, two)}
    assert rows["cycles a frame"].ratio == 2 and rows["cycles a frame"].label == "estimated"
    assert rows["weights"].ratio == 1 and rows["TFLM arena"].label == "measured (host)"
    assert comparison_json(one, two)["rows"][0]["second"] == 10000


def test_a_number_that_only_one_has_has_no_ratio(tmp_path):
    file = tmp_path / "bare.tflite"
    file.write_bytes(tiny_tflite())
    rows = {row.name: row for row in compare(profile(file, "cortex-m7"), hand_made())}
    assert rows["cycles a frame"].first is None and rows["cycles a frame"].ratio is None


def test_roofline_is_a_png_and_the_same_twice(whole, tmp_path):
    for name in ("a.png", "b.png"):
        draw_roofline(whole[1], tmp_path / name)
    data = (tmp_path / "a.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data == (tmp_path / "b.png").read_bytes()
    assert str(tmp_path).encode() not in data


def test_reports_without_a_stem_must_be_unambiguous(export):
    reports = read_reports(export / "vela")
    assert reports.accelerator == "ethos-u55-128"
    assert reports.number("cycles_total") > 0
