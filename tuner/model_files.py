"""The model a study serves: found below the study file's folder only, and known by the hash of its bytes."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tuner.domain.deployment import ModelRef
from tuner.spec_model import NAME_PATTERN, ModelSection
from tuner.spec_problems import Finding

MOST_FILES = 10_000
_PART = re.compile(r"[A-Za-z0-9._+ -]{1,128}")
_INSIDE = "name a file below the study file's folder, with letters, digits and . _ + - in its name"


def find_model(section: ModelSection, folder: Path, *, default_name: str) -> ModelRef | Finding:
    """The model with its digest, or what is wrong with it. The text of a path is judged before any file is touched."""
    if section.image is not None:
        return ModelRef(name=section.name or default_name, image=section.image, digest=section.image)
    for key, text in (("path", section.path), ("repository", section.repository)):
        if text is not None:
            wrong = _wrong_path(text)
            if wrong:
                return Finding(("model", key), wrong, _INSIDE)
            found = _file(text, folder, section.name) if key == "path" else _repository(text, folder, section.name)
            return Finding(("model", key), *found) if isinstance(found, tuple) else found
    return ModelRef(name=section.name or default_name)


def _wrong_path(text: str) -> str:
    """Why this text is no path below the study file's folder; empty if it is one."""
    path = PurePosixPath(text)
    if path.is_absolute() or "\\" in text or "~" in text:
        return "the path leaves the study file's folder"
    if ".." in path.parts:
        return "the path leaves the study file's folder by '..'"
    if not path.parts:
        return "the path names no file"
    odd = next((part for part in path.parts if not _PART.fullmatch(part)), None)
    if odd is None:
        return ""
    return f"the name {odd[:40]!a} in the path is {'too long' if len(odd) > 128 else 'not plain'}"


def _inside(text: str, folder: Path) -> Path | tuple[str, str]:
    """The real path, or (message, hint)."""
    root = folder.resolve()
    try:
        real = (root / text).resolve(strict=True)
    except OSError as error:
        return f"cannot read {text}: {error.strerror}", f"the path is relative to {folder}"
    if not real.is_relative_to(root):
        return f"{text} is a link that leaves the study file's folder", "copy the model there"
    return real


def _file(text: str, folder: Path, name: str | None) -> ModelRef | tuple[str, str]:
    real = _inside(text, folder)
    if isinstance(real, tuple):
        return real
    if not real.is_file():
        return f"{text} is not a file", "a folder is named by repository:"
    if real.suffix != ".onnx" or not real.stat().st_size:
        return f"{text} is not an ONNX file", "export the model as ONNX, or name a Triton repository"
    served = name or PurePosixPath(text).stem
    if not re.fullmatch(NAME_PATTERN, served):
        return f"'{served}' is no name for a served model", "add name: below model"
    try:
        return ModelRef(name=served, path=str(real), digest=f"sha256:{_digest_of_file(real)}")
    except OSError as error:
        return f"cannot read {text}: {error.strerror}", "check its permissions"


def _repository(text: str, folder: Path, name: str | None) -> ModelRef | tuple[str, str]:
    real = _inside(text, folder)
    if isinstance(real, tuple):
        return real
    if not real.is_dir():
        return f"{text} is not a folder", "a model file is named by path:"
    models = sorted(entry.name for entry in real.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if name is None and len(models) != 1:
        return f"{text} holds {len(models)} models", "say which one is served: add name: below model"
    served = name or models[0]
    if served not in models:
        return f"{text} holds no model '{served}'", f"it holds {', '.join(models) or 'none'}"
    if not re.fullmatch(NAME_PATTERN, served):
        return f"'{served}' is no name for a served model", "rename the folder"
    if not any(entry.is_dir() and entry.name.isdecimal() for entry in (real / served).iterdir()):
        return f"{text}/{served} has no version", "a Triton model has its files in a folder named 1"
    try:
        files = tuple(_files_below(real))
        wrong = _wrong_names(files, real)
        return wrong or ModelRef(name=served, repository=str(real), digest=f"sha256:{_digest_of_files(files, real)}")
    except OSError as error:
        return f"cannot read {text}: {error.strerror} ({error.filename})", "check its permissions"


def _files_below(root: Path) -> Iterator[Path]:
    """Everything below a folder that is no folder, links not followed, in one order everywhere."""

    def refuse(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(root, onerror=refuse):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        folders[:] = sorted(set(folders) - set(links))
        yield from (Path(parent) / name for name in sorted([*files, *links]))


def _wrong_names(files: tuple[Path, ...], root: Path) -> tuple[str, str] | None:
    if len(files) > MOST_FILES:
        return f"the repository holds more than {MOST_FILES:,} files", "name a smaller folder"
    seen: dict[str, Path] = {}
    for file in files:
        inside = file.relative_to(root)
        if not stat.S_ISREG(file.lstat().st_mode):
            return f"{str(inside)!a} in the repository is a link or no file", "replace it with a copy"
        clash = seen.setdefault(str(inside).casefold(), inside)
        if clash != inside:
            return f"{inside} and {clash} in the repository differ by case only", "rename one"
    return None


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest_of_files(files: tuple[Path, ...], root: Path) -> str:
    """Over the names and contents, so that a file moved is a file changed."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(root).as_posix()}\0{_digest_of_file(file)}\n".encode())
    return total.hexdigest()
