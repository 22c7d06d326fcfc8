"""The gate's integer rule against the paper's equations."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from tinyse.graph.skip import SkipGate

STREAM = st.lists(st.integers(1, 256), min_size=1, max_size=200)


def decide(values: list[int]) -> list[bool]:
    """The gate's decision on each frame, where frame t would give P = values[t]."""
    gate, found = SkipGate(), []
    for value in values:
        found.append(gate.due())
        if found[-1]:
            gate.ran(value)
        else:
            gate.skipped()
    return found


@given(STREAM)
def test_the_papers_equations(values: list[int]) -> None:
    u, p, wanted = Fraction(0), Fraction(1), []
    for value in values:
        u = u + min(p, 1 - u)
        g = int(u >= Fraction(1, 2))
        p = g * Fraction(value, 256) + (1 - g) * p
        u = (1 - g) * u
        wanted.append(bool(g))
    assert decide(values) == wanted


@given(st.integers(0, 256))
def test_the_next_update_comes_after_ceil_128_over_p_frames(p: int) -> None:
    found = decide([p] * 300)
    assert found[0]
    assert found.index(True, 1) == -(-128 // max(p, 1))


def test_counts_and_reset() -> None:
    gate = SkipGate()
    assert gate.rate == 1.0
    for _ in range(6):
        if gate.due():
            gate.ran(50)  # 128 / 50: every third frame
        else:
            gate.skipped()
    assert (gate.frames, gate.updates, gate.rate) == (6, 2, 1 / 3)
    gate.reset()
    assert gate.due()
    assert (gate.frames, gate.updates) == (0, 0)
