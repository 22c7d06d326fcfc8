"""Checkpoints: everything that decides the next step, in one file, written whole or not at all."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.core.artifacts import atomic_path
from tinyse.core.errors import TrainingError

Arrays = Mapping[str, NDArray[Any]]


def save_checkpoint(path: Path, state: Mapping[str, Any], arrays: Arrays) -> None:
    """Write ``state`` (JSON) and ``arrays`` to ``path``; the one before stays until this one is whole."""
    header = np.frombuffer(json.dumps(state).encode(), np.uint8)
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **{"header": header, **arrays})  # type: ignore[arg-type]  # names are not savez's own


def load_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what ``save_checkpoint`` wrote.

    Raises:
        TrainingError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            state = json.loads(data["header"].tobytes().decode())
            return state, {name: data[name] for name in data.files if name != "header"}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, json.JSONDecodeError) as error:
        raise TrainingError(f"{path}: damaged checkpoint: {error}", "delete it and train again") from error


def pack(prefix: str, variables: list[Any]) -> dict[str, NDArray[Any]]:
    """Variables as arrays named "<prefix>.<n>"."""
    return {f"{prefix}.{n}": v.numpy() for n, v in enumerate(variables)}


def unpack(prefix: str, variables: list[Any], arrays: Arrays) -> None:
    """Assign what ``pack`` named.

    Raises:
        TrainingError: the checkpoint is of another network.
    """
    for n, variable in enumerate(variables):
        value = arrays.get(f"{prefix}.{n}")
        if value is None or tuple(value.shape) != tuple(variable.shape):
            raise TrainingError("the checkpoint is of another network", "train into another folder")
        variable.assign(value)
