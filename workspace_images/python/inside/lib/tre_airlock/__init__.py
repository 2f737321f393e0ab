"""Ask for results to be released, from a notebook.

`submit("outputs/figures", title="…")` writes a `request.yaml` into the folder: the portal offers it as a draft, and
nothing leaves before you send it there and two checkers have agreed. `status()` says how your requests stand.
"""

import json
from pathlib import Path

OUTPUTS = Path("/outputs")
OUTCOMES = Path("/outcomes/requests.json")
FORM = "request.yaml"
FORM_BYTES_MAX = 64 * 1024
FIELDS = frozenset({"statistic", "population", "n", "variables", "controls", "relation", "supporting"})
TITLE_MAX = 200
NOTE_MAX = 4000

__all__ = ["AirlockError", "status", "submit"]


class AirlockError(ValueError):
    """What is wrong with the request, in a sentence."""


def submit(folder, title, files=None, *, context=""):
    """Prepare a request for everything in `folder`, a folder below /outputs ("outputs/figures" works too).

    `title` is one line for the checkers, `context` says what the results are for and how they were made. `files` maps
    file names in the folder to a note, or to a dictionary of what the form asks: statistic, population, n, variables,
    controls, relation, supporting. The more a checker is told, the faster the answer. Returns the path of the form
    that was written. Raises `AirlockError` when the folder or a file is not there, or something is too long.
    """
    place = _folder(folder)
    told = {_file(place, name): _told(name, said) for name, said in (files or {}).items()}
    found = sorted(
        path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file() and path.name != FORM
    )
    if not found:
        raise AirlockError(f"{place} has no files yet. Write your results there first.")
    request = {"title": _line(title), "context": _text(context, "context"), "files": told}
    text = json.dumps(request, ensure_ascii=False, indent=2) + "\n"  # JSON is YAML
    if len(text.encode()) > FORM_BYTES_MAX:
        raise AirlockError(f"The notes are longer than {FORM_BYTES_MAX // 1024} KiB in all. Shorten them.")
    form = place / FORM
    form.write_text(text, encoding="utf-8")
    total = sum((place / name).stat().st_size for name in found)
    silent = [name for name in found if not told.get(name)]
    print(f"Draft ready: {len(found)} file(s), {total:,} bytes, in {place}.")
    if silent:
        print(f"Say what these show, or a checker will ask: {', '.join(silent[:5])}{' …' if len(silent) > 5 else ''}")
    print("Next: open this project in the portal, Requests, New request, choose the folder and send it.")
    return str(form)


def status():
    """Print how your requests in this project stand, and return them as a list of dictionaries."""
    try:
        requests = json.loads(OUTCOMES.read_text(encoding="utf-8"))["requests"]
    except FileNotFoundError:
        requests = []
    if not requests:
        print("No requests yet.")
    for request in requests:
        print(f"{request['number']:>4}  {request['state']:<14} {request['title']}")
    return requests


def _folder(folder):
    text = str(folder)
    place = Path(text if text.startswith("/") else f"/{text.removeprefix('./')}")
    resolved = place.resolve()
    if resolved != OUTPUTS and OUTPUTS not in resolved.parents:
        raise AirlockError(f"{folder} is not below /outputs. Copy what you want released there.")
    if not resolved.is_dir():
        raise AirlockError(f"{place} is not a folder. Name the folder that holds the files, not one file.")
    return resolved


def _file(place, name):
    if not (place / name).is_file():
        raise AirlockError(f"{place} has no file {name}.")
    return Path(name).as_posix()


def _told(name, said):
    if not isinstance(said, dict):
        return _text(said, f"the note on {name}")
    unknown = sorted(set(said) - FIELDS)
    if unknown:
        raise AirlockError(f"{name}: there is no field {unknown[0]}. There are: {', '.join(sorted(FIELDS))}.")
    return {field: _whole(name, value) if field == "n" else value for field, value in said.items()}


def _whole(name, value):
    """A number of people as Python's own, whatever library it came from."""
    if value is None:
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or number != value or isinstance(value, bool):
        raise AirlockError(f"{name}: n is a whole number, such as 1240; this is {value!r}.")
    return number


def _line(title):
    text = " ".join(str(title).split())
    if not text or len(text) > TITLE_MAX:
        raise AirlockError(f"A title has 1 to {TITLE_MAX} characters.")
    return text


def _text(value, what):
    text = str(value).strip()
    if len(text) > NOTE_MAX:
        raise AirlockError(f"{what} has at most {NOTE_MAX} characters.")
    return text
