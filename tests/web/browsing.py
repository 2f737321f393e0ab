"""A real Chromium on a world served over loopback, with the gate's signed header on every request."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from axe_core_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.web.world import PEOPLE, World
from tre_orchestrator.governance.identity import HEADER

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def served(world: World) -> Iterator[str]:
    """The world's address on loopback while the block runs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(world.app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.started
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


def context_of(browser: Browser, world: World, person: str | None, **options: Any) -> BrowserContext:
    """A browser context in which every request carries the gate's statement about this person."""
    options.setdefault("viewport", {"width": 1280, "height": 900})
    headers = {HEADER: world.header(PEOPLE.get(person, person))} if person else {}
    context = browser.new_context(extra_http_headers=headers, **options)
    context.set_default_timeout(15_000)
    return context


def violations(page: Page) -> list[str]:
    """What axe-core finds on the page, as lines a person can read."""
    results: dict[str, Any] = Axe().run(page, options=RULES)
    return [
        f"{one['id']}: {one['help']} at {node['html'][:160]}" for one in results["violations"] for node in one["nodes"]
    ]
