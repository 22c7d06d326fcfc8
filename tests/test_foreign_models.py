"""Files of other people's making: each command gives one line that names the operator and the tensor, or runs."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from npu_models import Graph, compile_model, dense, lstm, random_values, schema

from tinyse.cli import main
from tinyse.core.errors import ModelError
from tinyse.engines import load_engine
from tinyse.engines.integer import IntegerEngine
from tinyse.engines.npu import NpuEngine
from tinyse.engines.tflm import TflmEngine
from tinyse.export import interpreted
from tinyse.export.reader import read
from tinyse.export.structure import type_bytes
from tinyse.graph.reference import Reference
from tinyse.npu import Machine
from tinyse.npu.fault import NpuError
from tinyse.npu.flatbuffer import operator_name

B = 128
FEATURE, MASK = {"scale": 0.03, "zero": -128}, {"scale": 1 / 256, "zero": -128}


def streaming(change=lambda graph, x, hidden, mask: ([x], [mask])) -> bytes:
    """LSTM-16, dense, sigmoid; ``change`` spoils it and gives its inputs and outputs."""
    graph, rng = Graph(), np.random.default_rng(0)
    x = graph.tensor((1, 1, B), **FEATURE)
    hidden, scale, _ = lstm(graph, rng, x, 0.03, -128, B, 16)
    logits = dense(graph, rng, hidden, scale, 16, B, False, 0.05, 7)
    mask = graph.tensor((1, 1, B), **MASK)
    graph.op("LOGISTIC", [logits], [mask])
    return graph.build(*change(graph, x, hidden, mask))


def changed(edit) -> bytes:
    def change(graph, x, hidden, mask):
        edit(graph, x, hidden, mask)
        return [x], [mask]
    return streaming(change)


def chain(*operators: str, given=None, result=None, **options) -> bytes:
    """Operators of one input and one output each, in a row."""
    graph = Graph()
    x = graph.tensor((1, 1, B), **(given or FEATURE))
    ends = [x] + [graph.tensor((1, 1, B), **(result or MASK)) for _ in operators]
    for name, start, end in zip(operators, ends, ends[1:], strict=False):
        graph.op(name, [start], [end], **options)
    return graph.build([x], [ends[-1]])


def two_frames(inputs: int = 2, outputs: int = 1) -> bytes:
    """A state as an input, and as an output too, beside the frame and the mask."""
    graph = Graph()
    x, state = graph.tensor((1, B), **FEATURE), graph.tensor((1, B), **FEATURE)
    both, mask = graph.tensor((1, B), scale=0.06, zero=-128), graph.tensor((1, B), **MASK)
    graph.op("ADD", [x, state if inputs > 1 else x], [both], "AddOptions")
    graph.op("LOGISTIC", [both], [mask])
    return graph.build([x, state][:inputs], [mask, both][:outputs])


def state_outside() -> bytes:
    """The frame before, kept in a variable tensor: TFLM keeps it, Vela drops it."""
    graph = Graph()
    x, state = graph.tensor((1, 1, B), **FEATURE), graph.tensor((1, 1, B), **FEATURE, variable=True)
    both, mask = graph.tensor((1, 1, B), scale=0.06, zero=-128), graph.tensor((1, 1, B), **MASK)
    graph.op("ADD", [x, state], [both], "AddOptions")
    graph.op("LOGISTIC", [both], [mask])
    graph.op("QUANTIZE", [x], [state])
    return graph.build([x], [mask])


def no_graph() -> bytes:
    graph = Graph()
    graph.model.subgraphs = []
    builder = flatbuffers.Builder(1024)
    builder.Finish(graph.model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def int4_weights() -> bytes:
    graph = Graph()
    x = graph.tensor((1, 1, B), **FEATURE)
    weights = graph.tensor((B, B), scale=np.full(B, 0.01), data=np.zeros((B, B)))
    graph.graph.tensors[weights].type = schema.TensorType.INT4
    buffer = graph.model.buffers[graph.graph.tensors[weights].buffer]
    buffer.data = buffer.data[: B * B // 2]
    y = graph.tensor((1, 1, B), **MASK)
    graph.op("FULLY_CONNECTED", [x, weights, -1], [y], "FullyConnectedOptions", keepNumDims=True)
    return graph.build([x], [y])


def cut_weights(graph, x, hidden, mask):
    buffer = graph.model.buffers[graph.graph.tensors[2].buffer]
    buffer.data = buffer.data[:7]


def assign(what: str, value):
    def edit(graph, x, hidden, mask):
        owner, _, field = what.rpartition(".")
        target = {"x": graph.graph.tensors[x], "x.quantization": graph.graph.tensors[x].quantization,
                  "mask.quantization": graph.graph.tensors[mask].quantization, "weights": graph.graph.tensors[2],
                  "lstm": graph.graph.operators[0], "dense": graph.graph.operators[1]}[owner]
        setattr(target, field, value)
    return edit


def bad_input(graph, x, hidden, mask):
    graph.graph.operators[0].inputs[1] = 9999


LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"
CASES = {
    # name: (file, what an engine says, what export, profile and prune-offline say; None where it is the same)
    "two inputs": (two_frames(), "takes t0 and t1 and gives t3, which are not one frame and states", None),
    "two outputs": (two_frames(1, 2), "takes t0 and gives t3 and t2, which are not one frame and states", None),
    "state out": (streaming(lambda g, x, hidden, mask: ([x], [mask, hidden])),
                  "takes t0 and gives t24 and t15, which are not one frame and states", None),
    "float": (chain("LOGISTIC", given={"dtype": "float32"}, result={"dtype": "float32"}),
              "t0 is float32, not quantized to int8", None),
    "uint8": (chain("LOGISTIC", given={"dtype": "uint8"}, result={"dtype": "uint8"}),
              "t0 is uint8, not quantized to int8", None),
    "dynamic": (changed(assign("x.shape", [1, -1, B])), "t0 is [1, -1, 128], not one frame", None),
    "five frames": (changed(assign("x.shape", [1, 5, B])), "640 values to 128, its ends are 128 to 128",
                    f"{LSTM} t15: t0 is [1, 5, 128], where [1, 1, channels] is one frame"),
    "no scale": (changed(assign("x.quantization", None)), "t0 has the scales [], not one above 0", None),
    "scale 0": (changed(assign("x.quantization.scale", [0.0])), "t0 has the scales [0.0], not one above 0", None),
    "scale nan": (changed(assign("x.quantization.scale", [float("nan")])),
                  "t0 has the scales [nan], not one above 0", None),
    "int4": (int4_weights(),
             "TFLM cannot run this file: Node FULLY_CONNECTED (number 0) failed to prepare with status 1",
             "FULLY_CONNECTED t2: t1 is int4 constant, not a constant of int8"),
    "custom": (chain("CUSTOM"), "TFLM cannot run this file: Failed to get registration from op code CUSTOM",
               "CUSTOM t1: no such operator in a network"),
    "beyond 127": (chain("STABLEHLO_ABS"), "TFLM cannot run this file: Didn't find op for builtin opcode "
                   "'STABLEHLO_ABS'", "STABLEHLO_ABS t1: no such operator in a network"),
    "no operators": (chain(), "t0 is input and output alike: no operator is between them", None),
    "no sigmoid": (chain("RELU", result=FEATURE), "its outputs reach from 0 to 7.65, where a mask is 0 to 1",
                   "RELU t1: no such operator in a network"),
    "no graph": (no_graph(), "the file is damaged: it holds no graph", None),
    "no input": (streaming(lambda g, x, hidden, mask: ([], [mask])),
                 "the file is damaged: its graph has no input", None),
    "bad tensor": (changed(bad_input), f"the file is damaged: a tensor of {LSTM} is number 9999 of 25", None),
    "bad code": (changed(assign("lstm.opcodeIndex", 77)), "the file is damaged: an operator has code 77 of 3", None),
    "bad buffer": (changed(assign("weights.buffer", 99)), "the file is damaged: the buffer of t2 is number 99 of 15",
                   None),
    "short weights": (changed(cut_weights), "t2 holds 7 bytes where int8 [16, 128] takes 2048", None),
    "no weights": (changed(assign("weights.buffer", 0)), f"{LSTM} reads t2, which nothing writes", None),
    "turned round": (streaming(lambda g, x, hidden, mask: ([mask], [x])),
                     "its outputs reach from 0 to 7.65, where a mask is 0 to 1",
                     f"{LSTM} reads t0, which nothing writes"),
    "half": (streaming()[:9000], "the file is damaged or cut short", None),
    "wild offsets": (streaming()[:8] + b"\xf0\xff\xff\x7f" * 40 + streaming()[168:],
                     "the file is damaged or cut short", None),
}


def one_line(path: Path, result) -> str:
    """What a command said of the file, without its name and hint."""
    assert result.exit_code == 1 and result.exception.__class__ is SystemExit, result.output
    lines = [line for line in result.output.splitlines() if not line.startswith("export: ")]
    assert len(lines) == 1 and lines[0].startswith(f"Error: {path}: ") and lines[0].endswith(")"), result.output
    return lines[0].removeprefix(f"Error: {path}: ").rpartition(" (")[0]


def test_a_file_that_never_answers_is_given_up_after_seconds_of_a_processor_not_of_the_clock(monkeypatch):
    data = streaming()
    interpreted._survives.cache_clear()
    monkeypatch.setattr(interpreted, "PROBE_SECONDS", 1)
    monkeypatch.setattr(interpreted, "PROBE", "import time\ntime.sleep(2)")
    assert interpreted._survives(data) == ""
    interpreted._survives.cache_clear()
    monkeypatch.setattr(interpreted, "PROBE", "while True: pass")
    assert interpreted._survives(data) == "no answer in 1 s of a processor"
    interpreted._survives.cache_clear()


@pytest.mark.parametrize("case", CASES)
def test_one_line_names_operator_and_tensor(tmp_path, case):
    data, engine, export = CASES[case]
    path, sound = tmp_path / "theirs.tflite", tmp_path / "in.wav"
    path.write_bytes(data)
    soundfile.write(sound, np.zeros(1600), 16000)
    commands = {"enhance": ["enhance", sound, tmp_path / "out.wav", "--model", path],
                "export": ["export", path, "--out", tmp_path / "export"],
                "profile": ["profile", path, "--static", "--target", "cortex-m55"],
                "prune": ["prune-offline", path, "--sparsity", "0.5", "--out", tmp_path / "pruned.tflite"]}
    for name, arguments in commands.items():
        said = one_line(path, CliRunner().invoke(main, [str(part) for part in arguments]))
        assert said == (engine if name == "enhance" or export is None else export), name
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.wav", "theirs.tflite"], "nothing is left behind"


@pytest.mark.parametrize("case", ["two inputs", "two outputs", "state out", "uint8", "five frames", "no sigmoid"])
def test_the_simulator_says_the_same_of_the_compiled_file(tmp_path, case):
    data, said, _ = CASES[case]
    path = tmp_path / "vela.tflite"
    path.write_bytes(compile_model(data))
    with pytest.raises(ModelError) as caught:
        load_engine(path)
    assert str(caught.value) == f"{path}: {said}"


def test_what_runs_elsewhere_but_cannot_be_exported_says_why():
    def says(data: bytes, what: str) -> None:
        TflmEngine.of_bytes(data)
        with pytest.raises(ModelError, match=what):
            read(data, "m.tflite")

    def cell(graph, x, hidden, mask):
        state = next(t for t in graph.graph.tensors if t.isVariable and t.type == schema.TensorType.INT16)
        state.quantization.scale = [0.0003]

    def two_graphs(graph, x, hidden, mask):
        other = schema.SubGraphT()
        other.tensors, other.operators, other.inputs, other.outputs = [], [], [], []
        graph.model.subgraphs.append(other)

    says(changed(cell), rf"m.tflite: {LSTM} t15: the cell's scale 0.0003.* is no power of two")
    says(changed(two_graphs), "m.tflite: 2 subgraphs, not one")
    says(changed(assign("mask.quantization.scale", [1 / 300])), "LOGISTIC t24: out must have scale 0.00390625 and")
    says(changed(assign("dense.builtinOptions", None)), "m.tflite: FULLY_CONNECTED t23: no options")


def test_what_a_graph_can_hold_gives_tflms_bytes():
    """A ReLU6 that is fused, and 16 bits."""
    def six(graph, x, hidden, mask):
        graph.graph.operators[1].builtinOptions.fusedActivationFunction = 3

    wide = chain("LOGISTIC", given={"dtype": "int16", "scale": 2.0**-12}, result={"dtype": "int16", "scale": 2.0**-15})
    for data in (changed(six), wide):
        engine, graph = TflmEngine.of_bytes(data), read(data)
        reference, x = Reference(graph), graph.inputs[0]
        for frame in np.random.default_rng(0).integers(x.grid.least, x.grid.most + 1, (20, B)).astype(x.grid.dtype):
            found = reference.run({x.name: frame.reshape(x.shape)})[graph.outputs[0].name]
            assert np.ptp(found) and np.array_equal(found.ravel(), engine.step(frame))


def test_an_lstm_beside_the_chain_is_refused(tmp_path):
    graph, rng = Graph(), np.random.default_rng(0)
    x = graph.tensor((1, 1, B), **FEATURE)
    lstm(graph, rng, x, 0.03, -128, B, 16)
    logits = dense(graph, rng, x, 0.03, B, B, False, 0.05, 7)
    mask = graph.tensor((1, 1, B), **MASK)
    graph.op("LOGISTIC", [logits], [mask])
    path = tmp_path / "beside.tflite"
    path.write_bytes(graph.build([x], [mask]))
    result = CliRunner().invoke(main, ["export", str(path), "--out", str(tmp_path / "export")])
    assert one_line(path, result) == NOTHING


NOTHING = "no result depends on earlier frames: nothing persists between invocations"


def test_a_state_as_a_second_input_and_output_runs_everywhere(tmp_path):
    """Where inputs and outputs pair up in order, by shape and grid, they are states: the caller's to carry."""
    graph = Graph()
    x, state, fresh = (graph.tensor((1, 1, 1, B), **FEATURE) for _ in range(3))
    mask = graph.tensor((1, 1, 1, B), **MASK)
    graph.op("ADD", [x, state], [fresh], "AddOptions")
    graph.op("LOGISTIC", [fresh], [mask])
    data = graph.build([x, state], [mask, fresh])
    (tmp_path / "int8.tflite").write_bytes(data)
    (tmp_path / "vela.tflite").write_bytes(compile_model(data))
    frames = np.random.default_rng(0).uniform(0, 0.5, (12, B)).astype(np.float32)
    tflm, npu, own = (load_engine(tmp_path / "int8.tflite"), load_engine(tmp_path / "vela.tflite"),
                      IntegerEngine.load(tmp_path / "int8.tflite"))
    first = [tflm.mask(frame) for frame in frames]
    for engine in (npu, own):
        np.testing.assert_array_equal(first, [engine.mask(frame) for frame in frames])
    assert not np.array_equal(first, [tflm.mask(frame) for frame in frames]), "it remembers"
    tflm.reset()
    np.testing.assert_array_equal(first, [tflm.mask(frame) for frame in frames])
    sound = tmp_path / "in.wav"
    soundfile.write(sound, np.zeros(1600), 16000)
    for words in (["enhance", sound, tmp_path / "out.wav", "--model", tmp_path / "int8.tflite"],
                  ["profile", tmp_path / "int8.tflite", "--static", "--target", "ethos-u55-128"],
                  ["npu", "run", tmp_path / "vela.tflite", "--frames", "5", "--trace", tmp_path / "maps.npz"],
                  ["npu", "compare", tmp_path / "vela.tflite", tmp_path / "int8.tflite", "--frames", "20"]):
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exit_code == 0, done.output
    assert "no parting: every value that both write is equal" in done.output


