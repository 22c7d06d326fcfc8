"""What an import reads at once: a file, or a noisy one with its clean one."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tinyse.sound.corpus.files import Name
from tinyse.sound.corpus.store import ROOM


@dataclass(frozen=True, slots=True)
class Job:
    """One file, or one pair, to be read.

    Attributes:
        id: names the clip made of it.
        clean: a file of speech, or None.
        noise: a file of noise, or None.
        noisy: a mixture whose noise is what remains after taking ``clean`` away, or None.
        room: a file of impulse responses, or None.
        speaker: of ``clean``.
        source: of the noise, or the room.
        part: the data set's own "train", "validation" or "test"; empty where it has none.
        keep_clean: whether the speech becomes a clip: once, where several mixtures share it.
    """

    id: str
    clean: Name | None = None
    noise: Name | None = None
    noisy: Name | None = None
    room: Name | None = None
    speaker: str = ""
    source: str = ""
    part: str = ""
    keep_clean: bool = True

    @property
    def files(self) -> tuple[str, ...]:
        """What is read."""
        return tuple(os.fspath(name) for name in (self.clean, self.noise, self.noisy, self.room) if name is not None)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it gives: "speech", "noise" or "room"; a pair gives speech and noise."""
        if self.room is not None:
            return (ROOM,)
        if self.noise is not None:
            return ("noise",)
        return ("speech",) if self.noisy is None else ("speech", "noise")
