"""What a linked image takes of its target's memories, and whether every buffer is where the target wants it."""

from __future__ import annotations

from tinyse.core.origin import Origin, Source
from tinyse.export.targets import Holds, Target
from tinyse.firmware.build import Built
from tinyse.firmware.elf import Image, Kind, is_ram, memory_of, read_image
from tinyse.measure.costs.firmware import FirmwareMemory, MemoryBudget, Placement

HOMES = {"model": Holds.MODEL, "arena": Holds.ARENA, "code": Holds.CODE, "stack": Holds.STACK}
SECTIONS = {"model": ".model", "arena": ".arena", "code": ".text", "stack": ".stack"}
STATE = "state"


def firmware_memory(built: Built, target: Target) -> FirmwareMemory:
    """Read the image's ELF file against the target's memories.

    Raises:
        ModelError: the file is damaged.
    """
    return image_memory(read_image(built.elf), target, built.board, str(built.backend))


def image_memory(image: Image, target: Target, board: str = "", backend: str = "") -> FirmwareMemory:
    """As `firmware_memory`, of an image that was read."""
    used: dict[str, int] = {}
    problems = []
    for section in image.sections:
        places = [section.address]
        if section.load != section.address and section.kind is not Kind.BSS:
            places.append(section.load)  # initialised data: in flash too
        for address in places:
            memory = memory_of(target, address, section.size)
            if memory is None:
                problems.append(f"{section.name} at {address:#010x}, {section.size:,} B: in none of the "
                                f"memories of {target.name}")
            else:
                used[memory.name] = used.get(memory.name, 0) + section.size
    placements = _placements(image, target)
    for each in placements:
        if not each.right:
            problems.append(f"{each.name} is in {each.memory or 'no memory'}, {target.name} wants it in "
                            f"{each.wanted or 'RAM'}")
    budgets = tuple(MemoryBudget(memory.name, str(memory.kind), used[memory.name], memory.size)
                    for memory in target.memories if memory.name in used)
    return FirmwareMemory(
        Origin(Source.EXACT, "read from the ELF file"), board, backend, image.size(Kind.TEXT),
        image.size(Kind.RODATA), image.size(Kind.DATA), image.size(Kind.BSS), placements, budgets, tuple(problems))


def _placements(image: Image, target: Target) -> tuple[Placement, ...]:
    found = []
    for name, home in HOMES.items():
        section = image.section(SECTIONS[name])
        if section is not None:
            memory, wanted = memory_of(target, section.address, section.size), target.memory(home)
            found.append(Placement(name, section.address, section.size, memory.name if memory else "", wanted.name,
                                   memory == wanted))
    state = image.symbols.get(STATE)
    if state is not None:
        memory = memory_of(target, state.address, state.size)
        found.append(Placement(STATE, state.address, state.size, memory.name if memory else "", "",
                               memory is not None and is_ram(memory)))
    return tuple(found)
