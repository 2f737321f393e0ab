"""How fast a workspace starts, as ratios measured in turns on the same machine with the same environment.

First: from asking the supervisor to the first HTTP 200 inside the sandbox of a new workspace, against a bare `jupyter
lab` from exec to its first 200, and against the same server without a sandbox (what the sandbox costs; no target).
Second, through a hub: from POST to "ready", against a stock JupyterHub with SimpleLocalProcessSpawner. Needs root, for
the sandboxes' own accounts. Run: `python -m tests.bench.workspace_bench [rounds]`.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import secrets
import shutil
import signal
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
from typing import Any

from tests.governance.build import ANA, HEART
from tests.workspaces.sandbox.conftest import CODE, World, make_world
from tests.workspaces.service import Lab, Service
from tre_orchestrator.governance.secrets import create_all_secrets
from tre_orchestrator.hub.api import HubApi

ROUNDS = 7
NOBODY = 65534
START_TARGET, SPAWN_TARGET = 1.10, 1.0
TOKEN = secrets.token_hex(32)


@dataclass(frozen=True)
class Measured:
    """One ratio of medians with its target, and both medians in seconds."""

    name: str
    ours: float
    theirs: float
    target: float | None

    @property
    def ratio(self) -> float:
        """Ours to theirs; below 1 is faster."""
        return self.ours / self.theirs

    def __str__(self) -> str:
        times = f"{self.ours:.2f} s against {self.theirs:.2f} s"
        if self.target is None:
            return f"{self.name}: {self.ratio:.2f} (no target) {times}"
        return f"{self.name}: {self.ratio:.2f} (target {self.target:.2f}, {'MISSED' if self.missed else 'ok'}) {times}"

    @property
    def missed(self) -> bool:
        """Whether there is a target and the ratio is above it."""
        return self.target is not None and self.ratio > self.target


def main() -> int:
    """Measure both and print them; 1 when a target was missed."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    measured = [start_against_bare(rounds), start_against_unlocked(rounds), spawn_against_simple(rounds)]
    for one in measured:
        print(one)
    return 1 if any(one.missed for one in measured) else 0


def start_against_bare(rounds: int) -> Measured:
    """Sandbox against bare `jupyter lab`, exec to first 200."""
    with a_tre() as service, a_home() as home:
        ours, theirs = in_turns(rounds, lambda: sandboxed(service.sandbox), lambda: bare(service.sandbox, home))
    return Measured("start: sandbox / bare jupyter lab", ours, theirs, START_TARGET)


def start_against_unlocked(rounds: int) -> Measured:
    """Sandbox against the same server, started by hand on a listener of its own."""
    with a_tre() as service, a_home() as home:
        ours, theirs = in_turns(rounds, lambda: sandboxed(service.sandbox), lambda: unlocked(service.sandbox, home))
    return Measured("start: sandbox / same server without it", ours, theirs, None)


def spawn_against_simple(rounds: int) -> Measured:
    """Our hub against a stock hub, POST to ready."""
    with ExitStack() as stack:
        service = stack.enter_context(a_tre())
        ours = stack.enter_context(our_hub(service))
        theirs = stack.enter_context(stock_hub(service.sandbox, stack.enter_context(a_home())))
        medians = in_turns(rounds, ours, theirs)
    return Measured("spawn: our hub / SimpleLocalProcessSpawner", *medians, SPAWN_TARGET)


def in_turns(rounds: int, first: Callable[[], float], second: Callable[[], float]) -> tuple[float, float]:
    """Medians of both, taking turns after one round that does not count."""
    times = [(first(), second()) for _ in range(rounds + 1)][1:]
    return statistics.median(one for one, _ in times), statistics.median(two for _, two in times)


# --- the contenders ------------------------------------------------------------------------------------------------


def sandboxed(world: World) -> float:
    """A fresh workspace: plan on disk → first 200."""
    plan = world.plan()
    began = time.perf_counter()
    handle = world.start(plan)
    status, _ = Lab(world, handle).get("/api")
    took = time.perf_counter() - began
    assert status == 200
    world.backend.stop(handle.workspace)
    return took


def bare(world: World, home: Path) -> float:
    """`jupyter lab` as anybody starts it: exec → first 200."""
    environment = world.options.environment
    port = free_port()
    command = [f"{environment}/bin/python", "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={
            "HOME": str(home),
            "PATH": f"{environment}/bin:/usr/bin:/bin",
            "JUPYTER_TOKEN": TOKEN,
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        },
        cwd=home,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while (status := asked(port)) is None:
            time.sleep(0.005)
        took = time.perf_counter() - began
        assert status == 200
    finally:
        process.kill()
        process.wait()
    return took


def unlocked(world: World, home: Path) -> float:
    """The server that workspaces run, without supervisor and sandbox: exec → first 200."""
    environment, inside = world.options.environment, world.options.inside
    path = home / f"{secrets.token_hex(4)}.sock"
    plan = dict(world.plan().variables)
    variables = {**plan, "HOME": str(home), "VIRTUAL_ENV": str(environment), "JUPYTER_TOKEN": TOKEN}
    variables |= {"JUPYTER_CONFIG_DIR": f"{inside}/config", "JUPYTER_CONFIG_PATH": f"{inside}/config"}
    variables |= {"JUPYTER_RUNTIME_DIR": str(home / "runtime"), "PYTHONPATH": f"{inside}/lib"}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        began = time.perf_counter()
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec 3<&0 </dev/null {environment}/bin/python -s -B {inside}/nbmain.py"],
            env=variables,
            cwd=home,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            stdin=listener,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(path))
            client.sendall(f"GET /api HTTP/1.1\r\nHost: x\r\nAuthorization: token {TOKEN}\r\n\r\n".encode())
            said = client.recv(4096)
        took = time.perf_counter() - began
        assert said.startswith(b"HTTP/1.1 200")
    finally:
        process.kill()
        process.wait()
    return took