def test_a_dense_network_is_exported_as_what_it_is_not(tmp_path):
    """A frame of shape [1, bands], and nothing that remembers."""
    graph, rng = Graph(), np.random.default_rng(0)
    x, logits, mask = (graph.tensor((1, B), **each) for each in (FEATURE, {"scale": 0.05}, MASK))
    weights = graph.tensor((B, B), scale=0.01, data=random_values(rng, (B, B), "int8"))
    graph.op("FULLY_CONNECTED", [x, weights, -1], [logits], "FullyConnectedOptions")
    graph.op("LOGISTIC", [logits], [mask])
    path = tmp_path / "dense.tflite"
    path.write_bytes(graph.build([x], [mask]))
    result = CliRunner().invoke(main, ["export", str(path), "--out", str(tmp_path / "export")])
    assert one_line(path, result) == NOTHING
    assert load_engine(path).bands == B
    result = CliRunner().invoke(main, ["profile", str(path), "--target", "cortex-m55"])
    assert result.exit_code == 0 and "weights" in result.output
    assert "firmware: the network keeps no state from frame to frame" in " ".join(result.output.split())


def test_a_state_outside_an_lstm_is_kept_by_tflm_and_refused_where_vela_drops_it():
    engine = TflmEngine.of_bytes(state_outside())
    frames = np.random.default_rng(0).uniform(0, 3, (5, B)).astype(np.float32)
    first, second = ([engine.mask(frame) for frame in frames] for _ in range(2))
    engine.reset()
    assert not np.array_equal(first, second) and np.array_equal(first, [engine.mask(frame) for frame in frames])
    with pytest.raises(NpuError, match="state 't1' is written and never read: Vela drops a state outside an LSTM"):
        Machine.parse(compile_model(state_outside()))


