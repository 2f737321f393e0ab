"""N1, N3, N4, D1 from the end of the real chain: browser, gate, Lab, a cell in a notebook's kernel.

The same probe runs outside as the control of each attempt: one that gets through nowhere proves nothing.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.e2e.conftest import RunningTre
from tests.e2e.desk import PageKernel, at_desk, open_workspace
from tests.e2e.lab import open_notebook, run_cell
from tests.workspaces.sandbox.probing import attempts, cell, outside
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.workspaces.proof import ProbeResult, judge
from tre_orchestrator.workspaces.rows import in_state
from tre_orchestrator.workspaces.sandbox import control
from tre_orchestrator.workspaces.sandbox.probe import network
from tre_orchestrator.workspaces.tables import WorkspaceState

pytestmark = [pytest.mark.stack, pytest.mark.timeout(420)]

MINE, SAME_PERSONS, SAME_PROJECTS = "winter-pressures", "survey-methods", "winter-pressures"
LEAST = 60


@dataclass(frozen=True)
class Desks:
    """Ana with two workspaces, and Ben with one in the same project as Ana's first."""

    tre: RunningTre
    ana: Page
    ana_other: PageKernel
    ben: PageKernel
    neighbours: tuple[tuple[str, Path], ...]


@pytest.fixture(scope="module")
def desks(tre: RunningTre, browser: Browser) -> Iterator[Desks]:
    ana, ben = at_desk(tre, browser, "Ana Silva"), at_desk(tre, browser, "Ben Okafor")
    other_tab = ana.context.new_page()
    others = [PageKernel(open_workspace(tre, other_tab, SAME_PERSONS)), PageKernel(open_workspace(tre, ben, MINE))]
    for kernel in others:
        kernel.run("open('/outputs/theirs.txt', 'w').write('x'); open('/home/analyst/theirs.txt', 'w').write('x')")
    open_workspace(tre, ana, MINE)
    db = Database(tre.settings.sqlalchemy_url)
    with db.read() as session:
        rows = in_state(session, WorkspaceState.running)
    db.dispose()
    assert len(rows) == 3
    neighbours = tuple(
        (row.id, Path(row.socket)) for row in rows if (row.person, row.project) != ("ana-silva", MINE) and row.socket
    )
    yield Desks(tre, ana, others[0], others[1], neighbours)
    ana.context.close()
    ben.context.close()


@pytest.fixture(scope="module")
def tried(desks: Desks, tmp_path_factory: pytest.TempPathFactory) -> list[ProbeResult]:
    """Every probe, from a cell and as its control."""
    targets = aim(desks)
    with ExitStack() as around:
        surround(targets, around)
        inside = {
            **targets,
            "datasets": ["/data/admissions"],
            "writable": "/outputs",
            "read_only": {path: path for path in control.READ_ONLY},
        }
        open_notebook(desks.ana)
        locked = run_cell(desks.ana, cell(inside), seconds=180)
        free = outside(targets, tmp_path_factory.mktemp("control"))
    _, results = judge(attempts(free, broken_is_reached=False), attempts(locked, broken_is_reached=True), frozenset())
    return list(results)


def aim(desks: Desks) -> dict[str, Any]:
    """This TRE's own sockets, files and processes, and the workspaces beside."""
    settings = desks.tre.settings
    state, run = settings.state_dir, settings.run_dir
    mark = f"tre-e2e-{os.getpid()}"
    files = {
        "the keys": state / "keys" / "inner.key",
        "the database": state / "tre.sqlite",
        "the hub's database": state / "hub" / "jupyterhub.sqlite",
        "the logs": state / "log",
        "the store": state / "store",
        "the data of everybody": state / "data",
        "the shared folders": state / "shared",
        "the sockets": run / "ws",
        "the machine's accounts": Path("/var/lib/dpkg/status"),
        "the machine's secrets": Path("/etc/shadow"),
        "root's home": Path("/root"),
        "the machine's shared memory": Path("/dev/shm", mark),
    }
    for number, (workspace, _) in enumerate(desks.neighbours):
        files |= {
            f"neighbour {number}": state / "workspaces" / workspace,
            f"neighbour {number}'s plan": state / "workspaces" / workspace / "plan.json",
        }
    return {
        **control.targets(state),
        "tcp": {"the gate": ["127.0.0.1", settings.listen_port]},
        "udp": {},
        "unix": {
            **{f"the {name}": str(run / f"{name}.sock") for name in ("gate", "hub", "web", "controller", "supervisor")},
            **{f"neighbour {number}": str(path) for number, (_, path) in enumerate(desks.neighbours)},
        },
        "abstract": mark,
        "name": socket.gethostname(),
        "files": {name: str(path) for name, path in files.items()},
        "secret": str(state / "keys" / "inner.key"),
        "process": {"pid": 0, "marker": mark},
    }


