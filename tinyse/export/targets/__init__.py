"""Targets are data files: a processor, its clock, its memories, and Vela's configuration.

``load_target("ethos-u55-128")`` reads a file of this folder; ``load_target("my/board.yaml")`` reads
your own. docs/targets.md lists the keys.
"""

from __future__ import annotations

from pathlib import Path

from tinyse.core.errors import RecipeError
from tinyse.core.sections import load_yaml
from tinyse.export.targets.parsing import parse_target
from tinyse.export.targets.schema import Holds, Memory, MemoryKind, Npu, Target, Timing

__all__ = ["ALIASES", "Holds", "Memory", "MemoryKind", "Npu", "Target", "Timing",
           "load_target", "target_names"]

FOLDER = Path(__file__).parent
ALIASES = {"ethos-u55": "ethos-u55-128", "ethos-u65": "ethos-u65-256"}


def target_names() -> list[str]:
    """Names of the targets that tinyse ships, sorted; aliases are not among them."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_target(name_or_path: str | Path) -> Target:
    """Read a target by its name, its alias, or the path of a YAML file.

    Raises:
        RecipeError: no such target, or the file holds something that is no target; the line names
            the file, the key, the value and what would be accepted.
    """
    import yaml

    text = str(name_or_path)
    path = FOLDER / f"{ALIASES.get(text, text)}.yaml"
    if text.endswith((".yaml", ".yml")):
        path = Path(text)
    elif "/" in text or not path.is_file():
        raise RecipeError(f"target {text!r} is not known",
                          f"one of {', '.join(target_names())}, or the path of a .yaml file")
    try:
        document = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}",
                          "name an existing target file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: is no YAML: {str(error).splitlines()[0]}",
                          "copy one of tinyse's own target files and edit it") from error
    return parse_target(path, document)
