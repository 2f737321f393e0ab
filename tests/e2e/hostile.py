"""What a script may do that owns one workspace's page, and how to tell whether it had any effect."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Frame, Page

from tests.e2e.conftest import RunningTre
from tests.e2e.desk import PageKernel
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.read import entries

MINE, THEIRS = "survey-methods", "winter-pressures"
HOSTILE = (Path(__file__).parents[1] / "gate" / "hostile.js").read_text()

ASK = """async (wishes) => {
  const seen = {};
  for (const [name, url, options] of wishes) {
    try {
      const late = new Promise((done) => setTimeout(() => done(null), 8000));
      const answer = await Promise.race([fetch(url, { credentials: "include", redirect: "manual", ...options }), late]);
      seen[name] = answer === null ? "silence" : answer.type.startsWith("opaque") ? "opaque" : `${answer.status}`;
    } catch (error) {
      seen[name] = "refused";
    }
  }
  return seen;
}"""
SOCKET = """(url) => new Promise((done) => {
  const socket = new WebSocket(url);
  socket.onopen = () => { socket.close(); done("open"); };
  socket.onerror = () => done("refused");
})"""
FRAMED = """(url) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.onload = () => setTimeout(() => done(frame.name), 300);
  frame.name = `aside${Math.random()}`;
  frame.src = url;
  document.body.append(frame);
})"""
PEER = """async ([udp, tcp]) => {
  const servers = [{ urls: `stun:127.0.0.1:${udp}` },
    { urls: `turn:127.0.0.1:${tcp}?transport=tcp`, username: "rows", credential: "rows" }];
  const peer = new RTCPeerConnection({ iceServers: servers });
  peer.createDataChannel("rows");
  await peer.setLocalDescription(await peer.createOffer());
  const link = Object.assign(document.createElement("link"), { rel: "preconnect", href: `http://127.0.0.1:${tcp}` });
  document.head.append(link);
  await new Promise((done) => setTimeout(done, 3000));
  peer.close();
}"""
CLOSED = {"refused", "opaque", "silence"}
PAGE_SCRIPT = "window.pwned = true; document.title = 'pwned';"

PLANT = f"""
import json, os, pathlib
home = pathlib.Path.home()
page, server = {PAGE_SCRIPT!r}, "open('/outputs/ran-in-server', 'w').write('x')\\n"
entry = {{"name": "evil", "version": "1.0.0", "jupyterlab": {{"extension": True, "outputDir": "static",
          "_build": {{"load": "static/remoteEntry.js", "extension": "./extension"}}}}}}
config = {{"ServerApp": {{"jpserver_extensions": {{"evil": True}}}},
          "LabApp": {{"extra_labextensions_path": [str(home)]}}}}
load = {{"federated_extensions": [{{"name": "evil", "load": "remoteEntry.js"}}]}}
shares = [home / ".local/share/jupyter", home / ".jupyter/lab", home / ".local/share/tre-lab", home / ".jupyter"]
closed = ["/opt/env/share/jupyter", "/opt/env/share/jupyter/lab", "/opt/tre/config", "/usr/local/share/jupyter",
          "/usr/share/jupyter", "/etc/jupyter", "/opt/env/etc/jupyter"]
files = {{
    "labextensions/evil/package.json": json.dumps(entry), "labextensions/evil/static/remoteEntry.js": page,
    "labextensions/evil/install.json": "{{}}", "extensions/evil.js": page, "static/evil.js": page,
    "custom/custom.js": page, "custom/custom.css": "body {{ display: none }}",
    "labconfig/page_config.json": json.dumps(load),
    "settings/overrides.json": json.dumps({{"@jupyterlab/apputils-extension:themes": {{"theme": "evil"}}}}),
    "settings/page_config.json": json.dumps({{"disabledExtensions": {{}}, "evil": "yes"}}),
    "jupyter_server_config.json": json.dumps(config), "jupyter_lab_config.json": json.dumps(config),
    "jupyter_server_config.py": server, "jupyter_lab_config.py": server, "jupyter_config.py": server,
    "jupyter_server_config.d/evil.json": json.dumps(config), "user-settings/evil.py": server,
}}
written = refused = 0
for root in [*shares, *map(pathlib.Path, closed)]:
    for name, text in files.items():
        try:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
            written += 1
        except OSError:
            refused += 1