def surround(targets: dict[str, Any], around: ExitStack) -> None:
    """What a machine has beside a TRE: listeners on other ports, an abstract socket, a process, shared memory."""
    mark = targets["abstract"]
    service = around.enter_context(socket.create_server(("127.0.0.2", 0)))
    targets["tcp"]["a database"] = ["127.0.0.2", service.getsockname()[1]]
    abstract = around.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    abstract.bind(f"\0{mark}")
    abstract.listen(8)
    foreign = subprocess.Popen([mark, "600"], executable="/usr/bin/sleep")
    around.callback(foreign.wait)
    around.callback(foreign.kill)
    targets["process"]["pid"] = foreign.pid
    shared = Path("/dev/shm", mark)
    shared.write_text("somebody else's")
    around.callback(shared.unlink)


def controlled(results: list[ProbeResult], *, dataset: bool) -> dict[str, ProbeResult]:
    """The probes whose control got through, of the dataset or of all else."""
    return {one.target: one for one in results if one.control_reached and one.target.startswith("dataset") == dataset}


def reached(results: list[ProbeResult]) -> list[str]:
    return [f"{one.target}: {one.lock_detail}" for one in results if one.reached_from_lock]


def is_network(target: str) -> bool:
    made = network({"abstract": "", "name": "", "tcp": {}})
    return target.startswith(("TCP", "UDP", "unix socket")) or target in made


def test_N1_a_cell_reaches_no_address_and_no_socket(tried: list[ProbeResult]) -> None:
    tests = {name: one for name, one in controlled(tried, dataset=False).items() if is_network(name)}
    assert reached(list(tests.values())) == []
    assert {
        "TCP to the gate",
        "TCP to a database",
        "abstract unix socket",
        "netlink socket",
        "packet socket",
        "raw ICMP socket",
        *(f"unix socket of the {name}" for name in ("gate", "hub", "web", "controller", "supervisor")),
    } <= set(tests)


def test_N3_a_cell_sees_no_file_and_no_process_of_others(tried: list[ProbeResult], desks: Desks) -> None:
    tests = {name: one for name, one in controlled(tried, dataset=False).items() if not is_network(name)}
    assert reached(list(tests.values())) == []
    assert {
        "file: the keys",
        "file: the database",
        "file: the data of everybody",
        *(f"file: neighbour {number}" for number in range(2)),
        *(f"file: neighbour {number}'s plan" for number in range(2)),
        "see a foreign process",
        "signal a foreign process",
        "root folder of a foreign process",
    } <= set(tests)
    assert "theirs.txt" in desks.ben.run("import os; print(os.listdir('/outputs'))")


def test_D1_a_cell_writes_a_dataset_in_no_way(tried: list[ProbeResult], desks: Desks) -> None:
    tests = controlled(tried, dataset=True)
    assert reached(list(tests.values())) == []
    assert len(tests) >= 20, sorted(tests)
    folder = desks.tre.settings.state_dir / "data" / "admissions" / "1.0"
    now = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert len(now) >= 2
    verified = desks.tre.tre("dataset", "verify", "admissions", "1.0")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_N1_N3_D1_at_least_sixty_probes_from_the_real_chain_and_none_got_through(tried: list[ProbeResult]) -> None:
    assert reached(tried) == []
    held = [one for one in tried if one.control_reached]
    print(f"{len(held)} probes from a cell held, each with a control that got through")
    assert len(held) >= LEAST


def test_N4_a_hog_hurts_its_own_workspace_only(desks: Desks) -> None:
    """Memory beyond the limit ends the hog's kernel; the person's other workspace and everybody else go on."""
    desks.ben.run("kept = 41")
    hog = PageKernel(desks.ana.frame("lab"))  # type: ignore[arg-type]
    assert hog.run("small = bytearray(1 << 20); print('fits')") == "fits\n"
    assert "<died>" in hog.run("hog = [bytearray(b'x') * (1 << 26) for _ in range(2000)]", seconds=180)
    assert desks.ben.run("print(kept + 1)") == "42\n"
    assert desks.ana_other.run("print(len(bytearray(100 << 20)) >> 20)") == "100\n"
    answer = desks.ana.context.new_page().goto(desks.tre.origin)
    assert answer is not None
    assert answer.status == 200


def test_N4_a_bomb_of_processes_hurts_its_own_workspace_only(desks: Desks) -> None:
    bomb = PageKernel(desks.ana.frame("lab"))  # type: ignore[arg-type]
    said = bomb.run(
        "import os, signal, time\n"
        "children = []\n"
        "try:\n"
        "    while len(children) < 5000:\n"
        "        child = os.fork()\n"
        "        if child == 0:\n"
        "            time.sleep(120); os._exit(0)\n"
        "        children.append(child)\n"
        "except OSError as error: print(error.strerror)\n"
        "for child in children: os.kill(child, signal.SIGKILL)\n"
        "for child in children: os.waitpid(child, 0)",
        seconds=180,
    )
    assert said.startswith("Resource temporarily unavailable"), said
    assert desks.ben.run("import subprocess; print(subprocess.run(['/usr/bin/true']).returncode)") == "0\n"
