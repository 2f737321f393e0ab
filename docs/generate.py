"""Writes the reference pages that only repeat the code: commands, settings, catalogue, request states.

`python docs/generate.py` writes them; with `--check` it changes nothing and names those that differ (exit code 1).
"""

from __future__ import annotations

import enum
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from diagram import diagram
from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.core import TyperArgument, TyperGroup, TyperOption
from typer.main import get_command

from tre_orchestrator.airlock.states import (
    AUTHOR_OWNED,
    CHECKERS_OWNED,
    LEASE,
    REVIEW_TARGET,
    TIMEOUTS,
    TRANSITIONS,
    Guard,
    Overdue,
    State,
    Who,
    why_not_move,
)
from tre_orchestrator.catalogue.models import API_VERSION, KINDS
from tre_orchestrator.catalogue.names import NAME_MAX
from tre_orchestrator.cli.main import app
from tre_orchestrator.settings import PREFIX, Settings

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/generate.py from the code. Change the code, then run `make docs`. -->\n\n"

# --- Commands --------------------------------------------------------------------------------------------------------

COMMANDS_HEAD = """# Commands

`tre` is one command for everybody. `tre COMMAND --help` says the same as this page.

- Commands that decide something (`approve`, `refuse`, `grant`, `revoke`, `copies`, `apply`, `request submit` and
  others) go through the API with your own token. Get one on your account page, then run `tre login`.
- Commands that read this machine (`status`, `doctor`, `ledger`, `dataset`, `env`) open its state folder directly.
- Exit code 0: done. 1: refused or failed, with one sentence and a code in brackets on standard error. 2: the command
  line could not be understood.
- `--state` names the state folder. Without it: `TRE_STATE_DIR`, else `.tre` in the current folder.
- `--url`, or `TRE_URL`, names the TRE's address. With it, commands that use your own token read no state folder: they
  work from any account and any machine.
- A state folder belongs to the account that the TRE runs as; the other commands are for that account.

"""


def commands_page() -> str:
    """Every command with its arguments and options."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return COMMANDS_HEAD + "\n".join(_command_lines(group, "tre", 2))


def _command_lines(group: TyperGroup, path: str, level: int) -> Iterator[str]:
    for name, command in group.commands.items():
        full = f"{path} {name}"
        if isinstance(command, TyperGroup):
            yield f"{'#' * level} {full}\n\n{_sentence(command.help)}\n"
            yield from _command_lines(command, full, level + 1)
            continue
        arguments = [one for one in command.params if isinstance(one, TyperArgument)]
        options = [one for one in command.params if isinstance(one, TyperOption) and one.name != "help"]
        words = [full, *(_usage(one) for one in arguments), *(["[OPTIONS]"] if options else [])]
        yield f"{'#' * level} {full}\n\n{_sentence(command.help)}\n\n```\n{' '.join(words)}\n```\n"
        if arguments or options:
            rows = [(f"`{_word(one)}`", one.help or "") for one in arguments]
            rows += [(", ".join(f"`{flag}`" for flag in one.opts), _option_help(one)) for one in options]
            yield _table(("argument or option", "meaning"), rows)


def _word(argument: TyperArgument) -> str:
    return argument.metavar or str(argument.name).strip("_").upper()


def _usage(argument: TyperArgument) -> str:
    return _word(argument) if argument.required else f"[{_word(argument)}]"


def _option_help(option: TyperOption) -> str:
    said = [option.help or ""]
    if option.required:
        said.append("Required.")
    elif option.default not in (None, False, "") and not callable(option.default):
        said.append(f"Default: {_default(option.default)}.")
    return " ".join(part if part.endswith(".") else f"{part}." for part in said if part)


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


# --- Settings --------------------------------------------------------------------------------------------------------

SETTINGS_HEAD = f"""# Settings

Read in this order: options of `tre up`, environment variables that begin with `{PREFIX}`, `settings.yaml` in the state
folder, the defaults below. An unknown key in either stops the process: a misspelt control must not be a missing one.
`tre up` keeps what was set in `settings.yaml`, so that later commands on the same folder agree with the running TRE.
Values in the environment are read as YAML where they are not plain text: `true`, `8001`, `[/srv/data]`.

