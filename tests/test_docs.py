"""What README, docs and --help name is there: commands, options, make's targets, files, Python names, keys, links."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import click
import pytest

from tinyse.bench.__main__ import command as bench
from tinyse.cli import COMMANDS, main
from tinyse.train.recipe import BUILT_IN, Recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "firmware" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACES = ("", "tinyse", "tinyse/sound/corpus", "firmware", "docs", "tests")
"""Whose files a page names without saying the folder."""
MADE = {"mine.py", "mine.yaml", "base.yaml", "model.h", "model.c", "packed.h", "packed.c", "recipe.yaml", "x.py",
        "timing.h", "ethosu_driver.h", "gru_0.h", "gru.h", "lstm.h", "lstm.c"}
"""What exports and runs hold, and what users bring; the last four are places of ``quantize.bits``."""
FOREIGN = {"--accelerator-config", "--hypothesis-seed", "--head", "--address", "--logdir", "--help", "--network",
           "--npu"}
"""Of Vela, pytest, Ray, TensorBoard, click, and of the firmware's image."""
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def code(page: Path) -> Iterator[str]:
    """Every line of a page's code blocks, fenced or indented, and every piece of code within a line."""
    fenced, held = False, ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or re.match(r" {4}\S", line):
            held += line.strip()
            if held.endswith("\\"):
                held = held[:-1]
            else:
                yield held
                held = ""
        else:
            yield from (piece.replace("\\|", "|") for piece in re.findall(r"`([^`]+)`", line))


def calls(text: str, program: str) -> Iterator[list[str]]:
    """The arguments of each call of a program in a line of code."""
    for part in re.split(r"\s\|\s|\s&&\s", re.split(r"\s#\s", text)[0]):
        try:
            words = shlex.split(part)
        except ValueError:  # prose
            continue
        while words and "=" in words[0]:
            words.pop(0)
        if words[:2] == ["python", "-m"]:
            words = words[2:]
        if len(words) > 1 and words[0].rpartition("/")[2] == program and words[1] not in ("IN.wav", "results"):
            yield words[1:]  # those two: the firmware's image


def walk(command: click.Command | None) -> Iterator[click.Command]:
    """A command and all below it."""
    assert command
    yield command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from walk(command.get_command(click.Context(command), name))


def wrong(words: list[str], root: click.Group) -> Iterator[str]:
    """What a call says that its command does not take; "a|b" stands for either."""
    reached: list[click.Command | None] = [root]
    rest = list(words)
    while isinstance(group := reached[-1], click.Group) and rest and not rest[0].startswith("-"):
        reached = [group.get_command(click.Context(group), name) for name in rest.pop(0).split("|")]
    for command in reached:
        if command is None:
            yield f"no such command: {' '.join(words)}"
            return
        known = {name: option for option in command.params for name in option.opts}
        for word, value in zip(rest, [*rest[1:], ""], strict=False):
            if re.match(r"--[a-z]", word) and word not in FOREIGN:
                name = word.split("=")[0]
                if any(one not in known for one in name.split("|")):
                    yield f"{command.name} has no {name}"
                elif isinstance(kind := known[name.split("|")[0]].type, click.Choice) and value and not value.isupper():
                    yield from (f"{name} {one}" for one in value.split("|") if one not in (*kind.choices, "..."))


@each_page
def test_commands_and_their_options(page: Path) -> None:
    options = FOREIGN | {name for root in (main, bench) for command in walk(root) for each in command.params
                         for name in each.opts}
    found = [fault for text in code(page) for program, root in (("tinyse", main), ("tinyse.bench", bench))
             for words in calls(text, program) for fault in wrong(words, root)]
    found += [name for text in code(page) for name in re.findall(r"^--[a-z][a-z-]*", text) if name not in options]
    assert found == []


def test_the_examples_of_every_help() -> None:
    found = [f"{command.name}: {fault}" for command in walk(main) for line in (command.help or "").splitlines()
             for words in calls(re.split(r" {3,}", line.strip())[0], "tinyse") for fault in wrong(words, main)]
    assert found == []


