"""Start and end of workspaces: every promise of the module, and what a crash or a lost right does to it."""

from __future__ import annotations

import datetime as dt
import shutil
import threading
from collections import namedtuple

import pytest
from sqlalchemy import func, select, update

from tests.governance import build
from tests.governance.build import ANA, BEN, ERIN, HEART
from tests.workspaces.fake_backend import FakeBackend, Killed
from tre_orchestrator.errors import NotFound, Refusal, Refused, TreError, Unavailable
from tre_orchestrator.governance.datasets import verify_version
from tre_orchestrator.governance.grants import grants_of_dataset, revoke
from tre_orchestrator.ledger.append import software
from tre_orchestrator.ledger.read import EntryView, entries
from tre_orchestrator.workspaces import lifecycle, rows, starting
from tre_orchestrator.workspaces.backend import Handle
from tre_orchestrator.workspaces.lifecycle import ASKED, WorkspaceView
from tre_orchestrator.workspaces.plan import WorkspacePlan
from tre_orchestrator.workspaces.tables import ProofRow, WorkspaceRow, WorkspaceState


def start(world: build.World, backend: FakeBackend, who: str = ANA) -> Handle:
    return lifecycle.start(world.db, world.settings, backend, HEART, build.PersonId(who), world.now)


def end(world: build.World, backend: FakeBackend, handle: Handle) -> None:
    lifecycle.end(world.db, world.settings, backend, handle.workspace, ASKED, world.now)


def view(world: build.World) -> WorkspaceView:
    with world.db.read() as session:
        found = lifecycle.workspace_of(session, ANA, HEART)
    assert found is not None
    return found


def told(world: build.World) -> list[EntryView]:
    with world.db.read() as session:
        return [entry for entry in entries(session, limit=1000) if entry.kind.startswith(("workspace.", "lock."))]


def kinds(world: build.World) -> list[str]:
    return [entry.kind for entry in told(world)]


def usable(world: build.World, handle: Handle, now: dt.datetime | None = None) -> str | None:
    with world.db.read() as session:
        refusal = lifecycle.why_not_usable(session, world.settings, handle.workspace, now or world.now)
    return refusal.code if refusal else None


# --- start ---------------------------------------------------------------------------------------------------------


def test_R1_a_start_is_told_in_three_steps_the_intent_before_the_act(world: build.World, backend: FakeBackend) -> None:
    seen: list[list[str]] = []
    backend.on_start = lambda: seen.append(kinds(world))
    handle = start(world, backend)
    assert seen == [["lock.proven", "workspace.start.intended"]]
    assert kinds(world) == ["lock.proven", "workspace.start.intended", "workspace.started"]
    intended = told(world)[1]
    assert intended.subject == "project/heart"
    assert intended.actor.id == ANA
    assert intended.facts["datasets"][0]["version"] == "1.0"
    now = view(world)
    assert (now.state, now.nonce, now.socket) == (WorkspaceState.running, handle.nonce, str(handle.socket))
    assert now.ends_at == pytest.approx(world.now + dt.timedelta(hours=12), abs=dt.timedelta(seconds=5))
    assert usable(world, handle) is None


def test_the_plan_on_disk_is_the_one_that_was_started(world: build.World, backend: FakeBackend) -> None:
    handle = start(world, backend)
    path = world.settings.workspaces_dir / handle.workspace / "plan.json"
    assert WorkspacePlan.from_json(path.read_text()) == backend.plans[0]
    assert path.stat().st_mode & 0o777 == 0o600
    end(world, backend, handle)
    assert not path.exists()


def test_progress_only_goes_forward_and_ends_at_100(world: build.World, backend: FakeBackend) -> None:
    steps: list[tuple[str, int]] = []
    lifecycle.start(world.db, world.settings, backend, HEART, ANA, world.now, lambda *step: steps.append(step))
    percents = [percent for _, percent in steps]
    assert percents == sorted(percents)
    assert steps[-1] == ("Your workspace is ready", 100)


def test_a_second_start_returns_the_running_workspace(world: build.World, backend: FakeBackend) -> None:
    assert start(world, backend) == start(world, backend)
    assert len(backend.plans) == 1


def test_a_workspace_keeps_its_id_and_gets_a_new_nonce(world: build.World, backend: FakeBackend) -> None:
    first = start(world, backend)
    end(world, backend, first)
    second = start(world, backend)
    assert first.workspace == second.workspace
    assert first.nonce != second.nonce


