"""What ``tinyse.audio`` still imports from here; all else is ``tinyse.sound``."""

from tinyse.sound.framing import Real as Real
