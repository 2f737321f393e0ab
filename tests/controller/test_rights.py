"""The right to a running workspace: the rule over its whole matrix, and what the watch does about it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.governance import build
from tests.governance.build import ANA, BEN, ERIN, HEART
from tests.workspaces.fake_backend import FakeBackend
from tre_orchestrator.catalogue.models import TierPolicy
from tre_orchestrator.catalogue.names import PersonId, ProjectName, Sha256
from tre_orchestrator.controller.metrics import Metrics
from tre_orchestrator.controller.rights import WARN_BEFORE, Verdict, Watch, judge
from tre_orchestrator.errors import Refusal, Unavailable
from tre_orchestrator.governance.grants import grants_of_dataset, revoke
from tre_orchestrator.governance.model import Decision
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.read import entries
from tre_orchestrator.workspaces import lifecycle
from tre_orchestrator.workspaces.backend import Handle
from tre_orchestrator.workspaces.lifecycle import WorkspaceView
from tre_orchestrator.workspaces.tables import WorkspaceState

NOW = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
LOST = Refusal("grant-revoked", "The trust revoked its grant.")


def a_view(
    ends_at: dt.datetime = NOW + 12 * HOUR,
    longest: dt.datetime = NOW + 12 * HOUR,
    lost_at: dt.datetime | None = None,
) -> WorkspaceView:
    return WorkspaceView(
        id=build.ProjectName("a" * 16),  # type: ignore[arg-type]
        person=ANA,
        project=HEART,
        state=WorkspaceState.running,
        nonce="0" * 16,
        socket="/run/x.sock",
        pid=0,
        claim="",
        claim_until=None,
        started_at=NOW,
        ends_at=ends_at,
        longest_until=longest,
        right_lost_at=lost_at,
        warning="",
        last_activity=NOW,
        end_code="",
        end_reason="",
    )


def a_decision(*refusals: Refusal, until: dt.datetime | None = NOW + 90 * 24 * HOUR, grace: int = 0) -> Decision:
    ends = None if refusals else until
    return Decision(not refusals, refusals, ends, "the project ends", Sha256("0" * 64), TierPolicy(), (), grace)


def test_a_right_that_holds_ends_nothing_and_warns_of_nothing() -> None:
    assert judge(a_view(), a_decision(), NOW) == Verdict(None, NOW + 12 * HOUR, "", False)


def test_D2_a_lost_right_without_grace_ends_at_once_and_says_why() -> None:
    verdict = judge(a_view(), a_decision(LOST), NOW)
    assert verdict.end is not None
    assert (verdict.end.code, verdict.end.sentence) == (LOST.code, LOST.sentence)


def test_D2_a_lost_right_with_grace_warns_until_the_grace_is_over() -> None:
    verdict = judge(a_view(), a_decision(LOST, grace=1800), NOW)
    assert verdict.end is None
    assert verdict.ends_at == NOW + HOUR / 2
    assert "ends at 09:30 UTC: The trust revoked its grant." in verdict.warning
    later = a_view(ends_at=verdict.ends_at, lost_at=NOW)
    assert judge(later, a_decision(LOST, grace=1), NOW + HOUR / 2).end is not None


@pytest.mark.parametrize("grace", [1, 60, 10_000_000])
def test_D2_grace_never_prolongs_what_was_announced(grace: int) -> None:
    announced = NOW + dt.timedelta(seconds=30)
    verdict = judge(a_view(ends_at=announced, lost_at=NOW), a_decision(LOST, grace=grace), NOW)
    assert verdict.ends_at <= announced


def test_a_right_that_came_back_takes_the_warning_away() -> None:
    verdict = judge(a_view(ends_at=NOW + HOUR, lost_at=NOW), a_decision(), NOW)
    assert verdict == Verdict(None, NOW + 12 * HOUR, "", False)


def test_the_longest_life_warns_before_its_end_and_then_ends() -> None:
    end = NOW + 12 * HOUR
    assert judge(a_view(), a_decision(), end - WARN_BEFORE - dt.timedelta(seconds=1)).warning == ""
    assert "ends at 21:00 UTC" in judge(a_view(), a_decision(), end - WARN_BEFORE).warning
    ended = judge(a_view(), a_decision(), end).end
    assert ended is not None
    assert ended.code == "max-life"


def test_a_right_that_runs_out_by_itself_is_announced() -> None:
    verdict = judge(a_view(), a_decision(until=NOW + WARN_BEFORE / 2), NOW)
    assert verdict.end is None
    assert "the project ends" in verdict.warning
    ended = judge(a_view(), a_decision(until=NOW), NOW).end
    assert ended is not None
    assert ended.code == "right-ended"


# --- the watch -----------------------------------------------------------------------------------------------------


class Told:
    """Remembers of which ends the hub would hear."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []

    def __call__(self, person: PersonId, project: ProjectName) -> None:
        self.ends.append((person, project))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def watch(world: build.World, backend: FakeBackend, told: Told) -> Iterator[Watch]:
    made = Watch(world.db, world.settings, backend, Metrics(), lambda: world.now, told)
    yield made
    made.close()


