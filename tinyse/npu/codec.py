"""Decoder of the NPU's weight bit stream, safe on any input.

``ethosu.mlw_codec.decode`` ends the whole process on a corrupt stream, so tinyse has its own; the tests
hold the two against each other. The format: slices of up to 32768 weights, each Golomb-Rice coded in
chunks of 12 symbols, optionally through a palette, optionally with runs of zeros coded in between.
Per chunk come the unary parts of this chunk and then the remainders of the chunk before; so the walk
below only counts symbols, and all values are computed at once when the slice is known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tinyse.npu.fault import NpuError

END, NO_ZERO_RUNS, UNCOMPRESSED = 7, 6, 7


class Bits:
    """Little-endian bit reader over bytes; reading past the end raises NpuError."""

    def __init__(self, data: bytes) -> None:
        self.data = data + bytes(16)
        self.size = 8 * len(data)
        self.place = 0

    def peek(self, place: int) -> int:
        """At least 64 bits from ``place``."""
        if place > self.size:
            raise NpuError("a weight stream ends inside a slice", hint="the model is damaged: export it again")
        return int.from_bytes(self.data[place >> 3 : (place >> 3) + 9], "little") >> (place & 7)

    def take(self, count: int) -> int:
        """The next ``count`` bits."""
        value = self.peek(self.place) & ((1 << count) - 1)
        self.place += count
        if self.place > self.size:
            raise NpuError("a weight stream ends inside a slice", hint="the model is damaged: export it again")
        return value


@dataclass
class Lane:
    """The symbols of one kind (weights or zero runs) that a slice has shown so far."""

    wanted: int
    divisor: int
    seen: int = 0
    read: int = 0
    waiting: int = 0
    unary: list[int] = field(default_factory=list)
    second: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def remainders(self, place: int) -> int:
        """Note where the waiting symbols' remainders start; give back where they end."""
        count = min(self.waiting, self.wanted - self.read)
        self.places.append(place)
        self.counts.append(count)
        self.read += count
        return place + count * self.divisor


@dataclass
class Palette:
    """Values by index; indices beyond the palette are direct values from ``offset`` on."""

    values: np.ndarray
    offset: int
    bits: int


