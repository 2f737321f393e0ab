"""A request's form between HTML and `DraftForm`: pure, both ways.

What holds for all files is asked once; a file is described on its own only where its box is ticked. Nothing typed is
lost when something is not understood: the raw values are shown again beside the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from tre_orchestrator.airlock.forms import DraftForm, FileContext, missing
from tre_orchestrator.errors import Invalid
from tre_orchestrator.web.visitors import Form

FILES_SHOWN = 200
"""Files beyond this are described together."""
_Model = TypeVar("_Model", DraftForm, FileContext)
_TEXTS = ("statistic", "population", "n", "variables", "controls", "relation")
_LABELS = {
    "title": "Title",
    "purpose": "Purpose",
    "folder": "Folder",
    "statistic": "Kind of output",
    "population": "Population",
    "n": "Number of people or events",
    "variables": "Variables",
    "controls": "Controls",
    "relation": "Relation to earlier outputs",
}


@dataclass(frozen=True, slots=True)
class FormFile:
    """One file as the form shows it; `key` is the prefix of its fields."""

    key: str
    path: str
    size: int | None


def form_files(form: DraftForm, listing: tuple[tuple[str, int], ...]) -> list[FormFile]:
    """The files that can be described on their own: those seen in the folder, and those named in the form."""
    sizes: dict[str, int | None] = dict(listing)
    paths = sorted({*sizes, *form.files})[:FILES_SHOWN]
    return [FormFile(f"f{index}", path, sizes.get(path)) for index, path in enumerate(paths)]


def values_of(form: DraftForm, files: list[FormFile]) -> dict[str, str]:
    """The form as the fields' texts."""
    values = {"title": form.title, "purpose": form.purpose, "folder": form.folder}
    values |= _context_values("d", form.defaults)
    for file in files:
        own = form.files.get(file.path)
        context = own or form.defaults
        values |= _context_values(file.key, context)
        described = own is not None and own.model_copy(update={"supporting": False}) != form.defaults
        values[f"{file.key}.own"] = "yes" if described else ""
        values[f"{file.key}.supporting"] = "yes" if context.supporting else ""
    return values


def still_missing(form: DraftForm, listing: tuple[tuple[str, int], ...]) -> list[str]:
    """What the form lacks, each thing once with the files it is missing for."""
    things: dict[str, list[str]] = {}
    for one in missing(form, tuple(path for path, _size in listing)):
        things.setdefault(one.sentence.removeprefix(f"{one.path}: "), []).append(one.path)
    return [
        text[:1].upper() + text[1:] if not any(paths) else f"{text[:1].upper()}{text[1:-1]}: {', '.join(paths)}."
        for text, paths in things.items()
    ]


def values_posted(posted: Form) -> dict[str, str]:
    """The fields' texts as they were sent."""
    return {name: posted.text(name) for name in posted.data}


def posted_files(posted: Form) -> list[FormFile]:
    """The files that the form had been shown with."""
    files: list[FormFile] = []
    while path := posted.exact(f"f{len(files)}.path"):
        files.append(FormFile(f"f{len(files)}", path, posted.number(f"f{len(files)}.size")))
    return files


def form_of(posted: Form, before: DraftForm) -> DraftForm:
    """The form that was sent; what `before` says about files that were not shown stays.

    Raises `Invalid` naming the first field that is not understood.
    """
    defaults = _context(posted, "d", supporting=False)
    shown = posted_files(posted)
    paths = {file.path for file in shown}
    files = {path: context for path, context in before.files.items() if path not in paths}
    for file in shown:
        key, path = file.key, file.path
        supporting = posted.ticked(f"{key}.supporting")
        if posted.ticked(f"{key}.own"):
            files[path] = _context(posted, key, supporting=supporting, path=path)
        elif supporting:
            files[path] = defaults.model_copy(update={"supporting": True})
    data = {name: posted.text(name) for name in ("title", "purpose", "folder")}
    return _checked(DraftForm, {**data, "defaults": defaults, "files": files}, "")


def _context(posted: Form, key: str, *, supporting: bool, path: str = "") -> FileContext:
    raw = {name: posted.text(f"{key}.{name}") for name in _TEXTS}
    digits = posted.number(f"{key}.n")
    if raw["n"] and digits is None:
        where = f"{path}: " if path else ""
        raise Invalid("form", f"{where}Number of people or events: write a whole number, such as 1,240.")
    return _checked(
        FileContext,
        {
            "statistic": raw["statistic"] or None,
            "population": raw["population"],
            "n": digits,
            "variables": _variables(raw["variables"]),
            "controls": raw["controls"],
            "relation": raw["relation"],
            "supporting": supporting,
        },
        path,
    )


def _checked(model: type[_Model], data: Mapping[str, object], path: str) -> _Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        where = f"{path}: " if path else ""
        raise Invalid("form", f"{where}{_LABELS.get(field, field)}: {first['msg']}.") from error


def _variables(text: str) -> tuple[str, ...]:
    """Names divided by commas or lines."""
    return tuple(part.strip() for part in text.replace("\n", ",").split(",") if part.strip())


def _context_values(key: str, context: FileContext) -> dict[str, str]:
    return {
        f"{key}.statistic": context.statistic.value if context.statistic else "",
        f"{key}.population": context.population,
        f"{key}.n": "" if context.n is None else str(context.n),
        f"{key}.variables": ", ".join(context.variables),
        f"{key}.controls": context.controls,
        f"{key}.relation": context.relation,
    }
