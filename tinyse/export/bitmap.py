"""Maps of steps with a bit a value, and the operators that read or write them; ``cbits`` says which they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.ops import Conv, MaxPool, Op
from tinyse.graph.tensor import Tensor


class BitMap(Tensor):
    """A map of bits; its last axis counts bytes, of 8 channels each."""


@dataclass(frozen=True, eq=False)
class BitConv(Op):
    """A convolution of which input or output or both are bits; ``plain``: what it is in int8."""

    kind = "conv"
    plain: Conv

    @property
    def macs(self) -> int:
        """As in int8."""
        return self.plain.macs

    @property
    def matrices(self) -> tuple[NDArray[np.int8], ...]:
        """As in int8."""
        return self.plain.matrices

    @property
    def parameters(self) -> int:
        """As in int8."""
        return self.plain.parameters

    @property
    def reads_bits(self) -> bool:
        """Whether its input is bits."""
        return isinstance(self.x, BitMap)

    @property
    def writes_bits(self) -> bool:
        """Whether its output is."""
        return isinstance(self.out, BitMap)

    @property
    def bytewise(self) -> Conv:
        """A convolution over its input's bytes, for where its windows lie: with the weights of bits."""
        return replace(self.plain, ins=self.ins)

    def shape(self) -> tuple[int, ...]:
        """The output's own: ``plain`` has been held to its shapes."""
        return self.out.shape


class BitPool(MaxPool):
    """The largest of bits."""
