"""Which channels a frame has, of a network that is there at several widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinyse.train.keras import tf


def width_masks(widths: Mapping[str, Sequence[int]], chosen: Any) -> dict[str, Any]:
    """1 for the channels that the width of a frame has, else 0, by node; ``chosen`` [T, B, exits] of 0 and 1."""
    masks = {}
    for name, counts in widths.items():
        if len(set(counts)) > 1:
            table = np.arange(counts[-1]) < np.array(counts)[:, np.newaxis]
            masks[name] = tf.tensordot(chosen, tf.constant(table, chosen.dtype), 1)[:, :, tf.newaxis, tf.newaxis]
    return masks
