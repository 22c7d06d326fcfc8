"""Every operator on every engine: the NumPy reference, TFLM and the NPU simulator give the same bytes.

Drawn graphs run over several frames, twice with a reset between; states are input and output pairs, copied here.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graph_draws import BITS, INT8_ONLY, KINDS, Draw, draw_chain, draw_frames, draw_op, short
from hypothesis import example, given, settings
from hypothesis import strategies as st
from npu_models import Graph as Flat
from npu_models import Tflm, compile_model, noisy_frames

from tinyse.core.errors import ModelError
from tinyse.export import limits
from tinyse.export.checks import stream
from tinyse.export.flatfile import unpack
from tinyse.export.interpreted import Interpreters
from tinyse.export.reader import read
from tinyse.export.writer import STATES, write
from tinyse.graph.graph import SIGMOID8, TANH8, Graph
from tinyse.graph.grid import Grid
from tinyse.graph.ops import Add, Depthwise, Requantize, Reshape, Sigmoid, Tanh
from tinyse.graph.plan import Plan
from tinyse.graph.reference import Reference
from tinyse.graph.runner import Carried
from tinyse.graph.tensor import State, Tensor
from tinyse.npu import Machine

ROOT = Path(__file__).resolve().parents[1]
MODELS = sorted((ROOT / "models").glob("*/model_int8.tflite"))
SEEDS = st.integers(0, 2**30)
PAIRS = [(kind, dtype) for kind in KINDS for dtype in BITS if not (dtype == "int16" and kind in INT8_ONLY)]


class Engine:
    """TFLM or the simulator behind the reference's interface; every output and fresh state by name."""

    def __init__(self, graph: Graph, engine: Tflm | Machine) -> None:
        self.graph, self.engine = graph, engine
        self.reset()

    def reset(self) -> None:
        self.engine.reset()
        self.past = [np.full(state.past.shape, state.past.grid.zero_point, state.past.grid.dtype)
                     for state in self.graph.states]

    def run(self, frame: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.engine.run(*(frame[tensor.name] for tensor in self.graph.inputs), *self.past)
        tensors = (*self.graph.outputs, *(state.fresh for state in self.graph.states))
        if isinstance(self.engine, Tflm):
            made = [np.array(self.engine.interpreter.get_output(index)) for index in range(len(tensors))]
        else:
            made = [view.copy() for view in self.engine.outputs]
        self.past = made[len(self.graph.outputs):]
        return {tensor.name: values.reshape(tensor.shape) for tensor, values in zip(tensors, made, strict=True)}


def conform(graph: Graph, seed: int, frames: int = 4, npu: bool = True) -> None:
    """All engines and the file read back agree; where Vela rounds otherwise, by a step of the one operator."""
    data = write(graph)
    assert read(data) == graph
    assert write(read(data)) == data
    given_frames = draw_frames(np.random.default_rng(seed), graph, frames)
    reference, engines = Reference(graph), [Engine(graph, Tflm(data))]
    if npu:
        engines.append(Engine(graph, Machine.parse(compile_model(data))))
    loose = any(limits.rounds(op) for op in graph.ops)
    for _ in range(2):
        for frame in given_frames:
            reference.run(frame)
            for engine, step in zip(engines, (0, int(loose)), strict=False):
                for name, values in engine.run(frame).items():
                    assert values.dtype == reference.taps[name].dtype
                    assert np.abs(values.astype(int) - reference.taps[name]).max() <= step, name
        for engine in (reference, *engines):
            engine.reset()


@pytest.mark.parametrize(("kind", "dtype"), PAIRS)
@settings(max_examples=50)
@given(SEEDS)
def test_an_operator_is_the_same_on_every_engine(kind, dtype, seed):
    conform(draw_op(np.random.default_rng(seed), kind, dtype), seed)


@pytest.mark.parametrize("dtype", BITS)
@settings(max_examples=60)
@given(SEEDS, st.integers(2, 7))
@example(62, 5)
@example(252, 5)
def test_chains_with_states_are_the_same_on_every_engine(dtype, seed, length):
    graph = draw_chain(np.random.default_rng(seed), dtype, length)
    assert not any(limits.rounds(op) for op in graph.ops)  # scales chosen as docs/npu.md advises: no exception at all
    conform(graph, seed)


def test_only_products_of_two_maps_and_slopes_are_drawn_with_an_exception():
    for kind, dtype in PAIRS:
        for seed in range(40):
            for op in draw_op(np.random.default_rng(seed), kind, dtype).ops:
                assert not limits.rounds(op) or kind in ("mul", "prelu")


@pytest.mark.parametrize("scale", [2.0**-12, 2.0**-11, 2.0**-10, 2.0**-13, 2.0**-12 * 1.0006, 2.0**-12 * 1.0008, 0.3])
@pytest.mark.parametrize("kind", [Sigmoid, Tanh])
def test_int16_curves_of_every_value_at_scales_that_take_other_ways(kind, scale):
    x = Tensor("x", (1, 4, 128, 128), Grid(float(np.float32(scale)), 0, 16))
    graph = Graph("curve", (x,), (kind((x,), Tensor("y", x.shape, Grid(2.0**-15, 0, 16))),), (Tensor(
        "y", x.shape, Grid(2.0**-15, 0, 16)),))
    values = np.arange(-32768, 32768).astype(np.int16).reshape(x.shape)
    np.testing.assert_array_equal(Tflm(write(graph)).run(values), Reference(graph).run({"x": values})["y"])


@pytest.mark.parametrize(("kind", "grid", "tie"), [(Sigmoid, SIGMOID8, 2.0**-7), (Tanh, TANH8, 2.0**-8)])
@settings(max_examples=20)
@given(st.floats(0.002, 1.99), st.integers(-128, 127), st.booleans())
@example(2.0**-6, -128, False)
@example(2.0**-7, 0, False)
@example(2.0**-8, -3, False)
def test_int8_curves_of_every_value(kind, grid, tie, scale, zero, power):
    """TFLM always; Vela's exact curve too, but where a value of a fine power of two lies on a tie."""
    scale = 2.0 ** np.floor(np.log2(scale)) if power else float(short(scale))
    x, y = Tensor("x", (1, 1, 16, 16), Grid(scale, zero)), Tensor("y", (1, 1, 16, 16), grid)
    graph = Graph("curve", (x,), (kind((x,), y),), (y,))
    values, data = np.arange(-128, 128).astype(np.int8).reshape(x.shape), write(graph)
    ours = Reference(graph).run({"x": values})["y"]
    np.testing.assert_array_equal(Tflm(data).run(values), ours)
    parted = Machine.parse(compile_model(data)).run(values).reshape(ours.shape) != ours
    if limits.rounds(graph.ops[0]):
        assert np.abs((values[parted].astype(int) - zero) * scale) == pytest.approx(tie)
    else:
        assert not parted.any()


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parent.name)
def test_a_released_model_read_and_written_is_the_same_network(path):
    data = path.read_bytes()
    graph = read(data, path.parent.name)
    again = write(graph)
    assert read(again) == graph
    assert compile_model(again) == path.with_name("model_vela.tflite").read_bytes()
    plan = Plan((graph,), (graph.outputs[0].name,))
    frames = noisy_frames(40, int(np.prod(graph.inputs[0].shape))).reshape(40, -1)
    reference = Reference(graph)
    ours = stream(plan, lambda part, given: reference.run(given), frames)
    for file in (data, again):
        carried = Carried(plan, Interpreters(plan, [file], ["it"]).invoke)
        np.testing.assert_array_equal(stream(plan, carried.run, frames), ours)


