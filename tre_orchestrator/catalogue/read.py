"""Reads catalogue YAML from a file or a folder: every object with the place it stands at, or every error with its own.

An error is `file:line: field: reason`. Reading is safe for files from strangers: plain YAML types only, no duplicate
keys, and limits on size, depth and aliases (a few hundred bytes of nested aliases would otherwise fill the memory).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tre_orchestrator.catalogue.models import KINDS, Dataset, Person, PolicyProfile, Project
from tre_orchestrator.catalogue.nodes import Document, YamlError, documents
from tre_orchestrator.errors import Invalid

FILE_MAX_BYTES = 1 << 20
FILES_MAX = 5000
_SUFFIXES = (".yaml", ".yml")
_MISSPELT = {"extra_forbidden": "is not known here; check the spelling", "missing": "is missing"}

Object = Project | Dataset | Person | PolicyProfile


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, where: `file` may also name an object ("Project/heart"), `line` counts from 1."""

    file: str
    line: int | None
    field: str
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.field}: {self.reason}" if self.field else f"{place}: {self.reason}"


class CatalogueErrors(Invalid):
    """Every fault that was found; nothing was taken over."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("catalogue", "\n".join(str(fault) for fault in self.faults))

    def problem(self) -> dict[str, object]:
        """The RFC 9457 problem, with each fault on its own."""
        listed = [{"object": f.file, "line": f.line, "field": f.field, "reason": f.reason} for f in self.faults]
        return {**super().problem(), "errors": listed}


@dataclass(frozen=True, slots=True)
class Located:
    """An object and where it was declared; `lines` gives the line of a field such as `spec.members[0].person`."""

    obj: Object
    file: str
    line: int
    lines: Mapping[str, int]

    @property
    def name(self) -> str:
        """The object as "Kind/name"."""
        return f"{type(self.obj).__name__}/{self.obj.metadata.name}"

    def line_of(self, field: str) -> int:
        """The line of a field, or of the nearest thing around it that is written down."""
        return _nearest(self.lines, field, self.line)


def read_path(path: Path) -> list[Located]:
    """Every object in a YAML file, or in all YAML files of a folder and its subfolders (links are not followed).

    Raises `CatalogueErrors` with every fault of every file.
    """
    found: list[Located] = []
    faults: list[Fault] = []
    for file in _files(path):
        read = _read_file(file)
        found += [one for one in read if isinstance(one, Located)]
        faults += [one for one in read if isinstance(one, Fault)]
    faults += _named_twice(found)
    if faults:
        raise CatalogueErrors(faults)
    if not found:
        raise CatalogueErrors([Fault(str(path), None, "", "holds no catalogue objects")])
    return found


def parse_documents(documents: Sequence[Any]) -> list[Object]:
    """Objects from parsed JSON, as an API client sends them; faults are placed by the document's position."""
    objects: list[Object] = []
    faults: list[Fault] = []
    for index, data in enumerate(documents):
        parsed = _parse(data)
        if isinstance(parsed, list):
            faults += [Fault(_title(data, f"documents[{index}]"), None, field, reason) for field, reason in parsed]
        else:
            objects.append(parsed)
    if faults:
        raise CatalogueErrors(faults)
    return objects


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CatalogueErrors([Fault(str(path), None, "", "there is no such file or folder")])
    files = []
    for folder, folders, names in os.walk(path):
        folders.sort()
        files += [Path(folder, name) for name in sorted(names) if name.endswith(_SUFFIXES)]
    if not files:
        raise CatalogueErrors([Fault(str(path), None, "", "holds no .yaml file")])
    if len(files) > FILES_MAX:
        raise CatalogueErrors([Fault(str(path), None, "", f"holds more than {FILES_MAX} YAML files")])
    return files


def _read_file(file: Path) -> list[Located | Fault]:
    name = str(file)
    try:
        with file.open("rb") as stream:
            raw = stream.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        return [Fault(name, None, "", f"cannot be read: {error.strerror}")]
    if len(raw) > FILE_MAX_BYTES:
        return [Fault(name, None, "", f"is longer than {FILE_MAX_BYTES} bytes; divide it")]
    try:
        read = documents(raw)
    except YamlError as fault:
        return [Fault(name, fault.line, fault.field, fault.reason)]
    found: list[Located | Fault] = []
    for document in read:
        found += _located(name, document)
    return found


def _located(file: str, document: Document) -> list[Located | Fault]:
    if document.faults:
        return [Fault(file, fault.line, fault.field, fault.reason) for fault in document.faults]
    parsed = _parse(document.data)
    if not isinstance(parsed, list):
        return [Located(parsed, file, document.line, document.lines)]
    return [Fault(file, _nearest(document.lines, field, document.line), field, reason) for field, reason in parsed]


def _parse(data: Any) -> Object | list[tuple[str, str]]:
    """The object, or (field, reason) of everything that is wrong with it."""
    if not isinstance(data, dict):
        return [("", "must be an object with apiVersion, kind, metadata and spec")]
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        return [("kind", f"must be one of {', '.join(KINDS)}")]
    try:
        return KINDS[kind].model_validate(data)
    except ValidationError as error:
        return [(_field(one["loc"]), _reason(one)) for one in error.errors(include_url=False)]


def _field(location: Iterable[int | str]) -> str:
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
            text += f".{part}" if text else part
    return text


def _reason(error: Any) -> str:
    kind, context = str(error["type"]), error.get("ctx") or {}
    if kind in _MISSPELT:
        return _MISSPELT[kind]
    if kind == "string_pattern_mismatch":
        return f"'{error['input']}' is no valid name: a letter first, then lower-case letters, digits, single hyphens"
    if kind == "string_type" and isinstance(error["input"], int | float):
        return f'must be text; put it in quotes: "{error["input"]}"'
    if kind == "value_error":
        return str(context.get("error", error["msg"]))
    message = str(error["msg"])
    return message[:1].lower() + message[1:]


def _nearest(lines: Mapping[str, int], field: str, otherwise: int) -> int:
    """The line of a field, or of the nearest thing around it that is written down."""
    while field:
        if field in lines:
            return lines[field]
        field = field[: max(field.rfind("."), field.rfind("["), 0)]
    return otherwise


def _title(data: Any, otherwise: str) -> str:
    metadata = data.get("metadata") if isinstance(data, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{data.get('kind')}/{name}" if isinstance(name, str) else otherwise


def _named_twice(found: Iterable[Located]) -> list[Fault]:
    first: dict[str, Located] = {}
    faults = []
    for one in found:
        earlier = first.setdefault(one.name, one)
        if earlier is not one:
            reason = f"{one.name} is declared before at {earlier.file}:{earlier.line}"
            faults.append(Fault(one.file, one.line_of("metadata.name"), "metadata.name", reason))
    return faults
