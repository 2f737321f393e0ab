"""The life of a whole TRE on one machine: what refuses to start, what survives which death, and that nothing is left.

One TRE lives through the file, in this order; each test leaves it up unless it says so.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from tests.e2e.conftest import RunningTre, free_port, start_tre, stop_tre
from tests.e2e.desk import PageKernel, at_desk, open_workspace
from tests.e2e.lab import frame_of, open_notebook, run_cell
from tests.e2e.machine import is_alive, left_behind, parent_of, processes_of, worker_of
from tre_orchestrator.governance.tables import GrantRow
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.read import entries
from tre_orchestrator.ops.health import ProcessRecord, read_records
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces.sandbox.client import SandboxBackend

pytestmark = [pytest.mark.stack, pytest.mark.timeout(420)]

PROJECT = "winter-pressures"
PATIENCE = 120.0
LEASE = "12"


@dataclass
class Life:
    """The TRE of this file through its deaths, and Ana with her workspace."""

    tre: RunningTre
    ana: Page
    kernel: PageKernel

    @property
    def settings(self) -> Settings:
        return self.tre.settings

    def up_again(self, *more: str) -> None:
        """`tre up` on the same folder and port."""
        self.tre = start_tre(self.settings.state_dir, self.settings.listen_port, *more)

    def open(self) -> None:
        """Ana's workspace with a kernel that remembers something."""
        self.kernel = PageKernel(open_workspace(self.tre, self.ana, PROJECT))
        assert self.kernel.run("kept = 41") == ""

    def remembers(self) -> bool:
        """Whether the same kernel runs with what it was told, seen through browser, gate and Lab."""
        return self.kernel.run("print(kept + 1)") == "42\n"

    def status(self) -> dict[str, Any]:
        """`tre status --json`."""
        found: dict[str, Any] = json.loads(self.tre.tre("status", "--json").stdout)
        return found

    def processes(self) -> dict[str, ProcessRecord]:
        """What `tre up` last noted of each process it watches."""
        return {one.process: one for one in read_records(self.settings)}

    def workspaces(self) -> list[str]:
        """Those that run, by the word of the supervisor."""
        return [one.workspace for one in SandboxBackend(self.settings).running()]

    def said(self, pattern: str) -> bool:
        return any(re.search(pattern, line) for line in self.tre.lines)

    def recorded(self, since: int = 0) -> list[tuple[str, str]]:
        """Kinds in the ledger, with the reason where there is one."""
        db = Database(self.settings.sqlalchemy_url)
        with db.read() as session:
            found = entries(session, since=since, limit=10_000)
        db.dispose()
        return [(one.kind, str(one.facts.get("reason", ""))) for one in found]


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def life(state_root: Path, browser: Browser) -> Iterator[Life]:
    tre = start_tre(state_root / "life", free_port())
    ana = at_desk(tre, browser, "Ana Silva")
    found = Life(tre, ana, PageKernel(open_workspace(tre, ana, PROJECT)))
    found.kernel.run("kept = 41")
    yield found
    ana.context.close()
    stop_tre(found.tre)


