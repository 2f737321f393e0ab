"""Whose word root takes for what it runs."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tre_orchestrator.errors import Invalid, TreError
from tre_orchestrator.ops import machine
from tre_orchestrator.settings import ROOTS_OWN, Settings, load_settings, save_settings

SERVICE = 1_999_999_999
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has somebody below it")
VALUES = {
    "environment_dir": "/evil",
    "software_dir": "/evil",
    "cache_dir": "/evil",
    "data_roots": "[/]",
    "privilege": "user",
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of whoever runs the tests are not the test's."""
    for name in [name for name in os.environ if name.startswith("TRE_")]:
        monkeypatch.delenv(name)


def test_what_root_saved_root_reads_again(state_dir: Path) -> None:
    saved = Settings(state_dir=state_dir, data_roots=(Path("/srv/data"),), listen_port=8123)
    save_settings(saved)
    if os.geteuid() == 0:
        os.chown(state_dir, SERVICE, SERVICE)
    assert load_settings(state_dir) == saved
    assert sorted(path.name for path in state_dir.glob("settings*")) == ["settings.yaml"]


@as_root
@pytest.mark.parametrize("key", ROOTS_OWN)
def test_root_takes_no_order_from_a_file_of_the_services(state_dir: Path, key: str) -> None:
    path = state_dir / "settings.yaml"
    path.write_text(f"listen_port: 8123\n{key}: {VALUES[key]}\n")
    os.chown(path, SERVICE, SERVICE)
    with pytest.raises(Invalid, match=key):
        load_settings(state_dir)
    path.write_text("listen_port: 8123\n")
    assert load_settings(state_dir).listen_port == 8123


def test_a_link_in_place_of_the_settings_is_not_followed(state_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("listen_port: 8123\n")
    (state_dir / "settings.yaml").symlink_to(tmp_path / "real.yaml")
    with pytest.raises(Invalid, match="plain file"):
        load_settings(state_dir)


@as_root
def test_root_signals_no_process_that_the_services_name_to_it(settings: Settings) -> None:
    os.chown(settings.state_dir, SERVICE, SERVICE)
    victim = subprocess.Popen(["/usr/bin/sleep", "60"])
    try:
        with pytest.raises(TreError, match="belongs to uid 0"):
            machine.signal_running(settings, victim.pid, signal.SIGTERM)
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_a_lock_file_that_is_a_link_is_not_written_through(settings: Settings, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("x" * 100)
    (settings.run_dir / "up.lock").symlink_to(precious)
    with pytest.raises(TreError, match="symbolic links"), machine.only_one(settings):
        pass
    assert precious.read_text() == "x" * 100
