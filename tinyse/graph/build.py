"""Build: writes a Net the way a figure reads. ::

    b = Build((1, 1, 257), "log_power")
    x = b.dense(b.x, 400, "relu")
    x = b.gru(x, 400)
    net = b.done(mask=b.dense(x, 257, "sigmoid"))

Every call gives the name of the node it made. Convolutions over time bring their past along: a kernel of 3 rows needs
the last two of the frame before.
"""

from __future__ import annotations

from typing import Any

from tinyse.core.errors import ModelError
from tinyse.graph.layers import (
    ActivationLayer,
    ConvLayer,
    DenseLayer,
    DepthwiseLayer,
    GruLayer,
    InputLayer,
    JoinLayer,
    Layer,
    LstmLayer,
    NormLayer,
    PastLayer,
    PoolLayer,
    ReshapeLayer,
    Shape,
    UpsampleLayer,
)
from tinyse.graph.net import Net, Node, Result
from tinyse.graph.plan import Always, Exit, Policy, Route

Pair = tuple[int, int]


class Build:
    """A Net under construction.

    Attributes:
        x: the input's node.
    """

    def __init__(self, shape: Shape, name: str = "features", flat: bool = False, bits: int = 8) -> None:
        """Begin with an input of ``shape`` (rows, width, channels), ``flat`` as an LSTM wants it; a wave: 16 bits."""
        self._nodes: list[Node] = []
        self._shapes: dict[str, Shape] = {}
        self._results: list[Result] = []
        self._scores: list[str] = []
        self._extra: list[Result] = []
        self._begun, self._tag = 0, ""
        self.x = self.add(InputLayer(*shape, flat, bits), name=name)

    def add(self, layer: Layer, *ins: str, name: str = "", weights: str = "") -> str:
        """Append a layer; its name is its kind with a running number unless given."""
        number = sum(node.layer.kind == layer.kind for node in self._nodes[self._begun:])
        alike, name = f"{layer.kind}_{number}", name or f"{layer.kind}_{number}{self._tag}"
        made = Node(name, layer, ins, len(self._results), alike if self._tag else weights, bool(self._tag))
        if not (name.isascii() and name.isidentifier()):  # "/" and "." part it from its arrays and ranges
            raise ModelError(f"{name!r} names no node", "letters, digits and _")
        if missing := [read for read in ins if read not in self._shapes]:
            raise ModelError(f"{made.name} reads {missing[0]!r}, which is not before it")
        try:
            self._shapes[made.name] = layer.shape(*(self._shapes[read] for read in ins))
        except ModelError as error:  # here, where the author's own line is on the stack
            raise ModelError(f"{made.name}: {error}", error.hint) from error
        self._nodes.append(made)
        return made.name

    def dense(self, x: str, units: int, activation: str = "linear", **settings: Any) -> str:
        """A matrix over channels, at every position."""
        return self.add(DenseLayer(units, activation, **settings), x)

    def conv(self, x: str, units: int, kernel: Pair = (1, 1), stride: Pair = (1, 1), activation: str = "linear",
             dilation: Pair = (1, 1), same: bool = True, wide: str = "") -> str:
        """A convolution, causal over rows."""
        return self.add(ConvLayer(units, kernel, stride, dilation, same, activation, wide),
                        self._with_past(x, kernel, stride, dilation))

    def depthwise(self, x: str, kernel: Pair, stride: Pair = (1, 1), activation: str = "linear",
                  dilation: Pair = (1, 1), same: bool = True) -> str:
        """A convolution of every channel with itself, causal over rows."""
        layer = DepthwiseLayer(1, kernel, stride, dilation, same, activation)
        return self.add(layer, self._with_past(x, kernel, stride, dilation))

    def upsample(self, x: str, units: int, factor: Pair = (1, 2), kernel: Pair = (1, 3),
                 activation: str = "linear", wide: str = "") -> str:
        """More width, or more rows by the causal transposed convolution."""
        return self.add(UpsampleLayer(units, factor, kernel, activation, wide),
                        self._with_past(x, kernel, (1, 1), (1, 1)))

    def _with_past(self, x: str, kernel: Pair, stride: Pair, dilation: Pair) -> str:
        rows = (kernel[0] - 1) * dilation[0] + 1 - stride[0]
        return self.past(x, rows) if rows > 0 else x

    def lstm(self, x: str, units: int) -> str:
        """TFLM's LSTM."""
        return self.add(LstmLayer(units), x)

    def gru(self, x: str, units: int, **settings: Any) -> str:
        """A GRU at every position, weights shared."""
        return self.add(GruLayer(units, **settings), x)

    def past(self, x: str, rows: int, late: bool = False) -> str:
        """The last rows of the frame before, in front of this frame's; ``late``: no more rows than there were."""
        return self.add(PastLayer(rows, late), x)

    def join(self, how: str, *ins: str, activation: str = "linear") -> str:
        """"add", and "relu" after it, "mul" or "concat"."""
        return self.add(JoinLayer(how, activation), *ins)

    def glu(self, x: str, units: int, kernel: Pair = (1, 1)) -> str:
        """A convolution times the sigmoid of another."""
        return self.join("mul", self.conv(x, units, kernel), self.conv(x, units, kernel, activation="sigmoid"))

    def prelu(self, x: str) -> str:
        """A learnt slope a channel below zero."""
        return self.add(ActivationLayer("prelu"), x)

    def gate(self, x: str, by: str) -> str:
        """``x`` times 0 or 1 a channel: the step of a matrix over ``by``, which has one position."""
        return self.join("mul", x, self.dense(by, self.shape(x)[2], "step"))

    def threshold(self, x: str) -> str:
        """0 or 1 for every channel of ``x`` by itself: what a ``join("mul", ...)`` takes as a gate."""
        return self.add(DepthwiseLayer(1, activation="step"), x)

    def pool(self, x: str, kernel: Pair, stride: Pair | None = None) -> str:
        """The largest of each window."""
        return self.add(PoolLayer(kernel, stride or (max(kernel[0], 1), max(kernel[1], 1))), x)

    def reshape(self, x: str, to: Shape) -> str:
        """The same elements otherwise."""
        return self.add(ReshapeLayer(to), x)

    def norm(self, x: str, activation: str = "linear") -> str:
        """Batch normalisation, folded before the grids, and "relu" after it."""
        return self.add(NormLayer(activation), x)

    def shape(self, x: str) -> Shape:
        """(rows, width, channels) of a node so far."""
        return self._shapes[x]

    def width(self, tag: str = "") -> None:
        """Begin the network at a width of its own, a part; the last, without a tag, has the weights of all.

        Call by call it must be the same network: ``Node.slim`` says what they share.
        """
        self._begun, self._tag = len(self._nodes), f"_{tag}" if tag else ""

    def exit(self, result: str, score: str = "") -> None:
        """Close a part: ``result`` is what a frame gives that stops here, ``score`` how sure it is."""
        part = len(self._results)
        if not any(node.part == part for node in self._nodes):
            raise ModelError(f"exit {part}: nothing is in its part", "add a layer before it")
        self._results.append(Result(result, f"exit_{part}"))
        self._scores.append(score)
        if score:
            self._extra.append(Result(score, f"score_{part}"))

    def part(self) -> None:
        """Close a part that gives no result, such as a router."""
        self._results.append(Result())
        self._scores.append("")

    def route(self, choice: str) -> Route:
        """Close a router's part: ``choice`` has a value for each exit to come. The policy, for ``done``."""
        self._extra.append(Result(choice, "choice"))
        self.part()
        return Route("choice")

    def done(self, policy: Policy | None = None, **result: str) -> Net:
        """The Net; its one keyword names the result: ``done(mask=x)``.

        Where every exit has a score and no policy is given, frames stop at the first sure exit (threshold 0).
        """
        if len(result) != 1:
            raise ModelError(f"done: {len(result)} results", "name one, such as mask=x")
        name, node = next(iter(result.items()))
        scored = self._scores and all(self._scores)
        if policy is None and scored:
            policy = Exit((*(f"score_{n}" for n in range(len(self._scores))), ""), 0)
        return Net(tuple(self._nodes), (*self._results, Result(node, name)), policy or Always(), tuple(self._extra))
