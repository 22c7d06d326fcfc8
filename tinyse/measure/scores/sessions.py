"""onnxruntime sessions on one thread, as every peer and metric here runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def session(model: Path | str | bytes) -> Any:
    """An inference session on one thread, from a file or its bytes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), options,
                                        providers=["CPUExecutionProvider"])
