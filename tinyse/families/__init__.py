"""Families of networks: one file each, ours or a user's own, with ``ENDS`` and a function ``net(...) -> Net``. ::

    family = load("tinylstm")                       # or "path/to/mine.py"
    net = family.net({"lstm": (64,)}, family.ends)

The parameters of ``net`` are the recipe's ``family_options``, but for two that the recipe sets itself where a family
has them: ``ends``, what a frame is, and ``skip``, whether to add a Skip RNN's p~.
"""

from __future__ import annotations

import inspect
import math
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyse.core.errors import ExportError, ModelError, RecipeError, TinyseError
from tinyse.core.sections import convert
from tinyse.graph.lowering import grids
from tinyse.graph.net import Net
from tinyse.sound.ends import Ends

OWN = Path(__file__).parent
GIVEN = ("ends", "skip")
"""Parameters of ``net`` that are no options."""


@dataclass(frozen=True)
class Family:
    """A family's file, read.

    Attributes:
        name: as a recipe gives it. file: where it is. ends: its ``ENDS``. make: its ``net``.
    """

    name: str
    file: Path
    ends: Ends
    make: Callable[..., Net]

    def options(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Options as ``net`` takes them, by its annotations.

        Raises:
            RecipeError: one that ``net`` does not have, or of another type.
        """
        with blamed(self.file, self.make):
            known = {name: part for name, part in inspect.signature(self.make).parameters.items() if name not in GIVEN}
            hints = typing.get_type_hints(self.make)
        for name in given:
            if name not in known:
                raise RecipeError(f"{where}: unknown key {name!r} (value {given[name]!r})",
                                  f"one of: {', '.join(known)}" if known else f"{self.name} has no options")
        missing = [name for name, part in known.items() if name not in given and part.default is part.empty]
        if missing:
            raise RecipeError(f"{where}: missing key {missing[0]!r}", f"{self.name} needs it")
        return {name: convert(hints[name], value, f"{where}: {name}", {}) if name in hints else value
                for name, value in given.items()}

    def net(self, options: Mapping[str, Any], ends: Ends, skip: bool = False) -> Net:
        """The network for these ends.

        Raises:
            RecipeError: the family's file fails, its network does not fit the ends or does not become integers; the
                message names file and line.
        """
        names = inspect.signature(self.make).parameters
        if skip and "skip" not in names:
            raise RecipeError(f"skip.enabled: {self.name} has no p~", "a family whose net(...) takes skip")
        given = {**options, **{name: value for name, value in (("ends", ends), ("skip", skip)) if name in names}}
        with blamed(self.file, self.make):
            net = self.make(**given)
            if not isinstance(net, Net):
                raise RecipeError(f"net() gives {type(net).__name__}, not a Net", "return what Build.done gives")
            _check(net, ends, skip)
        return net


def _check(net: Net, ends: Ends, skip: bool) -> None:
    shapes = net.shapes
    inputs = math.prod(shapes[net.input.name])
    if inputs != ends.inputs:
        raise RecipeError(f"net() takes {list(shapes[net.input.name])}, and its ENDS give {list(ends.shape)}",
                          "begin with Build(ENDS.shape)")
    for result in net.results:
        if result.node and math.prod(shapes[result.node]) != ends.outputs + skip:
            raise RecipeError(f"net(): the result {result.tensor} is {list(shapes[result.node])}, and its ENDS take "
                              f"{list(ends.result_shape)}", f"{ends.outputs} values")
    if skip and net.skip is None:
        raise RecipeError("net(skip=True) has no policy Skip", "done(Skip(...), mask=...)")
    names = {node.name for node in net.nodes if node.layer.kind == "norm"}
    if not names:  # a network with norms is lowered once they are folded
        try:
            grids(net, {name: (-1.0, 1.0) for name in net.ranges})
        except ExportError as error:
            raise ModelError(str(error), error.hint) from error


def names() -> list[str]:
    """Our own families."""
    return sorted(file.stem for file in OWN.glob("*.py") if not file.stem.startswith("_"))


def load(name: str) -> Family:
    """Read a family, ours by name or a file's.

    Raises:
        RecipeError: there is none, or its file fails or lacks ``ENDS`` or ``net``; file and line are named.
    """
    file = Path(name) if name.endswith(".py") else OWN / f"{name}.py"
    if not file.is_file() or (not name.endswith(".py") and name not in names()):
        raise RecipeError(f"family: {name!r}: no such family", f"a Python file, or one of: {', '.join(names())}")
    scope: dict[str, Any] = {"__name__": f"tinyse_family_{file.stem}", "__file__": str(file)}
    with blamed(file):
        exec(compile(file.read_bytes(), str(file), "exec", dont_inherit=True), scope)
    ends, make = scope.get("ENDS"), scope.get("net")
    if not isinstance(ends, Ends):
        raise RecipeError(f"{file}: no ENDS", "ENDS = Ends(...), what a frame is")
    if not callable(make):
        raise RecipeError(f"{file}: no function net", "def net(...) -> Net")
    return Family(name, file, ends, make)


@contextmanager
def blamed(file: Path, function: Callable[..., Any] | None = None) -> Iterator[None]:
    """What fails inside becomes one line with ``file`` and the line in it that failed, else ``function``'s first."""
    try:
        yield
    except SyntaxError as error:
        raise RecipeError(f"{file}:{error.lineno or 1}: {error.msg}", "a family is a Python file") from error
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        code = getattr(function, "__code__", None)
        line = lines[-1] if lines else code.co_firstlineno if code is not None else 1
        what = str(error) if isinstance(error, TinyseError) else f"{type(error).__name__}: {error}"
        hint = error.hint if isinstance(error, TinyseError) else ""
        raise RecipeError(f"{file}:{line}: {' '.join(what.split())}", hint) from error