def start(world: build.World, backend: FakeBackend, who: PersonId = ANA) -> Handle:
    return lifecycle.start(world.db, world.settings, backend, HEART, who, world.now)


def view(world: build.World, handle: Handle) -> WorkspaceView:
    with world.db.read() as session:
        found = lifecycle.by_id(session, handle.workspace)
    assert found is not None
    return found


def revoke_grant(world: build.World) -> None:
    with world.db.write() as session:
        revoke(session, grants_of_dataset(session, build.LUNGS)[0].id, ERIN, "Wrong version", world.now)


def kinds(db: Database) -> list[str]:
    with db.read() as session:
        return [entry.kind for entry in entries(session, limit=1000) if entry.kind.startswith("workspace.")]


def test_P4_only_what_was_decided_to_go_on_gets_its_lease_renewed(
    world: build.World, backend: FakeBackend, watch: Watch
) -> None:
    world.apply(
        build.profile(**{"1": {"max_life_hours": 48}}),
        build.project(members=[{"person": ANA}, {"person": BEN, "until": "2026-11-23"}]),
    )
    world.approve()
    ana, ben = start(world, backend), start(world, backend, BEN)
    watch.look(world.now)
    watch.look(dt.datetime(2026, 11, 24, tzinfo=dt.UTC))
    watch.close()
    assert [set(lease) for lease in backend.leases] == [{ana.workspace, ben.workspace}, {ana.workspace}]
    assert view(world, ben).end_code == "membership-ended"


