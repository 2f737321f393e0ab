"""A real JupyterHub process with our configuration, and a real gate in front of it."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.gate.build import Clock, environment, free_port
from tests.governance.build import World, ready
from tests.hub.browser import HttpBrowser
from tests.hub.process_backend import alive
from tre_orchestrator.gate.app import serving
from tre_orchestrator.governance.secrets import create_all_secrets
from tre_orchestrator.hub.configure import OIDC_SECRET
from tre_orchestrator.ledger.database import Base, Database
from tre_orchestrator.ops.health import health_of
from tre_orchestrator.settings import Settings, save_settings

NOW = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)
ROOT = Path(__file__).parent.parent.parent


@dataclass
class RunningHub:
    """A hub's process; `restart` ends it and starts it again on the same state."""

    settings: Settings
    world: World
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(default_factory=Path)

    def start(self) -> None:
        self.log = self.settings.log_dir / "hub.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", str(ROOT / "tests" / "hub" / "hub_config.py")],
                env={**os.environ, "TRE_STATE_DIR": str(self.settings.state_dir), "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
                cwd=self.settings.state_dir,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not health_of(self.settings, "hub").ok:
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            time.sleep(0.1)

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def restart(self) -> None:
        self.stop()
        self.start()


@contextlib.contextmanager
def make_hub(oidc: dict[str, str] | None = None) -> Iterator[RunningHub]:
    """A governed TRE with a running hub."""
    state = Path(tempfile.mkdtemp(prefix="tre-", dir="/tmp"))
    for name in ("keys", "run", "log", "data", "workspaces", "shared", "store"):
        (state / name).mkdir(mode=0o700)
    folder = environment(state / "env")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").touch()
    settings = Settings(
        state_dir=state, listen_port=free_port(), environment_dir=folder, right_interval_seconds=0.1, oidc=oidc
    )
    save_settings(settings)
    (state / "now").write_text(NOW.isoformat())
    create_all_secrets(settings.keys_dir)
    if oidc is not None:
        (settings.keys_dir / OIDC_SECRET).write_text("the provider's secret")
        (settings.keys_dir / OIDC_SECRET).chmod(0o600)
    db = Database(settings.sqlalchemy_url)
    Base.metadata.create_all(db.engine)
    running = RunningHub(settings, ready(db, settings, NOW))
    try:
        running.start()
        yield running
    finally:
        running.stop()
        for path in (state / "running").glob("*"):
            pid = int(path.read_text().split()[0])
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        db.dispose()
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="module")
def hub() -> Iterator[RunningHub]:
    with make_hub() as running:
        yield running


@pytest_asyncio.fixture
async def browser(hub: RunningHub) -> AsyncIterator[HttpBrowser]:
    """A browser without script, at the front door."""
    async with (
        serving(hub.settings, hub.world.db, Clock(NOW + dt.timedelta(seconds=1))),
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client,
    ):
        yield HttpBrowser(hub.settings, client)