@each_page
def test_targets_of_make(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert [text for text in code(page) for words in calls(text, "make") for word in words
            if re.fullmatch(r"[a-z][a-z-]*", word) and word not in targets] == []


@each_page
def test_recipes_and_their_keys(page: Path) -> None:
    def keys_of(kind: Any, path: str = "") -> Iterator[str]:
        hints = get_type_hints(kind)
        for name in (each.name for each in fields(kind)):
            yield path + name
            if is_dataclass(hints[name]):
                yield from keys_of(hints[name], f"{path}{name}.")

    keys = set(keys_of(Recipe))
    sections = "|".join({key.split(".")[0] for key in keys if "." in key})
    no_keys = {"corpus.json", "corpus.clips", "corpus.samples", "ends.delay", "ends.period"}
    dotted = rf"(?<![\w./])(?:{sections})(?:\.[a-z_]+)+(?![\w(./])"
    found = [key for text in code(page) for key in re.findall(dotted, text) if key not in keys | no_keys]
    for command, folder in (("train", BUILT_IN), ("sweep", BUILT_IN / "sweeps")):
        lines = [words for text in code(page) for words in calls(text, "tinyse") if words[0] == command and words[1:]]
        found += [words[1] for words in lines
                  if re.fullmatch(r"[a-z][\w-]*", words[1]) and not (folder / f"{words[1]}.yaml").exists()]
    assert found == []


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        if "://" not in target and not path.exists():
            found.append(target)
        elif anchor and "://" not in target:
            heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            if anchor not in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}:
                found.append(target)
    assert found == []


@each_page
def test_files_and_folders(page: Path) -> None:
    def is_there(name: str) -> bool:
        return any((place / name).exists() for place in (page.parent, *(ROOT / place for place in PLACES))) or (
            "/" not in name and any(any(ROOT.glob(f"{folder}/**/{name}")) for folder in ("tinyse", "firmware")))

    found = []
    for text in code(page):
        for name in re.findall(r"(?<![\w./<$~-])[\w./{},-]+\.(?:py|yaml|h|c|cc|md|mk|ld)(?![\w/.=])", text):
            group = re.search(r"\{([\w,]+)\}", name)
            names = [name.replace(group[0], one) for one in group[1].split(",")] if group else [name]
            if Path(name).name not in MADE and not name.startswith(("my", "runs/", "boards/", "model/")):
                found += [one for one in names if not is_there(one)]
        folders = re.findall(r"(?<![\w./~$-])(?:tinyse|firmware|scripts|tests|models|docs)/[\w./-]*\w", text)
        found += [name for name in folders
                  if "." not in name and not re.search("/[A-Z]{4}", name) and not (ROOT / name).exists()]
    assert found == []


@cache
def names_in(path: Path) -> set[str]:
    """What a module binds anywhere, by its text: nothing is imported."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def bound(dotted: str) -> bool:
    """Whether a dotted name leads to a module, or to what one binds."""
    path, parts = ROOT, dotted.split(".")
    while parts and (path / parts[0]).is_dir():
        path /= parts.pop(0)
    path = path / f"{parts.pop(0)}.py" if parts and (path / f"{parts[0]}.py").exists() else path / "__init__.py"
    return path.exists() and all(part in names_in(path) for part in parts)


@each_page
def test_names_of_python(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    dotted = set(re.findall(r"(?<![\w/.@-])(?:tinyse|tests)(?:\.[A-Za-z_]\w*)+", text))
    dotted |= {f"{module}.{name.strip()}" for module, names in
               re.findall(r"^ *from (tinyse[\w.]*) import (.+)$", text, re.MULTILINE) for name in names.split(",")}
    files = {"tinyse.h", "tinyse.c", "tinyse.elf", "tinyse.map", "tinyse.states"}  # the last is an entry of a .tflite
    assert [name for name in sorted(dotted - files) if not bound(name)] == []
    tests = set.union(*(names_in(path) for path in (ROOT / "tests").glob("test_*.py")))
    assert [name for name in re.findall(r"\btest_\w+(?![\w./])", text) if name not in tests] == []


def test_the_readme_has_every_command_page_and_model() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    wanted = [*(f"tinyse {name}" for name in COMMANDS), *(f"docs/{page.name}" for page in PAGES[2:])]
    for card in (ROOT / "models").glob("*/README.md"):
        if card.parent.name != "starts":
            wanted.append(f"[{card.parent.name}]")
    assert [each for each in wanted if each not in text] == []


def test_the_table_of_rooms_says_what_each_may_import() -> None:
    """docs/architecture.md beside what ``tests/test_rooms.py`` holds the rooms to."""
    from tests.test_rooms import MAY_IMPORT

    rows = {cells[0]: cells[2] for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
            if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 3}
    said = {room: tuple(MAY_IMPORT)[:place] if rows[room] == "all above" else tuple(re.findall(r"\w+", rows[room]))
            for place, room in enumerate(MAY_IMPORT)}
    assert {room: set(others) for room, others in said.items()} == {room: {*MAY_IMPORT[room]} for room in MAY_IMPORT}
