"""From a notebook's kernel in a real workspace: what works, and what does not reach anything (N1, N3, D1)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.workspaces.sandbox.conftest import World
from tests.workspaces.sandbox.kernel_client import Kernel
from tests.workspaces.sandbox.probing import attempts, cell, outside
from tre_orchestrator.workspaces.proof import judge
from tre_orchestrator.workspaces.sandbox import control

pytestmark = pytest.mark.sandbox


def test_a_kernel_reads_data_writes_outputs_and_has_the_environment(world: World) -> None:
    handle = world.start(world.plan(datasets=("survey", "admissions")))
    with Kernel(world, handle) as kernel:
        assert "3 rows" in kernel.run(
            "import pandas, os\n"
            "frame = pandas.read_csv('/data/survey/rows.csv')\n"
            "frame.to_csv('/outputs/table.csv'); open('/shared/note.txt', 'w').write('x')\n"
            "open(os.path.expanduser('~/mine.txt'), 'w').write('x')\n"
            "print(len(frame) + len(os.listdir('/data')), 'rows')"
        )
        assert kernel.run("import ssl, sqlite3, ctypes; print('ok')").strip() == "ok"
        assert kernel.run("import getpass, socket; print(getpass.getuser(), socket.gethostname())").split() == [
            "analyst",
            "workspace",
        ]
        assert kernel.run("print(open('/shared/note.txt').read())").strip() == "x"


def test_nothing_of_the_host_is_inherited(world: World) -> None:
    handle = world.start(world.plan())
    server = _server(handle.pid)
    links = {int(path.name): os.readlink(path) for path in Path(f"/proc/{server}/fd").iterdir()}
    assert links[0] == "/dev/null"
    assert links[1].startswith("pipe:")
    assert links[2] == links[1]
    assert links[3].startswith("socket:")
    assert [link for link in links.values() if link.startswith("/") and "/tre-" in link] == []
    first = {os.readlink(path) for path in Path(f"/proc/{handle.pid}/fd").iterdir()}
    assert all(link.startswith(("/dev/null", "pipe:", "anon_inode:")) for link in first), first
    with Kernel(world, handle) as kernel:
        found = json.loads(kernel.run("import os, json; print(json.dumps(dict(os.environ)))"))
    assert not any(name.startswith(("JUPYTERHUB", "TRE_STATE", "JUPYTER_TOKEN")) for name in found)
    assert world.token(handle) not in json.dumps(found)


def test_each_workspace_has_a_uid_of_its_own_in_root_modes(world: World) -> None:
    plans = [world.plan(person="ana"), world.plan(person="bela")]
    handles = [world.start(plan) for plan in plans]
    owners = [_uid(_server(handle.pid)) for handle in handles]
    if world.mode == "user":
        assert set(owners) == {12345}
    else:
        assert len(set(owners)) == 2
        assert min(owners) >= 2_000_000_000
        again = world.next_start(plans[0])
        world.backend.stop(handles[0].workspace)
        assert _uid(_server(world.start(again).pid)) == owners[0]


def test_N1_N3_D1_probes_from_a_kernel_reach_nothing(world: World) -> None:
    """The table-driven probe again, from a notebook, against this TRE's real sockets, files and another workspace."""
    other = world.start(world.plan(person="bela"))
    mine = world.start(world.plan())
    state = world.settings.state_dir
    with Kernel(world, other) as victim:
        victim.run("open('/outputs/secret.txt','w').write('theirs'); open('/home/analyst/s.txt','w').write('theirs')")
    gate = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    abstract.bind(f"\0tre-test-{os.getpid()}")
    abstract.listen(8)
    foreign = subprocess.Popen([f"tre-test-{os.getpid()}", "300"], executable="/usr/bin/sleep")
    try:
        targets: dict[str, Any] = {
            **control.targets(state),
            "tcp": {"the gate": ["127.0.0.1", gate.getsockname()[1]]},
            "udp": {},
            "abstract": f"tre-test-{os.getpid()}",
            "unix": {
                "the supervisor": str(state / "run" / "supervisor.sock"),
                "the other workspace": str(other.socket),
            },
            "files": {
                "the other workspace's folder": str(state / "workspaces" / other.workspace),
                "the other workspace's plan": str(state / "workspaces" / other.workspace / "plan.json"),
                "the keys": str(state / "keys" / "inner.key"),
                "the log": str(state / "log" / "supervisor.log"),
                "the sockets": str(state / "run" / "ws"),
                "the datasets of others": str(state / "data"),
                "the machine's accounts": "/var/lib/dpkg/status",
            },
            "process": {"pid": foreign.pid, "marker": f"tre-test-{os.getpid()}"},
            "secret": str(state / "keys" / "inner.key"),
        }
        inside = {
            **targets,
            "datasets": ["/data/survey"],
            "writable": "/outputs",
            "read_only": {path: path for path in control.READ_ONLY},
        }
        with Kernel(world, mine) as kernel:
            locked = kernel.run(cell(inside), timeout=120)
        free = outside(targets, state)
    finally:
        foreign.kill()
        foreign.wait()
        gate.close()
        abstract.close()
    _, results = judge(attempts(free, broken_is_reached=False), attempts(locked, broken_is_reached=True), frozenset())
    controlled = [result for result in results if result.control_reached]
    assert [result.target for result in results if result.reached_from_lock] == []
    assert len(controlled) >= 60, len(controlled)
    for kind in ("TCP to the gate", "abstract unix socket", "unix socket of the supervisor", "file: the keys"):
        assert kind in {result.target for result in controlled}
    print(f"{world.mode}: {len(controlled)} probes from a kernel held, each with a control that got through")


def test_N3_the_probe_table_would_notice_a_hole_from_a_kernel_too(root_world: World) -> None:
    """What the analyst may write is reached by the same probe that reports datasets as held."""
    handle = root_world.start(root_world.plan())
    targets = {**control.targets(Path("/nowhere")), "tcp": {}, "udp": {}, "unix": {}, "files": {"mine": "/outputs"}}
    targets |= {"datasets": ["/outputs"], "writable": "/outputs", "read_only": {"home": "/home/analyst"}}
    with Kernel(root_world, handle) as kernel:
        kernel.run("open('/outputs/rows.csv', 'w').write('x')")
        printed = kernel.run(cell(targets), timeout=120)
    reached = {attempt.target for attempt in attempts(printed, broken_is_reached=True) if attempt.reached}
    assert {"file: mine", "write to home", "dataset: open for writing", "dataset: create a file"} <= reached


def _server(first: int) -> int:
    """The process that the sandbox's first process started."""
    return int(Path(f"/proc/{first}/task/{first}/children").read_text().split()[0])


def _uid(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:"))
    return int(line.split()[1])


def test_N3_psutil_works_and_the_counters_of_the_machine_are_hidden(world: World) -> None:
    handle = world.start(world.plan())
    with Kernel(world, handle) as kernel:
        said = kernel.run(
            "import psutil\n"
            "me = psutil.Process()\n"
            "print(me.create_time() > 0, psutil.cpu_percent() >= 0, psutil.virtual_memory().total > 0)\n"
            "for path in ('/proc/vmstat', '/proc/softirqs'):\n"
            "    try: print('read', len(open(path).read(1)))\n"
            "    except PermissionError: print('read 0')"
        )
    assert said.splitlines() == ["True True True", "read 0", "read 0"]
