"""Host engines behind one interface: a feature frame in, a result out, reset.

``load_engine("runs/quick")`` chooses the engine from what it finds; ``load_engine(path, "tflm")`` insists.
"""

from tinyse.engines.base import KINDS, Engine, find_model, load_engine

__all__ = ["KINDS", "Engine", "find_model", "load_engine"]
