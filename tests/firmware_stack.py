"""The stack that a call can take at most, proven over the call graph of a built image.

GCC writes every function's frame and calls beside its object (``-fstack-usage -fcallgraph-info=su``: ``.su`` and
``.ci``). It sees neither the C library's functions nor what inline assembly pushes; those come from the linked
image's disassembly, which also adds every direct branch that GCC did not tell of (helpers of its own)::

    bound = deepest(built.folder, "tinyse_process_int16")
    bound.bytes, [name for name, _ in bound.path]

A bound that cannot be proven is refused: recursion, a frame whose size is only known at run time, a call through
a pointer that `INDIRECT` does not name. Interrupts come on top: their handlers, and what the core itself stacks.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tinyse.core.errors import ModelError, ToolError

OBJDUMP = "arm-none-eabi-objdump"
ENTRIES = ("tinyse_init", "tinyse_reset", "tinyse_process", "tinyse_process_int16")
"""The library's calls."""

INDIRECT: Mapping[str, tuple[str, ...]] = {
    "tinyse.c": ("stages_done",),
    "network_npu.c": ("open_npu", "run_npu"),
    "ethosu.c": (),
    "startup.c": (),
    "main.c": ("clear_counts", "get_reason"),
    "results.c": ("get_counts",),
}
"""Source files that call through pointers, and what those may point to in our images: the profiler's callback, the
members of ``tinyse_npu`` in each of its implementations. Not in it: hooks of your own, constructors of C++."""

