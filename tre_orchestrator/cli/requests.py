"""`tre request`: ask for results to leave, and fetch what left, through the API with your own token.

Nothing here decides: the same rules answer as on the pages, and a step on an older version of a request is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.markup import escape
from rich.table import Table

from tre_orchestrator.cli.client import ApiClient, Url, api
from tre_orchestrator.cli.terminal import console
from tre_orchestrator.cli.up import State
from tre_orchestrator.errors import Invalid

app = typer.Typer(
    help="Requests to release results: list, show, draft, submit, withdraw, download.", no_args_is_help=True
)

Project = Annotated[str, typer.Argument(help="The project's name")]
Number = Annotated[int, typer.Argument(help="The request's number")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON")]


@app.command("list")
def list_(
    project: Annotated[str | None, typer.Argument(help="A project; your own requests if not given")] = None,
    queue: Annotated[bool, typer.Option("--queue", help="What waits for you as a checker")] = False,
    state: State = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List your requests, a project's, or a checker's queue."""
    path = "/api/queue" if queue else f"/api/projects/{_part(project)}/requests" if project else "/api/requests"
    found = api(state, url).get(path)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if not found:
        console.print("Nothing waits for you." if queue else "No requests yet.")
        return
    table = Table("No", "Project", "Title", "State", "Files", "Late")
    for line in found:
        late = "late" if line["late"] else ""
        table.add_row(
            str(line["id"]), line["project"], escape(line["title"]), line["state_label"], str(line["files"]), late
        )
    console.print(table)


@app.command()
def show(project: Project, number: Number, state: State = None, url: Url = None, as_json: Json = False) -> None:
    """Show one request as you may see it: files, findings, what is missing, what you can do."""
    found = api(state, url).get(_one(project, number))
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    _say(found)


@app.command()
def draft(
    project: Project,
    folder: Annotated[str, typer.Argument(help="A folder below /outputs of your workspace")],
    state: State = None,
    url: Url = None,
) -> None:
    """Begin a request from a folder, with what `tre_airlock.submit` left there. Complete it in the portal."""
    made = api(state, url).post(f"/api/projects/{_part(project)}/requests", {"folder": folder})
    console.print(f"Draft {made['id']} made. Complete it in the portal, then submit it.")
    _say_missing(made)


@app.command()
def submit(project: Project, number: Number, state: State = None, url: Url = None) -> None:
    """Copy the folder out of your workspace and hand the request in. Every missing field is named."""
    client = api(state, url)
    done = client.post(f"{_one(project, number)}/submission", {"version": _version(client, project, number)})
    console.print(f"Request {number} was handed in with {len(done['files'])} files. Now: {done['state_label']}.")


@app.command()
def withdraw(project: Project, number: Number, state: State = None, url: Url = None) -> None:
    """Take a request back for good."""
    client = api(state, url)
    client.post(f"{_one(project, number)}/withdrawal", {"version": _version(client, project, number)})
    console.print(f"Request {number} is withdrawn.")


@app.command()
def download(
    project: Project,
    number: Number,
    to: Annotated[Path | None, typer.Option("--to", help="File to write; default: <project>-request-<no>.zip")] = None,
    state: State = None,
    url: Url = None,
) -> None:
    """Fetch a released bundle. The fetch is recorded. Then check it with `tre bundle verify`."""
    target = to or Path(f"{project}-request-{number}.zip")
    if target.exists():
        raise Invalid("file-exists", f"{target} exists already. Name another file with --to.")
    target.write_bytes(api(state, url).download(f"{_one(project, number)}/bundle"))
    console.print(f"Wrote {target}. Check it: `tre bundle verify {target}`")


def _say(found: dict[str, Any]) -> None:
    console.print(f"{found['project']} {found['id']}: {escape(found['title'])}")
    console.print(f"{found['state_label']}, turn {found['turn']}, by {found['author']}")
    if found["problem"]:
        console.print(escape(found["problem"]))
    for file in found["files"]:
        console.print(f"  {escape(file['path'])}  {file['size']} bytes  {file['verdict'] or 'not checked yet'}")
        for finding in file["findings"]:
            console.print(f"    {finding['verdict']}: {escape(finding['sentence'])}{_place(finding)}")
    _say_missing(found)
    possible = [action["label"] for action in found["actions"] if action["why_not"] is None]
    if possible:
        console.print(f"You can: {', '.join(possible)}.")


def _say_missing(found: dict[str, Any]) -> None:
    for lack in found["missing"]:
        console.print(f"  missing: {escape(lack['sentence'])}")


def _place(finding: dict[str, Any]) -> str:
    named = [(name, finding[name]) for name in ("row", "column", "line") if finding[name] is not None]
    return f" ({', '.join(f'{name} {number}' for name, number in named)})" if named else ""


def _version(client: ApiClient, project: str, number: int) -> int:
    return int(client.get(_one(project, number))["version"])


def _one(project: str, number: int) -> str:
    return f"/api/projects/{_part(project)}/requests/{number}"


def _part(name: str) -> str:
    return quote(name, safe="")
