"""The process as `tre up` starts it: on its unix socket, ended by SIGTERM, and a sentence when it cannot start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tre_orchestrator.airlock.store import make_store
from tre_orchestrator.governance.secrets import create_all_secrets
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.schema import upgrade
from tre_orchestrator.ops.health import ask, health_of
from tre_orchestrator.settings import Settings


def start(state_dir: Path) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "tre_orchestrator.web"],
        env={**environment, "TRE_STATE_DIR": str(state_dir)},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_process_answers_on_its_socket_and_ends_cleanly(state_dir: Path, settings: Settings) -> None:
    create_all_secrets(settings.keys_dir)
    make_store(settings)
    db = Database(settings.sqlalchemy_url)
    upgrade(db)
    db.dispose()
    process = start(state_dir)
    try:
        deadline = time.monotonic() + 60
        while not health_of(settings, "web").ok and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        assert health_of(settings, "web").ok
        assert ask(settings, "web", "/verify")[0] == 200
        assert ask(settings, "web", "/projects/x")[0] == 303
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("fault", ["missing", "open"])
def test_P5_missing_or_open_secret_stops_it_with_a_sentence(state_dir: Path, settings: Settings, fault: str) -> None:
    if fault == "open":
        create_all_secrets(settings.keys_dir)
        (settings.keys_dir / "identity.key").chmod(0o644)
    process = start(state_dir)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "identity.key" in errors
    assert "Traceback" not in errors
