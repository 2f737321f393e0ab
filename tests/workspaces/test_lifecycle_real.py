"""The lifecycle with a real supervisor, real sandboxes, a real JupyterLab and the real controller process."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.governance import build
from tests.governance.build import ERIN
from tests.workspaces.sandbox.conftest import World, make_world
from tests.workspaces.service import Lab, Service, wait_for
from tre_orchestrator.governance.grants import grants_of_dataset, revoke
from tre_orchestrator.workspaces import rows, starting
from tre_orchestrator.workspaces.tables import WorkspaceState

LEASE_SECONDS = 5.0
pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


def served(state_dir: Path, mode: str, lease_seconds: float = 60.0) -> Iterator[Service]:
    sandbox: World = make_world(state_dir, mode, lease_seconds)
    try:
        sandbox.start_supervisor()
        yield Service(sandbox)
    finally:
        sandbox.stop_supervisor()


@pytest.fixture(params=["root", "user"])
def service(request: pytest.FixtureRequest, state_dir: Path) -> Iterator[Service]:
    """In the best and in the plainest mode."""
    yield from served(state_dir, request.param)


@pytest.fixture
def short_lease(state_dir: Path) -> Iterator[Service]:
    """A TRE whose workspaces outlive their controller by seconds only."""
    yield from served(state_dir, "root", lease_seconds=LEASE_SECONDS)


def test_N2_a_broken_lock_starts_nothing_and_is_on_record(state_dir: Path) -> None:
    sandbox = make_world(state_dir, "root")
    try:
        sandbox.start_supervisor(module="tests.workspaces.sandbox.broken", TRE_TEST_BREAK="network")
        service = Service(sandbox)
        with pytest.raises(RuntimeError, match="lock"):
            service.start()
        assert sandbox.processes() == []
        assert "lock.broken" in service.kinds()
        assert "workspace.started" not in service.kinds()
    finally:
        sandbox.stop_supervisor()


def revoke_grant(service: Service) -> None:
    def work() -> None:
        world = service.world()
        with world.db.write() as session:
            revoke(session, grants_of_dataset(session, build.LUNGS)[0].id, ERIN, "Wrong version", world.now)

    service.act(work)


def test_N2_D1_a_workspace_starts_proven_works_on_its_data_and_ends_verified(service: Service) -> None:
    handle = service.start()
    assert service.kinds() == ["lock.proven", "workspace.start.intended", "workspace.started"]
    lab = Lab(service.sandbox, handle)
    assert lab.get("/api")[0] == 200
    assert lab.get("/api/kernels", token=False)[0] in (302, 403)
    said = lab.run(
        "import os, polars, tre_airlock\n"
        "print(polars.read_csv('/data/lungs/a.csv').height)\n"
        "os.makedirs('/outputs/first'); polars.DataFrame({'n': [12]}).write_csv('/outputs/first/n.csv')\n"
        "tre_airlock.submit('outputs/first', title='First', files={'n.csv': 'Patients'}); tre_airlock.status()\n"
        "open('/shared/x', 'w').close()\n"
        "print(sorted(n for n in os.listdir('.') if n[0] != '.'), sorted(os.listdir('/')))\n"
        "print([name for name in os.environ if 'TOKEN' in name or 'HUB' in name])\n"
        "try: open('/data/lungs/a.csv', 'a')\n"
        "except OSError: print('not written')\n"
        "try: open(f'/proc/{os.getppid()}/environ', 'rb').read()\n"
        "except OSError as error: print(error.strerror)\n"
    )
    assert said.splitlines() == [
        "1",
        "Draft ready: 1 file(s), 5 bytes, in /outputs/first.",
        "Next: open this project in the portal, Requests, New request, choose the folder and send it.",
        "No requests yet.",
        "['README.md', 'data', 'imports', 'outputs', 'shared'] "
        "['bin', 'data', 'dev', 'etc', 'home', 'imports', 'lib', 'lib64', 'opt', 'outcomes', 'outputs', 'proc', "
        "'run', 'sbin', 'shared', 'tmp', 'usr', 'var']",
        "[]",
        "not written",
        "Permission denied",
    ]
    page = lab.get("/lab")[1].decode()
    assert service.sandbox.token(handle) not in page
    found = re.search(r'id="jupyter-config-data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    config = json.loads(found[1])
    assert "@jupyterlab/javascript-extension" in config["disabledExtensions"]
    assert config["token"] == ""
    service.end()
    assert service.kinds()[-2:] == ["workspace.end.intended", "workspace.ended"]
    assert service.sandbox.processes() == []
    again = service.start()
    assert Lab(service.sandbox, again).run("print(open('/outputs/first/n.csv').read())").strip() == "n\n12"
    assert service.kinds().count("lock.proven") == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/files/README.md", None, 403),
        ("GET", "/nbconvert/html/a.ipynb", None, 404),
        ("GET", "/view/README.md", None, 404),
        ("POST", "/api/shutdown", None, 404),
        ("POST", "/api/terminals", None, 404),
        ("GET", "/lsp/status", None, 404),
        ("POST", "/lab/api/extensions", '{"cmd": "install", "extension_name": "x"}', 422),
        ("PUT", "/api/contents/a.bin", '{"type": "file", "format": "base64", "content": "AAAA"}', 403),
        ("PUT", "/api/contents/a.txt", '{"type": "file", "format": "text", "chunk": 1, "content": "x"}', 403),
        ("GET", "/api/contents/.local", None, 404),
        ("PUT", "/api/contents/a.txt", '{"type": "file", "format": "text", "content": "x"}', 201),
    ],
)
def test_ways_out_of_lab_that_are_switched_off(lab: Lab, method: str, path: str, body: str | None, status: int) -> None:
    assert lab.request(method, path, body)[0] == status


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One running workspace for all the requests above."""
    state_dir = Path(tempfile.mkdtemp(prefix="tre-", dir="/tmp"))
    for name in ("keys", "run", "log", "data", "workspaces", "shared", "store"):
        (state_dir / name).mkdir(mode=0o700)
    running = served(state_dir, "user")
    service = next(running)
    yield Lab(service.sandbox, service.start())
    next(running, None)
    shutil.rmtree(state_dir, ignore_errors=True)


