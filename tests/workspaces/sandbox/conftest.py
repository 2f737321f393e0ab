"""A real supervisor per test, in each privilege mode, on its own state folder; nothing of it may be left behind."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.built import BUILT
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces.backend import Handle, silent
from tre_orchestrator.workspaces.environment import inside_dir
from tre_orchestrator.workspaces.plan import COMMAND, Mount, PlanLimits, WorkspacePlan, inner_token
from tre_orchestrator.workspaces.rows import new_id, new_nonce
from tre_orchestrator.workspaces.sandbox.client import SandboxBackend
from tre_orchestrator.workspaces.sandbox.options import Options

MODES = ("root", "root-no-userns", "user")
USER = 12345
LIMITS = PlanLimits(memory_mib=1024, cpus=2.0, processes=200, disk_mib=64, tmp_mib=32)
CODE = Path(__file__).parents[3]
SUPERVISOR = "tre_orchestrator.workspaces.sandbox.supervisor"


@dataclass
class World:
    """One TRE's worth of folders with a supervisor on it."""

    settings: Settings
    options: Options
    mode: str
    process: subprocess.Popen[bytes] | None = None
    log: Path = Path()

    @property
    def backend(self) -> SandboxBackend:
        return SandboxBackend(self.settings)

    @property
    def uid(self) -> int:
        return USER if self.mode == "user" else 0

    def start_supervisor(self, module: str = SUPERVISOR, log: Path | None = None, **environment: str) -> None:
        self.spawn_supervisor(module, log, **environment)
        self.wait_for_supervisor()

    def spawn_supervisor(self, module: str = SUPERVISOR, log: Path | None = None, **environment: str) -> None:
        self.log = log or self.settings.log_dir / "supervisor.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *self.options.words()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CODE), **environment},
                user=self.uid,
                group=self.uid,
                extra_groups=[],
            )

    def wait_for_supervisor(self) -> None:
        wait_until(lambda: self.answers() or (self.process is not None and self.process.poll() is not None))
        assert self.answers(), self.log.read_text()

    def answers(self) -> bool:
        return self.backend.is_up()

    def stop_supervisor(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def plan(
        self,
        *,
        project: str = "heart",
        person: str = "ana",
        limits: PlanLimits = LIMITS,
        workspace: str | None = None,
        datasets: tuple[str, ...] = ("survey",),
    ) -> WorkspacePlan:
        name = workspace or new_id()
        own = self.settings.workspaces_dir / name
        shared = self.settings.shared_dir / project
        for folder, mode in ((own, 0o700), (own / "home", 0o700), (own / "outputs", 0o700)):
            self.folder(folder, mode)
        for folder in (own / "imports", own / "outcomes"):
            self.folder(folder, 0o755)
        self.folder(shared, 0o2770)
        mounts = [
            Mount(str(self.options.environment), "/opt/env", False),
            Mount(str(self.options.inside), "/opt/tre", False),
            Mount(str(own / "home"), "/home/analyst", True),
            Mount(str(own / "outputs"), "/outputs", True),
            Mount(str(shared), "/shared", True),
            Mount(str(own / "imports"), "/imports", False),
            Mount(str(own / "outcomes"), "/outcomes", False),
        ]
        mounts += [Mount(str(self.dataset(dataset)), f"/data/{dataset}", False) for dataset in datasets]
        variables = {
            "HOME": "/home/analyst",
            "USER": "analyst",
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "PATH": "/opt/env/bin:/usr/bin:/bin",
            "PYTHONPATH": "/opt/tre/lib",
            "PYTHONNOUSERSITE": "1",
            "JUPYTER_CONFIG_DIR": "/opt/tre/config",
            "JUPYTER_CONFIG_PATH": "/opt/tre/config",
            "JUPYTER_PATH": "/opt/env/share/jupyter",
            "JUPYTER_RUNTIME_DIR": "/run/jupyter",
            "TRE_PROJECT": project,
            "TRE_TIER": "1",
            "TRE_SCRIPTS_IN_OUTPUT": "0",
        }
        made = WorkspacePlan(
            workspace=name,
            person=person,
            project=project,
            nonce=new_nonce(),
            mounts=tuple(mounts),
            limits=limits,
            variables=tuple(sorted(variables.items())),
            command=COMMAND,
        )
        self.write_plan(made)
        return made

    def write_plan(self, plan: WorkspacePlan) -> None:
        path = self.settings.workspaces_dir / plan.workspace / "plan.json"
        path.write_text(plan.to_json())
        os.chown(path, self.service, self.service)

    @property
    def service(self) -> int:
        return USER if self.mode == "user" else self.options.service

    def folder(self, path: Path, mode: int) -> None:
        if not path.exists():
            path.mkdir(parents=True)
            os.chown(path, self.service, self.service)
            path.chmod(mode)

    def dataset(self, name: str) -> Path:
        folder = self.settings.state_dir / "data" / name / "1"
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "rows.csv").write_text("id,value\n1,2\n")
            (folder / "part").mkdir()
            (folder / "part" / "more.csv").write_text("id,value\n3,4\n")
            for path in (folder.parent, folder, *folder.rglob("*")):
                os.chown(path, self.service, self.service)
                path.chmod(0o755 if path.is_dir() else 0o644)
        return folder

    def start(self, plan: WorkspacePlan) -> Handle:
        return self.backend.start(plan, self.backend.status().lock_digest, silent)

    def token(self, handle: Handle) -> str:
        key = (self.settings.keys_dir / "inner.key").read_bytes()
        return inner_token(key, handle.workspace, handle.nonce)

    def next_start(self, plan: WorkspacePlan) -> WorkspacePlan:
        """The plan of the next start of the same workspace."""
        fresh = replace(plan, nonce=new_nonce())
        self.write_plan(fresh)
        return fresh

    def groups(self) -> list[str]:
        return [str(path) for path in Path("/sys/fs/cgroup").rglob(f"{self.options.prefix}*")]

    def loops(self) -> list[str]:
        """Images of this world that a loop device still holds."""
        found = []
        for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                text = backing.read_text()
            except OSError:
                continue
            if str(self.settings.state_dir) in text:
                found.append(text.strip())
        return found

    def processes(self) -> list[int]:
        """Processes inside workspaces of this world: those whose mounts come from its state folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                text = (entry / "mountinfo").read_text()
            except OSError:
                continue
            if f"{self.settings.state_dir}/workspaces/" in text and " /home/analyst " in text:
                found.append(int(entry.name))
        return found

    def nothing_left(self) -> bool:
        return not (self.groups() or self.loops() or self.processes())


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def make_world(state_dir: Path, mode: str, lease_seconds: float = 60.0) -> World:
    assert os.geteuid() == 0, "These tests start sandboxes in every privilege mode: run them as root."
    assert (BUILT / "bin" / "python").exists(), f"{BUILT} does not exist: run `make env` first."
    settings = Settings(state_dir=state_dir, environment_dir=BUILT)
    service = 0 if mode == "user" else 1_999_999_999
    owner = USER if mode == "user" else service
    for folder in (state_dir, *state_dir.iterdir()):
        os.chown(folder, owner, owner)
    (state_dir / "run" / "ws").mkdir(mode=0o700)
    os.chown(state_dir / "run" / "ws", owner, owner)
    key = state_dir / "keys" / "inner.key"
    key.write_bytes(secrets.token_bytes(32))
    key.chmod(0o600)
    os.chown(key, owner, owner)
    options = Options(
        state_dir=state_dir,
        run_dir=settings.run_dir,
        data_roots=settings.all_data_roots,
        environment=BUILT,
        inside=inside_dir(),
        software=None,
        privilege=mode,
        lease_seconds=lease_seconds,
        service=service,
        root_state=state_dir / "root",
    )
    return World(settings, options, mode)


def _lifetime(world: World, *, start: bool = True) -> Iterator[World]:
    try:
        if start:
            world.start_supervisor()
        yield world
    finally:
        world.stop_supervisor()
    wait_until(world.nothing_left)


@pytest.fixture(params=MODES)
def world(request: pytest.FixtureRequest, state_dir: Path) -> Iterator[World]:
    """A supervisor in each of the three modes."""
    yield from _lifetime(make_world(state_dir, request.param))


@pytest.fixture
def root_world(state_dir: Path) -> Iterator[World]:
    """A supervisor in the mode this machine would choose."""
    yield from _lifetime(make_world(state_dir, "root"))


@pytest.fixture
def idle_world(request: pytest.FixtureRequest, state_dir: Path) -> Iterator[World]:
    """A world whose supervisor the test starts itself; parametrised by the mode."""
    yield from _lifetime(make_world(state_dir, getattr(request, "param", "root")), start=False)
