"""How people get in where no identity provider is set up: the first one at the console, the others by invitation."""

from __future__ import annotations

import datetime as dt
import getpass
from pathlib import Path
from typing import Annotated

import typer

from tre_orchestrator.catalogue.models import Person, Role
from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.catalogue.read import read_path
from tre_orchestrator.cli.client import Url, api
from tre_orchestrator.cli.terminal import console
from tre_orchestrator.cli.up import State
from tre_orchestrator.errors import Invalid, Refusal, Refused
from tre_orchestrator.governance.apply import apply
from tre_orchestrator.governance.credentials import has_anybody_signed_in, issue_login_link
from tre_orchestrator.governance.load import list_people
from tre_orchestrator.ledger.append import console as at_console
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import load_settings

app = typer.Typer(help="Let people in.", no_args_is_help=True)


def add_to(parent: typer.Typer) -> None:
    """Add `tre person` to `tre`."""
    parent.add_typer(app, name="person")


@app.command()
def first(
    file: Annotated[Path, typer.Argument(help="A YAML file with one Person whose roles name ops")], state: State = None
) -> None:
    """Declare the first person of an empty TRE, at its console; the ledger shows it as break glass.

    Until somebody has signed in, the same command makes a fresh link for that person.
    """
    settings = load_settings(state)
    people = [located.obj for located in read_path(file) if isinstance(located.obj, Person)]
    if len(people) != 1 or Role.ops not in people[0].spec.roles:
        raise Invalid("not-one-person", f"{file} must hold exactly one Person, and their roles must name 'ops'.")
    now = dt.datetime.now(dt.UTC)
    actor = at_console(getpass.getuser())
    db = Database(settings.sqlalchemy_url)
    with db.write() as session:
        declared = [one.metadata.name for one in list_people(session)]
        if declared and (declared != [people[0].metadata.name] or has_anybody_signed_in(session)):
            sentence = "This TRE has people already. Ask one of its operators for an invitation (`tre person invite`)."
            raise Refused([Refusal("not-empty", sentence)])
        apply(session, people, actor, now)
        person = PersonId(people[0].metadata.name)
        token = None if settings.oidc else issue_login_link(session, person, now, actor=actor)
    db.dispose()
    if token is None:
        console.print(f"Declared. Sign in with your identity provider: {settings.people_origin}")
    else:
        console.print(f"Sign in within 10 minutes, once: {settings.sign_in_link(token)}")


@app.command()
def invite(person: str, state: State = None, url: Url = None) -> None:
    """A one-time link for a person who has never signed in (you need the role ops; the ledger shows it)."""
    link = api(state, url).post(f"/api/people/{person}/invitation")["link"]
    console.print(f"Give this to {person} by a way only they read; it works once, within 10 minutes: {link}")


@app.command()
def reset(
    person: str,
    state: State = None,
    url: Url = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first")] = False,
) -> None:
    """For a person who lost their password: it ends, with all their sessions and tokens; prints a one-time link.

    Two operators must ask for it within a day; the second one gets the link. The ledger shows both.
    """
    if not yes:
        typer.confirm(f"End the password and every session and token of {person}?", abort=True)
    link = api(state, url).post(f"/api/people/{person}/reset")["link"]
    if link is None:
        console.print(f"Asked. Nothing has ended yet: another operator must run the same for {person} within a day.")
        return
    console.print(f"Give this to {person} by a way only they read; it works once, within 10 minutes: {link}")