async def _last_step(api: HubApi) -> dict[str, Any]:
    last: dict[str, Any] = {}
    async for last in api.progress(ANA, HEART):
        if last.get("ready") or last.get("failed"):
            break
    return last


@contextmanager
def our_hub(service: Service) -> Iterator[Callable[[], float]]:
    """The TRE's own hub; a call starts Ana's workspace through it, and ends it again."""
    service.act(lambda: create_all_secrets(service.settings.keys_dir))
    variables = {"PYTHONPATH": str(CODE), "TRE_STATE_DIR": str(service.settings.state_dir)}
    config = str(CODE / "tre_orchestrator/hub/config.py")
    api = HubApi(service.settings, "web")
    with a_process([sys.executable, "-P", "-m", "jupyterhub", "-f", config], service.sandbox.service, variables):
        until(lambda: (service.settings.run_dir / "hub.sock").exists())
        api.ensure_user(ANA)

        def spawn() -> float:
            began = time.perf_counter()
            api.start_server(ANA, HEART)
            last = asyncio.run(_last_step(api))
            took = time.perf_counter() - began
            assert last.get("ready"), last
            api.stop_server(ANA, HEART)
            until(lambda: api.server(ANA, HEART) is None)
            return took

        yield spawn


@contextmanager
def stock_hub(world: World, home: Path) -> Iterator[Callable[[], float]]:
    """A hub with SimpleLocalProcessSpawner, the same environment, and no proxy process in the way."""
    environment = world.options.environment
    port = free_port()
    hub_packages = next(Path(sys.prefix).glob("lib/python3*/site-packages"))
    single = f"import sys; sys.path.append({str(hub_packages)!r}); from jupyterhub.singleuser import main; main()"
    config = home / "config.py"
    config.write_text(
        "from tre_orchestrator.hub.proxy import StaticProxy\n"
        "c.JupyterHub.spawner_class = 'simple'\n"
        "c.JupyterHub.authenticator_class = 'dummy'\n"
        "c.Authenticator.allow_all = True\n"
        "c.JupyterHub.proxy_class = StaticProxy\n"
        f"c.JupyterHub.hub_bind_url = 'http://127.0.0.1:{port}'\n"
        f"c.JupyterHub.bind_url = 'http://127.0.0.1:{free_port()}'\n"
        f"c.JupyterHub.db_url = 'sqlite:///{home}/hub.sqlite'\n"
        f"c.JupyterHub.cookie_secret_file = '{home}/cookie'\n"
        f"c.SimpleLocalProcessSpawner.home_dir_template = '{home}/{{username}}'\n"
        f"c.Spawner.cmd = [{f'{environment}/bin/python'!r}, '-c', {single!r}]\n"
        "c.Spawner.default_url = '/lab'\n"
        f"c.JupyterHub.services = [{{'name': 'bench', 'api_token': '{TOKEN}'}}]\n"
        "c.JupyterHub.load_roles = [{'name': 'bench', 'services': ['bench'],"
        " 'scopes': ['admin:users', 'servers']}]\n"
    )

    def call(method: str, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        try:
            connection.request(method, f"/hub/api/{path}", headers={"Authorization": f"token {TOKEN}"})
            response = connection.getresponse()
            if path.endswith("progress"):
                return response.status, ready_line(response)
            return response.status, response.read()
        finally:
            connection.close()

    def spawn() -> float:
        began = time.perf_counter()
        call("POST", "users/bench/server")
        _, said = call("GET", "users/bench/server/progress")
        took = time.perf_counter() - began
        assert json.loads(said).get("ready"), said
        call("DELETE", "users/bench/server")
        until(lambda: not json.loads(call("GET", "users/bench")[1]).get("servers"))
        return took

    command = [sys.executable, "-P", "-m", "jupyterhub", "-f", str(config)]
    with a_process(command, NOBODY, {"PYTHONPATH": str(CODE), "HOME": str(home)}, home):
        until(lambda: asked(port, "/hub/api/") is not None)
        assert call("POST", "users/bench")[0] == 201
        yield spawn


def ready_line(response: http.client.HTTPResponse) -> bytes:
    """The last event of a start."""
    while line := response.readline():
        if line.startswith(b"data:") and (b'"ready"' in line or b'"failed"' in line):
            return line[5:]
    return b"{}"


# --- around them ---------------------------------------------------------------------------------------------------


@contextmanager
def a_tre() -> Iterator[Service]:
    """A TRE with a supervisor in root mode, gone afterwards."""
    state = Path(tempfile.mkdtemp(prefix="tre-", dir="/tmp"))
    for name in ("keys", "run", "log", "data", "workspaces", "shared", "store"):
        (state / name).mkdir(mode=0o700)
    world = make_world(state, "root")
    try:
        world.start_supervisor()
        yield Service(world)
    finally:
        world.stop_supervisor()
        for folder in (state, world.options.root_state):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def a_home() -> Iterator[Path]:
    """A folder of nobody's."""
    home = Path(tempfile.mkdtemp(prefix="home-", dir="/tmp"))
    os.chown(home, NOBODY, NOBODY)
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def a_process(command: list[str], uid: int, variables: dict[str, str], cwd: Path = Path("/")) -> Iterator[None]:
    """A server, ended afterwards; what it said is shown when it fails."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"], **variables},
            user=uid,
            group=uid,
            extra_groups=[],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read().decode()[-4000:])
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def asked(port: int, path: str = "/api") -> int | None:
    """The status of a request, None while nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"token {TOKEN}"})
        return connection.getresponse().status
    except (ConnectionError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def free_port() -> int:
    """A port that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("it did not come true in time")
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
