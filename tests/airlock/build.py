"""A governed TRE with an airlock, and requests that reach a state only through the business layer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.governance.build import ANA, ERIN, GRACE, World, dataset, everybody, person, profile, project
from tre_orchestrator.airlock import requests, reviews
from tre_orchestrator.airlock.checks.model import Report, Rules
from tre_orchestrator.airlock.checks.scan import scan
from tre_orchestrator.airlock.forms import DraftForm, FileContext, Statistic
from tre_orchestrator.airlock.intake import Courier
from tre_orchestrator.airlock.states import State
from tre_orchestrator.airlock.store import Store, make_store, open_store
from tre_orchestrator.airlock.views import RequestView
from tre_orchestrator.airlock.votes import Vote
from tre_orchestrator.airlock.work import advance
from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.governance.tables import ManifestRow
from tre_orchestrator.ledger.append import append
from tre_orchestrator.ledger.append import person as person_actor
from tre_orchestrator.ledger.canonical import Json
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings

CHLOE, DAN, FAY, MIA = "chloe-martin", "dan-price", "fay-stone", "mia-both"
BEN = "ben-okafor"
HEART = "heart"
WORKSPACE = WorkspaceId("abcdefgh23456789")
CLEAN = b"sex,n\nfemale,120\nmale,140\n"
SMALL = b"sex,n\nfemale,120\nother,3\n"
CONTEXT = FileContext(
    statistic=Statistic.frequencies,
    population="Adults with an admission",
    n=260,
    variables=("sex",),
    controls="Counts below 10 were left out",
    relation="none",
)
FORM = DraftForm(title="Counts by sex", purpose="Table 1 of the paper", folder="/outputs/tables", defaults=CONTEXT)


@dataclass(frozen=True)
class Collected:
    """A file as a courier hands it over."""

    path: str
    size: int
    chunks: Iterator[bytes]


@dataclass
class Folder:
    """A courier that brings what a test put in; remembers what it was asked for."""

    files: Mapping[str, bytes]
    asked: list[tuple[str, str]] = field(default_factory=list)

    def collect(self, workspace: WorkspaceId, folder: str) -> Iterator[Collected]:
        self.asked.append((workspace, folder))
        for path, data in self.files.items():
            yield Collected(path, len(data), iter([data[:7], data[7:]]))


class InProcess:
    """Runs the real checks without the sandbox, for tests that are not about it."""

    def scan(self, path: str, chunks: Iterator[bytes], rules: Rules) -> Report:
        return scan(path, b"".join(chunks), lambda _: "text/plain", rules)


@dataclass(frozen=True)
class Airlock:
    """The world and its airlock. Every method is one act of one person."""

    db: Database
    settings: Settings
    now: dt.datetime
    store: Store

    def at(self, **later: float) -> Airlock:
        return replace(self, now=self.now + dt.timedelta(**later))

    def draft(self, form: DraftForm = FORM, who: str = ANA, where: str = HEART) -> RequestView:
        with self.db.write() as session:
            return requests.create_draft(session, where, who, form, self.now)

    def view(self, of: int | RequestView, who: str = ANA, where: str = HEART) -> RequestView:
        with self.db.read() as session:
            return requests.view(session, where, of if isinstance(of, int) else of.id, who, self.now)

    def submit(
        self, draft: RequestView, files: Mapping[str, bytes] | Courier, who: str = ANA, version: int | None = None
    ) -> RequestView:
        courier = Folder(files) if isinstance(files, Mapping) else files
        number = version or self.version(draft)
        return requests.submit(
            self.db, self.settings, self.store, courier, draft.project, draft.id, who, self.now,
            version=number, workspace=WORKSPACE,
        )  # fmt: skip

    def advance(self, scanner: Any = None) -> int:
        return advance(self.db, self.settings, self.store, self.now, scanner=scanner or InProcess())

    def version(self, of: RequestView) -> int:
        return self.view(of, of.author, of.project).version

    def vote(
        self,
        of: RequestView,
        path: str,
        who: str,
        vote: Vote = Vote.approve,
        reason: str = "",
        version: int | None = None,
    ) -> RequestView:
        number = self.version(of) if version is None else version
        with self.db.write() as session:
            return reviews.cast_vote(session, of.project, of.id, path, who, vote, reason, version=number, now=self.now)

    def review(self, of: RequestView, who: str, vote: Vote = Vote.approve, reason: str = "because") -> RequestView:
        """Vote the same on every file and hand the review in."""
        for path in self.view(of, who).unvoted:
            self.vote(of, path, who, vote, reason)
        with self.db.write() as session:
            return reviews.submit_review(session, of.project, of.id, who, self.now, version=self.version(of))

    def act(self, what: Any, of: RequestView, who: str, *words: Any, version: int | None = None) -> RequestView:
        """Call a function of the business layer that takes (session, project, id, person, *words, now, version)."""
        number = self.version(of) if version is None else version
        with self.db.write() as session:
            done: RequestView = what(session, of.project, of.id, who, *words, self.now, version=number)
            return done

    # Requests that got where they are by the acts above.

    def awaiting(self, files: Mapping[str, bytes] | None = None, form: DraftForm = FORM) -> RequestView:
        submitted = self.submit(self.draft(form), files or {"a.csv": CLEAN})
        self.advance()
        return self.view(submitted)

    def blocked(self) -> RequestView:
        return self.awaiting({"a.csv": SMALL})

    def in_review(self) -> RequestView:
        request = self.awaiting()
        self.vote(request, "a.csv", CHLOE)
        return self.view(request)

    def consolidating(self) -> RequestView:
        request = self.awaiting()
        self.review(request, CHLOE)
        self.review(request, DAN, Vote.request_changes, "Round it")
        return self.view(request)

    def returned(self) -> RequestView:
        return self.view(self.act(reviews.return_, self.consolidating(), CHLOE, "Round the counts"))

    def approved(self, files: Mapping[str, bytes] | None = None, form: DraftForm = FORM) -> RequestView:
        request = self.awaiting(files, form)
        self.review(request, CHLOE)
        self.review(request, DAN)
        return self.view(request)

    def released(self, files: Mapping[str, bytes] | None = None, form: DraftForm = FORM) -> RequestView:
        request = self.approved(files, form)
        self.advance()
        found = self.view(request)
        assert found.state is State.released, found.problem
        return found


def make(db: Database, settings: Settings, now: dt.datetime) -> Airlock:
    """The project `heart` (Ana, Ben and Mia), ready to work, with three outside checkers; Mia checks elsewhere."""
    world = World(db, settings, now)
    people = [
        *everybody(),
        person(DAN, "checker"),
        person(FAY, "checker"),
        person(MIA, "analyst", "checker"),
        person("rita-admin", "ops", "approver"),
    ]
    members = [{"person": str(ANA)}, {"person": BEN}, {"person": MIA}]
    other = project("lungs-study", members=[{"person": BEN}, {"person": CHLOE}])
    world.apply(*people, profile(), dataset(), project(members=members), other)
    world.add_data()
    world.approve(GRACE)
    world.grant(ERIN)
    make_store(settings)
    with db.write() as session:
        row = session.get_one(ManifestRow, ("lungs", "1.0"))
        mounted: dict[str, Json] = {"name": row.dataset, "version": row.version, "manifest": row.digest}
        facts: dict[str, Json] = {"workspace": WORKSPACE, "datasets": [mounted]}
        append(session, "workspace.start.intended", person_actor(ANA), "project/heart", facts, now=now)
    return Airlock(db, settings, now, open_store(settings))
