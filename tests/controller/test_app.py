"""The whole controller on a real database with a backend in memory: what it does by itself."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from threading import Thread

import pytest

from tests.governance import build
from tests.governance.build import ANA, ERIN, HEART
from tests.workspaces.fake_backend import FakeBackend
from tre_orchestrator.airlock.store import make_store, open_store
from tre_orchestrator.controller import records
from tre_orchestrator.controller.app import Controller
from tre_orchestrator.controller.hub import HubNotes
from tre_orchestrator.controller.metrics import Metrics
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.governance import copies
from tre_orchestrator.governance.grants import grants_of_dataset, revoke
from tre_orchestrator.governance.secrets import HUB_CONTROLLER, secret
from tre_orchestrator.ledger.checkpoints import latest_checkpoint
from tre_orchestrator.ledger.keys import load_or_create_signer
from tre_orchestrator.ledger.read import entries
from tre_orchestrator.ops.health import health_of
from tre_orchestrator.workspaces import lifecycle


@pytest.fixture
def controller(world: build.World, backend: FakeBackend) -> Controller:
    make_store(world.settings)
    return Controller(
        db=world.db,
        settings=world.settings,
        backend=backend,
        eraser=backend,
        store=open_store(world.settings),
        signer=load_or_create_signer(world.settings.keys_dir),
        clock=lambda: world.now,
        metrics=Metrics(),
    )


def eventually(holds: Callable[[], bool], seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def start(world: build.World, backend: FakeBackend) -> str:
    return lifecycle.start(world.db, world.settings, backend, HEART, ANA, world.now).workspace


def revoke_grant(world: build.World) -> None:
    with world.db.write() as session:
        revoke(session, grants_of_dataset(session, build.LUNGS)[0].id, ERIN, "Wrong version", world.now)


def kinds(world: build.World) -> list[str]:
    with world.db.read() as session:
        return [entry.kind for entry in entries(session, limit=1000)]


def test_D2_with_the_hub_down_a_revoked_workspace_is_ended_and_the_controller_stays_well(
    world: build.World, backend: FakeBackend, controller: Controller
) -> None:
    start(world, backend)
    with controller.running():
        assert eventually(lambda: bool(backend.leases))
        revoke_grant(world)
        assert eventually(lambda: "workspace.ended" in kinds(world))
        assert health_of(world.settings, "controller").ok
    assert backend.runs == {}
    assert not health_of(world.settings, "controller").ok


def test_R1_what_a_crash_left_is_settled_when_the_controller_starts(
    world: build.World, backend: FakeBackend, controller: Controller
) -> None:
    start(world, backend)
    backend.runs.clear()
    with controller.running():
        assert eventually(lambda: "workspace.ended" in kinds(world))


def test_new_entries_are_signed_and_nothing_new_makes_no_checkpoint(world: build.World, controller: Controller) -> None:
    records.sign_ledger(world.db, controller.signer, controller.metrics, world.now)
    with world.db.read() as session:
        first = latest_checkpoint(session)
    assert first is not None
    assert first.size == len(kinds(world))
    records.sign_ledger(world.db, controller.signer, controller.metrics, world.now + dt.timedelta(minutes=1))
    with world.db.read() as session:
        assert latest_checkpoint(session) == first


def test_D2_an_expired_grant_is_recorded_and_its_copies_are_held(world: build.World, backend: FakeBackend) -> None:
    start(world, backend)
    over = dt.datetime(2027, 7, 1, tzinfo=dt.UTC)
    records.expire_grants(world.db, over)
    records.expire_grants(world.db, over)
    assert kinds(world).count("grant.expired") == 1
    with world.db.read() as session:
        assert [hold.cause for hold in copies.open_holds(session)] == ["expired"]


def decide_to_delete(world: build.World) -> None:
    with world.db.write() as session:
        copies.decide_copies(session, copies.open_holds(session)[0].id, "delete", ERIN, world.now)


def test_copies_are_deleted_when_the_controller_of_the_data_said_so_and_not_before(
    world: build.World, backend: FakeBackend
) -> None:
    workspace = start(world, backend)
    revoke_grant(world)
    records.delete_copies(world.db, backend, world.now)
    assert backend.erased == []
    decide_to_delete(world)
    with pytest.raises(Unavailable, match="still runs"):
        records.delete_copies(world.db, backend, world.now)
    assert backend.erased == []
    lifecycle.reconcile(world.db, world.settings, backend, world.now)
    with world.db.read() as session:
        view = lifecycle.workspace_of(session, ANA, HEART)
    assert view is not None
    lifecycle.end(world.db, world.settings, backend, view.id, lifecycle.ASKED, world.now)
    records.delete_copies(world.db, backend, world.now)
    assert backend.erased == [(workspace, HEART)]
    assert kinds(world)[-1] == "copies.deleted"
    records.delete_copies(world.db, backend, world.now)
    assert len(backend.erased) == 1


def test_outcomes_reach_the_workspace_in_a_file_it_can_read(world: build.World, backend: FakeBackend) -> None:
    workspace = start(world, backend)
    records.tell_outcomes(world.db, world.settings, world.now)
    path = world.settings.workspaces_dir / workspace / "outcomes" / records.OUTCOMES
    assert json.loads(path.read_text()) == {"requests": []}
    assert path.stat().st_mode & 0o777 == 0o644


@contextmanager
def a_hub(path: Path, answer: int) -> Iterator[list[tuple[str, str]]]:
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def address_string(self) -> str:
            return "local"

        def log_message(self, *_: object) -> None:
            pass

    with UnixStreamServer(str(path), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield asked
        server.shutdown()
        thread.join(10)
    path.unlink()


def test_the_hub_is_told_of_an_end_until_it_has_taken_it(world: build.World) -> None:
    token = secret(world.settings.keys_dir, HUB_CONTROLLER).hex()
    notes = HubNotes(world.settings, lambda _person, _project: False)
    notes.add(ANA, HEART)
    with pytest.raises(Unavailable):
        notes.send()
    with a_hub(world.settings.run_dir / "hub.sock", 503), pytest.raises(Unavailable):
        notes.send()
    with a_hub(world.settings.run_dir / "hub.sock", 204) as asked:
        assert notes.send() == 1
        assert notes.send() == 0
    assert asked == [("/hub/api/users/ana-silva/servers/heart", f"token {token}")]


def test_a_late_note_does_not_end_the_workspace_that_was_started_since(world: build.World) -> None:
    notes = HubNotes(world.settings, lambda _person, _project: True)
    notes.add(ANA, HEART)
    with a_hub(world.settings.run_dir / "hub.sock", 204) as asked:
        assert notes.send() == 1
    assert asked == []