modules = ("evil", "usercustomize", "sitecustomize", "server", "process", "contents", "tornado")
for folder in (home / ".local/lib/python3.11/site-packages", home):
    folder.mkdir(parents=True, exist_ok=True)
    for name in modules:
        (folder / f"{{name}}.py").write_text(server)
    (folder / "evil.pth").write_text("import usercustomize\\n")
print(written == len(shares) * len(files), refused == len(closed) * len(files))
"""


@dataclass
class Stage:
    """One browser of Ana's: the hostile page, and her other workspace beside it with a kernel that remembers."""

    tre: RunningTre
    context: BrowserContext
    tab: Page
    mine: Frame
    theirs: Frame
    kernel: PageKernel

    @property
    def other(self) -> str:
        return origin_of(self.theirs)

    def is_untouched(self) -> bool:
        """Her other workspace still has its kernel with what it remembered, and nobody wrote there."""
        script = "import os; print(kept, 'pwned' in os.listdir('/outputs'))"
        return self.kernel.run(script) == "41 False\n" and self.kernels() == 1

    def kernels(self) -> int:
        return int(self.theirs.evaluate("async () => (await (await fetch('/api/kernels')).json()).length"))

    def person(self) -> str:
        """Whom the people's host takes this browser's holder for."""
        page = self.context.new_page()
        page.goto(f"{self.tre.origin}/account")
        name = page.locator("header").inner_text() if "/account" in page.url else "nobody"
        page.close()
        return name


def origin_of(frame: Frame) -> str:
    return re.sub(r"^(https?://[^/]+).*", r"\1", frame.url)


def attack(name: str) -> str:
    """One of the hostile script's acts, ready to evaluate."""
    return f"(aim) => {{ {HOSTILE} return hostile.{name}(aim); }}"


def record(tre: RunningTre) -> list[tuple[int, str]]:
    """Everything in the ledger."""
    db = Database(tre.settings.sqlalchemy_url)
    with db.read() as session:
        found = [(entry.seq, entry.kind) for entry in entries(session, limit=10_000)]
    db.dispose()
    return found


def wishes_for_workspace(origin: str, kernel: str) -> list[Any]:
    """Reads, starts and ends on a workspace's host."""
    as_json = {"Content-Type": "application/json"}
    found: list[Any] = []
    for mode in ("cors", "no-cors"):
        found += [
            (f"list {mode}", f"{origin}/api/contents", {"mode": mode}),
            (f"page {mode}", f"{origin}/lab", {"mode": mode}),
            (f"kernels {mode}", f"{origin}/api/kernels", {"mode": mode}),
            (f"start {mode}", f"{origin}/api/kernels", {"mode": mode, "method": "POST", "body": "{}"}),
            (f"stop {mode}", f"{origin}/api/kernels/{kernel}/restart", {"mode": mode, "method": "POST"}),
        ]
    return [
        *found,
        ("start as JSON", f"{origin}/api/kernels", {"method": "POST", "headers": as_json, "body": "{}"}),
        ("end", f"{origin}/api/kernels/{kernel}", {"method": "DELETE"}),
        ("write", f"{origin}/api/contents/pwned", {"method": "PUT", "headers": as_json, "body": "{}"}),
    ]


def wishes_for_people(people: str) -> list[Any]:
    """Reads and changes on the people's host."""
    as_json = {"Content-Type": "application/json"}
    wishes: list[Any] = []
    for mode in ("cors", "no-cors"):
        wishes += [
            (f"{mode} GET {path}", people + path, {"mode": mode})
            for path in ("/", "/api/me", "/account", f"/projects/{THEIRS}", "/logout", "/hub/logout", "/hub/login")
        ]
        wishes += [
            (f"{mode} POST {path}", people + path, {"mode": mode, "method": "POST", "body": "csrf=x"})
            for path in (
                f"/projects/{THEIRS}/workspace/stop",
                f"/projects/{MINE}/workspace/start",
                f"/projects/{THEIRS}/requests",
                "/account/tokens",
                "/api/catalogue",
                "/gate/ticket",
                "/logout",
                "/hub/login",
                "/hub/api/users",
            )
        ]
    wishes.append(
        (
            "ticket",
            f"{people}/gate/ticket",
            {"method": "POST", "headers": as_json, "body": f'{{"project": "{THEIRS}"}}'},
        )
    )
    return wishes