"""


def settings_page() -> str:
    """Every setting."""
    rows = [
        (f"`{name}`", f"`{PREFIX}{name.upper()}`", _type(field), _shown(field), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return SETTINGS_HEAD + _table(("setting", "environment", "value", "default", "meaning"), rows)


# --- Catalogue -------------------------------------------------------------------------------------------------------

CATALOGUE_HEAD = f"""# Catalogue

YAML, one or more objects in a file (`---` between them), of four kinds. Check it with `tre validate PATH`, apply it
with `tre apply PATH`. `tre schema` prints the JSON Schema for your editor. An unknown key is an error. Nothing is
applied unless all of it is valid. Every object begins so:

```yaml
apiVersion: {API_VERSION}
kind: Project            # or Dataset, Person, PolicyProfile
metadata: {{name: winter-pressures}}
spec: …
```

A name has at most {NAME_MAX} characters: a letter first, then lower-case letters, digits and single hyphens, no hyphen
at the end. Days are written as 2027-03-31 and mean the whole day in UTC. Nothing in the catalogue says who agreed to
what: approvals and grants are made on the pages or with `tre`, and stand in the ledger.

"""


def catalogue_page() -> str:
    """Every kind and what belongs to it."""
    parts = [CATALOGUE_HEAD]
    for name, kind in KINDS.items():
        parts.append(f"## {name}\n\n{_sentence(kind.__doc__)}\n")
        spec = kind.model_fields["spec"].annotation
        assert isinstance(spec, type)
        parts.append(_model_table(spec))
        for inner in _inner_models(spec):
            parts.append(f"### {name}: {inner.__name__}\n\n{_sentence(inner.__doc__)}\n")
            parts.append(_model_table(inner))
    return "\n".join(parts)


def _model_table(model: type[BaseModel]) -> str:
    rows = [
        (f"`{name}`", _type(field), _shown(field), field.description or "")
        for name, field in model.model_fields.items()
    ]
    return _table(("key", "value", "default", "meaning"), rows)


def _inner_models(model: type[BaseModel]) -> list[type[BaseModel]]:
    found: list[type[BaseModel]] = []
    for field in model.model_fields.values():
        for inner in _models_in(field.annotation):
            found += [one for one in (inner, *_inner_models(inner)) if one not in found]
    return found


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models_in(part)


# --- Types in words --------------------------------------------------------------------------------------------------

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}


def _type(field: FieldInfo) -> str:
    words = _annotation(field.annotation)
    limits = _limits(field.metadata)
    if limits and words.startswith("list"):
        limits = f"{limits} entries"
    return f"{words}, {limits}" if limits else words


def _annotation(annotation: typing.Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        limits = _limits(args[1:])
        return f"{_annotation(args[0])}{f', {limits}' if limits else ''}"
    if origin in (types.UnionType, typing.Union):
        return _annotation(next(one for one in args if one is not type(None)))
    if origin is typing.Literal:
        return ", ".join(f"`{one}`" for one in args)
    if origin is tuple:
        return f"list of {_annotation(args[0]).replace(', at most', ' of at most')}"
    if origin is dict:
        return f"mapping from {_annotation(args[0])} to {_annotation(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return ", ".join(f"`{one.value}`" for one in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.__name__
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _limits(metadata: typing.Iterable[object]) -> str:
    said = []
    for one in metadata:
        match one:
            case Ge():
                said.append(f"at least {one.ge}")
            case Gt():
                said.append(f"more than {one.gt}")
            case Le():
                said.append(f"at most {one.le}")
            case Lt():
                said.append(f"below {one.lt}")
            case MinLen():
                said.append(f"at least {one.min_length}")
            case MaxLen():
                said.append(f"at most {one.max_length}")
            case StringConstraints():
                said += [f"at most {one.max_length} characters"] if one.max_length else []
            case _ if pattern := getattr(one, "pattern", None):
                said.append(f"`{pattern}`")
    return ", ".join(said)


def _shown(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return _default(field.default if field.default is not PydanticUndefined else field.default_factory)


def _default(value: object) -> str:
    if isinstance(value, BaseModel):
        return "its own defaults"
    if isinstance(value, enum.Enum):
        return f"`{value.value}`"
    if isinstance(value, tuple):
        return ", ".join(_default(one) for one in value) or "none"
    if value is None or value == "":
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


# --- Request states --------------------------------------------------------------------------------------------------

STATES_HEAD = f"""# Request states

