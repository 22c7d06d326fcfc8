"""Ends with a running level, of every result."""

from __future__ import annotations

from dataclasses import replace

from tinyse.sound import Bands, Ends, Feature, Framing, Leveller, Result

NONE, SAMPLES, RUNNING = Bands("none"), Feature("samples"), Leveller("running")
LEVELS = [
    Ends(Framing(frame=256, fft=256, window="none"), NONE, SAMPLES, Result("samples"), "rows", level=RUNNING),
    Ends(Framing(frame=100, hop=100, fft=100, window="none"), NONE, SAMPLES, Result("samples", 0.5),
         level=Leveller("running", -25.0, -50.0, 60.0)),
    Ends(Framing(frame=400, hop=100), Bands("erb", 64), SAMPLES, Result(), level=RUNNING),
    Ends(Framing(frame=100, hop=100, fft=100, window="none"), NONE, SAMPLES, Result("score", 3.0, 5), level=RUNNING)]


def levelled(ends: Ends, leveller: Leveller) -> Ends:
    """``ends`` with another leveller."""
    return replace(ends, level=leveller)
