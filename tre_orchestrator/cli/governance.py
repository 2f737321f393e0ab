"""Decisions from the command line, each made through the API with your own token, under the same rules as the pages.

Nothing here touches the database: a decision that somebody at the machine's console could write would be nobody's.
"""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tre_orchestrator.cli.client import Url, api
from tre_orchestrator.cli.terminal import console
from tre_orchestrator.cli.up import State
from tre_orchestrator.errors import Invalid

Project = Annotated[str, typer.Argument(help="The project's name")]
As = Annotated[str, typer.Option("--role", help="The role you answer in: approver or ops")]
Digest = Annotated[str, typer.Option(help="The digest of the project that you looked at (`tre decide`, or its page)")]
Controls = Annotated[str, typer.Option(help="The digest of its tier's controls that you looked at (the same places)")]
Reason = Annotated[str, typer.Option(help="Why; the project's members read it")]


def add_to(parent: typer.Typer) -> None:
    """Add `tre decide`, `approve`, `refuse`, `grant`, `revoke` and `copies` to `tre`."""
    for command in (decide, approve, refuse, grant, revoke, copies):
        parent.command()(command)


def decide(
    project: Project,
    person: Annotated[str | None, typer.Argument(help="Whose right; you yourself if not given")] = None,
    state: State = None,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """May this person work in this project now, and if not, every reason. Exit code 1 when not."""
    query = f"?person={quote(person, safe='')}" if person else ""
    answer = api(state, url).get(f"/api/projects/{quote(project, safe='')}/decision{query}")
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        _say(answer)
    raise typer.Exit(0 if answer["allowed"] else 1)


def approve(
    project: Project, digest: Digest, controls: Controls, role: As = "approver", state: State = None, url: Url = None
) -> None:
    """Approve exactly this version of a project, under exactly these controls of its tier."""
    body = {"role": role, "digest": digest, "controls": controls}
    api(state, url).post(f"/api/projects/{quote(project, safe='')}/approvals", body)
    console.print(f"You approved {project} as {role}, version {digest[:12]}.")


def refuse(
    project: Project,
    digest: Digest,
    controls: Controls,
    reason: Reason,
    role: As = "approver",
    state: State = None,
    url: Url = None,
) -> None:
    """Refuse this version of a project, saying why; an earlier approval in that role is withdrawn."""
    body = {"role": role, "digest": digest, "controls": controls, "reason": reason}
    api(state, url).post(f"/api/projects/{quote(project, safe='')}/refusals", body)
    console.print(f"You refused {project} as {role}, version {digest[:12]}.")


def grant(
    dataset: Annotated[str, typer.Argument(help="The dataset's name")],
    version: Annotated[str, typer.Argument(help="Its version")],
    project: Project,
    organisation: Annotated[str, typer.Option(help="The controller you decide for")],
    digest: Digest,
    until: Annotated[str, typer.Option(help="Last day, as YYYY-MM-DD (UTC)")],
    grace_seconds: Annotated[int, typer.Option(help="How long running workspaces may go on after its end")] = 0,
    conditions: Annotated[str, typer.Option(help="What the project must keep to")] = "",
    state: State = None,
    url: Url = None,
) -> None:
    """Let a project use a dataset version until a day; replaces your organisation's live grant of it."""
    body = {
        "version": version,
        "project": project,
        "digest": digest,
        "organisation": organisation,
        "until": _day(until),
        "grace_seconds": grace_seconds,
        "conditions": conditions,
    }
    given = api(state, url).post(f"/api/datasets/{quote(dataset, safe='')}/grants", body)
    console.print(f"Granted: {project} may use {dataset} {version} until {until}. Grant {given['id']}")


def revoke(
    grant_id: Annotated[str, typer.Argument(metavar="GRANT", help="The grant's id")],
    reason: Reason,
    state: State = None,
    url: Url = None,
) -> None:
    """Take a grant back now: nothing new starts, running workspaces end within its grace, copies are held."""
    api(state, url).post(f"/api/grants/{quote(grant_id, safe='')}/revocation", {"reason": reason})
    console.print(f"Revoked grant {grant_id}. No workspace can start under it any more.")


def copies(
    hold: Annotated[str, typer.Argument(help="The id of the held copies (on your page)")],
    decision: Annotated[str, typer.Argument(help="delete or release-hold")],
    state: State = None,
    url: Url = None,
) -> None:
    """Say what becomes of copies that a project made before its right ended."""
    api(state, url).post(f"/api/copies/{quote(hold, safe='')}/decision", {"decision": decision})
    console.print(f"Recorded: {decision}.")


def _say(answer: dict[str, Any]) -> None:
    if answer["allowed"]:
        console.print(f"Allowed until {answer['until']} ({answer['ends_because']}).")
    for refusal in answer["refusals"]:
        console.print(f"Refused: {refusal['sentence']} \\[{refusal['code']}]")
    console.print(f"Digest of this version: {answer['digest']}")
    console.print(f"Digest of its tier's controls: {answer['controls']}")


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Invalid("until", f"'{text}' is not a day. Write it as 2027-03-31.") from None