_NODE = re.compile(r'^node: \{ title: "([^"]+)" label: "([^"]*)"')
_EDGE = re.compile(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"(?: label: "([^"]*)")?')
_FRAME = re.compile(r"(\d+) bytes \(([a-z,]+)\)")
_LINE = re.compile(r"^ *([0-9a-f]+):\t(\S+)(?:\t(.*))?$")
_TARGET = re.compile(r"\b([0-9a-f]+) <[^>]+>")
_FUTURE = ("bf", "bfx", "bfl", "bflx", "bfcsel")
"""Branch futures call nothing by themselves, and GCC makes none: objdump takes a loop's dlstp for one."""
_HARMLESS = re.compile(r"(v?ldm|v?stm|add|cmp|cmn|tst|str)")


@dataclass(frozen=True)
class Bound:
    """``bytes`` of stack for a call of ``entry``; ``path``: the deepest chain, as (function, frame)."""

    entry: str
    bytes: int
    path: tuple[tuple[str, int], ...]


@dataclass
class _Function:
    """One function: ``frame`` in bytes, why it is ``dynamic``, where it calls through ``pointers``; ``linked``: in the
    image.
    """

    frame: int = 0
    dynamic: str = ""
    calls: set[str] = field(default_factory=set)
    pointers: set[str] = field(default_factory=set)
    linked: bool = True


def stack_bound(folder: Path | str, entry: str, indirect: Mapping[str, tuple[str, ...]] = INDIRECT) -> int:
    """Bytes of stack that a call of ``entry`` takes at most; see ``deepest``."""
    return deepest(folder, entry, indirect).bytes


def deepest(folder: Path | str, entry: str, indirect: Mapping[str, tuple[str, ...]] = INDIRECT) -> Bound:
    """The deepest chain of calls below ``entry``.

    Args:
        folder: of a build (``Built.folder``): tinyse.elf and the ``.ci`` files.
        entry: a global function.
        indirect: as `INDIRECT`.

    Raises:
        ModelError: no bound exists or none can be proven; the message names the function.
        ToolError: no build there, or no disassembler.
    """
    folder = Path(folder)
    files, elf = sorted(folder.rglob("*.ci")), folder / "tinyse.elf"
    if not files or not elf.is_file():
        raise ToolError(f"{folder}: no build with call graphs", "build it with the project's own Makefile")
    told: dict[str, _Function] = {}
    for file in files:
        _read_calls(file.read_text(encoding="utf-8", errors="replace"), told)
    functions = _read_image(elf)
    for key, by_gcc in told.items():
        function = functions.setdefault(key, replace(by_gcc, linked=False))
        function.frame = max(function.frame, by_gcc.frame)
        function.dynamic = function.dynamic or by_gcc.dynamic
        function.calls |= by_gcc.calls
        function.pointers = by_gcc.pointers
    if entry not in functions:
        raise ModelError(f"{elf}: has no function {entry}")
    path = _Graph(functions, indirect).below(entry, ())
    return Bound(entry, sum(frame for _, frame in path), path)


class _Graph:
    """All functions of an image by key: the name, for a static function "file.c:name"."""

    def __init__(self, functions: dict[str, _Function], indirect: Mapping[str, tuple[str, ...]]) -> None:
        self._functions, self._indirect = functions, indirect
        self._deepest: dict[str, tuple[tuple[str, int], ...]] = {}

    def below(self, key: str, callers: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
        """The deepest chain from ``key`` down."""
        if key in self._deepest:
            return self._deepest[key]
        if key in callers:
            raise ModelError(f"no stack bound: recursion: {' calls '.join((*callers[callers.index(key):], key))}")
        function = self._functions[key]
        if function.dynamic:
            raise ModelError(f"no stack bound: the frame of {key} is known at run time only ({function.dynamic})")
        chains = [self.below(callee, (*callers, key)) for callee in sorted(self._callees(key, function))]
        longest = max(chains, key=lambda chain: sum(frame for _, frame in chain), default=())
        self._deepest[key] = ((key, function.frame), *longest)
        return self._deepest[key]

    def _callees(self, key: str, function: _Function) -> set[str]:
        callees = function.calls & self._functions.keys()  # the rest was inlined where the image holds the caller
        if not function.linked and callees != function.calls:
            raise ModelError(f"no stack bound: {key} is not in the image, nor is {min(function.calls - callees)}")
        for place in function.pointers:
            file = place.split(":")[0].rsplit("/", 1)[-1]
            if file not in self._indirect:
                raise ModelError(f"no stack bound: {key} calls through a pointer at {place}",
                                 "name what it may point to in tests/firmware_stack.INDIRECT")
            names = self._indirect[file]
            callees |= {known for known in self._functions if known.rsplit(":", 1)[-1] in names}
        return callees


def _key(title: str) -> str:
    return title.rsplit("/", 1)[-1]


def _read_calls(text: str, functions: dict[str, _Function]) -> None:
    """One ``.ci`` file into ``functions``."""
    for line in text.splitlines():
        if (node := _NODE.match(line)) and (frame := _FRAME.search(node[2])):
            function = functions.setdefault(_key(node[1]), _Function())
            function.frame = max(function.frame, int(frame[1]))
            function.dynamic = function.dynamic or ("alloca or an array" if frame[2] == "dynamic" else "")
        elif edge := _EDGE.match(line):
            caller = functions.setdefault(_key(edge[1]), _Function())
            if edge[2] == "__indirect_call":
                caller.pointers.add(edge[3] or "an unknown place")
            else:
                caller.calls.add(_key(edge[2]))


def _read_image(elf: Path) -> dict[str, _Function]:
    """What the linked instructions say of every function."""
    names = _symbols(elf)
    starts = sorted(names)
    functions: dict[str, _Function] = {}
    by_address: dict[int, _Function] = {}
    for start in starts:
        by_address[start] = _Function()
        functions.update((key, by_address[start]) for key in names[start])
    for address, instruction, operands in _instructions(elf):
        at = bisect_right(starts, address) - 1
        if at >= 0:
            _take(by_address[starts[at]], instruction, operands, names, starts, starts[at])
    return {key: replace(function) for key, function in functions.items()}


def _take(function: _Function, instruction: str, operands: str, names: dict[int, list[str]], starts: list[int],
          own: int) -> None:
    """One instruction into its function: what it pushes, where it branches."""
    operation = instruction.split(".")[0]
    if operation in _FUTURE:
        return
    if target := _TARGET.search(operands):
        callee = starts[max(bisect_right(starts, int(target[1], 16)) - 1, 0)]
        if callee != own:
            function.calls.add(names[callee][0])
    elif operation in ("blx", "bx") and operands != "lr" or operation.startswith(("ldr", "mov")) and \
            operands.startswith("pc,"):
        function.pointers.add(f"{instruction} {operands}")
    if operation in ("push", "vpush") or operands.startswith("sp!,") and operation.startswith(("stm", "vstm")):
        function.frame += _listed(operands)
    elif pushed := re.search(r"\[sp, #-(\d+)\]!", operands):
        function.frame += int(pushed[1])
    elif operation in ("sub", "subw") and (moved := re.match(r"sp, (?:sp, )?#(\d+)", operands)):
        function.frame += int(moved[1])
    elif operands.startswith("sp,") and not _HARMLESS.match(operation) or \
            operation == "msr" and operands.lower().startswith("msp,"):
        function.dynamic = function.dynamic or f"{instruction} {operands}"


def _listed(operands: str) -> int:
    """Bytes of a register list, ``{r4, r5, lr}`` or ``{d8-d15}``."""
    size = 0
    for item in re.search(r"\{(.+)\}", operands)[1].split(","):  # type: ignore[index]
        numbers = [int(number) for number in re.findall(r"[rds](\d+)", item)]
        each = 8 if "d" in item else 4
        size += each * (numbers[-1] - numbers[0] + 1 if len(numbers) > 1 else 1)
    return size


def _symbols(elf: Path) -> dict[int, list[str]]:
    """Keys of all functions by address."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    names: dict[int, list[str]] = {}
    file = ""
    with open(elf, "rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        for symbol in table.iter_symbols() if isinstance(table, SymbolTableSection) else ():
            kind, binding = symbol["st_info"]["type"], symbol["st_info"]["bind"]
            if kind == "STT_FILE":
                file = symbol.name
            elif kind == "STT_FUNC" and symbol["st_shndx"] != "SHN_UNDEF":
                key = f"{_key(file)}:{symbol.name}" if binding == "STB_LOCAL" else symbol.name
                names.setdefault(symbol["st_value"] & ~1, []).append(key)
    return names


def _instructions(elf: Path) -> Iterator[tuple[int, str, str]]:
    """(address, instruction, operands) of the whole image."""
    if shutil.which(OBJDUMP) is None:
        raise ToolError(f"{OBJDUMP} is not installed", "install it: apt-get install -y binutils-arm-none-eabi")
    run = subprocess.run([OBJDUMP, "-d", "--no-show-raw-insn", str(elf)], capture_output=True, text=True, check=False,
                         env={"PATH": os.environ["PATH"], "LC_ALL": "C"})
    if run.returncode:
        raise ToolError(f"{OBJDUMP}: {(run.stderr.strip().splitlines() or ['failed'])[-1]}")
    for line in run.stdout.splitlines():
        if found := _LINE.match(line):
            yield int(found[1], 16), found[2], (found[3] or "").split("\t")[0].split("@")[0].strip()