def up(state: Path, port: int, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A `tre up` that is expected to refuse."""
    return subprocess.run(
        [sys.executable, "-m", "tre_orchestrator.cli", "up", "--state", str(state), "--port", str(port), *more],
        env={**os.environ, "COLUMNS": "400", "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    told = done.stdout + done.stderr
    assert done.returncode == 1, told
    assert "Traceback" not in told
    for word in words:
        assert word in told, told


def test_a_second_up_on_the_same_folder_says_that_one_runs(life: Life) -> None:
    done = up(life.settings.state_dir, free_port(), "--demo")
    refused(done, "already runs", str(life.tre.process.pid), " down`")
    assert life.status()["ok"] is True


def test_a_taken_port_is_said_in_a_sentence(life: Life, tmp_path: Path) -> None:
    port = life.settings.listen_port
    refused(up(tmp_path / "other", port), f"127.0.0.1:{port}", "--port")


def test_settings_that_nobody_knows_are_refused_by_name(tmp_path: Path) -> None:
    refused(up(tmp_path, free_port(), TRE_LEESE_SECONDS="5"), "TRE_LEESE_SECONDS")
    for text, word in (
        ("leese_seconds: 5\n", "leese_seconds"),
        ("lease_seconds: -1\n", "lease_seconds"),
        ("a: [\n", "YAML"),
    ):
        (tmp_path / "settings.yaml").write_text(text)
        refused(up(tmp_path, free_port()), word, "settings.yaml")


def test_P5_a_demo_is_not_for_other_machines(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        refused(up(tmp_path / "public", free_port(), "--demo", "--host", host), "loopback", host)
    assert not (tmp_path / "public").exists()


@pytest.mark.parametrize("name", ["web", "gate", "hub", "controller"])
def test_a_killed_process_is_started_again_and_the_workspace_goes_on(life: Life, name: str) -> None:
    before = life.processes()[name]
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: is_replaced(life, before), f"{name} is started again")
    until(lambda: life.status()["ok"], f"{name} answers")
    told = next(one for one in life.status()["processes"] if one["process"] == name)
    assert (told["restarts"], told["last_exit"]) == (before.restarts + 1, "was ended by SIGKILL")
    assert life.said(rf"^{name} was ended by SIGKILL; starting it again in 0.5 s")
    assert life.remembers()


def test_one_that_keeps_dying_is_started_after_longer_and_longer_waits(life: Life) -> None:
    for _ in range(3):
        before = life.processes()["web"]
        os.kill(before.pid, signal.SIGKILL)
        until(partial(is_replaced, life, before), "web is started again")
    until(lambda: life.status()["ok"], "web answers")
    waits = re.findall(r"web was ended by SIGKILL; starting it again in (\S+) s", "\n".join(life.tre.lines))[-3:]
    first = float(waits[0])
    assert [float(wait) for wait in waits] == [first, 2 * first, 4 * first]


def is_replaced(life: Life, before: ProcessRecord) -> bool:
    now = life.processes()[before.process]
    return now.restarts == before.restarts + 1 and now.pid not in (0, before.pid)


def test_lab_connects_again_by_itself(life: Life) -> None:
    """The page is not loaded again: what it shows survives the gate and a restart of everything."""
    close_dialogs(life.ana)
    open_notebook(life.ana)
    run_cell(life.ana, "mine = 7")
    before_kill = life.processes()["gate"]
    os.kill(before_kill.pid, signal.SIGKILL)
    until(lambda: is_replaced(life, before_kill), "the gate is started again")
    until(lambda: life.status()["ok"], "the gate answers")
    close_dialogs(life.ana)
    assert "42" in run_cell(life.ana, "print(mine * 6)", seconds=PATIENCE)
    before = {name: one.restarts for name, one in life.processes().items()}
    done = life.tre.tre("restart")
    assert done.returncode == 0, done.stderr
    until(lambda: life.said("^Ready again"), "everything is up again")
    assert {name: one.restarts for name, one in life.processes().items()} == {n: r + 1 for n, r in before.items()}
    close_dialogs(life.ana)
    assert "49" in run_cell(life.ana, "print(mine * 7)", seconds=PATIENCE)
    assert life.remembers()


def close_dialogs(page: Page) -> None:
    """Lab says that its server did not answer; a person reads that and closes it."""
    button = frame_of(page).locator("dialog .jp-Dialog-footer button").last
    while button.count():
        button.click()
        expect(button).to_have_count(0)


def test_a_killed_up_takes_the_services_along_and_the_next_one_picks_the_workspace_up(life: Life) -> None:
    pids = [one.pid for one in life.processes().values()]
    running = life.workspaces()
    life.tre.process.kill()
    life.tre.process.wait()
    until(lambda: not any(is_alive(pid) for pid in pids), "the services end with tre up")
    assert life.workspaces() == running
    assert life.status()["up"] is False
    life.up_again()
    assert life.workspaces() == running
    life.ana.goto(f"{life.tre.origin}/account")
    expect(life.ana.locator("header")).to_contain_text("Ana Silva")
    kept = life.kernel.id
    life.kernel = PageKernel(open_workspace(life.tre, life.ana, PROJECT))
    life.kernel.id = kept
    assert life.remembers()


@pytest.mark.parametrize("whole", [False, True], ids=["its worker", "all of it"])
def test_a_killed_supervisor_ends_workspaces_on_record_and_is_back(life: Life, whole: bool) -> None:
    seen = len(life.recorded())
    worker = worker_of(life.settings)
    os.kill(parent_of(worker) if whole else worker, signal.SIGKILL)
    until(lambda: not is_alive(worker), "the worker ends too")
    until(lambda: "workspace.ended" in dict(life.recorded()[seen:]), "the end is on record")
    assert ("workspace.ended", "gone") in life.recorded()[seen:]
    until(lambda: SandboxBackend(life.settings).is_up(), "the supervisor answers")
    assert life.workspaces() == []
    assert processes_of(life.settings, workspaces_only=True) == []
    life.ana.goto(f"{life.tre.origin}/projects/{PROJECT}/workspace")
    expect(life.ana.locator("main")).to_contain_text(re.compile("ended", re.I))
    life.open()


def test_down_leaves_nothing_behind_and_up_picks_up(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = len(life.recorded())
    done = life.tre.tre("down", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert life.tre.process.wait(PATIENCE) == 0
    assert left_behind(life.settings) == []
    assert ("workspace.ended", "tre-stopped") in life.recorded()[seen:]
    again = life.tre.tre("down", "--yes")
    assert "Nothing runs here" in again.stdout
    monkeypatch.setenv("TRE_LEASE_SECONDS", LEASE)
    life.up_again()
    life.ana.goto(life.tre.origin)
    expect(life.ana.locator("main")).to_contain_text("Winter pressures")
    life.open()
    assert life.kernel.run("import os; print(os.path.isdir('/data/admissions'))") == "True\n"


def test_P4_without_the_controller_the_lease_runs_out(life: Life) -> None:
    seen = len(life.recorded())
    controller = life.processes()["controller"].pid
    os.kill(controller, signal.SIGSTOP)
    try:
        until(lambda: life.workspaces() == [], "the workspace ends with its lease")
        until(lambda: processes_of(life.settings, workspaces_only=True) == [], "its last process is gone", 15)
    finally:
        os.kill(controller, signal.SIGCONT)
    until(lambda: "workspace.ended" in dict(life.recorded()[seen:]), "the end is on record")
    life.ana.goto(f"{life.tre.origin}/projects/{PROJECT}/workspace")
    expect(life.ana.locator("main")).to_contain_text("lease")
    life.open()


def test_D2_a_grant_whose_last_day_is_over_ends_the_workspace(life: Life) -> None:
    """The day is moved into the past in the database, as if it had gone by."""
    seen = len(life.recorded())
    db = Database(life.settings.sqlalchemy_url)
    with db.write() as session:
        for row in session.scalars(select(GrantRow).where(GrantRow.project == PROJECT)):
            row.until = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    db.dispose()
    until(lambda: life.workspaces() == [], "the workspace ends")
    until(lambda: {"grant.expired", "workspace.ended"} <= set(dict(life.recorded()[seen:])), "both are on record")
    assert processes_of(life.settings, workspaces_only=True) == []
    life.ana.goto(f"{life.tre.origin}/projects/{PROJECT}")
    expect(life.ana.get_by_role("button", name=re.compile("start", re.I))).to_be_disabled()
    expect(life.ana.locator("main")).to_contain_text(re.compile("grant", re.I))


def test_ctrl_c_warns_and_leaves_nothing_behind(life: Life) -> None:
    open_workspace(life.tre, life.ana, "survey-methods")
    life.tre.process.send_signal(signal.SIGINT)
    assert life.tre.process.wait(PATIENCE) == 0
    assert life.said("1 workspaces are running and will be ended")
    assert life.said("^Stopped")
    assert not life.said("Traceback")
    assert left_behind(life.settings) == []


def test_a_start_that_was_killed_half_way_is_no_obstacle(life: Life) -> None:
    """Leaves the TRE up: the file's end stops it by SIGTERM, and what that leaves behind is looked for below."""
    half = subprocess.Popen(
        [sys.executable, "-m", "tre_orchestrator.cli", "up", "--state", str(life.settings.state_dir)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: (life.settings.run_dir / "web.sock").exists() or half.poll() is not None, "it has begun")
    assert half.poll() is None
    half.kill()
    half.wait()
    done = life.tre.tre("down", "--yes")
    assert done.returncode == 0, done.stderr
    until(lambda: left_behind(life.settings) == [], "nothing is left of it")
    life.up_again()
    assert life.status()["ok"] is True


def test_sigterm_leaves_nothing_behind(life: Life) -> None:
    open_workspace(life.tre, life.ana, "survey-methods")
    life.tre.process.terminate()
    assert life.tre.process.wait(PATIENCE) == 0
    assert not life.said("Traceback")
    assert left_behind(life.settings) == []