def test_names_that_are_not_utf8_are_shown_and_only_vela_minds(tmp_path):
    def names(graph, x, hidden, mask):
        for index, name in ((x, b"\xff\xe9in"), (hidden, b"caf\xe9*/\n#error"), (mask, None)):
            graph.graph.tensors[index].name = name
    data = changed(names)
    graph = read(data)
    assert graph.inputs[0].name == "\ufffd\ufffdin" and graph.ops[0].out.name == "caf\ufffd*??#error"
    assert graph.outputs[0].name == "tensor 24"
    path = tmp_path / "theirs.tflite"
    path.write_bytes(data)
    assert load_engine(path).bands == B
    result = CliRunner().invoke(main, ["export", str(path), "--out", str(tmp_path / "export")])
    said = "the name of tensor 0, b'\\xff\\xe9in', is not UTF-8, which Vela cannot read (convert the model again)\n"
    assert result.exit_code == 1 and result.output.endswith(f"Error: {said}")


def test_operators_left_on_the_cpu_are_named():
    def dynamic(graph, x, hidden, mask):
        graph.graph.tensors[x].shapeSignature = [1, -1, B]
    with pytest.raises(NpuError, match=f"Vela left {LSTM} outside the NPU"):
        Machine.parse(compile_model(changed(dynamic)))
    assert [operator_name(number) for number in (2, 44, 88, 163, 999)] == [
        "CONCATENATION", LSTM, "UNPACK", "STABLEHLO_ADD", "operator 999"]


@pytest.mark.parametrize("kind, shape, size", [("int8", (2, 3), 6), ("int4", (3, 3), 5), ("float32", (), 4),
                                               ("int64", (2, 0), 0), ("resource", (1,), 0), ("bool", (7,), 7)])
def test_bytes_of_a_tensor(kind, shape, size):
    assert type_bytes(kind, shape) == size


def test_an_input_that_no_command_reads_does_not_count(tmp_path):
    """TFLM has two inputs where the compiled file's stream reads one."""
    def change(graph, x, hidden, mask):
        return [x, graph.tensor((1, 1, B), **FEATURE)], [mask]
    data = streaming(change)
    (tmp_path / "vela.tflite").write_bytes(compile_model(data))
    assert NpuEngine.load(tmp_path / "vela.tflite").bands == B
    with pytest.raises(ModelError, match="takes t0 and t25 and gives t24, which are not one frame and states"):
        TflmEngine.of_bytes(data)
