"""Host engines behind one interface: a feature frame in, a mask out, reset.

``load_engine("runs/quick")`` chooses the engine from what it finds; ``load_engine(path, "tflm")`` insists.
"""

from tinyse.engines.base import KINDS, Engine, exported_frontend, find_model, frontend_of, load_engine, update_rate

__all__ = ["KINDS", "Engine", "exported_frontend", "find_model", "frontend_of", "load_engine", "update_rate"]