def test_states_are_paired_by_the_file_itself_and_not_by_the_reader():
    graph = draw_chain(np.random.default_rng(2), "int8")
    assert graph.states
    assert read(write(graph)).states == graph.states
    compiled = unpack(compile_model(write(graph)))
    notes = {note.name: bytes(compiled.buffers[note.buffer].data) for note in compiled.metadata}
    assert int(notes[STATES.encode()].rstrip(b"\0")) == len(graph.states)
    alone = replace(graph, inputs=(*graph.inputs, *(state.past for state in graph.states)),
                    outputs=(*graph.outputs, *(state.fresh for state in graph.states)), states=())
    assert read(write(alone)) == alone


def test_constants_lie_on_multiples_of_16_bytes():
    data = write(draw_op(np.random.default_rng(1), "conv", "int16"))
    kernel = draw_op(np.random.default_rng(1), "conv", "int16").ops[0].weights
    assert data.index(kernel.values.tobytes()) % 16 == 0
    assert data.index(kernel.bias.tobytes()) % 16 == 0


@settings(max_examples=25)
@given(SEEDS, st.sampled_from([kind for kind in KINDS if kind not in ("lstm", "sigmoid", "tanh")]), st.integers(2, 7))
def test_fewer_bits_saturate_at_their_own_limits(seed, kind, bits):
    """An operator whose output has fewer bits is the wide one, clamped (grids that move integers keep theirs)."""
    rng = np.random.default_rng(seed)
    graph = draw_op(rng, kind, "int8")
    op, inputs = graph.ops[-1], draw_frames(rng, graph, 3)
    if op.kind in ("max", "maxpool", "concat", "slice", "reshape") or op.out.grid.bits > 8:
        return
    zero = int(np.clip(op.out.grid.zero_point, -2, 1))
    wide, narrow = (replace(op.out, grid=Grid(op.out.grid.scale, zero, n)) for n in (8, bits))
    first, second = (Reference(Graph("g", graph.inputs, (replace(op, out=out),), (out,))) for out in (wide, narrow))
    for frame in inputs:
        whole, part = first.run(frame)[wide.name], second.run(frame)[narrow.name]
        np.testing.assert_array_equal(part, np.clip(whole, narrow.grid.least, narrow.grid.most))


