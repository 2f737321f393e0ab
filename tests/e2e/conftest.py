"""A whole TRE as a person gets it from `tre up --demo`, and a real browser to use it with."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tre_orchestrator.settings import Settings, load_settings

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_LINK = re.compile(r"^\s*(?P<name>\S.*?)\s{2,}(?P<url>http\S+#token=\S+)")
_READY_SECONDS = 180


@dataclass
class RunningTre:
    """A TRE that `tre up --demo` runs: its settings, its terminal's lines so far, and the people's links."""

    process: subprocess.Popen[str]
    settings: Settings
    lines: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return self.settings.people_origin

    def tre(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a `tre` command against this TRE's state folder."""
        return subprocess.run(
            [sys.executable, "-m", "tre_orchestrator.cli", *arguments],
            env={**os.environ, "TRE_STATE_DIR": str(self.settings.state_dir), **(environment or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def fetch(self, path: str, *, host: str | None = None, cookie: str = "") -> tuple[int, bytes]:
        """`GET path` at the front door without a browser: `*.localhost` names resolve in browsers only."""
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.listen_port, timeout=30)
        try:
            name = host or f"{self.settings.site}:{self.settings.listen_port}"
            connection.request(
                "GET", path, headers={"Host": name, "Cookie": cookie, "Accept": "*/*", "Sec-Fetch-Site": "same-origin"}
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def fresh_links(self) -> dict[str, str]:
        """New one-time links: each is good for one sign-in."""
        done = self.tre("demo", "links")
        assert done.returncode == 0, done.stderr
        return {match["name"]: match["url"] for line in done.stdout.splitlines() if (match := _LINK.match(line))}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_tre(state: Path, port: int, *more: str) -> RunningTre:
    """Start `tre up --demo` and wait for its ready line."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tre_orchestrator.cli",
            "up",
            "--demo",
            "--state",
            str(state),
            "--port",
            str(port),
            *more,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "COLUMNS": "400", "NO_COLOR": "1"},
    )
    running = RunningTre(process, load_settings(state, listen_port=port))
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            running.lines.append(line.rstrip())
            if match := _LINK.match(line):
                running.links[match["name"]] = match["url"]
            if "Ctrl-C ends everything" in line:
                ready.set()
        ready.set()

    threading.Thread(target=read, daemon=True).start()
    if not ready.wait(_READY_SECONDS) or process.poll() is not None:
        stop_tre(running)
        logs = "\n".join(f"== {p.name}\n{p.read_text(errors='replace')[-2000:]}" for p in (state / "log").glob("*.log"))
        pytest.fail("tre up did not become ready:\n" + "\n".join(running.lines[-40:]) + "\n" + logs)
    return running


def stop_tre(running: RunningTre) -> None:
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
        try:
            running.process.wait(90)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()
    deadline = time.monotonic() + 10
    while (running.settings.run_dir / "supervisor.sock").exists() and time.monotonic() < deadline:
        time.sleep(0.1)


@pytest.fixture(scope="session")
def state_root() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tre-e2e-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def tre(state_root: Path, request: pytest.FixtureRequest) -> Iterator[RunningTre]:
    """A fresh demo TRE for the tests of one file."""
    name = request.module.__name__.rsplit(".", 1)[-1].removeprefix("test_")[:12]
    running = start_tre(state_root / name, free_port())
    yield running
    stop_tre(running)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


def new_context(browser: Browser) -> BrowserContext:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(30_000)
    return context


def sign_in(context: BrowserContext, link: str, origin: str) -> Page:
    """Open a one-time link as a person does and press the button on the page it opens."""
    page = context.new_page()
    page.goto(link)
    page.get_by_role("button", name=re.compile("sign in", re.I)).first.click()
    page.wait_for_url(re.compile(re.escape(origin) + r"/(?!hub|gate).*"))
    return page
