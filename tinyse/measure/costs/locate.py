"""Finds what there is to profile behind a path: an export folder, a run folder or a .tflite file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from tinyse.core.errors import ModelError
from tinyse.export.bundle import COMPILED, INT8, MANIFEST, Bundle, exported, manifest_of, open_bundle, part_files
from tinyse.export.targets import Target, load_target, target_names

REPORTS = "vela"
CUSTOM_OPERATOR = b"ethos-u"


@dataclass(frozen=True)
class Located:
    """Files of one model.

    Attributes:
        name: shown to the user.
        int8: the model before Vela, a file a part; empty where only what Vela made is there.
        compiled: the model after Vela, a file a part; empty where it has not run.
        reports: folder with Vela's CSV and debug database; None where it has to be run.
        target: None where neither the user nor a manifest named one.
        vela: version of the Vela that wrote the reports, empty where no manifest says.
    """

    name: str
    int8: tuple[Path, ...]
    compiled: tuple[Path, ...]
    reports: Path | None
    target: Target | None
    vela: str = ""

    def bundle(self) -> Bundle:
        """The plan and ends of these files, by the manifest beside them.

        Raises:
            ModelError: a file is damaged, or not what the manifest hashed.
        """
        files = self.int8 or self.compiled
        return open_bundle(files[0].parent if len(files) > 1 else files[0], compiled=not self.int8)


def locate(path: Path, target: str | None = None) -> Located:
    """Find the files behind ``path``; ``target`` overrides what a manifest names.

    Raises:
        ModelError: nothing to profile, more than one export in a run, or a file that was changed
            after its export.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such file or folder", "name an export folder, a run folder or a .tflite")
    if path.is_dir():
        return _folder(_export_of(path), target)
    if path.suffix != ".tflite":
        raise ModelError(f"{path}: not a .tflite", "name an export folder, a run folder or a .tflite")
    if (path.parent / MANIFEST).is_file() and target is None and any(
            path in part_files(path.parent, name) for name in (INT8, COMPILED)):
        return _folder(path.parent, None)
    return _file(path, target)


def is_compiled(data: bytes) -> bool:
    """Whether a .tflite file's bytes hold an Ethos-U operator."""
    return CUSTOM_OPERATOR in data


def manifest_target(folder: Path) -> str:
    """The target that an export folder's manifest names; empty where there is none.

    Raises:
        ModelError: the manifest is damaged, or a file was changed after its export.
    """
    named = _manifest(folder).get("target")
    return str((named.get("name") if isinstance(named, dict) else named) or "")


def _export_of(folder: Path) -> Path:
    for usual in (folder, folder / "export"):
        if part_files(usual, INT8):
            return usual
    found = sorted(candidate for pattern in ("export*", "export*/*") for candidate in folder.glob(pattern)
                   if part_files(candidate, INT8))
    if not found:
        raise ModelError(f"{folder}: holds no {INT8}", f"tinyse export {quote(str(folder))} --target ethos-u55-128")
    if len(found) > 1:
        names = ", ".join(str(each.relative_to(folder)) for each in found)
        raise ModelError(f"{folder}: holds {len(found)} exports: {names}", "name one of them")
    return found[0]


def _folder(folder: Path, target: str | None) -> Located:
    manifest = _manifest(folder)
    named = manifest_target(folder) or None
    if target is None and named is not None and str(named) not in target_names():
        raise ModelError(f"{folder}: was exported for {named}, a target file of your own",
                         "name it: --target FILE.yaml")
    if target is not None and named is not None and load_target(target).name != named:
        # Another target than it was exported for: Vela's reports beside it say nothing about that.
        return Located(_name(folder), part_files(folder, INT8), (), None, load_target(target))
    made_by = manifest.get("versions")
    reports = folder / REPORTS
    chosen = target or (str(named) if named else None)
    return Located(_name(folder), part_files(folder, INT8), part_files(folder, COMPILED),
                   reports if reports.is_dir() else None, load_target(chosen) if chosen else None,
                   str(made_by.get("ethos-u-vela", "")) if isinstance(made_by, dict) else "")


def _file(path: Path, target: str | None) -> Located:
    chosen = load_target(target) if target else None
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise ModelError(f"{path}: not a TFLite file", "name a .tflite that tinyse export or Vela wrote")
    if not is_compiled(data):
        return Located(path.stem, (path,), (), None, chosen)
    stem = path.stem.removesuffix("_vela")
    for folder in (path.parent / REPORTS, path.parent):
        if list(folder.glob(f"{stem}*_summary_*.csv")):
            return Located(path.stem, (), (path,), folder, chosen)
    return Located(path.stem, (), (path,), None, chosen)


def _manifest(folder: Path) -> dict[str, object]:
    manifest = manifest_of(folder)
    for path in (*part_files(folder, INT8), *part_files(folder, COMPILED)):
        exported(path, manifest)
    return manifest


def _name(folder: Path) -> str:
    whole = folder.resolve()
    if whole.name == "export":
        return whole.parent.name
    return f"{whole.parent.name}/{whole.name}" if whole.name.startswith("export") else whole.name