The life of a request is one table in the code: from, to, who, on which condition. A move that is not a row here does
not happen. Tests walk every combination of state, state and part. From handing in to a decision the target is
{REVIEW_TARGET.days} days; a request beyond it is shown as late.

![Every move of a request, as a diagram; the table below says the same](request-states.svg)

A full line is a move of a person, a dashed line one of the software. Moves to the final states "Withdrawn" and
"Revoked" are not drawn: the boxes say from where they are possible.

"""


def states_page() -> str:
    """States, moves, time limits."""
    states = [(f"`{one.value}`", one.label, _owner(one), _overdue(one)) for one in State]
    moves = [(row.source.label, row.target.label, _who(row.who), _condition(row.guard)) for row in TRANSITIONS]
    return (
        STATES_HEAD
        + "## States\n\n"
        + _table(("state", "shown as", "whose turn", "when it stays too long"), states)
        + "\n## Moves\n\n"
        + _table(("from", "to", "by", "only if"), moves)
        + "\n## Conditions\n\nWhat a person reads when the condition of their step does not hold.\n\n"
        + _table(("condition", "sentence"), _refusals())
    )


def _refusals() -> list[tuple[str, str]]:
    found = {}
    for row in TRANSITIONS:
        refusal = why_not_move(row.source, row.target, row.who, frozenset())
        if refusal and row.who is not Who.system:
            found[row.guard] = refusal.sentence
    return [(_condition(guard), sentence) for guard, sentence in found.items()]


def _owner(state: State) -> str:
    if state in AUTHOR_OWNED:
        return "author"
    if state in CHECKERS_OWNED:
        return "checkers"
    return "nobody's: final" if state.final else "author (to fetch it)" if state is State.released else "software"


def _overdue(state: State) -> str:
    timeout = TIMEOUTS.get(state)
    if timeout is None:
        return ""
    if timeout.then is Overdue.take_over:
        return f"another process takes over after {LEASE.seconds // 60} minutes"
    days = f"after {timeout.after.days} days"
    return {
        Overdue.withdraw: f"withdrawn {days}",
        Overdue.expire: f"expires {days}",
        Overdue.remind: f"shown as overdue {days}",
    }[timeout.then]


def _who(who: Who) -> str:
    return "software" if who is Who.system else who.value


def _condition(guard: Guard) -> str:
    return "" if guard is Guard.none else guard.value.replace("-", " ")


# --- Tables and files ------------------------------------------------------------------------------------------------


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(_cell(text) for text in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """Text in a table: a bar is no border, and `<` outside code no tag."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if inside % 2 else part.replace("<", "&lt;") for inside, part in enumerate(parts))


def pages() -> dict[str, str]:
    """Every generated file below docs/, by name."""
    return {
        "reference/commands.md": NOTE + commands_page(),
        "reference/settings.md": NOTE + settings_page(),
        "reference/catalogue.md": NOTE + catalogue_page(),
        "reference/request-states.md": NOTE + states_page(),
        "reference/request-states.svg": diagram(),
    }


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` name those that differ."""
    stale = [
        name
        for name, text in pages().items()
        if not (DOCS / name).exists() or (DOCS / name).read_text(encoding="utf-8") != text
    ]
    if arguments == ["--check"]:
        for name in stale:
            print(f"docs/{name} is not what the code says: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(pages()[name], encoding="utf-8")
        print(f"docs/{name} written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
