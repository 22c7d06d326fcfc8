"""Quantized networks built straight as TFLite flatbuffers, compiled in this process, run on TFLM.

No TensorFlow: the schema comes with the tflite-micro wheel, so that hypothesis can draw hundreds of networks.
"""

from __future__ import annotations

import functools
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest

pytest.importorskip("tflite_micro", reason="the reference interpreter: pip install tflite-micro")
pytest.importorskip("ethosu.regor", reason="the compiler: pip install ethos-u-vela")

from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from tinyse.export.encoded import OPTIONS

TYPES = {"int8": schema.TensorType.INT8, "int16": schema.TensorType.INT16, "int32": schema.TensorType.INT32,
         "int64": schema.TensorType.INT64, "uint8": schema.TensorType.UINT8, "float32": schema.TensorType.FLOAT32}


def short(scale):
    """The nearest scale of 11 significant bits: products of two are exact in float32."""
    mantissa, exponent = np.frexp(np.asarray(scale, np.float64))
    return np.ldexp(np.round(mantissa * 2048) / 2048, exponent)


class Graph:
    """One subgraph under construction; tensors and operators by index. ``snap`` shortens every scale."""

    def __init__(self, snap: bool = False) -> None:
        self.snap = snap
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model = schema.ModelT()
        self.model.version, self.model.subgraphs = 3, [self.graph]
        self.model.operatorCodes, self.model.buffers = [], [schema.BufferT()]
        self.codes: dict[int, int] = {}

    def tensor(self, shape, dtype="int8", scale=1.0, zero=0, data=None, variable=False, axis=0) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.name = list(shape), TYPES[dtype], f"t{len(self.graph.tensors)}"
        tensor.isVariable = variable
        snapped = short(scale) if self.snap and dtype in ("int8", "int16") else scale
        scales = np.atleast_1d(np.asarray(snapped, np.float32))
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = [float(s) for s in scales]
        tensor.quantization.zeroPoint = [int(zero)] * scales.size
        tensor.quantization.quantizedDimension = axis
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        else:
            tensor.buffer = 0
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def op(self, name: str, inputs, outputs, options=None, intermediates=None, **fields) -> None:
        code = getattr(schema.BuiltinOperator, name)
        if code not in self.codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), 1
            self.codes[code] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(entry)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self.codes[code], list(inputs), list(outputs)
        if options:
            operator.builtinOptions = getattr(schema, f"{options}T")()
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            for key, value in fields.items():
                assert hasattr(operator.builtinOptions, key), key
                setattr(operator.builtinOptions, key, value)
        if intermediates:
            operator.intermediates = list(intermediates)
        self.graph.operators.append(operator)

    def build(self, inputs, outputs) -> bytes:
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


@functools.cache
def _config(macs: int, system: str, memory: str) -> str:
    import ethosu.config_files

    folder = Path(next(iter(ethosu.config_files.__path__))) / "Arm" / "vela.ini"
    head = f"[architecture]\nmacs={macs}\ncores=1\n[vela]\nsystem_config_name={system}\nmemory_mode_name={memory}\n"
    return head + folder.read_text()


def compile_model(data: bytes, macs: int = 128, memory: str = "Shared_Sram", optimise: str = "Performance") -> bytes:
    """Vela's default core in this process."""
    from ethosu import regor

    config = _config(macs, "Ethos_U55_High_End_Embedded", memory)
    options = OPTIONS.replace("optimize=Performance", f"optimize={optimise}")
    return bytes(regor.compile("EthosU55", data, "TFLITE", config, options).model)


def compile_u65(data: bytes, cores: int = 1) -> bytes:
    """The default core for an ethos-u65 of 256 MACs a core, with fast scratch of its own."""
    from ethosu import regor

    config = _config(256, "Ethos_U65_High_End", "Dedicated_Sram").replace("cores=1", f"cores={cores}", 1)
    return bytes(regor.compile("EthosU65", data, "TFLITE", config, OPTIONS).model)


