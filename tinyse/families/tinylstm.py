"""TinyLSTMs' enhancer (Fedorov et al. 2020): mel magnitudes in, LSTMs, ReLU layers, a mel mask out."""

from __future__ import annotations

from tinyse.graph.model import tinylstm
from tinyse.graph.net import Net
from tinyse.sound.ends import Ends

ENDS = Ends()


def net(lstm: tuple[int, ...] = (256, 256), dense: tuple[int, ...] = (128,), skip: bool = False,
        ends: Ends = ENDS) -> Net:
    """Units of every LSTM and of every hidden ReLU layer."""
    return tinylstm(ends.inputs, lstm, dense, ends.outputs + skip)
