"""What the gate costs, in turns with a direct connection and with configurable-http-proxy pinned to the same core.

Latency: one small request over a kept connection, gate and direct one after the other, differences of percentiles.
Throughput: 200 MB of JSON, and 300 MB of kernel-like WebSocket messages, gate and configurable-http-proxy in turns.
The gate does all its work meanwhile: frame, right, allow-list, headers, metering. The upstream is a stub on a unix
socket; it and the client share the other core. Run: `python -m tests.bench.gate_bench [rounds]`.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.gate_upstream import MESSAGE_BYTES, MESSAGES, SMALL, STREAM_BYTES
from tests.gate.build import environment, free_port, run_workspace
from tests.governance.build import ANA, World, everybody, profile, project
from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.gate import tickets
from tre_orchestrator.governance import credentials
from tre_orchestrator.governance.secrets import create_all_secrets
from tre_orchestrator.ledger.database import Base, Database
from tre_orchestrator.ops.health import health_of
from tre_orchestrator.settings import Settings

ROUNDS = 7
REQUESTS = 3000
CHP = "configurable-http-proxy@5.3.0"
PROXY_CORE, OTHER_CORE = 0, 1
P50_TARGET_MS, P99_TARGET_MS, THROUGHPUT_TARGET = 1.0, 4.0, 1.0
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@dataclass(frozen=True)
class Measured:
    """One number, its unit and its target; `at_least` when more is better."""

    name: str
    value: float
    unit: str
    target: float
    at_least: bool
    detail: str

    @property
    def missed(self) -> bool:
        return self.value < self.target if self.at_least else self.value > self.target

    def __str__(self) -> str:
        bound = "at least" if self.at_least else "at most"
        verdict = "MISSED" if self.missed else "ok"
        return f"{self.name}: {self.value:.2f} {self.unit} (target {bound} {self.target:g}, {verdict}) {self.detail}"


@dataclass(frozen=True)
class Way:
    """One way to the upstream: how to connect, and the headers that the way asks for."""

    name: str
    connect: Callable[[], socket.socket]
    headers: str

    def ask(self, connection: socket.socket, path: str, more: str = "") -> None:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{self.headers}{more}\r\n".encode())


def measure(rounds: int = ROUNDS) -> list[Measured]:
    """All of it; about a minute."""
    with ExitStack() as stack:
        stack.enter_context(ahead_of_others())
        gate, direct, _upstream = stack.enter_context(served())
        found = latency(gate, direct)
    with ExitStack() as stack:
        gate, _direct, upstream = stack.enter_context(served())
        port = free_port()
        stack.enter_context(running(chp_command(port, upstream), PROXY_CORE))
        wait_for(lambda: is_listening(port))
        chp = Way("configurable-http-proxy", lambda: socket.create_connection(("127.0.0.1", port)), gate.headers)
        found.append(throughput("200 MB of JSON", download, gate, chp, rounds))
        found.append(throughput("WebSocket stream", stream, gate, chp, rounds))
    return found


@contextmanager
def served() -> Iterator[tuple[Way, Way, Path]]:
    """A stub upstream with a gate before it: the ways by gate and direct, and the stub's socket."""
    cores = os.sched_getaffinity(0)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="tre-bench-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        settings, workspace, cookie = prepare(folder)
        upstream = settings.run_dir / "ws" / f"{workspace}-00ff.sock"
        stack.enter_context(running([sys.executable, "-m", "tests.bench.gate_upstream", str(upstream)], OTHER_CORE))
        wait_for(upstream.exists)
        environment_of_gate = {"TRE_STATE_DIR": str(settings.state_dir)}
        stack.enter_context(running([sys.executable, "-m", "tre_orchestrator.gate"], PROXY_CORE, environment_of_gate))
        wait_for(lambda: health_of(settings, "gate").ok)
        os.sched_setaffinity(0, {OTHER_CORE})
        stack.callback(os.sched_setaffinity, 0, cores)
        host = settings.workspace_host(workspace) + settings.port_suffix
        asked = (
            f"Host: {host}\r\nOrigin: http://{host}\r\nSec-Fetch-Site: same-origin\r\nCookie: __Host-ws={cookie}\r\n"
        )
        gate = Way("gate", lambda: socket.create_connection(("127.0.0.1", settings.listen_port)), asked)
        yield gate, Way("direct", lambda: connect_unix(upstream), "Host: localhost\r\n"), upstream


def prepare(folder: Path) -> tuple[Settings, WorkspaceId, str]:
    """A governed TRE in which Ana's workspace runs, and the cookie of its frame."""
    now = dt.datetime.now(dt.UTC)
    settings = Settings(state_dir=folder, listen_port=free_port(), environment_dir=environment(folder / "env"))
    (folder / "run" / "ws").mkdir(parents=True, mode=0o700)
    (folder / "settings.yaml").write_text(
        f"listen_port: {settings.listen_port}\nenvironment_dir: {settings.environment_dir}\n"
    )
    create_all_secrets(settings.keys_dir)
    db = Database(settings.sqlalchemy_url)
    Base.metadata.create_all(db.engine)
    world = World(db, settings, now)
    dates = {"start": str(now.date()), "end": str(now.date() + dt.timedelta(days=30))}
    wide = {"browser": {"soft_mib": 1_000_000, "hard_mib": 1_000_000}}
    world.apply(*everybody(), profile(**{"1": wide}), project(datasets=[], **dates))
    world.approve()
    workspace = run_workspace(db, settings, now, ANA)
    with db.write() as session:
        signed_in = credentials.open_session(session, ANA, mfa=False, now=now)
        found = credentials.session_of(session, signed_in, now)
        assert found is not None
        ticket = tickets.issue(session, workspace, "00ff", ANA, found.id, now)
        opened = tickets.redeem(session, ticket, workspace, now)
    assert opened is not None
    db.dispose()
    return settings, workspace, opened[0]