def compile_legacy(data: bytes, macs: int = 128) -> bytes:
    """Vela's legacy core, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "m.tflite")
        source.write_bytes(data)
        subprocess.run([sys.executable, "-m", "ethosu.vela", str(source), "--output-dir", folder,
                        "--accelerator-config", f"ethos-u55-{macs}", "--debug-force-legacy-core"],
                       check=True, capture_output=True)
        return Path(folder, "m_vela.tflite").read_bytes()


def scales_of(data: bytes) -> list[float]:
    """The first scale of every tensor."""
    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0)).subgraphs[0]
    return [float(tensor.quantization.scale[0]) for tensor in graph.tensors]


class Tflm:
    """The reference interpreter."""

    def __init__(self, data: bytes) -> None:
        from tflite_micro import runtime

        self.interpreter = runtime.Interpreter.from_bytes(data, arena_size=max(10 * len(data), 1 << 20))
        self.reset()

    def reset(self) -> None:
        self.interpreter.reset()

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        for index, values in enumerate(inputs):
            self.interpreter.set_input(np.ascontiguousarray(values), index)
        self.interpreter.invoke()
        return np.array(self.interpreter.get_output(0))


def random_values(rng: np.random.Generator, shape, dtype: str) -> np.ndarray:
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def laplace_weights(rng: np.random.Generator, shape, zeros: float = 0.0) -> np.ndarray:
    values = np.clip(np.round(rng.laplace(size=shape) * 20), -127, 127)
    return (values * (rng.random(shape) >= zeros)).astype(np.int8)


def lstm(graph: Graph, rng: np.random.Generator, x: int, x_scale: float, x_zero: int, width: int, units: int,
         cell_power: int = -12, zeros: float = 0.0, clip: float = 0.0,
         gain: float = 1.0) -> tuple[int, float, int]:
    """Add a UNIDIRECTIONAL_SEQUENCE_LSTM for one time step; give its output tensor, scale and zero point."""
    h_scale, h_zero = 1 / 127.0 * float(rng.uniform(0.7, 1.0)), int(rng.integers(-12, 12))
    h_scale = 1 / 128 if graph.snap else h_scale

    def gate(columns: int) -> int:
        scale = gain * float(rng.uniform(0.4, 1.2)) / math.sqrt(columns) / 20
        return graph.tensor((units, columns), scale=scale, data=laplace_weights(rng, (units, columns), zeros))

    kernels, recurrent = [gate(width) for _ in range(4)], [gate(units) for _ in range(4)]
    biases = []
    for kernel in kernels:
        scale = x_scale * graph.graph.tensors[kernel].quantization.scale[0]
        values = np.round(rng.normal(0.2, 0.5, units) / scale).astype(np.int32)
        biases.append(graph.tensor((units,), "int32", scale, data=values))
    hidden = graph.tensor((1, units), scale=h_scale, zero=h_zero, variable=True)
    cell = graph.tensor((1, units), "int16", 2.0**cell_power, variable=True)
    out = graph.tensor((1, 1, units), scale=h_scale, zero=h_zero)
    inner = [graph.tensor((0,), "int16", 2.0**-12) for _ in range(4)] + [graph.tensor((0,), scale=h_scale, zero=h_zero)]
    graph.op("UNIDIRECTIONAL_SEQUENCE_LSTM", [x, *kernels, *recurrent, -1, -1, -1, *biases, -1, -1, hidden, cell,
                                              -1, -1, -1, -1], [out], "UnidirectionalSequenceLSTMOptions", inner,
             fusedActivationFunction=4, cellClip=clip, timeMajor=False)
    return out, h_scale, h_zero


def dense(graph: Graph, rng: np.random.Generator, x: int, x_scale: float, width: int, units: int, relu: bool,
          y_scale: float, y_zero: int) -> int:
    """Add a FULLY_CONNECTED with one scale a row on a [1, 1, width] input."""
    scales = rng.uniform(0.5, 1.5, units) / math.sqrt(width) / 20
    weights = graph.tensor((units, width), scale=scales, data=laplace_weights(rng, (units, width)))
    bias = graph.tensor((units,), "int32", x_scale * scales.astype(np.float32),
                        data=np.round(rng.normal(0, 0.3, units) / (x_scale * scales)).astype(np.int32))
    out = graph.tensor((1, 1, units), scale=y_scale, zero=y_zero)
    graph.op("FULLY_CONNECTED", [x, weights, bias], [out], "FullyConnectedOptions",
             fusedActivationFunction=int(relu), keepNumDims=True)
    return out


def enhancer(bands: int = 128, units: tuple[int, ...] = (256, 256), hidden: int = 128, seed: int = 0,
             zeros: float = 0.0, cell_power: int = -12, clip: float = 0.0, gain: float = 1.0,
             snap: bool = False) -> bytes:
    """The product's network: LSTMs, a ReLU layer, a sigmoid layer; one frame in, one mask out.

    With ``gain`` 1 the recurrence is chaotic, so that a difference of one LSB grows; trained networks, and
    these below 0.5, forget it.
    """
    rng, graph = np.random.default_rng(seed), Graph(snap)
    scale, zero, width = 0.03, -128, bands
    x = source = graph.tensor((1, 1, bands), scale=scale, zero=zero)
    for count in units:
        x, scale, zero = lstm(graph, rng, x, scale, zero, width, count, cell_power, zeros, clip, gain)
        width = count
    x = dense(graph, rng, x, scale, width, hidden, True, 0.02, -128)
    x = dense(graph, rng, x, 0.02, hidden, bands, False, 0.05, 7)
    mask = graph.tensor((1, 1, bands), scale=1 / 256, zero=-128)
    graph.op("LOGISTIC", [x], [mask])
    return graph.build([source], [mask])


def noisy_frames(count: int, bands: int, seed: int = 0) -> np.ndarray:
    """Int8 feature frames [count, 1, 1, bands] like noisy speech: bursts over a floor, correlated in time."""
    rng = np.random.default_rng(seed)
    steps = rng.gamma(0.6, 1.0, (count, bands))
    for time in range(1, count):
        steps[time] = 0.6 * steps[time - 1] + 0.4 * steps[time]
    speech = np.repeat(rng.random(count // 8 + 1) < 0.6, 8)[:count, None]
    real = steps * np.where(speech, 2.5, 0.3)
    return np.clip(np.round(real / 0.03) - 128, -128, 127).astype(np.int8).reshape(count, 1, 1, bands)
