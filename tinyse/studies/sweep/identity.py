"""What a recipe is to a sweep: the values that decide its model, its family, and the dense recipe behind it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from tinyse.train.recipe import Recipe

COMPRESSION = ("prune", "cluster", "skip")
"""Sections of a recipe that a dense model does without."""
HELPS = ("start", "distill")
"""Keys of ``train`` that a dense model does without."""
WORDS = {"cluster": "clustered", "distill": "distilled"}


def digest(value: Any) -> str:
    """SHA-256 of JSON-ready values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=list).encode()).hexdigest()


def decides(recipe: Recipe) -> dict[str, Any]:
    """The recipe's values that are not their defaults, without the name, the path of its start, and what is off.

    A later version that adds a key with a default leaves this, and so a point's folder, as it was.
    """
    found = _changed(recipe)
    if recipe.own_family is not None:
        found["family"] = recipe.identity()["family"]
    off = [("prune", recipe.prune.method == "none"), ("cluster", not recipe.cluster.values),
           ("skip", not recipe.skip.enabled)]
    for key in ["name", *(key for key, idle in off if idle)]:
        found.pop(key, None)
    if isinstance(found.get("train"), dict):
        found["train"].pop("start", None)
    return found


def _changed(part: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in dataclasses.fields(part):
        value = getattr(part, item.name)
        if dataclasses.is_dataclass(value):
            found[item.name] = _changed(value)
        elif item.default is dataclasses.MISSING or value != item.default:
            found[item.name] = value
    return {key: value for key, value in found.items() if value != {}}


def family(recipe: Recipe) -> str:
    """The structure, then what is unusual: ``dense``, ``weight``, ``block, magnitude``, ``weight, clustered``."""
    made = decides(recipe)
    method, structure = recipe.prune.method, recipe.prune.structure
    words = ["skip"] if "skip" in made else []
    if method != "none":
        words.append(structure)
    if method == "magnitude":
        words.append(method)
    words = words or ["dense"]
    return ", ".join([*words, *(word for key, word in WORDS.items() if key in made or key in made.get("train", {}))])


def dense_recipe(recipe: Recipe) -> Recipe:
    """The recipe without compression and without a start."""
    plain: dict[str, Any] = {item.name: item.default for item in dataclasses.fields(recipe) if item.name in COMPRESSION}
    train: dict[str, Any] = {item.name: item.default for item in dataclasses.fields(recipe.train) if item.name in HELPS}
    return dataclasses.replace(recipe, **{**plain, "train": dataclasses.replace(recipe.train, **train)})
