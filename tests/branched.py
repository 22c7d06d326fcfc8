"""Networks with branches, without training: Laplace weights in the shapes that no TinyLSTM has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tinyse.graph.build import Build
from tinyse.graph.floating import calibrate
from tinyse.graph.groups import Structure, masks, structure_groups
from tinyse.graph.layers import DenseLayer
from tinyse.graph.model import Model
from tinyse.graph.net import Net
from tinyse.graph.reference import Reference
from tinyse.graph.runner import Runner
from tinyse.graph.snap import snap
from tinyse.graph.units import units_of
from tinyse.sound import Ends


def residual() -> Net:
    """Convolutions over time and frequency around a sum, pooled and reshaped for a dense layer."""
    b = Build((1, 8, 2))
    x = b.conv(b.x, 6, (2, 3), activation="relu")
    x = b.join("add", x, b.conv(x, 6, (1, 3)))
    x = b.join("add", x, b.depthwise(b.prelu(x), (2, 3)))
    x = b.reshape(b.pool(x, (1, 2)), (1, 1, 24))
    return b.done(mask=b.dense(x, 8, "sigmoid"))


def skipping() -> Net:
    """An encoder, a decoder that upsamples, and a concat from one to the other; a gate of channels, a GLU."""
    b = Build((1, 8, 2))
    first = b.conv(b.x, 5, (1, 3), (1, 2), "relu")
    deep = b.glu(first, 4)
    deep = b.gate(deep, b.pool(first, (0, 0), (1, 1)))
    x = b.conv(b.join("concat", first, deep), 6, (1, 1), activation="tanh")
    x = b.upsample(x, 3)
    return b.done(mask=b.reshape(b.dense(x, 1, "sigmoid"), (1, 1, 8)))


def gru(reset: str, bits: int, joint: bool) -> Callable[[], Net]:
    """A GRU on every position between a dense layer and two readers."""
    def make() -> Net:
        b = Build((1, 6, 3))
        x = b.dense(b.x, 5, "tanh")
        h = b.gru(x, 5, reset=reset, bits=bits, joint=joint)
        x = b.join("add", b.dense(b.reshape(h, (1, 3, 10)), 4), b.dense(b.reshape(x, (1, 3, 10)), 4))
        return b.done(mask=b.dense(x, 2, "sigmoid"))
    return make


def exits() -> Net:
    """Two parts that share nothing but a tensor, the first with a score; LSTM, rows upsampled, shared weights."""
    b = Build((1, 1, 6))
    x = b.dense(b.lstm(b.x, 6), 6, "relu")
    b.exit(b.dense(x, 6, "sigmoid"), b.dense(x, 1))
    y = b.upsample(x, 5, (2, 1), (2, 1), "relu")
    y = b.pool(y, (0, 1), (1, 1))
    y = b.dense(y, 6, "relu")
    z = b.add(DenseLayer(6, "relu"), b.join("mul", x, y), weights="dense_0")  # weights of another node
    return b.done(mask=b.dense(z, 6, "sigmoid"))


def reshaped() -> Net:
    """Channels that become positions: 12 as 4 x 3, then 2 x 6, which unites some."""
    b = Build((1, 1, 6))
    x = b.conv(b.reshape(b.dense(b.x, 12, "relu"), (1, 4, 3)), 6, (1, 3), (1, 2), "relu")
    x = b.dense(b.reshape(x, (1, 3, 4)), 5, "relu")
    return b.done(mask=b.dense(b.reshape(x, (1, 1, 15)), 6, "sigmoid"))


def normed() -> Net:
    """Norms after a convolution and a dense layer."""
    b = Build((1, 6, 2))
    x = b.prelu(b.norm(b.conv(b.x, 5, (2, 3))))
    x = b.norm(b.depthwise(x, (1, 3)))
    return b.done(mask=b.dense(x, 2, "sigmoid"))


NETS: dict[str, Callable[[], Net]] = {
    "residual": residual, "skipping": skipping, "exits": exits, "reshaped": reshaped,
    "gru joint": gru("before", 8, True),
    "gru split": gru("before", 8, False), "gru after": gru("after", 16, False), "gru none": gru("none", 16, True)}


def random_arrays(net: Net, seed: int, zeros: float = 0.0) -> dict[str, np.ndarray]:
    """Seeded weights of every array."""
    rng, made = np.random.default_rng(seed), {}
    for name, array in net.arrays.items():
        if array.matrix:
            value = rng.laplace(0, 1.2 / np.sqrt(array.fan[0] or 1), array.shape) * (rng.random(array.shape) >= zeros)
        elif array.init == "ones":
            value = rng.uniform(0.5, 2, array.shape)
        else:
            value = np.abs(rng.normal(0, 0.3, array.shape))  # no ReLU that is always 0
        made[name] = value.astype(np.float32)
    return made


def inputs(net: Net, count: int, seed: int) -> np.ndarray:
    """Frames [count, rows, width, channels]."""
    shape = net.shapes[net.input.name]
    return np.random.default_rng(seed).gamma(0.7, 0.8, (count, *shape)).astype(np.float32)


def branched(name: str, seed: int = 0, zeros: float = 0.0) -> Model:
    """One of ``NETS`` with weights and calibrated, snapped ranges."""
    net = NETS[name]()
    model = Model(net, random_arrays(net, seed, zeros), Ends())
    return snap(replace(model, ranges=calibrate(model, inputs(net, 60, seed + 1))))


def without_units(model: Model, share: float, seed: int) -> Model:
    """The model with units pruned, about ``share`` of them kept, one at least of every layer."""
    rng = np.random.default_rng(seed)
    groups = structure_groups(units_of(model.net), Structure.UNIT)
    kept = [rng.random(part.count) < share for part in groups]
    for flags in kept:
        flags[rng.integers(flags.size)] = True
    found = masks(groups, kept)
    return replace(model, arrays={name: a * found[name] if name in found else a for name, a in model.arrays.items()})


def run(model: Model, frames: np.ndarray) -> np.ndarray:
    """Integers of the result of every frame, by the plan."""
    plan = model.plan()
    engines = [Reference(part) for part in plan.parts]
    runner, tensor = Runner(plan), plan.inputs[0]
    made = [runner.step(lambda part, given: engines[part].run(given),
                        {tensor.name: tensor.grid.quantize(frame).reshape(tensor.shape)}).copy() for frame in frames]
    return np.stack(made)
