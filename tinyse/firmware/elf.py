"""A linked image as its linker left it: sections, load addresses and symbols, and what they cost.

Reading is pyelftools'; this module keeps what tinyse asks of an image and says which memory of a target a
range of addresses falls into.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tinyse.core.errors import ModelError
from tinyse.export.targets import Memory, MemoryKind, Target


class Kind(StrEnum):
    """What a section costs: flash (text, rodata), flash and RAM (data), or RAM alone (bss)."""

    TEXT = "text"
    RODATA = "rodata"
    DATA = "data"
    BSS = "bss"


@dataclass(frozen=True)
class Section:
    """One section that occupies memory.

    Attributes:
        name: such as ``.text``.
        kind: what it costs.
        address: where it is when the program runs.
        load: where the linker put its bytes; differs from ``address`` for initialised data.
        size: bytes.
        offset: of its bytes in the file.
    """

    name: str
    kind: Kind
    address: int
    load: int
    size: int
    offset: int


@dataclass(frozen=True)
class Symbol:
    """A named function or object; the Thumb bit of a function's address is cleared."""

    name: str
    address: int
    size: int
    section: str


@dataclass(frozen=True)
class Image:
    """What an ELF file holds.

    Attributes:
        path: the file.
        sections: those that occupy memory, by address.
        symbols: by name; of names that occur twice (statics of two files), the larger.
    """

    path: Path
    sections: tuple[Section, ...]
    symbols: dict[str, Symbol]

    def size(self, kind: Kind) -> int:
        """Bytes of all sections of one kind."""
        return sum(section.size for section in self.sections if section.kind is kind)

    def section(self, name: str) -> Section | None:
        """A section by its name, or None."""
        return next((section for section in self.sections if section.name == name), None)

    def symbol(self, name: str) -> Symbol:
        """A symbol by its name.

        Raises:
            ModelError: the image has none of that name.
        """
        if name not in self.symbols:
            raise ModelError(f"{self.path}: has no symbol {name}", "build it again, and do not strip it")
        return self.symbols[name]

    def file_offset(self, address: int) -> int:
        """Where in the file the byte lies that runs at ``address``.

        Raises:
            ModelError: no section with bytes covers it.
        """
        for section in self.sections:
            if section.kind is not Kind.BSS and section.address <= address < section.address + section.size:
                return section.offset + address - section.address
        raise ModelError(f"{self.path}: nothing is loaded at {address:#x}", "build it again")


def read_image(path: Path | str) -> Image:
    """Read a 32-bit little-endian Arm ELF file.

    Raises:
        ModelError: the file is missing, no such ELF file, or damaged.
    """
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    path = Path(path)
    try:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            if elf.elfclass != 32 or elf["e_machine"] != "EM_ARM":
                raise ModelError(f"{path}: an ELF file, but not for a 32-bit Arm", "name the firmware's tinyse.elf")
            sections = tuple(sorted(_sections(elf), key=lambda section: (section.address, section.name)))
            return Image(path, sections, _symbols(elf))
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file", "build it: make firmware") from None
    except (ELFError, ConstructError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError,
            UnicodeDecodeError) as error:
        reason = str(error) or type(error).__name__
        raise ModelError(f"{path}: is no ELF file: {reason}", "name the firmware's tinyse.elf") from error


def memory_of(target: Target, address: int, size: int = 1) -> Memory | None:
    """The memory of ``target`` that holds all of ``size`` bytes from ``address``; None where none does."""
    for memory in target.memories:
        if memory.base <= address and address + size <= memory.base + memory.size:
            return memory
    return None


def is_ram(memory: Memory) -> bool:
    """Whether a memory is RAM on chip; a DRAM counts, a flash (or what stands for one) does not."""
    return memory.kind is not MemoryKind.FLASH


def _sections(elf: object) -> list[Section]:
    segments = [segment for segment in elf.iter_segments("PT_LOAD")]  # type: ignore[attr-defined]
    found = []
    for section in elf.iter_sections():  # type: ignore[attr-defined]
        flags, size, address = section["sh_flags"], section["sh_size"], section["sh_addr"]
        if not flags & 2 or not size:  # SHF_ALLOC
            continue
        load = address
        for segment in segments:
            start = segment["p_vaddr"]
            if start <= address and address + size <= start + segment["p_memsz"]:
                load = segment["p_paddr"] + address - start
                break
        found.append(Section(section.name, _kind(section["sh_type"], flags), address, load, size,
                             section["sh_offset"]))
    return found


def _kind(form: str, flags: int) -> Kind:
    if form == "SHT_NOBITS":
        return Kind.BSS
    if flags & 4:  # SHF_EXECINSTR
        return Kind.TEXT
    return Kind.DATA if flags & 1 else Kind.RODATA  # SHF_WRITE


def _symbols(elf: object) -> dict[str, Symbol]:
    table = elf.get_section_by_name(".symtab")  # type: ignore[attr-defined]
    if table is None:
        return {}
    found: dict[str, Symbol] = {}
    for entry in table.iter_symbols():
        kind, index = entry["st_info"]["type"], entry["st_shndx"]
        if not entry.name or kind not in ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE"):
            continue
        if index == "SHN_UNDEF" or entry.name.startswith("$"):  # $t, $d: mapping symbols
            continue
        section = elf.get_section(index).name if isinstance(index, int) else ""  # type: ignore[attr-defined]
        address = entry["st_value"] & ~1 if kind == "STT_FUNC" else entry["st_value"]
        symbol = Symbol(entry.name, address, entry["st_size"], section)
        if entry.name not in found or found[entry.name].size < symbol.size:
            found[entry.name] = symbol
    return found
