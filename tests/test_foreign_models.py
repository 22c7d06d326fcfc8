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
from tinyse.engines import frontend_of, load_engine
from tinyse.engines.npu import NpuEngine
from tinyse.engines.tflm import TflmEngine
from tinyse.core.errors import ModelError
from tinyse.export.network import parse
from tinyse.export.structure import type_bytes
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
NO = "not a streaming int8 network: "
CASES = {
    # name: (file, what an engine says, what export, profile and prune-offline say; None where it is the same)
    "two inputs": (two_frames(), "2 inputs (t0, t1) where a streaming model has one", NO + "operator ADD (t2)"),
    "two outputs": (two_frames(1, 2), "2 outputs (t3, t2) where a streaming model has one",
                    NO + "operator ADD (t2)"),
    "state out": (streaming(lambda g, x, hidden, mask: ([x], [mask, hidden])),
                  "2 outputs (t24, t15) where a streaming model has one",
                  NO + "outputs t24, t15 where one is expected"),
    "float": (chain("LOGISTIC", given={"dtype": "float32"}, result={"dtype": "float32"}),
              "t0 is float32, not quantized to int8", NO + "t1 is float32 with 1 scales, not int8 with one"),
    "uint8": (chain("LOGISTIC", given={"dtype": "uint8"}, result={"dtype": "uint8"}),
              "t0 is uint8, not quantized to int8", NO + "t1 is uint8 with 1 scales, not int8 with one"),
    "dynamic": (changed(assign("x.shape", [1, -1, B])), "t0 is [1, -1, 128], not one frame",
                NO + "t0 is [1, -1, 128], not one frame"),
    "five frames": (changed(assign("x.shape", [1, 5, B])), "t0 is [1, 5, 128], not one frame",
                    NO + "t0 is [1, 5, 128], not one frame"),
    "no scale": (changed(assign("x.quantization", None)), "t0 has the scales [], not one above 0",
                 NO + "t0 is int8 with 0 scales, not int8 with one"),
    "scale 0": (changed(assign("x.quantization.scale", [0.0])), "t0 has the scales [0.0], not one above 0",
                NO + "t0 has the scale 0"),
    "scale nan": (changed(assign("x.quantization.scale", [float("nan")])),
                  "t0 has the scales [nan], not one above 0", NO + "t0 has the scale nan"),
    "int4": (int4_weights(),
             "TFLM cannot run this file: Node FULLY_CONNECTED (number 0) failed to prepare with status 1",
             NO + "FULLY_CONNECTED (t2): weights t1 are int4 with 128 scales"),
    "custom": (chain("CUSTOM"), "TFLM cannot run this file: Failed to get registration from op code CUSTOM",
               NO + "operator CUSTOM (t1)"),
    "beyond 127": (chain("STABLEHLO_ABS"), "TFLM cannot run this file: Didn't find op for builtin opcode "
                   "'STABLEHLO_ABS'", NO + "operator STABLEHLO_ABS (t1)"),
    "no operators": (chain(), "its outputs reach from 0 to 7.65, where a mask is 0 to 1", NO + "it has no operators"),
    "no sigmoid": (chain("RELU", result=FEATURE), "its outputs reach from 0 to 7.65, where a mask is 0 to 1",
                   NO + "operator RELU (t1)"),
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
                     f"{LSTM} reads t0, which nothing writes", None),
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
        frontend_of(load_engine(path))
    assert str(caught.value) == f"{path}: {said}"


def test_what_runs_elsewhere_but_cannot_be_exported_says_why(tmp_path):
    def says(data: bytes, what: str) -> None:
        TflmEngine(data)
        with pytest.raises(ModelError, match=what):
            parse(data, "m.tflite")

    def six(graph, x, hidden, mask):
        graph.graph.operators[1].builtinOptions.fusedActivationFunction = 3

    def cell(graph, x, hidden, mask):
        state = next(t for t in graph.graph.tensors if t.isVariable and t.type == schema.TensorType.INT16)
        state.quantization.scale = [0.0003]

    def two_graphs(graph, x, hidden, mask):
        other = schema.SubGraphT()
        other.tensors, other.operators, other.inputs, other.outputs = [], [], [], []
        graph.model.subgraphs.append(other)

    says(changed(six), r"m.tflite: .*FULLY_CONNECTED \(t23\) has a fused activation other than ReLU")
    says(changed(cell), rf"m.tflite: .*{LSTM} \(t15\): the scale of its cell, 0.0003, is no power of two")
    says(changed(two_graphs), "m.tflite: .*2 graphs in one file")
    says(chain("LOGISTIC", given={"dtype": "int16", "scale": 2.0**-12}, result={"dtype": "int16", "scale": 2.0**-15}),
         "t1 is int16 with 1 scales, not int8 with one")
    says(changed(assign("mask.quantization.scale", [1 / 300])), r"LOGISTIC \(t24\) has another scale than 1/256")
    says(changed(assign("dense.builtinOptions", None)), r"FULLY_CONNECTED \(t23\) has no options")


def test_an_lstm_beside_the_chain_is_refused():
    graph, rng = Graph(), np.random.default_rng(0)
    x = graph.tensor((1, 1, B), **FEATURE)
    lstm(graph, rng, x, 0.03, -128, B, 16)
    logits = dense(graph, rng, x, 0.03, B, B, False, 0.05, 7)
    mask = graph.tensor((1, 1, B), **MASK)
    graph.op("LOGISTIC", [logits], [mask])
    with pytest.raises(ModelError, match=r"FULLY_CONNECTED \(t23\) takes t0, not what was computed last"):
        parse(graph.build([x], [mask]))


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
    assert one_line(path, result) == ("no mask depends on earlier frames: FULLY_CONNECTED, LOGISTIC keep no state "
                                      "between invocations")
    assert load_engine(path).bands == B
    result = CliRunner().invoke(main, ["profile", str(path), "--target", "cortex-m55"])
    assert result.exit_code == 0 and "weights" in result.output
    assert "firmware: the network keeps no state from frame to frame" in " ".join(result.output.split())


def test_a_state_outside_an_lstm_is_kept_by_tflm_and_refused_where_vela_drops_it():
    engine = TflmEngine(state_outside())
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
    network = parse(data)
    assert network.input.name == "\ufffd\ufffdin" and network.layers[0].name == "caf\ufffd*??#error"
    assert network.output.name == "tensor 24"
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
    with pytest.raises(ModelError, match=r"2 inputs \(t0, t25\)"):
        TflmEngine(data)