@pytest.mark.parametrize("make", ["bits", "fine", "steps"])
def test_what_tflm_cannot_do_is_refused_by_the_writer_in_one_line(make):
    draw = Draw(np.random.default_rng(0), "int8" if make == "bits" else "int16")
    x = draw.input((1, 2, 3, 4))
    if make == "bits":
        draw.put(Requantize, [x], x.shape, Grid(0.5, 0, 4))
    elif make == "fine":
        draw.put(Add, [x, x], x.shape, Grid(x.grid.scale / 2**14, 0, 16))
    else:
        draw = Draw(np.random.default_rng(0), "int8")
        draw.lstm(draw.input((1, 2, 4)))
    lines = {"bits": "g: requantize t2: t2 has 4 bits, and TFLM clamps at 8 or 16",
             "fine": "g: add t2: its output's scale is 2^14 times finer than an input's",
             "steps": "g: lstm t2: an LSTM over [1, 2, 4] int8, where int8 [1, 1, channels] is one frame"}
    with pytest.raises(ModelError, match=f"^{re.escape(lines[make])}$"):
        write(draw.done(draw.ops[-1].out, "g"))


def test_what_vela_cannot_do_is_known_by_operator():
    draw = Draw(np.random.default_rng(3), "int8")
    lstm = draw_op(np.random.default_rng(3), "lstm", "int8").ops[0]
    assert limits.npu(replace(lstm, cell_clip=2.0)) == ""
    assert "drops the fraction" in limits.npu(replace(lstm, cell_clip=1.5))
    x = draw.input((1, 9, 9, 3))
    draw.put(Depthwise, [x], (1, 3, 3, 3), weights=draw.weights((1, 1, 3), 3, 1, x), stride=(4, 4))
    graph = draw.done(draw.ops[-1].out, "g")
    assert "stride 4, 4" in limits.npu(graph.ops[0])
    conform(graph, 3, npu=False)
    with pytest.raises(Exception, match="not compiled by Vela"):
        Machine.parse(compile_model(write(graph)))


def foreign(what: str) -> bytes:
    rng, flat = np.random.default_rng(0), Flat()
    x = flat.tensor((1, 4, 4, 3), scale=0.05)
    y = flat.tensor((1, 4, 4, 3), scale=0.05)
    kernel = flat.tensor((3, 3, 3, 3), scale=[0.01] * 3, data=rng.integers(-9, 9, (3, 3, 3, 3)))
    bias = flat.tensor((3,), "int32", [0.0005] * 3, data=np.zeros(3))
    conv = dict(strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=0)
    if what == "softmax":
        flat.op("SOFTMAX", [x], [y], "SoftmaxOptions", beta=1.0)
    elif what == "float":
        x = flat.tensor((1, 4, 4, 3), "float32")
        flat.op("LOGISTIC", [x], [y])
    elif what == "rows":
        flat.op("CONV_2D", [x, kernel, bias], [y], "Conv2DOptions", padding=0, **conv)
    elif what == "variable":
        state = flat.tensor((1, 4, 4, 3), scale=0.05, variable=True)
        flat.op("ADD", [x, state], [y], "AddOptions", fusedActivationFunction=0)
    elif what == "dynamic":
        flat.graph.tensors[x].shapeSignature = [-1, 4, 4, 3]
        flat.op("TANH", [x], [y])
    elif what == "constant":
        other = flat.tensor((3,), scale=0.05, data=np.ones(3))
        flat.op("MUL", [x, other], [y], "MulOptions", fusedActivationFunction=0)
    elif what == "narrow bias":
        x, y = (flat.tensor((1, 4, 4, 3), "int16", scale=0.001) for _ in range(2))
        flat.op("CONV_2D", [x, flat.tensor((3, 1, 1, 3), scale=[0.01] * 3, data=np.ones((3, 1, 1, 3))), bias], [y],
                "Conv2DOptions", padding=1, **conv)
    elif what == "fused":
        flat.op("ADD", [x, x], [y], "AddOptions", fusedActivationFunction=4)
    elif what == "shape":
        flat.op("MAX_POOL_2D", [x], [y], "Pool2DOptions", padding=1, strideH=2, strideW=2, filterHeight=2,
                filterWidth=2)
    elif what == "pad":
        wide = flat.tensor((1, 4, 8, 3), scale=0.05)
        flat.op("PAD", [x, flat.tensor((4, 2), "int32", data=np.array([[0, 0], [0, 0], [2, 2], [0, 0]]))], [wide],
                "PadOptions")
        y = flat.tensor((1, 4, 8, 3), scale=1 / 128)
        flat.op("TANH", [wide], [y])
    return flat.build([x], [y])


