"""Small networks, one for each kind of layer and setting, that the twins are tested on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tinyse.graph.build import Build
from tinyse.graph.floating import calibrate
from tinyse.graph.fold import fold
from tinyse.graph.layers import ActivationLayer, DenseLayer, DepthwiseLayer, UpsampleLayer
from tinyse.graph.model import Model, tinylstm
from tinyse.graph.net import Net
from tinyse.graph.snap import snap
from tinyse.sound import Ends


def of(shape: tuple[int, int, int], make: Callable[[Build], str]) -> Net:
    """The network whose result ``make`` builds."""
    build = Build(shape)
    return build.done(result=make(build))


def gru(reset: str, bits: int, joint: bool = False) -> Net:
    """A GRU on four positions; x within -1..1, as a joint one needs it."""
    def make(b: Build) -> str:
        x = b.dense(b.x, 4, "tanh")
        return b.gru(x, 5, reset=reset, bits=bits, joint=joint)
    return of((1, 4, 3), make)


def channel_gates(hidden: int, channels: int, rank: int = 0, dilation: int = 2) -> Net:
    """A gated block: gates by the channels themselves, or by a matrix over so many units."""
    def make(b: Build) -> str:
        x = b.dense(b.x, hidden, "relu")
        by = b.dense(b.dense(b.x, rank, "relu"), hidden, "step") if rank else b.threshold(x)
        over = b.depthwise(x, (3, 1), activation="relu", dilation=(dilation, 1))
        return b.dense(b.join("mul", over, by), channels)
    return of((1, 1, 6), make)


def everything() -> Net:
    """Convolutions over time and frequency, a GRU, upsampling, a skip, a gate, a PReLU, a norm, two exits."""
    b = Build((1, 8, 1))
    x = b.prelu(b.norm(b.conv(b.x, 4, (2, 3), (1, 2))))
    deep = b.conv(x, 6, (3, 3), (1, 2), activation="relu", dilation=(2, 1))
    b.exit(b.dense(b.upsample(deep, 4, (1, 2), (1, 3)), 2, "sigmoid"))
    deep = b.gate(deep, b.dense(b.pool(deep, (0, 0)), 3))
    deep = b.gru(deep, 6, reset="before", bits=16)
    up = b.join("concat", b.upsample(deep, 4, (1, 2), (1, 3), "relu"), x)
    return b.done(mask=b.dense(up, 2, "sigmoid"))


NETS: dict[str, Callable[[], Net]] = {
    "tinylstm": lambda: tinylstm(6, (5, 4), (5,), 6),
    "dense": lambda: of((1, 3, 4), lambda b: b.dense(b.dense(b.x, 5, "relu"), 4)),
    "matmul": lambda: of((1, 1, 4), lambda b: b.add(DenseLayer(1, "sigmoid", matmul=True), b.dense(b.x, 5, "tanh"))),
    "conv": lambda: of((1, 7, 2), lambda b: b.conv(b.x, 3, (3, 3), (1, 2), "relu", dilation=(2, 1))),
    "conv-rows": lambda: of((4, 5, 2), lambda b: b.conv(b.conv(b.x, 3, (3, 2), (2, 1)), 2, (2, 3), same=False)),
    "depthwise": lambda: of((2, 6, 3), lambda b: b.add(DepthwiseLayer(1, (2, 3), (1, 2), activation="relu"), b.past(
        b.x, 1))),
    "depthwise-wide": lambda: of((1, 40, 2), lambda b: b.depthwise(b.depthwise(b.x, (2, 3), (1, 2)), (1, 2))),
    "upsample": lambda: of((1, 4, 3), lambda b: b.upsample(b.upsample(b.x, 2, (1, 2), (1, 3), "tanh"), 2, (1, 3))),
    "upsample-rows": lambda: of((2, 1, 3), lambda b: b.add(UpsampleLayer(2, (3, 1), (2, 1)), b.past(b.x, 1))),
    "past": lambda: of((2, 3, 2), lambda b: b.dense(b.past(b.past(b.x, 1), 5), 2)),
    "add": lambda: of((1, 3, 4), lambda b: b.join("add", b.dense(b.x, 4), b.x)),
    "mul": lambda: of((1, 3, 4), lambda b: b.glu(b.x, 3)),
    "concat": lambda: of((1, 3, 4), lambda b: b.join("concat", b.dense(b.x, 3), b.x, b.dense(b.x, 2, "tanh"))),
    "prelu": lambda: of((1, 3, 4), lambda b: b.prelu(b.dense(b.x, 5))),
    "sigmoid": lambda: of((1, 3, 4), lambda b: b.add(ActivationLayer("sigmoid"), b.dense(b.x, 5))),
    "tanh": lambda: of((1, 3, 4), lambda b: b.add(ActivationLayer("tanh"), b.dense(b.x, 5))),
    "pool": lambda: of((2, 6, 3), lambda b: b.pool(b.pool(b.x, (1, 2)), (0, 2), (1, 1))),
    "reshape": lambda: of((2, 3, 4), lambda b: b.dense(b.reshape(b.x, (1, 2, 0)), 3)),
    "gate": lambda: of((1, 3, 4), lambda b: b.gate(b.x, b.dense(b.pool(b.x, (0, 0)), 3))),
    "threshold": lambda: of((1, 3, 4), lambda b: b.join("mul", b.x, b.threshold(b.x))),
    "channel-gates": lambda: channel_gates(21, 9),
    "everything": everything,
    **{f"gru-{reset}-{bits}": lambda reset=reset, bits=bits: gru(reset, bits)
       for reset in ("none", "before", "after") for bits in (8, 16)},
    **{f"gru-{reset}-{bits}-joint": lambda reset=reset, bits=bits: gru(reset, bits, True)
       for reset in ("none", "before") for bits in (8, 16)},
    "few-tinylstm": lambda: tinylstm(6, (5, 4), (5,), 6).with_bits({
        "lstm_*": 5, "lstm_0/kernel": 3, "lstm_0/kernel.g": 2, "lstm_1.c": 11, "features": 7, "dense_0*": 4}),
    "few-dense": lambda: NETS["dense"]().with_bits({"*": 5, "dense_0/kernel": 2, "dense_0.out": 4, "features": 6}),
    "few-everything": lambda: everything().with_bits({
        "*": 6, "*/kernel*": 4, "conv_1/kernel": 2, "upsample_*/kernel": 3, "gru_0/*": 5, "gru_0/kernel.z": 3,
        "gru_0.h": 10, "gru_0.n": 9, "gru_0.z": 12}),
    **{f"few-gru-{name}": lambda net=net: net().with_bits({
        "*": 6, "gru_0/*.n": 3, "gru_0/*.z": 2, "gru_0.h": 5, "gru_0.z*": 4})
       for name, net in {"before-8": lambda: gru("before", 8), "after-8": lambda: gru("after", 8),
                         "none-16-joint": lambda: gru("none", 16, True)}.items()},
}


def frames(net: Net, count: int, seed: int = 0) -> np.ndarray:
    """Feature-like float32 frames [count, inputs]: correlated in time."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 1.2, (count, int(np.prod(net.shapes[net.input.name]))))
    for time in range(1, count):
        steps[time] = 0.7 * steps[time - 1] + 0.5 * steps[time]
    return steps.astype(np.float32)


def random_arrays(net: Net, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of a trained network's size; running variances are positive."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, array in net.arrays.items():
        spread = 1.2 / np.sqrt(max(1, array.fan[0])) if array.matrix else 0.3
        values = rng.laplace(0, spread, array.shape)
        made[name] = (0.5 + np.abs(values) if name.endswith("variance") else values).astype(np.float32)
    return made


def random_model(net: Net, seed: int = 0, quantized: bool = True) -> Model:
    """Random weights; on snapped grids, without norms, where ``quantized``."""
    model = Model(net, random_arrays(net, seed), Ends())
    if not quantized:
        return model
    model = fold(model)
    return snap(replace(model, ranges=calibrate(model, frames(net, 150, seed + 1))))
