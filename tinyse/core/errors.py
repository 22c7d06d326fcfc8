"""Errors that a user can act on: one line of what is wrong, one hint of what to do."""

from __future__ import annotations


class TinyseError(Exception):
    """Base of every expected failure.

    Args:
        message: what is wrong, in one line, naming the file, key or operator.
        hint: what would be accepted, or the one command that mends it; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def line(self) -> str:
        """The whole message on one line, as the command line prints it."""
        text = " ".join(str(self).split())
        return f"{text} ({' '.join(self.hint.split())})" if self.hint else text


class AudioError(TinyseError):
    """A sound file or stream that cannot be read, or that holds what is not audio."""


class CorpusError(TinyseError):
    """A corpus that is missing, incomplete, or whose splits are not disjoint."""


class RecipeError(TinyseError):
    """A recipe or target file with an unknown key or a value out of range."""


class ModelError(TinyseError):
    """A model file that is missing, corrupt, or of another shape than expected."""


class TrainingError(TinyseError):
    """Training that cannot start, resume, or stay finite."""


class ExportError(TinyseError):
    """An export that would not be the model that was trained."""


class ToolError(TinyseError):
    """An outside program that is missing or failed; the message carries its last line."""