def test_D2_the_controller_ends_a_workspace_whose_grant_was_revoked(service: Service) -> None:
    handle = service.start()
    with service.controller():
        revoke_grant(service)
        wait_for(lambda: service.view().state is WorkspaceState.stopped)
    assert service.sandbox.processes() == []
    assert service.kinds()[-1] == "workspace.ended"
    assert not handle.socket.exists()
    with pytest.raises(RuntimeError, match="Refused"):
        service.start()


def test_P4_the_lease_keeps_a_workspace_while_the_controller_lives_and_ends_it_when_it_dies(
    short_lease: Service,
) -> None:
    backend = short_lease.sandbox.backend
    with short_lease.controller() as controller:
        handle = short_lease.start()
        seen = [backend.poll(handle.workspace).running for _ in _seconds(2 * LEASE_SECONDS)]
        assert all(seen)
        controller.send_signal(signal.SIGKILL)
        controller.wait(10)
        wait_for(lambda: not backend.poll(handle.workspace).running)
    assert short_lease.sandbox.processes() == []
    assert short_lease.view().state is WorkspaceState.running, "nobody has noticed yet"
    with short_lease.controller():
        wait_for(lambda: short_lease.view().state is WorkspaceState.stopped)
    assert "lease" in short_lease.view().end_reason


def test_R1_a_hub_killed_between_intent_and_outcome_leaves_nothing_running(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "CLAIM_SECONDS", 1.0)
    monkeypatch.setattr(starting.Starter, "_record", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(EOFError):
        service.start()
    assert service.view().state is WorkspaceState.starting
    assert len(service.sandbox.processes()) > 0
    with service.controller():
        wait_for(lambda: service.view().state is WorkspaceState.stopped)
    assert service.sandbox.processes() == []
    assert service.kinds()[-1] == "workspace.start.failed"


def _seconds(length: float) -> Iterator[int]:
    for number in range(int(length / 0.25)):
        time.sleep(0.25)
        yield number