def test_P4_a_database_that_cannot_be_read_renews_nothing(
    world: build.World, backend: FakeBackend, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(world, backend)

    def gone() -> None:
        raise Unavailable("database", "The database cannot be reached.")

    monkeypatch.setattr(world.db, "read", gone)
    with pytest.raises(Unavailable):
        watch.look(world.now)
    assert backend.leases == []
    assert len(backend.runs) == 1, "running work goes on until its lease is over"


def test_P4_one_that_cannot_be_judged_is_not_renewed_and_does_not_keep_the_others(
    world: build.World, backend: FakeBackend, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.apply(build.project(members=[{"person": ANA}, {"person": BEN}]))
    world.approve()
    ana, ben = start(world, backend), start(world, backend, BEN)
    judged = Watch._judge

    def fail_for_ana(self: Watch, one: WorkspaceView, now: dt.datetime) -> Verdict:
        if one.id == ana.workspace:
            raise Unavailable("policy", "The policy cannot be read.")
        return judged(self, one, now)

    monkeypatch.setattr(Watch, "_judge", fail_for_ana)
    with pytest.raises(Unavailable):
        watch.look(world.now)
    assert backend.leases == [(ben.workspace,)]


def test_D2_a_revoked_grant_ends_the_running_workspace_verified_recorded_and_told(
    world: build.World, backend: FakeBackend, watch: Watch, told: Told
) -> None:
    handle = start(world, backend)
    watch.look(world.now)
    revoke_grant(world)
    watch.look(world.now)
    watch.close()
    assert backend.runs == {}
    stopped = view(world, handle)
    assert stopped.state is WorkspaceState.stopped
    assert stopped.end_code in ("grant-revoked", "copies-on-hold")
    assert kinds(world.db)[-2:] == ["workspace.end.intended", "workspace.ended"]
    assert told.ends == [(ANA, HEART)]


def test_D2_with_grace_it_warns_records_once_and_ends_when_the_grace_is_over(
    db: Database, settings: build.Settings, now: dt.datetime, backend: FakeBackend, told: Told
) -> None:
    world = build.World(db, settings, now)
    world.apply(*build.everybody(), build.profile(), build.dataset(), build.project())
    world.add_data()
    world.approve()
    world.grant(grace_seconds=600)
    watch = Watch(db, settings, backend, Metrics(), lambda: now, told)
    handle = start(world, backend)
    revoke_grant(world)
    for second in range(3):
        watch.look(now + dt.timedelta(seconds=second))
    warned = view(world, handle)
    assert warned.state is WorkspaceState.running
    assert warned.ends_at == now + dt.timedelta(seconds=600)
    assert "ends at 09:10 UTC" in warned.warning
    assert kinds(db).count("workspace.right.lost") == 1
    with db.read() as session:
        assert lifecycle.why_not_usable(session, settings, handle.workspace, now) is None
    watch.look(now + dt.timedelta(seconds=600))
    watch.close()
    assert backend.runs == {}
    assert view(world, handle).end_reason == warned.warning.partition(": ")[2].removesuffix(" Save your work.")


def test_D2_a_grant_that_ran_out_ends_it(world: build.World, backend: FakeBackend, watch: Watch) -> None:
    handle = lifecycle.start(
        world.db, world.settings, backend, HEART, ANA, dt.datetime(2027, 6, 30, 23, 0, tzinfo=dt.UTC)
    )
    watch.look(dt.datetime(2027, 6, 30, 23, 50, tzinfo=dt.UTC))
    assert "ends at 00:00 UTC" in view(world, handle).warning
    watch.look(dt.datetime(2027, 7, 1, tzinfo=dt.UTC))
    watch.close()
    assert backend.runs == {}


def test_an_edited_project_ends_its_workspaces(world: build.World, backend: FakeBackend, watch: Watch) -> None:
    handle = start(world, backend)
    world.apply(build.project(title="Another title"))
    watch.look(world.now)
    watch.close()
    assert view(world, handle).end_code == "edited-after-approval"


def test_the_longest_life_of_the_tier_ends_it(world: build.World, backend: FakeBackend, watch: Watch) -> None:
    handle = start(world, backend)
    watch.look(world.now + 12 * HOUR + dt.timedelta(minutes=1))
    watch.close()
    assert view(world, handle).end_code == "max-life"


def test_one_that_cannot_be_ended_does_not_keep_the_watch(
    world: build.World, backend: FakeBackend, watch: Watch
) -> None:
    handle = start(world, backend)
    backend.stubborn = 3
    revoke_grant(world)
    watch.look(world.now)
    watch.close()
    assert view(world, handle).state is WorkspaceState.ending
    lifecycle.reconcile(world.db, world.settings, backend, world.now)
    assert view(world, handle).state is WorkspaceState.stopped


def test_a_starting_workspace_is_judged_too(world: build.World, backend: FakeBackend, watch: Watch) -> None:
    backend.on_start = lambda: (revoke_grant(world), watch.look(world.now), watch.close())  # type: ignore[assignment,return-value]
    with pytest.raises(Unavailable, match="stopped while it started"):
        start(world, backend)
    assert backend.runs == {}


def test_judging_looks_at_nothing_but_its_arguments() -> None:
    first = judge(a_view(), a_decision(LOST, grace=5), NOW)
    assert first == judge(replace(a_view(), end_reason="x"), a_decision(LOST, grace=5), NOW)
