"""The gate in front of a real notebook server in a real sandbox, started through the real hub and portal."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yarl

from tests.e2e.conftest import RunningTre, start_tre, stop_tre
from tests.gate.build import free_port
from tests.hub.browser import HttpBrowser

pytestmark = pytest.mark.stack
PROJECT = "winter-pressures"
_CSRF = re.compile(r'data-csrf="([^"]+)"')


@pytest.fixture(scope="module")
def tre() -> Iterator[RunningTre]:
    folder = Path(tempfile.mkdtemp(prefix="tre-gate-", dir="/tmp"))
    folder.chmod(0o755)
    running = start_tre(folder / "s", free_port())
    yield running
    stop_tre(running)
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Lab:
    """Ana's browser with her workspace open in it."""

    tre: RunningTre
    browser: HttpBrowser
    csrf: str
    origin: str
    cookie: str

    async def ask(self, method: str, path: str, **kwargs: Any) -> tuple[int, bytes]:
        """A request as Lab's own page makes it."""
        url = yarl.URL(f"http://127.0.0.1:{self.tre.settings.listen_port}{path}", encoded=True)
        async with self.browser.client.request(method, url, headers=self.headers(), **kwargs) as answer:
            return answer.status, await answer.read()

    def headers(self) -> dict[str, str]:
        return {
            "Host": self.origin.removeprefix("http://"),
            "Origin": self.origin,
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-Mode": "cors",
            "Cookie": f"__Host-ws={self.cookie}",
        }

    async def run(self, code: str) -> str:
        """Run a cell in a new kernel; what it printed."""
        status, body = await self.ask("POST", "/api/kernels", json={"name": "python3"})
        assert status == 201, body
        kernel = json.loads(body)["id"]
        url = f"ws://127.0.0.1:{self.tre.settings.listen_port}/api/kernels/{kernel}/channels"
        printed = ""
        async with self.browser.client.ws_connect(url, headers=self.headers(), max_msg_size=0) as socket:
            await socket.send_json(message(code))
            async with asyncio.timeout(60):
                while True:
                    said = await socket.receive_json()
                    if said["msg_type"] == "stream":
                        printed += said["content"]["text"]
                    elif said["msg_type"] == "error":
                        printed += "\n".join(said["content"]["traceback"])
                    elif said["msg_type"] == "execute_reply":
                        break
        await self.ask("DELETE", f"/api/kernels/{kernel}")
        return printed

    async def metered(self) -> int:
        status, body = await portal(self.browser, "GET", f"/gate/meter?project={PROJECT}")
        assert status == 200, body
        return int(json.loads(body)["bytes_today"])


def message(code: str) -> dict[str, Any]:
    """An execute request of Jupyter's messaging protocol."""
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "session": "s",
        "username": "",
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    return {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}