def test_two_starts_at_once_make_one_workspace(world: build.World, backend: FakeBackend) -> None:
    gate = threading.Barrier(2, timeout=20)
    handles: list[Handle] = []

    def click() -> None:
        gate.wait()
        handles.append(start(world, backend))

    clicks = [threading.Thread(target=click) for _ in range(2)]
    for one in clicks:
        one.start()
    for one in clicks:
        one.join(60)
    assert len(handles) == 2
    assert handles[0] == handles[1]
    assert len(backend.plans) == 1
    with world.db.read() as session:
        assert session.scalar(select(func.count()).select_from(WorkspaceRow)) == 1


def test_P1_who_is_no_member_starts_nothing_and_hears_every_reason(world: build.World, backend: FakeBackend) -> None:
    with pytest.raises(Refused) as refused:
        start(world, backend, BEN)
    assert [refusal.code for refusal in refused.value.refusals] == ["not-a-member"]
    with world.db.read() as session:
        assert lifecycle.workspace_of(session, BEN, HEART) is None
    assert backend.plans == []


def test_an_unknown_project_is_not_found(world: build.World, backend: FakeBackend) -> None:
    with pytest.raises(NotFound):
        lifecycle.start(world.db, world.settings, backend, build.ProjectName("none"), ANA, world.now)


def test_P1_a_tier_that_asks_for_a_second_factor_gets_it_asked(world: build.World, backend: FakeBackend) -> None:
    world.apply(build.profile(**{"1": {"mfa": True}}))
    world.approve()
    with pytest.raises(Refused):
        start(world, backend)
    handle = lifecycle.start(world.db, world.settings, backend, HEART, ANA, world.now, mfa=True)
    assert usable(world, handle) is None


def test_D1_files_that_changed_on_disk_are_not_mounted(world: build.World, backend: FakeBackend) -> None:
    (world.settings.state_dir / "data/lungs/1.0/a.csv").write_text("n\n2\n")
    with pytest.raises(Refused):
        start(world, backend)
    stopped = view(world)
    assert stopped.state is WorkspaceState.stopped
    assert stopped.end_reason
    assert backend.plans == []
    assert kinds(world) == ["lock.proven"]