@pytest.mark.parametrize(("what", "line"), [
    ("softmax", "m: SOFTMAX t1: no such operator in a network"),
    ("float", "m: LOGISTIC t1: t4 is float32, not int8 or int16"),
    ("rows", "m: CONV_2D t1: pads rows of t0, which are time"),
    ("variable", "m: ADD t1: t4 is a variable"),
    ("dynamic", "m: TANH t1: t0 has a dynamic shape"),
    ("constant", "m: MUL t1: t4 is a constant"),
    ("narrow bias", "m: CONV_2D t5: t3 is int32 constant, not a constant of int64"),
    ("fused", "m: ADD t1: fused TANH"),
    ("shape", "m: MAX_POOL_2D t1: [1, 4, 4, 3] do not give [1, 4, 4, 3]"),
    ("pad", "m: TANH t6: t4 is padded, which only a VALID convolution can read"),
])
def test_a_foreign_file_is_refused_by_operator_and_tensor(what, line):
    with pytest.raises(ModelError, match=f"^{re.escape(line)}$"):
        read(foreign(what), "m")


@pytest.mark.parametrize("dtype", BITS)
def test_a_foreign_matmul_with_one_scale_and_no_bias_runs_as_tflm_runs_it(dtype):
    rng, flat = np.random.default_rng(0), Flat()
    x, y = flat.tensor((1, 50, 9), dtype, scale=0.0123), flat.tensor((1, 50, 7), dtype, scale=0.0345)
    kernel = flat.tensor((7, 9), scale=0.0123456, data=rng.integers(-127, 128, (7, 9)))
    flat.op("FULLY_CONNECTED", [x, kernel, -1], [y], "FullyConnectedOptions", keepNumDims=True)
    data = flat.build([x], [y])
    graph = read(data)
    for frame in draw_frames(rng, graph, 20):
        ours = Reference(graph).run(frame)["t1"]
        for file in (data, write(graph)):
            np.testing.assert_array_equal(Tflm(file).run(frame["t0"]), ours)


@pytest.mark.filterwarnings("ignore:overflow|invalid")
@settings(max_examples=300)
@given(SEEDS, st.sampled_from(PAIRS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
       st.floats(0, 1))
def test_a_damaged_file_is_a_graph_or_one_line(seed, pair, changes, kept):
    data = bytearray(write(draw_op(np.random.default_rng(seed % 8), *pair)))
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    damaged = bytes(data[:int(kept * len(data))]) if seed % 3 == 0 else bytes(data)
    try:
        graph = read(damaged)
    except ModelError as error:
        assert "\n" not in error.line()
        return
    if sum(tensor.bytes for tensor in graph.tensors) < 1 << 20:  # what was read can be run
        Reference(graph).run(draw_frames(np.random.default_rng(0), graph, 1)[0])


def test_a_frame_that_is_not_the_graphs_is_one_line():
    graph = draw_op(np.random.default_rng(0), "conv", "int8")
    reference, (x,) = Reference(graph), graph.inputs
    with pytest.raises(ModelError, match="conv: input t1 is missing"):
        reference.run({})
    with pytest.raises(ModelError, match=r"t1: a frame of int16 .* is not int8"):
        reference.run({"t1": np.zeros(x.shape, np.int16)})


def test_a_state_is_not_a_view_of_what_the_caller_may_write():
    x, past = (Tensor(name, (1, 1, 1, 4), Grid(0.5, 3)) for name in ("x", "past"))
    fresh, y = Tensor("fresh", x.shape, x.grid), Tensor("y", x.shape, Grid(0.5, 0))
    graph = Graph("delay", (x,), (Reshape((x,), fresh), Requantize((past,), y)), (y,), (State(past, fresh),))
    reference, frame = Reference(graph), np.full(x.shape, 5, np.int8)
    assert reference.run({"x": frame})["y"].tolist() == np.zeros(x.shape).tolist()
    frame[...] = 9
    assert reference.run({"x": frame})["y"].ravel().tolist() == [2] * 4
