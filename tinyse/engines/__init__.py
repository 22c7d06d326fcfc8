"""Host engines behind one interface: a feature frame in, a mask out, reset.

``load_engine("runs/quick")`` chooses the engine from what it finds; ``load_engine(path, "tflm")`` insists.
"""

from tinyse.engines.base import KINDS, Engine, ends_of, exported_ends, find_model, load_engine, update_rate

__all__ = ["KINDS", "Engine", "ends_of", "exported_ends", "find_model", "load_engine", "update_rate"]