def test_D1_a_version_that_fails_to_verify_while_its_files_are_compared_is_not_mounted(
    world: build.World, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison holds no transaction, else this write would wait for it; the start asks again before it acts."""

    def compare(*_: object) -> list[Refusal]:
        (world.settings.state_dir / "data/lungs/1.0/a.csv").write_text("n\n2\n")
        assert verify_version(world.db, world.settings, build.LUNGS, "1.0", software("test"), world.now).problems
        return []

    monkeypatch.setattr(starting.readiness, "why_datasets_touched", compare)
    with pytest.raises(Refused) as refused:
        start(world, backend)
    assert refused.value.code == "dataset-not-verified"
    assert backend.plans == []


def test_D1_datasets_that_changed_while_files_were_compared_are_compared_first(
    world: build.World, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.apply(build.dataset(), build.dataset("skin"))
    world.add_data(build.DatasetName("skin"))

    def compare(*_: object) -> list[Refusal]:
        both = [{"name": "lungs", "version": "1.0"}, {"name": "skin", "version": "1.0"}]
        world.apply(build.project(datasets=both))
        world.approve()
        world.grant(dataset=build.DatasetName("skin"))
        return []

    monkeypatch.setattr(starting.readiness, "why_datasets_touched", compare)
    with pytest.raises(Unavailable, match="changed while it started"):
        start(world, backend)
    assert backend.plans == []


def test_a_full_disk_is_said_before_anything_starts(
    world: build.World, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(100, 99, 1024))
    with pytest.raises(Refused, match="0 MiB are free and a workspace needs 256 MiB"):
        start(world, backend)
    assert view(world).end_code == "disk-full"
    assert backend.plans == []


def test_a_missing_environment_is_said_with_the_command_that_builds_it(
    world: build.World, backend: FakeBackend
) -> None:
    shutil.rmtree(world.settings.environment_dir or "")
    with pytest.raises(Unavailable, match="tre env build"):
        start(world, backend)


# --- the lock's proof ----------------------------------------------------------------------------------------------


def test_N2_no_proof_no_start(world: build.World, backend: FakeBackend) -> None:
    backend.holds = False
    with pytest.raises(Refused, match="internet-v4"):
        start(world, backend)
    assert backend.plans == []
    assert kinds(world) == ["lock.broken"]
    assert view(world).end_code == "lock-not-proven"
    with pytest.raises(Refused):
        start(world, backend)
    assert backend.proofs == 2, "a lock that did not hold is tried again, not believed"


def test_N2_the_proof_is_made_once_for_a_lock_and_again_for_another(world: build.World, backend: FakeBackend) -> None:
    end(world, backend, start(world, backend))
    end(world, backend, start(world, backend))
    assert backend.proofs == 1
    backend.lock = "b" * 64
    start(world, backend)
    assert backend.proofs == 2
    with world.db.read() as session:
        assert [row.lock_digest[0] for row in session.scalars(select(ProofRow).order_by(ProofRow.id))] == ["a", "b"]


def test_N2_a_proof_of_another_lock_proves_nothing(world: build.World, backend: FakeBackend) -> None:
    def change() -> None:
        backend.lock = "c" * 64

    backend.on_prove = change
    with pytest.raises(Refused, match="changed while it was being tried"):
        start(world, backend)
    assert backend.plans == []


# --- lost rights ---------------------------------------------------------------------------------------------------


def revoke_all(world: build.World) -> None:
    with world.db.write() as session:
        revoke(session, grants_of_dataset(session, build.LUNGS)[0].id, ERIN, "Wrong version", world.now)


def test_D2_a_right_revoked_while_the_lock_is_proven_starts_nothing(world: build.World, backend: FakeBackend) -> None:
    backend.on_prove = lambda: revoke_all(world)
    with pytest.raises(Refused):
        start(world, backend)
    assert backend.plans == []
    assert "workspace.start.intended" not in kinds(world)
    assert view(world).state is WorkspaceState.stopped


def test_D2_a_revoked_grant_starts_nothing_and_closes_what_runs(world: build.World, backend: FakeBackend) -> None:
    handle = start(world, backend)
    revoke_all(world)
    assert usable(world, handle) in ("grant-revoked", "copies-on-hold")
    end(world, backend, handle)
    with pytest.raises(Refused):
        start(world, backend)


def test_D2_an_expired_grant_starts_nothing(world: build.World, backend: FakeBackend) -> None:
    later = dt.datetime(2027, 7, 1, tzinfo=dt.UTC)
    with pytest.raises(Refused):
        lifecycle.start(world.db, world.settings, backend, HEART, ANA, later)


def test_D2_a_workspace_past_its_end_is_not_usable(world: build.World, backend: FakeBackend) -> None:
    handle = start(world, backend)
    assert usable(world, handle, world.now + dt.timedelta(hours=12, seconds=5)) == "workspace-over"


def test_P3_an_id_of_nothing_opens_nothing(world: build.World) -> None:
    with world.db.read() as session:
        refusal = lifecycle.why_not_usable(session, world.settings, rows.new_id(), world.now)
    assert refusal is not None


# --- failures and crashes ------------------------------------------------------------------------------------------


def fail(error: BaseException) -> object:
    def act(*_: object) -> None:
        raise error

    return act


def test_a_failed_start_stops_says_why_and_is_in_the_ledger(world: build.World, backend: FakeBackend) -> None:
    backend.on_start = fail(Unavailable("supervisor", "The supervisor cannot be reached."))  # type: ignore[assignment]
    with pytest.raises(Unavailable):
        start(world, backend)
    assert kinds(world)[-2:] == ["workspace.start.intended", "workspace.start.failed"]
    stopped = view(world)
    assert (stopped.state, stopped.end_code, stopped.end_reason) == (
        WorkspaceState.stopped,
        "supervisor",
        "The supervisor cannot be reached.",
    )
    backend.on_start = lambda: None
    start(world, backend)


def test_an_unforeseen_failure_shows_nothing_of_its_inside(world: build.World, backend: FakeBackend) -> None:
    backend.on_start = fail(ValueError("secret 123"))  # type: ignore[assignment]
    with pytest.raises(ValueError, match="secret"):
        start(world, backend)
    assert "secret" not in view(world).end_reason


def test_a_start_that_fails_after_the_backend_started_leaves_nothing_running(
    world: build.World, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "mark_running", fail(RuntimeError("disk")))
    with pytest.raises(RuntimeError):
        start(world, backend)
    assert backend.runs == {}
    assert kinds(world)[-1] == "workspace.start.failed"


@pytest.mark.parametrize("moment", ["before the act", "after the act"])
def test_R1_a_kill_between_intent_and_outcome_is_settled_by_reconciliation(
    world: build.World, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(starting.Starter, "_put_back", lambda *_: None)  # a killed process puts nothing back
        if moment == "before the act":
            backend.on_start = fail(Killed())  # type: ignore[assignment]
        else:
            patch.setattr(starting.Starter, "_record", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            start(world, backend)
    assert view(world).state is WorkspaceState.starting
    assert kinds(world)[-1] == "workspace.start.intended"
    assert lifecycle.reconcile(world.db, world.settings, backend, world.now) == []
    assert view(world).state is WorkspaceState.starting, "its claim is still believed"
    later = world.now + dt.timedelta(seconds=rows.CLAIM_SECONDS + 10)
    assert len(lifecycle.reconcile(world.db, world.settings, backend, later)) == 1
    assert backend.runs == {}
    assert kinds(world)[-1] == "workspace.start.failed"
    assert view(world).end_code == "start-interrupted"
    assert lifecycle.reconcile(world.db, world.settings, backend, later) == []


def test_the_next_start_settles_an_interrupted_one_by_itself(
    world: build.World, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(starting.Starter, "_put_back", lambda *_: None)
        patch.setattr(starting.Starter, "_record", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            start(world, backend)
    later = world.now + dt.timedelta(seconds=rows.CLAIM_SECONDS + 10)
    lifecycle.start(world.db, world.settings, backend, HEART, ANA, later)
    assert kinds(world)[-3:] == ["workspace.start.failed", "workspace.start.intended", "workspace.started"]


def test_ending_a_starting_workspace_wins_over_its_start(world: build.World, backend: FakeBackend) -> None:
    backend.on_start = lambda: lifecycle.end(world.db, world.settings, backend, view(world).id, ASKED, world.now)
    with pytest.raises(Unavailable, match="You stopped this workspace"):
        start(world, backend)
    assert backend.runs == {}
    assert view(world).state is WorkspaceState.stopped


# --- end -----------------------------------------------------------------------------------------------------------


def test_R1_D2_an_end_is_intended_verified_and_recorded(world: build.World, backend: FakeBackend) -> None:
    handle = start(world, backend)
    end(world, backend, handle)
    intended, ended = told(world)[-2:]
    assert (intended.kind, ended.kind) == ("workspace.end.intended", "workspace.ended")
    assert ended.facts["verified"] is True
    assert ended.facts["reason"] == "asked"
    assert view(world).end_reason == ASKED.sentence
    assert usable(world, handle) == "workspace-not-running"


def test_ending_twice_is_one_end(world: build.World, backend: FakeBackend) -> None:
    handle = start(world, backend)
    end(world, backend, handle)
    before = kinds(world)
    end(world, backend, handle)
    assert kinds(world) == before


def test_D2_an_end_that_cannot_be_verified_is_not_recorded_and_the_gate_stays_closed(
    world: build.World, backend: FakeBackend
) -> None:
    handle = start(world, backend)
    backend.stubborn = 5
    with pytest.raises(Unavailable, match="tried again"):
        end(world, backend, handle)
    assert view(world).state is WorkspaceState.ending
    assert kinds(world)[-1] == "workspace.end.intended"
    assert usable(world, handle) == "workspace-not-running"
    lifecycle.reconcile(world.db, world.settings, backend, world.now)
    assert kinds(world)[-2:] == ["workspace.end.intended", "workspace.ended"], "the intent is told once"
    assert view(world).end_reason == ASKED.sentence


def test_a_workspace_that_ended_by_itself_is_noticed(world: build.World, backend: FakeBackend) -> None:
    handle = start(world, backend)
    backend.runs.clear()
    assert len(lifecycle.reconcile(world.db, world.settings, backend, world.now)) == 1
    assert view(world).end_reason == "It ended by itself: its server ended. Start it again."
    assert start(world, backend).nonce != handle.nonce


def test_what_runs_without_a_record_is_stopped(world: build.World, backend: FakeBackend) -> None:
    handle = start(world, backend)
    with world.db.write() as session:
        session.execute(update(WorkspaceRow).values(state=WorkspaceState.stopped.value))
    lifecycle.reconcile(world.db, world.settings, backend, world.now)
    assert backend.runs == {}
    assert told(world)[-1].facts["reason"] == "orphan"
    assert told(world)[-1].subject == f"workspace/{handle.workspace}"


def test_one_that_cannot_be_settled_does_not_keep_the_others(world: build.World, backend: FakeBackend) -> None:
    world.apply(build.project(members=[{"person": "ana-silva"}, {"person": "ben-okafor"}]))
    world.approve()
    handles = [start(world, backend, ANA), start(world, backend, BEN)]
    backend.stubborn = 6
    for handle in handles:
        with pytest.raises(TreError):
            end(world, backend, handle)
    backend.stubborn = 3
    assert len(lifecycle.reconcile(world.db, world.settings, backend, world.now)) == 1
    assert len(lifecycle.reconcile(world.db, world.settings, backend, world.now)) == 1
    assert backend.runs == {}
