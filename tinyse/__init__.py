"""tinyse: speech-enhancement LSTMs from training to an Arm Ethos-U microNPU."""

__version__ = "0.1.0"