async def portal(
    browser: HttpBrowser, method: str, path: str, csrf: str = "", body: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """A request as the portal's own script makes it."""
    headers = {
        "Host": browser.settings.site + browser.settings.port_suffix,
        "Origin": browser.settings.people_origin,
        "Sec-Fetch-Site": "same-origin",
        "Sec-Fetch-Mode": "cors",
        "Cookie": f"__Host-tre={browser.cookies['__Host-tre']}",
        "X-Tre-Csrf": csrf,
    }
    url = yarl.URL(f"http://127.0.0.1:{browser.settings.listen_port}{path}", encoded=True)
    async with browser.client.request(method, url, headers=headers, json=body, allow_redirects=False) as answer:
        return answer.status, await answer.read()


@pytest_asyncio.fixture
async def lab(tre: RunningTre) -> AsyncIterator[Lab]:
    """Ana signs in by link, starts her workspace by the portal's form, and opens it by a ticket."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
        browser = HttpBrowser(tre.settings, client)
        link = (await asyncio.to_thread(tre.fresh_links))["Ana Silva"]
        page = await browser.sign_in({"token": link.partition("token=")[2]})
        match = _CSRF.search(page.text)
        assert match is not None
        csrf = match[1]
        page = await browser._follow("POST", f"/projects/{PROJECT}/workspace/start", {"csrf": csrf}, "same-origin")
        assert page.status == 200, page.text
        for _ in range(600):
            status, body = await portal(browser, "POST", "/gate/ticket", csrf, {"project": PROJECT})
            if status == 200:
                break
            await asyncio.sleep(0.1)
        assert status == 200, body
        ticket = json.loads(body)
        origin = ticket["url"].removesuffix("/.tre/enter")
        headers = {
            "Host": origin.removeprefix("http://"),
            "Origin": tre.origin,
            "Sec-Fetch-Site": "same-site",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "iframe",
        }
        url = f"http://127.0.0.1:{tre.settings.listen_port}/.tre/enter"
        form = {"ticket": ticket["ticket"]}
        async with client.post(url, headers=headers, data=form, allow_redirects=False) as entered:
            cookie = entered.headers["Set-Cookie"].split(";")[0].partition("=")[2]
        found = Lab(tre, browser, csrf, origin, cookie)
        for _ in range(600):
            if (await found.ask("GET", "/api"))[0] == 200:
                break
            await asyncio.sleep(0.1)
        yield found


async def test_a_cell_runs_and_its_bytes_are_metered(lab: Lab) -> None:
    before = await lab.metered()
    printed = await lab.run("import os; print(sorted(os.listdir('/data'))); print('x' * 300_000)")
    assert "admissions" in printed
    assert 300_000 < await lab.metered() - before < 450_000


async def test_the_kernel_sees_no_secret_of_ours(lab: Lab) -> None:
    printed = await lab.run("import os; print({k: v for k, v in os.environ.items()})")
    assert "JUPYTERHUB" not in printed
    assert lab.cookie not in printed
    assert lab.browser.cookies["__Host-tre"] not in printed


CLOSED = [
    "/files/README.md",
    "/nbconvert/html/README.md",
    "/view/README.md",
    "/api/terminals",
    "/terminals/websocket/1",
    "/lsp/status",
    "/proxy/8888/",
    "/metrics",
    "/api/spec.yaml",
    "/lab/api/extensions",
]


async def test_closed_ways_are_closed_and_open_ones_open(lab: Lab) -> None:
    for path in CLOSED:
        assert (await lab.ask("GET", path))[0] == 403, path
    assert (await lab.ask("POST", "/api/shutdown"))[0] == 403
    for path in ("/api", "/api/me", "/api/kernelspecs", "/api/contents", "/lab/api/settings", "/favicon.ico"):
        assert (await lab.ask("GET", path))[0] == 200, path


async def test_files_open_in_the_editor_within_their_caps_only(lab: Lab) -> None:
    made = await lab.run(
        "import os\n"
        "open('small.txt', 'w').write('ä' * 10)\n"
        "open('big.txt', 'w').write('x' * 3_000_000)\n"
        "open('data.bin', 'wb').write(os.urandom(1000))\n"
        "open('dot.png', 'wb').write(b'\\x89PNG\\r\\n\\x1a\\n' + bytes(100))\n"
        "print('made')"
    )
    assert "made" in made, made
    status, body = await lab.ask("GET", "/api/contents/small.txt")
    assert (status, json.loads(body)["content"]) == (200, "ä" * 10)
    assert (await lab.ask("GET", "/api/contents/big.txt"))[0] == 403
    assert (await lab.ask("GET", "/api/contents/data.bin?format=base64&type=file"))[0] in (400, 403)
    assert (await lab.ask("GET", "/api/contents/dot.png"))[0] == 200
    upload = {"type": "file", "format": "base64", "content": base64.b64encode(b"rows").decode()}
    assert (await lab.ask("PUT", "/api/contents/up.bin", json=upload))[0] == 403
    saved = {"type": "file", "format": "text", "content": "ok"}
    assert (await lab.ask("PUT", "/api/contents/saved.txt", json=saved))[0] == 201


async def test_the_hub_says_it_runs_and_ending_it_closes_the_gate(lab: Lab) -> None:
    stopped = await lab.browser._follow(
        "POST", f"/projects/{PROJECT}/workspace/stop", {"csrf": lab.csrf}, "same-origin"
    )
    assert stopped.status == 200
    for _ in range(300):
        status, body = await lab.ask("GET", "/api/kernels")
        if status != 200:
            break
        await asyncio.sleep(0.1)
    assert status in (401, 403, 503), body
