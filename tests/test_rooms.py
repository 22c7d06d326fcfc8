"""The rooms of the house: what each may import, lazily or not; no circles, nothing loose, files of some 300 lines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "tinyse"
GROUND = ("core",)
MAY_IMPORT = {
    "core": (),
    "sound": GROUND,
    "npu": GROUND,
    "graph": (*GROUND, "sound"),
    "families": (*GROUND, "sound", "graph"),
    "export": (*GROUND, "sound", "npu", "graph"),
    "train": (*GROUND, "sound", "npu", "graph", "families", "export"),
    "firmware": (*GROUND, "npu", "export"),
    "engines": (*GROUND, "sound", "npu", "graph", "families", "export", "train"),
    "measure": (*GROUND, "sound", "npu", "graph", "families", "export", "train", "firmware", "engines"),
}
ROOF = ("studies", "cli", "bench")
"""May import all below, and each other."""
ALONE = {"__init__", "__main__"}
LINES = 320
"""About 300; the longest are named here when they are cut."""


def modules() -> Iterator[tuple[str, Path]]:
    """Every module below the package: its dotted name without "tinyse", its file."""
    for path in sorted(HOUSE.rglob("*.py")):
        if "sources" not in path.relative_to(HOUSE).parts:
            yield ".".join(path.relative_to(HOUSE).with_suffix("").parts), path


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """What a file imports of the house, dotted, with the line; also in functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            if node.module == "tinyse":
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif node.module and node.module.startswith("tinyse."):
                yield node.module.removeprefix("tinyse."), node.lineno
        elif isinstance(node, ast.Import):
            yield from ((alias.name.removeprefix("tinyse."), node.lineno) for alias in node.names
                        if alias.name.startswith("tinyse."))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_from_below(room: str) -> None:
    for name, path in modules():
        if name.split(".")[0] == room:
            for target, line in imports(path):
                other = target.split(".")[0]
                assert other in (room, *MAY_IMPORT[room], "__version__"), f"{path}:{line}: {room} imports {target}"


def test_nothing_lies_loose() -> None:
    names = {name.split(".")[0] for name, _ in modules()}
    assert names == {*MAY_IMPORT, *ROOF, *ALONE}


def test_every_import_leads_somewhere() -> None:
    known = {name.removesuffix(".__init__") for name, _ in modules()} | {"__version__"}
    for _, path in modules():
        for target, line in imports(path):
            assert target in known or target.rpartition(".")[0] in known, f"{path}:{line}: there is no {target}"


def test_no_circle_within_a_room() -> None:
    """Of imports at a module's top; a lazy one may point anywhere that the table allows."""
    edges: dict[str, set[str]] = {}
    known = {name.removesuffix(".__init__") for name, _ in modules()}
    for name, path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = set()
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tinyse."):
                base = node.module.removeprefix("tinyse.")
                found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names}
        edges[name.removesuffix(".__init__")] = found - {name.removesuffix(".__init__")}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above[above.index(name):], name))
        if name not in done:
            for other in edges.get(name, ()):
                visit(other, (*above, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def test_files_fit_in_a_head() -> None:
    long = {name: count for name, path in modules()
            if (count := len(path.read_text(encoding="utf-8").splitlines())) > LINES}
    assert not long
