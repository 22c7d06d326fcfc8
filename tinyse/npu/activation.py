"""Activations of the output unit: tanh and sigmoid by interpolated table, and table lookups.

Tanh and sigmoid take a value on the grid 1/12288 (three times Q3.12) and give Q0.15, through the
256-entry table of TFLite's int16 kernels: sigmoid sampled every 1/24, interpolated linearly.
"""

from __future__ import annotations

from functools import cache

import numpy as np

TANH, SIGMOID, TABLE = 3, 4, 16


@cache
def sigmoid_table() -> np.ndarray:
    """The 257 samples (int64, Q0.16) of the sigmoid at i / 24.

    Each is moved by half of the error that linear interpolation makes halfway to the next one, so that
    the error is spread over both signs. This rule gives every number that TFLite and CMSIS-NN publish,
    but for the last one, which is 65535.
    """
    at = 65536.0 / (1.0 + np.exp(-np.arange(0, 256.5, 0.5) / 24.0))
    here, middle, after = at[0:-2:2], at[1::2], at[2::2]
    samples = np.floor(here + (middle - (here + after) / 2) / 2 + 0.5)
    samples[-1] = 65535
    return np.append(samples, 65535).astype(np.int64)


def sigmoid(value: np.ndarray) -> np.ndarray:
    """Sigmoid in Q0.15 of int64 values on the grid 1/12288."""
    table = sigmoid_table()
    size = np.abs(value)
    place, rest = np.minimum(size >> 9, 255), size & 0x1FF
    result = np.where(place >= 255, 0x7FFF << 10, (table[place] << 9) + rest * (table[place + 1] - table[place]))
    return np.where(value >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10


def tanh(value: np.ndarray) -> np.ndarray:
    """Tanh in Q0.15 of int64 values on the grid 1/12288, from the sigmoid of twice the argument."""
    table = sigmoid_table()
    size = np.abs(value)
    place, rest = np.minimum(size >> 8, 255), size & 0xFF
    result = np.where(place >= 255, 0xFFFF << 8, (table[place] << 8) + rest * (table[place + 1] - table[place]))
    return np.where(value >= 0, result - (1 << 23) + (1 << 7), -result + (1 << 23) + (1 << 7) - 1) >> 8


def lookup16(value: np.ndarray, table: np.ndarray) -> np.ndarray:
    """A 512-entry table for 16 bit: each uint32 holds a base (low half) and a slope (high half).

    Args:
        value: int64 within int16.
        table: uint32 [512].
    """
    place, rest = (value + 32768) >> 7, value & 0x7F
    entry = table[place]
    base, slope = (entry & 0xFFFF).astype(np.uint16), (entry >> 16).astype(np.uint16)
    return base.view(np.int16) + ((slope.view(np.int16).astype(np.int64) * rest + 64) >> 7)
