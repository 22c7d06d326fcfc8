"""Reads a target file strictly: every error names the file, the key, the value and what would be accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from tinyse.core.errors import RecipeError
from tinyse.export.targets.schema import Holds, Memory, MemoryKind, Npu, Target, Timing

MACS_PER_CYCLE = {"ethos-u55-32": 32, "ethos-u55-64": 64, "ethos-u55-128": 128, "ethos-u55-256": 256,
                  "ethos-u65-256": 256, "ethos-u65-512": 512}
PORT_BYTES = {"ethos-u55": 8, "ethos-u65": 16}
CORES = ("cortex-m55", "cortex-m7")


class Section:
    """One mapping of a target file that knows its place; every key must be taken.

    Args:
        file: the target file, for messages.
        where: the sections above, joined by dots; empty for the file itself.
        value: the parsed YAML.
    """

    manual = "every target names it; see docs/targets.md"
    """What to say of a key that is missing."""

    def __init__(self, file: Path, where: str, value: object) -> None:
        self.file = file
        self.where = where
        if not isinstance(value, Mapping):
            raise RecipeError(f"{file}: {where or 'file'}: {_short(value)}",
                              "a mapping of keys to values is expected")
        self.left: dict[str, Any] = {str(key): item for key, item in value.items()}

    def fail(self, key: str, value: object, accepted: str) -> NoReturn:
        """Raise for ``key`` with the value found and what would be accepted."""
        raise RecipeError(f"{self.file}: {self.at(key)}: {_short(value)}", f"{accepted} is expected")

    def at(self, key: str) -> str:
        """The key with the sections that it lies in."""
        return f"{self.where}.{key}" if self.where else key

    def take(self, key: str) -> Any:
        """Remove and return a required key."""
        if key not in self.left:
            raise RecipeError(f"{self.file}: {self.at(key)} is missing", self.manual)
        return self.left.pop(key)

    def text(self, key: str) -> str:
        """A required string that is not empty."""
        value = self.take(key)
        if not isinstance(value, str) or not value.strip():
            self.fail(key, value, "text")
        return value.strip()

    def number(self, key: str, low: float, high: float) -> float:
        """A required number in [low, high]."""
        value = self.take(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.fail(key, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def whole(self, key: str, low: int, high: int) -> int:
        """A required integer in [low, high]; YAML's 0x form is one."""
        value = self.take(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(key, value, f"a whole number from {low} to {high}")
        return value

    def choice(self, key: str, accepted: Iterable[str]) -> str:
        """A required string out of a closed list."""
        value = self.take(key)
        names = list(accepted)
        if value not in names:
            self.fail(key, value, "one of " + ", ".join(names))
        return str(value)

    def done(self, known: Iterable[str]) -> None:
        """Refuse the keys that nobody took."""
        for key, value in self.left.items():
            self.fail(key, value, "no such key is known; one of " + ", ".join(known))


def parse_target(file: Path, document: object) -> Target:
    """Make a `Target` of a file's parsed YAML.

    Raises:
        RecipeError: a key is missing or unknown, or a value is out of range.
    """
    top = Section(file, "", document)
    npu = _npu(file, top.left.pop("npu")) if top.left.get("npu") is not None else None
    top.left.pop("npu", None)
    target = Target(
        name=file.stem, description=top.text("description"), core=top.choice("core", CORES),
        clock_mhz=top.number("clock_mhz", 1, 4000), board=top.text("board"),
        memories=_memories(file, top.take("memories"), npu), npu=npu, path=file)
    top.done(("description", "core", "clock_mhz", "board", "memories", "npu"))
    return target


def _npu(file: Path, value: object) -> Npu:
    section = Section(file, "npu", value)
    accelerator = section.choice("accelerator", MACS_PER_CYCLE)
    own = section.left.pop("vela_config", None)
    config = None
    if own is not None:
        config = (file.parent / str(own)).resolve()
        if not config.is_file():
            section.fail("vela_config", own, "the path of an ini file, relative to the target file,")
    npu = Npu(accelerator=accelerator, system_config=section.text("system_config"),
              memory_mode=section.text("memory_mode"), vela_config=config,
              macs_per_cycle=MACS_PER_CYCLE[accelerator],
              port_bytes=PORT_BYTES[accelerator.rsplit("-", 1)[0]],
              weights_per_cycle=section.number("weights_per_cycle", 0.1, 1024))
    section.done(("accelerator", "system_config", "memory_mode", "vela_config", "weights_per_cycle"))
    return npu


def _memories(file: Path, value: object, npu: Npu | None) -> tuple[Memory, ...]:
    if not isinstance(value, list) or not value:
        raise RecipeError(f"{file}: memories: {_short(value)}", "a list of at least one memory is expected")
    memories = tuple(_memory(file, f"memories[{index}]", item) for index, item in enumerate(value))
    for holds in Holds:
        homes = [memory.name for memory in memories if holds in memory.holds]
        if len(homes) != 1:
            raise RecipeError(f"{file}: memories: {holds} is held by {', '.join(homes) or 'none'}",
                              f"exactly one memory with holds: [{holds}] is expected")
    for memory in memories:
        if npu is not None and memory.axi is None and {Holds.MODEL, Holds.ARENA} & set(memory.holds):
            raise RecipeError(f"{file}: memories: {memory.name} has no axi port",
                              "the NPU reads the model and the arena: axi: 0 or 1 is expected")
    return memories


def _memory(file: Path, where: str, value: object) -> Memory:
    section = Section(file, where, value)
    axi = section.whole("axi", 0, 1) if "axi" in section.left else None
    timing = _timing(file, f"{where}.timing", section.take("timing")) if axi is not None else None
    holds = section.left.pop("holds", [])
    if not isinstance(holds, list) or any(item not in list(Holds) for item in holds):
        section.fail("holds", holds, "a list out of " + ", ".join(Holds))
    memory = Memory(name=section.text("name"), kind=MemoryKind(section.choice("kind", MemoryKind)),
                    base=section.whole("base", 0, 0xFFFFFFFF), size=section.whole("size", 1, 1 << 32),
                    holds=tuple(Holds(item) for item in holds), axi=axi, timing=timing)
    section.done(("name", "kind", "base", "size", "holds", "axi", "timing"))
    return memory


def _timing(file: Path, where: str, value: object) -> Timing:
    section = Section(file, where, value)
    timing = Timing(clock_scale=section.number("clock_scale", 1e-4, 1),
                    burst_length=section.whole("burst_length", 1, 4096),
                    read_latency=section.whole("read_latency", 0, 65535),
                    write_latency=section.whole("write_latency", 0, 65535),
                    max_reads=section.whole("max_reads", 0, 255),
                    max_writes=section.whole("max_writes", 0, 255))
    section.done(Timing.__dataclass_fields__)
    return timing


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