def ways_out() -> list[Any]:
    """Ways to get a file out of a workspace, or into it, through the browser; the last one is how Lab opens a text."""
    as_json = {"Content-Type": "application/json"}
    binary = json.dumps({"type": "file", "format": "base64", "content": "AAAA"})
    ways = {
        "files": ("/files/note.txt", {}),
        "download": ("/files/note.txt?download=1", {}),
        "convert": ("/nbconvert/html/note.ipynb", {}),
        "convert by API": ("/api/nbconvert", {}),
        "view": ("/view/note.txt", {}),
        "terminals": ("/api/terminals", {}),
        "terminal": ("/terminals/1", {}),
        "start a terminal": ("/api/terminals", {"method": "POST", "headers": as_json, "body": "{}"}),
        "language server": ("/lsp/status", {}),
        "proxy": ("/proxy/8000/", {}),
        "metrics": ("/metrics", {}),
        "extensions": ("/lab/api/extensions", {"method": "POST", "headers": as_json, "body": "{}"}),
        "shutdown": ("/api/shutdown", {"method": "POST"}),
        "binary": ("/api/contents/rows.parquet?content=1&format=base64&type=file", {}),
        "upload": ("/api/contents/in.bin", {"method": "PUT", "headers": as_json, "body": binary}),
        "open text": ("/api/contents/note.txt?content=1&format=text&type=file", {}),
    }
    return [(name, path, options) for name, (path, options) in ways.items()]


@dataclass(frozen=True)
class Answer:
    """What came back to a bare request."""

    status: int
    body: str
    cookies: str | None


def ask(
    tre: RunningTre, method: str, path: str, headers: dict[str, str], host: str | None = None, body: str = ""
) -> Answer:
    """One request with exactly these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", tre.settings.listen_port, timeout=30)
    name = host or tre.origin.removeprefix("http://")
    connection.request(method, path, body=body if method == "POST" else None, headers={"Host": name, **headers})
    answer = connection.getresponse()
    found = Answer(answer.status, answer.read().decode(errors="replace"), answer.headers["Set-Cookie"])
    connection.close()
    return found


@dataclass
class Outside:
    """Listeners elsewhere on this machine that stand for the Internet."""

    tcp: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    udp: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    heard: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.udp.bind(("127.0.0.1", 0))
        for listen in (self._accept, self._receive):
            threading.Thread(target=listen, daemon=True).start()

    @property
    def ports(self) -> list[int]:
        return [self.udp.getsockname()[1], self.tcp.getsockname()[1]]

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            self.heard.append("a connection")
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(10)
            try:
                line = connection.recv(4096).partition(b"\r\n")[0]
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            except OSError:
                return
            self.heard.append(line.decode("latin-1"))

    def _receive(self) -> None:
        while True:
            try:
                self.udp.recvfrom(2048)
            except OSError:
                return
            self.heard.append("a datagram")


def is_clean(frame: Frame) -> None:
    """The page runs and serves only what the environment holds."""
    assert frame.evaluate("() => window.pwned") is None
    assert frame.evaluate("() => getComputedStyle(document.body).display") != "none"
    config = json.loads(
        frame.locator("#jupyter-config-data").inner_text()
        or frame.evaluate("() => document.getElementById('jupyter-config-data').textContent")
    )
    assert "evil" not in json.dumps(config)
    loaded = frame.evaluate("() => [...document.scripts].map((one) => one.src).filter((one) => one)")
    assert loaded
    paths = (
        "/lab/extensions/evil/static/remoteEntry.js",
        "/lab/api/themes/evil/index.css",
        "/custom/custom.js",
        "/static/custom/custom.js",
        "/static/lab/evil.js",
        "/files/.jupyter/custom/custom.js",
    )
    seen = frame.evaluate(ASK, [("own", loaded[0], {}), *((path, path, {}) for path in paths)])
    assert seen.pop("own") == "200"
    assert set(seen.values()) <= {"403", "404"}, seen
