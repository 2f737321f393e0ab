"""A small TRE for the pages: the demo's people, projects and decisions over tiny data.

Its clock stands still until told, its hub does what a test says, its courier hands out what a test put there.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tre_orchestrator.airlock.checks.model import Report, Rules
from tre_orchestrator.airlock.checks.scan import scan
from tre_orchestrator.airlock.store import make_store, open_store
from tre_orchestrator.airlock.work import advance
from tre_orchestrator.catalogue.names import PersonId, ProjectName
from tre_orchestrator.demo.seed import seed
from tre_orchestrator.errors import Refusal, Refused
from tre_orchestrator.governance.identity import HEADER, identity, sign_identity
from tre_orchestrator.governance.secrets import IDENTITY, secret
from tre_orchestrator.ledger.database import Base, Database
from tre_orchestrator.ledger.keys import load_or_create_signer
from tre_orchestrator.ops.health import Health, ProcessRecord
from tre_orchestrator.settings import Settings
from tre_orchestrator.web.app import create_app
from tre_orchestrator.web.site import LedgerKey, Machine, Site
from tre_orchestrator.workspaces import rows
from tre_orchestrator.workspaces.backend import Handle

NOW = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)
CSRF = "c" * 64
PEOPLE = {
    "analyst": "ana-silva",
    "other analyst": "ben-okafor",
    "checker": "chloe-martin",
    "second checker": "dev-patel",
    "controller": "erin-walsh",
    "other controller": "femi-adeyemi",
    "ops": "grace-lin",
}


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> dt.datetime:
        return self.now


@dataclass
class FakeHub:
    """Remembers what it was asked; its progress is what a test says."""

    asked: list[tuple[str, str, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    refusal: str = ""

    def ensure_user(self, person: PersonId) -> None:
        self.asked.append(("user", person, ""))

    def start_server(self, person: PersonId, project: ProjectName, *, mfa: bool = False) -> bool:
        if self.refusal:
            raise Refused([Refusal("hub-refused", self.refusal)])
        self.asked.append(("start", person, project))
        return True

    def stop_server(self, person: PersonId, project: ProjectName) -> None:
        self.asked.append(("stop", person, project))

    async def progress(self, person: PersonId, project: ProjectName) -> AsyncIterator[dict[str, Any]]:
        for event in self.events:
            yield event


@dataclass
class Copied:
    path: str
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def chunks(self) -> Iterator[bytes]:
        yield self.content


@dataclass
class FakeCourier:
    """Hands out the files that a test put into /outputs."""

    files: dict[str, bytes] = field(default_factory=dict)
    calls: int = 0

    def collect(self, workspace: str, folder: str) -> Iterator[Copied]:
        self.calls += 1
        for path, content in self.files.items():
            yield Copied(path, content)


@dataclass
class World:
    """The site, its app, and who acts in it."""

    site: Site
    app: FastAPI
    clock: Clock
    hub: FakeHub
    courier: FakeCourier
    db: Database
    settings: Settings

    def header(self, person: str, *, via: str = "session", mfa: bool = False) -> str:
        csrf = CSRF if via == "session" else ""
        who = identity(PersonId(person), "session-1", csrf, mfa=mfa, via=via, now=self.clock())  # type: ignore[arg-type]
        return sign_identity(self.site.identity_key, who)

    def client(self, person: str | None, *, via: str = "session", mfa: bool = False) -> TestClient:
        """A browser of this person behind the gate; None: nobody is signed in."""
        client = TestClient(self.app, base_url="http://tre.localhost:8000", raise_server_exceptions=False)
        client.follow_redirects = False
        if person is not None:
            world, name = self, PEOPLE.get(person, person)

            def sign(request: httpx.Request) -> None:
                request.headers[HEADER] = world.header(name, via=via, mfa=mfa)

            client.event_hooks = {"request": [sign]}
        return client

    def run_workspace(self, person: str, project: str, *, hours: float = 8) -> str:
        """Mark a workspace as running, as a start would leave it; returns its id."""
        with self.db.write() as session:
            row = rows.get_or_make(session, PersonId(person), ProjectName(project))
            rows.claim(row, self.clock())
            handle = Handle(row.id, Path("/run/ws.sock"), "ab" * 8, 1, self.clock())  # type: ignore[arg-type]
            rows.mark_intended(row, handle.nonce, "d" * 64, [])
            ends_at = self.clock() + dt.timedelta(hours=hours)
            rows.mark_running(row, handle, ends_at, ends_at)
            return row.id


def build(state_dir: Path, db: Database | None = None) -> World:
    """A seeded world in this state folder, on SQLite there unless a database is given."""
    settings = Settings(state_dir=state_dir, demo=True)
    data = {"admissions": "age,sex\n70,f\n", "wellbeing": "respondent,score\nW25-1,7\n"}
    for dataset, text in data.items():
        folder = state_dir / "data" / dataset / "1.0"
        folder.mkdir(parents=True)
        (folder / f"{dataset}.csv").write_text(text, encoding="utf-8")
    for path in [*(state_dir / "data").rglob("*"), state_dir / "data", state_dir]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    db = db or Database(settings.sqlalchemy_url)
    Base.metadata.create_all(db.engine)
    clock = Clock()
    seed(db, settings, clock.now)
    return dress(settings, db, clock)


def dress(settings: Settings, db: Database, clock: Clock) -> World:
    """The application over a database that exists."""
    hub, courier = FakeHub(), FakeCourier()
    make_store(settings)
    signer = load_or_create_signer(settings.keys_dir)
    site = Site(
        settings=settings,
        db=db,
        clock=clock,
        identity_key=secret(settings.keys_dir, IDENTITY),
        hub=hub,
        courier=courier,
        store=open_store(settings),
        machine=Machine(_healthy, _records),
        ledger_key=LedgerKey(signer.name, signer.key_id, signer.public_pem),
    )
    return World(site, create_app(site), clock, hub, courier, db, settings)


def with_machine(world: World, machine: Machine) -> World:
    """The same world on a machine that answers otherwise."""
    site = dataclasses.replace(world.site, machine=machine)
    return dataclasses.replace(world, site=site, app=create_app(site))


def _healthy(_settings: Settings) -> list[Health]:
    return [Health(name, True, "answers") for name in ("hub", "web", "gate", "controller")]


def _records(_settings: Settings) -> list[ProcessRecord]:
    return [ProcessRecord("hub", 10, "2026-11-23T08:00:00+00:00", 1, "ended with code 1")]


class InProcess:
    """Runs the real checks without their sandbox."""

    def scan(self, path: str, chunks: Iterator[bytes], rules: Rules) -> Report:
        magic = "image/png" if path.endswith(".png") else "text/plain"
        return scan(path, b"".join(chunks), lambda _: magic, rules)


FILES = {
    "admissions-by-month.csv": "month,admissions,median_stay\n"
    + "".join(f"2024-{month:02d},{1200 + 37 * month},{3 + month % 4}.5\n" for month in range(1, 13)),
    "by-condition.csv": "condition,women,men\nJ18.9,812,790\nE75.2,3,14\nI50.0,402,455\n",
    "notes.txt": "Admissions rise in winter.\nRates are per 1,000 people.\n",
}
FORM = {
    "title": "Admissions by month and condition",
    "purpose": "Tables 1 and 2 of the paper on winter pressures; monthly counts of the whole region.",
    "folder": "tables",
    "d.statistic": "frequencies",
    "d.population": "All admissions in Northshire in 2024",
    "d.n": "18,412",
    "d.variables": "admission_date, diagnosis",
    "d.controls": "Counts below 10 were looked for; months are summed over all hospitals",
    "d.relation": "none",
}


def field_of(html: str, name: str) -> str:
    """The value of a hidden field on a page."""
    found = re.search(rf'name="{re.escape(name)}" value="([^"]*)"', html)
    assert found, f"no field {name}"
    return found[1]


@dataclass
class Requests:
    """Requests that get where they are through the pages' own forms."""

    world: World
    project: str = "winter-pressures"

    def post(self, person: str, address: str, /, **fields: str) -> httpx.Response:
        answer: httpx.Response = self.world.client(person).post(address, data={"csrf": CSRF, **fields})
        return answer

    def draft(self, files: dict[str, str] | None = None) -> str:
        """A draft of Ana's; returns its address."""
        self.world.run_workspace("ana-silva", self.project)
        self.world.courier.files = {name: text.encode() for name, text in (files or FILES).items()}
        answer = self.post("analyst", f"/projects/{self.project}/requests", folder="tables")
        assert answer.status_code == 303, answer.text
        return answer.headers["location"].partition("?")[0]

    def submitted(self, files: dict[str, str] | None = None, **changed: str) -> str:
        address = self.draft(files)
        version = field_of(self.world.client("analyst").get(address).text, "version")
        fields = {**FORM, "version": version, "act": "submit", **changed}
        answer = self.post("analyst", f"{address}/form", **fields)
        assert answer.status_code == 303, answer.text
        return address

    def checked(self, files: dict[str, str] | None = None, **changed: str) -> str:
        """Submitted and through the checks; a stopped one is contested so that checkers see it."""
        address = self.submitted(files, **changed)
        self.advance()
        html = self.world.client("analyst").get(address).text
        if "Stopped by a check" in html:
            version = field_of(html, "version")
            why = "The rare condition is the paper's subject; the cell is grouped in the next version."
            assert self.post("analyst", f"{address}/contest", version=version, justification=why).status_code == 303
        return address

    def advance(self) -> None:
        world = self.world
        while advance(world.db, world.settings, world.site.store, world.clock(), scanner=InProcess()):
            continue

    def review_of(self, address: str) -> str:
        return f"/queue/{self.project}/{address.rpartition('/')[2]}"

    def review(self, address: str, person: str, vote: str = "approve") -> None:
        """Vote the same on all files and hand the review in."""
        place = self.review_of(address)
        html = self.world.client(person).get(place).text
        for path, file_id in re.findall(r'name="path" value="([^"]+)">.*?name="file" value="(\d+)"', html):
            fields = {"path": path, "file": file_id, "version": field_of(html, "version")}
            answer = self.post(person, f"{place}/votes", vote=vote, reason="Checked against the policy", **fields)
            assert answer.status_code == 303, answer.text
        html = self.world.client(person).get(place).text
        answer = self.post(person, f"{place}/review", version=field_of(html, "version"))
        assert answer.status_code == 303, answer.text

    def released(self) -> str:
        address = self.checked({"admissions-by-month.csv": FILES["admissions-by-month.csv"]})
        self.review(address, "checker")
        self.review(address, "second checker")
        self.advance()
        return address