def decode(data: bytes, limit: int) -> np.ndarray:
    """Decode a weight stream to int16 values in the order of the hardware.

    Args:
        data: the whole stream, padding included.
        limit: how many weights may come out at most.

    Raises:
        NpuError: a truncated or corrupt stream, or one that decodes to more than ``limit`` weights.
    """
    bits, parts, total = Bits(data), [np.zeros(0, np.int16)], 0
    palette: Palette | None = None
    zero_runs = False
    while bits.place < bits.size:
        code = bits.take(3) if bits.size - bits.place >= 3 else END
        if code == END:
            bits.place = min((bits.place + 7) // 8 * 8, bits.size)
            palette = None
            continue
        if code in (4, 5):
            raise NpuError(f"a weight stream has the reserved zero-run divisor {code}")
        count, divisor, truncated, fresh = bits.take(15) + 1, bits.take(3), bits.take(1), bits.take(1)
        runs = code != NO_ZERO_RUNS
        if fresh:
            palette, zero_runs = _palette(bits), runs
        if palette is None or runs != zero_runs:
            raise NpuError("a weight stream uses a palette that it never defined")
        values = _slice(bits, palette, count, divisor, bool(truncated), code if runs else None, bool(fresh),
                        limit - total)
        total += values.size
        parts.append(values)
    return np.concatenate(parts)


def _palette(bits: Bits) -> Palette:
    offset, size, width = bits.take(5), bits.take(5), bits.take(3) + 2
    size += size > 0
    return Palette(np.array([bits.take(width) for _ in range(size)], np.int64), offset, width)


def _slice(bits: Bits, palette: Palette, count: int, divisor: int, truncated: bool, zero_divisor: int | None,
           fresh: bool, limit: int) -> np.ndarray:
    plain = divisor == UNCOMPRESSED
    if plain:
        size = palette.values.size
        divisor = max(size - 1, 0).bit_length() if size else palette.bits
    elif divisor > 5:
        raise NpuError(f"a weight stream has the reserved weight divisor {divisor}")
    if count > limit:
        raise NpuError(f"a weight stream decodes to more than the {limit} weights expected")
    weights = Lane(count, divisor)
    zeros = None if zero_divisor is None else Lane(count + fresh, zero_divisor)
    _walk(bits, weights, zeros, plain, truncated)
    index = _weight_values(bits, weights, plain, truncated)
    if index.max(initial=0) >= 512:
        raise NpuError("a weight stream holds a value beyond 9 bits")
    table = np.concatenate([palette.values, np.arange(512) + palette.offset])
    raw = table[index]
    values = np.where(raw & 1, -(raw >> 1), raw >> 1).astype(np.int16)
    if zeros is None:
        return values
    run = _values(bits, zeros, _zero_codes(zeros))
    if int(run.sum()) + count > limit:
        raise NpuError(f"a weight stream decodes to more than the {limit} weights expected")
    lead, after = (run[:1], run[1:]) if fresh else (np.zeros(1, np.int64), run)
    place = np.arange(count) + lead.sum() + np.concatenate([[0], np.cumsum(after[:-1])])
    out = np.zeros(count + int(run.sum()), np.int16)
    out[place] = values
    return out


def _walk(bits: Bits, weights: Lane, zeros: Lane | None, plain: bool, truncated: bool) -> None:
    """Follow the chunks of a slice, noting unary words and where remainders lie."""
    place, peek = bits.place, bits.peek
    width = 8 if plain and weights.divisor > 5 else 12
    zero_width = 12 if zeros is not None and zeros.divisor < 3 else 8
    while True:
        balance = weights.seen - zeros.seen if zeros else 0
        more_weights = balance < 8 and weights.seen < weights.wanted
        more_zeros = zeros is not None and balance >= 0 and zeros.seen < zeros.wanted
        word, used, found, runs = peek(place), 0, 0, 0
        first = 0
        if more_weights and not plain:
            first, used = word & 0xFFF, 12
        if more_zeros and zeros is not None:
            unary = word >> used & ((1 << zero_width) - 1)
            used += zero_width
            zeros.unary.append(unary)
            runs = zero_width - unary.bit_count()
            zeros.seen += runs
        if more_weights:
            length = first.bit_count()
            second = word >> used & ((1 << length) - 1)
            used += length
            weights.unary.append(first)
            weights.second.append(second)
            found = width if truncated else width - second.bit_count()
            weights.seen += found
        place += used
        if weights.waiting:
            place = weights.remainders(place)
        if zeros is not None and zeros.waiting:
            place = zeros.remainders(place)
        weights.waiting = found
        if zeros is not None:
            zeros.waiting = runs
        if not more_weights and not more_zeros:
            break
    if place > bits.size:
        raise NpuError("a weight stream ends inside a slice", hint="the model is damaged: export it again")
    bits.place = place


def _weight_values(bits: Bits, lane: Lane, plain: bool, truncated: bool) -> np.ndarray:
    if plain:
        return _values(bits, lane, np.zeros(lane.wanted, np.int64))
    first = np.array(lane.unary, np.int64)[:, None] >> np.arange(12) & 1
    order = np.cumsum(first, axis=1) - first
    codes = (first + (first & (np.array(lane.second, np.int64)[:, None] >> order))).ravel()
    if truncated:
        return _values(bits, lane, codes)
    return _values(bits, lane, _between(codes, codes < 2))


def _zero_codes(lane: Lane) -> np.ndarray:
    width = 12 if lane.divisor < 3 else 8
    codes = (np.array(lane.unary, np.int64)[:, None] >> np.arange(width) & 1).ravel()
    return _between(codes, codes == 0)


def _between(codes: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Sums of ``codes`` up to and including each end."""
    return np.diff(np.cumsum(codes)[ends], prepend=0)


def _values(bits: Bits, lane: Lane, quotients: np.ndarray) -> np.ndarray:
    """Quotient and remainder of each wanted symbol, together."""
    counts = np.array(lane.counts, np.int64)
    total = int(counts.sum())
    starts = np.repeat(np.array(lane.places, np.int64), counts)
    within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    place = starts + within * lane.divisor
    if total < lane.wanted or quotients.size < lane.wanted or (total and place.max() + lane.divisor > bits.size):
        raise NpuError("a weight stream ends inside a slice", hint="the model is damaged: export it again")
    raw = np.frombuffer(bits.data, np.uint8).astype(np.int64)
    byte = place >> 3
    window = raw[byte] | raw[byte + 1] << 8 | raw[byte + 2] << 16
    remainder = window >> (place & 7) & ((1 << lane.divisor) - 1)
    return (quotients[:total] << lane.divisor) + remainder
