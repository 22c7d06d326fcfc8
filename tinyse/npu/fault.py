"""The one error of the simulator: what is wrong with a compiled model, and where in it."""

from __future__ import annotations

from tinyse.core.errors import ModelError

HINT = "compile the model again with Vela for an ethos-u55"


class NpuError(ModelError):
    """A compiled model that the simulator refuses: corrupt, hostile, or not supported.

    Args:
        message: what is wrong, in one line.
        offset: byte offset in the command stream, where known; it ends up in the message.
        hint: what would be accepted.
    """

    def __init__(self, message: str, offset: int | None = None, hint: str = HINT) -> None:
        place = "" if offset is None else f" at command stream offset {offset:#x}"
        super().__init__(f"{message}{place}", hint)
        self.offset = offset