def latency(gate: Way, direct: Way) -> list[Measured]:
    """Small requests over kept connections, in turns."""
    times: dict[str, list[float]] = {gate.name: [], direct.name: []}
    connections = {way.name: way.connect() for way in (gate, direct)}
    for number in range(REQUESTS + 200):
        for way in (gate, direct) if number % 2 else (direct, gate):
            began = time.perf_counter()
            way.ask(connections[way.name], "/api/kernels")
            read_response(connections[way.name], SMALL)
            if number >= 200:
                times[way.name].append((time.perf_counter() - began) * 1000)
    for connection in connections.values():
        connection.close()
    found = []
    for label, cut, target in (("p50", 0.50, P50_TARGET_MS), ("p99", 0.99, P99_TARGET_MS)):
        ours, theirs = percentile(times[gate.name], cut), percentile(times[direct.name], cut)
        detail = f"{ours:.2f} ms against {theirs:.2f} ms direct"
        found.append(Measured(f"gate adds at {label}", ours - theirs, "ms", target, at_least=False, detail=detail))
    return found


def throughput(name: str, move: Callable[[Way], float], gate: Way, chp: Way, rounds: int) -> Measured:
    """Rates of gate and configurable-http-proxy in turns; the median of the ratios of each turn."""
    turns = []
    for number in range(rounds + 1):
        rates = {way.name: move(way) for way in ((gate, chp) if number % 2 else (chp, gate))}
        turns.append((rates[gate.name], rates[chp.name]))
    del turns[0]
    ratio = statistics.median(ours / theirs for ours, theirs in turns)
    detail = f"{statistics.median(one for one, _ in turns):.0f} MB/s against "
    detail += f"{statistics.median(two for _, two in turns):.0f} MB/s"
    return Measured(f"{name}, gate to {chp.name}", ratio, "x", THROUGHPUT_TARGET, at_least=True, detail=detail)


def download(way: Way) -> float:
    """MB/s of one long answer."""
    connection = way.connect()
    began = time.perf_counter()
    way.ask(connection, "/api/sessions")
    head = read_head(connection)
    assert b" 200 " in head.split(b"\r\n")[0], head
    drain(connection, STREAM_BYTES)
    connection.close()
    return STREAM_BYTES / (time.perf_counter() - began) / 1e6


def stream(way: Way) -> float:
    """MB/s of kernel-like messages on one WebSocket."""
    connection = way.connect()
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    way.ask(connection, "/api/kernels/1/channels", f"{upgrade}Sec-WebSocket-Key: {_KEY}\r\n")
    head = read_head(connection)
    assert b" 101 " in head.split(b"\r\n")[0], head
    began = time.perf_counter()
    connection.sendall(b"\x82\x80\x00\x00\x00\x00")  # an empty masked message: begin
    total = MESSAGES * (MESSAGE_BYTES + 10)
    drain(connection, total)
    connection.close()
    return total / (time.perf_counter() - began) / 1e6


def read_head(connection: socket.socket) -> bytes:
    """The head of an answer, byte by byte, so that nothing of the body is taken."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        one = connection.recv(1)
        assert one, head
        head += one
    return head


def read_response(connection: socket.socket, body: bytes) -> None:
    """A small answer, up to its known body."""
    received = b""
    while not received.endswith(body):
        chunk = connection.recv(65536)
        assert chunk, received
        received += chunk


def drain(connection: socket.socket, total: int) -> None:
    """Take `total` bytes and forget them. Chunked framing of a proxy counts as a few more, which stay unread."""
    buffer = bytearray(1 << 20)
    while total > 0:
        size = connection.recv_into(buffer)
        assert size, f"{total} bytes are missing"
        total -= size


def percentile(values: list[float], cut: float) -> float:
    ordered = sorted(values)
    return ordered[int(cut * (len(ordered) - 1))]


def connect_unix(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a server of the benchmark did not start")
        time.sleep(0.05)


def chp_command(port: int, upstream: Path) -> list[str]:
    """configurable-http-proxy with everything routed to the stub; installed into a cache when it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tre-bench" / CHP.replace("@", "-")
    program = cache / "node_modules" / ".bin" / "configurable-http-proxy"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(cache), CHP], check=True)
    target = f"http+unix://{str(upstream).replace('/', '%2F')}"
    return [
        *("node", str(program), "--ip", "127.0.0.1", "--port", str(port), "--api-ip", "127.0.0.1"),
        *("--api-port", str(free_port()), "--default-target", target, "--log-level", "error"),
    ]


@contextmanager
def ahead_of_others() -> Iterator[None]:
    """Run this process, and those it starts, before ordinary ones; undone at the end."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
    except PermissionError:
        print("No right to run ahead of other work: on a busy machine p99 is the machine's, not the gate's.")
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextmanager
def running(command: list[str], core: int, more: dict[str, str] | None = None) -> Iterator[None]:
    """A process on one core for as long as the context lasts."""
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": "benchmark", **(more or {})},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> int:
    """Print what was measured; 1 when a target was missed."""
    found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
    for one in found:
        print(one)
    return 1 if any(one.missed for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
