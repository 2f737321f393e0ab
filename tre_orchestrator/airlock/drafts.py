"""What a notebook prepared: the `request.yaml` that `tre_airlock.submit` wrote into a folder, read as a draft's form.

The file is hostile input: bounded in size, YAML without aliases, tags or repeated keys, strict models. It only fills in
a form that the analyst then sees and submits in the portal; a kernel is not a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from tre_orchestrator.airlock.forms import DraftForm, FileContext, FilePath, Title
from tre_orchestrator.airlock.intake import DRAFT_FILE, Courier, is_left_out
from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.errors import Invalid

BYTES_MAX = 64 * 1024
PURPOSE_MAX = 2000
_Note = Annotated[str, StringConstraints(max_length=4000)]


class _NotebookDraft(BaseModel):
    """The form of `request.yaml`: a note per file, or the file's whole context."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Title = ""
    context: _Note = ""
    files: dict[FilePath, _Note | FileContext] = Field(default_factory=dict, max_length=10_000)


@dataclass(frozen=True, slots=True)
class Folder:
    """What lies in a folder now, and the form to start from. `problem` says why a `request.yaml` was not used."""

    form: DraftForm
    files: tuple[tuple[str, int], ...]
    problem: str


def look_into(courier: Courier, workspace: WorkspaceId, folder: str) -> Folder:
    """The files of a folder below /outputs, and the form that a notebook left there. Nothing is kept.

    Raises `Refused` or `NotFound` as the courier does.
    """
    files: list[tuple[str, int]] = []
    form, problem = DraftForm(folder=folder), ""
    for file in courier.collect(workspace, form.collected_folder):
        if file.path == DRAFT_FILE:
            try:
                form = read_draft(_start(file.chunks), folder)
            except Invalid as error:
                problem = error.sentence
        elif not is_left_out(file.path):
            files.append((file.path, file.size))
    return Folder(form, tuple(sorted(files)), problem)


def read_draft(data: bytes, folder: str) -> DraftForm:
    """The form in the bytes of a `request.yaml`; raises `Invalid` saying what is wrong with it."""
    if len(data) > BYTES_MAX:
        raise _bad(f"it is larger than {BYTES_MAX >> 10} KiB")
    try:
        said = _NotebookDraft.model_validate(yaml.load(data.decode("utf-8"), Loader=_PlainLoader))  # noqa: S506 - safe
    except UnicodeDecodeError:
        raise _bad("it is not UTF-8 text") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ascii(".".join(str(part) for part in first["loc"]))[1:-1]
        raise _bad(f"{place[:80]}: {first['msg'][:120]}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise _bad("it is not plain YAML") from None
    notes = [f"{path}: {note}" for path, note in said.files.items() if isinstance(note, str) and note]
    purpose = "\n".join([said.context, *notes]).strip()[:PURPOSE_MAX]
    contexts = {path: context for path, context in said.files.items() if isinstance(context, FileContext)}
    return DraftForm(title=said.title, purpose=purpose, folder=folder, files=contexts)


class _PlainLoader(yaml.SafeLoader):
    """YAML as plain data: no alias (a small file could grow without end), no tag, no key that stands twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias before it is followed, and a tag before it means anything."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.events.AliasEvent) or getattr(event, "tag", None):
            raise yaml.YAMLError("an alias or a tag")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a repeated key."""
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise yaml.YAMLError("a key that stands twice")
        return mapping


def _start(chunks: Iterator[bytes]) -> bytes:
    """Enough of the content to see that it is too large, without keeping more."""
    data = bytearray()
    for chunk in chunks:
        if len(data) <= BYTES_MAX:
            data += chunk
    return bytes(data)


def _bad(why: str) -> Invalid:
    return Invalid("bad-draft", f"The request.yaml in this folder was not used: {why}.")
