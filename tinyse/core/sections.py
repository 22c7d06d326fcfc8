"""Strict sections: plain nested values, of YAML or JSON, as frozen dataclasses.

A field's metadata says what it may be: ``within(low, high)`` for numbers, ``one_of(...)`` for words, ``empty``
for lists that may be empty. An error names the key, the value and what would be accepted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import yaml

from tinyse.core.errors import RecipeError


def within(low: float, high: float, **kwargs: Any) -> Any:
    """A dataclass field of numbers from ``low`` to ``high``."""
    return field(metadata={"low": low, "high": high}, **kwargs)


def one_of(*choices: str, **kwargs: Any) -> Any:
    """A dataclass field that is one of ``choices``."""
    return field(metadata={"choices": choices}, **kwargs)


def plain(value: Any) -> Any:
    """A dataclass, or what ``dataclasses.asdict`` makes of it, as the nested values that YAML and JSON hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values as ``section.key`` -> value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= {f"{key}.{k}": v for k, v in flat(value).items()} if isinstance(value, Mapping) else {key: value}
    return found


def _scalar(kind: type, value: Any, where: str, meta: Mapping[str, Any]) -> Any:
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is float and isinstance(value, str):  # YAML reads 1e-3 as text
        with contextlib.suppress(ValueError):
            value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RecipeError(f"{where}: {value!r} is not {wanted}", f"give {wanted}")
    if "choices" in meta and value not in meta["choices"]:
        raise RecipeError(f"{where}: {value!r} is not known", f"one of: {', '.join(meta['choices'])}")
    if "low" in meta and not meta["low"] <= value <= meta["high"]:
        raise RecipeError(f"{where}: {value!r} is out of range", f"{meta['low']} to {meta['high']}")
    return value


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over`` in their places, section by section."""
    def both(key: str, value: Any) -> Any:
        inner = base.get(key)
        return merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value

    return {**base, **{key: both(key, value) for key, value in over.items()}}


def convert(kind: Any, value: Any, where: str, meta: Mapping[str, Any]) -> Any:
    """``value`` as ``kind``: a section, a tuple, a mapping of plain values, one of several types or a plain one.

    Raises:
        RecipeError: it is not, or not within what ``meta`` says.
    """
    if dataclasses.is_dataclass(kind):
        return build(typing.cast(type, kind), value, where)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple) or not (value or meta.get("empty")):
            like = '["a", "b"]' if typing.get_args(kind)[0] is str else "[256, 256]"
            raise RecipeError(f"{where}: {value!r} is not a list", f"a list such as {like}")
        return tuple(_scalar(typing.get_args(kind)[0], item, where, meta) for item in value)
    if kind is dict or typing.get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            raise RecipeError(f"{where}: {value!r} is not a mapping", "key: value lines")
        return dict(value)
    if isinstance(kind, types.UnionType):
        return None if value is None else _scalar(typing.get_args(kind)[0], value, where, meta)
    return _scalar(kind, value, where, meta)


def build(kind: type, values: Any, where: str) -> Any:
    """``values`` as the dataclass ``kind``; absent keys take their defaults. ``where`` opens every message.

    Raises:
        RecipeError: an unknown or missing key, a value of another type or out of range, or what ``kind`` refuses.
    """
    if not isinstance(values, Mapping):
        raise RecipeError(f"{where}: {values!r} is not a mapping", "key: value lines")
    hints = typing.get_type_hints(kind)
    fields = {item.name: item for item in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            raise RecipeError(f"{where}: unknown key {key!r} (value {values[key]!r})", f"one of: {', '.join(fields)}")
    missing = [n for n, f in fields.items()
               if n not in values and f.default is f.default_factory is dataclasses.MISSING]
    if missing:
        raise RecipeError(f"{where}: missing key {missing[0]!r}", "every recipe has a name")
    given = {key: convert(hints[key], value, f"{where}: {key}", fields[key].metadata) for key, value in values.items()}
    try:
        return kind(**given)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}", error.hint) from error


class _OnceEach(yaml.SafeLoader):
    """A safe loader to which a key that stands twice is an error, as YAML 1.2 (section 3.2.1.1) has it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(f"{twice[0]} stands twice", None, "", node.start_mark)
        return super().construct_mapping(node, deep)


def load_yaml(text: str) -> Any:
    """The values of YAML text.

    Raises:
        yaml.YAMLError: it is none, or a key stands twice.
    """
    return yaml.load(text, _OnceEach)


def read_yaml(source: str | Path, built_in: Path, what: str) -> tuple[Path, Any]:
    """The values of a YAML file, or of one in ``built_in`` by its name, and where it is.

    Raises:
        RecipeError: no such file, or no YAML; ``what`` it should be is in the message.
    """
    path = Path(source)
    if not path.is_file():
        path = built_in / f"{source}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(item.stem for item in built_in.glob("*.yaml")))
        raise RecipeError(f"{source}: no such {what}", f"a YAML file, or a built-in name: {names}")
    try:
        return path, load_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not YAML: {str(error).splitlines()[0]}", "key: value lines") from error


def parse_shares(lines: Sequence[str], where: str) -> dict[str, float]:
    """"NAME=SHARE" lines as shares by name.

    Raises:
        RecipeError: a line is no share, a name comes twice, or the shares exceed 1.
    """
    found: dict[str, float] = {}
    for line in lines:
        name, _, text = line.rpartition("=")
        with contextlib.suppress(ValueError):
            if name and name not in found and 0 <= float(text) <= 1:
                found[name] = float(text)
                continue
        raise RecipeError(f"{where}: {line!r} is no share", "PACKAGE=0.2, each package once")
    if sum(found.values()) > 1 + 1e-9:
        raise RecipeError(f"{where}: {', '.join(lines)} exceed 1", "what is left goes to the others")
    return found
